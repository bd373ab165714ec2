//! `Cargo.toml` says why this package has no code.
