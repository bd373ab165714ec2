//! Runs both functions as real processes under `cargo lambda watch`, which serves Lambda's Invoke API.

use std::{env, io, net::SocketAddr, path::Path, process};

use serde_json::json;
use tokio::process::Command;

use crate::guard::Guarded;

/// The name of the local run's table.
pub const TABLE_NAME: &str = "users";

/// The options that stop cargo from building a dependency twice (see tools/unified/Cargo.toml).
const FEATURES: [&str; 2] = ["--features", "unified/all"];

/// Checks that cargo-lambda is installed.
///
/// # Errors
/// Fails if cargo-lambda is missing.
pub fn check_cargo_lambda() -> Result<(), String> {
    let mut command = process::Command::new("cargo-lambda");
    match command.args(["lambda", "--version"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => {
            Err("cargo-lambda is missing; `make run` installs it and starts the service".to_owned())
        }
    }
}

/// Builds both functions with the options of `cargo lambda watch`, which then has nothing left to
/// compile. So no request waits for a compiler.
///
/// # Errors
/// Fails if the shell `sh` can't be started.
pub fn build(root: &Path) -> io::Result<Guarded> {
    let mut command = Guarded::command("cargo");
    // Without `--package`, cargo builds the workspace's default members, whose only binaries are the
    // functions.
    command.args(["build", "--locked", "--bins"]).args(FEATURES);
    prepare(root, &mut command);
    Guarded::start(command)
}

/// Serves both functions at `address`. A function starts when its first event arrives. It starts
/// again when its process ends, and after an edit of a source file that it uses.
///
/// # Errors
/// Fails if the shell `sh` can't be started.
pub fn watch(
    root: &Path,
    address: SocketAddr,
    engine_url: &str,
    access_key_id: &str,
    agent: Option<&str>,
) -> io::Result<Guarded> {
    // cargo-lambda starts a function with `cargo run`, which starts the binary through this runner.
    let runner = json!(["sh", "local/src/sandbox.sh"]);
    let mut command = Guarded::command("cargo-lambda");
    command
        .args(["lambda", "watch", "--locked"])
        .args(FEATURES)
        .args(["--config", &format!("target.'cfg(all())'.runner={runner}")])
        // By default, cargo-lambda listens on every network interface and lets any web page read
        // the responses.
        .args(["--invoke-address", &address.ip().to_string()])
        .args(["--invoke-port", &address.port().to_string()])
        .arg("--disable-cors");
    prepare(root, &mut command);
    // The functions must not use the developer's AWS account.
    remove_variables(&mut command, &["AWS_"]);
    command
        .env("TABLE_NAME", TABLE_NAME)
        .env("LIST_MAX_AGE_SECONDS", "0")
        .env("AWS_ENDPOINT_URL_DYNAMODB", engine_url)
        .env("AWS_REGION", "local")
        .env("AWS_ACCESS_KEY_ID", access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", "local");
    if let Some(agent) = agent {
        command.env("AWS_XRAY_DAEMON_ADDRESS", agent);
    }
    // By default, cargo-lambda logs every process that it starts, and a developer could miss the
    // functions' lines.
    if env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", "cargo_lambda=warn");
    }
    Guarded::start(command)
}

/// Sets up a cargo command to run in the workspace, without the variables that `cargo run` may have set
/// for this program. cargo rebuilds some crates when these variables change.
fn prepare(root: &Path, command: &mut Command) {
    command.current_dir(root);
    remove_variables(command, &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]);
}

/// Stops a command from inheriting the variables whose names begin with one of these prefixes.
fn remove_variables(command: &mut Command, prefixes: &[&str]) {
    for (variable, _) in env::vars_os() {
        let name = variable.as_encoded_bytes();
        let has = |prefix: &&str| name.starts_with(prefix.as_bytes());
        if prefixes.iter().any(has) {
            command.env_remove(variable);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::Stdio,
        time::{Duration, Instant},
    };

    use tokio::{
        io::{AsyncBufReadExt, BufReader},
        time::timeout,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_function_that_keeps_exiting_is_restarted_once_a_second_until_the_run_ends() {
        let script = "exec sh src/sandbox.sh sh -c 'echo started; exit 3' 2>&1";
        let mut sandbox = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let mut lines = BufReader::new(sandbox.stdout.take().unwrap()).lines();
        for _ in 0..3 {
            let ended = "make run: the function sh ended (status 3) and is started again";
            for expected in ["started", ended] {
                let line = timeout(PATIENCE, lines.next_line()).await.unwrap();
                assert_eq!(line.unwrap().as_deref(), Some(expected));
            }
        }
        assert!(begun.elapsed() >= Duration::from_secs(2));

        drop(sandbox.stdin.take());
        // The script's output ends only when the script and all its child processes have ended.
        let rest = async { while lines.next_line().await.unwrap().is_some() {} };
        timeout(PATIENCE, rest).await.expect("nothing is left");
        assert!(!sandbox.wait().await.unwrap().success());
    }
}
