use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use harness::{Answer, Event, Service, answer::headers};
use lambda_http::http::HeaderValue;
use list_users::{
    cursor::{self, CursorError},
    freshness::Freshness,
    page::Page,
    request,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::user::{Username, username::UsernamePrefix};

#[tokio::test]
async fn an_empty_list_is_an_empty_array() {
    let service = Service::start();
    let answer = service.list("").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "[]");
    let etag = answer.header("etag").expect("a tag").to_owned();
    assert_eq!(
        answer.headers,
        headers(&[
            ("cache-control", "private, no-cache"),
            ("content-type", "application/json"),
            ("etag", &etag),
            ("x-content-type-options", "nosniff"),
        ])
    );
    assert_eq!(
        etag.len(),
        24,
        "{etag} is 22 characters of base64url in quotes"
    );
}

#[tokio::test]
async fn the_next_list_shows_every_created_user() {
    let service = Service::start();
    let mut created = BTreeMap::new();
    for username in ["grace", "Ada", "Linus", "josé"] {
        let user = service.create(username).await.json();
        created.insert(username.to_lowercase(), user);
        let listed = service.list("").await.json();
        let expected: Vec<&Value> = created.values().collect();
        assert_eq!(listed, json!(expected));
    }
}

#[tokio::test]
async fn users_come_in_the_code_point_order_of_their_keys() {
    let service = Service::start();
    let sorted = [
        "0cool",
        "Ada",
        "adam",
        "bob",
        "josé",
        "Zoe",
        "éva",
        "Ольга",
        "たろう",
        "車",
        "𐐨",
    ];
    for username in sorted.iter().rev() {
        assert_eq!(service.create(username).await.status, 201, "{username}");
    }
    assert_eq!(service.list("").await.usernames(), sorted);
}

#[tokio::test]
async fn a_page_holds_100_users_unless_the_client_says_otherwise() {
    let service = Service::start();
    let usernames = create_numbered(&service, 101).await;
    assert_eq!(service.list("").await.usernames(), usernames[..100]);
    assert_eq!(service.list("limit=7").await.usernames(), usernames[..7]);
    assert_eq!(service.list("limit=1000").await.usernames(), usernames);
    assert_eq!(
        service.list("limit=0100").await.usernames(),
        usernames[..100]
    );
}

#[tokio::test]
async fn the_links_lead_through_all_pages_and_the_last_page_has_none() {
    let service = Service::start();
    let usernames = create_numbered(&service, 12).await;
    for limit in [1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 1000] {
        let pages = walk(&service, &format!("limit={limit}")).await;
        assert_eq!(
            pages.len(),
            usernames.len().div_ceil(limit),
            "limit {limit}"
        );
        assert_eq!(pages.concat(), usernames, "limit {limit}");
    }
}

