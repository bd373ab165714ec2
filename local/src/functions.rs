//! Both functions as real processes under `cargo lambda watch`, behind one port with the API's
//! routes.

use std::{env, io, path::Path, process, time::Duration};

use tokio::process::Command;

use crate::{guard::Guarded, http};

/// The name of the table in the local run.
pub const TABLE_NAME: &str = "users";

/// How long both functions may take to answer for the first time. They are built by then; what is
/// left is cargo's check that nothing changed, and their start-up.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);

/// The features of all other builds, so that none builds a dependency again (tools/unified).
const FEATURES: [&str; 2] = ["--features", "unified/all"];

/// Checks that cargo-lambda is there.
///
/// # Errors
/// It is not.
pub fn check_cargo_lambda() -> Result<(), String> {
    let mut command = process::Command::new("cargo-lambda");
    match command.args(["lambda", "--version"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(
            "cargo-lambda is missing; start the service with `make run`, which installs it"
                .to_owned(),
        ),
    }
}

/// Builds both functions as `cargo lambda watch` runs them, so that no request waits for a
/// compiler.
///
/// # Errors
/// There is no shell.
pub fn build(root: &Path) -> io::Result<Guarded> {
    let mut command = Guarded::command("cargo");
    // The default members of the workspace are the functions.
    command.args(["build", "--locked", "--bins"]).args(FEATURES);
    run_in(root, &mut command);
    Guarded::start(command)
}

/// Starts the routes, and behind them each function as soon as a request for it comes. A change of
/// a source file builds and starts its function anew.
///
/// # Errors
/// There is no shell.
pub fn watch(root: &Path, port: u16, engine_url: &str) -> io::Result<Guarded> {
    let mut command = Guarded::command("cargo-lambda");
    command
        .args(["lambda", "watch", "--locked"])
        .args(FEATURES)
        // By itself it would listen on every interface and let any web page read the answers.
        .args(["--invoke-address", "127.0.0.1", "--disable-cors"])
        .args(["--invoke-port", &port.to_string()]);
    run_in(root, &mut command);
    // Whatever account the developer works with, the functions must not see it.
    forget(&mut command, &["AWS_"]);
    command
        .env("TABLE_NAME", TABLE_NAME)
        .env("LIST_MAX_AGE_SECONDS", "0")
        .env("AWS_ENDPOINT_URL_DYNAMODB", engine_url)
        .env("AWS_REGION", "local")
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local");
    // Its notes on every process it starts would drown the functions' own lines.
    if env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", "cargo_lambda=warn");
    }
    Guarded::start(command)
}

/// Has a command of cargo work in the workspace, and see of this process's environment what it
/// would see at the developer's prompt: `cargo run` sets variables of its own, on which some
/// crates' builds depend.
fn run_in(root: &Path, command: &mut Command) {
    command.current_dir(root);
    forget(command, &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]);
}

/// Keeps the variables whose names begin so from a command.
fn forget(command: &mut Command, prefixes: &[&str]) {
    for (variable, _) in env::vars_os() {
        let name = variable.as_encoded_bytes();
        let has = |prefix: &&str| name.starts_with(prefix.as_bytes());
        if prefixes.iter().any(has) {
            command.env_remove(variable);
        }
    }
}

/// Waits until both functions answer. Blocks.
///
/// # Errors
/// One of them does not answer within a minute, or wrongly.
pub fn wait_until_ready(users_url: &str) -> Result<(), String> {
    let agent = http::agent(READY_TIMEOUT);
    let get = || agent.get(users_url).query("limit", "1").call();
    expect(get, 200)?;
    // A request that create-user refuses before it asks the table.
    let post = || agent.post(users_url).send_empty();
    expect(post, 415)
}

fn expect(
    call: impl Fn() -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    status: u16,
) -> Result<(), String> {
    let attempts = READY_TIMEOUT.as_millis() / PAUSE.as_millis();
    for _ in 0..attempts {
        match call() {
            Ok(response) if response.status() == status => return Ok(()),
            Ok(response) => {
                let status = response.status();
                return Err(format!("a function answered {status}; see the lines above"));
            }
            Err(ureq::Error::ConnectionFailed | ureq::Error::Io(_)) => std::thread::sleep(PAUSE),
            Err(error) => return Err(format!("a function does not answer: {error}")),
        }
    }
    Err("cargo-lambda does not answer; see the lines above".to_owned())
}
