//! Converts HTTP requests to events, and the functions' answers to HTTP responses, as API Gateway does ([payload format
//! 2.0](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html#http-api-develop-integrations-lambda.proxy-format)).

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue,
        header::{CONTENT_TYPE, COOKIE, SET_COOKIE, USER_AGENT},
        request::Parts,
    },
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The event contains a UTF-8 body as text if the body's media type is missing or begins with one of
/// these prefixes. It contains any other body as base64.
const TEXT: [&str; 4] = [
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
];

/// Converts a request to an event. Unlike API Gateway's events, the event has no added headers such
/// as `x-forwarded-for`. Its `requestContext` has no `accountId`, `apiId`, `authorizer`,
/// `domainName`, `domainPrefix`, `requestId` or `time`.
pub(crate) fn from_request(
    route_key: &str,
    path: &str,
    path_parameters: Map<String, Value>,
    parts: &Parts,
    body: &[u8],
    source: IpAddr,
) -> Value {
    let headers = &parts.headers;
    let query = parts.uri.query().unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut event = json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": joined_headers(headers),
        "requestContext": {
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": format!("{:?}", parts.version),
                "sourceIp": source.to_string(),
                "userAgent": headers.get(USER_AGENT).map(text).unwrap_or_default(),
            },
            "routeKey": route_key,
            "stage": "$default",
            "timeEpoch": now.map_or(0, |now| now.as_secs() * 1000 + u64::from(now.subsec_millis())),
        },
        "isBase64Encoded": false,
    });
    let cookies = headers.get_all(COOKIE).iter().map(text);
    let cookies: Vec<String> = cookies
        .flat_map(|cookies| cookies.split("; ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    if !query.is_empty() {
        event["queryStringParameters"] = json!(joined(form_urlencoded::parse(query.as_bytes())));
    }
    if !path_parameters.is_empty() {
        event["pathParameters"] = path_parameters.into();
    }
    match str::from_utf8(body) {
        Ok("") => {}
        Ok(body) if is_text(headers) => event["body"] = body.into(),
        _ => {
            event["body"] = STANDARD.encode(body).into();
            event["isBase64Encoded"] = true.into();
        }
    }
    event
}

fn is_text(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).map(text);
    media_type.is_none_or(|media_type| {
        let media_type = media_type.to_ascii_lowercase();
        TEXT.iter().any(|text| media_type.starts_with(text))
    })
}

/// The headers for the event, without cookies, because an event has a separate field for them.
fn joined_headers(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let headers = headers.iter().filter(|(name, _)| *name != COOKIE);
    joined(headers.map(|(name, value)| (name.as_str(), text(value))))
}

/// Joins the values of a repeated name with commas.
fn joined<N: Ord, V: AsRef<str>>(values: impl Iterator<Item = (N, V)>) -> BTreeMap<N, String> {
    let mut joined = BTreeMap::<N, String>::new();
    for (name, value) in values {
        joined
            .entry(name)
            .and_modify(|values| *values = format!("{values},{}", value.as_ref()))
            .or_insert_with(|| value.as_ref().to_owned());
    }
    joined
}

