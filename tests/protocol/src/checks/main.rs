//! Tests of the protocol's model, and of `linearizable`.

mod exploration;
mod judges;
mod real_functions;
