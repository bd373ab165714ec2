//! Tests of the local run. The real functions run under cargo-lambda, and the embedded DynamoDB
//! keeps its data in a file.

mod disk;
mod gateway;

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use harness::{
    answer::headers,
    local_run::{LocalRun, output, program},
    process::Process,
    service::unreachable,
    workspace::{built, root, target},
};
use local::http;
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

/// Makes the tests run one after another, because a test that edits a source file affects every
/// running service.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    // A panic poisons the lock, but must fail only its own test.
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn temporary_folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn the_spans_of_a_request_are_printed_if_they_are_asked_for() {
    let _alone = alone();
    let data = temporary_folder();
    let mut command = program("local");
    command.env("TRACE", "1");
    let service = LocalRun::start_by(command, data.path());
    assert_eq!(service.create("ada").status, 201);
    service.wait_for_output("DynamoDB.PutItem");
    let output = service.output();
    let lines = output.lines().filter(|line| line.starts_with("span "));
    let lines: Vec<Vec<&str>> = lines
        .map(|line| line.split_whitespace().collect())
        .collect();
    // The earlier spans belong to requests that the local run sends when it starts, to check that
    // the functions answer.
    let [.., invocation, of_table] = &lines[..] else {
        panic!("expected two spans: {output}");
    };
    assert_eq!(invocation[2..5], ["POST", "/api/users", "at"]);
    assert_eq!(invocation.last(), Some(&"201"));
    assert_eq!(
        (of_table[1], of_table[2]),
        (invocation[1], "DynamoDB.PutItem")
    );
    service.stop();
}

#[test]
fn the_service_creates_and_lists_users_over_http() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());

    let created = run.create("Ольга");
    assert_eq!(created.status, 201);
    assert_eq!(
        created.headers,
        headers(&[
            ("cache-control", "no-store"),
            ("content-type", "application/json"),
            ("x-content-type-options", "nosniff"),
        ])
    );
    assert_eq!(created.json()["username"], "Ольга");
    assert_eq!(run.create("ольга").status, 409);
    assert_eq!(run.create("no spaces").status, 422);
    assert_eq!(run.create("ada").status, 201);

    let first = run.list("limit=1");
    assert_eq!(first.usernames(), ["ada"]);
    assert_eq!(
        run.list(&first.next_query().unwrap()).usernames(),
        ["Ольга"]
    );
    assert_eq!(
        run.list("prefix=%D0%9E%D0%9B%D0%AC").json(),
        Value::from(vec![created.json()])
    );
    assert_eq!(run.list("pefix=o").status, 400);

    run.stop();
}

#[test]
fn both_functions_are_ready_before_the_service_says_so() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let ready = run.output();
    for function in ["list-users", "create-user"] {
        let line = format!(r#""FunctionName":"{function}""#);
        assert!(ready.contains(&line), "{function} has answered: {ready}");
    }
    run.wait_for_output("\n  curl -i http://127.0.0.1:");
    run.signal("INT");
    assert!(run.ended().success());
}

#[test]
fn exactly_one_of_many_concurrent_creates_of_one_username_succeeds_over_http() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let statuses: Vec<u16> = thread::scope(|scope| {
        let create = || scope.spawn(|| run.create("ada").status);
        let creates: Vec<_> = (0..50).map(|_| create()).collect();
        creates.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 49);
    run.stop();
}

