//! A sandbox: a function's real process, with the Lambda Runtime API that it polls
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>).

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex as StdMutex},
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value;
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

use crate::{
    answer::{Answer, headers},
    event::Event,
    service::{ACCESS_KEY_ID, TABLE_NAME},
    workspace::binary_of,
};

/// The trace of every event that a sandbox gets.
pub const TRACE_ID: &str = "Root=1-69281c3f-5d3b8c1a2f4e6a7b8c9d0e1f;Sampled=0";

/// How long a sandbox waits for anything: generous, as a machine may be busy, but bounded.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the function did with an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It answered.
    Response(Value),
    /// It reported that it failed.
    Error(Value),
}

impl Reply {
    /// The answer that the function gave.
    ///
    /// # Panics
    /// The function failed, or its response is none of the gateway's form.
    #[must_use]
    pub fn into_answer(self) -> Answer {
        let Self::Response(response) = self else {
            panic!("the function failed: {self:?}");
        };
        let status = response["statusCode"].as_u64();
        let fields = response["headers"].as_object().into_iter().flatten();
        let fields: Vec<(&str, &str)> = fields
            .map(|(name, value)| (&**name, value.as_str().expect("a header is text")))
            .collect();
        Answer {
            status: status
                .and_then(|status| status.try_into().ok())
                .expect("a status"),
            headers: headers(&fields),
            body: response["body"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

/// What a function finds in its environment, with its table at this URL.
#[must_use]
pub fn environment(table_url: &str) -> [(&str, &str); 6] {
    [
        ("TABLE_NAME", TABLE_NAME),
        ("LIST_MAX_AGE_SECONDS", "0"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_ENDPOINT_URL_DYNAMODB", table_url),
    ]
}

/// A function's process.
#[derive(Debug)]
pub struct Sandbox {
    events: mpsc::Sender<Invocation>,
    replies: mpsc::Receiver<Received>,
    polls: mpsc::UnboundedReceiver<Instant>,
    process: Child,
    started: Instant,
    output: JoinHandle<String>,
    server: JoinHandle<()>,
    invocations: usize,
}

/// An event on its way to the function.
#[derive(Debug)]
struct Invocation {
    id: String,
    timeout: Duration,
    event: String,
}

/// What came back for an event.
#[derive(Debug)]
struct Received {
    id: String,
    reply: Reply,
    /// From the event's leaving to the reply's arrival.
    took: Duration,
    in_time: bool,
}

/// What the Runtime API's handlers share.
struct Api {
    events: Mutex<mpsc::Receiver<Invocation>>,
    replies: mpsc::Sender<Received>,
    polls: mpsc::UnboundedSender<Instant>,
    /// When the event left that the function is at, and when Lambda would end the function.
    current: StdMutex<Option<(Instant, Duration)>>,
}

impl Sandbox {
    /// Starts a function as it is deployed, with its table at this URL.
    ///
    /// # Panics
    /// It was not built, or can't be started.
    pub async fn of(function: &str, table_url: &str) -> Self {
        Self::start(&binary_of(function), &environment(table_url)).await
    }

    /// Starts a function with nothing but this environment and what Lambda sets.
    ///
    /// # Panics
    /// The process can't be started.
    pub async fn start(binary: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_command(Command::new(binary), environment).await
    }

    /// Starts a function by a command, in the same way.
    ///
    /// # Panics
    /// The process can't be started.
    pub async fn start_command(mut command: Command, environment: &[(&str, &str)]) -> Self {
        let (events, next) = mpsc::channel(1);
        let (reply, replies) = mpsc::channel(1);
        let (poll, polls) = mpsc::unbounded_channel();
        let api = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next_event))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(Arc::new(Api {
                events: Mutex::new(next),
                replies: reply,
                polls: poll,
                current: StdMutex::default(),
            }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, api)
                .await
                .expect("the Runtime API serves");
        });
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "function-under-test")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env(
                "AWS_LAMBDA_LOG_GROUP_NAME",
                "/aws/lambda/function-under-test",
            )
            .env(
                "AWS_LAMBDA_LOG_STREAM_NAME",
                "2026/03/01/[1]0123456789abcdef",
            )
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let started = Instant::now();
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdout = process.stdout.take().expect("the output is piped");
        let output = tokio::spawn(async move {
            let mut text = String::new();
            stdout
                .read_to_string(&mut text)
                .await
                .expect("the output is UTF-8");
            text
        });
        Self {
            events,
            replies,
            polls,
            process,
            started,
            output,
            server,
            invocations: 0,
        }
    }

    /// The id of the process.
    ///
    /// # Panics
    /// It has ended.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id().expect("the process runs")
    }

    /// Waits until the function asks for its next event, and gives the time since its start. Each
    /// asking is told once.
    ///
    /// # Panics
    /// It does not ask.
    pub async fn polled(&mut self) -> Duration {
        let poll = tokio::time::timeout(PATIENCE, self.polls.recv()).await;
        let poll = poll.expect("the function polls").expect("a poll");
        poll.duration_since(self.started)
    }

