//! What the local run takes from its environment.

use std::{env, ffi::OsString, path::PathBuf};

use crate::port::Port;

/// The port that the service listens on unless `PORT` says otherwise.
pub const DEFAULT_PORT: u16 = 9000;

/// Reads `PORT`; 0 means any free port.
///
/// # Errors
/// It is not a number from 0 to 65535.
pub fn port() -> Result<u16, String> {
    read_port("PORT", DEFAULT_PORT)
}

/// Reads `PAGE_PORT`, the port of the page; the one after `PORT`, or any free one after 0, unless it is set.
///
/// # Errors
/// It is not a number from 0 to 65535.
pub fn page_port(port: u16) -> Result<u16, String> {
    let default = match port {
        0 => 0,
        port => port.checked_add(1).unwrap_or(DEFAULT_PORT),
    };
    read_port("PAGE_PORT", default)
}

fn read_port(variable: &str, default: u16) -> Result<u16, String> {
    let Some(port) = set(variable) else {
        return Ok(default);
    };
    let number = port.to_str().and_then(|port| port.parse().ok());
    number.ok_or_else(|| {
        let port = port.display();
        format!("{variable} is not a number from 0 to 65535: {port}")
    })
}

/// Reads `DATA_DIR`; a relative path starts at the current folder.
#[must_use]
pub fn data_folder() -> Option<PathBuf> {
    set("DATA_DIR").map(PathBuf::from)
}

/// A variable's value. An empty one counts as none, as `make` passes on what is not set.
fn set(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

/// Takes the port that a variable names, before anything is built that needs it. Who connects
/// meanwhile waits.
///
/// # Errors
/// Somebody has it, or the port is reserved.
pub async fn listen(variable: &str, number: u16) -> Result<Port, String> {
    Port::bind(number).await.map_err(|error| {
        // The next one may be the page's.
        let other = number.checked_add(2).unwrap_or(DEFAULT_PORT);
        format!(
            "port {number} can't be used: {error}; stop what uses it, or choose another port, as in \
             `make run {variable}={other}`"
        )
    })
}
