//! The code that both functions share: the user, its table item, the table client, the problem documents, and the main
//! loop with its logs and spans.
//!
//! The modules never import each other in a cycle. `user` imports no other module of this crate, and `item` imports
//! only `user` and `caller`.

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
