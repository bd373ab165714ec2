//! Tests of the logs, metrics and answers of the real binaries.

use std::{fs, time::Duration};

use harness::{
    Event,
    answer::REQUEST_ID,
    runtime_api::{Reply, Sandbox, environment},
    service::{ACCESS_KEY_ID, engine},
    workspace::{binary_of, example},
};
use serde_json::{Value, json};

const CALLER: &str = "6q1k2j3h4g5f6d7s8a9p0o1i2u";

/// The functions' timeout in `template.yaml`.
const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_request_logs_one_line_with_its_metrics_and_no_personal_data() {
    let engine = engine();
    let url = engine.url();
    let mut create = Sandbox::of("create-user", &url).await;
    let mut list = Sandbox::of("list-users", &url).await;

    let request = || Event::create_user("grace-hopper").with_header("idempotency-key", "the-key");
    assert_eq!(status(&create.invoke(request(), TIMEOUT).await), 201);
    assert_eq!(status(&create.invoke(request(), TIMEOUT).await), 201);
    let again = Event::create_user("Grace-Hopper");
    assert_eq!(status(&create.invoke(again, TIMEOUT).await), 409);
    let invalid = Event::create_user("grace hopper").by_nobody();
    assert_eq!(status(&create.invoke(invalid, TIMEOUT).await), 422);
    let page = list.invoke(Event::list("prefix=grace"), TIMEOUT).await;
    assert_eq!(status(&page), 200);

    let post = |status: u16, cold: bool, metrics: &[&str], number: usize| {
        line("POST /api/users", status, cold, metrics, number)
    };
    let mut nobody = post(422, false, &[], 4);
    nobody.as_object_mut().unwrap().remove("caller");
    let created = create.stop().await;
    assert_lines(
        &created,
        &[
            post(201, true, &["UsersCreated", "ColdStarts"], 1),
            post(201, false, &["CreatesReplayed"], 2),
            post(409, false, &["Conflicts"], 3),
            nobody,
        ],
    );
    let metrics = ["PagesListed", "ColdStarts"];
    let listed = list.stop().await;
    assert_lines(&listed, &[line("GET /api/users", 200, true, &metrics, 1)]);

    let output = format!("{created:?}{listed:?}").to_lowercase();
    for personal in ["grace", "hopper", "the-key", "bearer", "eyj", "prefix"] {
        assert!(!output.contains(personal), "{personal} in {output}");
    }
}

#[tokio::test]
async fn the_log_has_the_caller_whenever_the_token_names_one() {
    let engine = engine();
    let mut list = Sandbox::of("list-users", &engine.url()).await;
    let issuer = "https://login.example.com/";
    let callers = [
        (
            json!({ "iss": issuer, "sub": "ada", "client_id": "billing" }),
            json!("ada"),
        ),
        (json!({ "iss": issuer, "sub": 12_345 }), json!("12345")),
        (
            json!({ "iss": issuer, "sub": ["ada"] }),
            json!(r#"["ada"]"#),
        ),
        (
            json!({ "iss": issuer, "sub": "", "client_id": "billing" }),
            json!("billing"),
        ),
        (
            json!({ "iss": issuer, "azp": "web", "cid": "x" }),
            json!("web"),
        ),
        (json!({ "iss": issuer, "cid": "0oa1" }), json!("0oa1")),
        (
            json!({ "iss": issuer, "appid": "6731de76" }),
            json!("6731de76"),
        ),
        (json!({ "iss": issuer, "scope": "users/read" }), Value::Null),
    ];
    for (claims, _) in &callers {
        let event = Event::list("").with_claims(claims);
        assert_eq!(status(&list.invoke(event, TIMEOUT).await), 200, "{claims}");
    }
    let logged: Vec<Value> = list
        .stop()
        .await
        .iter()
        .map(|line| line["caller"].clone())
        .collect();
    assert_eq!(logged, callers.map(|(_, caller)| caller));
}

#[tokio::test]
async fn an_answer_reaches_the_gateway_as_the_handler_made_it() {
    let engine = engine();
    let mut create = Sandbox::of("create-user", &engine.url()).await;
    let reply = create.invoke(Event::create("{"), TIMEOUT).await;
    create.stop().await;
    let Reply::Response(response) = reply else {
        panic!("no response: {reply:?}");
    };
    assert_eq!(response["statusCode"], 400);
    assert_eq!(response["isBase64Encoded"], false);
    assert_eq!(
        response["headers"],
        json!({
            "cache-control": "no-store",
            "content-type": "application/problem+json",
            "x-content-type-options": "nosniff",
        })
    );
    let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["instance"], "urn:request:request-1");
    assert_ne!(body["instance"], format!("urn:request:{REQUEST_ID}"));
}

