//! The code that both functions share: the user, its table item, the table client, the problem
//! documents and everything that runs once at start-up.
//!
//! Dependencies point one way: `user` imports no other module of this crate, and `item` imports
//! `user`. Only `problem` knows the status codes of errors.

pub mod user;

pub mod item;
pub mod table;

pub mod caller;
pub mod event;
pub mod problem;
pub mod response;

pub mod config;
pub mod connection;
pub mod runtime;
pub mod signing;
pub mod telemetry;
pub mod trace;
