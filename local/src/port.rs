//! The local run's ports. Only programs on this machine can reach them.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use axum::{
    extract::Request,
    http::{header::HOST, uri::Authority},
    serve::Listener,
};
use tokio::net::{TcpListener, TcpStream};

/// The host names that a request may use for this machine.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// A port on 127.0.0.1 and, if the machine has IPv6, on `::1`. `localhost` may resolve to either.
#[derive(Debug)]
pub struct Port {
    number: u16,
    v4: TcpListener,
    v6: Option<TcpListener>,
}

impl Port {
    /// Listens on a port; 0 means any free port.
    ///
    /// # Errors
    /// Fails if the port is in use or reserved.
    pub async fn bind(number: u16) -> io::Result<Self> {
        loop {
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).await?;
            let bound = v4.local_addr()?.port();
            let v6 = match TcpListener::bind((Ipv6Addr::LOCALHOST, bound)).await {
                Ok(v6) => Some(v6),
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => None,
                // The system chose a port that is free on IPv4 but taken on IPv6.
                Err(_) if number == 0 => continue,
                Err(error) => return Err(error),
            };
            return Ok(Self {
                number: bound,
                v4,
                v6,
            });
        }
    }

    /// The number of the port.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl Listener for Port {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        match &mut self.v6 {
            None => Listener::accept(&mut self.v4).await,
            Some(v6) => tokio::select! {
                accepted = Listener::accept(&mut self.v4) => accepted,
                accepted = Listener::accept(v6) => accepted,
            },
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.v4.local_addr()
    }
}

/// Whether a request names this machine and this port as its host. This check stops DNS rebinding.
/// In this attack, a host name of the attacker resolves to this machine, so that the attacker's
/// page can send requests here. But these requests name the attacker's host, so this function
/// returns false.
///
/// A request may name the host in the header `Host`, in its target (RFC 9112, section 3.2.2), or in
/// both. An HTTP/2 request may lack the header `Host`.
#[must_use]
pub fn is_asked_for(request: &Request, port: u16) -> bool {
    let hosts = request.headers().get_all(HOST).iter();
    let hosts = hosts.map(|host| host.to_str().ok()?.parse().ok());
    let target = request.uri().authority().cloned().map(Some);
    let mut names = target.into_iter().chain(hosts).peekable();
    let is_ours = |name: Option<Authority>| {
        name.is_some_and(|name| {
            let host = name.host().to_ascii_lowercase();
            // Clients omit port 80.
            NAMES.contains(&&*host)
                && name.port_u16().unwrap_or(80) == port
                && !name.as_str().contains('@')
        })
    };
    names.peek().is_some() && names.all(is_ours)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_request_is_for_this_machine_only_with_a_loopback_name_and_the_right_port() {
        let asked_for = |target: &str, hosts: &[&str], port| {
            let mut request = Request::get(target);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            is_asked_for(&request.body(Body::empty()).unwrap(), port)
        };
        let is_asked_for = |host: &str, port| asked_for("/", &[host], port);
        for name in ["127.0.0.1", "localhost", "LOCALHOST", "LocalHost", "[::1]"] {
            assert!(is_asked_for(name, 80), "{name}");
            assert!(!is_asked_for(name, 9000), "{name}");
        }
        for host in [
            "127.0.0.1:9000",
            "localhost:9000",
            "LOCALHOST:9000",
            "[::1]:9000",
        ] {
            assert!(is_asked_for(host, 9000), "{host}");
            assert!(!is_asked_for(host, 9001), "{host}");
        }
        for host in [
            "rebound.example",
            "rebound.example:9000",
            "127.0.0.1.rebound.example:9000",
            "localhost.rebound.example:9000",
            "127.0.0.1:",
            "127.0.0.1:9000:9000",
            "127.0.0.1:90000",
            "127.0.0.2:9000",
            "[::2]:9000",
            "::1:9000",
            "u:p@localhost:9000",
            ":9000",
            "",
        ] {
            assert!(!is_asked_for(host, 9000), "{host}");
        }
        assert!(!asked_for("/", &[], 9000));
        let (ours, another) = ("localhost:9000", "rebound.example:9000");
        assert!(asked_for("http://127.0.0.1:9000/", &[], 9000));
        assert!(asked_for("http://127.0.0.1:9000/", &[ours], 9000));
        assert!(!asked_for("http://127.0.0.1:9000/", &[another], 9000));
        assert!(!asked_for("http://rebound.example:9000/", &[ours], 9000));
        assert!(!asked_for("/", &[ours, another], 9000));
        assert!(!asked_for("/", &[another, ours], 9000));
    }

    #[tokio::test]
    async fn a_free_port_is_one_and_the_same_on_both_loopback_addresses() {
        let free = Port::bind(0).await.unwrap();
        assert_ne!(free.number(), 0);
        let taken = Port::bind(free.number()).await.unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, free.number())).await;
        assert!(v4.is_ok());
        if free.v6.is_some() {
            let v6 = TcpStream::connect((Ipv6Addr::LOCALHOST, free.number())).await;
            assert!(v6.is_ok());
        }
    }

    #[tokio::test]
    async fn a_port_in_use_on_ipv6_only_counts_as_in_use() {
        // Skips this test on a machine without IPv6.
        let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
            return;
        };
        let taken = Port::bind(v6.local_addr().unwrap().port()).await;
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