    /// Has the function handle an event within this time.
    ///
    /// # Panics
    /// No reply comes, or one to another event, or it comes when Lambda would have ended the
    /// function.
    pub async fn invoke(&mut self, event: Event, timeout: Duration) -> Reply {
        self.invoke_timed(event.into_json(), timeout).await.0
    }

    /// Has the function handle an event within this time, and tells how long it took.
    ///
    /// # Panics
    /// As [`Sandbox::invoke`].
    pub async fn invoke_timed(&mut self, event: String, timeout: Duration) -> (Reply, Duration) {
        self.send(event, timeout).await;
        let received = tokio::time::timeout(PATIENCE, self.replies.recv()).await;
        let received = received.expect("the function replies").expect("a reply");
        self.check(received)
    }

    /// Has the function handle an event, and kills its process after this time, wherever it is
    /// then. `None` if it had not replied.
    ///
    /// # Panics
    /// A reply comes to another event, or the process can't be killed.
    pub async fn invoke_and_kill(
        mut self,
        event: Event,
        timeout: Duration,
        after: Duration,
    ) -> Option<Reply> {
        self.send(event.into_json(), timeout).await;
        let received = tokio::time::timeout(after, self.replies.recv()).await;
        let killed = self.process.kill().await;
        killed.expect("the process can be killed");
        self.server.abort();
        // A reply may have left the process while it was killed.
        let received = received.ok().flatten();
        let received = received.or_else(|| self.replies.try_recv().ok());
        received.map(|received| self.check(received).0)
    }

    async fn send(&mut self, event: String, timeout: Duration) {
        self.invocations += 1;
        let sent = self.events.send(Invocation {
            id: self.invocation_id(),
            timeout,
            event,
        });
        sent.await.expect("the Runtime API is there");
    }

    /// Lambda's id of the last event.
    fn invocation_id(&self) -> String {
        format!("request-{}", self.invocations)
    }

    fn check(&self, received: Received) -> (Reply, Duration) {
        assert_eq!(received.id, self.invocation_id());
        assert!(received.in_time, "too late: {:?}", received.reply);
        (received.reply, received.took)
    }

    /// Waits for the process to end by itself, and gives its status and its output.
    ///
    /// # Panics
    /// It does not end.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        let status = status
            .expect("the process ends")
            .expect("the process has a status");
        self.server.abort();
        (status, self.output.await.expect("the output was read"))
    }

    /// Ends the process, and gives the lines of its log.
    ///
    /// # Panics
    /// The process ended before, or a line is no JSON.
    pub async fn stop(self) -> Vec<Value> {
        let output = self.stop_with_output().await;
        let line = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        output.lines().map(line).collect()
    }

    /// Ends the process, and gives what it wrote.
    ///
    /// # Panics
    /// The process ended before.
    pub async fn stop_with_output(mut self) -> String {
        assert_eq!(
            self.process.try_wait().expect("the process has a state"),
            None
        );
        self.process
            .kill()
            .await
            .expect("the process can be killed");
        self.server.abort();
        self.output.await.expect("the output was read")
    }
}

async fn next_event(State(api): State<Arc<Api>>) -> Response {
    // Nobody may be there to hear it: then the test is over.
    let _ = api.polls.send(Instant::now());
    let Some(invocation) = api.events.lock().await.recv().await else {
        // The test is over, and so is the function.
        return std::future::pending().await;
    };
    let deadline = SystemTime::now() + invocation.timeout;
    let deadline = deadline
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let arn = "arn:aws:lambda:eu-central-1:123456789012:function:function-under-test";
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", invocation.id),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        ("lambda-runtime-invoked-function-arn", arn.to_owned()),
        ("lambda-runtime-trace-id", TRACE_ID.to_owned()),
    ];
    let response = (headers.map(|(name, value)| (name, value)), invocation.event).into_response();
    *api.current.lock().expect("no holder panics") = Some((Instant::now(), invocation.timeout));
    response
}

async fn response(
    UrlPath(id): UrlPath<String>,
    State(api): State<Arc<Api>>,
    body: String,
) -> StatusCode {
    api.receive(id, &body, Reply::Response).await
}

async fn error(
    UrlPath(id): UrlPath<String>,
    State(api): State<Arc<Api>>,
    body: String,
) -> StatusCode {
    api.receive(id, &body, Reply::Error).await
}

impl Api {
    async fn receive(&self, id: String, body: &str, kind: fn(Value) -> Reply) -> StatusCode {
        let arrived = Instant::now();
        let current = *self.current.lock().expect("no holder panics");
        let (left, timeout) = current.expect("an event came before its reply");
        let took = arrived.duration_since(left);
        let received = Received {
            id,
            reply: kind(serde_json::from_str(body).expect("a reply is JSON")),
            took,
            in_time: took < timeout,
        };
        let _ = self.replies.send(received).await;
        StatusCode::ACCEPTED
    }
}
