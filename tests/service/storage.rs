//! Tests of the table: what it stores, which requests it gets, and what the requests cost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{
            AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
        },
    },
    error::BoxError,
    types::{AttributeValue, KeyType, ScalarAttributeType},
};
use harness::{
    Event, Service,
    service::{ACCESS_KEY_ID, TABLE_NAME, get, post},
    workspace,
};
use list_users::Lister;
use local::engine::{Engine, EngineError};
use serde_json::{Value, json};
use shared::{
    caller::{Caller, Claim},
    item::{self, Fingerprint, Item, StoredUser},
    table::Table,
    user::{User, Username},
};

#[tokio::test]
async fn the_template_declares_one_item_collection_and_no_index() {
    let service = Service::start();
    let table = service.table();
    let description = table
        .client()
        .describe_table()
        .table_name(table.name())
        .send();
    let description = description.await.unwrap().table.unwrap();

    let keys: Vec<(&str, &KeyType)> = description
        .key_schema()
        .iter()
        .map(|key| (key.attribute_name(), key.key_type()))
        .collect();
    let expected = [
        (item::KIND, &KeyType::Hash),
        (item::USERNAME_KEY, &KeyType::Range),
    ];
    assert_eq!(keys, expected);
    for attribute in description.attribute_definitions() {
        assert_eq!(attribute.attribute_type(), &ScalarAttributeType::S);
    }
    assert!(description.global_secondary_indexes().is_empty());
    assert!(description.local_secondary_indexes().is_empty());
}

#[tokio::test]
async fn a_create_is_one_conditional_put_item() {
    let service = Service::start();
    let (proxy, table, _) = service.behind_faults().await;
    let event = Event::create_user("Ada").with_header("idempotency-key", "one");
    let user = post(&table, event).await.json();

    let [request] = &proxy.requests()[..] else {
        panic!("expected one request: {:?}", proxy.requests());
    };
    assert_eq!(request.operation, "PutItem");
    let mut parameters = request.parameters.clone();
    let fingerprint = parameters["Item"]["request"].take();
    assert_eq!(
        fingerprint["B"].as_str().map(str::len),
        Some(44),
        "32 bytes"
    );
    assert_eq!(
        parameters,
        json!({
            "TableName": TABLE_NAME,
            "Item": {
                "kind": { "S": "user" },
                "username_key": { "S": "ada" },
                "username": { "S": "Ada" },
                "id": { "S": user["id"] },
                "request": Value::Null,
            },
            "ConditionExpression": "attribute_not_exists(username_key)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        })
    );
}

#[tokio::test]
async fn a_refused_create_is_one_put_item_too() {
    let service = Service::start();
    service.create("ada").await;
    let (proxy, table, _) = service.behind_faults().await;
    assert_eq!(post(&table, Event::create_user("ada")).await.status, 409);
    let requests = proxy.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].operation, "PutItem");
}

#[tokio::test]
async fn a_page_is_one_query() {
    let service = Service::start();
    for username in ["ada", "adam", "bob"] {
        service.create(username).await;
    }
    let (proxy, _, lister) = service.behind_faults().await;
    let first = get(&lister, Event::list("limit=1")).await;
    get(&lister, Event::list(&first.next_query().unwrap())).await;
    get(&lister, Event::list("prefix=ADA")).await;

    let requests = proxy.requests();
    assert!(requests.iter().all(|request| request.operation == "Query"));
    let parameters: Vec<Value> = requests.into_iter().map(|it| it.parameters).collect();
    let page = |limit: u16| {
        json!({
            "TableName": TABLE_NAME,
            "KeyConditionExpression": "kind = :kind",
            "ExpressionAttributeValues": { ":kind": { "S": "user" } },
            "ProjectionExpression": "username_key, username, id",
            "ConsistentRead": true,
            "Limit": limit,
        })
    };
    let mut second = page(2);
    second["ExclusiveStartKey"] =
        json!({ "kind": { "S": "user" }, "username_key": { "S": "ada" } });
    let mut search = page(101);
    search["KeyConditionExpression"] = "kind = :kind AND begins_with(username_key, :prefix)".into();
    search["ExpressionAttributeValues"][":prefix"] = json!({ "S": "ada" });
    assert_eq!(parameters, [page(2), second, search]);
}

#[tokio::test]
async fn a_page_that_may_be_old_is_read_without_strong_consistency() {
    let service = Service::start();
    let (proxy, table, _) = service.behind_faults().await;
    let lister = Lister::new(table, Duration::from_secs(5));
    get(&lister, Event::list("")).await;
    let [request] = &proxy.requests()[..] else {
        panic!("expected one request: {:?}", proxy.requests());
    };
    assert_eq!(request.parameters["ConsistentRead"], false);
}

#[test]
fn the_largest_item_costs_one_write_unit() {
    let longest = "\u{10400}".repeat(Username::MAX_CHARS);
    let username = Username::parse(&longest).unwrap();
    assert_eq!(username.as_str().len(), 4 * Username::MAX_CHARS);
    assert_eq!(username.key().len(), Username::MAX_KEY_BYTES);
    let stored = StoredUser {
        user: User::new(username),
        fingerprint: Some(Fingerprint::new(&Caller::Anyone, "key")),
    };
    let size = size_in_bytes(&item::to_item(&stored));
    assert_eq!(size, 745);
    assert!(size <= 1024, "more than one write unit");
    // One query reads up to 1 MiB, enough for the largest page and one more item, which shows
    // whether a next page exists.
    assert!(size * (usize::from(list_users::request::MAX_LIMIT) + 1) < 1024 * 1024);
}

