//! Tests that the real binaries keep running after any event, and that every answer to a JSON event
//! follows the contract.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use harness::{
    Answer, Event, Service, contract,
    process::memory_kib,
    runtime_api::{Reply, Sandbox},
    service::engine,
};
use local::engine::Engine;
use proptest::{prelude::*, test_runner::TestRunner};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

/// The functions' timeout in `template.yaml`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum memory of a function's process: the memory of the smallest Lambda function.
const MAX_MEMORY_KIB: usize = 128 * 1024;

/// The number of generated events for each property.
const CASES: u32 = 1000;

/// The parts of an event that the log may name as wrong. The log never contains their values.
const MEMBERS: [&str; 4] = [
    "outermost value",
    "version",
    "requestContext.http",
    "headers, rawQueryString, body and isBase64Encoded",
];

struct Functions {
    runtime: Runtime,
    create: RefCell<Sandbox>,
    list: RefCell<Sandbox>,
    _engine: Engine,
}

impl Functions {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let engine = engine();
        let start = |function| runtime.block_on(Sandbox::of(function, &engine.url()));
        Self {
            create: RefCell::new(start("create-user")),
            list: RefCell::new(start("list-users")),
            runtime,
            _engine: engine,
        }
    }

    fn reply(&self, method: &str, event: String) -> Reply {
        let sandbox = if method == "post" {
            &self.create
        } else {
            &self.list
        };
        let mut sandbox = sandbox.borrow_mut();
        let reply = sandbox.invoke_timed(event, TIMEOUT);
        self.runtime.block_on(reply).0
    }

    fn answer(&self, method: &str, event: String) -> Answer {
        let answer = self.reply(method, event).into_answer();
        contract::check(method, &answer);
        answer
    }

    /// Stops both processes and returns their log lines. Fails if a process has already ended or
    /// has used too much memory.
    fn stop(self) -> Vec<Value> {
        let mut lines = Vec::new();
        for sandbox in [self.create, self.list] {
            let sandbox = sandbox.into_inner();
            // Only Linux reports the peak memory of a process.
            if cfg!(target_os = "linux") {
                let memory = memory_kib(sandbox.process_id(), "VmHWM");
                assert!(memory < MAX_MEMORY_KIB, "{memory} KiB");
            }
            lines.extend(self.runtime.block_on(sandbox.stop()));
        }
        lines
    }
}

#[test]
fn no_generated_request_gets_a_5xx_answer() {
    let functions = Functions::start();
    let answered = RefCell::new(BTreeMap::<(&str, u16), u32>::new());
    for method in ["post", "get"] {
        let result = runner().run(&request(method), |event| {
            let answer = functions.answer(method, event.to_string());
            prop_assert!(answer.status < 500, "{answer:?}");
            *answered
                .borrow_mut()
                .entry((method, answer.status))
                .or_default() += 1;
            Ok(())
        });
        result.unwrap();
    }
    functions.stop();

    // Each status must occur often enough. If one validation refused all requests, the test would
    // not reach the rest of the code.
    let answered = answered.into_inner();
    println!("answered: {answered:?}");
    for (kind, least) in [
        (("post", 201), 50),
        (("post", 400), 100),
        (("post", 409), 50),
        (("post", 415), 30),
        (("post", 422), 30),
        (("get", 200), 300),
        (("get", 304), 10),
        (("get", 400), 100),
    ] {
        let times = answered.get(&kind).copied().unwrap_or_default();
        assert!(times >= least, "{kind:?} only {times} times: {answered:?}");
    }
}

