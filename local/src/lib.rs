//! The local run: the embedded DynamoDB, its table from the template, and both functions as real
//! processes behind one port.

pub mod settings;

pub mod data_folder;
pub mod engine;
pub mod failures;
pub mod table;

pub mod functions;
pub mod gateway;
pub mod guard;
pub mod http;
pub mod page;
