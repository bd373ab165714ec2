//! Code that the tests share.

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
