//! Parses a body's media type according to HTTP's grammar
//! ([RFC 9110 §8.3.1](https://www.rfc-editor.org/rfc/rfc9110#section-8.3.1)).

/// Charset names that mean UTF-8, in lower case. [IANA](https://www.iana.org/assignments/character-sets) lists `utf-8`
/// and `csutf8`; [browsers](https://encoding.spec.whatwg.org/#names-and-labels) accept the other names.
const UTF_8: [&str; 7] = [
    "utf-8",
    "utf8",
    "csutf8",
    "unicode-1-1-utf-8",
    "unicode11utf8",
    "unicode20utf8",
    "x-unicode20utf8",
];

/// Whether the value of a `Content-Type` header declares JSON in UTF-8.
///
/// JSON is `application/json` or any `application/*+json`
/// ([RFC 6839 §3.1](https://www.rfc-editor.org/rfc/rfc6839#section-3.1)). A `charset` parameter is optional. If there
/// are several, all of them must name UTF-8. Other parameters are ignored.
pub(crate) fn is_json(content_type: &[u8]) -> bool {
    parse(content_type).unwrap_or(false)
}

/// Returns `Some(true)` if the value declares JSON in UTF-8, and `Some(false)` or `None` if it does not.
fn parse(content_type: &[u8]) -> Option<bool> {
    let mut rest = content_type.trim_ascii();
    let is_application = token(&mut rest)?.eq_ignore_ascii_case(b"application");
    rest = rest.strip_prefix(b"/")?;
    let mut is_json = is_application && is_json_subtype(token(&mut rest)?);
    // The grammar is `*( OWS ";" OWS [ parameter ] )`, so the parameter after a semicolon is optional.
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(is_json);
        }
        rest = rest.strip_prefix(b";")?.trim_ascii_start();
        if matches!(rest.first(), None | Some(b';')) {
            continue;
        }
        let name = token(&mut rest)?;
        rest = rest.strip_prefix(b"=")?;
        let quoted;
        let value = if rest.starts_with(b"\"") {
            quoted = quoted_string(&mut rest)?;
            &quoted
        } else {
            token(&mut rest)?
        };
        if name.eq_ignore_ascii_case(b"charset") {
            let mut names = UTF_8.iter();
            is_json &= names.any(|name| value.eq_ignore_ascii_case(name.as_bytes()));
        }
    }
}

fn is_json_subtype(subtype: &[u8]) -> bool {
    let suffix = subtype.iter().rposition(|byte| *byte == b'+');
    match suffix {
        // The subtype `+json` is invalid, because the suffix must follow a name.
        Some(0) => false,
        Some(at) => subtype[at + 1..].eq_ignore_ascii_case(b"json"),
        None => subtype.eq_ignore_ascii_case(b"json"),
    }
}

/// Consumes a token ([RFC 9110 §5.6.2](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2)).
fn token<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = rest.iter().position(|byte| !is_tchar(byte));
    let (token, after) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = after;
    (!token.is_empty()).then_some(token)
}

/// Consumes a quoted string and returns its unescaped content
/// ([RFC 9110 §5.6.4](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.4)).
fn quoted_string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut bytes = rest.strip_prefix(b"\"")?.iter();
    let mut text = Vec::new();
    loop {
        let byte = match bytes.next()? {
            b'"' => break,
            b'\\' => bytes.next()?,
            byte => byte,
        };
        if byte.is_ascii_control() && *byte != b'\t' {
            return None;
        }
        text.push(*byte);
    }
    *rest = bytes.as_slice();
    Some(text)
}