#[tokio::test]
async fn a_panic_becomes_a_500_problem_and_the_process_keeps_running() {
    let mut sandbox = Sandbox::start(&example("panics"), &[]).await;
    for number in 1..=3 {
        let query = if number == 2 { "username=ada" } else { "" };
        let reply = sandbox.invoke(Event::list(query), TIMEOUT).await;
        let Reply::Response(response) = reply else {
            panic!("no response: {reply:?}");
        };
        assert_eq!(response["statusCode"], 500);
        let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
        assert_eq!(
            body,
            json!({
                "type": "urn:problem-type:users:internal-error",
                "title": "The service failed",
                "status": 500,
                "detail": "Something failed on our side. If it happens again, report it with this problem's instance.",
                "instance": format!("urn:request:request-{number}"),
            })
        );
    }
    let lines = sandbox.stop().await;
    assert_eq!(lines.len(), 6, "{lines:#?}");
    for (number, pair) in lines.chunks(2).enumerate() {
        let [panic, request] = pair else {
            unreachable!("an even number of lines");
        };
        let message = if number == 1 {
            "a panic"
        } else {
            "there is nothing to handle"
        };
        assert_eq!(panic["message"], message);
        assert_eq!(panic["level"], "ERROR");
        let place = panic["place"].as_str().expect("a place");
        assert!(place.contains("examples/panics.rs:"), "{place}");
        let cause = format!("a panic at {place}; the line before this one describes it");
        assert_eq!(request["cause"], cause);
        assert_eq!(request["status"], 500);
        assert_eq!(request["level"], "ERROR");
        // The line counts an internal error in two metrics: of the function, and of its version.
        // The alarm that rolls back a version needs the second metric.
        assert_eq!(request["InternalErrors"], 1);
        assert_eq!(request["FunctionVersion"], "1");
        assert_eq!(
            request["_aws"]["CloudWatchMetrics"][1],
            json!({
                "Namespace": "UsersApi",
                "Dimensions": [["FunctionName", "FunctionVersion"]],
                "Metrics": [{ "Name": "InternalErrors", "Unit": "Count" }],
            })
        );
    }
    assert!(!format!("{lines:?}").contains("ada"));
}

#[tokio::test]
async fn a_function_answers_503_before_its_deadline() {
    // Connections to this socket succeed, but no request gets an answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut create = Sandbox::of("create-user", &url).await;
    let event = Event::create_user("ada");
    let reply = create.invoke(event, Duration::from_secs(3)).await;
    let Reply::Response(response) = reply else {
        panic!("no response: {reply:?}");
    };
    assert_eq!(response["statusCode"], 503);
    assert_eq!(response["headers"]["retry-after"], "1");

    let lines = create.stop().await;
    let [warm_up, request] = &lines[..] else {
        panic!("expected two lines: {lines:#?}");
    };
    assert_eq!(warm_up["level"], "WARN");
    assert_eq!(
        warm_up["message"],
        "the warm-up of the table's client took too long"
    );
    assert_eq!(request["level"], "WARN");
    assert_eq!(request["cause"], "the event's deadline was near");
    // The function answers 200 ms before the deadline of 3 s, so after about 2,800 ms. The latency
    // is measured from the moment when the function reads the event. On a busy machine, the function
    // may read the event late, which makes the latency shorter, or answer late, which makes it
    // longer.
    let latency = request["Latency"].as_f64().expect("a number");
    assert!((1_500.0..60_000.0).contains(&latency), "{latency}");
}

