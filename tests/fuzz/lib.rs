//! Makes requests and checks problem responses for the fuzz targets.

use lambda_http::{
    Body, Request,
    http::{
        HeaderMap, HeaderValue,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
};
use serde_json::{Map, Value, json};
use shared::{event::HttpApiEvent, problem::Problem};

/// Makes a request as a function gets it from the gateway. Like the gateway, joins the values of
/// repeated headers with commas. Replaces invalid UTF-8 with U+FFFD, because an event is JSON.
#[must_use]
pub fn request(headers: &HeaderMap, query: &str, body: &str, is_base64: bool) -> Request {
    let headers: Map<String, Value> = headers
        .keys()
        .map(|name| {
            let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
            let values: Vec<&[u8]> = values.collect();
            let value = String::from_utf8_lossy(&values.join(&b","[..])).into_owned();
            (name.to_string(), value.into())
        })
        .collect();
    let event = json!({
        "version": "2.0",
        "rawQueryString": query,
        "headers": headers,
        "requestContext": { "http": { "method": "POST" } },
        "body": body,
        "isBase64Encoded": is_base64,
    });
    let event = event.to_string();
    let event = HttpApiEvent::parse(&event).expect("an HTTP API event");
    event.into_request()
}

/// The parts of a problem response that depend on the request.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The last part of the URN in the problem's `type`.
    pub slug: String,
    /// The problem's `detail`.
    pub detail: String,
    /// The `code` of each entry in the problem's `errors`.
    pub codes: Vec<String>,
}

/// Checks that a problem has the headers and fields that `openapi.yaml` requires.
#[must_use]
pub fn refusal(problem: Problem) -> Refusal {
    let (parts, body) = problem.into_response("id").response.into_parts();
    let status = parts.status.as_u16();
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == 415 {
        let accepted = HeaderValue::from_static("application/json, application/*+json");
        headers.insert(ACCEPT, accepted);
    }
    assert_eq!(parts.headers, headers);

    let Body::Text(body) = body else {
        panic!("no text: {body:?}");
    };
    let mut problem: Map<String, Value> = serde_json::from_str(&body).expect("an object");
    assert_eq!(problem.remove("status"), Some(status.into()));
    assert_eq!(problem.remove("instance"), Some("urn:request:id".into()));
    let slug = text(problem.remove("type"));
    let slug = slug
        .strip_prefix("urn:problem-type:users:")
        .expect("one of our types");
    text(problem.remove("title"));
    let detail = text(problem.remove("detail"));
    let errors = problem.remove("errors");
    assert!(problem.is_empty(), "{body}");

    let has_errors = matches!(slug, "invalid-query" | "invalid-user");
    assert_eq!(errors.is_some(), has_errors, "{body}");
    let errors = errors.map_or_else(Vec::new, |errors| match errors {
        Value::Array(errors) => errors,
        _ => panic!("no array: {body}"),
    });
    assert!(!has_errors || (1..=20).contains(&errors.len()), "{body}");
    Refusal {
        status,
        slug: slug.to_owned(),
        detail,
        codes: errors.into_iter().map(code).collect(),
    }
}

/// Checks one entry of a problem's `errors`.
fn code(fault: Value) -> String {
    let Value::Object(mut fault) = fault else {
        panic!("no object: {fault}");
    };
    match (fault.remove("pointer"), fault.remove("parameter")) {
        (Some(pointer), None) => assert_eq!(pointer, "#/username"),
        (None, Some(Value::String(parameter))) => assert!(parameter.chars().count() <= 40),
        place => panic!("must have either a pointer or a parameter: {place:?}"),
    }
    let code = text(fault.remove("code"));
    text(fault.remove("detail"));
    assert!(fault.is_empty(), "{fault:?}");
    code
}

fn text(member: Option<Value>) -> String {
    match member {
        Some(Value::String(text)) if !text.is_empty() => text,
        other => panic!("no text: {other:?}"),
    }
}
