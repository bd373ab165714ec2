//! Writes the log: one JSON line per request on standard output. The field `_aws` of a line tells CloudWatch which
//! other fields are metrics
//! ([embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html)).
//! Therefore metrics need no agent, no extension and no call to another service.
//!
//! No line contains a username, a token, a body or a query string.

use std::{
    cell::Cell,
    error::Error,
    io::{self, Write as _},
    iter, panic,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer, ser::SerializeMap};

const NAMESPACE: &str = "UsersApi";
/// A dimension that all metrics have. Lambda's own metrics have a dimension with the same name.
const FUNCTION: &str = "FunctionName";
/// A second dimension, which only the metric `InternalErrors` has. With it, the alarm that rolls back a deployment
/// counts only the errors of the new version. The other metrics do not have the dimension, because CloudWatch would
/// bill each of them once for every version.
const VERSION: &str = "FunctionVersion";

/// The metrics that count requests. The log line of every request also has the metric `Latency`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// A user was created.
    UsersCreated,
    /// A create request was repeated, and the response contained the user that the first request had created.
    CreatesReplayed,
    /// A create request was refused, because another user has the username.
    Conflicts,
    /// The response was a page of users, or 304 because the caller already had the page.
    PagesListed,
    /// DynamoDB throttled the last attempt to send the function's request.
    Throttles,
    /// DynamoDB throttled a request because a key range reached its limit (see
    /// [`Throttled`](crate::table::TableError::Throttled)).
    KeyRangeThrottles,
    /// A request failed with 500 because of a bug or a wrong deployment.
    InternalErrors,
    /// A request was the first in its Lambda sandbox.
    ColdStarts,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Self::UsersCreated => "UsersCreated",
            Self::CreatesReplayed => "CreatesReplayed",
            Self::Conflicts => "Conflicts",
            Self::PagesListed => "PagesListed",
            Self::Throttles => "Throttles",
            Self::KeyRangeThrottles => "KeyRangeThrottles",
            Self::InternalErrors => "InternalErrors",
            Self::ColdStarts => "ColdStarts",
        }
    }
}

/// Formats an error and its whole chain of sources as one line. Uses `Display`, because the `Debug` output of the SDK's
/// errors may contain parts of items.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        // The text of some SDK errors already contains the text of their source.
        if !chain.ends_with(&text) {
            chain.push_str(": ");
            chain.push_str(&text);
        }
        source = error.source();
    }
    chain
}

/// The log line of one request.
#[derive(Debug)]
pub struct RequestLine<'a> {
    /// The id that Lambda gave the request.
    pub request_id: &'a str,
    /// The id of the request's X-Ray trace.
    pub trace_id: Option<&'a str>,
    /// The function's name. It separates the metrics of this stack from the metrics of other stacks.
    pub function: &'a str,
    /// The function's version.
    pub version: &'a str,
    /// The method and path that the function serves.
    pub route: &'static str,
    /// The caller's name: the value of a claim, usually `sub`, in the caller's token.
    pub caller: Option<&'a str>,
    /// The HTTP status of the response.
    pub status: u16,
    /// The time from when the function gets the event until the response is ready.
    pub duration: Duration,
    /// Whether the request is the first in its Lambda sandbox.
    pub cold_start: bool,
    /// The metrics that count the request.
    pub metrics: &'a [Metric],
    /// Why the request failed, if it failed.
    pub cause: Option<&'a str>,
}

impl RequestLine<'_> {
    /// Writes the line to standard output.
    pub fn write(&self) {
        write_line(self);
    }

    fn counted(&self) -> impl Iterator<Item = Metric> {
        let cold_start = self.cold_start.then_some(Metric::ColdStarts);
        self.metrics.iter().copied().chain(cold_start)
    }

    fn metadata(&self, now: SystemTime) -> Metadata {
        let directive = |dimensions, metrics| Directive {
            namespace: NAMESPACE,
            dimensions,
            metrics,
        };
        let count = |metric: Metric| Definition {
            name: metric.name(),
            unit: "Count",
        };
        let latency = Definition {
            name: "Latency",
            unit: "Milliseconds",
        };
        let all = iter::once(latency).chain(self.counted().map(count));
        let mut directives = vec![directive(&[&[FUNCTION]], all.collect())];
        let of_version = Metric::InternalErrors;
        if self.counted().any(|metric| metric == of_version) {
            directives.push(directive(&[&[FUNCTION, VERSION]], vec![count(of_version)]));
        }
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        Metadata {
            timestamp: since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0)),
            cloud_watch_metrics: directives,
        }
    }

    fn level(&self) -> &'static str {
        match self.status {
            503 => "WARN",
            500.. => "ERROR",
            _ => "INFO",
        }
    }
}

impl Serialize for RequestLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let now = SystemTime::now();
        let duration = self.duration.as_secs_f64() * 1000.0;

        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("timestamp", &timestamp(now))?;
        line.serialize_entry("level", self.level())?;
        line.serialize_entry("message", "request")?;
        line.serialize_entry("requestId", self.request_id)?;
        if let Some(trace_id) = self.trace_id {
            line.serialize_entry("traceId", trace_id)?;
        }
        line.serialize_entry("route", self.route)?;
        if let Some(caller) = self.caller {
            line.serialize_entry("caller", caller)?;
        }
        line.serialize_entry("status", &self.status)?;
        line.serialize_entry("coldStart", &self.cold_start)?;
        if let Some(cause) = self.cause {
            line.serialize_entry("cause", cause)?;
        }
        line.serialize_entry(FUNCTION, self.function)?;
        line.serialize_entry(VERSION, self.version)?;
        line.serialize_entry("Latency", &duration)?;
        for metric in self.counted() {
            line.serialize_entry(metric.name(), &1)?;
        }
        line.serialize_entry("_aws", &self.metadata(now))?;
        line.end()
    }
}

/// The field `_aws` of a log line.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    /// When the line was written, in milliseconds since 1970.
    timestamp: u64,
    cloud_watch_metrics: Vec<Directive>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: &'static [&'static [&'static str]],
    metrics: Vec<Definition>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: &'static str,
    unit: &'static str,
}

/// A log line that belongs to no request.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    message: &'a str,
}

/// Logs why the function ends: it can't start, or it can no longer reach Lambda's Runtime API.
pub fn write_fatal(message: &str) {
    write_line(&Line {
        timestamp: timestamp(SystemTime::now()),
        level: "FATAL",
        message,
    });
}

thread_local! {
    static PANIC_PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Describes the place where this thread last panicked, as the `cause` for the log line, and forgets the place.
#[must_use]
pub fn take_panic() -> String {
    let place = PANIC_PLACE.take();
    let place = place.as_deref().unwrap_or("an unknown place");
    format!("a panic at {place}; the line before this one describes it")
}

/// Sets up the logging of warnings, errors and panics as JSON lines.
///
/// The log line of a panic names the place in the code. It contains the panic's message only if the message is a
/// string constant, because a formatted message may contain data.
pub fn init() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::WARN)
        .init();
    panic::set_hook(Box::new(|info| {
        let message = info.payload().downcast_ref::<&str>().unwrap_or(&"a panic");
        let place = info.location().map(ToString::to_string);
        tracing::error!(place, "{message}");
        PANIC_PLACE.set(place);
    }));
}

fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn write_line(line: &impl Serialize) {
    let mut bytes = serde_json::to_vec(line).expect("strings and numbers can be written as JSON");
    bytes.push(b'\n');
    // Write the whole line under one lock, so that lines do not mix. Ignore a failed write, because there is no other
    // place to report it.
    let _ = io::stdout().lock().write_all(&bytes);
}
