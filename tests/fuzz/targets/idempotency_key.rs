//! Fuzzes the code that reads the Idempotency-Key header. The service must accept exactly the
//! values that the contract allows. A key must get the same fingerprint with and without quotes.
#![no_main]

use create_user::request::{MAX_IDEMPOTENCY_KEY_CHARS, parse};
use fuzz::{refusal, request};
use lambda_http::http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use libfuzzer_sys::fuzz_target;
use shared::{caller::Caller, item::Fingerprint};

fuzz_target!(|value: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    let Some(key) = key(&value) else {
        assert_eq!(fingerprint([value]), None);
        return;
    };
    let expected = Some(Fingerprint::new(&Caller::Anyone, &key));
    assert_eq!(fingerprint([value.clone()]), expected);

    let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
    let quoted = HeaderValue::from_str(&quoted).expect("visible ASCII");
    assert_eq!(fingerprint([quoted.clone()]), expected);
    if !key.contains(['"', '\\', ',', ';']) {
        let bare = HeaderValue::from_str(&key).expect("visible ASCII");
        assert_eq!(fingerprint([bare]), expected);
    }
    assert_eq!(fingerprint([value, quoted]), None, "two keys were accepted");
});

/// Returns the key in a header's value, or `None` if the contract does not allow the value.
fn key(value: &HeaderValue) -> Option<String> {
    // White space around a value is not part of the value (RFC 9110 §5.5).
    let value = value.to_str().ok()?.trim_matches([' ', '\t']);
    let key = if let Some(quoted) = value.strip_prefix('"') {
        let quoted = quoted.strip_suffix('"')?;
        let plain = quoted.replace(r"\\", "\u{1}").replace(r#"\""#, "\u{2}");
        if plain.contains(['"', '\\']) {
            return None;
        }
        plain.replace('\u{1}', r"\").replace('\u{2}', "\"")
    } else if value.contains(['"', '\\', ',', ';']) {
        return None;
    } else {
        value.to_owned()
    };
    let is_visible = |character| ('!'..='~').contains(&character);
    let is_short = (1..=MAX_IDEMPOTENCY_KEY_CHARS).contains(&key.len());
    (is_short && key.chars().all(is_visible)).then_some(key)
}

/// Returns the fingerprint of a create request with these Idempotency-Key headers, or `None` if the
/// service refuses them.
fn fingerprint(keys: impl IntoIterator<Item = HeaderValue>) -> Option<Fingerprint> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let name = HeaderName::from_static("idempotency-key");
    for key in keys {
        headers.append(name.clone(), key);
    }
    match parse(&request(&headers, "", r#"{"username": "ada"}"#, false)) {
        Ok(new_user) => Some(new_user.fingerprint.expect("the request has a key")),
        Err(problem) => {
            let refusal = refusal(problem);
            let found = (refusal.status, refusal.slug.as_str());
            assert_eq!(found, (400, "invalid-idempotency-key"));
            None
        }
    }
}
