//! Parses and validates a request to create a user.

use std::borrow::Cow;

use lambda_http::{
    Request,
    http::{HeaderMap, header::CONTENT_TYPE},
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{error::Category, value::RawValue};
use shared::{
    caller::caller,
    item::Fingerprint,
    problem::{FieldError, Location, Problem, ProblemType},
    user::Username,
};

use crate::media_type;

/// The maximum size of a body, in bytes. A username of 80 characters takes up to 320 bytes in UTF-8, or up to 960 bytes
/// if every character is escaped. The remaining bytes are for unknown fields.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// The maximum length of an Idempotency-Key, in characters.
/// [The draft of this header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/) leaves the
/// limit to the server. The draft recommends a UUID, which has 36 characters.
pub const MAX_IDEMPOTENCY_KEY_CHARS: usize = 255;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A valid request to create a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// The requested username.
    pub username: Username,
    /// The fingerprint, which every retry of the request shares. `None` if the request has no Idempotency-Key.
    pub fingerprint: Option<Fingerprint>,
}

/// Parses a request.
///
/// # Errors
/// Returns the problem for the first rule that the request breaks.
pub fn parse(request: &Request) -> Result<NewUser, Problem> {
    check_media_type(request.headers())?;
    let fingerprint = fingerprint(request)?;
    let username = parse_body(request.body())?;
    Ok(NewUser {
        username,
        fingerprint,
    })
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(CONTENT_TYPE);
    if content_type.is_some_and(|value| media_type::is_json(value.as_bytes())) {
        return Ok(());
    }
    Err(Problem::new(
        ProblemType::UnsupportedMediaType,
        "Send the user as JSON in UTF-8, with the header Content-Type: application/json.",
    ))
}

fn fingerprint(request: &Request) -> Result<Option<Fingerprint>, Problem> {
    let Some(key) = idempotency_key(request.headers())? else {
        return Ok(None);
    };
    let caller = caller(request).ok_or_else(|| {
        Problem::new(
            ProblemType::UnknownCaller,
            "An Idempotency-Key belongs to one caller, and the access token does not name one. Use \
             a token with the claim sub or client_id, or send the request without the key.",
        )
    })?;
    Ok(Some(Fingerprint::new(caller, &key)))
}

/// Reads the Idempotency-Key header. Its value is a Structured Fields string
/// ([RFC 9651 §3.3.3](https://www.rfc-editor.org/rfc/rfc9651#section-3.3.3)), which is in quotes. Many clients send the
/// key without quotes, which is allowed too. The quotes are not part of the key.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = match (value.to_str(), values.next()) {
        (Ok(value), None) => parse_key(value.trim_matches([' ', '\t'])),
        _ => None,
    };
    if key.is_some() {
        return Ok(key);
    }
    Err(Problem::new(
        ProblemType::InvalidIdempotencyKey,
        format!(
            "Send one Idempotency-Key of 1 to {MAX_IDEMPOTENCY_KEY_CHARS} visible ASCII characters, \
             such as a UUID, in double quotes."
        ),
    ))
}

fn parse_key(value: &str) -> Option<String> {
    let is_visible = |c: char| c.is_ascii_graphic();
    let key = if let Some(quoted) = value.strip_prefix('"') {
        let mut key = String::with_capacity(quoted.len());
        let mut chars = quoted.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
                c if is_visible(c) => key.push(c),
                _ => return None,
            }
        }
        if !chars.as_str().is_empty() {
            return None;
        }
        key
    } else {
        // Without quotes, a key must not contain `"`, `\`, `,` or `;`, which have a meaning in Structured Fields. For
        // example, a gateway that joins two headers puts a comma between their keys.
        let is_bare = |c: char| is_visible(c) && !matches!(c, '"' | '\\' | ',' | ';');
        if !value.chars().all(is_bare) {
            return None;
        }
        value.to_owned()
    };
    (1..=MAX_IDEMPOTENCY_KEY_CHARS)
        .contains(&key.len())
        .then_some(key)
}

/// The known fields of the body. Unknown fields are ignored.
///
/// The username stays raw JSON, so parsing the body succeeds even if the username is, for example, a deeply nested
/// array. `parse_body` then rejects the username.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    username: Option<&'a RawValue>,
}

/// Reads a field with the value `null` as `Some`. Without this function, serde would read it as `None`, like a missing
/// field.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn parse_body(body: &[u8]) -> Result<Username, Problem> {
    let username = username_member(text(body)?)?;
    let Some(username) = username.map(RawValue::get) else {
        return Err(invalid_username(
            "missing",
            "The field username is missing.",
        ));
    };
    if !username.starts_with('"') {
        return Err(invalid_username(
            "not-a-string",
            "The field username must be a string.",
        ));
    }
    let username: String = serde_json::from_str(username).map_err(|_| {
        invalid_body("The username contains an unpaired surrogate, such as \\ud800.")
    })?;
    Username::parse(&username).map_err(|error| invalid_username(error.code(), error.to_string()))
}

fn text(body: &[u8]) -> Result<&str, Problem> {
    if body.len() > MAX_BODY_BYTES {
        return Err(Problem::new(
            ProblemType::BodyTooLarge,
            format!(
                "The body has {} bytes; at most {MAX_BODY_BYTES} are allowed.",
                body.len()
            ),
        ));
    }
    if body.is_empty() {
        return Err(invalid_body(
            "The body is empty; send a JSON object with a username.",
        ));
    }
    str::from_utf8(body).map_err(|error| {
        let offset = error.valid_up_to();
        invalid_body(format!(
            "The body is not UTF-8: the byte at offset {offset} is wrong."
        ))
    })
}

fn username_member(body: &str) -> Result<Option<&RawValue>, Problem> {
    let not_json = |error: &serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        invalid_body(format!(
            "The body is not JSON: see line {line}, column {column}."
        ))
    };
    // Without this check, serde would also accept an array instead of the object.
    if !body.trim_ascii_start().starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(body) {
            Ok(_) => invalid_body(
                "The body is JSON but not an object; send a JSON object with a username.",
            ),
            Err(error) => not_json(&error),
        });
    }
    let members: Members = serde_json::from_str(body).map_err(|error| match error.classify() {
        Category::Data => invalid_body("The field username is repeated. Send it once."),
        Category::Syntax | Category::Eof | Category::Io => not_json(&error),
    })?;
    Ok(members.username)
}

fn invalid_body(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(ProblemType::InvalidBody, detail)
}

fn invalid_username(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    let detail = detail.into();
    let error = FieldError {
        location: Location::Pointer("#/username"),
        code,
        detail: detail.clone(),
    };
    Problem::new(ProblemType::InvalidUser, detail).with_errors(vec![error])
}
