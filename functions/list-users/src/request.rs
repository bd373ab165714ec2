//! Parses the query string and the `If-None-Match` header of a list request.

use std::{borrow::Cow, fmt};

use lambda_http::{
    Request,
    http::{HeaderMap, HeaderValue, header::IF_NONE_MATCH},
};
use shared::{
    problem::{FieldError, Location, Problem, ProblemType},
    user::{Username, username::UsernamePrefix},
};

use crate::cursor;

/// The maximum number of users on a page.
///
/// One `Query` for the largest page reads 1,001 items of under 1 KiB each; the extra item shows whether there is a next
/// page. The items fit in the 1 MB that a `Query` can read, and the page fits in the 6 MB that a function may return.
pub const MAX_LIMIT: u16 = 1000;

/// The number of users on a page if the client does not set a limit.
pub const DEFAULT_LIMIT: u16 = 100;

/// A valid request for one page of the list.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// The prefix as the client wrote it, for the link to the next page. `None` if the client sent no prefix.
    pub raw_prefix: Option<String>,
    /// The mapped prefix. The `username_key` of every user on the page begins with it.
    pub prefix: UsernamePrefix,
    /// The maximum number of users, 1 to [`MAX_LIMIT`].
    pub limit: u16,
    /// The `username_key` after which the page begins. `None` for the first page.
    pub after: Option<String>,
}

impl fmt::Debug for PageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageRequest")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Parses the query string of a request.
///
/// # Errors
/// Returns a problem that lists the errors of the query string, at most [`MAX_ERRORS`]. An unknown parameter is an
/// error, because a mistake in the name `prefix` would otherwise list all users.
pub fn parse(request: &Request) -> Result<PageRequest, Problem> {
    let query = request.uri().query().unwrap_or_default();
    let mut parameters = Parameters::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        parameters.take(&name, &value);
    }
    let Parameters {
        prefix: raw_prefix,
        limit,
        cursor,
        mut errors,
    } = parameters;

    let prefix = parse_prefix(raw_prefix.as_deref().unwrap_or_default());
    let limit = limit.as_deref().map_or(Ok(DEFAULT_LIMIT), parse_limit);
    let after = match (&prefix, cursor.as_deref()) {
        (Ok(prefix), Some(cursor)) => parse_cursor(cursor, prefix).map(Some),
        // Without a cursor, there is nothing to check. With an invalid prefix, a cursor can't be checked.
        (Err(_), _) | (Ok(_), None) => Ok(None),
    };
    let found = [
        prefix.as_ref().err(),
        limit.as_ref().err(),
        after.as_ref().err(),
    ];
    errors.extend(found.into_iter().flatten().cloned());
    errors.truncate(MAX_ERRORS);

    match (prefix, limit, after) {
        (Ok(prefix), Ok(limit), Ok(after)) if errors.is_empty() => Ok(PageRequest {
            raw_prefix,
            prefix,
            limit,
            after,
        }),
        _ => Err(Problem::new(
            ProblemType::InvalidQuery,
            "The query string is invalid: see errors. It may hold prefix, limit and cursor, \
             each once.",
        )
        .with_errors(errors)),
    }
}

#[derive(Default)]
struct Parameters {
    prefix: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    errors: Vec<FieldError>,
}

impl Parameters {
    fn take(&mut self, name: &str, value: &str) {
        let slot = match name {
            "prefix" => &mut self.prefix,
            "limit" => &mut self.limit,
            "cursor" => &mut self.cursor,
            _ => {
                // A client may send a name of any length, so the response contains only the name's first characters.
                let name: String = name.chars().take(MAX_ECHOED_CHARS).collect();
                let detail = "Unknown parameter. Use prefix, limit or cursor.";
                self.errors.push(error(&name, "unknown", detail));
                return;
            }
        };
        if slot.is_some() {
            let detail = "The parameter is repeated. Send it once.";
            self.errors.push(error(name, "repeated", detail));
            return;
        }
        *slot = Some(value.to_owned());
    }
}

const MAX_ECHOED_CHARS: usize = 40;

/// The maximum number of errors in a problem. Without it, the response to a query string with thousands of errors would
/// be many times as long as the request.
pub const MAX_ERRORS: usize = 20;

fn error(parameter: &str, code: &'static str, detail: impl Into<Cow<'static, str>>) -> FieldError {
    FieldError {
        location: Location::Parameter(parameter.to_owned()),
        code,
        detail: detail.into(),
    }
}

fn parse_prefix(prefix: &str) -> Result<UsernamePrefix, FieldError> {
    // `form_urlencoded` replaces invalid UTF-8 with U+FFFD, a character that no username can contain.
    if prefix.contains(char::REPLACEMENT_CHARACTER) {
        let detail = "The prefix is not percent-encoded UTF-8.";
        return Err(error("prefix", "malformed", detail));
    }
    UsernamePrefix::parse(prefix).map_err(|length| {
        let most = Username::MAX_CHARS;
        let detail = format!("The prefix has {length} characters; at most {most} are allowed.");
        error("prefix", "too-long", detail)
    })
}

fn parse_limit(limit: &str) -> Result<u16, FieldError> {
    // Without this check, `parse` would also accept a plus sign.
    if limit.is_empty() || !limit.bytes().all(|byte| byte.is_ascii_digit()) {
        let detail = "The limit must be a whole number in decimal digits, such as 100.";
        return Err(error("limit", "malformed", detail));
    }
    let in_range = limit.parse().ok().filter(|it| (1..=MAX_LIMIT).contains(it));
    in_range.ok_or_else(|| {
        let detail = format!("The limit must be from 1 to {MAX_LIMIT}.");
        error("limit", "out-of-range", detail)
    })
}

fn parse_cursor(cursor: &str, prefix: &UsernamePrefix) -> Result<String, FieldError> {
    cursor::decode(cursor, prefix)
        .map_err(|cause| error("cursor", "invalid-cursor", cause.to_string()))
}

/// Whether the client already has this page, according to `If-None-Match`
/// ([RFC 9110 §13.1.2](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2)). The header is `*` or a list of entity
/// tags. The comparison is weak: it ignores the mark `W/` of a tag. A malformed tag never matches, so the client gets
/// the page.
#[must_use]
pub fn not_modified(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|value| {
        // This also splits a tag that contains a comma, but the service's tags contain none.
        let mut tags = value.as_bytes().split(|&byte| byte == b',');
        value == "*" || tags.any(|tag| strip_weak(tag.trim_ascii()) == etag.as_bytes())
    })
}

fn strip_weak(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}
