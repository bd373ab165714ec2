//! Code that the test programs share.

pub mod histories;
