//! Lists the users, page by page: `GET /api/users`.

pub mod cursor;
pub mod freshness;
pub mod page;
pub mod request;

use std::time::{Duration, SystemTime};

use lambda_http::{
    Body, Request, Response,
    http::{
        HeaderValue, StatusCode,
        header::{AGE, ETAG, LINK},
    },
};
use shared::{
    problem::{Problem, request_id},
    response,
    table::Table,
    telemetry::{Metric, Outcome},
};

use crate::{freshness::Freshness, page::Page};

/// What the function keeps between requests.
#[derive(Debug)]
pub struct Lister {
    table: Table,
    freshness: Freshness,
}

impl Lister {
    /// A lister of this table whose pages may be `max_age` old; zero for pages that are always
    /// current.
    #[must_use]
    pub fn new(table: Table, max_age: Duration) -> Self {
        Self {
            table,
            freshness: Freshness::new(max_age),
        }
    }

    /// Makes the connection and the SDK's lazy parts ready before the first request.
    pub async fn warm_up(&self) {
        page::warm_up(&self.table).await;
    }
}

/// Answers one request. It never fails: what goes wrong is an answer too.
pub async fn handle(lister: &Lister, request: Request) -> Response<Body> {
    match list(lister, &request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(request_id(&request)),
    }
}

async fn list(lister: &Lister, request: &Request) -> Result<Response<Body>, Problem> {
    let wanted = request::parse(request)?;
    let freshness = &lister.freshness;
    let now = SystemTime::now();
    let cached = freshness.cache().and_then(|cache| cache.get(&wanted, now));
    let (page, age) = if let Some((page, age)) = cached {
        (page, Some(age))
    } else {
        let consistent = freshness.is_always_current();
        let page = page::query(&lister.table, &wanted, consistent).await?;
        if let Some(cache) = freshness.cache() {
            cache.insert(wanted, &page, now);
        }
        (page, None)
    };
    let not_modified = request::none_match(request.headers(), &page.etag);
    Ok(respond(page, not_modified, age, freshness.cache_control()))
}

/// The answer that sends a page, or tells the client that it has it already.
///
/// A 304 repeats the headers that the 200 would have
/// ([RFC 9110 §15.4.5](https://www.rfc-editor.org/rfc/rfc9110#section-15.4.5)), and the link to the
/// next page, which a client may have stored before there was one.
fn respond(
    page: Page,
    not_modified: bool,
    age: Option<Duration>,
    cache_control: HeaderValue,
) -> Response<Body> {
    let mut response = if not_modified {
        response::empty(StatusCode::NOT_MODIFIED, cache_control)
    } else {
        response::json(StatusCode::OK, cache_control, "application/json", page.body)
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, page.etag);
    if let Some(next) = page.next {
        headers.insert(LINK, next);
    }
    if let Some(age) = age {
        headers.insert(AGE, HeaderValue::from(age.as_secs()));
    }
    response
        .extensions_mut()
        .insert(Outcome::counted(Metric::PagesListed));
    response
}
