//! Addresses and keys that web pages can't guess.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

/// Listens on a free port of a random loopback address.
///
/// Linux routes all of 127.0.0.0/8 to the machine itself, so there are 16 million addresses. On other
/// systems, such as macOS, only 127.0.0.1 works, so a web page would have to guess only the port.
///
/// # Errors
/// No port is free.
pub fn listen() -> io::Result<TcpListener> {
    let [a, b, c] = random();
    // 127.0.0.0 and 127.255.255.255 are not addresses of one machine.
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
