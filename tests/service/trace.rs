//! Tests of the spans that the real binaries send to X-Ray, decoded with OpenTelemetry's own
//! Protobuf definitions.

use std::{
    net::UdpSocket,
    time::{Duration, SystemTime},
};

use harness::{
    Answer, Event, Service,
    agent::{Agent, IDS, SAMPLED},
    runtime_api::{Sandbox, environment},
    service::engine,
    wire::{Break, Proxy, WireFault},
    workspace::binary_of,
};
use local::spans::{
    MAX_DATAGRAM_BYTES, Request, Span, SpanKind, Status, StatusCode, decode, values,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The functions' timeout in `template.yaml`.
const TIMEOUT: Duration = Duration::from_secs(10);

const ARN: &str = "arn:aws:lambda:eu-central-1:123456789012:function:function-under-test";

#[tokio::test]
async fn a_sampled_request_sends_two_spans_under_lambdas_segment() {
    let engine = engine();
    let agent = Agent::start().await;
    for (function, method, operation, status) in [
        ("create-user", "POST", "PutItem", 201),
        ("list-users", "GET", "Query", 200),
    ] {
        let mut sandbox = sandbox(function, &engine.url(), &agent.address()).await;
        for cold_start in [true, false] {
            let before = now();
            let event = match function {
                "create-user" => Event::create_user(if cold_start { "ada" } else { "grace" }),
                _ => Event::list(""),
            };
            assert_eq!(call(&mut sandbox, event).await.status, status);
            // The warm-up sends no spans, so these spans belong to this call.
            let Request { resource, spans } = agent.spans().await;
            assert_eq!(
                resource,
                json!({
                    "service.name": "function-under-test",
                    "cloud.provider": "aws",
                    "cloud.platform": "aws_lambda",
                    "cloud.region": "eu-central-1",
                    "faas.name": "function-under-test",
                    "faas.version": "1",
                    "faas.instance": "2026/03/01/[1]0123456789abcdef",
                    "faas.max_memory": 256 * 1024 * 1024,
                    "aws.log.group.names": ["/aws/lambda/function-under-test"],
                })
            );
            let [invocation, of_table] = &spans[..] else {
                panic!("expected two spans: {spans:#?}");
            };
            assert_eq!(invocation.trace_id, IDS.0.to_be_bytes());
            assert_eq!(invocation.parent_span_id, IDS.1.to_be_bytes());
            assert_eq!(invocation.kind(), SpanKind::Server);
            assert_eq!(invocation.name, format!("{method} /api/users"));
            assert_eq!(invocation.status, None);
            assert_eq!(
                values(&invocation.attributes),
                json!({
                    "faas.trigger": "http",
                    "faas.invocation_id": if cold_start { "request-1" } else { "request-2" },
                    "faas.coldstart": cold_start,
                    "aws.lambda.invoked_arn": ARN,
                    "cloud.account.id": "123456789012",
                    "http.request.method": method,
                    "http.route": "/api/users",
                    "url.path": "/api/users",
                    "url.scheme": "https",
                    "http.response.status_code": status,
                })
            );

            assert_eq!(of_table.trace_id, IDS.0.to_be_bytes());
            assert_eq!(of_table.parent_span_id, invocation.span_id);
            assert_eq!((of_table.span_id.len(), invocation.span_id.len()), (8, 8));
            assert_ne!(of_table.span_id, invocation.span_id);
            assert_eq!(of_table.kind(), SpanKind::Client);
            assert_eq!(of_table.name, format!("DynamoDB.{operation}"));
            assert_eq!(
                (of_table.status.as_ref(), &of_table.events[..]),
                (None, &[][..])
            );
            let mut attributes = values(&of_table.attributes);
            let id = attributes.as_object_mut().unwrap().remove("aws.request_id");
            assert!(id.is_some_and(|id| id.as_str().is_some_and(|id| !id.is_empty())));
            assert_eq!(
                attributes,
                json!({
                    "rpc.system": "aws-api",
                    "rpc.service": "DynamoDB",
                    "rpc.method": operation,
                    "db.system.name": "aws.dynamodb",
                    "db.operation.name": operation,
                    "aws.dynamodb.table_names": ["users"],
                })
            );
            let times = [
                before,
                invocation.start_time_unix_nano,
                of_table.start_time_unix_nano,
                of_table.end_time_unix_nano,
                invocation.end_time_unix_nano,
                now(),
            ];
            assert!(times.is_sorted(), "{times:?}");
        }
        sandbox.stop().await;
    }
}

#[tokio::test]
async fn no_span_holds_personal_data() {
    let engine = engine();
    let agent = Agent::start().await;
    let mut create = sandbox("create-user", &engine.url(), &agent.address()).await;
    let mut list = sandbox("list-users", &engine.url(), &agent.address()).await;
    let event = || Event::create_user("grace-hopper").with_header("idempotency-key", "the-key");
    let mut spans = Vec::new();
    for event in [
        event(),
        event(),
        Event::create_user("Grace-Hopper"),
        Event::create("{"),
    ] {
        call(&mut create, event).await;
        spans.push(agent.spans().await);
    }
    call(&mut list, Event::list("prefix=grace")).await;
    spans.push(agent.spans().await);
    let spans = format!("{spans:?}").to_lowercase();
    for personal in [
        "grace",
        "hopper",
        "the-key",
        "bearer",
        "eyj",
        "prefix",
        "6q1k2j3h4g5f",
    ] {
        assert!(!spans.contains(personal), "{personal} in {spans}");
    }
}

#[tokio::test]
async fn a_request_that_does_not_call_the_table_sends_one_span() {
    let engine = engine();
    let agent = Agent::start().await;
    let mut create = sandbox("create-user", &engine.url(), &agent.address()).await;
    assert_eq!(call(&mut create, Event::create("{")).await.status, 400);
    let spans = agent.spans().await.spans;
    assert_eq!(names(&spans), ["POST /api/users"]);
    assert_eq!(
        spans[0].status, None,
        "the caller made the error, not the service"
    );
}

#[tokio::test]
async fn a_taken_username_does_not_mark_a_span_as_an_error() {
    let engine = engine();
    let agent = Agent::start().await;
    let mut create = sandbox("create-user", &engine.url(), &agent.address()).await;
    for status in [201, 409] {
        assert_eq!(
            call(&mut create, Event::create_user("ada")).await.status,
            status
        );
        let spans = agent.spans().await.spans;
        assert_eq!([&spans[0].status, &spans[1].status], [&None, &None]);
        let attributes = values(&spans[1].attributes);
        let code = (status == 409).then_some("ConditionalCheckFailedException");
        assert_eq!(
            attributes
                .get("db.response.status_code")
                .and_then(Value::as_str),
            code
        );
        assert_eq!(attributes.get("error.type"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_adds_an_event_and_a_failed_call_marks_its_spans_as_errors() {
    let mut running = JoinSet::new();
    for function in ["create-user", "list-users"] {
        for (fault, error, statuses) in faults() {
            for times in 1..=3 {
                running.spawn(check_fault(function, fault.clone(), times, error, statuses));
            }
        }
    }
    running.join_all().await;
}

/// Temporary faults. For each retry after a fault, the span of the call to the table gets an event.
/// Each row has the fault, the event's `error.type`, and the HTTP statuses that the event may show.
fn faults() -> [(WireFault, &'static str, &'static [u16]); 5] {
    let throttled = json!({ "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException" });
    let answer = |status, body: &str| WireFault::Answer(status, body.to_owned());
    [
        (
            answer("400 Bad Request", &throttled.to_string()),
            "ThrottlingException",
            &[400],
        ),
        (answer("503 Service Unavailable", ""), "503", &[503]),
        (WireFault::Stall, "timeout", &[]),
        (WireFault::LoseRequest, "connection", &[]),
        // The table stores the user, but its answer, a 200, is cut off. The table answers 400 to
        // the next attempt to create the user, because the username is now taken.
        (
            WireFault::TruncateAnswer(Break::Body),
            "response",
            &[200, 400],
        ),
    ]
}

/// Checks the spans of a call. `times` is the number of the call's requests that the fault hits,
/// beginning with the first request.
async fn check_fault(
    function: &str,
    fault: WireFault,
    times: usize,
    error: &str,
    statuses: &[u16],
) {
    let case = format!("{function}, {times} times {fault:?}");
    let service = Service::start();
    let agent = Agent::start().await;
    let proxy = Proxy::start(&service.engine().url()).await;
    let mut sandbox = sandbox(function, &proxy.url(), &agent.address()).await;
    let event = |username| match function {
        "create-user" => Event::create_user(username),
        _ => Event::list(""),
    };
    // This call ends only after the warm-up, so the faults below do not hit the warm-up.
    assert!(
        call(&mut sandbox, event("grace")).await.status < 300,
        "{case}"
    );
    agent.spans().await;
    proxy.inject(std::iter::repeat_n(fault, times));
    let answer = call(&mut sandbox, event("ada")).await;
    let spans = agent.spans().await.spans;
    let [invocation, of_table] = &spans[..] else {
        panic!("{case}: {spans:#?}");
    };

    let retries = times.min(2);
    let events = &of_table.events;
    assert_eq!(events.len(), retries, "{case}: {events:#?}");
    for (number, event) in (1..).zip(events) {
        let mut attributes = values(&event.attributes);
        let attributes = attributes.as_object_mut().unwrap();
        let status = attributes.remove("http.response.status_code");
        let status = status.and_then(|status| status.as_u64());
        let is_expected = |status| statuses.iter().any(|it| u64::from(*it) == status);
        assert_eq!(event.name, "retry", "{case}");
        assert_eq!(
            status.is_some_and(is_expected),
            !statuses.is_empty(),
            "{case}: {status:?}"
        );
        let expected = json!({ "http.request.resend_count": number, "error.type": error });
        assert_eq!(Some(&*attributes), expected.as_object(), "{case}");
    }
    let mut times_of_it: Vec<u64> = events.iter().map(|event| event.time_unix_nano).collect();
    times_of_it.insert(0, of_table.start_time_unix_nano);
    times_of_it.push(of_table.end_time_unix_nano);
    assert!(times_of_it.is_sorted(), "{case}: {times_of_it:?}");

    let attributes = values(&of_table.attributes);
    assert_eq!(attributes["http.request.resend_count"], retries, "{case}");
    let codes = [invocation, of_table].map(|span| span.status.as_ref().map(Status::code));
    if times < 3 {
        assert!(answer.status < 300, "{case}: {answer:?}");
        assert_eq!(codes, [None, None], "{case}");
        assert_eq!(attributes.get("error.type"), None, "{case}");
    } else {
        assert_eq!(answer.status, 503, "{case}: {answer:?}");
        assert_eq!(codes, [Some(StatusCode::Error); 2], "{case}");
        assert_eq!(attributes["error.type"], error, "{case}");
        assert_eq!(
            values(&invocation.attributes)["error.type"],
            "503",
            "{case}"
        );
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn a_call_that_hits_the_deadline_marks_its_spans_as_errors() {
    // Connections to this socket succeed, but no request gets an answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let agent = Agent::start().await;
    let mut create = sandbox("create-user", &url, &agent.address()).await;
    let event = Event::create_user("ada");
    let answer = create
        .invoke(event, Duration::from_secs(3))
        .await
        .into_answer();
    assert_eq!(answer.status, 503);
    let spans = agent.spans().await.spans;
    assert_eq!(names(&spans), ["POST /api/users", "DynamoDB.PutItem"]);
    for span in &spans {
        let status = span.status.as_ref().expect("a status");
        assert_eq!(status.code(), StatusCode::Error);
    }
    let attributes = values(&spans[1].attributes);
    assert_eq!(attributes["error.type"], "timeout");
    create.stop().await;
}

#[tokio::test]
async fn a_request_that_is_not_sampled_sends_no_spans() {
    let engine = engine();
    let agent = Agent::start().await;
    let mut list = sandbox("list-users", &engine.url(), &agent.address()).await;
    let root = "Root=1-69281c3f-5d3b8c1a2f4e6a7b8c9d0e1f";
    let parent = "Parent=53995c3f42cd8ad8";
    let unsampled = [
        String::new(),
        root.to_owned(),
        "Sampled=1".to_owned(),
        format!("{root};Sampled=1"),
        format!("{root};{parent}"),
        format!("{root};{parent};Sampled=0"),
        format!("{root};{parent};Sampled=?"),
        format!("Root=1-69281c3f-5d3b;{parent};Sampled=1"),
        format!("Root=1-69281c3f-5d3b8c1a2f4e6a7b8c9d0eXX;{parent};Sampled=1"),
        format!("{root};Parent=lambda;Sampled=1"),
    ];
    for header in &unsampled {
        list.trace(header);
        assert_eq!(
            call(&mut list, Event::list("")).await.status,
            200,
            "{header}"
        );
    }
    list.trace(SAMPLED);
    assert_eq!(call(&mut list, Event::list("")).await.status, 200);
    let first = agent.spans().await.spans.remove(0);
    let number = unsampled.len() + 1;
    let id = &values(&first.attributes)["faas.invocation_id"];
    assert_eq!(*id, format!("request-{number}"));
    list.stop().await;
}

#[tokio::test]
async fn a_function_works_without_an_agent() {
    let engine = engine();
    let url = engine.url();
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for (address, warnings) in [
        (None, 0),
        (Some(""), 0),
        (Some(&*closed), 0),
        (Some("nowhere"), 1),
        (Some("127.0.0.1:70000"), 1),
    ] {
        let mut environment = environment(&url).to_vec();
        environment.extend(address.map(|address| ("AWS_XRAY_DAEMON_ADDRESS", address)));
        let mut list = Sandbox::start(&binary_of("list-users"), &environment).await;
        list.trace(SAMPLED);
        // The first datagram to a closed port is sent without an error. The system reports the
        // closed port only when a later datagram is sent, so this test calls the function three
        // times.
        for _ in 0..3 {
            assert_eq!(
                call(&mut list, Event::list("")).await.status,
                200,
                "{address:?}"
            );
        }
        let lines = list.stop().await;
        assert_eq!(lines.len(), warnings + 3, "{address:?}: {lines:#?}");
        for line in &lines[..warnings] {
            assert_eq!(line["level"], "WARN");
            let message = "AWS_XRAY_DAEMON_ADDRESS can't be used; no spans are sent";
            assert_eq!(line["message"], message);
        }
        for line in &lines[warnings..] {
            assert_eq!(line["traceId"], "1-69281c3f-5d3b8c1a2f4e6a7b8c9d0e1f");
        }
    }
}

#[tokio::test]
async fn a_datagram_stays_small_even_if_the_table_sends_a_long_answer() {
    let service = Service::start();
    let agent = Agent::start().await;
    let proxy = Proxy::start(&service.engine().url()).await;
    let mut create = sandbox("create-user", &proxy.url(), &agent.address()).await;
    create.polled().await;
    let id = "ä".repeat(30_000);
    let answer =
        format!("HTTP/1.1 200 OK\r\nx-amzn-requestid: {id}\r\ncontent-length: 2\r\n\r\n{{}}");
    proxy.inject([WireFault::Bytes(answer.leak().as_bytes())]);
    call(&mut create, Event::create_user("ada")).await;
    let code = "x".repeat(60_000);
    let answer = json!({ "__type": code }).to_string();
    proxy.inject([WireFault::Answer("400 Bad Request", answer)]);
    assert_eq!(
        call(&mut create, Event::create_user("ada")).await.status,
        500
    );
    for _ in 0..2 {
        let datagram = agent.datagram().await;
        assert!(
            datagram.len() < MAX_DATAGRAM_BYTES / 10,
            "{}",
            datagram.len()
        );
        assert_eq!(decode(&datagram).expect("spans").spans.len(), 2);
    }
}

async fn sandbox(function: &str, table_url: &str, agent: &str) -> Sandbox {
    let mut environment = environment(table_url).to_vec();
    environment.push(("AWS_XRAY_DAEMON_ADDRESS", agent));
    let mut sandbox = Sandbox::start(&binary_of(function), &environment).await;
    sandbox.trace(SAMPLED);
    sandbox
}

async fn call(sandbox: &mut Sandbox, event: Event) -> Answer {
    sandbox.invoke(event, TIMEOUT).await.into_answer()
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| &*span.name).collect()
}

/// The current time, in nanoseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970")
        .as_nanos()
        .try_into()
        .expect("before 2554")
}
