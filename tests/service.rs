//! The service, tested from outside: one module per subject.

mod configuration;
mod contract;
mod create_user;
mod dependencies;
mod documents;
mod events;
mod faults;
mod gateway;
mod hostile_usernames;
mod list_users;
mod storage;
mod telemetry;
mod unicode;
mod usernames;
mod wire;
