//! Addresses and keys that web pages can't guess.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

/// Listens on a free port of a random loopback address.
///
/// Linux routes all of 127.0.0.0/8 to the machine itself. So a web page would have to guess the
/// port and one of 16 million addresses. On other systems, such as macOS, only 127.0.0.1 works, so
/// a page would have to guess only the port.
///
/// # Errors
/// Fails if no port is free.
pub fn listen() -> io::Result<TcpListener> {
    let [a, b, c] = random();
    // 127.0.0.0 is the network's address, and 127.255.255.255 is the broadcast address. To avoid
    // both, the last byte is neither 0 nor 255.
    let hidden = Ipv4Addr::new(127, a, b, c.clamp(1, 254));
    TcpListener::bind((hidden, 0)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

/// Makes a random key of 128 bits, as 32 hexadecimal digits.
#[must_use]
pub fn key() -> String {
    format!("{:032x}", u128::from_ne_bytes(random()))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
