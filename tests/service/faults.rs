//! Tests of faults between the functions and the table.

use std::{iter, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    config::{Credentials, Region},
};
use harness::{
    Answer, Event, Service,
    answer::respond,
    service::{connect, get, post, unreachable},
    wire::WireFault,
};
use list_users::Lister;
use serde_json::{Value, json};
use shared::{
    table::{Table, sdk_config},
    telemetry::Metric,
};

/// The SDK's maximum number of attempts for one request.
const ATTEMPTS: usize = 3;

#[tokio::test]
async fn a_create_whose_answer_got_lost_is_sent_again_and_answered_201() {
    let service = Service::start();
    let (proxy, table, _) = service.behind_faults().await;
    for lost in 1..ATTEMPTS {
        let username = format!("ada{lost}");
        let before = proxy.requests().len();
        proxy.inject(iter::repeat_n(WireFault::LoseAnswer, lost));
        let answer = post(&table, Event::create_user(&username)).await;

        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.header("idempotent-replayed"), None);
        assert_eq!(proxy.requests().len() - before, lost + 1);
        let listed = service.list(&format!("prefix={username}")).await;
        assert_eq!(listed.json(), json!([answer.json()]));
    }
}

#[tokio::test]
async fn a_create_whose_answers_all_got_lost_gets_503_and_its_retry_gets_the_user() {
    let service = Service::start();
    let (proxy, table, _) = service.behind_faults().await;
    let request = || Event::create_user("ada").with_header("idempotency-key", "one");
    proxy.inject(iter::repeat_n(WireFault::LoseAnswer, ATTEMPTS));
    assert_unavailable(&post(&table, request()).await);
    assert_eq!(proxy.requests().len(), ATTEMPTS);

    let retry = post(&table, request()).await;
    assert_eq!(retry.status, 201);
    assert_eq!(retry.header("idempotent-replayed"), Some("true"));
    assert_eq!(service.list("").await.json(), json!([retry.json()]));
}

#[tokio::test]
async fn a_temporary_fault_is_retried() {
    let service = Service::start();
    let (proxy, table, lister) = service.behind_faults().await;
    for (number, fault) in passing_faults().into_iter().enumerate() {
        let username = format!("user{number}");
        let before = proxy.requests().len();
        proxy.inject([fault.clone(), fault.clone()]);
        let answer = post(&table, Event::create_user(&username)).await;
        assert_eq!(answer.status, 201, "{fault:?}: {answer:?}");
        assert_eq!(proxy.requests().len() - before, 3, "{fault:?}");

        proxy.inject([fault.clone()]);
        let page = get(&lister, Event::list(&format!("prefix={username}"))).await;
        assert_eq!(page.json(), json!([answer.json()]), "{fault:?}");
        assert_eq!(proxy.requests().len() - before, 5, "{fault:?}");
    }
}

#[tokio::test]
async fn a_lasting_fault_is_answered_503_and_the_next_request_works() {
    let service = Service::start();
    for fault in passing_faults() {
        let (proxy, table, lister) = service.behind_faults().await;
        proxy.inject(iter::repeat_n(fault.clone(), ATTEMPTS));
        assert_unavailable(&post(&table, Event::create_user("ada")).await);
        assert_eq!(proxy.requests().len(), ATTEMPTS, "{fault:?}");

        proxy.inject(iter::repeat_n(fault.clone(), ATTEMPTS));
        assert_unavailable(&get(&lister, Event::list("")).await);
        assert_eq!(proxy.requests().len(), 2 * ATTEMPTS, "{fault:?}");

        assert_eq!(get(&lister, Event::list("")).await.body, "[]", "{fault:?}");
    }
    assert_eq!(service.create("ada").await.status, 201);
}

#[tokio::test]
async fn a_silent_table_leads_to_a_503_before_the_timeout() {
    let service = Service::start();
    let (proxy, table, lister) = service.behind_faults().await;
    proxy.inject(iter::repeat_n(WireFault::Stall, 2 * ATTEMPTS));
    let answers = async {
        tokio::join!(
            post(&table, Event::create_user("ada")),
            get(&lister, Event::list("")),
        )
    };
    // The functions' timeout in `template.yaml`.
    let answers = tokio::time::timeout(Duration::from_secs(10), answers).await;
    let (created, listed) = answers.expect("both functions answer before their timeout");
    assert_unavailable(&created);
    assert_unavailable(&listed);
}

