//! Usernames: which texts are valid, and which are the same username.

mod hostile;
mod rules;
mod unicode;
