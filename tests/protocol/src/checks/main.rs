//! Tests of the protocol's model, and of `linearizable`, which judges histories.

mod exploration;
mod judges;
mod real_functions;
