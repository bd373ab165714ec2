//! Lists users in pages: `GET /api/users`.

pub mod cursor;
pub mod freshness;
pub mod items;
pub mod page;
pub mod request;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use lambda_http::{
    Body, Request, Response,
    http::{
        HeaderValue, StatusCode,
        header::{AGE, ETAG, LINK},
    },
};
use shared::{
    problem::Problem,
    response::{self, LoggedResponse},
    table::{Table, TableError},
    telemetry::Metric,
};

use crate::{freshness::Freshness, page::Page, request::PageRequest};

/// The state that the function keeps between requests.
#[derive(Debug)]
pub struct Lister {
    table: Table,
    freshness: Freshness,
}

impl Lister {
    /// Creates a lister for this table. Pages may be up to `max_age` old.
    #[must_use]
    pub fn new(table: Table, max_age: Duration) -> Self {
        Self {
            table,
            freshness: Freshness::new(max_age),
        }
    }

    /// Returns a page, and its age if it comes from the cache.
    async fn page(&self, wanted: PageRequest) -> Result<(Arc<Page>, Option<Duration>), TableError> {
        let Some(cache) = self.freshness.cache() else {
            let page = page::query(&self.table, &wanted, true).await?;
            return Ok((Arc::new(page), None));
        };
        let now = SystemTime::now();
        if let Some((page, age)) = cache.get(&wanted, now) {
            return Ok((page, Some(age)));
        }
        let page = Arc::new(page::query(&self.table, &wanted, false).await?);
        cache.insert(wanted, Arc::clone(&page), now);
        Ok((page, None))
    }
}

/// Handles one request.
///
/// # Errors
/// Returns the problem to send as the response.
pub async fn handle(lister: &Lister, request: Request) -> Result<LoggedResponse, Problem> {
    let wanted = request::parse(&request)?;
    let (page, age) = lister.page(wanted).await?;
    let not_modified = request::not_modified(request.headers(), &page.etag);
    let cache_control = lister.freshness.cache_control();
    let response = respond(page, not_modified, age, cache_control);
    Ok(LoggedResponse::counted(response, Metric::PagesListed))
}

/// Builds the response: 200 with the page, or 304 if the client already has the page.
///
/// A 304 response repeats the caching headers of the 200 response
/// ([RFC 9110 §15.4.5](https://www.rfc-editor.org/rfc/rfc9110#section-15.4.5)). It also repeats the link to the next
/// page. A client that sends `If-None-Match: *` gets a 304 even if its copy of the page is old, and an old copy may
/// have no link or another link.
fn respond(
    page: Arc<Page>,
    not_modified: bool,
    age: Option<Duration>,
    cache_control: HeaderValue,
) -> Response<Body> {
    let (etag, next) = (page.etag.clone(), page.next.clone());
    let mut response = if not_modified {
        response::empty(StatusCode::NOT_MODIFIED, cache_control)
    } else {
        let body = Arc::unwrap_or_clone(page).body;
        response::json(StatusCode::OK, cache_control, "application/json", body)
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, etag);
    if let Some(next) = next {
        headers.insert(LINK, next);
    }
    if let Some(age) = age {
        headers.insert(AGE, HeaderValue::from(age.as_secs()));
    }
    response
}
