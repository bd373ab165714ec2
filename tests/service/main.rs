//! Tests of the two functions' processes, and of their HTTP handlers.

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
