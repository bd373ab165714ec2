//! Usernames: which there may be, and when two are one.

mod hostile;
mod rules;
mod unicode;
