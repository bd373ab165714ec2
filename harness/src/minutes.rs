//! Reads the environment variable `MINUTES`, which sets the duration of a long test.

use std::env;

const DEFAULT: u64 = 10;

/// The value of `MINUTES`, or 10 if `MINUTES` is not set or is empty.
///
/// # Errors
/// Fails if `MINUTES` is not a whole number, or it is less than `least`.
pub fn minutes(least: u64) -> Result<u64, String> {
    // `make soak MINUTES=` passes an empty value.
    let text = env::var("MINUTES").unwrap_or_default();
    let minutes = match text.as_str() {
        "" => Some(DEFAULT),
        text => text.parse().ok().filter(|minutes| *minutes >= least),
    };
    minutes.ok_or_else(|| {
        format!(
            "MINUTES must be a whole number of at least {least}, such as MINUTES=10, not {text}"
        )
    })
}
