//! A proxy between the SDK and the table. The proxy records every request and injects faults.

use std::{
    collections::VecDeque,
    future::pending,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// A fault that the proxy injects into a request. Some faults imitate a failure of the table: its
/// connections end when its process crashes, and are reset when its machine fails.
#[derive(Clone, Debug)]
pub enum WireFault {
    /// The proxy forwards the request after this delay.
    Delay(Duration),
    /// The table does not get the request, and the connection ends.
    LoseRequest,
    /// The table does not get the request, and the connection is reset.
    ResetBefore,
    /// The table executes the request, and the connection ends before the answer.
    LoseAnswer,
    /// The table executes the request, and the connection is reset before the answer.
    ResetAfter,
    /// The table executes the request, and the connection ends before the answer is complete.
    TruncateAnswer(Break),
    /// The table does not get the request. The connection stays open, but no answer comes.
    Stall,
    /// The table executes the request. The connection stays open, but no answer comes.
    StallAnswer,
    /// The table executes the request. The connection stays open. The answer stops at this point.
    StallWithinAnswer(Break),
    /// The table executes the request, and the proxy changes the answer's content type to this one.
    ContentType(&'static str),
    /// The table does not get the request. The proxy answers with this status and body.
    Answer(&'static str, String),
    /// The table does not get the request. The proxy sends these bytes, and the connection ends.
    Bytes(&'static [u8]),
}

/// The point at which an answer breaks off.
#[derive(Clone, Copy, Debug)]
pub enum Break {
    /// In the middle of the head.
    Head,
    /// In the middle of the body.
    Body,
    /// Before the last byte.
    LastByte,
}

impl Break {
    fn until(self, answer: &[u8]) -> &[u8] {
        let head = head_length(answer).expect("a whole answer");
        let length = match self {
            Self::Head => head / 2,
            Self::Body => usize::midpoint(head, answer.len()),
            Self::LastByte => answer.len() - 1,
        };
        &answer[..length]
    }
}

/// A request that the SDK sent to the table.
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

#[derive(Debug)]
struct State {
    engine: String,
    faults: VecDeque<WireFault>,
    requests: Vec<TableRequest>,
    struck: usize,
}

impl Proxy {
    /// Starts a proxy that forwards all requests unchanged.
    ///
    /// # Panics
    /// Panics if there is no free port.
    pub async fn start(engine_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let state = Arc::new(Mutex::new(State {
            engine: authority(engine_url),
            faults: VecDeque::new(),
            requests: Vec::new(),
            struck: 0,
        }));
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            // Dropping this set ends all connections to the proxy, including stalled ones.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // Ignores the errors of `relay`, because the proxy breaks connections on purpose.
                connections.spawn(async move { relay(client, &state).await });
            }
        });
        Self {
            url: format!("http://{address}"),
            state,
            accepting,
        }
    }

    /// The proxy's URL, to use in place of the engine's URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Injects one fault into each of the next requests, in the order of `faults`.
    pub fn inject(&self, faults: impl IntoIterator<Item = WireFault>) {
        lock(&self.state).faults.extend(faults);
    }

    /// The number of requests into which a fault was injected.
    #[must_use]
    pub fn struck(&self) -> usize {
        lock(&self.state).struck
    }

    /// Forwards all later requests to another engine.
    pub fn redirect(&self, engine_url: &str) {
        lock(&self.state).engine = authority(engine_url);
    }

    /// All requests that the proxy has received so far, including retries.
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

fn authority(url: &str) -> String {
    let authority = url.trim_start_matches("http://");
    authority.trim_end_matches('/').to_owned()
}

async fn relay(mut client: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    loop {
        let request = read_message(&mut client).await?;
        let (engine, fault) = {
            let mut state = lock(state);
            state.requests.push(table_request(&request));
            let fault = state.faults.pop_front();
            state.struck += usize::from(fault.is_some());
            (state.engine.clone(), fault)
        };
        match fault {
            None => client.write_all(&forward(&request, &engine).await?).await?,
            Some(WireFault::Delay(time)) => {
                tokio::time::sleep(time).await;
                client.write_all(&forward(&request, &engine).await?).await?;
            }
            Some(WireFault::LoseRequest) => return Ok(()),
            Some(WireFault::ResetBefore) => return client.set_zero_linger(),
            Some(WireFault::LoseAnswer) => {
                forward(&request, &engine).await?;
                return Ok(());
            }
            Some(WireFault::ResetAfter) => {
                forward(&request, &engine).await?;
                return client.set_zero_linger();
            }
            Some(WireFault::TruncateAnswer(at)) => {
                let answer = forward(&request, &engine).await?;
                return client.write_all(at.until(&answer)).await;
            }
            Some(WireFault::Stall) => return pending().await,
            Some(WireFault::StallAnswer) => {
                forward(&request, &engine).await?;
                return pending().await;
            }
            Some(WireFault::StallWithinAnswer(at)) => {
                let answer = forward(&request, &engine).await?;
                client.write_all(at.until(&answer)).await?;
                return pending().await;
            }
            Some(WireFault::ContentType(content_type)) => {
                let answer = forward(&request, &engine).await?;
                let answer = with_content_type(&answer, content_type);
                client.write_all(answer.as_bytes()).await?;
            }
            Some(WireFault::Answer(status, body)) => {
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\n\
                     x-amzn-requestid: 8f0a1c52\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                client.write_all(answer.as_bytes()).await?;
            }
            Some(WireFault::Bytes(bytes)) => return client.write_all(bytes).await,
        }
    }
}

async fn forward(request: &[u8], engine: &str) -> io::Result<Vec<u8>> {
    let mut engine = TcpStream::connect(engine).await?;
    engine.write_all(request).await?;
    read_message(&mut engine).await
}

fn with_content_type(answer: &[u8], content_type: &str) -> String {
    let answer = str::from_utf8(answer).expect("the engine answers in JSON");
    let is_another = |line: &&str| !line.to_ascii_lowercase().starts_with("content-type:");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let head: Vec<&str> = head.split("\r\n").filter(is_another).collect();
    let head = head.join("\r\n");
    format!("{head}\r\ncontent-type: {content_type}\r\n\r\n{body}")
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

/// Reads one HTTP message. Reads a body only if the message has a `Content-Length`.
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        if stream.read_buf(&mut message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(head_length) = head_length(&message) else {
            continue;
        };
        let head = String::from_utf8_lossy(&message[..head_length]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap_or(0));
        if message.len() >= head_length + length {
            return Ok(message);
        }
    }
}

/// The length of a message's head, including the empty line at its end.
fn head_length(message: &[u8]) -> Option<usize> {
    let end = b"\r\n\r\n";
    let at = message.windows(end.len()).position(|bytes| bytes == end);
    at.map(|at| at + end.len())
}
