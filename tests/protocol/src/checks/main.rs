//! The protocol: the explored model, the real function compared with it, and the judges of histories.

mod exploration;
mod judges;
mod real_functions;
