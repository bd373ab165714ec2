//! What the local run takes from its environment.

use std::{
    env,
    ffi::OsString,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
};

/// The port that the service listens on unless `PORT` says otherwise.
pub const DEFAULT_PORT: u16 = 9000;

/// Reads `PORT`.
///
/// # Errors
/// It is not a number from 1 to 65535.
pub fn port() -> Result<u16, String> {
    let Some(port) = set("PORT") else {
        return Ok(DEFAULT_PORT);
    };
    let number = port.to_str().and_then(|port| port.parse().ok());
    number.filter(|port| *port != 0).ok_or_else(|| {
        let port = port.display();
        format!("PORT is not a number from 1 to 65535: {port}")
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

/// Checks that nobody listens on a port, before anything is built that needs it.
///
/// # Errors
/// Somebody does, or the port is reserved.
pub fn check_port_is_free(port: u16) -> Result<(), String> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "port {port} can't be used: {error}; stop what uses it, or choose another port, as in \
             `make run PORT={}`",
            port.checked_add(1).unwrap_or(DEFAULT_PORT)
        )),
    }
}
