//! Converts the event of an HTTP API to a request, and converts a response to the form that the API expects. The event
//! and the converted response have the
//! [payload format 2.0](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html#http-api-develop-integrations-lambda.proxy-format).
//!
//! `lambda_http` can convert the events of every kind of gateway, but it fails on hosts, queries, headers and bodies
//! that it can't parse. This module accepts events with such parts, and the handlers decide which requests to refuse.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use lambda_http::{
    Body, Request, Response,
    aws_lambda_events::apigw::ApiGatewayV2httpResponse,
    http::{HeaderMap, HeaderName, HeaderValue, Uri, uri::PathAndQuery},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::caller::Caller;

/// The only supported payload format. The field `version` of an event must have this value.
const FORMAT: &str = "2.0";

/// The fields of an HTTP API event that the functions need.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpApiEvent<'a> {
    #[serde(rename = "version", deserialize_with = "format")]
    _version: (),
    raw_query_string: Option<String>,
    #[serde(default, deserialize_with = "headers")]
    headers: HeaderMap,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
    #[serde(borrow)]
    request_context: RequestContext<'a>,
}

#[derive(Deserialize)]
struct RequestContext<'a> {
    /// This field must be present. Its method and path are ignored, because the gateway has already matched them with
    /// the function's only route.
    #[serde(rename = "http")]
    _http: IgnoredAny,
    #[serde(borrow)]
    authorizer: Option<&'a RawValue>,
}

impl<'a> HttpApiEvent<'a> {
    /// Parses an event.
    ///
    /// # Errors
    /// Fails if the event is not an HTTP API event. For example, it comes from a REST API or a load balancer. The error
    /// names the wrong part of the event but hides its value, which must not appear in the log.
    pub fn parse(json: &'a str) -> Result<Self, EventError> {
        serde_json::from_str(json).map_err(|_| EventError {
            member: wrong_member(json),
        })
    }

    /// Converts the event to a request with the [`Caller`] in its extensions. If the event's field `authorizer` is
    /// present but names no caller, the request gets no [`Caller`].
    #[must_use]
    pub fn into_request(self) -> Request {
        let body = match self.body {
            None => Body::Empty,
            Some(text) if self.is_base64_encoded => {
                // The gateway always sends valid base64. If decoding fails anyway, use the encoded text as the body.
                STANDARD
                    .decode(&text)
                    .map_or(Body::Text(text), Body::Binary)
            }
            Some(text) => Body::Text(text),
        };
        let mut request = Request::new(body);
        *request.uri_mut() = uri(self.raw_query_string.as_deref().unwrap_or_default());
        *request.headers_mut() = self.headers;
        if let Some(caller) = Caller::of(self.request_context.authorizer) {
            request.extensions_mut().insert(caller);
        }
        request
    }
}

/// The event is not an HTTP API event (payload format 2.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventError {
    member: &'static str,
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { member } = self;
        write!(
            f,
            "the event is not an HTTP API event (payload format {FORMAT}): see its {member}"
        )
    }
}

impl std::error::Error for EventError {}

/// Names the part that makes an event invalid. If it names several fields, at least one of them is wrong.
fn wrong_member(json: &str) -> &'static str {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind<'a> {
        #[serde(borrow)]
        version: Option<&'a RawValue>,
        #[serde(borrow)]
        request_context: Option<&'a RawValue>,
    }

    let Ok(kind) = serde_json::from_str::<Kind>(json) else {
        return "outermost value";
    };
    let is_format =
        |version: &RawValue| format(&mut serde_json::Deserializer::from_str(version.get())).is_ok();
    let is_context =
        |context: &RawValue| serde_json::from_str::<RequestContext>(context.get()).is_ok();
    if !kind.version.is_some_and(is_format) {
        "version"
    } else if !kind.request_context.is_some_and(is_context) {
        "requestContext.http"
    } else {
        "headers, rawQueryString, body and isBase64Encoded"
    }
}

fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    let Text(version) = Text::deserialize(deserializer)?;
    if version == FORMAT {
        Ok(())
    } else {
        Err(D::Error::custom("another format"))
    }
}

/// A string that is copied only if it contains escapes. Without the attribute `borrow`, Serde always copies a `Cow`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the headers. A header can't hold control characters, so they become U+FFFD. The handler then sees the header
/// and can refuse it.
fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
    struct Headers;

    impl<'de> Visitor<'de> for Headers {
        type Value = HeaderMap;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("headers")
        }

        fn visit_unit<E>(self) -> Result<HeaderMap, E> {
            Ok(HeaderMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderMap, A::Error> {
            let mut headers = HeaderMap::with_capacity(EXPECTED_HEADERS);
            while let Some(Text(name)) = map.next_key()? {
                // No handler reads a header whose name is invalid.
                let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                };
                let Text(value) = map.next_value()?;
                // `try_append` fails only after thousands of headers, which is more than a gateway ever sends.
                let added = headers.try_append(name, header_value(&value));
                added.map_err(|_| A::Error::custom("too many headers"))?;
            }
            Ok(headers)
        }
    }

    deserializer.deserialize_any(Headers)
}

/// The usual number of headers. A browser sends some of them, and the gateway adds the others.
const EXPECTED_HEADERS: usize = 24;

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or_else(|_| {
        let text = text.replace(|c: char| c.is_ascii_control(), "\u{fffd}");
        HeaderValue::try_from(text.into_bytes()).expect("no control character is left")
    })
}

/// The characters to percent-encode in a query ([RFC 3986 §3.4](https://www.rfc-editor.org/rfc/rfc3986#section-3.4)).
/// This set omits the percent sign, because a percent sign begins a character that is already encoded.
const NOT_IN_A_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Builds a URI with this query. The path is always `/`, because each function has only one route.
fn uri(query: &str) -> Uri {
    // `PathAndQuery` would silently drop everything after a `#`, so encode a query that contains a `#`.
    let plain = (!query.contains('#')).then(|| PathAndQuery::try_from(format!("/?{query}")));
    let parsed = plain.and_then(Result::ok).unwrap_or_else(|| {
        let query = utf8_percent_encode(query, NOT_IN_A_QUERY);
        // The gateway rejects a query that is too long for a URI. If such a query arrives anyway, it is replaced with
        // the parameter `query`, which list-users refuses as unknown.
        PathAndQuery::try_from(format!("/?{query}"))
            .unwrap_or_else(|_| PathAndQuery::from_static("/?query"))
    });
    Uri::from(parsed)
}

/// Converts a response to the gateway's format.
#[must_use]
pub fn from_response(response: Response<Body>) -> ApiGatewayV2httpResponse {
    let (parts, body) = response.into_parts();
    let mut answer = ApiGatewayV2httpResponse::default();
    answer.status_code = parts.status.as_u16().into();
    answer.headers = parts.headers;
    answer.body = match body {
        Body::Empty => None,
        body => Some(body),
    };
    answer
}
