//! Tests of the protocol's model, and of `linearizable`. That function judges a history: it
//! searches for an order of the operations that explains all answers.

mod exploration;
mod judges;
mod real_functions;
