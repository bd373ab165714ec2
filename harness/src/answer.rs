//! An HTTP answer as a client sees it.

use std::collections::BTreeMap;

use lambda_http::{Body, Response};
use serde_json::{Value, json};
use shared::{problem::Problem, response::LoggedResponse};

/// The Lambda request ID of every request that a test passes directly to a handler.
pub const REQUEST_ID: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

/// An answer with all its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, or an empty string if the answer has no body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// Panics if the body is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The usernames on this page of users.
    ///
    /// # Panics
    /// Panics if the answer is not a page of users.
    #[must_use]
    pub fn usernames(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{self:?}");
        let users = self.json();
        let users = users.as_array().expect("a page is an array").iter();
        let username = |user: &Value| user["username"].as_str().map(ToOwned::to_owned);
        users
            .map(|user| username(user).expect("a user has a username"))
            .collect()
    }

    /// The query string of the link to the next page, or `None` if the answer is the last page.
    ///
    /// # Panics
    /// Panics if the header `Link` is not a link to a next page.
    #[must_use]
    pub fn next_query(&self) -> Option<String> {
        let link = self.header("link")?;
        let query = link.strip_prefix("<?");
        let query = query.and_then(|link| link.strip_suffix(r#">; rel="next""#));
        Some(
            query
                .unwrap_or_else(|| panic!("no link to a next page: {link}"))
                .to_owned(),
        )
    }

    /// Asserts that the answer is exactly this problem, and has exactly the headers that its status
    /// needs.
    /// `slug` is the last part of the problem's `type`. `errors` is the expected value of the
    /// problem's member `errors`, or null if the problem must not have this member.
    ///
    /// # Panics
    /// Panics if the status, the headers or the document differ.
    #[track_caller]
    pub fn assert_problem(
        &self,
        status: u16,
        slug: &str,
        title: &str,
        detail: &str,
        errors: &Value,
    ) {
        let mut document = json!({
            "type": format!("urn:problem-type:users:{slug}"),
            "title": title,
            "status": status,
            "detail": detail,
            "instance": format!("urn:request:{REQUEST_ID}"),
        });
        if !errors.is_null() {
            document["errors"] = errors.clone();
        }
        let mut headers = vec![
            ("cache-control", "no-store"),
            ("content-type", "application/problem+json"),
            ("x-content-type-options", "nosniff"),
        ];
        match status {
            415 => headers.push(("accept", "application/json, application/*+json")),
            503 => headers.push(("retry-after", "1")),
            _ => {}
        }
        assert_eq!(self.json(), document);
        assert_eq!(self.headers, self::headers(&headers));
        assert_eq!(self.status, status);
    }
}

/// These headers, in the form of [`Answer::headers`].
#[must_use]
pub fn headers(headers: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    headers.iter().map(owned).collect()
}

/// Converts a handler's result to a response, as the function's runtime does.
#[must_use]
pub fn respond(result: Result<LoggedResponse, Problem>) -> LoggedResponse {
    result.unwrap_or_else(|problem| problem.into_response(REQUEST_ID))
}

impl From<Result<LoggedResponse, Problem>> for Answer {
    fn from(result: Result<LoggedResponse, Problem>) -> Self {
        respond(result).response.into()
    }
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("headers are UTF-8");
        let mut headers = BTreeMap::new();
        for (name, value) in &parts.headers {
            let before = headers.insert(name.to_string(), text(value.as_bytes()));
            assert_eq!(before, None, "the header {name} is repeated");
        }
        Self {
            status: parts.status.as_u16(),
            headers,
            body: text(&body),
        }
    }
}
