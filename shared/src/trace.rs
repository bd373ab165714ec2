//! Sends the spans of each sampled request to X-Ray: one span for the invocation and, if the request calls the table,
//! one span for that call.
//!
//! Both spans go in one UDP datagram to the agent that Lambda runs beside the function. The function does not wait for
//! the agent. If a datagram is lost, only the spans in it are lost. AWS's own libraries also send spans in this way,
//! for example
//! [the Python library](https://github.com/aws-observability/aws-otel-python-instrumentation/tree/main/exporters/aws-otel-otlp-udp-exporter).
//! The spans have the attributes that OpenTelemetry defines for
//! [Lambda](https://opentelemetry.io/docs/specs/semconv/faas/aws-lambda/) and
//! [DynamoDB](https://opentelemetry.io/docs/specs/semconv/database/dynamodb/).
//!
//! No span contains a username, a token, an Idempotency-Key, a body or a query string.

use std::{
    borrow::Cow,
    cell::RefCell,
    env, io,
    net::{Ipv4Addr, UdpSocket},
    pin::pin,
    time::{Duration, Instant, SystemTime},
};

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef},
    },
    error::{BoxError, ProvideErrorMetadata},
    operation::{RequestId, put_item::PutItemError, query::QueryError},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use lambda_runtime::Context;
use uuid::Uuid;

use crate::{
    config::TABLE_NAME,
    telemetry::{self, RequestLine},
};

/// The environment variable with the agent's address. Lambda sets it, and X-Ray's libraries read it. It is empty if
/// `Tracing` in the template is `PassThrough`.
const AGENT_ADDRESS: &str = "AWS_XRAY_DAEMON_ADDRESS";

/// The start of every datagram: the header of the agent's protocol, then `T1S`, which marks the spans as sampled.
const HEADER: &str = "{\"format\":\"json\",\"version\":1}\nT1S";

/// The maximum length of an attribute's text, in bytes. Error codes and request ids come from responses and may be
/// long. A span has few attributes, so this limit keeps a datagram far below the 64 KiB that UDP and the agent accept.
const MAX_TEXT_BYTES: usize = 512;

/// DynamoDB's error code for a write whose condition was false. For a create, this usually means that the username is
/// taken. That is a normal result, so the write's span does not get the error status.
const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

/// The connection to the agent, and the data about the function that every datagram contains.
#[derive(Debug)]
pub struct Agent {
    socket: UdpSocket,
    /// The encoded OpenTelemetry resource, which describes the function.
    resource: Vec<u8>,
    table: String,
}

impl Agent {
    /// Connects to the agent at the address in `AWS_XRAY_DAEMON_ADDRESS`, unless the variable is unset or empty. If the
    /// address can't be used, logs a warning.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        let address = env::var(AGENT_ADDRESS).ok();
        let address = address.filter(|address| !address.is_empty())?;
        match Self::connect(&address) {
            Ok(agent) => Some(agent),
            Err(error) => {
                let cause = telemetry::chain(&error);
                tracing::warn!(
                    cause,
                    "AWS_XRAY_DAEMON_ADDRESS can't be used; no spans are sent"
                );
                None
            }
        }
    }

    /// Connects to the agent at `address`, which has the form `host:port`.
    ///
    /// # Errors
    /// Fails if the address is invalid or unreachable.
    pub fn connect(address: &str) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        let variable = |name| env::var(name).unwrap_or_default();
        Ok(Self {
            socket,
            resource: resource(variable),
            table: variable(TABLE_NAME),
        })
    }

    /// Starts recording a request that Lambda's trace header marks as sampled. Returns `None` for any other request.
    #[must_use]
    pub fn record(&'static self, trace_header: Option<&str>) -> Option<Recording> {
        let parent = Parent::parse(trace_header?)?;
        Some(Recording {
            agent: self,
            parent,
            unix: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .ok()?,
            started: Instant::now(),
            call: None,
        })
    }
}

