//! The local run: the embedded DynamoDB, its table from the template, and both functions.

pub mod engine;
pub mod table;
