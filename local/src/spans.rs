//! Stands in for X-Ray's agent: receives the datagrams that contain the functions' spans.

use std::{convert::Infallible, fmt::Write as _, io};

use base64::{Engine, engine::general_purpose::STANDARD};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    resource::v1::Resource,
};
use prost::Message;
use serde_json::{Map, Value};
use tokio::net::UdpSocket;

pub use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::SpanKind, status::StatusCode};

/// The largest UDP datagram over IPv4, in bytes.
pub const MAX_DATAGRAM_BYTES: usize = 65_507;

/// The start of every datagram: the header of the agent's protocol, then `T1S`, which marks the
/// spans as sampled.
const HEADER: &[u8] = b"{\"format\":\"json\",\"version\":1}\nT1S";

/// The spans of one request to a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The attributes of the function that sent the spans.
    pub resource: Value,
    /// The spans. The first one is the invocation's.
    pub spans: Vec<Span>,
}

/// Decodes a datagram with OpenTelemetry's Protobuf definitions.
///
/// # Errors
/// Fails if the datagram does not hold sampled spans of exactly one function.
pub fn decode(datagram: &[u8]) -> Result<Request, String> {
    let spans = datagram
        .strip_prefix(HEADER)
        .ok_or("the header of sampled spans is missing")?;
    let spans = STANDARD.decode(spans).map_err(|error| error.to_string())?;
    let mut request =
        ExportTraceServiceRequest::decode(&*spans).map_err(|error| error.to_string())?;
    let (Some(of_resource), true) = (
        request.resource_spans.pop(),
        request.resource_spans.is_empty(),
    ) else {
        return Err("not the spans of one resource".to_owned());
    };
    let Resource { attributes, .. } = of_resource.resource.unwrap_or_default();
    let of_scopes = of_resource.scope_spans.into_iter();
    Ok(Request {
        resource: values(&attributes),
        spans: of_scopes.flat_map(|of_scope| of_scope.spans).collect(),
    })
}

/// Converts attributes to a JSON object.
#[must_use]
pub fn values(attributes: &[KeyValue]) -> Value {
    let attributes = attributes.iter();
    let attributes =
        attributes.map(|it| (it.key.clone(), it.value.as_ref().map_or(Value::Null, value)));
    Value::Object(attributes.collect::<Map<_, _>>())
}

fn value(value: &AnyValue) -> Value {
    match &value.value {
        Some(any_value::Value::StringValue(text)) => text.clone().into(),
        Some(any_value::Value::BoolValue(flag)) => (*flag).into(),
        Some(any_value::Value::IntValue(number)) => (*number).into(),
        Some(any_value::Value::ArrayValue(list)) => list.values.iter().map(self::value).collect(),
        // The functions send no values of other types.
        _ => Value::Null,
    }
}

/// An agent that prints the spans that it receives.
#[derive(Debug)]
pub struct Printer {
    socket: UdpSocket,
}

impl Printer {
    /// Starts an agent on a free port of this machine.
    ///
    /// # Errors
    /// Fails if there is no free port.
    pub async fn bind() -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        Ok(Self { socket })
    }

    /// The agent's address.
    ///
    /// # Errors
    /// Fails if the operating system does not report the address.
    pub fn address(&self) -> io::Result<String> {
        Ok(self.socket.local_addr()?.to_string())
    }

    /// Prints one line for each span.
    pub async fn print(&self) -> Infallible {
        let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            let Ok(length) = self.socket.recv(&mut datagram).await else {
                continue;
            };
            match decode(&datagram[..length]) {
                Ok(request) => {
                    for line in lines(&request.spans) {
                        println!("{line}");
                    }
                }
                Err(error) => {
                    eprintln!("make run: received a datagram that can't be decoded: {error}");
                }
            }
        }
    }
}

/// Formats each span of a request as one line: trace ID, name, time since the first span's start,
/// duration and result.
#[must_use]
pub fn lines(spans: &[Span]) -> Vec<String> {
    let begun = spans.first().map_or(0, |span| span.start_time_unix_nano);
    let milliseconds = |from: u64, to: u64| {
        // An `f64` holds every whole number up to 2^53 exactly, and 2^53 ns are 104 days.
        #[expect(
            clippy::cast_precision_loss,
            reason = "a request takes less than 104 days"
        )]
        let nanoseconds = to.saturating_sub(from) as f64;
        format!("{:.1} ms", nanoseconds / 1e6)
    };
    let line = |span: &Span| {
        let trace_id: String = span.trace_id.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let is_child = spans.iter().any(|it| it.span_id == span.parent_span_id);
        let name = format!("{}{}", if is_child { "  " } else { "" }, span.name);
        let attributes = values(&span.attributes);
        let at = milliseconds(begun, span.start_time_unix_nano);
        let took = milliseconds(span.start_time_unix_nano, span.end_time_unix_nano);
        let mut line = format!("span {trace_id} {name:<20} at +{at} for {took}");
        if !is_child && let Some(status) = attributes.get("http.response.status_code") {
            let _ = write!(line, "  {status}");
        }
        for event in &span.events {
            let at = milliseconds(begun, event.time_unix_nano);
            let error = values(&event.attributes);
            let error = error["error.type"].as_str().unwrap_or_default();
            let _ = write!(line, "  {} at +{at} after {error}", event.name);
        }
        if let Some(Value::String(error)) = attributes.get("error.type") {
            let _ = write!(line, "  error {error}");
        }
        line
    };
    spans.iter().map(line).collect()
}