#[test]
fn an_item_converts_back_to_the_user_that_it_was_made_from() {
    for fingerprint in [None, Some(Fingerprint::new(&Caller::Anyone, "key"))] {
        let user = User::new(Username::parse("José").unwrap());
        let stored = StoredUser { user, fingerprint };
        assert_eq!(item::from_item(item::to_item(&stored)), Ok(stored));
    }
}

#[test]
fn a_fingerprint_tells_callers_and_keys_apart() {
    let claim = |text: &str, is_string| Claim {
        text: text.to_owned(),
        is_string,
    };
    let named = |issuer: Option<&str>, name, value| Caller::Named {
        issuer: issuer.map(|issuer| claim(issuer, true)),
        claim: name,
        value,
    };
    let pairs = [
        (named(None, "sub", claim("a", true)), "bc"),
        (named(None, "sub", claim("ab", true)), "c"),
        (named(None, "sub", claim("abc", true)), ""),
        (named(None, "sub", claim("1", true)), "key"),
        (named(None, "sub", claim("1", false)), "key"),
        (named(None, "azp", claim("1", true)), "key"),
        (named(Some("1"), "sub", claim("1", true)), "key"),
        (named(Some("2"), "sub", claim("1", true)), "key"),
        (named(Some(""), "sub", claim("1", true)), "key"),
        (Caller::Anyone, "abc"),
        (Caller::Anyone, "key"),
        (Caller::Anyone, ""),
    ];
    let mut seen = HashMap::new();
    for pair in pairs {
        let fingerprint = format!("{:?}", Fingerprint::new(&pair.0, pair.1));
        assert_eq!(seen.insert(fingerprint, pair), None);
    }
}

/// An item's size by
/// [DynamoDB's rule](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html):
/// the bytes in the names and the values of its attributes.
fn size_in_bytes(item: &Item) -> usize {
    let value_size = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(blob) => blob.as_ref().len(),
        other => panic!("no attribute has this type: {other:?}"),
    };
    let sizes = item
        .iter()
        .map(|(name, value)| name.len() + value_size(value));
    sizes.sum()
}

#[tokio::test]
async fn a_create_costs_one_write_unit_and_a_page_of_4_kb_one_read_unit() {
    let service = Service::start();
    let meter = Meter::default();
    let config = service.table().client().config().to_builder();
    let client = Client::from_conf(config.interceptor(meter.clone()).build());
    let table = Table::new(client, TABLE_NAME.to_owned());

    // One write unit covers 1 KB.
    let longest = "𐐀".repeat(80);
    for username in ["ada", "grace", &longest] {
        let event = Event::create_user(username).with_header("idempotency-key", "key");
        assert_eq!(post(&table, event).await.status, 201, "{username}");
    }
    assert_eq!(meter.units(), [1.0, 1.0, 1.0]);
    for number in 0..30 {
        let event = Event::create_user(&format!("user-{number:02}"));
        assert_eq!(post(&table, event).await.status, 201);
    }
    assert_eq!(meter.units(), [1.0; 30]);
    let lister = Lister::new(table.clone(), Duration::ZERO);
    assert_eq!(get(&lister, Event::list("limit=30")).await.status, 200);
    assert_eq!(meter.units(), [1.0]);
    let lister = Lister::new(table, Duration::from_secs(1));
    assert_eq!(get(&lister, Event::list("limit=30")).await.status, 200);
    assert_eq!(meter.units(), [0.5]);
}

/// Records the consumed capacity units of each request.
#[derive(Clone, Debug, Default)]
struct Meter(Arc<Mutex<Vec<f64>>>);

impl Meter {
    /// Returns the units of each request, and clears the record.
    fn units(&self) -> Vec<f64> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let body = request.body().bytes().expect("a body in memory");
        let mut parameters: Value = serde_json::from_slice(body)?;
        parameters["ReturnConsumedCapacity"] = "TOTAL".into();
        let body = parameters.to_string();
        let length = body.len().to_string();
        request.headers_mut().insert("content-length", length);
        *request.body_mut() = body.into();
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().expect("a body in memory");
        let answer: Value = serde_json::from_slice(body)?;
        let units = &answer["ConsumedCapacity"]["CapacityUnits"];
        self.0
            .lock()
            .unwrap()
            .push(units.as_f64().expect("a total"));
        Ok(())
    }
}

#[test]
fn a_template_without_exactly_one_valid_table_is_refused() {
    let template = workspace::read("template.yaml");
    for (template, message) in [
        ("Resources: {".to_owned(), "template.yaml: "),
        (
            "Resources: {}".to_owned(),
            "template.yaml: it declares 0 tables instead of one",
        ),
        // The engine refuses a table with two partition keys.
        (
            template.replace("KeyType: RANGE", "KeyType: HASH"),
            "template.yaml: ",
        ),
    ] {
        let engine = Engine::in_memory(ACCESS_KEY_ID).unwrap();
        let error = engine
            .create_table_if_missing(&template, TABLE_NAME)
            .unwrap_err();
        assert!(matches!(error, EngineError::Template(_)), "{error:?}");
        assert!(error.to_string().starts_with(message), "{error}");
    }
}
