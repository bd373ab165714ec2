use std::collections::HashSet;

use harness::{Answer, Event, Service, answer::headers};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const KEY: &str = "idempotency-key";

#[tokio::test]
async fn a_create_returns_the_users_id_username_and_creation_time() {
    let service = Service::start();
    let answer = service.create("ada").await;

    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.headers,
        headers(&[
            ("cache-control", "no-store"),
            ("content-type", "application/json"),
            ("x-content-type-options", "nosniff"),
        ])
    );
    let user = answer.json();
    let (id, created_at) = (text(&user, "id"), text(&user, "created_at"));
    let exact = format!(r#"{{"id":"{id}","username":"ada","created_at":"{created_at}"}}"#);
    assert_eq!(answer.body, exact);
    assert_eq!(id.as_bytes()[14], b'7', "{id} is a UUID version 7");
}

#[tokio::test]
async fn a_username_is_stored_in_the_form_its_owner_chose() {
    let service = Service::start();
    for (sent, shown) in [
        ("Ada", "Ada"),
        ("Ｇｒａｃｅ", "Grace"),
        ("jose\u{301}", "jos\u{e9}"),
        ("juliet@example.com", "juliet@example.com"),
        ("Toyota車", "Toyota車"),
    ] {
        let answer = service.create(sent).await;
        assert_eq!(answer.status, 201, "{sent}: {answer:?}");
        assert_eq!(answer.json()["username"], shown);
    }
}

#[tokio::test]
async fn a_username_that_differs_only_in_case_width_or_normalization_is_taken() {
    let service = Service::start();
    for (first, second) in [
        ("ada", "ada"),
        ("Grace", "gRACE"),
        ("linus", "ｌｉｎｕｓ"),
        ("jos\u{e9}", "JOSE\u{301}"),
        ("ОЛЬГА", "Ольга"),
        ("ΣΊΣΥΦΟΣ", "Σίσυφος"),
    ] {
        assert_eq!(service.create(first).await.status, 201, "{first}");
        assert_taken(&service.create(second).await);
    }
}

#[tokio::test]
async fn exactly_one_of_fifty_concurrent_creates_of_one_username_succeeds() {
    let service = std::sync::Arc::new(Service::start());
    let mut creates = JoinSet::new();
    for number in 0..50 {
        let service = std::sync::Arc::clone(&service);
        let username = if number % 2 == 0 { "ada" } else { "ADA" };
        creates.spawn(async move { service.create(username).await });
    }
    let answers = creates.join_all().await;
    let created: Vec<&Answer> = answers.iter().filter(|it| it.status == 201).collect();
    assert_eq!(created.len(), 1);
    for taken in answers.iter().filter(|it| it.status != 201) {
        assert_taken(taken);
    }
    let listed = service.list("").await.json();
    assert_eq!(listed, json!([created[0].json()]));
}

