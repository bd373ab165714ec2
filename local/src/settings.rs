//! The local run's settings, read from environment variables.

use std::{env, ffi::OsString, path::PathBuf};

use crate::port::Port;

/// The service's port if `PORT` is not set.
pub const DEFAULT_PORT: u16 = 9000;

/// Reads `PORT`, the service's port. The value 0 means any free port.
///
/// # Errors
/// Fails if the value is not a number from 0 to 65535.
pub fn port() -> Result<u16, String> {
    read_port("PORT", DEFAULT_PORT)
}

/// Reads `PAGE_PORT`. The default is the port after `PORT`, or any free port if `PORT` is 0.
///
/// # Errors
/// Fails if the value is not a number from 0 to 65535.
pub fn page_port(port: u16) -> Result<u16, String> {
    let default = match port {
        0 => 0,
        port => port.checked_add(1).unwrap_or(DEFAULT_PORT),
    };
    read_port("PAGE_PORT", default)
}

fn read_port(variable: &str, default: u16) -> Result<u16, String> {
    let Some(port) = value_of(variable) else {
        return Ok(default);
    };
    let number = port.to_str().and_then(|port| port.parse().ok());
    number.ok_or_else(|| {
        let port = port.display();
        format!("{variable} must be a number from 0 to 65535, not {port}")
    })
}

/// Reads `TRACE`, which says whether to print the spans that X-Ray would receive.
///
/// # Errors
/// Fails if the value is neither 0 nor 1.
pub fn trace() -> Result<bool, String> {
    match value_of("TRACE") {
        None => Ok(false),
        Some(value) if value == "0" => Ok(false),
        Some(value) if value == "1" => Ok(true),
        Some(value) => Err(format!("TRACE must be 0 or 1, not {}", value.display())),
    }
}

/// Reads `DATA_DIR`, the data folder. A relative path starts at the current folder.
#[must_use]
pub fn data_folder() -> Option<PathBuf> {
    value_of("DATA_DIR").map(PathBuf::from)
}

/// A variable's value. An empty value counts as unset, as in `make run PORT=`.
fn value_of(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

/// Listens on a port, which the environment variable `variable` sets.
///
/// `make run` calls this function before the slow build. So a client that connects during the build
/// is not refused, but waits for the service.
///
/// # Errors
/// Fails if the port is in use or reserved.
pub async fn listen(variable: &str, number: u16) -> Result<Port, String> {
    Port::bind(number).await.map_err(|error| {
        // If another local run uses `number`, its page uses `number` plus 1 by default. So suggest
        // `number` plus 2.
        let other = number.checked_add(2).unwrap_or(DEFAULT_PORT);
        format!(
            "port {number} can't be used: {error}; stop what uses it, or choose another port, as in \
             `make run {variable}={other}`"
        )
    })
}
