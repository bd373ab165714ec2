//! How current a page must be: the one knob of caching.
//!
//! At 0 seconds, the default, every page is a strongly consistent read: the next list shows what a
//! create answered. At n seconds, a page may be n seconds old. Then reads are eventually consistent,
//! at half the price, and clients and the warm function may cache pages.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use lambda_http::http::HeaderValue;
use quick_cache::{Weighter, sync};
use shared::config::{self, ConfigError};

use crate::{page::Page, request::PageRequest};

/// The variable of the knob: whole seconds.
pub const LIST_MAX_AGE_SECONDS: &str = "LIST_MAX_AGE_SECONDS";

/// The longest time that a page may be kept, in seconds: a day.
pub const MAX_SECONDS: u32 = 24 * 60 * 60;

/// What the kept pages of one sandbox may weigh in bytes: a small part of the smallest function's
/// 128 MB.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// How many pages the cache makes room for at first.
const EXPECTED_PAGES: usize = 64;
/// What keeping a page costs besides its texts: the values that hold them, and the cache's entry.
const PAGE_OVERHEAD_BYTES: usize = 512;

/// Reads the knob from the environment.
///
/// # Errors
/// It is not set, or not a whole number of seconds up to [`MAX_SECONDS`].
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

/// How current a page must be, and the pages kept by that rule.
#[derive(Debug)]
pub struct Freshness {
    cache_control: HeaderValue,
    cache: Option<PageCache>,
}

impl Freshness {
    /// Pages that may be `max_age` old.
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
            cache_control: HeaderValue::try_from(cache_control).expect("ASCII is a header value"),
            cache: Some(PageCache::new(max_age)),
        }
    }

    /// What clients are told.
    #[must_use]
    pub fn cache_control(&self) -> HeaderValue {
        self.cache_control.clone()
    }

    /// The kept pages; `None` where a page must show every user created before it was asked for.
    #[must_use]
    pub fn cache(&self) -> Option<&PageCache> {
        self.cache.as_ref()
    }
}

/// The pages that a warm function keeps, at most 8 MiB of them.
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

    /// A page that is young enough now, and its age.
    #[must_use]
    pub fn get(&self, wanted: &PageRequest, now: SystemTime) -> Option<(Arc<Page>, Duration)> {
        let kept = self.pages.get(wanted)?;
        // Where the clock was set back the age is unknown, and the page is too old.
        let age = now.duration_since(kept.since).ok()?;
        (age < self.max_age).then_some((kept.page, age))
    }

    /// Keeps a page that was asked for at this time.
    ///
    /// The time is the wall clock's: the monotonic clock may stand still while Lambda has the
    /// sandbox frozen, and a page would stay young for ever.
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
