//! Addresses and keys of this run that no web page can guess.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

/// Takes a free port at an address of this machine that a page would have to guess.
///
/// Linux has all of 127.0.0.0/8 for itself, so the address is any of these 16 million. Where a
/// system does not, as macOS, it is 127.0.0.1, and the port alone is to be guessed.
///
/// # Errors
/// No port is free.
pub fn listen() -> io::Result<TcpListener> {
    let [a, b, c] = random();
    // The first and the last address stand for the whole network.
    let hidden = Ipv4Addr::new(127, a, b, c.clamp(1, 254));
    TcpListener::bind((hidden, 0)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

/// Makes a key of 128 bits, in hexadecimal digits.
#[must_use]
pub fn key() -> String {
    format!("{:032x}", u128::from_ne_bytes(random()))
}

/// Bytes from the operating system's source of randomness.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
