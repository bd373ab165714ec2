//! Fuzzes the code that reads create requests. Each input consists of header lines, an empty line,
//! and a body. The service must accept the username or return a problem that the contract allows.
//! The target also parses each body with jiter, another JSON parser. The service's answer must
//! agree with what jiter finds in the body.
#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use create_user::request::{MAX_BODY_BYTES, NewUser, parse};
use fuzz::{Refusal, refusal, request};
use jiter::{JsonErrorType, JsonValue};
use lambda_http::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use libfuzzer_sys::fuzz_target;
use shared::user::Username;

fuzz_target!(|message: &[u8]| {
    let (headers, body) = read(message);
    let created = create(&headers, &STANDARD.encode(&body), true);
    if let Ok(text) = str::from_utf8(&body) {
        let as_text = create(&headers, text, false);
        assert_eq!(
            as_text, created,
            "plain and base64 bodies give different results"
        );
    }

    let has_key = headers.contains_key("idempotency-key");
    let media_types: Vec<_> = headers.get_all(CONTENT_TYPE).iter().collect();
    match &created {
        Ok(new_user) => {
            assert_eq!(new_user.fingerprint.is_some(), has_key);
        }
        Err(refusal) => match (refusal.status, refusal.slug.as_str()) {
            (415, "unsupported-media-type") => {
                return assert_ne!(media_types, ["application/json"]);
            }
            (400, "invalid-idempotency-key") => return assert!(has_key),
            (413, "body-too-large") => return assert!(body.len() > MAX_BODY_BYTES),
            (400, "invalid-body") | (422, "invalid-user") => {}
            other => panic!("{other:?}"),
        },
    }
    assert!(body.len() <= MAX_BODY_BYTES);
    check_body(&body, &created);
});

/// Splits a message into headers and body. If there is a `content-length` of at most 20,000, cuts
/// the body to this length or fills it up with spaces. So a short message can have a long body.
fn read(message: &[u8]) -> (HeaderMap, Vec<u8>) {
    let mut headers = HeaderMap::new();
    let mut rest = message;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let mut body = rest.to_vec();
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(length @ 0..=20_000) = length {
        body.resize(length, b' ');
    }
    (headers, body)
}

fn create(headers: &HeaderMap, body: &str, is_base64: bool) -> Result<NewUser, Refusal> {
    parse(&request(headers, "", body, is_base64)).map_err(refusal)
}

fn check_body(body: &[u8], created: &Result<NewUser, Refusal>) {
    let code = match created {
        Ok(_) => "created",
        Err(refusal) => refusal.codes.first().map_or("invalid-body", String::as_str),
    };
    if str::from_utf8(body).is_err() {
        return assert_eq!(code, "invalid-body");
    }
    let members = match JsonValue::parse(body, false) {
        Ok(JsonValue::Object(members)) => members,
        Ok(_) => return assert_eq!(code, "invalid-body"),
        Err(error) => {
            // The service skips the values that it does not need, but jiter decodes all values. So
            // the service may miss the errors listed here.
            let may_be_missed = matches!(
                error.error_type,
                JsonErrorType::RecursionLimitExceeded
                    | JsonErrorType::NumberOutOfRange
                    | JsonErrorType::InvalidUnicodeCodePoint
                    | JsonErrorType::LoneLeadingSurrogateInHexEscape
                    | JsonErrorType::UnexpectedEndOfHexEscape
            );
            assert!(may_be_missed || code == "invalid-body", "{error}: {code}");
            return;
        }
    };
    let usernames = members.iter().filter(|(name, _)| name == "username");
    let usernames: Vec<_> = usernames.map(|(_, value)| value).collect();
    match usernames[..] {
        [] => assert_eq!(code, "missing"),
        [JsonValue::Str(text)] => match Username::parse(text) {
            Ok(username) => {
                let created = created.as_ref().map(|new_user| &new_user.username);
                assert_eq!(created, Ok(&username));
            }
            Err(error) => assert_eq!(code, error.code()),
        },
        [_] => assert_eq!(code, "not-a-string"),
        [..] => {
            let detail = created.as_ref().map_err(|refusal| refusal.detail.as_str());
            assert_eq!(
                detail.err(),
                Some("The field username is repeated. Send it once.")
            );
        }
    }
}
