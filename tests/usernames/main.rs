//! Tests of which texts are valid usernames, and which texts are the same username.

mod hostile;
mod rules;
mod unicode;