#[test]
fn an_event_that_is_not_an_http_api_event_gets_500_and_the_cause_is_logged() {
    let functions = Functions::start();
    for method in ["post", "get"] {
        let result = runner().run(&other_event(), |event| {
            let answer = functions.answer(method, event.to_string());
            prop_assert_eq!(answer.status, 500);
            Ok(())
        });
        result.unwrap();
    }
    let thousands: Map<String, Value> = (0..30_000)
        .map(|number| (format!("x-{number}"), "1".into()))
        .collect();
    let mut crowded = event("post");
    crowded["headers"] = thousands.into();
    assert_eq!(functions.answer("post", crowded.to_string()).status, 500);

    let lines = functions.stop();
    assert!(lines.len() > 2 * CASES as usize, "{} events", lines.len());
    for line in lines {
        let cause = line["cause"].as_str().unwrap_or_default();
        let expected = "the event is not an HTTP API event (payload format 2.0): see its ";
        let member = cause.strip_prefix(expected);
        assert!(member.is_some_and(|it| MEMBERS.contains(&it)), "{line}");
        // The event is wrong, not the function. Such an event must not count as an internal error,
        // because internal errors roll back a deployment.
        assert_eq!(line["InternalErrors"], Value::Null, "{line}");
        assert_eq!(
            line["_aws"]["CloudWatchMetrics"].as_array().map(Vec::len),
            Some(1)
        );
    }
}

#[test]
fn a_huge_or_deeply_nested_request_fits_into_the_smallest_functions_memory() {
    // An HTTP API accepts bodies of up to 10 MB, but Lambda accepts only events of up to 6 MB.
    const LARGEST: usize = 6_000_000;
    let functions = Functions::start();
    let create = |body: &str, is_base64: bool| {
        let mut event = event("post");
        event["body"] = body.into();
        event["isBase64Encoded"] = is_base64.into();
        functions.answer("post", event.to_string()).status
    };
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(create(&"a".repeat(LARGEST), false), 413);
    assert_eq!(create(&"A".repeat(LARGEST), true), 413);
    assert_eq!(create(&deep(LARGEST / 2), false), 413);
    assert_eq!(create(&deep(8192), false), 400);
    assert_eq!(create(&"[".repeat(16_384), false), 400);
    let beside = format!("{{\"a\":{},\"username\":\"ada\"}}", deep(8000));
    assert_eq!(create(&beside, false), 201);
    let instead = format!("{{\"username\":{}}}", deep(8000));
    assert_eq!(create(&instead, false), 422);

    let many = "x=1&".repeat(2000);
    for query in [many.as_str(), &"a".repeat(LARGEST), &"%F0%9F".repeat(1000)] {
        let mut event = event("get");
        event["rawQueryString"] = query.into();
        assert_eq!(functions.answer("get", event.to_string()).status, 400);
    }

    let mut with_more = event("get");
    with_more["stageVariables"] = serde_json::from_str(&deep(100)).unwrap();
    assert_eq!(functions.answer("get", with_more.to_string()).status, 200);
    let deeper = format!(
        "{{\"more\":{},{}",
        deep(1_000_000),
        &event("get").to_string()[1..]
    );
    assert_eq!(functions.answer("get", deeper).status, 200);
    functions.stop();
}

#[test]
fn an_event_that_is_not_json_is_an_error_to_lambda_and_the_next_event_is_answered() {
    let functions = Functions::start();
    for event in ["", "{", "\u{0}", "{\"a\":\"\u{1}\"}", "nul"] {
        let reply = functions.reply("post", event.to_owned());
        assert!(matches!(reply, Reply::Error(_)), "{event}: {reply:?}");
    }
    for (method, status) in [("post", 201), ("get", 200)] {
        let result = runner().run(&not_json(method), |event| {
            let reply = functions.reply(method, event);
            prop_assert!(matches!(reply, Reply::Error(_)), "{reply:?}");
            Ok(())
        });
        result.unwrap();
        let answer = functions.answer(method, event(method).to_string());
        assert_eq!(answer.status, status);
    }
    functions.stop();
}

/// Creates a runner for one property. Each property needs its own runner, because a runner never
/// resets its count of cases. If the test fails for an event, the runner prints the event, so that
/// you can add a test for it.
fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

fn event(method: &str) -> Value {
    let event = match method {
        "post" => include_str!("../../harness/events/create_user.json"),
        _ => include_str!("../../harness/events/list_users.json"),
    };
    serde_json::from_str(event).expect("the event is JSON")
}