#[tokio::test]
async fn a_link_is_relative_and_repeats_limit_and_prefix() {
    let service = Service::start();
    for username in ["josé1", "josé2", "judy"] {
        service.create(username).await;
    }
    let prefix = UsernamePrefix::parse("JOSÉ").unwrap();
    let after = cursor::encode(&prefix, "jos\u{e9}1");
    let answer = service.list("limit=1&prefix=JOS%C3%89").await;
    let link = format!(r#"<?cursor={after}&limit=1&prefix=JOS%C3%89>; rel="next""#);
    assert_eq!(answer.header("link"), Some(link.as_str()));

    let answer = service.list("limit=1").await;
    let after = cursor::encode(&UsernamePrefix::default(), "jos\u{e9}1");
    let link = format!(r#"<?cursor={after}&limit=1>; rel="next""#);
    assert_eq!(answer.header("link"), Some(link.as_str()));
}

#[tokio::test]
async fn a_prefix_is_compared_like_a_username() {
    let service = Service::start();
    for username in [
        "Ada",
        "adam",
        "ad",
        "bea",
        "José",
        "josef",
        "Οδός",
        "ΟΔΟΣ",
        "ΟΔΟΣΤΡΩΜΑ",
        "ヵナ",
    ] {
        assert_eq!(service.create(username).await.status, 201, "{username}");
    }
    for (prefix, found) in [
        ("ada", &["Ada", "adam"][..]),
        ("ADA", &["Ada", "adam"]),
        ("Ａｄａ", &["Ada", "adam"]),
        ("adam", &["adam"]),
        ("adamant", &[]),
        ("jos", &["josef", "José"]),
        ("JOSE\u{301}", &["José"]),
        ("ΟΔΟΣ", &["ΟΔΟΣ", "ΟΔΟΣΤΡΩΜΑ"]),
        ("οδος", &["ΟΔΟΣ", "ΟΔΟΣΤΡΩΜΑ"]),
        ("οδοσ", &["ΟΔΟΣ", "ΟΔΟΣΤΡΩΜΑ"]),
        ("οδός", &["Οδός"]),
        ("a b", &[]),
        ("\u{301}", &[]),
        ("%", &[]),
    ] {
        let answer = service.list(&query(&[("prefix", prefix)])).await;
        assert_eq!(answer.usernames(), found, "{prefix}");
    }
    assert_eq!(service.list("prefix=").await.usernames().len(), 10);
}

#[tokio::test]
async fn the_exact_match_of_a_prefix_comes_first() {
    let service = Service::start();
    for username in ["ada0", "ada.l", "Ada", "ada-b"] {
        service.create(username).await;
    }
    assert_eq!(
        service.list("prefix=ADA&limit=1").await.usernames(),
        ["Ada"]
    );
    assert_eq!(service.list("prefix=grace&limit=1").await.body, "[]");
}

#[tokio::test]
async fn a_prefix_may_have_80_characters_and_no_more() {
    let service = Service::start();
    let longest = "ж".repeat(80);
    service.create(&longest).await;
    let answer = service.list(&query(&[("prefix", &longest)])).await;
    assert_eq!(answer.usernames(), [longest]);

    let answer = service.list(&format!("prefix={}", "a".repeat(81))).await;
    let detail = "The prefix has 81 characters; at most 80 are allowed.";
    assert_invalid_query(&answer, &[("prefix", "too-long", detail)]);
}

#[tokio::test]
async fn a_bad_limit_is_refused() {
    let service = Service::start();
    let malformed = "The limit must be a whole number in decimal digits, such as 100.";
    let out_of_range = "The limit must be from 1 to 1000.";
    for (limit, code, detail) in [
        ("", "malformed", malformed),
        ("ten", "malformed", malformed),
        ("1.5", "malformed", malformed),
        ("-1", "malformed", malformed),
        ("+1", "malformed", malformed),
        ("%2B1", "malformed", malformed),
        ("%D9%A1", "malformed", malformed),
        ("%FF", "malformed", malformed),
        ("0", "out-of-range", out_of_range),
        ("1001", "out-of-range", out_of_range),
        ("65537", "out-of-range", out_of_range),
        ("99999999999999999999", "out-of-range", out_of_range),
    ] {
        let answer = service.list(&format!("limit={limit}")).await;
        assert_invalid_query(&answer, &[("limit", code, detail)]);
    }
}

#[tokio::test]
async fn an_unknown_parameter_is_refused() {
    let service = Service::start();
    let detail = "Unknown parameter. Use prefix, limit or cursor.";
    let long_name = "x".repeat(5000);
    for (query, name) in [
        ("pefix=ada", "pefix"),
        ("Prefix=ada", "Prefix"),
        ("offset", "offset"),
        ("=ada", ""),
        ("%C3%A9=1", "é"),
        (&long_name, &"x".repeat(40)),
    ] {
        let answer = service.list(query).await;
        assert_invalid_query(&answer, &[(name, "unknown", detail)]);
    }
}

#[tokio::test]
async fn a_repeated_parameter_is_refused() {
    let service = Service::start();
    let detail = "The parameter is repeated. Send it once.";
    for (query, name) in [
        ("prefix=ada&prefix=ada", "prefix"),
        ("limit=1&prefix=a&limit=1", "limit"),
        ("limit=1&%6Cimit=1", "limit"),
    ] {
        let answer = service.list(query).await;
        assert_invalid_query(&answer, &[(name, "repeated", detail)]);
    }
}

#[tokio::test]
async fn a_prefix_that_is_not_utf_8_is_refused() {
    let service = Service::start();
    let detail = "The prefix is not percent-encoded UTF-8.";
    for query in ["prefix=%FF", "prefix=%C3", "prefix=a%ED%A0%80"] {
        let answer = service.list(query).await;
        assert_invalid_query(&answer, &[("prefix", "malformed", detail)]);
    }
}

#[tokio::test]
async fn all_faults_of_a_query_are_reported_at_once() {
    let service = Service::start();
    let answer = service.list("limit=0&pefix=a&prefix=%FF&limit=2").await;
    assert_invalid_query(
        &answer,
        &[
            (
                "pefix",
                "unknown",
                "Unknown parameter. Use prefix, limit or cursor.",
            ),
            (
                "limit",
                "repeated",
                "The parameter is repeated. Send it once.",
            ),
            (
                "prefix",
                "malformed",
                "The prefix is not percent-encoded UTF-8.",
            ),
            ("limit", "out-of-range", "The limit must be from 1 to 1000."),
        ],
    );
}

#[tokio::test]
async fn at_most_20_faults_of_a_query_are_reported() {
    let service = Service::start();
    let detail = "Unknown parameter. Use prefix, limit or cursor.";
    let answer = service.list(&"&a".repeat(1000)).await;
    assert_invalid_query(&answer, &[("a", "unknown", detail); 20]);
}

#[tokio::test]
async fn a_cursor_that_is_damaged_or_made_for_another_prefix_is_refused() {
    let service = Service::start();
    let none = UsernamePrefix::default();
    let ada = UsernamePrefix::parse("ada").unwrap();
    let good = cursor::encode(&ada, "adam");
    assert_eq!(
        service
            .list(&format!("prefix=ada&cursor={good}"))
            .await
            .body,
        "[]"
    );
    assert_eq!(
        service
            .list(&format!("prefix=ADA&cursor={good}"))
            .await
            .body,
        "[]"
    );

    let truncated = &good[..good.len() - 1];
    let padded = format!("{good}=");
    let doubled = format!("{good}{good}");
    let outside = cursor::encode(&ada, "bob");
    let everywhere = cursor::encode(&none, "adam");
    let empty_key = cursor::encode(&ada, "");
    for cursor in [
        "",
        "x",
        "1",
        "ada",
        truncated,
        &padded,
        &doubled,
        &outside,
        &everywhere,
        &empty_key,
        &"A".repeat(8_000),
        "%FF",
    ] {
        let answer = service.list(&format!("prefix=ada&cursor={cursor}")).await;
        assert_invalid_cursor(&answer);
    }
    for query in [format!("cursor={good}"), format!("prefix=ad&cursor={good}")] {
        assert_invalid_cursor(&service.list(&query).await);
    }
}

#[tokio::test]
async fn the_next_page_shows_only_those_new_users_that_come_after_the_cursor() {
    let service = Service::start();
    for username in ["b", "d", "f"] {
        service.create(username).await;
    }
    let first = service.list("limit=2").await;
    assert_eq!(first.usernames(), ["b", "d"]);
    for username in ["a", "c", "e", "g"] {
        service.create(username).await;
    }
    let next = first.next_query().expect("a next page");
    assert_eq!(service.list(&next).await.usernames(), ["e", "f"]);
}

#[tokio::test]
async fn a_client_that_has_the_page_gets_304_and_no_body() {
    let service = Service::start();
    create_numbered(&service, 3).await;
    for query in ["", "limit=2", "prefix=user1"] {
        let page = service.list(query).await;
        let etag = page.header("etag").expect("a tag").to_owned();
        for none_match in [
            etag.clone(),
            format!("W/{etag}"),
            format!("\"another\", {etag}"),
            format!("\"a,b\",W/{etag} , \"c\""),
            "*".to_owned(),
        ] {
            let event = Event::list(query).with_header("if-none-match", &none_match);
            let answer = service.get(event).await;
            let mut expected = page.clone();
            expected.status = 304;
            expected.body.clear();
            expected.headers.remove("content-type");
            assert_eq!(answer, expected, "{none_match}");
        }
        for none_match in [
            "",
            "\"another\"",
            "another",
            "W/",
            "**",
            "\"*\"",
            &etag[1..],
        ] {
            let event = Event::list(query).with_header("if-none-match", none_match);
            assert_eq!(service.get(event).await, page, "{none_match}");
        }
    }
}

#[tokio::test]
async fn a_new_link_to_a_next_page_changes_the_etag() {
    let service = Service::start();
    service.create("ada").await;
    let before = service.list("limit=1").await;
    service.create("grace").await;
    let after = service.list("limit=1").await;
    // Only the link has changed. A client with the old tag must get the new link.
    assert_eq!(before.body, after.body);
    assert_eq!(before.header("link"), None);
    assert!(after.header("link").is_some());
    assert_ne!(before.header("etag"), after.header("etag"));
}

#[tokio::test]
async fn users_with_the_longest_usernames_are_listed_in_full_pages() {
    let service = Service::start();
    for number in 0..30 {
        let username = format!("{}{number:03}", "𐐨".repeat(77));
        assert_eq!(service.create(&username).await.status, 201);
    }
    let pages = walk(&service, "limit=10").await;
    assert_eq!(pages.len(), 3);
    assert_eq!(pages.concat().len(), 30);
}

#[tokio::test]
async fn with_a_max_age_clients_and_the_function_cache_pages() {
    let service = Service::start_with_max_age(Duration::from_secs(60));
    service.create("ada").await;
    let first = service.list("").await;
    assert_eq!(first.header("cache-control"), Some("private, max-age=60"));
    assert_eq!(first.header("age"), None);

    service.create("grace").await;
    let kept = service.list("").await;
    assert_eq!(kept.body, first.body);
    assert!(age(&kept) < 60);
    assert_eq!(kept.header("etag"), first.header("etag"));

    // The cache has only the page of the query without parameters. For the two queries below, the
    // function reads the table.
    assert_eq!(service.list("limit=99").await.usernames(), ["ada", "grace"]);
    assert_eq!(service.list("prefix=g").await.usernames(), ["grace"]);

    let etag = first.header("etag").expect("a tag");
    let event = Event::list("").with_header("if-none-match", etag);
    let answer = service.get(event).await;
    assert_eq!(answer.status, 304);
    assert_eq!(answer.header("cache-control"), Some("private, max-age=60"));
    assert!(age(&answer) < 60);
}

#[tokio::test]
async fn a_cached_page_is_read_again_after_its_max_age() {
    let service = Service::start_with_max_age(Duration::from_secs(1));
    service.create("ada").await;
    assert_eq!(service.list("").await.usernames(), ["ada"]);
    service.create("grace").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let answer = service.list("").await;
    assert_eq!(answer.usernames(), ["ada", "grace"]);
    assert_eq!(answer.header("age"), None);
}

#[tokio::test]
async fn a_problem_is_never_cached() {
    let service = Service::start_with_max_age(Duration::from_secs(60));
    let answer = service.list("limit=0").await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn a_cached_page_expires_by_the_wall_clock() {
    let second = Duration::from_secs(1);
    let freshness = Freshness::new(60 * second);
    let cache = freshness.cache().expect("pages may be kept");
    let wanted = request::parse(&Event::list("").into_request()).unwrap();
    let page = Page {
        body: "[]".to_owned(),
        etag: HeaderValue::from_static("\"tag\""),
        next: None,
    };
    let since = SystemTime::now();
    cache.insert(wanted.clone(), Arc::new(page), since);

    let age = |now| cache.get(&wanted, now).map(|(_, age)| age);
    assert_eq!(age(since), Some(Duration::ZERO));
    assert_eq!(age(since + 59 * second), Some(59 * second));
    assert_eq!(age(since + 60 * second), None);
    // If the clock was set back, the page's age is unknown.
    assert_eq!(age(since - second), None);
}

#[test]
fn the_page_cache_is_bounded() {
    let freshness = Freshness::new(Duration::from_secs(60));
    let cache = freshness.cache().expect("pages may be kept");
    let now = SystemTime::now();
    let wanted = |limit: u16| {
        let query = format!("limit={limit}");
        request::parse(&Event::list(&query).into_request()).unwrap()
    };
    for limit in 1..=1000 {
        let page = Page {
            body: "x".repeat(100_000),
            etag: HeaderValue::from_static("\"tag\""),
            next: None,
        };
        cache.insert(wanted(limit), Arc::new(page), now);
    }
    let kept = (1..=1000).filter(|limit| cache.get(&wanted(*limit), now).is_some());
    // The cache holds at most 8 MiB, so at most 83 of these pages. It may drop some pages earlier.
    assert!((42..=83).contains(&kept.count()));
}

fn age(answer: &Answer) -> u64 {
    let age = answer.header("age").expect("an age");
    age.parse().expect("seconds")
}

/// The usernames of each page, from the page for this query to the last one.
async fn walk(service: &Service, query: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(query.to_owned());
    while let Some(query) = next {
        let answer = service.list(&query).await;
        pages.push(answer.usernames());
        next = answer.next_query();
        assert!(pages.len() <= 1000, "the links go round in circles");
    }
    pages
}

async fn create_numbered(service: &Service, count: usize) -> Vec<String> {
    let usernames: Vec<String> = (0..count)
        .map(|number| format!("user{number:04}"))
        .collect();
    for username in &usernames {
        assert_eq!(service.create(username).await.status, 201);
    }
    usernames
}

fn query(parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters).finish()
}

#[track_caller]
fn assert_invalid_query(answer: &Answer, faults: &[(&str, &str, &str)]) {
    let fault = |&(parameter, code, detail): &(&str, &str, &str)| json!({ "parameter": parameter, "code": code, "detail": detail });
    answer.assert_problem(
        400,
        "invalid-query",
        "The query is invalid",
        "The query string is invalid: see errors. It may hold prefix, limit and cursor, \
         each once.",
        &faults.iter().map(fault).collect(),
    );
}

#[track_caller]
fn assert_invalid_cursor(answer: &Answer) {
    let detail = "The cursor is invalid or was made for another prefix. Follow the Link header unchanged, or start without a cursor.";
    assert_invalid_query(answer, &[("cursor", "invalid-cursor", detail)]);
}

#[test]
fn debug_output_holds_no_prefix_and_no_key() {
    let cursor = cursor::encode(&UsernamePrefix::parse("ada").unwrap(), "adam");
    let query = format!("prefix=ada&limit=7&cursor={cursor}");
    let request = request::parse(&Event::list(&query).into_request()).unwrap();
    assert_eq!(request.after.as_deref(), Some("adam"));
    assert_eq!(format!("{request:?}"), "PageRequest { limit: 7, .. }");
}

#[test]
fn a_cursor_with_the_longest_key_is_valid_and_one_with_a_longer_key_is_refused() {
    let prefix = UsernamePrefix::default();
    let longest = "𐐨".repeat(Username::MAX_CHARS);
    assert_eq!(longest.len(), Username::MAX_KEY_BYTES);
    let cursor = cursor::encode(&prefix, &longest);
    assert_eq!(cursor.len(), cursor::MAX_CHARS);
    assert_eq!(cursor::decode(&cursor, &prefix).as_ref(), Ok(&longest));

    let cursor = cursor::encode(&prefix, &(longest + "a"));
    assert_eq!(cursor::decode(&cursor, &prefix), Err(CursorError));
}

/// Usernames, many of which share a prefix. Some differ only in case.
fn a_username() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-cA-Cé]{1,4}").expect("a valid expression")
}

