//! The client's side of the local run.

use std::time::Duration;

use ureq::Agent;

/// The URL of the users behind this port.
#[must_use]
pub fn users_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/api/users")
}

/// A client that gives every answer as it is, whatever its status, and takes no proxy on its way to
/// this machine.
#[must_use]
pub fn agent(timeout: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(timeout))
        .build()
        .into()
}
