//! Code that several programs and tests share.

pub mod histories;
