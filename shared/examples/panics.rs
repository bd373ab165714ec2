//! A function that panics on every request. The example shows that a release build turns a panic into a response and
//! keeps the process running.

use std::process::ExitCode;

use lambda_http::Request;
use shared::{config::ConfigError, problem::Problem, response::LoggedResponse, runtime};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    runtime::run("GET /panics", async || Ok::<_, ConfigError>(handle)).await
}

/// Panics. If the request has a query, the panic's message contains it, just as some messages of the standard
/// library contain their input. Without a query, the message is a string constant.
async fn handle(request: Request) -> Result<LoggedResponse, Problem> {
    let query = request.uri().query().unwrap_or_default();
    assert!(query.is_empty(), "cannot handle {query}");
    panic!("there is nothing to handle");
}
