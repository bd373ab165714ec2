//! Runs a function's real binary, and stands in for the [Lambda Runtime
//! API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).

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

/// The default trace header of the events.
pub const TRACE_HEADER: &str = "Root=1-69281c3f-5d3b8c1a2f4e6a7b8c9d0e1f;Sampled=0";

/// The time within which a function must poll, reply or end. It is long, because the machine may be
/// busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The function's reply to an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A response.
    Response(Value),
    /// An error that the function reported.
    Error(Value),
}

impl Reply {
    /// Converts the response to an [`Answer`].
    ///
    /// # Panics
    /// Panics if the function reported an error, or the response is not in API Gateway's format.
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

/// The environment variables of a function whose table is at this URL.
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

/// A running process of a function, and the Runtime API that the process polls.
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
    trace_header: String,
}

#[derive(Debug)]
struct Invocation {
    id: String,
    timeout: Duration,
    event: String,
    trace_header: String,
}

#[derive(Debug)]
struct Received {
    /// The Lambda request ID of the event.
    id: String,
    reply: Reply,
    /// The time from sending the event to receiving the reply.
    took: Duration,
    in_time: bool,
}

struct Api {
    events: Mutex<mpsc::Receiver<Invocation>>,
    replies: mpsc::Sender<Received>,
    polls: mpsc::UnboundedSender<Instant>,
    /// The time at which the current event was sent, and the function's timeout.
    current: StdMutex<Option<(Instant, Duration)>>,
}

impl Sandbox {
    /// Starts a function whose table is at this URL.
    ///
    /// # Panics
    /// Panics if the function was not built, or can't be started.
    pub async fn of(function: &str, table_url: &str) -> Self {
        Self::start(&binary_of(function), &environment(table_url)).await
    }

    /// Starts a function with these environment variables and the variables that Lambda sets. The
    /// function inherits no other variables.
    ///
    /// # Panics
    /// Panics if the process can't be started.
    pub async fn start(binary: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_command(Command::new(binary), environment).await
    }

    /// Like [`Sandbox::start`], but runs a command.
    ///
    /// # Panics
    /// Panics if the process can't be started.
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
            trace_header: TRACE_HEADER.to_owned(),
        }
    }

    /// Sets the trace header of all later events. The default is [`TRACE_HEADER`].
    pub fn trace(&mut self, header: &str) {
        header.clone_into(&mut self.trace_header);
    }

    /// The ID of the process.
    ///
    /// # Panics
    /// Panics if the process has ended.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id().expect("the process runs")
    }

    /// Waits until the function polls the Runtime API for an event. Returns the time from the
    /// function's start to this poll. The second call of this method waits for the second poll.
    ///
    /// # Panics
    /// Panics if the function does not poll within 120 s.
    pub async fn polled(&mut self) -> Duration {
        let poll = tokio::time::timeout(PATIENCE, self.polls.recv()).await;
        let poll = poll.expect("the function polls").expect("a poll");
        poll.duration_since(self.started)
    }

    /// Sends an event and returns the reply. After `timeout`, Lambda would end the function.
    ///
    /// # Panics
    /// Panics if no reply comes within `timeout`, or the reply belongs to another event.
    pub async fn invoke(&mut self, event: Event, timeout: Duration) -> Reply {
        self.invoke_timed(event.into_json(), timeout).await.0
    }

    /// Sends an event. Returns the reply and the time that it took.
    ///
    /// # Panics
    /// The same as for [`Sandbox::invoke`].
    pub async fn invoke_timed(&mut self, event: String, timeout: Duration) -> (Reply, Duration) {
        self.send(event, timeout).await;
        let received = tokio::time::timeout(PATIENCE, self.replies.recv()).await;
        let received = received.expect("the function replies").expect("a reply");
        self.check(received)
    }

    /// Sends an event. Kills the process when the reply comes, or when the time `after` has passed.
    /// Returns `None` if the process was killed before the reply.
    ///
    /// # Panics
    /// Panics if the reply belongs to another event or comes after `timeout`, or the process can't
    /// be killed.
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
        // The reply may have come between the end of the wait and the kill.
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
            trace_header: self.trace_header.clone(),
        });
        sent.await.expect("the Runtime API is there");
    }

    fn invocation_id(&self) -> String {
        format!("request-{}", self.invocations)
    }

    fn check(&self, received: Received) -> (Reply, Duration) {
        assert_eq!(received.id, self.invocation_id());
        assert!(received.in_time, "too late: {:?}", received.reply);
        (received.reply, received.took)
    }

    /// Waits until the process ends by itself. Returns its exit status and output.
    ///
    /// # Panics
    /// Panics if the process does not end within 120 s.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        let status = status
            .expect("the process ends")
            .expect("the process has a status");
        self.server.abort();
        (status, self.output.await.expect("the output was read"))
    }

    /// Kills the process and returns the lines of the function's log.
    ///
    /// # Panics
    /// Panics if the process has already ended, or a line is not JSON.
    pub async fn stop(self) -> Vec<Value> {
        let output = self.stop_with_output().await;
        let line = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        output.lines().map(line).collect()
    }

    /// Kills the process and returns its output.
    ///
    /// # Panics
    /// Panics if the process has already ended.
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
    // Sending fails only if the test has already ended.
    let _ = api.polls.send(Instant::now());
    let Some(invocation) = api.events.lock().await.recv().await else {
        // The test has ended, so the function gets no further event.
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
        ("lambda-runtime-trace-id", invocation.trace_header),
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