/// Keys whose characters have one to four bytes in UTF-8.
fn a_key() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-z0-9éжα車𐐨]{1,80}").expect("a valid expression")
}

proptest! {
    #[test]
    fn decoding_a_cursor_returns_its_key(key in a_key(), prefix_chars in 0_usize..80) {
        let prefix: String = key.chars().take(prefix_chars).collect();
        let prefix = UsernamePrefix::parse(&prefix).unwrap();
        let cursor = cursor::encode(&prefix, &key);
        prop_assert!(cursor.len() <= cursor::MAX_CHARS);
        prop_assert!(cursor.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it)));
        prop_assert_eq!(cursor::decode(&cursor, &prefix), Ok(key));
    }

    #[test]
    fn a_cursor_with_a_flipped_bit_is_refused(key in a_key()) {
        let prefix = UsernamePrefix::default();
        let cursor = cursor::encode(&prefix, &key).into_bytes();
        for position in 0..cursor.len() {
            for bit in 0..8 {
                let mut flipped = cursor.clone();
                flipped[position] ^= 1 << bit;
                if let Ok(flipped) = String::from_utf8(flipped) {
                    prop_assert!(cursor::decode(&flipped, &prefix).is_err(), "{}", flipped);
                }
            }
        }
    }

    #[test]
    fn decoding_any_text_as_a_cursor_never_panics(text in ".{0,500}") {
        let _ = cursor::decode(&text, &UsernamePrefix::default());
    }
}

