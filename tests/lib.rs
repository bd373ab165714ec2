//! Code that several test binaries share.

pub mod histories;
