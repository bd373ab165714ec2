//! Tests of the protocol's model, and of `linearizable`, which judges a history by a search for an
//! order of its operations.

mod exploration;
mod judges;
mod real_functions;
