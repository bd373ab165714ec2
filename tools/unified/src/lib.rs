//! This package has no code. `Cargo.toml` says why.
