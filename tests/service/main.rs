//! Tests of the service, with one module for each subject.

mod configuration;
mod connection;
mod contract;
mod create_user;
mod dependencies;
mod events;
mod faults;
mod list_users;
mod signing;
mod storage;
mod telemetry;
mod tls;
mod trace;
mod wire;
