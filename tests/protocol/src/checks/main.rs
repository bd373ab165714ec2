//! The checks of the protocol's model.

mod exploration;
mod judges;
mod real_functions;
