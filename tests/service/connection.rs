//! Tests of a function's connection to its table, which stays open between calls.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use harness::{Event, Service, process::signal, runtime_api::Sandbox};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The functions' timeout in `template.yaml`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Lambda freezes a sandbox between calls. If the connection to the table ends while the sandbox is
/// frozen, the sandbox finds two things when it runs again: the next event, and the end of the
/// connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ended_while_the_sandbox_was_frozen_is_replaced_and_nothing_is_sent_twice()
 {
    let service = Service::start();
    for end in [End::Close, End::Reset] {
        for (function, status) in [("create-user", 201), ("list-users", 200)] {
            let relay = Relay::start(&service.engine().url()).await;
            let mut sandbox = Sandbox::of(function, &relay.url).await;
            sandbox.polled().await;
            assert_eq!(
                relay.connections(),
                1,
                "{function}, {end:?}: the warm-up's connection"
            );

            let process = sandbox.process_id();
            signal(process, "STOP");
            relay.end_connections(end).await;
            let event = match function {
                "create-user" => Event::create_user(&format!("ada{end:?}")),
                _ => Event::list(""),
            };
            let thaw = async {
                // Gives the event time to reach the socket of the frozen function.
                tokio::time::sleep(Duration::from_millis(100)).await;
                signal(process, "CONT");
            };
            let (reply, ()) = tokio::join!(sandbox.invoke(event, TIMEOUT), thaw);

            let answer = reply.into_answer();
            assert_eq!(answer.status, status, "{function}, {end:?}: {answer:?}");
            assert_eq!(relay.connections(), 2, "{function}, {end:?}");
            // The function sent two requests, the warm-up's and the call's, and sent each of them
            // only once.
            assert_eq!(relay.attempts(), ["1", "1"], "{function}, {end:?}");
            sandbox.stop().await;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Closes the connection normally, as the table would.
    Close,
    /// Resets the connection, as a network device does after it has forgotten the connection.
    Reset,
}

/// A TCP relay between a function and its table. It records what the function sends, and can end
/// the connections.
struct Relay {
    url: String,
    seen: Arc<Mutex<Seen>>,
    end: watch::Sender<Option<End>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    sent: Vec<u8>,
}

impl Relay {
    async fn start(table_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let table = table_url.trim_start_matches("http://").to_owned();
        let seen = Arc::<Mutex<Seen>>::default();
        let (end, ends) = watch::channel(None);
        let shared = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            let mut running = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                lock(&shared).connections += 1;
                let (shared, mut ends) = (Arc::clone(&shared), ends.clone());
                ends.mark_unchanged();
                let table = table.clone();
                running.spawn(async move { relay(client, &table, &shared, ends).await });
            }
        });
        Self {
            url: format!("http://{address}"),
            seen,
            end,
            accepting,
        }
    }

    /// Ends the open connection, and waits until it has ended. In this test, only one connection is
    /// open at a time.
    async fn end_connections(&self, end: End) {
        let before = self.end.receiver_count();
        self.end.send_replace(Some(end));
        while self.end.receiver_count() == before {
            tokio::task::yield_now().await;
        }
    }

    fn connections(&self) -> usize {
        lock(&self.seen).connections
    }

    /// The attempt number in the header `amz-sdk-request`, for each request that the function sent.
    fn attempts(&self) -> Vec<String> {
        let sent = String::from_utf8_lossy(&lock(&self.seen).sent).into_owned();
        let attempts = sent.split("amz-sdk-request: attempt=").skip(1);
        attempts.map(|rest| rest[..1].to_owned()).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("no holder panics")
}

async fn relay(
    mut client: TcpStream,
    table: &str,
    seen: &Mutex<Seen>,
    mut ends: watch::Receiver<Option<End>>,
) -> io::Result<()> {
    let mut table = TcpStream::connect(table).await?;
    let (from_client, mut to_client) = client.split();
    let (mut from_table, to_table) = table.split();
    tokio::select! {
        passed = pass(from_client, to_table, seen) => passed?,
        passed = copy(&mut from_table, &mut to_client) => drop(passed?),
        _ = ends.changed() => {}
    }
    if *ends.borrow() == Some(End::Reset) {
        client.set_zero_linger()?;
    }
    Ok(())
}

async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, seen: &Mutex<Seen>) -> io::Result<()> {
    let mut bytes = Vec::new();
    while from.read_buf(&mut bytes).await? > 0 {
        lock(seen).sent.extend_from_slice(&bytes);
        to.write_all(&bytes).await?;
        bytes.clear();
    }
    Ok(())
}