/// The ids of the segment that Lambda creates. This segment is the parent of the invocation's span.
#[derive(Debug)]
struct Parent {
    trace_id: u128,
    span_id: u64,
}

impl Parent {
    /// Parses a tracing header such as
    /// `Root=1-69281c3f-5d3b8c1a2f4e6a7b8c9d0e1f;Parent=53995c3f42cd8ad8;Sampled=1`.
    fn parse(header: &str) -> Option<Self> {
        if field(header, "Sampled")? != "1" {
            return None;
        }
        let (time, random) = trace_id(header)?.strip_prefix("1-")?.split_once('-')?;
        if (time.len(), random.len()) != (8, 24) {
            return None;
        }
        let time = u128::from_str_radix(time, 16).ok()?;
        let random = u128::from_str_radix(random, 16).ok()?;
        Some(Self {
            trace_id: time << 96 | random,
            span_id: u64::from_str_radix(field(header, "Parent")?, 16).ok()?,
        })
    }
}

/// Returns the trace's id, such as `1-69281c3f-5d3b8c1a2f4e6a7b8c9d0e1f`, from a [tracing
/// header](https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader). X-Ray finds
/// a trace by this id.
#[must_use]
pub fn trace_id(header: &str) -> Option<&str> {
    field(header, "Root")
}

fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = header.split(';').filter_map(|field| field.split_once('='));
    fields.find_map(|(key, value)| (key.trim() == name).then_some(value))
}

/// The data from which the spans of one sampled request are made.
#[derive(Debug)]
pub struct Recording {
    agent: &'static Agent,
    parent: Parent,
    /// When the request started, as the time since 1970.
    unix: Duration,
    /// When the request started, on the monotonic clock that measures all later times.
    started: Instant,
    call: Option<Call>,
}

/// A call to the table. All times are measured from the start of the request.
#[derive(Debug)]
struct Call {
    operation: String,
    started: Duration,
    /// One entry for each retry: when the retry started, and the outcome of the attempt before it.
    retries: Vec<(Duration, Outcome)>,
    /// When the last attempt ended, and its outcome.
    ended: Option<(Duration, Outcome)>,
}

#[derive(Debug, Default)]
struct Outcome {
    /// The id that DynamoDB gave the attempt.
    request_id: Option<String>,
    /// Why the attempt failed, or `None` if it succeeded. The reason is DynamoDB's error code, or the HTTP status if
    /// the response has no code. If there was no valid response, the reason is `timeout`, `connection`, `response` or
    /// `_OTHER`.
    error: Option<Cow<'static, str>>,
    status: Option<u16>,
}

tokio::task_local! {
    static RECORDING: RefCell<Recording>;
}

/// Runs `handling`. Meanwhile, [`Attempts`] adds the request's attempts to `recording`. If `recording` is `None`, the
/// request is not sampled, and nothing is recorded.
pub async fn within<F: Future>(recording: &mut Option<Recording>, handling: F) -> F::Output {
    let Some(begun) = recording.take() else {
        return handling.await;
    };
    let mut handling = pin!(RECORDING.scope(RefCell::new(begun), handling));
    let output = handling.as_mut().await;
    *recording = handling.take_value().map(RefCell::into_inner);
    output
}

/// Records each attempt that the table's client makes during a sampled request.
#[derive(Debug)]
pub struct Attempts;

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "attempts"
    }

    fn read_before_attempt(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        with_recording(|recording| {
            let now = recording.started.elapsed();
            if let Some(call) = &mut recording.call {
                let before = call.ended.take();
                call.retries.extend(before.map(|(_, before)| (now, before)));
                return;
            }
            // The header `x-amz-target` names the operation, for example `DynamoDB_20120810.PutItem`.
            let target = context.request().headers().get("x-amz-target");
            let operation = target.and_then(|target| target.rsplit('.').next());
            recording.call = Some(Call {
                operation: operation.unwrap_or_default().to_owned(),
                started: now,
                retries: Vec::new(),
                ended: None,
            });
        });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        with_recording(|recording| {
            let now = recording.started.elapsed();
            if let Some(call) = &mut recording.call {
                call.ended = Some((now, outcome(context)));
            }
        });
        Ok(())
    }
}

