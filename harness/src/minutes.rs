//! How long a program of the tests runs, which `make` is told as `MINUTES`.

use std::env;

/// How long it is when nobody says, in minutes.
const DEFAULT: u64 = 10;

/// `MINUTES`, or ten.
///
/// # Errors
/// `MINUTES` is not a whole number of minutes, or fewer than `least`.
pub fn minutes(least: u64) -> Result<u64, String> {
    // `make` passes on what is not set as nothing.
    let text = env::var("MINUTES").unwrap_or_default();
    let minutes = match text.as_str() {
        "" => Some(DEFAULT),
        text => text.parse().ok().filter(|minutes| *minutes >= least),
    };
    minutes.ok_or_else(|| {
        format!("MINUTES is not a whole number from {least}, as in MINUTES=10: {text}")
    })
}
