//! Usernames: which ones are valid, and which ones are the same.

mod hostile;
mod rules;
mod unicode;