/// The text of a header value. JSON can't hold arbitrary bytes, so a value that is not UTF-8 is
/// read as ISO 8859-1, which earlier versions of HTTP allowed ([RFC 9110, section
/// 5.5](https://www.rfc-editor.org/rfc/rfc9110#section-5.5)).
fn text(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    str::from_utf8(bytes).map_or_else(
        |_| bytes.iter().copied().map(char::from).collect(),
        str::to_owned,
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status_code: u16,
    #[serde(default)]
    headers: HashMap<String, String>,
    #[serde(default)]
    cookies: Vec<String>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// Converts a function's answer to a response. Returns `None` if the answer is invalid.
pub(crate) fn into_response(answer: &[u8]) -> Option<Response> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let body = match answer.body {
        Some(body) if answer.is_base64_encoded => STANDARD.decode(body).ok()?,
        body => body.unwrap_or_default().into_bytes(),
    };
    let mut response = Response::builder().status(answer.status_code);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    for cookie in answer.cookies {
        response = response.header(SET_COOKIE, cookie);
    }
    response.body(Body::from(body)).ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::http::{Request, Version};

    use super::*;

    fn event(request: axum::http::request::Builder, body: &[u8]) -> Value {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let parameters = Map::from_iter([("id".to_owned(), "ä b".into())]);
        let source = Ipv4Addr::LOCALHOST.into();
        let mut event = from_request("PUT /a/{id}", "/a/ä b", parameters, &parts, body, source);
        let epoch = event["requestContext"]["timeEpoch"].take();
        assert!(epoch.as_u64() > Some(1_700_000_000_000));
        event
    }

    #[test]
    fn an_event_contains_every_part_of_the_request() {
        let mut request = Request::put("/a/%C3%A4%20b?q=%C3%A4+b&tag=1&tag=2&flag");
        for (name, value) in [
            ("Accept", "text/html"),
            ("accept", "application/json"),
            ("Cookie", "session=1; theme=dark"),
            ("Cookie", "a=b"),
            ("User-Agent", "curl"),
        ] {
            request = request.header(name, value);
        }
        let mut expected = json!({
            "version": "2.0",
            "routeKey": "PUT /a/{id}",
            "rawPath": "/a/ä b",
            "rawQueryString": "q=%C3%A4+b&tag=1&tag=2&flag",
            "queryStringParameters": { "q": "ä b", "tag": "1,2", "flag": "" },
            "pathParameters": { "id": "ä b" },
            "cookies": ["session=1", "theme=dark", "a=b"],
            "headers": { "accept": "text/html,application/json", "user-agent": "curl" },
            "requestContext": {
                "http": {
                    "method": "PUT",
                    "path": "/a/ä b",
                    "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1",
                    "userAgent": "curl",
                },
                "routeKey": "PUT /a/{id}",
                "stage": "$default",
                "timeEpoch": null,
            },
            "body": "text",
            "isBase64Encoded": false,
        });
        assert_eq!(event(request, b"text"), expected);

        for member in ["body", "cookies", "queryStringParameters"] {
            expected.as_object_mut().unwrap().remove(member);
        }
        expected["rawQueryString"] = "".into();
        expected["headers"] = json!({});
        expected["requestContext"]["http"]["userAgent"] = "".into();
        expected["requestContext"]["http"]["protocol"] = "HTTP/1.0".into();
        let request = Request::put("/a/%C3%A4%20b").version(Version::HTTP_10);
        assert_eq!(event(request, b""), expected);
    }

    #[test]
    fn the_media_type_and_the_bytes_decide_whether_a_body_is_sent_as_base64() {
        for (media_type, body, expected) in [
            (None, &b"text"[..], ("text", false)),
            (Some("application/json"), b"{}", ("{}", false)),
            (
                Some("Application/JSON; charset=utf-8"),
                b"{}",
                ("{}", false),
            ),
            (Some("text/plain"), b"text", ("text", false)),
            (Some("application/problem+json"), b"{}", ("e30=", true)),
            (
                Some("application/octet-stream"),
                b"text",
                ("dGV4dA==", true),
            ),
            (Some("application/json"), b"\xff", ("/w==", true)),
            (None, b"\xff", ("/w==", true)),
        ] {
            let mut request = Request::put("/");
            if let Some(media_type) = media_type {
                request = request.header(CONTENT_TYPE, media_type);
            }
            let event = event(request, body);
            let actual = (event["body"].as_str(), event["isBase64Encoded"].as_bool());
            assert_eq!(
                actual,
                (Some(expected.0), Some(expected.1)),
                "{media_type:?}"
            );
        }
    }

    #[test]
    fn a_header_is_read_as_utf_8_or_else_as_iso_8859_1() {
        for (bytes, expected) in [
            (&b"Beno\xeet"[..], "Benoît"),
            ("Benoît".as_bytes(), "Benoît"),
            (b"\x80\xff", "\u{80}\u{ff}"),
        ] {
            let name = HeaderValue::from_bytes(bytes).unwrap();
            let event = event(Request::put("/").header("x-name", name), b"");
            assert_eq!(event["headers"]["x-name"], expected);
        }
    }

    #[test]
    fn a_valid_function_answer_becomes_a_response_and_an_invalid_one_is_refused() {
        let answer = json!({
            "statusCode": 201,
            "headers": { "content-type": "text/plain", "etag": "\"1\"" },
            "multiValueHeaders": {},
            "cookies": ["a=1", "b=2"],
            "body": "/w==",
            "isBase64Encoded": true,
        });
        let response = into_response(answer.to_string().as_bytes()).unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers().len(), 4);
        assert_eq!(response.headers()["etag"], "\"1\"");
        let cookies: Vec<_> = response.headers().get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);

        assert!(into_response(br#"{"statusCode":304,"body":null}"#).is_some());
        for no_answer in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"errorType":"Runtime.ExitError"}"#,
            r#"{"statusCode":"200"}"#,
            r#"{"statusCode":99}"#,
            r#"{"statusCode":200,"headers":{"a b":"1"}}"#,
            r#"{"statusCode":200,"headers":{"a":"1\n"}}"#,
            r#"{"statusCode":200,"body":"!","isBase64Encoded":true}"#,
        ] {
            assert!(into_response(no_answer.as_bytes()).is_none(), "{no_answer}");
        }
    }
}
