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