#[test]
fn thousands_of_generated_requests_get_no_answer_outside_of_the_contract() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let log = data.path().join("schemathesis.log");
    let report = data.path().join("schemathesis.json");
    let mut fuzzer = Command::new(built(&root().join(".tools/schemathesis/bin/schemathesis")));
    fuzzer
        .args([
            "--no-color",
            "--config-file",
            "tests/schemathesis/schemathesis.toml",
        ])
        .args(["run", "openapi.yaml"])
        .args(["--url", &format!("http://127.0.0.1:{}", run.port())])
        .arg("--report-json-path")
        .arg(&report)
        .current_dir(root())
        .env("NO_PROXY", "127.0.0.1")
        .env(
            "HYPOTHESIS_STORAGE_DIRECTORY",
            data.path().join("hypothesis"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1");
    // To repeat a failure, set SEED to the seed at the end of the failed run's output.
    if let Ok(seed) = env::var("SEED") {
        fuzzer.args(["--seed", &seed]);
    }
    let status = Fuzzer::start(fuzzer, &log).ended();
    let log = fs::read_to_string(log).unwrap();
    assert!(status.success(), "{log}");

    let report = fs::read_to_string(report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    for phase in ["examples", "coverage", "fuzzing", "stateful"] {
        assert_eq!(report["phases"][phase]["status"], "success", "{log}");
    }
    let cases = &report["test_cases"]["generated"];
    assert!(cases.as_u64().is_some_and(|cases| cases >= 3000), "{log}");
    let seed = log.lines().find(|line| line.starts_with("Seed: "));
    println!("{cases} cases. {}", seed.expect("a seed"));
    run.stop();
}

/// The process of schemathesis, the contract fuzzer.
struct Fuzzer(Child);

impl Fuzzer {
    fn start(mut command: Command, log: &Path) -> Self {
        let log = File::create(log).unwrap();
        command.stdin(Stdio::null());
        command.stderr(log.try_clone().unwrap()).stdout(log);
        Self(command.spawn().unwrap())
    }

    /// Waits until the fuzzer exits, usually for one or two minutes.
    fn ended(mut self) -> ExitStatus {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1800) {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("the fuzzer does not end");
    }
}

impl Drop for Fuzzer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn users_survive_a_restart() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let user = run.create("ada").json();
    run.stop();

    let run = LocalRun::start(data.path());
    assert_eq!(run.list("").json(), Value::from(vec![user]));
    assert_eq!(run.create("ADA").status, 409);
    run.stop();
}

#[test]
fn a_killed_run_loses_no_acknowledged_user_and_leaves_no_process() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let acknowledged = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for client in 0..4 {
            let (run, acknowledged) = (&run, &acknowledged);
            scope.spawn(move || {
                for number in 0.. {
                    let username = format!("user{client}x{number}");
                    // After the kill: no response, or a 503, because the table is gone.
                    if !matches!(run.try_create(&username), Ok(answer) if answer.status == 201) {
                        return;
                    }
                    let mut acknowledged = acknowledged.lock().unwrap();
                    acknowledged.insert(username);
                    if acknowledged.len() == 100 {
                        run.signal("KILL");
                    }
                }
            });
        }
    });
    assert!(!run.ended().success());

    let run = LocalRun::start(data.path());
    let kept: BTreeSet<String> = run.usernames().into_iter().collect();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= 100);
    let lost: Vec<&String> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    run.stop();
}

#[test]
fn a_function_whose_process_was_ended_answers_again_within_5_seconds() {
    const PROMISE: Duration = Duration::from_secs(5);
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    assert_eq!(run.create("ada").status, 201);
    for (signal, username) in [("KILL", "grace"), ("TERM", "edsger"), ("KILL", "barbara")] {
        let before = ["create-user", "list-users"].map(|it| function(&run, it));
        for function in &before {
            send_signal(signal, function);
        }
        // Wait until the processes have exited, because a request to a process that is exiting
        // would fail. Such a request would also fail in Lambda. The 5 seconds begin after the
        // exit.
        while before
            .iter()
            .any(|it| run.processes().iter().any(|left| left.id == it.id))
        {
            thread::sleep(Duration::from_millis(1));
        }
        let ended = Instant::now();
        assert_eq!(run.create(username).status, 201);
        assert_eq!(run.list("").status, 200);
        let took = ended.elapsed();
        assert!(took < PROMISE, "{signal}: {took:?}");
    }
    assert_eq!(run.usernames(), ["ada", "barbara", "edsger", "grace"]);
    run.wait_for_output(
        "make run: the function create-user ended (status 137) and is started again\n",
    );
    run.stop();
}

#[test]
fn a_run_whose_cargo_lambda_is_killed_ends_and_leaves_no_process() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let processes = run.processes();
    let mut watching = processes
        .iter()
        .filter(|it| it.command[0] == "cargo-lambda");
    send_signal("KILL", watching.next().expect("cargo-lambda runs"));
    run.wait_for_output("make run: cargo-lambda ended (");
    assert!(!run.ended().success());
}