/// A change to one part of an HTTP API event.
#[derive(Clone, Debug)]
enum Part {
    Query(String),
    Headers(Map<String, Value>),
    Body(Value),
    /// A body that the gateway encodes in base64.
    Bytes(Vec<u8>),
    IsBase64(bool),
    Claims(&'static str, Value),
    Authorizer(Value),
    NoAuthorizer,
    /// The name of a top-level field to remove.
    Missing(&'static str),
}

impl Part {
    fn put_into(self, event: &mut Value) {
        match self {
            Self::Query(query) => event["rawQueryString"] = query.into(),
            Self::Headers(more) => {
                let headers = event["headers"].as_object_mut();
                headers.expect("headers").extend(more);
            }
            Self::Body(body) => event["body"] = body,
            Self::Bytes(bytes) => {
                event["body"] = STANDARD.encode(bytes).into();
                event["isBase64Encoded"] = true.into();
            }
            Self::IsBase64(is_base64) => event["isBase64Encoded"] = is_base64.into(),
            Self::Claims(claim, value) => {
                let claims = json!({ "iss": "https://login.example.com/", claim: value });
                event["requestContext"]["authorizer"] = json!({ "jwt": { "claims": claims } });
            }
            Self::Authorizer(authorizer) => event["requestContext"]["authorizer"] = authorizer,
            Self::NoAuthorizer => {
                let context = event["requestContext"].as_object_mut();
                context.expect("a context").remove("authorizer");
            }
            Self::Missing(member) => {
                event.as_object_mut().expect("an object").remove(member);
            }
        }
    }
}

/// Events that an HTTP API may send. Most have only one changed part, because the service reports
/// only the first invalid part.
fn request(method: &'static str) -> impl Strategy<Value = Value> {
    let parts = prop_oneof![
        3 => prop::collection::vec(part(), 1),
        1 => prop::collection::vec(part(), 2..8),
    ];
    (sound_request(method), parts).prop_map(|(mut event, parts)| {
        // First changes fields, then removes fields. In the other order, a change to a removed
        // field would fail or add the field again.
        let (missing, there): (Vec<Part>, Vec<Part>) = parts
            .into_iter()
            .partition(|part| matches!(part, Part::Missing(_)));
        for part in there.into_iter().chain(missing) {
            part.put_into(&mut event);
        }
        event
    })
}

/// The events of valid requests. The usernames have one or two letters, so that some are already
/// taken.
fn sound_request(method: &'static str) -> impl Strategy<Value = Value> {
    let query = prop::sample::select(vec!["", "limit=1", "limit=1000&prefix=A", "prefix=%C3%A9"]);
    ("[a-z]{1,2}", query).prop_map(move |(username, query)| {
        let mut event = event(method);
        if method == "post" {
            event["body"] = json!({ "username": username }).to_string().into();
        } else {
            event["rawQueryString"] = query.into();
        }
        event
    })
}

fn part() -> impl Strategy<Value = Part> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..64);
    let user_of_bytes = |bytes: Vec<u8>| [b"{\"username\":\"", &bytes[..], b"\"}"].concat();
    let claims = vec!["iss", "sub", "client_id", "azp", "cid", "appid", "scope"];
    let members = vec!["body", "isBase64Encoded", "headers", "rawQueryString"];
    prop_oneof![
        2 => query().prop_map(Part::Query),
        2 => headers().prop_map(Part::Headers),
        2 => body().prop_map(|body| Part::Body(body.into())),
        1 => prop_oneof![bytes(), bytes().prop_map(user_of_bytes)].prop_map(Part::Bytes),
        1 => prop_oneof![
            Just(Part::Body(Value::Null)),
            any::<bool>().prop_map(Part::IsBase64),
            (prop::sample::select(claims), any_json()).prop_map(|(claim, it)| Part::Claims(claim, it)),
            any_json().prop_map(Part::Authorizer),
            Just(Part::NoAuthorizer),
            prop::sample::select(members).prop_map(Part::Missing),
        ],
    ]
}

