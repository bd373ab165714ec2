//! Fuzzes the code that reads list requests. Each input is a query string. The code must
//! return the parameters of the query string, or a problem that the contract allows.
#![no_main]

use fuzz::{refusal, request};
use lambda_http::http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use list_users::{
    cursor,
    request::{DEFAULT_LIMIT, MAX_ERRORS, MAX_LIMIT, PageRequest, parse},
};
use shared::{problem::Problem, user::Username};

fuzz_target!(|query: &str| {
    let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let values = |wanted: &str| {
        let values = parameters.iter().filter(|(name, _)| name == wanted);
        values.map(|(_, value)| &**value).collect::<Vec<_>>()
    };
    let (prefix, limit, cursor) = (values("prefix"), values("limit"), values("cursor"));
    let are_all_known = prefix.len() + limit.len() + cursor.len() == parameters.len();
    let is_each_once = prefix.len() <= 1 && limit.len() <= 1 && cursor.len() <= 1;

    match list(query) {
        Ok(page) => {
            assert!(are_all_known && is_each_once);
            assert_eq!(page.raw_prefix.as_deref(), prefix.first().copied());
            let asked = limit
                .first()
                .map_or(DEFAULT_LIMIT, |limit| limit.parse().unwrap_or(0));
            assert_eq!(page.limit, asked);
            assert_eq!(page.after.is_some(), !cursor.is_empty());
            check_page(&page);
        }
        Err(problem) => {
            let refusal = refusal(problem);
            assert_eq!(
                (refusal.status, refusal.slug.as_str()),
                (400, "invalid-query")
            );
            let has = |code: &str| refusal.codes.iter().any(|it| it == code);
            // If the service reports the maximum number of errors, it may have left out others.
            if refusal.codes.len() < MAX_ERRORS {
                assert_eq!(has("unknown"), !are_all_known);
                assert_eq!(has("repeated"), !is_each_once);
            }
        }
    }
});

fn list(query: &str) -> Result<PageRequest, Problem> {
    parse(&request(&HeaderMap::new(), query, "", false))
}

fn check_page(page: &PageRequest) {
    assert!((1..=MAX_LIMIT).contains(&page.limit));
    let prefix = page.prefix.as_str();
    assert!(prefix.len() <= Username::MAX_KEY_BYTES);

    // Build the query string that the service would write into a link to this page. The service
    // must read this query string as the same page.
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(after) = &page.after {
        assert!(after.starts_with(prefix) && !after.is_empty());
        query.append_pair("cursor", &cursor::encode(&page.prefix, after));
    }
    query.append_pair("limit", &page.limit.to_string());
    if let Some(prefix) = &page.raw_prefix {
        query.append_pair("prefix", prefix);
    }
    assert_eq!(list(&query.finish()).as_ref(), Ok(page));
}
