//! Usernames: which there may be, and when two are one.

mod hostile_usernames;
mod unicode;
mod usernames;
