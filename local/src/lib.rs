//! The local run: the embedded DynamoDB with the template's table, and both functions as real processes
//! behind one port.

pub mod settings;

pub mod data_folder;
pub mod engine;
pub mod loopback;
pub mod template;

mod event;
pub mod functions;
pub mod gateway;
pub mod guard;
pub mod http;
pub mod page;
pub mod port;
pub mod spans;
