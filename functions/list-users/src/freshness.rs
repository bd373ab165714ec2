//! How current a page must be: the one knob of caching.
//!
//! At 0 seconds, the default, every page is read from the table with strong consistency, and what
//! a create answered, the next list shows. At n seconds a page may be n seconds old: the reads are
//! eventually consistent, at half the price, clients may keep a page, and so does the warm
//! function.

use std::time::{Duration, Instant};

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
/// What keeping a page costs besides its body: its key, its headers and the cache's own entry.
const PAGE_OVERHEAD_BYTES: u64 = 1024;

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
    ///
    /// # Panics
    /// Never: the header's value is ASCII.
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

    /// Whether a page must show every user created before it was asked for.
    #[must_use]
    pub fn is_always_current(&self) -> bool {
        self.cache.is_none()
    }

    /// What clients are told.
    #[must_use]
    pub fn cache_control(&self) -> HeaderValue {
        self.cache_control.clone()
    }

    /// The kept pages, if any may be kept.
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

    /// A page that is young enough, and its age.
    #[must_use]
    pub fn get(&self, wanted: &PageRequest) -> Option<(Page, Duration)> {
        let kept = self.pages.get(wanted)?;
        let age = kept.since.elapsed();
        (age < self.max_age).then_some((kept.page, age))
    }

    /// Keeps a page that was read just now.
    pub fn insert(&self, wanted: PageRequest, page: &Page) {
        let (page, since) = (page.clone(), Instant::now());
        self.pages.insert(wanted, Kept { page, since });
    }
}

#[derive(Clone, Debug)]
struct Kept {
    page: Page,
    since: Instant,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<PageRequest, Kept> for Weight {
    fn weight(&self, _: &PageRequest, kept: &Kept) -> u64 {
        kept.page.body.len() as u64 + PAGE_OVERHEAD_BYTES
    }
}
