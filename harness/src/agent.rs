//! Stands in for X-Ray's agent, the process that receives the spans of a function.

use std::time::Duration;

use local::spans::{MAX_DATAGRAM_BYTES, Request, decode};
use tokio::net::UdpSocket;

/// A trace header, as Lambda passes it to a function. `Sampled=1` tells the function to send spans.
pub const SAMPLED: &str = "Root=1-69281c3f-5d3b8c1a2f4e6a7b8c9d0e1f;Parent=53995c3f42cd8ad8;\
                           Sampled=1;Lineage=1:a87bd80c:0";
/// The trace ID (`Root`) and the ID of Lambda's segment (`Parent`) in [`SAMPLED`].
pub const IDS: (u128, u64) = (
    0x6928_1c3f_5d3b_8c1a_2f4e_6a7b_8c9d_0e1f,
    0x5399_5c3f_42cd_8ad8,
);

/// The longest wait for a datagram: generous, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    socket: UdpSocket,
}

impl Agent {
    /// Starts an agent.
    ///
    /// # Panics
    /// Panics if there is no free port.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        Self { socket }
    }

    /// The agent's address, for `AWS_XRAY_DAEMON_ADDRESS`.
    ///
    /// # Panics
    /// Panics if the socket has no address.
    #[must_use]
    pub fn address(&self) -> String {
        let address = self.socket.local_addr().expect("a socket has an address");
        address.to_string()
    }

    /// Waits for the next datagram.
    ///
    /// # Panics
    /// Panics if no datagram comes within 30 s.
    pub async fn datagram(&self) -> Vec<u8> {
        let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
        let received = tokio::time::timeout(PATIENCE, self.socket.recv(&mut datagram)).await;
        let length = received.expect("spans come").expect("a datagram");
        datagram.truncate(length);
        datagram
    }

    /// Waits for the spans of the next sampled request.
    ///
    /// # Panics
    /// Panics if no spans come within 30 s, or the spans can't be decoded.
    pub async fn spans(&self) -> Request {
        decode(&self.datagram().await).expect("spans")
    }
}
