//! Tests of the protocol's model, and of the search for an order of a history's operations.

mod exploration;
mod judges;
mod real_functions;
