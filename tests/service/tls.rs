//! Tests of TLS between the real binaries and the table: which certificates the functions trust,
//! and what happens after a failed handshake.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use harness::{
    Answer, Event, Service, contract,
    runtime_api::{Sandbox, environment},
    tls::{Authority, acceptor, certificate},
    workspace::binary_of,
};
use rcgen::{KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The SDK's maximum number of connections for one request.
const ATTEMPTS: usize = 3;
/// The functions' timeout in `template.yaml`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The IP address for which the table's certificate is valid.
const HOST: &str = "127.0.0.1";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_created_and_listed_over_tls() {
    let service = Service::start();
    let authority = Authority::new();
    let front = Front::start(&service.engine().url(), trusted(&authority)).await;
    let mut create = front.function("create-user", &authority).await;
    let mut list = front.function("list-users", &authority).await;

    let created = call(&mut create, "create-user").await;
    assert_eq!(created.status, 201, "{created:?}");
    let listed = call(&mut list, "list-users").await;
    assert_eq!(listed.json(), json!([created.json()]));
    for function in [create, list] {
        causes(&function.stop().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_handshake_leads_to_a_503_and_the_next_call_succeeds() {
    let authority = Arc::new(Authority::new());
    let mut running = JoinSet::new();
    for function in ["create-user", "list-users"] {
        for (name, manner, cause) in faults(&authority) {
            let authority = Arc::clone(&authority);
            running
                .spawn(async move { check_fault(function, name, manner, cause, &authority).await });
        }
    }
    running.join_all().await;
}

/// Calls a function twice. Every handshake of the first call fails. The handshake of the second
/// call succeeds.
async fn check_fault(
    function: &str,
    name: &str,
    manner: Manner,
    cause: &str,
    authority: &Authority,
) {
    let service = Service::start();
    let front = Front::start(&service.engine().url(), manner).await;
    let mut sandbox = front.function(function, authority).await;

    let before = front.connections().await;
    let failed = call(&mut sandbox, function).await;
    assert_eq!(failed.status, 503, "{function}, {name}: {failed:?}");
    assert_eq!(failed.header("retry-after"), Some("1"));
    // The method `connections` also counts the connection that it opens itself, so subtract 1.
    let connections = front.connections().await - before - 1;
    assert_eq!(connections, ATTEMPTS, "{function}, {name}");
    assert_eq!(service.list("").await.body, "[]", "{function}, {name}");

    front.set_manner(trusted(authority));
    let answer = call(&mut sandbox, function).await;
    let listed = service.list("").await;
    let expected = match function {
        "create-user" => (201, json!([answer.json()])),
        _ => (200, answer.json()),
    };
    assert_eq!(
        (answer.status, listed.json()),
        expected,
        "{function}, {name}"
    );

    let causes = causes(&sandbox.stop().await);
    let of_the_call = causes.last().expect("the cause of the 503");
    assert!(of_the_call.contains(cause), "{name}: {of_the_call}");
}

/// The ways in which a handshake fails. Each row has a name, the listener's behavior, and a part of
/// the logged cause.
fn faults(authority: &Authority) -> Vec<(&'static str, Manner, &'static str)> {
    let key = KeyPair::generate().expect("a key");
    let self_signed = certificate(HOST).self_signed(&key).expect("a certificate");
    let mut expired = certificate(HOST);
    expired.not_after = date_time_ymd(2025, 1, 1);
    vec![
        (
            "a certificate from an untrusted authority that has the same name as the trusted one",
            trusted(&Authority::new()),
            "BadSignature",
        ),
        (
            "a self-signed certificate",
            Manner::Tls(acceptor(self_signed.into(), &key)),
            "UnknownIssuer",
        ),
        (
            "another host's certificate",
            Manner::Tls(authority.acceptor(&certificate("localhost"))),
            "certificate not valid for name",
        ),
        (
            "an expired certificate",
            Manner::Tls(authority.acceptor(&expired)),
            "certificate expired",
        ),
        ("silence", Manner::Say(b""), "timeout"),
        (
            "a message that never ends",
            // Only the header of a TLS record. It announces 1 KiB, a plausible size for a
            // ServerHello, but the rest of the record never comes.
            Manner::Say(&[0x16, 3, 3, 4, 0]),
            "timeout",
        ),
        ("no TLS", Manner::Say(&[0; 64]), "corrupt message"),
        (
            "HTTP without TLS",
            Manner::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "corrupt message",
        ),
        ("an end", Manner::End, "eof"),
        ("a reset", Manner::Reset, "reset"),
    ]
}

async fn call(sandbox: &mut Sandbox, function: &str) -> Answer {
    let (method, event) = match function {
        "create-user" => ("post", Event::create_user("ada")),
        _ => ("get", Event::list("")),
    };
    let answer = sandbox.invoke(event, TIMEOUT).await.into_answer();
    contract::check(method, &answer);
    answer
}

/// The causes in these log lines. Fails if a line has the level ERROR.
fn causes(lines: &[Value]) -> Vec<String> {
    assert!(
        lines.iter().all(|line| line["level"] != "ERROR"),
        "{lines:?}"
    );
    let causes = lines.iter().filter_map(|line| line["cause"].as_str());
    causes.map(ToOwned::to_owned).collect()
}

/// Returns a [`Manner::Tls`] with a certificate for [`HOST`]. This authority signed the
/// certificate.
pub(crate) fn trusted(authority: &Authority) -> Manner {
    Manner::Tls(authority.acceptor(&certificate(HOST)))
}

/// What a listener does with a connection.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Speaks TLS, and forwards the decrypted data to the table.
    Tls(TlsAcceptor),
    /// Sends these bytes, and keeps the connection open.
    Say(&'static [u8]),
    /// Closes the connection without an answer.
    End,
    Reset,
}

/// A listener between the functions and a table.
pub(crate) struct Front {
    url: String,
    manner: Arc<Mutex<Manner>>,
    /// The client addresses of all connections so far.
    clients: Arc<Mutex<Vec<SocketAddr>>>,
    accepting: JoinHandle<()>,
}

impl Front {
    pub(crate) async fn start(table_url: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind((HOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let table = table_url.trim_start_matches("http://").to_owned();
        let manner = Arc::new(Mutex::new(manner));
        let clients = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let (shared_manner, shared_clients) = (Arc::clone(&manner), Arc::clone(&clients));
        let accepting = tokio::spawn(async move {
            // Dropping this set with the task ends all connections.
            let mut running = JoinSet::new();
            while let Ok((client, address)) = listener.accept().await {
                shared_clients
                    .lock()
                    .expect("no holder panics")
                    .push(address);
                let manner = shared_manner.lock().expect("no holder panics").clone();
                let table = table.clone();
                // Ignores the errors of `serve`, because some tests make connections fail.
                running.spawn(async move { serve(client, manner, &table).await });
            }
        });
        Self {
            url: format!("https://{address}"),
            manner,
            clients,
            accepting,
        }
    }

    /// Starts a function that reaches its table through this listener. Waits until the warm-up is
    /// over.
    pub(crate) async fn function(&self, name: &str, authority: &Authority) -> Sandbox {
        let trusted = authority.file().to_str().expect("a path of text");
        let mut environment = environment(&self.url).to_vec();
        environment.push(("AWS_CA_BUNDLE", trusted));
        let mut sandbox = Sandbox::start(&binary_of(name), &environment).await;
        sandbox.polled().await;
        sandbox
    }

    /// Changes what the listener does with later connections.
    fn set_manner(&self, manner: Manner) {
        *self.manner.lock().expect("no holder panics") = manner;
    }

    /// The number of accepted connections, including one that this method opens. The listener
    /// accepts connections in order, so every earlier connection is counted.
    async fn connections(&self) -> usize {
        let address = self.url.trim_start_matches("https://");
        let address = address.parse().expect("an address");
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a free port");
        let own = socket.local_addr().expect("a bound socket has an address");
        // The result does not matter, because the listener may reset the connection immediately.
        let _ = socket.connect(address).await;
        loop {
            let clients = self.clients.lock().expect("no holder panics").clone();
            if clients.contains(&own) {
                return clients.len();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut client: TcpStream, manner: Manner, table: &str) -> io::Result<()> {
    match manner {
        Manner::Tls(tls) => pass(tls.accept(client).await?, table).await,
        Manner::Say(bytes) => {
            client.write_all(bytes).await?;
            std::future::pending().await
        }
        Manner::End => {
            // The operating system would reset a connection that is closed with unread data.
            let _ = client.read(&mut [0; 4096]).await?;
            Ok(())
        }
        Manner::Reset => client.set_zero_linger(),
    }
}

/// Forwards all data until one side closes its connection. Then closes both without a TLS
/// `close_notify`, as the operating system does after a process is killed. If forwarding fails,
/// resets the client's connection.
async fn pass(client: TlsStream<TcpStream>, table: &str) -> io::Result<()> {
    let mut table = TcpStream::connect(table).await?;
    let (mut from_table, mut to_table) = table.split();
    let (mut from_client, mut to_client) = split(client);
    let passed = tokio::select! {
        passed = copy(&mut from_client, &mut to_table) => passed,
        passed = copy(&mut from_table, &mut to_client) => passed,
    };
    if passed.is_err() {
        let client = from_client.unsplit(to_client);
        client.get_ref().0.set_zero_linger()?;
    }
    Ok(())
}