/// Query strings with known and unknown parameters. The values are encoded correctly, wrongly or
/// not at all.
fn query() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "(prefix|limit|cursor)",
        "(prefix|limit|cursor)",
        "%70refix|Limit|limit\\[\\]|[a-z]{0,5}",
    ];
    let value = prop_oneof![
        any::<String>(),
        "[0-9]{1,5}",
        "(%[0-9A-Fa-f]{2}|%[0-9A-Za-z]?|[a-z+])*",
        "AQ[A-Za-z0-9_-]{0,40}",
    ];
    let pair = (name, "=?", value).prop_map(|(name, equals, value)| name + &equals + &value);
    let pairs = prop::collection::vec(pair, 0..5).prop_map(|pairs| pairs.join("&"));
    prop_oneof![3 => pairs, 1 => any::<String>()]
}

/// Headers that the service reads, and others. The values are plausible or arbitrary.
fn headers() -> impl Strategy<Value = Map<String, Value>> {
    let or_any = |value: &'static str| prop_oneof![3 => value, 1 => any::<String>()];
    let header = prop_oneof![
        (
            "[Cc]ontent-[Tt]ype",
            or_any("application/([a-z]{1,4}[+])?json(; ?charset=\"?[a-zA-Z0-9-]{0,6}\"?){0,2}"),
        ),
        ("[Ii]dempotency-[Kk]ey", or_any("\"?[ -~]{0,300}\"?")),
        (
            "[Ii]f-[Nn]one-[Mm]atch",
            or_any("(W/)?\"[ -~]{0,20}\"(, ?(W/)?\"[a-z]{0,3}\"){0,3}|[*]"),
        ),
        (
            "[Hh]ost|[Cc]ontent-[Ll]ength|[Cc]ookie",
            or_any("[ -~]{0,40}"),
        ),
        (any::<String>(), any::<String>()),
    ];
    let header = header.prop_map(|(name, value)| (name, Value::from(value)));
    prop::collection::vec(header, 0..6).prop_map(|headers| headers.into_iter().collect())
}

