//! Tests which texts are valid usernames, and which texts are spellings of one username.

mod hostile;
mod rules;
mod unicode;