#[tokio::test]
async fn a_failed_warm_up_is_logged_and_the_function_starts_all_the_same() {
    let engine = local::engine::Engine::in_memory(ACCESS_KEY_ID).unwrap();
    for function in ["create-user", "list-users"] {
        let mut sandbox = Sandbox::of(function, &engine.url()).await;
        let event = match function {
            "create-user" => Event::create_user("ada"),
            _ => Event::list(""),
        };
        assert_eq!(status(&sandbox.invoke(event, TIMEOUT).await), 500);
        let lines = sandbox.stop().await;
        assert_eq!(
            lines[0]["message"],
            "the warm-up of the table's client failed"
        );
        let cause = lines[0]["cause"].as_str().expect("a cause");
        assert!(cause.contains("ResourceNotFoundException"), "{cause}");
        assert_eq!(lines[1]["cause"], cause);
    }
}

#[tokio::test]
async fn a_function_ignores_the_aws_config_in_the_home_folder() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".aws");
    fs::create_dir(&folder).unwrap();
    // Each of these two settings would stop the function from reaching its table.
    let config = "[default]\nignore_configured_endpoint_urls = true\nuse_fips_endpoint = true\n";
    fs::write(folder.join("config"), config).unwrap();

    let engine = engine();
    let url = engine.url();
    let mut environment = environment(&url).to_vec();
    environment.push(("HOME", home.path().to_str().unwrap()));
    let mut create = Sandbox::start(&binary_of("create-user"), &environment).await;
    let reply = create.invoke(Event::create_user("ada"), TIMEOUT).await;
    assert_eq!(status(&reply), 201);
    assert_eq!(create.stop().await.len(), 1, "the warm-up must not fail");
}

fn status(reply: &Reply) -> u64 {
    match reply {
        Reply::Response(response) => response["statusCode"].as_u64().expect("a status"),
        Reply::Error(error) => panic!("the function failed: {error}"),
    }
}

/// The expected log line of a request, without the timestamps and the latency.
fn line(route: &str, status: u16, cold: bool, metrics: &[&str], number: usize) -> Value {
    let mut line = json!({
        "level": "INFO",
        "message": "request",
        "requestId": format!("request-{number}"),
        "traceId": "1-69281c3f-5d3b8c1a2f4e6a7b8c9d0e1f",
        "route": route,
        "caller": CALLER,
        "status": status,
        "coldStart": cold,
        "FunctionName": "function-under-test",
        "FunctionVersion": "1",
    });
    let mut definitions = vec![json!({ "Name": "Latency", "Unit": "Milliseconds" })];
    for metric in metrics {
        line[metric] = 1.into();
        definitions.push(json!({ "Name": metric, "Unit": "Count" }));
    }
    line["_aws"] = json!({
        "CloudWatchMetrics": [{
            "Namespace": "UsersApi",
            "Dimensions": [["FunctionName"]],
            "Metrics": definitions,
        }],
    });
    line
}

#[track_caller]
fn assert_lines(lines: &[Value], expected: &[Value]) {
    let mut lines = lines.to_vec();
    for line in &mut lines {
        let mut take = |member: &str| line.as_object_mut().unwrap().remove(member);
        let timestamp = take("timestamp").expect("a timestamp");
        let timestamp = timestamp.as_str().expect("a text");
        assert_eq!(timestamp.len(), "2026-03-01T12:00:00.123Z".len());
        let latency = take("Latency").and_then(|latency| latency.as_f64());
        assert!(latency.is_some_and(|latency| latency > 0.0), "{latency:?}");
        let time = line["_aws"].as_object_mut().unwrap().remove("Timestamp");
        assert!(
            time.and_then(|time| time.as_u64())
                .is_some_and(|time| time > 1_700_000_000_000)
        );
    }
    assert_eq!(lines, expected);
}