fn body() -> impl Strategy<Value = String> {
    let user = any::<String>().prop_map(|username| json!({ "username": username }).to_string());
    let damaged = (any::<String>(), any::<prop::sample::Index>()).prop_map(|(username, index)| {
        let body = json!({ "username": username }).to_string();
        let cut = index.index(body.len());
        String::from_utf8_lossy(&body.as_bytes()[..cut]).into_owned()
    });
    let escapes = "\\{\"username\":\"(\\\\u[0-9a-fD-F]{4}|\\\\[\"\\\\/bfnrtx]|[ -~])*\"\\}";
    prop_oneof![
        user,
        damaged,
        escapes,
        any_json().prop_map(|value| value.to_string()),
        any_json().prop_map(|value| json!({ "username": value }).to_string()),
        "[A-Za-z0-9+/]{0,40}={0,2}",
        any::<String>(),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn not_json(method: &'static str) -> impl Strategy<Value = String> {
    let place = any::<prop::sample::Index>;
    let cut = place().prop_map(move |place| {
        let event = event(method).to_string();
        event[..place.index(event.len())].to_owned()
    });
    let grown = (place(), any::<char>()).prop_map(move |(place, c)| {
        let mut event = event(method).to_string();
        event.insert(place.index(event.len()), c);
        event
    });
    // For a text that begins with complete JSON, the runtime crate reports no error, because it
    // ignores the rest. Lambda never sends such a text.
    let begins_with_json = |text: &str| {
        let mut json = serde_json::Deserializer::from_str(text);
        IgnoredAny::deserialize(&mut json).is_ok()
    };
    let texts = prop_oneof![any::<String>(), cut, grown];
    texts.prop_filter("JSON", move |text| !begins_with_json(text))
}

/// JSON that is not an HTTP API event in payload format 2.0.
fn other_event() -> impl Strategy<Value = Value> {
    let texts = || prop::collection::hash_map(any::<String>(), any::<String>(), 0..4);
    let body = || prop::option::of(any::<String>());
    let version_1 =
        (texts(), texts(), body(), any::<bool>()).prop_map(|(headers, query, body, is_base64)| {
            json!({
                "version": "1.0",
                "resource": "/api/users",
                "path": "/api/users",
                "httpMethod": "POST",
                "headers": headers,
                "multiValueHeaders": {},
                "queryStringParameters": query,
                "multiValueQueryStringParameters": null,
                "requestContext": {
                    "accountId": "123456789012",
                    "apiId": "a1b2c3d4e5",
                    "httpMethod": "POST",
                    "identity": { "sourceIp": "203.0.113.7" },
                    "path": "/api/users",
                    "requestId": "UoY1ciQ0FiAEMVQ=",
                    "stage": "$default",
                },
                "body": body,
                "isBase64Encoded": is_base64,
            })
        });
    let rest = version_1.clone().prop_map(|mut event| {
        event.as_object_mut().expect("an object").remove("version");
        event
    });
    let load_balancer =
        (texts(), texts(), body(), any::<bool>()).prop_map(|(headers, query, body, is_base64)| {
            let group =
                "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/users/1";
            json!({
                "requestContext": { "elb": { "targetGroupArn": group } },
                "httpMethod": "POST",
                "path": "/api/users",
                "queryStringParameters": query,
                "headers": headers,
                "body": body,
                "isBase64Encoded": is_base64,
            })
        });
    let queue = any::<String>().prop_map(|body| json!({ "Records": [{ "body": body }] }));
    // A damaged event has a wrong value in one field. The wrong value is never an array: serde can
    // read an array as a struct, and then the event might not be damaged.
    let no_list = any_json().prop_filter("a list", |value| !value.is_array());
    let members = prop::sample::select(vec!["requestContext", "version"]);
    let damaged = (no_list, members);
    let damaged = damaged.prop_map(|(value, member)| {
        let mut event = event("post");
        event[member] = value;
        event
    });
    prop_oneof![version_1, rest, load_balancer, queue, damaged, any_json()]
}

#[tokio::test]
async fn a_query_with_characters_that_are_invalid_in_a_uri_is_accepted() {
    let service = Service::start();
    for username in ["<ada>", "\"ada\"", "a|d^a", "ada[0]", "#ada"] {
        assert_eq!(service.create(username).await.status, 201, "{username}");
        let page = service.list(&format!("prefix={username}")).await;
        assert_eq!(page.usernames(), [username]);
    }
    // No username contains a space or a control character.
    for raw in ["prefix=ada lovelace", "prefix=\u{e4}\u{7}"] {
        let page = service.list(raw).await;
        assert_eq!((page.status, &*page.body), (200, "[]"), "{raw}");
    }
    let encoded = service.list("prefix=%3Cada&limit=1").await;
    assert_eq!(encoded.usernames(), ["<ada>"]);
}

#[tokio::test]
async fn a_query_that_is_too_long_for_a_uri_is_refused() {
    let service = Service::start();
    let answer = service.list(&"a".repeat(70_000)).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn an_invalid_host_is_ignored() {
    let service = Service::start();
    for host in ["not a host", "[::", "\u{e4}", ""] {
        let event = Event::list("").with_header("host", host);
        assert_eq!(service.get(event).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_body_wrongly_marked_as_base64_is_read_as_it_is() {
    let service = Service::start();
    let body = json!({ "username": "ada" }).to_string();
    let event = Event::create("").with_base64_body(&body);
    assert_eq!(service.post(event).await.status, 201);
}

#[tokio::test]
async fn a_request_with_invalid_characters_in_a_header_is_still_answered() {
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

        let key = Event::create_user("bea").with_header("idempotency-key", value);
        assert_eq!(service.post(key).await.status, 400, "{value:?}");
        let media_type = format!("application/json; charset=\"{value}\"");
        let event = Event::create_user("bea").with_header("content-type", &media_type);
        assert_eq!(service.post(event).await.status, 415, "{value:?}");
        let event = Event::list("").with_header("if-none-match", value);
        assert_eq!(service.get(event).await.status, 200, "{value:?}");
    }
}
