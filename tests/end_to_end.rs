//! The local run, from outside: both real functions under cargo-lambda, and the embedded DynamoDB
//! on a file.

mod disk;

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};
use tests::{
    answer::headers,
    local_run::{LocalRun, free_ports, output, program},
    service::unreachable,
    workspace::{built, root},
};

/// One test at a time: a change of a source file reaches every running service.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    // Another test's failure is told by that test.
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn temporary_folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
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
fn of_many_creates_of_one_username_at_once_exactly_one_succeeds_over_http() {
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
    // To see a failure again, with the seed that its output ends with.
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

/// The fuzzer of the contract, which does not outlive its test.
struct Fuzzer(Child);

impl Fuzzer {
    fn start(mut command: Command, log: &Path) -> Self {
        let log = File::create(log).unwrap();
        command.stdin(Stdio::null());
        command.stderr(log.try_clone().unwrap()).stdout(log);
        Self(command.spawn().unwrap())
    }

    /// Waits until it has ended. It takes a minute or two.
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
fn the_page_alone_may_call_the_api_from_another_origin_and_as_the_template_has_it() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let page = run.page_origin();
    let preflight = ("access-control-request-method", "POST");

    let answer = run.cors("GET", &[("origin", &page)]);
    let of_answers = headers(&[
        ("access-control-allow-origin", &page),
        (
            "access-control-expose-headers",
            "etag,idempotent-replayed,link,retry-after",
        ),
        ("vary", "origin"),
    ]);
    assert_eq!(answer, (200, of_answers.clone()));
    // A page must be able to read why it was refused.
    assert_eq!(run.cors("POST", &[("origin", &page)]), (415, of_answers));
    let of_preflights = headers(&[
        ("access-control-allow-origin", &page),
        ("access-control-allow-methods", "GET,POST"),
        (
            "access-control-allow-headers",
            "authorization,content-type,idempotency-key,if-none-match",
        ),
        ("access-control-max-age", "3600"),
        ("vary", "origin"),
    ]);
    let answer = run.cors("OPTIONS", &[("origin", &page), preflight]);
    assert_eq!(answer, (204, of_preflights));

    let port = page.rsplit(':').next().unwrap();
    for other in [
        format!("http://127.0.0.1:{}", run.port()),
        format!("http://localhost:{port}"),
        format!("https://127.0.0.1:{port}"),
        format!("{page}/"),
        format!("{page}0"),
        page.to_uppercase(),
        "null".to_owned(),
        "*".to_owned(),
        String::new(),
    ] {
        let origin = ("origin", &*other);
        assert_eq!(run.cors("GET", &[origin]), (200, headers(&[])), "{other}");
        assert_eq!(run.cors("POST", &[origin]), (415, headers(&[])), "{other}");
        let answer = run.cors("OPTIONS", &[origin, preflight]);
        assert_eq!(answer, (204, headers(&[])), "{other}");
    }
    run.stop();
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
                    // The service is killed below. Then no answer comes any more, or a last 503 of
                    // a function that has just lost its table.
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
fn make_run_runs_the_service_and_its_end_ends_everything() {
    let _alone = alone();
    for signal in ["TERM", "KILL"] {
        let data = temporary_folder();
        let mut make = Command::new("make");
        make.arg("run").current_dir(root());
        // The tests themselves may run under make, which would pass on its own flags.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        let run = LocalRun::start_by(make, data.path());
        assert_eq!(run.create("ada").status, 201);
        run.signal(signal);
        assert!(!run.ended().success());
    }
}

#[test]
fn a_data_folder_of_its_own_is_overlooked_by_git() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    run.stop();
    let ignored = fs::read_to_string(data.path().join(".gitignore")).unwrap();
    assert_eq!(ignored, "*\n");
}

#[test]
fn a_file_that_is_no_database_is_said_in_one_line() {
    let data = temporary_folder();
    fs::write(data.path().join("dynamodb.sqlite"), "x".repeat(10_000)).unwrap();
    let refused = start_refused(&two_ports(), data.path(), None);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.starts_with("make run: "), "{message}");
    assert!(message.contains("dynamodb.sqlite is no database of this service, or is damaged"));
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
        "This needs clippy and rustfmt. Install them by: rustup component add clippy rustfmt\n";
    assert_refused(&check("verify", &folder), message);
    assert!(check("test", &folder).status.success());
    install(&folder, "cargo", "[ \"$1\" != fmt ]");
    let message = "This needs rustfmt. Install it by: rustup component add rustfmt\n";
    assert_refused(&check("test", &folder), message);
    for missing in ["c++", "git"] {
        assert!(check("test", &all_but(missing)).status.success());
    }
}

