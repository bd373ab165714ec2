//! Fuzzes the code that reads If-None-Match headers. Each line of the input is one header's value.
//! If all values are well-formed, the code must report a match if and only if one of them matches
//! by RFC 9110. If a value is malformed, the code may report a match only if some value is `*` or
//! contains the page's entity tag.
#![no_main]

use lambda_http::http::{HeaderMap, HeaderValue, header::IF_NONE_MATCH};
use libfuzzer_sys::fuzz_target;
use list_users::request::not_modified;

const ETAG: &str = "\"2ZpisHpxpyiZ-GXX6rkF8A\"";

fuzz_target!(|lines: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        // White space around a value is not part of the value (RFC 9110 §5.5).
        if let Ok(value) = HeaderValue::from_bytes(line.trim_ascii()) {
            headers.append(IF_NONE_MATCH, value);
        }
    }
    let etag = HeaderValue::from_static(ETAG);
    let matches = not_modified(&headers, &etag);

    let values = || headers.get_all(IF_NONE_MATCH).iter();
    let names_it = |value: &HeaderValue| {
        let value = value.as_bytes();
        value == b"*" || value.windows(ETAG.len()).any(|it| it == ETAG.as_bytes())
    };
    assert!(!matches || values().any(names_it));

    let meanings: Option<Vec<bool>> = values().map(|value| meaning(value.as_bytes())).collect();
    if let Some(meanings) = meanings {
        assert_eq!(matches, meanings.contains(&true));
    }

    let mut headers = headers;
    headers.append(IF_NONE_MATCH, etag.clone());
    assert!(not_modified(&headers, &etag));
});

/// Returns whether a value matches the page's entity tag by RFC 9110, §8.8.3 and §13.1.2. Returns
/// `None` if the value is malformed.
fn meaning(value: &[u8]) -> Option<bool> {
    if value == b"*" {
        return Some(true);
    }
    let mut found = false;
    let mut rest = value.trim_ascii_start();
    while !rest.is_empty() {
        // The list may contain empty elements.
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
            continue;
        }
        let tag = rest.strip_prefix(b"W/").unwrap_or(rest);
        let opaque = tag.strip_prefix(b"\"")?;
        let length = opaque.iter().position(|byte| *byte == b'"')?;
        let is_tag = |byte: &u8| *byte == b'!' || *byte >= b'#' && *byte != 0x7f;
        if !opaque[..length].iter().all(is_tag) {
            return None;
        }
        found |= &tag[..length + 2] == ETAG.as_bytes();
        rest = opaque[length + 1..].trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
    Some(found)
}
