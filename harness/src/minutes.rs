//! Reads `MINUTES`, the duration of a long test.

use std::env;

/// The duration if `MINUTES` is not set, in minutes.
const DEFAULT: u64 = 10;

/// `MINUTES`, or 10 if it is not set.
///
/// # Errors
/// `MINUTES` is not a whole number, or is less than `least`.
pub fn minutes(least: u64) -> Result<u64, String> {
    // `make` passes an unset variable as empty.
    let text = env::var("MINUTES").unwrap_or_default();
    let minutes = match text.as_str() {
        "" => Some(DEFAULT),
        text => text.parse().ok().filter(|minutes| *minutes >= least),
    };
    minutes.ok_or_else(|| {
        format!("MINUTES must be a whole number from {least}, such as MINUTES=10, not {text}")
    })
}