#[tokio::test]
async fn a_retry_with_the_same_key_gets_the_same_user_again() {
    let service = Service::start();
    let request = || Event::create_user("ada").with_header(KEY, r#""8e03978e""#);
    let first = service.post(request()).await;
    let retry = service.post(request()).await;

    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(retry.header("idempotent-replayed"), Some("true"));
    assert_eq!(retry.status, 201);
    assert_eq!(retry.body, first.body);
    let mut headers = retry.headers;
    headers.remove("idempotent-replayed");
    assert_eq!(headers, first.headers);
}

#[tokio::test]
async fn a_retry_may_spell_its_key_and_its_username_in_another_way() {
    let service = Service::start();
    for (number, (first, second)) in [
        (r#""8e03""#, "8e03"),
        ("8e03", "  \"8e03\"\t"),
        (r#""a\"b\\c""#, r#""a\"b\\c""#),
        (r#""a,b;c""#, r#""a,b;c""#),
    ]
    .into_iter()
    .enumerate()
    {
        let (narrow, wide) = (format!("ada{number}"), format!("ａｄａ{number}"));
        let first = Event::create_user(&narrow).with_header(KEY, first);
        let retry = Event::create_user(&wide).with_header(KEY, second);
        let first = service.post(first).await;
        let retry = service.post(retry).await;
        assert_eq!(first.status, 201, "{first:?}");
        assert_eq!(
            retry.header("idempotent-replayed"),
            Some("true"),
            "{second}"
        );
        assert_eq!(retry.body, first.body);
    }
}

#[tokio::test]
async fn a_request_with_a_different_caller_key_or_spelling_gets_no_replay() {
    let service = Service::start();
    let request = || Event::create_user("ada").with_header(KEY, "one");
    assert_eq!(service.post(request()).await.status, 201);

    for (what, other) in [
        ("another caller", request().by("somebody-else")),
        ("no caller", request().by_nobody()),
        ("another key", request().with_header(KEY, "two")),
        ("no key", request().without_header(KEY)),
        (
            "another display form",
            Event::create_user("ADA").with_header(KEY, "one"),
        ),
    ] {
        let answer = service.post(other).await;
        assert_eq!(answer.status, 409, "{what}: {answer:?}");
        assert_taken(&answer);
    }
}

#[tokio::test]
async fn a_user_created_without_a_key_is_never_replayed() {
    let service = Service::start();
    assert_eq!(service.create("ada").await.status, 201);
    assert_taken(&service.create("ada").await);
    let with_key = Event::create_user("ada").with_header(KEY, "one");
    assert_taken(&service.post(with_key).await);
}

#[tokio::test]
async fn one_key_may_create_several_users() {
    let service = Service::start();
    for username in ["ada", "grace"] {
        let event = Event::create_user(username).with_header(KEY, "one");
        let answer = service.post(event).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("idempotent-replayed"), None);
    }
}

#[tokio::test]
async fn no_two_callers_are_mistaken_for_one() {
    let issuer = "https://login.example.com/";
    let callers = [
        json!({ "iss": issuer, "sub": "1" }),
        json!({ "iss": issuer, "sub": 1 }),
        json!({ "iss": issuer, "sub": 12_345 }),
        json!({ "iss": issuer, "sub": ["1"] }),
        json!({ "iss": issuer, "sub": { "id": "1" } }),
        json!({ "iss": "https://login.example.org/", "sub": "1" }),
        json!({ "sub": "1" }),
        json!({ "iss": issuer, "client_id": "1" }),
        json!({ "iss": issuer, "azp": "1" }),
        json!({ "iss": issuer, "cid": "1" }),
        json!({ "iss": issuer, "appid": "1" }),
        json!({ "iss": issuer, "client_id": "billing" }),
        json!({ "iss": issuer, "client_id": "marketing" }),
        json!({ "client_id": "billing" }),
        json!({ "client_id": "marketing" }),
    ];
    for (number, first) in callers.iter().enumerate() {
        let service = Service::start();
        let request = |claims: &Value| {
            let event = Event::create_user("ada").with_header(KEY, "one");
            event.with_claims(claims)
        };
        let created = service.post(request(first)).await;
        assert_eq!(created.status, 201, "{first}");
        assert_eq!(created.header("idempotent-replayed"), None, "{first}");
        for (other_number, other) in callers.iter().enumerate() {
            let answer = service.post(request(other)).await;
            if other_number == number {
                assert_eq!(
                    answer.header("idempotent-replayed"),
                    Some("true"),
                    "{first}"
                );
                assert_eq!(answer.body, created.body);
            } else {
                assert_taken(&answer);
            }
        }
        let nobody = Event::create_user("ada")
            .with_header(KEY, "one")
            .by_nobody();
        assert_taken(&service.post(nobody).await);
    }
}

#[tokio::test]
async fn the_first_non_empty_claim_identifies_the_caller() {
    let service = Service::start();
    let empty = [
        json!(null),
        json!(""),
        json!([]),
        json!({}),
        json!(true),
        json!(false),
        json!(" \t\u{a0}"),
        json!([null]),
        json!(["", [{ "a": false }]]),
        json!({ "a": null, "b": " " }),
    ];
    for (number, nothing) in empty.into_iter().enumerate() {
        let username = format!("ada{number}");
        let request = |claims: &Value| {
            let event = Event::create_user(&username).with_header(KEY, "one");
            event.with_claims(claims)
        };
        let first = json!({ "sub": nothing, "client_id": "billing", "azp": "a", "cid": "c" });
        let retry = json!({ "client_id": "billing", "azp": "b", "appid": "d" });
        assert_eq!(service.post(request(&first)).await.status, 201);
        let retry = service.post(request(&retry)).await;
        assert_eq!(
            retry.header("idempotent-replayed"),
            Some("true"),
            "{nothing}"
        );
        let other = json!({ "sub": nothing, "client_id": "marketing" });
        assert_taken(&service.post(request(&other)).await);
    }
}

#[tokio::test]
async fn a_create_by_a_token_without_a_caller_works_only_without_an_idempotency_key() {
    let service = Service::start();
    for (number, authorizer) in [
        json!({ "jwt": { "claims": {}, "scopes": null } }),
        json!({ "jwt": { "claims": { "iss": "https://login.example.com/", "scope": "users/write" } } }),
        json!({ "jwt": { "claims": { "sub": null, "client_id": "", "azp": [], "cid": {}, "appid": false } } }),
        json!({ "jwt": { "claims": null } }),
        json!({ "jwt": { "claims": [] } }),
        json!({ "jwt": { "claims": "sub" } }),
        json!({ "jwt": null }),
        json!({ "jwt": 1 }),
        json!({ "iam": { "userArn": "arn:aws:iam::123456789012:user/ada" } }),
        json!({ "lambda": { "sub": "ada" } }),
        json!({}),
        json!("sub"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = || {
            let event = Event::create_user(&format!("ada{number}"));
            event.with_authorizer(&authorizer)
        };
        let refused = service.post(request().with_header(KEY, "one")).await;
        refused.assert_problem(
            400,
            "unknown-caller",
            "The access token does not name a caller",
            "An Idempotency-Key belongs to one caller, and the access token does not name one. Use \
             a token with the claim sub or client_id, or send the request without the key.",
            &Value::Null,
        );
        let created = service.post(request()).await;
        assert_eq!(created.status, 201, "{authorizer}");
    }
}

#[tokio::test]
async fn without_an_authorizer_a_retry_with_the_same_key_is_replayed_too() {
    let service = Service::start();
    let request = || {
        Event::create_user("ada")
            .with_header(KEY, "one")
            .by_nobody()
    };
    assert_eq!(service.post(request()).await.status, 201);
    let retry = service.post(request()).await;
    assert_eq!(retry.header("idempotent-replayed"), Some("true"));
}

#[tokio::test]
async fn a_malformed_idempotency_key_is_refused() {
    let service = Service::start();
    let too_long = "k".repeat(256);
    let too_long_quoted = format!("\"{too_long}\"");
    for key in [
        "",
        "\"\"",
        "\"",
        "\"one",
        "one\"",
        "\"one\"two",
        "\"one\";a=1",
        "\"o\\ne\"",
        "\"one\\",
        "one two",
        "\"one two\"",
        "one,two",
        "one;two",
        "o\\ne",
        "schlüssel",
        &too_long,
        &too_long_quoted,
    ] {
        let answer = service
            .post(Event::create_user("ada").with_header(KEY, key))
            .await;
        assert_eq!(answer.status, 400, "{key:?}");
        answer.assert_problem(
            400,
            "invalid-idempotency-key",
            "The Idempotency-Key is malformed",
            "Send one Idempotency-Key of 1 to 255 visible ASCII characters, such as a UUID, in \
             double quotes.",
            &Value::Null,
        );
    }
    assert_eq!(service.list("").await.body, "[]");
}

#[tokio::test]
async fn a_key_of_255_characters_is_accepted() {
    let service = Service::start();
    let key = "k".repeat(255);
    let event = Event::create_user("ada").with_header(KEY, &key);
    assert_eq!(service.post(event).await.status, 201);
}

#[tokio::test]
async fn a_body_that_is_not_a_json_object_is_refused() {
    let service = Service::start();
    for (body, detail) in [
        ("", "The body is empty; send a JSON object with a username."),
        ("ada", "The body is not JSON: see line 1, column 1."),
        (" ", "The body is not JSON: see line 1, column 1."),
        ("{", "The body is not JSON: see line 1, column 1."),
        (
            "{\"username\":\n\"ada\",}",
            "The body is not JSON: see line 2, column 7.",
        ),
        (
            r#"{"username":"ada"} x"#,
            "The body is not JSON: see line 1, column 20.",
        ),
        (
            r#"{"username":"\ud800"}"#,
            "The username contains an unpaired surrogate, such as \\ud800.",
        ),
        ("\u{feff}{}", "The body is not JSON: see line 1, column 1."),
        (
            r#"["ada"]"#,
            "The body is JSON but not an object; send a JSON object with a username.",
        ),
        (
            "null",
            "The body is JSON but not an object; send a JSON object with a username.",
        ),
        (
            r#"{"username":"ada","username":"ada"}"#,
            "The field username is repeated. Send it once.",
        ),
    ] {
        let answer = service.post(Event::create(body)).await;
        answer.assert_problem(
            400,
            "invalid-body",
            "The body is not a user in JSON",
            detail,
            &Value::Null,
        );
    }
    assert_eq!(service.list("").await.body, "[]");
}

#[tokio::test]
async fn a_body_that_is_not_utf_8_is_refused() {
    let service = Service::start();
    // The base64 of {"username":"\xff"}.
    let event = Event::create("").with_base64_body("eyJ1c2VybmFtZSI6Iv8ifQ==");
    service.post(event).await.assert_problem(
        400,
        "invalid-body",
        "The body is not a user in JSON",
        "The body is not UTF-8: the byte at offset 13 is wrong.",
        &Value::Null,
    );
}

#[tokio::test]
async fn a_base64_encoded_body_is_read_like_a_plain_one() {
    let service = Service::start();
    // The base64 of {"username":"ada"}.
    let event = Event::create("").with_base64_body("eyJ1c2VybmFtZSI6ImFkYSJ9");
    assert_eq!(service.post(event).await.json()["username"], "ada");
}

#[tokio::test]
async fn a_body_of_16_kib_is_read_and_a_larger_one_refused() {
    let service = Service::start();
    let body = |length: usize| {
        let rest = r#"{"username":"ada","note":""}"#.len();
        json!({ "username": "ada", "note": "x".repeat(length - rest) }).to_string()
    };
    let answer = service.post(Event::create(&body(16_385))).await;
    answer.assert_problem(
        413,
        "body-too-large",
        "The body is too large",
        "The body has 16385 bytes; at most 16384 are allowed.",
        &Value::Null,
    );
    assert_eq!(service.post(Event::create(&body(16_384))).await.status, 201);
}

#[tokio::test]
async fn every_json_media_type_in_utf_8_is_accepted() {
    let service = Service::start();
    for (number, media_type) in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json ; charset=utf-8",
        "application/json;",
        "application/json;;",
        "application/json ; ;charset=utf-8",
        "application/json;\t;charset=utf-8; ",
        "\tapplication/json ",
        "application/json; v=a~b",
        "application/json; v=!#$%&'*+-.^_`|~; w=\"\"",
        "application/json; v=\"a\\\"b;,\u{eb}\"",
        "application/json; charset=utf8",
        "application/json; charset=UTF8",
        "application/json; Charset=\"utf-8\"; charset=csUTF8",
        "application/json; charset=\"\\u\\t\\f-8\"",
        "application/json; charset=x-unicode20utf8",
        "application/x~y|z+json",
        "application/json; profile=\"a;b\"",
        "application/vnd.api+json",
        "application/problem+json; charset=utf-8",
    ]
    .into_iter()
    .enumerate()
    {
        let event = Event::create_user(&format!("user{number}"));
        let answer = service
            .post(event.with_header("content-type", media_type))
            .await;
        assert_eq!(answer.status, 201, "{media_type}: {answer:?}");
    }
}

#[tokio::test]
async fn a_media_type_that_is_not_json_in_utf_8_is_refused() {
    let service = Service::start();
    let mut events = vec![Event::create_user("ada").without_header("content-type")];
    for media_type in [
        "",
        "json",
        "text/plain",
        "text/json",
        "text/vnd.api+json",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/jsonp",
        "application/json; charset=latin1",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=latin1",
        "application/json; charset=us-ascii",
        "application/json; charset=\"\"",
        "application/json; charset=",
        "application/json; charset",
        "application/json; charset =utf-8",
        "application/json; charset= utf-8",
        "application/json; =utf-8",
        "application/json; charset=\"utf-8",
        "application/json; charset=\"utf-8\"x",
        "application/json; charset=utf-8 x",
        "application/json; v=\"a\\",
        "application/json; v=a/b",
        "application/json charset=utf-8",
        "application / json",
        "application/json/json",
        "/json",
        "application/",
        ";",
        "application/+json",
        "application/json+xml",
        "application/json, text/plain",
        "application/*",
    ] {
        events.push(Event::create_user("ada").with_header("content-type", media_type));
    }
    for event in events {
        let sent = format!("{event:?}");
        let answer = service.post(event).await;
        assert_eq!(answer.status, 415, "{sent}");
        answer.assert_problem(
            415,
            "unsupported-media-type",
            "The media type is not supported",
            "Send the user as JSON in UTF-8, with the header Content-Type: application/json.",
            &Value::Null,
        );
    }
    assert_eq!(service.list("").await.body, "[]");
}

#[tokio::test]
async fn a_username_that_is_missing_or_not_a_string_is_refused() {
    let service = Service::start();
    for (body, code, detail) in [
        ("{}", "missing", "The field username is missing."),
        (
            r#"{"Username":"ada","usename":"ada"}"#,
            "missing",
            "The field username is missing.",
        ),
        (
            r#"{"username":null}"#,
            "not-a-string",
            "The field username must be a string.",
        ),
        (
            r#"{"username":1}"#,
            "not-a-string",
            "The field username must be a string.",
        ),
        (
            r#"{"username":["ada"]}"#,
            "not-a-string",
            "The field username must be a string.",
        ),
        (
            r#"{"username": 1e999}"#,
            "not-a-string",
            "The field username must be a string.",
        ),
        (
            &format!(r#"{{"username":{}{}}}"#, "[".repeat(5000), "]".repeat(5000)),
            "not-a-string",
            "The field username must be a string.",
        ),
    ] {
        let answer = service.post(Event::create(body)).await;
        assert_invalid_user(&answer, code, detail);
    }
}

#[tokio::test]
async fn a_username_that_breaks_the_policy_is_refused_with_the_reason() {
    let service = Service::start();
    let too_long = "a".repeat(81);
    for (username, code, detail) in [
        (
            "",
            "empty",
            "The username is empty; it needs 1 to 80 characters.",
        ),
        (
            too_long.as_str(),
            "too-long",
            "The username has 81 characters; at most 80 are allowed.",
        ),
        (
            "ada lovelace",
            "disallowed-character",
            "The character U+0020 is not allowed here; use _, . or - instead of a space, or leave it \
             out.",
        ),
        (
            "henryⅣ",
            "disallowed-character",
            "The character U+2163 is not allowed here; use “IV” instead.",
        ),
        (
            "раypal",
            "mixed-scripts",
            "The username mixes letters of different scripts; use letters of one script, or Latin \
             together with Japanese, Korean or Chinese.",
        ),
        (
            "1אב",
            "bidi",
            "A username with right-to-left characters must begin with a right-to-left letter and \
             end with a letter, a digit, or one ' after a Hebrew letter. It must not contain \
             left-to-right letters, or mix the digits 0 to 9 with Arabic-Indic digits.",
        ),
    ] {
        let answer = service.create(username).await;
        assert_invalid_user(&answer, code, detail);
    }
    assert_eq!(service.list("").await.body, "[]");
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let service = Service::start();
    let body = r#"{"role":"admin","username":"ada","id":1,"created_at":[{"a":{}}]}"#;
    let answer = service.post(Event::create(body)).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["username"], "ada");
}

#[tokio::test]
async fn every_user_has_an_id_of_its_own() {
    let service = Service::start();
    let mut ids = HashSet::new();
    for number in 0..100 {
        let answer = service.create(&format!("user{number}")).await;
        assert!(ids.insert(text(&answer.json(), "id").to_owned()));
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().expect("a string")
}

#[track_caller]
fn assert_taken(answer: &Answer) {
    answer.assert_problem(
        409,
        "username-taken",
        "The username is taken",
        "Another user has this username, or one that differs from it only in case or width. \
         Choose another one.",
        &Value::Null,
    );
}

#[track_caller]
fn assert_invalid_user(answer: &Answer, code: &str, detail: &str) {
    answer.assert_problem(
        422,
        "invalid-user",
        "The user is invalid",
        detail,
        &json!([{ "pointer": "#/username", "code": code, "detail": detail }]),
    );
}