proptest! {
    // Only 32 cases, because each creates a table and sends up to about 120 requests.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_pages_match_a_sorted_vector_of_the_usernames(
        usernames in proptest::collection::vec(a_username(), 0..40),
        prefix in "[a-cAé]{0,2}",
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let service = Service::start();
            let mut model: BTreeMap<String, String> = BTreeMap::new();
            for username in &usernames {
                let key = Username::parse(username).unwrap().key().to_owned();
                let status = service.create(username).await.status;
                let expected = if model.contains_key(&key) { 409 } else { 201 };
                assert_eq!(status, expected, "{username}");
                model.entry(key).or_insert_with(|| username.clone());
            }
            let mapped = UsernamePrefix::parse(&prefix).unwrap();
            let matching = model.iter().filter(|(key, _)| key.starts_with(mapped.as_str()));
            let matching: Vec<String> = matching.map(|(_, username)| username.clone()).collect();
            for limit in [1, 2, 3, 7, 39, 40, 41, 1000] {
                let limit_text = limit.to_string();
                let query = query(&[("prefix", &prefix), ("limit", &limit_text)]);
                let pages = walk(&service, &query).await;
                let expected: Vec<Vec<String>> = if matching.is_empty() {
                    vec![vec![]]
                } else {
                    matching.chunks(limit).map(<[String]>::to_vec).collect()
                };
                assert_eq!(pages, expected, "limit {limit}, prefix {prefix}");
            }
        });
    }
}