fn with_recording(take: impl FnOnce(&mut Recording)) {
    // `try_with` fails only if the current request is not sampled, or during the warm-up. Then there is nothing to
    // record.
    let _ = RECORDING.try_with(|recording| take(&mut recording.borrow_mut()));
}

fn outcome(context: &FinalizerInterceptorContextRef<'_>) -> Outcome {
    let response = context.response();
    let status = response.map(|response| response.status().as_u16());
    let error = context
        .output_or_error()
        .and_then(Result::err)
        .map(|error| {
            if let Some(error) = error.as_operation_error() {
                let put = error.downcast_ref().and_then(PutItemError::code);
                let code = put.or_else(|| error.downcast_ref().and_then(QueryError::code));
                match (code, status) {
                    (Some(code), _) => Cow::Owned(code.to_owned()),
                    (None, Some(status)) => Cow::Owned(status.to_string()),
                    (None, None) => Cow::Borrowed("_OTHER"),
                }
            } else if error.is_timeout_error() {
                Cow::Borrowed(TIMEOUT)
            } else if let Some(error) = error.as_connector_error() {
                Cow::Borrowed(if error.is_timeout() {
                    TIMEOUT
                } else {
                    "connection"
                })
            } else {
                Cow::Borrowed("response")
            }
        });
    Outcome {
        request_id: response.and_then(|response| response.request_id().map(ToOwned::to_owned)),
        error,
        status,
    }
}

/// The `error.type` of an attempt that got no response in time.
const TIMEOUT: &str = "timeout";

/// The [kinds of spans](https://github.com/open-telemetry/opentelemetry-proto/blob/v1.8.0/opentelemetry/proto/trace/v1/trace.proto)
/// that this module sends.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
/// The status code of a span with an error.
const ERROR: u64 = 2;

impl Recording {
    /// Ends the recording now and sends the spans.
    pub fn send(mut self, context: &Context, line: &RequestLine<'_>) {
        let now = self.started.elapsed();
        if let Some(call) = &mut self.call {
            // If the end of the last attempt was not recorded, the request's deadline stopped that attempt.
            call.ended.get_or_insert_with(|| (now, Outcome::timeout()));
        }
        let spans = self.encode(now, context, line);
        let mut datagram = String::with_capacity(HEADER.len() + spans.len().div_ceil(3) * 4);
        datagram.push_str(HEADER);
        STANDARD.encode_string(spans, &mut datagram);
        // Ignore errors, such as an unreachable agent, because a request must not fail when its spans are lost.
        let _ = self.agent.socket.send(datagram.as_bytes());
    }

    /// Encodes the spans as an `ExportTraceServiceRequest` of
    /// [OTLP](https://github.com/open-telemetry/opentelemetry-proto/tree/v1.8.0/opentelemetry/proto).
    fn encode(&self, ended: Duration, context: &Context, line: &RequestLine<'_>) -> Vec<u8> {
        let id = new_id();
        let mut request = Vec::with_capacity(2048);
        message(&mut request, 1, &|resource_spans| {
            bytes(resource_spans, 1, &self.agent.resource);
            message(resource_spans, 2, &|scope_spans| {
                message(scope_spans, 1, &|scope| bytes(scope, 1, b"users-api"));
                message(scope_spans, 2, &|span| {
                    self.invocation(span, (id, ended), context, line);
                });
                if let Some(call) = &self.call {
                    message(scope_spans, 2, &|span| self.call(span, id, call));
                }
            });
        });
        request
    }

