//! Caches pages. The environment variable [`LIST_MAX_AGE_SECONDS`] sets the maximum age of a page.
//!
//! If the variable is 0 (the template's default), every read is strongly consistent, so a list shows all users created
//! before the request. If the variable is higher, the function and its clients may cache a page until the page is that
//! many seconds old. Reads are then eventually consistent, which costs half as much.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use lambda_http::http::HeaderValue;
use quick_cache::{Weighter, sync};
use shared::config::{self, ConfigError};

use crate::{page::Page, request::PageRequest};

/// The environment variable that sets the maximum age of a page, in whole seconds.
pub const LIST_MAX_AGE_SECONDS: &str = "LIST_MAX_AGE_SECONDS";

/// The highest value of [`LIST_MAX_AGE_SECONDS`]: one day.
pub const MAX_SECONDS: u32 = 24 * 60 * 60;

/// The maximum size of the page cache in one sandbox, in bytes. It is small compared with 128 MB, the least memory that
/// a Lambda function can have.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// The number of pages for which the cache allocates room at the start.
const EXPECTED_PAGES: usize = 64;
/// How many bytes a cached page takes in addition to its strings: for its structs and its entry in the cache.
const PAGE_OVERHEAD_BYTES: usize = 512;

/// Reads the maximum age of a page from [`LIST_MAX_AGE_SECONDS`].
///
/// # Errors
/// Fails if the variable is not set, or is not a whole number of seconds from 0 to [`MAX_SECONDS`].
pub fn max_age() -> Result<Duration, ConfigError> {
    let seconds = config::required(LIST_MAX_AGE_SECONDS)?;
    match seconds.parse::<u32>() {
        Ok(seconds) if seconds <= MAX_SECONDS => Ok(Duration::from_secs(seconds.into())),
        _ => Err(ConfigError {
            variable: LIST_MAX_AGE_SECONDS,
            problem: format!("is not a whole number of seconds from 0 to {MAX_SECONDS}"),
        }),
    }
}

/// Holds the maximum age of a page and the cached pages.
#[derive(Debug)]
pub struct Freshness {
    cache_control: HeaderValue,
    cache: Option<PageCache>,
}

impl Freshness {
    /// Creates a cache for pages that are at most `max_age` old. If `max_age` is zero, there is no cache.
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        if max_age.is_zero() {
            return Self {
                cache_control: HeaderValue::from_static("private, no-cache"),
                cache: None,
            };
        }
        let cache_control = format!("private, max-age={}", max_age.as_secs());
        Self {
            cache_control: HeaderValue::try_from(cache_control)
                .expect("the text is a valid header value"),
            cache: Some(PageCache::new(max_age)),
        }
    }

    /// Returns the `Cache-Control` header for clients.
    #[must_use]
    pub fn cache_control(&self) -> HeaderValue {
        self.cache_control.clone()
    }

    /// Returns the page cache, or `None` if the maximum age is zero.
    #[must_use]
    pub fn cache(&self) -> Option<&PageCache> {
        self.cache.as_ref()
    }
}

/// The cached pages of one sandbox, up to 8 MiB.
#[derive(Debug)]
pub struct PageCache {
    max_age: Duration,
    pages: sync::Cache<PageRequest, Kept, Weight>,
}

impl PageCache {
    fn new(max_age: Duration) -> Self {
        let pages = sync::Cache::with_weighter(EXPECTED_PAGES, CACHE_BYTES, Weight);
        Self { max_age, pages }
    }

    /// Returns the cached page and its age, or `None` if the page is not in the cache or is too old.
    #[must_use]
    pub fn get(&self, wanted: &PageRequest, now: SystemTime) -> Option<(Arc<Page>, Duration)> {
        let kept = self.pages.get(wanted)?;
        // If the clock was set back, the age is unknown, so the page counts as too old.
        let age = now.duration_since(kept.since).ok()?;
        (age < self.max_age).then_some((kept.page, age))
    }

    /// Caches a page. The page's age counts from `since`, the time just before the page was read.
    ///
    /// `since` is a wall-clock time. A monotonic clock may stop while Lambda freezes the sandbox. With such a clock,
    /// pages would expire too late.
    pub fn insert(&self, wanted: PageRequest, page: Arc<Page>, since: SystemTime) {
        self.pages.insert(wanted, Kept { page, since });
    }
}

#[derive(Clone, Debug)]
struct Kept {
    page: Arc<Page>,
    since: SystemTime,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<PageRequest, Kept> for Weight {
    fn weight(&self, wanted: &PageRequest, kept: &Kept) -> u64 {
        let texts = [
            wanted.raw_prefix.as_ref().map_or(0, String::len),
            wanted.prefix.as_str().len(),
            wanted.after.as_ref().map_or(0, String::len),
            kept.page.body.len(),
            kept.page.etag.len(),
            kept.page.next.as_ref().map_or(0, HeaderValue::len),
            PAGE_OVERHEAD_BYTES,
        ];
        texts.into_iter().sum::<usize>() as u64
    }
}
