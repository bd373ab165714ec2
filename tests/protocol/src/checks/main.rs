//! The protocol: the model explored, the real function led through it, and the judges of histories.

mod exploration;
mod judges;
mod real_functions;