#[tokio::test]
async fn one_silent_attempt_times_out_and_is_retried() {
    let service = Service::start();
    let (proxy, table, _) = service.behind_faults().await;
    proxy.inject([WireFault::Stall]);
    let answer = post(&table, Event::create_user("ada")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(proxy.requests().len(), 2);
}

#[tokio::test]
async fn an_unreachable_table_leads_to_a_503() {
    let (_socket, url) = unreachable();
    let table = connect(&url);
    assert_unavailable(&post(&table, Event::create_user("ada")).await);
    let lister = Lister::new(table, Duration::ZERO);
    assert_unavailable(&get(&lister, Event::list("")).await);
}

#[tokio::test]
async fn a_query_that_the_table_ended_early_continues_where_it_ended() {
    let service = Service::start();
    for username in ["ada", "bea", "cleo"] {
        service.create(username).await;
    }
    let item = |name: &str| {
        let id = "01a20f20-8028-76b1-aae4-c77b21b19de7";
        json!({ "username_key": { "S": name }, "username": { "S": name }, "id": { "S": id } })
    };
    let key = json!({ "kind": { "S": "user" }, "username_key": { "S": "bea" } });
    for (items, listed) in [
        (vec![item("ada"), item("bea")], &["ada", "bea"][..]),
        (vec![], &[]),
    ] {
        let (proxy, _, lister) = service.behind_faults().await;
        let answer = json!({ "Items": items, "LastEvaluatedKey": key }).to_string();
        proxy.inject([WireFault::Answer("200 OK", answer)]);
        let first = get(&lister, Event::list("")).await;
        assert_eq!(first.usernames(), listed);
        let next = first.next_query().expect("a next page");
        assert_eq!(get(&lister, Event::list(&next)).await.usernames(), ["cleo"]);
    }
}

#[tokio::test]
async fn an_unreadable_list_from_the_table_gets_503_and_its_content_is_not_logged() {
    let service = Service::start();
    for (answer, column) in [
        (json!({ "Items": ["barbara"] }), 19),
        (json!({ "Items": "barbara" }), 18),
        (json!({ "Items": [{ "username": { "S": 1 } }] }), 28),
        (json!({ "Count": 1 }), 11),
    ] {
        let (proxy, _, lister) = service.behind_faults().await;
        proxy.inject([WireFault::Answer("200 OK", answer.to_string())]);
        let handled = list_users::handle(&lister, Event::list("").into_request()).await;
        let logged = respond(handled);
        assert_eq!(logged.response.status(), 503, "{answer}");
        let cause = logged.cause.expect("a cause");
        let reason = format!("not a list of items, at column {column}");
        assert!(cause.ends_with(&reason), "{answer}: {cause}");
        assert!(!cause.contains("barbara"), "{answer}: {cause}");
    }
}

/// Every error code that DynamoDB documents for `PutItem`, for `Query` or for all operations,
/// except `ConditionalCheckFailedException`, which `create_user.rs` tests. Each row has four
/// values: the HTTP status of DynamoDB's response, the error code, the HTTP status of the service's
/// answer, and the number of attempts. [`WRITE_ONLY_CODES`] has the codes that a `Query` never gets.
///
/// Sources:
/// [`PutItem`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html#API_PutItem_Errors),
/// [`Query`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html#API_Query_Errors),
/// [error handling](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html),
/// [common errors](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/CommonErrors.html).
const ERROR_CODES: [(&str, &str, u16, usize); 36] = [
    // Temporary: throttling.
    (
        "400 Bad Request",
        "ProvisionedThroughputExceededException",
        503,
        ATTEMPTS,
    ),
    ("400 Bad Request", "RequestLimitExceeded", 503, ATTEMPTS),
    ("400 Bad Request", "ThrottlingException", 503, ATTEMPTS),
    // Temporary: a conflict with another request for the same item.
    (
        "400 Bad Request",
        "ReplicatedWriteConflictException",
        503,
        ATTEMPTS,
    ),
    (
        "400 Bad Request",
        "TransactionConflictException",
        503,
        ATTEMPTS,
    ),
    (
        "400 Bad Request",
        "TransactionInProgressException",
        503,
        ATTEMPTS,
    ),
    // Temporary: a failure in DynamoDB or on the network.
    ("400 Bad Request", "RequestTimeoutException", 503, ATTEMPTS),
    (
        "500 Internal Server Error",
        "InternalFailure",
        503,
        ATTEMPTS,
    ),
    (
        "500 Internal Server Error",
        "InternalServerError",
        503,
        ATTEMPTS,
    ),
    (
        "503 Service Unavailable",
        "ServiceUnavailable",
        503,
        ATTEMPTS,
    ),
    // Errors of a wrong deployment: the role, the credentials, the table or its encryption key is
    // wrong.
    ("400 Bad Request", "AccessDeniedException", 500, 1),
    ("403 Forbidden", "ExpiredTokenException", 500, 1),
    ("400 Bad Request", "IncompleteSignature", 500, 1),
    ("400 Bad Request", "IncompleteSignatureException", 500, 1),
    ("403 Forbidden", "InvalidClientTokenId", 500, 1),
    ("400 Bad Request", "InvalidSignatureException", 500, 1),
    ("403 Forbidden", "MissingAuthenticationToken", 500, 1),
    (
        "400 Bad Request",
        "MissingAuthenticationTokenException",
        500,
        1,
    ),
    ("400 Bad Request", "NotAuthorized", 500, 1),
    ("403 Forbidden", "OptInRequired", 500, 1),
    ("400 Bad Request", "RequestExpired", 500, 1),
    ("400 Bad Request", "ResourceInUseException", 500, 1),
    ("400 Bad Request", "ResourceNotFoundException", 500, 1),
    ("400 Bad Request", "UnrecognizedClientException", 500, 1),
    // A bug in the service, which sent a wrong request.
    ("400 Bad Request", "InvalidAction", 500, 1),
    (
        "421 Misdirected Request",
        "InvalidEndpointException",
        500,
        1,
    ),
    ("400 Bad Request", "InvalidParameterCombination", 500, 1),
    ("400 Bad Request", "InvalidParameterValue", 500, 1),
    (
        "400 Bad Request",
        "ItemCollectionSizeLimitExceededException",
        500,
        1,
    ),
    ("400 Bad Request", "MalformedHttpRequestException", 500, 1),
    ("404 Not Found", "MalformedQueryString", 500, 1),
    (
        "413 Content Too Large",
        "RequestEntityTooLargeException",
        500,
        1,
    ),
    ("400 Bad Request", "SerializationException", 500, 1),
    ("404 Not Found", "UnknownOperationException", 500, 1),
    ("400 Bad Request", "ValidationError", 500, 1),
    ("400 Bad Request", "ValidationException", 500, 1),
];

const WRITE_ONLY_CODES: [&str; 3] = [
    "ItemCollectionSizeLimitExceededException",
    "ReplicatedWriteConflictException",
    "TransactionConflictException",
];

#[tokio::test]
async fn every_error_code_of_the_table_gets_the_right_status_and_number_of_attempts() {
    let service = Service::start();
    for (number, (table_status, code, status, attempts)) in ERROR_CODES.into_iter().enumerate() {
        let (proxy, table, lister) = service.behind_faults().await;
        let mut sent = 0;
        for is_create in [true, false] {
            if !is_create && WRITE_ONLY_CODES.contains(&code) {
                continue;
            }
            let fault = WireFault::Answer(table_status, error(code));
            proxy.inject(iter::repeat_n(fault, attempts));
            let answer = if is_create {
                post(&table, Event::create_user("ada")).await
            } else {
                get(&lister, Event::list("")).await
            };
            if status == 503 {
                assert_unavailable(&answer);
            } else {
                answer.assert_problem(
                    500,
                    "internal-error",
                    "The service failed",
                    "Something failed on our side. If it happens again, report it with this problem's \
                     instance.",
                    &Value::Null,
                );
            }
            sent += attempts;
            assert_eq!(proxy.requests().len(), sent, "{code}, create: {is_create}");
        }
        // After the error, the client still works.
        let username = format!("user{number}");
        let created = post(&table, Event::create_user(&username)).await;
        assert_eq!(created.status, 201, "{code}");
    }
}

#[tokio::test]
async fn a_misconfigured_deployment_gets_500_and_not_503() {
    let service = Service::start();
    // The SDK refuses a custom endpoint together with FIPS.
    let config = sdk_config()
        .unwrap()
        .use_fips(true)
        .endpoint_url("http://127.0.0.1:1")
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .build();
    let table = Table::new(Client::from_conf(config), service.table().name().to_owned());
    let logged =
        respond(create_user::handle(&table, Event::create_user("ada").into_request()).await);
    assert_eq!(logged.response.status(), 500);
    let cause = logged.cause.as_deref().expect("a cause");
    assert!(cause.contains("FIPS"), "{cause}");
}

#[tokio::test]
async fn the_log_has_the_cause_and_counts_key_range_throttles_separately() {
    let of_table = (
        "TableWriteMaxOnDemandThroughputExceeded",
        vec![Metric::Throttles],
    );
    let of_key_range = (
        "TableWriteKeyRangeThroughputExceeded",
        vec![Metric::Throttles, Metric::KeyRangeThrottles],
    );
    let service = Service::start();
    for (exception, member, (limit, metrics)) in [
        ("ThrottlingException", "throttlingReasons", of_table),
        (
            "ThrottlingException",
            "throttlingReasons",
            of_key_range.clone(),
        ),
        (
            "RequestLimitExceeded",
            "ThrottlingReasons",
            of_key_range.clone(),
        ),
        (
            "ProvisionedThroughputExceededException",
            "ThrottlingReasons",
            of_key_range,
        ),
    ] {
        let throttled = json!({
            "__type": format!("com.amazonaws.dynamodb.v20120810#{exception}"),
            "message": "slow down",
            // DynamoDB calls this member `throttlingReasons` in some exceptions, and
            // `ThrottlingReasons` in others.
            member: [{
                "reason": limit,
                "resource": "arn:aws:dynamodb:eu-central-1:123456789012:table/users",
            }],
        });
        let (proxy, table, lister) = service.behind_faults().await;
        let fault = WireFault::Answer("400 Bad Request", throttled.to_string());
        proxy.inject(iter::repeat_n(fault, 2 * ATTEMPTS));
        let created =
            respond(create_user::handle(&table, Event::create_user("ada").into_request()).await);
        let listed = respond(list_users::handle(&lister, Event::list("").into_request()).await);
        for logged in [created, listed] {
            assert_eq!(logged.metrics, metrics);
            let cause = format!("service error: {exception}: slow down");
            assert_eq!(logged.cause.as_deref(), Some(cause.as_str()));
        }
    }
}

#[tokio::test]
async fn an_invalid_item_in_the_table_gets_500_and_the_log_names_the_attribute() {
    let service = Service::start();
    let table = service.table();
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let lister = Lister::new(table.clone(), Duration::ZERO);
    // The second id is a UUID, but the year of its time is too large for RFC 3339.
    for id in ["1", "ffffffff-ffff-7fff-bfff-ffffffffffff"] {
        let put = table.client().put_item().table_name(table.name());
        let put = put
            .item("kind", text("user"))
            .item("username_key", text("ada"));
        let put = put.item("username", text("Ada")).item("id", text(id));
        put.send().await.unwrap();

        let created =
            respond(create_user::handle(table, Event::create_user("ada").into_request()).await);
        let listed = respond(list_users::handle(&lister, Event::list("").into_request()).await);
        for logged in [created, listed] {
            let cause = "in an item of the table, the attribute `id` is missing or invalid";
            assert_eq!(logged.cause.as_deref(), Some(cause));
            assert_eq!(logged.response.status(), 500);
        }
    }
}

/// Temporary faults: after each of them, a later attempt can succeed.
fn passing_faults() -> Vec<WireFault> {
    let answer = |status, exception| WireFault::Answer(status, error(exception));
    vec![
        WireFault::LoseRequest,
        answer("400 Bad Request", "ThrottlingException"),
        answer("400 Bad Request", "ProvisionedThroughputExceededException"),
        answer("400 Bad Request", "RequestLimitExceeded"),
        answer("500 Internal Server Error", "InternalServerError"),
        WireFault::Answer("500 Internal Server Error", String::new()),
        WireFault::Answer("502 Bad Gateway", "<html>".to_owned()),
        WireFault::Answer("503 Service Unavailable", String::new()),
    ]
}

fn error(exception: &str) -> String {
    let exception = format!("com.amazonaws.dynamodb.v20120810#{exception}");
    json!({ "__type": exception, "message": "secret internals" }).to_string()
}

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    answer.assert_problem(
        503,
        "unavailable",
        "The service is busy or cannot reach its table",
        "Try again after the time in the Retry-After header. If this was a create, it may have \
         taken effect: repeat it with the same Idempotency-Key.",
        &Value::Null,
    );
}
