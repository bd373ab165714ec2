//! What the gateway hands over, as it is: nothing in an event keeps it from an answer.

use serde_json::json;
use tests::{Event, Service};

#[tokio::test]
async fn a_query_with_characters_that_no_uri_holds_is_read_all_the_same() {
    let service = Service::start();
    for username in ["<ada>", "\"ada\"", "a|d^a", "ada[0]", "#ada"] {
        assert_eq!(service.create(username).await.status, 201, "{username}");
        let page = service.list(&format!("prefix={username}")).await;
        assert_eq!(page.usernames(), [username]);
    }
    // No username has such characters, so none begins with them.
    for raw in ["prefix=ada lovelace", "prefix=\u{e4}\u{7}"] {
        let page = service.list(raw).await;
        assert_eq!((page.status, &*page.body), (200, "[]"), "{raw}");
    }
    let encoded = service.list("prefix=%3Cada&limit=1").await;
    assert_eq!(encoded.usernames(), ["<ada>"]);
}

#[tokio::test]
async fn a_query_longer_than_a_uri_is_refused() {
    let service = Service::start();
    let answer = service.list(&"a".repeat(70_000)).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_host_that_is_none_is_of_no_interest() {
    let service = Service::start();
    for host in ["not a host", "[::", "\u{e4}", ""] {
        let event = Event::list("").with_header("host", host);
        assert_eq!(service.get(event).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_body_that_is_wrongly_said_to_be_base64_is_taken_as_it_is() {
    let service = Service::start();
    let body = json!({ "username": "ada" }).to_string();
    let event = Event::create("").with_base64_body(&body);
    assert_eq!(service.post(event).await.status, 201);
}

#[tokio::test]
async fn a_header_that_holds_any_characters_keeps_no_request_from_its_answer() {
    let service = Service::start();
    for (number, value) in ["Zo\u{eb}", "\u{1f980}", "a\tb", "a\nb", "\0", "\u{7f}"]
        .into_iter()
        .enumerate()
    {
        let username = format!("user{number}");
        let event = Event::create_user(&username).with_header("x-other", value);
        assert_eq!(service.post(event).await.status, 201, "{value:?}");
        let event = Event::create_user("ada").with_header("not a name", value);
        let status = if number == 0 { 201 } else { 409 };
        assert_eq!(service.post(event).await.status, status, "{value:?}");

        // What matters is refused, and not taken for absent.
        let key = Event::create_user("bea").with_header("idempotency-key", value);
        assert_eq!(service.post(key).await.status, 400, "{value:?}");
        let media_type = format!("application/json; charset=\"{value}\"");
        let event = Event::create_user("bea").with_header("content-type", &media_type);
        assert_eq!(service.post(event).await.status, 415, "{value:?}");
        let event = Event::list("").with_header("if-none-match", value);
        assert_eq!(service.get(event).await.status, 200, "{value:?}");
    }
}