    fn invocation(
        &self,
        span: &mut Vec<u8>,
        (id, ended): (u64, Duration),
        context: &Context,
        line: &RequestLine<'_>,
    ) {
        let (method, path) = line.route.split_once(' ').unwrap_or_default();
        let arn = &context.invoked_function_arn;
        self.begin(
            span,
            id,
            self.parent.span_id,
            SERVER,
            (Duration::ZERO, ended),
        );
        bytes(span, 5, line.route.as_bytes());
        for (key, value) in [
            ("faas.trigger", Value::Text("http")),
            ("faas.invocation_id", Value::Text(line.request_id)),
            ("faas.coldstart", Value::Flag(line.cold_start)),
            ("aws.lambda.invoked_arn", Value::Text(arn)),
            (
                "cloud.account.id",
                Value::Text(arn.split(':').nth(4).unwrap_or_default()),
            ),
            ("http.request.method", Value::Text(method)),
            ("http.route", Value::Text(path)),
            ("url.path", Value::Text(path)),
            ("url.scheme", Value::Text("https")),
            (
                "http.response.status_code",
                Value::Number(line.status.into()),
            ),
        ] {
            attribute(span, 9, key, &value);
        }
        if line.status >= 500 {
            let status = line.status.to_string();
            attribute(span, 9, "error.type", &Value::Text(&status));
            set_error_status(span);
        }
    }

    fn call(&self, span: &mut Vec<u8>, parent: u64, call: &Call) {
        let Some((ended, outcome)) = &call.ended else {
            return;
        };
        self.begin(span, new_id(), parent, CLIENT, (call.started, *ended));
        message(span, 5, &|name| {
            name.extend(b"DynamoDB.");
            name.extend(call.operation.as_bytes());
        });
        for (key, value) in [
            ("rpc.system", Value::Text("aws-api")),
            ("rpc.service", Value::Text("DynamoDB")),
            ("rpc.method", Value::Text(&call.operation)),
            ("db.system.name", Value::Text("aws.dynamodb")),
            ("db.operation.name", Value::Text(&call.operation)),
            ("aws.dynamodb.table_names", Value::List(&self.agent.table)),
        ] {
            attribute(span, 9, key, &value);
        }
        if let Some(id) = &outcome.request_id {
            attribute(span, 9, "aws.request_id", &Value::Text(id));
        }
        if !call.retries.is_empty() {
            let resent = Value::Number(call.retries.len() as u64);
            attribute(span, 9, "http.request.resend_count", &resent);
        }
        for (number, (at, before)) in (1..).zip(&call.retries) {
            message(span, 11, &|event| {
                fixed64(event, 1, self.time(*at));
                bytes(event, 2, b"retry");
                attribute(
                    event,
                    3,
                    "http.request.resend_count",
                    &Value::Number(number),
                );
                before.describe(event, 3);
            });
        }
        if outcome.error.as_deref() == Some(CONDITION_FAILED) {
            attribute(
                span,
                9,
                "db.response.status_code",
                &Value::Text(CONDITION_FAILED),
            );
        } else if outcome.error.is_some() {
            outcome.describe(span, 9);
            set_error_status(span);
        }
    }

    fn begin(
        &self,
        span: &mut Vec<u8>,
        id: u64,
        parent: u64,
        kind: u64,
        (started, ended): (Duration, Duration),
    ) {
        bytes(span, 1, &self.parent.trace_id.to_be_bytes());
        bytes(span, 2, &id.to_be_bytes());
        bytes(span, 4, &parent.to_be_bytes());
        number(span, 6, kind);
        fixed64(span, 7, self.time(started));
        fixed64(span, 8, self.time(ended));
    }

