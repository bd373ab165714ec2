//! Code that the tests share: a service with its own embedded DynamoDB, events in API Gateway's
//! format, and checks of answers against the contract.

pub mod agent;
pub mod answer;
pub mod contract;
pub mod engine_process;
pub mod event;
pub mod local_run;
pub mod minutes;
pub mod process;
pub mod runtime_api;
pub mod service;
pub mod tls;
pub mod wire;
pub mod workspace;

pub use answer::Answer;
pub use event::Event;
pub use service::Service;
