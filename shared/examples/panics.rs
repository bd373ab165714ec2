//! A function with a bug: it panics at every request. It shows, built for release as the functions
//! are, that a panic becomes an answer and the process lives on.

use std::process::ExitCode;

use lambda_http::Request;
use shared::{config::ConfigError, problem::Problem, response::LoggedResponse, runtime};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    runtime::run("GET /panics", async || Ok::<_, ConfigError>(handle)).await
}

/// Panics with a message that quotes its input, as the standard library's do.
async fn handle(request: Request) -> Result<LoggedResponse, Problem> {
    let query = request.uri().query().unwrap_or_default();
    assert!(query.is_empty(), "cannot handle {query}");
    panic!("there is nothing to handle");
}
