//! Fuzzes the code that reads the Content-Type header. The service must accept exactly the media
//! types that mean JSON in UTF-8. The target recognizes these media types with regular expressions
//! for the grammar of RFC 9110.
#![no_main]

use std::sync::LazyLock;

use create_user::request::parse;
use fuzz::{refusal, request};
use lambda_http::http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use libfuzzer_sys::fuzz_target;
use regex::bytes::Regex;

const TOKEN: &str = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+";
const QUOTED_STRING: &str = r#""(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*""#;

/// The type, the subtype and all parameters (RFC 9110 §8.3.1 and §5.6.6).
static MEDIA_TYPE: LazyLock<Regex> = LazyLock::new(|| {
    let value = format!("(?:{TOKEN}|{QUOTED_STRING})");
    regex(&format!(
        r"\A[ \t]*({TOKEN})/({TOKEN})((?:[ \t]*;[ \t]*(?:{TOKEN}={value})?)*)[ \t]*\z"
    ))
});

static PARAMETER: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(
        r"\A[ \t]*;[ \t]*(?:({TOKEN})=({TOKEN}|{QUOTED_STRING}))?"
    ))
});

static UTF_8: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?i)\A(?:utf-?8|csutf8|unicode-1-1-utf-8|unicode11utf8|(?:x-)?unicode20utf8)\z")
});

/// Compiles a pattern that matches bytes, not Unicode characters.
fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("(?-u){pattern}")).expect("a regular expression")
}

fuzz_target!(|value: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, value.clone())]);
    // The function `request` replaces invalid UTF-8 in a header with U+FFFD. This line does the
    // same, so that `is_json` gets the same text as the service.
    let text = String::from_utf8_lossy(value.as_bytes());
    let accepted = match parse(&request(&headers, "", r#"{"username": "ada"}"#, false)) {
        Ok(_) => true,
        Err(problem) => {
            let refusal = refusal(problem);
            let found = (refusal.status, refusal.slug.as_str());
            assert_eq!(found, (415, "unsupported-media-type"));
            false
        }
    };
    assert_eq!(accepted, is_json(text.as_bytes()), "{text:?}");
});

fn is_json(media_type: &[u8]) -> bool {
    let Some(parts) = MEDIA_TYPE.captures(media_type) else {
        return false;
    };
    let subtype = parts[2].to_ascii_lowercase();
    let is_suffixed = subtype.len() > 5 && subtype.ends_with(b"+json");
    if !parts[1].eq_ignore_ascii_case(b"application") || !(subtype == b"json" || is_suffixed) {
        return false;
    }
    let mut rest = &parts[3];
    while let Some(parameter) = PARAMETER.captures(rest) {
        let is_charset = |name: &[u8]| name.eq_ignore_ascii_case(b"charset");
        if parameter
            .get(1)
            .is_some_and(|name| is_charset(name.as_bytes()))
            && !UTF_8.is_match(&unquoted(&parameter[2]))
        {
            return false;
        }
        rest = &rest[parameter[0].len()..];
    }
    true
}

/// Removes the quotes and escapes of a quoted string. Leaves a token unchanged.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return value.to_vec();
    };
    let quoted = &quoted[..quoted.len() - 1];
    let escape = regex(r"\\([\t -~\x80-\xff])");
    escape.replace_all(quoted, &b"$1"[..]).into_owned()
}
