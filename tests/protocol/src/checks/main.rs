//! Tests of the protocol's model, and of the search for an order.

mod exploration;
mod judges;
mod real_functions;
