//! What the local run takes from its environment.

use std::{
    env,
    ffi::OsString,
    io,
    net::{self, Ipv4Addr},
    path::PathBuf,
};

use tokio::net::TcpListener;

/// The port that the service listens on unless `PORT` says otherwise.
pub const DEFAULT_PORT: u16 = 9000;

/// Reads `PORT`.
///
/// # Errors
/// It is not a number from 1 to 65535.
pub fn port() -> Result<u16, String> {
    read_port("PORT", DEFAULT_PORT)
}

/// Reads `PAGE_PORT`, the port of the page; the one after the service's unless it is set.
///
/// # Errors
/// It is not a number from 1 to 65535.
pub fn page_port(port: u16) -> Result<u16, String> {
    read_port("PAGE_PORT", port.checked_add(1).unwrap_or(DEFAULT_PORT))
}

fn read_port(variable: &str, default: u16) -> Result<u16, String> {
    let Some(port) = set(variable) else {
        return Ok(default);
    };
    let number = port.to_str().and_then(|port| port.parse().ok());
    number.filter(|port| *port != 0).ok_or_else(|| {
        let port = port.display();
        format!("{variable} is not a number from 1 to 65535: {port}")
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
pub async fn listen(variable: &str, port: u16) -> Result<TcpListener, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener.map_err(|error| {
        // The next one may be the page's.
        let other = port.checked_add(2).unwrap_or(DEFAULT_PORT);
        format!(
            "port {port} can't be used: {error}; stop what uses it, or choose another port, as in \
             `make run {variable}={other}`"
        )
    })
}

/// A port that nobody uses.
///
/// # Errors
/// No port is free.
pub fn free_port() -> io::Result<u16> {
    let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
