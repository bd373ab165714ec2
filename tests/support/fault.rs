//! The wire between the SDK and the table: a proxy that records every request and does to it what
//! it is told.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends before the table gets the request.
    LoseRequest,
    /// The table does what it is asked, and the connection ends before its answer comes.
    LoseAnswer,
    /// The table never gets the request, and the connection stays silent for ever.
    Stall,
    /// The table never gets the request; this is the answer instead, status line and body.
    Answer(&'static str, String),
}

/// A request as the table gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRequest {
    /// The operation, such as `PutItem`.
    pub operation: String,
    /// The parameters.
    pub parameters: Value,
}

/// A proxy in front of an engine.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    faults: VecDeque<Fault>,
    requests: Vec<TableRequest>,
}

impl Proxy {
    /// Starts a proxy that passes everything on.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start(engine_url: &str) -> Self {
        let engine = engine_url.trim_start_matches("http://");
        let engine = engine.trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (engine, state) = (engine.clone(), Arc::clone(&shared));
                // That a connection fails is what the proxy is for.
                tokio::spawn(async move { relay(client, &engine, &state).await });
            }
        });
        Self {
            url: format!("http://{address}"),
            state,
            accepting,
        }
    }

    /// The URL that stands for the engine's.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Gives each of the next requests its fault. Later ones pass.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.state).faults.extend(faults);
    }

    /// All requests so far, every attempt counted.
    #[must_use]
    pub fn requests(&self) -> Vec<TableRequest> {
        lock(&self.state).requests.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder panics")
}

async fn relay(mut client: TcpStream, engine: &str, state: &Mutex<State>) -> io::Result<()> {
    loop {
        let request = read_message(&mut client).await?;
        let fault = {
            let mut state = lock(state);
            state.requests.push(table_request(&request));
            state.faults.pop_front()
        };
        match fault {
            None => client.write_all(&forward(&request, engine).await?).await?,
            Some(Fault::LoseRequest) => return Ok(()),
            Some(Fault::LoseAnswer) => {
                forward(&request, engine).await?;
                return Ok(());
            }
            Some(Fault::Stall) => tokio::time::sleep(Duration::from_secs(3600)).await,
            Some(Fault::Answer(status, body)) => {
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\n\
                     content-length: {length}\r\n\r\n{body}"
                );
                client.write_all(answer.as_bytes()).await?;
            }
        }
    }
}

async fn forward(request: &[u8], engine: &str) -> io::Result<Vec<u8>> {
    let mut engine = TcpStream::connect(engine).await?;
    engine.write_all(request).await?;
    read_message(&mut engine).await
}

fn table_request(message: &[u8]) -> TableRequest {
    let message = String::from_utf8_lossy(message);
    let (head, body) = message.split_once("\r\n\r\n").expect("a whole message");
    let target = head
        .lines()
        .find_map(|line| line.strip_prefix("x-amz-target: DynamoDB_20120810."));
    TableRequest {
        operation: target.expect("the operation's name").to_owned(),
        parameters: serde_json::from_str(body).expect("parameters in JSON"),
    }
}

/// Reads one HTTP message with a `Content-Length`; an error when the connection ends.
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        if stream.read_buf(&mut message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = message.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&message[..end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap_or(0));
        if message.len() >= end + 4 + length {
            return Ok(message);
        }
    }
}
