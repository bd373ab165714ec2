//! URLs and HTTP clients for the local run.

use std::time::Duration;

use ureq::Agent;

/// The URL of `/api/users` on this machine.
#[must_use]
pub fn users_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/api/users")
}

/// Creates an HTTP client that uses no proxy and does not turn an error status into an `Err`.
#[must_use]
pub fn client(timeout: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(timeout))
        .build()
        .into()
}
