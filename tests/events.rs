//! Whatever an event holds, the real binaries answer it as the contract says, and live on.

use std::{cell::RefCell, time::Duration};

use local::engine::Engine;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Map, Value, json};
use tests::{
    Answer, contract,
    process::memory_kib,
    runtime_api::{Reply, Sandbox},
    service::engine,
};
use tokio::runtime::Runtime;

/// The function's timeout in the template.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most memory that a function may take for any event: that of Lambda's smallest.
const MAX_MEMORY_KIB: usize = 128 * 1024;

/// How many events of each kind a property is tried with.
const CASES: u32 = 1000;

/// Both functions in their sandboxes.
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

    /// Has the function of a method answer an event, and checks the answer against the contract.
    fn answer(&self, method: &str, event: String) -> Answer {
        let sandbox = if method == "post" {
            &self.create
        } else {
            &self.list
        };
        let mut sandbox = sandbox.borrow_mut();
        let reply = sandbox.invoke_timed(event, TIMEOUT);
        let answer = self.runtime.block_on(reply).0.into_answer();
        contract::check(method, &answer);
        answer
    }

    /// Sees that both processes live and have stayed small, and gives their lines.
    fn stop(self) -> Vec<Value> {
        let mut lines = Vec::new();
        for sandbox in [self.create, self.list] {
            let sandbox = sandbox.into_inner();
            let memory = memory_kib(sandbox.process_id(), "VmHWM");
            assert!(memory < MAX_MEMORY_KIB, "{memory} KiB");
            lines.extend(self.runtime.block_on(sandbox.stop()));
        }
        lines
    }
}

#[test]
fn any_request_is_answered_and_none_with_a_5xx() {
    let functions = Functions::start();
    let mut runner = TestRunner::new(config());
    for method in ["post", "get"] {
        let result = runner.run(&request(method), |event| {
            let answer = functions.answer(method, event.to_string());
            prop_assert!(answer.status < 500, "{answer:?}");
            Ok(())
        });
        result.unwrap();
    }
    functions.stop();
}

#[test]
fn an_event_of_another_kind_is_a_500_problem_and_the_log_says_so() {
    let functions = Functions::start();
    let mut runner = TestRunner::new(config());
    for method in ["post", "get"] {
        let result = runner.run(&other_event(), |event| {
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

    for line in functions.stop() {
        let cause = line["cause"].as_str().unwrap_or_default();
        let expected = "the event is not one of an HTTP API with payload format 2.0: see line 1,";
        assert!(cause.starts_with(expected), "{line}");
    }
}

#[test]
fn a_huge_or_deep_request_is_refused_within_the_smallest_functions_memory() {
    // What an HTTP API lets pass of a body is 10 MB, and Lambda of an event 6 MB.
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
fn what_is_no_json_is_an_error_to_lambda_and_the_next_event_is_answered() {
    let functions = Functions::start();
    for event in ["", "{", "\u{0}", "{\"a\":\"\u{1}\"}", "nul"] {
        let mut create = functions.create.borrow_mut();
        let reply = create.invoke_timed(event.to_owned(), TIMEOUT);
        let (reply, _) = functions.runtime.block_on(reply);
        assert!(matches!(reply, Reply::Error(_)), "{event}: {reply:?}");
    }
    let answer = functions.answer("post", event("post").to_string());
    assert_eq!(answer.status, 201);
    functions.stop();
}

/// A failing event is printed, and belongs into a test of its own.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The example of an event for this method.
fn event(method: &str) -> Value {
    let event = match method {
        "post" => include_str!("events/create_user.json"),
        _ => include_str!("events/list_users.json"),
    };
    serde_json::from_str(event).expect("the event is JSON")
}

/// Requests as an HTTP API may hand them over: any texts in the places that a client fills.
fn request(method: &'static str) -> impl Strategy<Value = Value> {
    let parts = (
        query(),
        headers(),
        prop_oneof![Just(Value::Null), body().prop_map(Value::from)],
        any::<bool>(),
        prop::option::of(any::<String>()),
        prop::sample::subsequence(
            vec!["body", "isBase64Encoded", "headers", "rawQueryString"],
            0..=2,
        ),
    );
    parts.prop_map(
        move |(query, more_headers, body, is_base64, sub, missing)| {
            let mut event = event(method);
            event["rawQueryString"] = query.into();
            let headers = event["headers"].as_object_mut().expect("headers");
            headers.extend(more_headers);
            event["body"] = body;
            event["isBase64Encoded"] = is_base64.into();
            let context = event["requestContext"].as_object_mut().expect("a context");
            match sub {
                Some(sub) => context["authorizer"]["jwt"]["claims"]["sub"] = sub.into(),
                None => drop(context.remove("authorizer")),
            }
            for member in missing {
                event.as_object_mut().expect("an object").remove(member);
            }
            event
        },
    )
}

/// A raw query string: known names and others, values encoded in any way or in none.
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

/// Headers with the names that the service knows, in any case, and others; with any values.
fn headers() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        "[Cc]ontent-[Tt]ype",
        "[Ii]dempotency-[Kk]ey",
        "[Ii]f-[Nn]one-[Mm]atch",
        "[Hh]ost|[Cc]ontent-[Ll]ength|[Cc]ookie",
        any::<String>(),
    ];
    let value = prop_oneof![
        any::<String>(),
        "application/([a-z]{1,4}[+])?json(; ?charset=\"?[a-zA-Z0-9-]{0,6}\"?){0,2}",
        "\"?[ -~]{0,300}\"?",
        "(W/)?\"[ -~]{0,20}\"(, ?(W/)?\"[a-z]{0,3}\"){0,3}|[*]",
    ];
    let header = (name, value.prop_map(Value::from));
    prop::collection::vec(header, 0..6).prop_map(|headers| headers.into_iter().collect())
}

/// A body: JSON about a user, what looks like it, and anything else.
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

/// Events of other kinds: a REST API's or an HTTP API's in the older format, a load balancer's, a
/// queue's, and any JSON at all.
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
    // The right format, but with parts of another type. A list may stand for a structure's members.
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