/// Waits up to a minute for the function's process.
fn function(run: &LocalRun, name: &str) -> Process {
    let program = format!("/{name}");
    for _ in 0..6000 {
        let processes = run.processes().into_iter();
        if let Some(found) = processes
            .into_iter()
            .find(|it| it.command[0].ends_with(&program))
        {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{name} does not start");
}

fn send_signal(signal: &str, process: &Process) {
    let kill = Command::new("kill")
        .args([format!("-{signal}"), process.id.to_string()])
        .status();
    assert!(kill.unwrap().success());
}

#[test]
fn a_page_cannot_predict_the_internal_addresses_or_the_key_of_the_engine() {
    let _alone = alone();
    let data = temporary_folder();
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let run = LocalRun::start(data.path());
        let processes = run.processes();
        let mut listening: BTreeSet<_> = processes.iter().flat_map(Process::listens).collect();
        let page_port = run
            .page_origin()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        for port in [run.port(), page_port] {
            let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            assert!(listening.remove(&address), "{address}");
        }
        assert_eq!(listening.len(), 2, "the engine and the functions");
        for address in listening {
            assert!(address.ip().is_loopback(), "{address}");
            assert!(seen.insert(address.ip().to_string()), "{address}");
        }
        assert!(!seen.contains("127.0.0.1"));

        let function = function(&run, "create-user");
        let key = function.variable("AWS_ACCESS_KEY_ID").unwrap();
        assert_eq!(key.len(), 32);
        let engine = function.variable("AWS_ENDPOINT_URL_DYNAMODB").unwrap();
        for (other, status) in [("local", 400), ("test", 400), (key, 200)] {
            let signature = format!("AWS4-HMAC-SHA256 Credential={other}/20261127/local");
            let scan = http::client(Duration::from_secs(60))
                .post(engine)
                .header("authorization", signature)
                .header("x-amz-target", "DynamoDB_20120810.Scan")
                .send(r#"{"TableName":"users"}"#);
            assert_eq!(scan.unwrap().status(), status, "{other}");
        }
        assert!(seen.insert(key.to_owned()));
        run.stop();
    }
}

#[test]
fn a_copied_project_serves_its_own_code_and_data() {
    let _alone = alone();
    let copy = temporary_folder();
    let copy = copy.path();
    let mut files = Command::new("cp");
    files.arg("-a");
    for entry in fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if ![".data", ".git", ".tools", "target"]
            .map(OsStr::new)
            .contains(&&*name)
        {
            files.arg(entry.path());
        }
    }
    assert!(
        output({
            files.arg(copy);
            files
        })
        .status
        .success()
    );
    // A developer who copies the project also copies the build output, which cargo reuses. Here, a
    // link is enough.
    symlink(target(), copy.join("target")).unwrap();

    let mut program = program("local");
    program.current_dir(copy);
    let run = LocalRun::start_by(program, Path::new(".data"));
    let data = copy.join(".data");
    run.wait_for_output(&format!("\nThe users are kept in {}. ", data.display()));
    assert!(data.join("dynamodb.sqlite").is_file());
    for process in run.processes() {
        let folder = process.folder.as_ref();
        assert!(folder.is_none_or(|it| *it == copy), "{process:?}");
    }
    let folder = copy.join("functions/list-users");
    let compiling = format!("Compiling list-users v0.1.0 ({})", folder.display());
    // Edit the file until a build starts, because cargo-lambda may not watch the files yet.
    for _ in 0..60 {
        if run.output().contains(&compiling) {
            break;
        }
        touch(&folder.join("src/main.rs"));
        thread::sleep(Duration::from_secs(2));
    }
    run.wait_for_output(&compiling);
    assert_eq!(run.list("").status, 200);
    run.stop();
}

#[test]
fn a_folder_without_the_project_is_reported_in_one_line() {
    let folder = temporary_folder();
    let mut command = program("local");
    command.current_dir(folder.path());
    let message = format!(
        "make run: {}/template.yaml: No such file or directory (os error 2); start this in the folder \
         of the project, as `make run` does\n",
        folder.path().display()
    );
    assert_refused(&output(command), &message);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_tilde_that_the_shell_did_not_expand_means_the_home_folder() {
    let home = temporary_folder();
    fs::write(home.path().join("file"), "").unwrap();
    let refused = |folder: &str, message: &str| {
        let mut command = program("local");
        command
            .env("HOME", home.path())
            .env("PORT", "0")
            .env("PAGE_PORT", "0")
            .env("DATA_DIR", folder);
        assert_refused(&output(command), &format!("make run: {message}\n"));
    };
    let shown = home.path().display();
    refused(
        "~/file/data",
        &format!(
            "the data folder {shown}/file/data can't be written: Not a directory (os error 20); choose \
             another folder, as in `make run DATA_DIR=/tmp/users`"
        ),
    );
    refused(
        "~grace/data",
        "DATA_DIR=~grace/data names a home folder that can't be found; write the absolute path, or \
         ./~grace/data for a folder of this name",
    );
    assert!(!root().join("~").exists() && !root().join("~grace").exists());
}

#[test]
fn make_run_starts_the_service_and_leaves_no_process_when_it_ends() {
    let _alone = alone();
    for signal in ["TERM", "KILL"] {
        let data = temporary_folder();
        let mut make = Command::new("make");
        make.arg("run").current_dir(root());
        // The `make` under test must not inherit what the `make` that runs the tests may have set.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        let run = LocalRun::start_by(make, data.path());
        assert_eq!(run.create("ada").status, 201);
        run.signal(signal);
        assert!(!run.ended().success());
    }
}

#[test]
fn git_ignores_a_new_data_folder() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    run.stop();
    let ignored = fs::read_to_string(data.path().join(".gitignore")).unwrap();
    assert_eq!(ignored, "*\n");
}

#[test]
fn a_file_that_is_not_a_database_is_reported_in_one_line() {
    let data = temporary_folder();
    fs::write(data.path().join("dynamodb.sqlite"), "x".repeat(10_000)).unwrap();
    let refused = start_refused(ANY_PORTS, data.path(), None);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.starts_with("make run: "), "{message}");
    assert!(message.contains("dynamodb.sqlite is not a database of this service, or is damaged"));
    assert_eq!(message.lines().count(), 1, "{message}");
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn a_data_folder_keeps_the_files_that_are_in_it() {
    let _alone = alone();
    let data = temporary_folder();
    let files = [".gitignore", "lock", "dynamodb.lock"].map(|name| data.path().join(name));
    for file in &files {
        fs::write(file, "mine").unwrap();
    }
    let run = LocalRun::start(data.path());
    run.stop();
    for file in &files {
        assert_eq!(
            fs::read_to_string(file).unwrap(),
            "mine",
            "{}",
            file.display()
        );
    }
}

#[test]
fn a_missing_tool_is_named_in_one_line() {
    let tools = [
        (
            "cargo",
            "This needs Rust. Install it from https://rustup.rs.\n",
        ),
        (
            "cc",
            "This needs a C compiler, cc. Install gcc or clang, for instance the package \
             build-essential.\n",
        ),
        (
            "python3",
            "This needs Python 3. Install the package python3.\n",
        ),
        (
            "c++",
            "This needs a C++ compiler, c++. Install g++ or clang, for instance the package \
             build-essential.\n",
        ),
        ("git", "This needs git. Install the package git.\n"),
    ];
    let install = |folder: &TempDir, tool: &str, script: &str| {
        let tool = folder.path().join(tool);
        fs::write(&tool, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let all_but = |missing: &str| {
        let folder = temporary_folder();
        for (tool, _) in tools.iter().filter(|(tool, _)| *tool != missing) {
            install(&folder, tool, "");
        }
        folder
    };
    let check = |tier: &str, tools: &TempDir| {
        let mut check = Command::new("/bin/sh");
        check
            .args(["tools/check", tier])
            .current_dir(root())
            .env("PATH", tools.path());
        output(check)
    };
    for (missing, message) in tools {
        assert_refused(&check("verify", &all_but(missing)), message);
    }
    let folder = all_but("cargo");
    install(&folder, "cargo", "[ \"$1\" != clippy ]");
    let message =
        "This needs clippy and rustfmt. Install them with: rustup component add clippy rustfmt\n";
    assert_refused(&check("verify", &folder), message);
    assert!(check("test", &folder).status.success());
    install(&folder, "cargo", "[ \"$1\" != fmt ]");
    let message = "This needs rustfmt. Install it with: rustup component add rustfmt\n";
    assert_refused(&check("test", &folder), message);
    for missing in ["c++", "git"] {
        assert!(check("test", &all_but(missing)).status.success());
    }
}

#[test]
fn a_new_file_outside_of_the_sources_does_not_restart_the_functions() {
    // After an edit, cargo-lambda waits three seconds for more edits, and then restarts a function.
    const TIME_TO_ACT: Duration = Duration::from_secs(6);
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let starts = || run.output().matches("Running `").count();
    let before = starts();
    assert!(before >= 2, "both functions have started");
    let beside = NamedTempFile::new_in(root()).unwrap();
    fs::write(beside.path(), "a note").unwrap();
    let written = Instant::now();
    while written.elapsed() < TIME_TO_ACT {
        assert_eq!(run.list("").status, 200);
    }
    assert_eq!(starts(), before);
    run.stop();
}

#[test]
fn an_edit_rebuilds_the_functions() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    assert_eq!(run.create("ada").status, 201);

    touch(&root().join("functions/list-users/src/main.rs"));
    run.wait_for_output("Compiling list-users");
    let before = run.output().len();
    assert_eq!(run.list("").usernames(), ["ada"]);
    run.wait_for_output_after(before, r#""coldStart":true"#);

    run.stop();
}

fn touch(file: &Path) {
    let file = File::options().append(true).open(file).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
}

#[test]
fn seed_creates_the_requested_number_of_users() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    for total in [40, 80] {
        let mut seed = program("seed");
        seed.env("N", "40").env("PORT", run.port().to_string());
        let Output { status, stdout, .. } = output(seed);
        assert!(status.success());
        let message = String::from_utf8(stdout).unwrap();
        assert!(message.starts_with("Created 40 users in "), "{message}");
        assert_eq!(run.usernames().len(), total);
    }
    run.stop();
}

#[test]
fn seed_says_what_is_wrong_in_one_line() {
    let (_socket, url) = unreachable();
    let port = url.rsplit(':').next().unwrap().to_owned();
    let address = url.rsplit('/').next().unwrap();
    // Each operating system has its own text for this error.
    let refused = TcpStream::connect(address).unwrap_err();
    let url = format!("{url}/api/users");
    for (count, message) in [
        (
            "many",
            "N=many is not a number of users; write for example `make seed N=1000`".to_owned(),
        ),
        (
            "",
            "N= is not a number of users; write for example `make seed N=1000`".to_owned(),
        ),
        (
            "1",
            format!(
                "{url} does not answer: io: {refused}; is `make run` running? (0 users were created)"
            ),
        ),
    ] {
        let mut seed = program("seed");
        seed.env("N", count).env("PORT", &port);
        assert_refused(&output(seed), &format!("make seed: {message}\n"));
    }
}

#[test]
fn an_error_that_prevents_a_run_is_reported_in_one_line() {
    let _alone = alone();
    let data = temporary_folder();
    let file = data.path().join("file");
    fs::write(&file, "").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Each operating system has its own text for this error.
    let refused = TcpListener::bind(address).unwrap_err();
    let used = address.port();
    let in_use = |variable| {
        let other = used.checked_add(2).unwrap_or(9000);
        format!(
            "port {used} can't be used: {refused}; stop what uses it, or \
             choose another port, as in `make run {variable}={other}`"
        )
    };

    let used = used.to_string();
    for (ports, folder, message) in [
        ([&*used, "0"], data.path(), in_use("PORT")),
        (["0", &*used], data.path(), in_use("PAGE_PORT")),
        (
            ["web", "0"],
            data.path(),
            "PORT must be a number from 0 to 65535, not web".to_owned(),
        ),
        (
            ["0", "65536"],
            data.path(),
            "PAGE_PORT must be a number from 0 to 65535, not 65536".to_owned(),
        ),
        (
            ANY_PORTS,
            &file.join("data"),
            format!(
                "the data folder {}/data can't be written: Not a directory (os error 20); choose \
                 another folder, as in `make run DATA_DIR=/tmp/users`",
                file.display()
            ),
        ),
    ] {
        let refused = start_refused(ports, folder, None);
        assert_refused(&refused, &format!("make run: {message}\n"));
    }

    let mut command = program("local");
    command.env("DATA_DIR", data.path()).env("TRACE", "yes");
    command.env("PORT", "0").env("PAGE_PORT", "0");
    assert_refused(
        &output(command),
        "make run: TRACE must be 0 or 1, not yes\n",
    );

    let refused = start_refused(ANY_PORTS, data.path(), Some("/nowhere"));
    assert_refused(
        &refused,
        "make run: cargo-lambda is missing; `make run` installs it and starts the service\n",
    );

    let run = LocalRun::start(data.path());
    let refused = start_refused(ANY_PORTS, data.path(), None);
    let message = format!(
        "make run: the data folder {} is in use by another `make run`; stop that one, or choose \
         another folder, as in `make run DATA_DIR=/tmp/users`\n",
        data.path().display()
    );
    assert_refused(&refused, &message);
    assert_eq!(run.list("").body, "[]");
    run.stop();
}

/// Values for `PORT` and `PAGE_PORT`. 0 makes the local run choose any free port.
const ANY_PORTS: [&str; 2] = ["0", "0"];

fn start_refused([port, page_port]: [&str; 2], data: &Path, path: Option<&str>) -> Output {
    let mut command = program("local");
    command
        .env("PORT", port)
        .env("PAGE_PORT", page_port)
        .env("DATA_DIR", data);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    output(command)
}

#[track_caller]
fn assert_refused(refused: &Output, message: &str) {
    assert_eq!(String::from_utf8_lossy(&refused.stderr), message);
    assert_eq!(String::from_utf8_lossy(&refused.stdout), "");
    assert_eq!(refused.status.code(), Some(1));
}