#[test]
fn a_write_beside_the_sources_starts_no_function_anew() {
    // cargo-lambda gathers the changes of three seconds before it acts.
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
fn an_edit_builds_the_functions_anew() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    assert_eq!(run.create("ada").status, 201);

    let source = fs::File::options()
        .append(true)
        .open(root().join("functions/list-users/src/main.rs"))
        .unwrap();
    source.set_modified(SystemTime::now()).unwrap();
    run.wait_for_output("Compiling list-users");
    let before = run.output().len();
    assert_eq!(run.list("").usernames(), ["ada"]);
    run.wait_for_output_after(before, r#""coldStart":true"#);

    run.stop();
}

#[test]
fn a_function_is_invoked_with_a_whole_event_of_the_gateway() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let mut invoke = Command::new("cargo-lambda");
    invoke
        .args(["lambda", "invoke", "create-user"])
        .args(["--data-file", "tests/events/create_user.json"])
        .args(["--invoke-address", "127.0.0.1"])
        .args(["--invoke-port", &run.port().to_string()])
        .current_dir(root());
    let Output {
        status,
        stdout,
        stderr,
    } = output(invoke);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let response: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(response["statusCode"], 201, "{response}");
    assert_eq!(run.list("").usernames(), ["ada"]);
    // The event has the claims of a token, which the local gateway itself never adds.
    let caller = r#""caller":"6q1k2j3h4g5f6d7s8a9p0o1i2u""#;
    run.wait_for_output(caller);
    run.stop();
}

#[test]
fn seed_creates_as_many_users_as_it_is_told() {
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
    let url = format!("{url}/api/users");
    for (count, message) in [
        (
            "many",
            "say how many users, as in `make seed N=1000`, not N=many".to_owned(),
        ),
        (
            "",
            "say how many users, as in `make seed N=1000`, not N=".to_owned(),
        ),
        (
            "1",
            format!(
                "{url} does not answer: io: Connection refused (os error 111); is `make run` running? \
                 (0 users were created)"
            ),
        ),
    ] {
        let mut seed = program("seed");
        seed.env("N", count).env("PORT", &port);
        assert_refused(&output(seed), &format!("make seed: {message}\n"));
    }
}

#[test]
fn what_stands_in_the_way_of_a_run_is_said_in_one_line() {
    let _alone = alone();
    let data = temporary_folder();
    let file = data.path().join("file");
    fs::write(&file, "").unwrap();
    let used = TcpListener::bind("127.0.0.1:0").unwrap();
    let used = used.local_addr().unwrap().port();
    let [port, page_port] = two_ports();
    let in_use = |variable| {
        let other = used.checked_add(2).unwrap_or(9000);
        format!(
            "port {used} can't be used: Address already in use (os error 98); stop what uses it, or \
             choose another port, as in `make run {variable}={other}`"
        )
    };

    for (ports, folder, message) in [
        (
            [used.to_string(), page_port.clone()],
            data.path(),
            in_use("PORT"),
        ),
        (
            [port.clone(), used.to_string()],
            data.path(),
            in_use("PAGE_PORT"),
        ),
        (
            ["web".to_owned(), page_port.clone()],
            data.path(),
            "PORT is not a number from 1 to 65535: web".to_owned(),
        ),
        (
            [port.clone(), "0".to_owned()],
            data.path(),
            "PAGE_PORT is not a number from 1 to 65535: 0".to_owned(),
        ),
        (
            two_ports(),
            &file.join("data"),
            format!(
                "the data folder {}/data can't be written: Not a directory (os error 20); choose \
                 another one, as in `make run DATA_DIR=/tmp/users`",
                file.display()
            ),
        ),
    ] {
        let refused = start_refused(&ports, folder, None);
        assert_refused(&refused, &format!("make run: {message}\n"));
    }

    let refused = start_refused(&two_ports(), data.path(), Some("/nowhere"));
    assert_refused(
        &refused,
        "make run: cargo-lambda is missing; start the service with `make run`, which installs it\n",
    );

    let run = LocalRun::start(data.path());
    let refused = start_refused(&two_ports(), data.path(), None);
    let message = format!(
        "make run: the data folder {} is in use by another `make run`; stop that one, or choose \
         another folder, as in `make run DATA_DIR=/tmp/users`\n",
        data.path().display()
    );
    assert_refused(&refused, &message);
    assert_eq!(run.list("").body, "[]");
    run.stop();
}

fn two_ports() -> [String; 2] {
    free_ports().map(|port| port.to_string())
}

fn start_refused([port, page_port]: &[String; 2], data: &Path, path: Option<&str>) -> Output {
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