    /// Converts a time since the start of the request to nanoseconds since 1970.
    fn time(&self, since: Duration) -> u64 {
        u64::try_from((self.unix + since).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Outcome {
    fn timeout() -> Self {
        Self {
            error: Some(TIMEOUT.into()),
            ..Self::default()
        }
    }

    fn describe(&self, to: &mut Vec<u8>, field: u64) {
        let Some(error) = &self.error else { return };
        attribute(to, field, "error.type", &Value::Text(error));
        if let Some(status) = self.status {
            let status = Value::Number(status.into());
            attribute(to, field, "http.response.status_code", &status);
        }
    }
}

/// Encodes the OpenTelemetry resource from environment variables that Lambda sets.
fn resource(variable: impl Fn(&'static str) -> String) -> Vec<u8> {
    let name = variable("AWS_LAMBDA_FUNCTION_NAME");
    let memory: u64 = variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        .parse()
        .unwrap_or(0);
    let mut resource = Vec::new();
    for (key, value) in [
        ("service.name", Value::Text(&name)),
        ("cloud.provider", Value::Text("aws")),
        ("cloud.platform", Value::Text("aws_lambda")),
        ("cloud.region", Value::Text(&variable("AWS_REGION"))),
        ("faas.name", Value::Text(&name)),
        (
            "faas.version",
            Value::Text(&variable("AWS_LAMBDA_FUNCTION_VERSION")),
        ),
        (
            "faas.instance",
            Value::Text(&variable("AWS_LAMBDA_LOG_STREAM_NAME")),
        ),
        ("faas.max_memory", Value::Number(memory << 20)),
        (
            "aws.log.group.names",
            Value::List(&variable("AWS_LAMBDA_LOG_GROUP_NAME")),
        ),
    ] {
        attribute(&mut resource, 1, key, &value);
    }
    resource
}

fn new_id() -> u64 {
    // The second half of a UUID version 7 contains enough random bits for a span id.
    Uuid::now_v7().as_u64_pair().1
}

// The rest of this file writes the part of Protocol Buffers (https://protobuf.dev/programming-guides/encoding/) that
// spans need. A crate that generates this code, such as `prost`, would make cold starts longer (docs/decisions/0007).

enum Value<'a> {
    Text(&'a str),
    Flag(bool),
    Number(u64),
    /// A list with one string.
    List(&'a str),
}

/// Writes an attribute as a `KeyValue` message of OTLP.
fn attribute(to: &mut Vec<u8>, field: u64, key: &str, value: &Value<'_>) {
    message(to, field, &|attribute| {
        bytes(attribute, 1, key.as_bytes());
        message(attribute, 2, &|any| match value {
            Value::Text(text) => bytes(any, 1, cut(text)),
            Value::Flag(flag) => number(any, 2, (*flag).into()),
            Value::Number(value) => number(any, 3, *value),
            Value::List(text) => message(any, 5, &|list| {
                message(list, 1, &|any| bytes(any, 1, cut(text)));
            }),
        });
    });
}

fn cut(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

/// Sets the status of a span to error.
fn set_error_status(span: &mut Vec<u8>) {
    message(span, 15, &|status| number(status, 3, ERROR));
}

fn message(to: &mut Vec<u8>, field: u64, write: &dyn Fn(&mut Vec<u8>)) {
    varint(to, field << 3 | 2);
    let start = to.len();
    write(to);
    let end = to.len();
    // The length comes before the message, but is known only now. Write the length at the end, then move it to `start`.
    varint(to, (end - start) as u64);
    let length = to.len() - end;
    to[start..].rotate_right(length);
}

fn bytes(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(to, field << 3 | 2);
    varint(to, bytes.len() as u64);
    to.extend(bytes);
}

fn number(to: &mut Vec<u8>, field: u64, number: u64) {
    varint(to, field << 3);
    varint(to, number);
}

fn fixed64(to: &mut Vec<u8>, field: u64, number: u64) {
    varint(to, field << 3 | 1);
    to.extend(number.to_le_bytes());
}

fn varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        // Write the lowest seven bits. The high bit of the byte says that more bytes follow.
        to.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}
