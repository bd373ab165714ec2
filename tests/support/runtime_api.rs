//! A sandbox: a function's real process, with the Lambda Runtime API that it polls
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>).

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex as StdMutex},
    time::{Duration, SystemTime},
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

use crate::Event;

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

/// A function's process.
#[derive(Debug)]
pub struct Sandbox {
    events: mpsc::Sender<(String, Duration, String)>,
    replies: mpsc::Receiver<(String, bool, Reply)>,
    process: Child,
    output: JoinHandle<String>,
    server: JoinHandle<()>,
    invocations: usize,
}

type Events = Arc<Mutex<mpsc::Receiver<(String, Duration, String)>>>;
/// An event's id, whether the function was done with it before its deadline, and what it did.
type Replies = mpsc::Sender<(String, bool, Reply)>;
type Deadline = Arc<StdMutex<Option<SystemTime>>>;

impl Sandbox {
    /// Starts a function with nothing but this environment and what Lambda sets.
    ///
    /// # Panics
    /// The process can't be started.
    pub async fn start(binary: &Path, environment: &[(&str, &str)]) -> Self {
        let (events, next) = mpsc::channel(1);
        let (reply, replies) = mpsc::channel(1);
        let api = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next_event))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state((Arc::new(Mutex::new(next)), reply, Deadline::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, api)
                .await
                .expect("the Runtime API serves");
        });
        let mut process = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "function-under-test")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
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
            process,
            output,
            server,
            invocations: 0,
        }
    }

    /// Has the function handle an event within this time.
    ///
    /// # Panics
    /// No reply comes, or one to another event, or it comes when Lambda would have ended the
    /// function.
    pub async fn invoke(&mut self, event: Event, timeout: Duration) -> Reply {
        self.invocations += 1;
        let id = format!("request-{}", self.invocations);
        let sent = self.events.send((id.clone(), timeout, event.into_json()));
        sent.await.expect("the Runtime API is there");
        let reply = tokio::time::timeout(PATIENCE, self.replies.recv()).await;
        let (replied, in_time, reply) = reply.expect("the function replies").expect("a reply");
        assert_eq!(replied, id);
        assert!(in_time, "too late: {reply:?}");
        reply
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
    pub async fn stop(mut self) -> Vec<Value> {
        assert_eq!(
            self.process.try_wait().expect("the process has a state"),
            None
        );
        self.process
            .kill()
            .await
            .expect("the process can be killed");
        self.server.abort();
        let output = self.output.await.expect("the output was read");
        let line = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        output.lines().map(line).collect()
    }
}

async fn next_event(State((events, _, current)): State<(Events, Replies, Deadline)>) -> Response {
    let Some((id, timeout, event)) = events.lock().await.recv().await else {
        // The test is over, and so is the function.
        return std::future::pending().await;
    };
    let deadline = SystemTime::now() + timeout;
    *current.lock().expect("no holder panics") = Some(deadline);
    let deadline = deadline
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let arn = "arn:aws:lambda:eu-central-1:123456789012:function:function-under-test";
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        ("lambda-runtime-invoked-function-arn", arn.to_owned()),
        ("lambda-runtime-trace-id", TRACE_ID.to_owned()),
    ];
    (headers.map(|(name, value)| (name, value)), event).into_response()
}

async fn response(
    UrlPath(id): UrlPath<String>,
    State((_, replies, deadline)): State<(Events, Replies, Deadline)>,
    body: String,
) -> StatusCode {
    let response = serde_json::from_str(&body).expect("a response is JSON");
    let reply = Reply::Response(response);
    let _ = replies.send((id, is_in_time(&deadline), reply)).await;
    StatusCode::ACCEPTED
}

async fn error(
    UrlPath(id): UrlPath<String>,
    State((_, replies, deadline)): State<(Events, Replies, Deadline)>,
    body: String,
) -> StatusCode {
    let error = serde_json::from_str(&body).expect("an error is JSON");
    let reply = Reply::Error(error);
    let _ = replies.send((id, is_in_time(&deadline), reply)).await;
    StatusCode::ACCEPTED
}

fn is_in_time(deadline: &Deadline) -> bool {
    let deadline = *deadline.lock().expect("no holder panics");
    deadline.is_some_and(|deadline| SystemTime::now() < deadline)
}
