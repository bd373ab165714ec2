//! Tests of the local run's gateway. It must answer like API Gateway. Of all web pages, only the
//! service's own page may use the API.

use std::{
    io::{Read, Write},
    net::{Ipv6Addr, TcpListener, TcpStream},
    process::{Command, Output},
    time::Duration,
};

use harness::{
    Answer, Event,
    answer::headers,
    contract::{self, PATH},
    local_run::{LocalRun, output},
    workspace::root,
};
use serde_json::{Value, json};

use crate::{alone, temporary_folder};

/// The path in Lambda's API that invokes `create-user`.
const INVOKE: &str = "/2015-03-31/functions/create-user/invocations";

const JSON: (&str, &[u8]) = ("content-type", b"application/json");

fn body(username: &str) -> String {
    json!({ "username": username }).to_string()
}

#[track_caller]
fn assert_message(answer: &Answer, status: u16, message: &str) {
    let expected = Answer {
        status,
        headers: headers(&[("content-type", "application/json")]),
        body: json!({ "message": message }).to_string(),
    };
    assert_eq!(*answer, expected);
}

#[test]
fn a_request_that_the_template_does_not_route_is_not_found() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    for method in ["DELETE", "OPTIONS", "PATCH", "PUT"] {
        let answer = run.send(method, PATH, &[JSON], body("ada"));
        assert_message(&answer, 404, "Not Found");
    }
    // A response to HEAD has no body, so the test adds the body that `assert_message` expects.
    let mut answer = run.send("HEAD", PATH, &[], "");
    assert_eq!(answer.body, "");
    answer.body = r#"{"message":"Not Found"}"#.to_owned();
    assert_message(&answer, 404, "Not Found");

    for path in [
        "/",
        "/api",
        "/api/",
        "/api/users/",
        "/api/users/ada/",
        "/api//users",
        "//api/users",
        "/api/Users",
        "/api/users%3Flimit=1",
        "/users",
        "/favicon.ico",
        INVOKE,
        "/.rt/create-user/2018-06-01/runtime/invocation/next",
        "/.rt/2018-06-01/runtime/invocation/next",
        "/lambda-url/create-user/",
        "/lambda-url/list-users/api/users",
    ] {
        assert_message(&run.send("GET", path, &[], ""), 404, "Not Found");
    }
    let event = Event::create_user("ada").into_json();
    for path in [
        "/",
        "/lambda-url/create-user/",
        "/lambda-url/create-user/api/users",
        "/2015-03-31/functions/create-user/response-streaming-invocations",
        "/2015-03-31/functions/create-user/invocations/",
        "/2015-03-31/functions/create-user%2Finvocations",
        "/.rt/create-user/2018-06-01/runtime/init/error",
        "/.rt/2020-01-01/extension/register",
    ] {
        let answer = run.send("POST", path, &[JSON], &*event);
        assert_message(&answer, 404, "Not Found");
    }

    // The gateway decodes the path before it looks up the route.
    for path in ["/api/%75sers?limit=1", "/api%2Fusers?limit=1"] {
        assert_eq!(run.send("GET", path, &[], "").body, "[]");
    }
    assert_eq!(run.create("ada").status, 201);
    run.stop();
}

/// Removes the line breaks and bars that cargo-lambda adds to a message.
fn unwrapped(message: &str) -> String {
    let words = message.split_whitespace().filter(|word| *word != "│");
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_terminal_can_invoke_a_function_with_a_whole_event() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let invoke = |function: &str, more: &[&str]| {
        let mut invoke = Command::new("cargo-lambda");
        invoke
            .args(["lambda", "invoke", function])
            .args(["--data-file", "harness/events/create_user.json"])
            .args(["--invoke-address", "127.0.0.1"])
            .args(["--invoke-port", &run.port().to_string()])
            .args(more)
            .current_dir(root());
        let Output {
            status,
            stdout,
            stderr,
        } = output(invoke);
        let response = serde_json::from_slice::<Value>(&stdout).ok();
        (
            status.success(),
            response,
            String::from_utf8(stderr).unwrap(),
        )
    };

    // The gateway refuses every client context, because an invalid client context would end the
    // function's process.
    let context = ["--client-context-ascii", "{}"];
    let (succeeds, _, message) = invoke("create-user", &context);
    assert!(!succeeds);
    let words = unwrapped(&message);
    let expected =
        "The local run does not support a client context or an identity. Leave them out.";
    assert!(words.contains(expected), "{message}");

    let (succeeds, _, message) = invoke("creat-user", &[]);
    assert!(!succeeds);
    let words = unwrapped(&message);
    let expected = "There is no such function. The functions are: create-user, ";
    assert!(words.contains(expected), "{message}");

    let (succeeds, response, message) = invoke("create-user", &[]);
    assert!(succeeds, "{message}");
    assert_eq!(response.unwrap()["statusCode"], 201);
    assert_eq!(run.list("").usernames(), ["ada"]);
    // The gateway passes the event to the function unchanged. So the function finds the claims of
    // the event file, and logs their caller.
    run.wait_for_output(r#""caller":"6q1k2j3h4g5f6d7s8a9p0o1i2u""#);
    run.stop();
}

#[test]
fn no_web_page_can_invoke_a_function_with_a_whole_event() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let page = run.page_origin().to_owned();
    let event = Event::create_user("ada").into_json();
    let plain: (&str, &[u8]) = ("content-type", b"text/plain");
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", &page),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
    ] {
        let header = (name, value.as_bytes());
        let mut answer = run.send("POST", INVOKE, &[plain, header], &*event);
        answer.headers.retain(|name, _| name == "content-type");
        assert_message(&answer, 403, "Forbidden");
    }
    assert_eq!(run.list("").usernames(), [""; 0]);

    let answer = run.send("POST", INVOKE, &[plain], &*event);
    assert_eq!(
        answer.headers,
        headers(&[("content-type", "application/json")])
    );
    assert_eq!(
        (answer.status, &answer.json()["statusCode"]),
        (200, &json!(201))
    );
    // Like Lambda, the gateway answers 200. The function's status is in the body.
    let answer = run.send("POST", INVOKE, &[plain], "{}");
    assert_eq!(
        (answer.status, &answer.json()["statusCode"]),
        (200, &json!(500))
    );
    for name in [
        "lambda-runtime-client-context",
        "Lambda-Runtime-Cognito-Identity",
        "lambda-runtime-aws-request-id",
        "X-Amz-Client-Context",
    ] {
        let answer = run.send("POST", INVOKE, &[plain, (name, b"{}")], &*event);
        assert_eq!(
            answer.headers,
            headers(&[("content-type", "application/json")])
        );
        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.json(),
            json!({
                "errorType": "InvalidRequest",
                "errorMessage":
                    "The local run does not support a client context or an identity. Leave them out.",
            })
        );
    }
    for (kind, status) in [("RequestResponse", 200), ("Event", 400), ("DryRun", 400)] {
        let kind = ("x-amz-invocation-type", kind.as_bytes());
        let answer = run.send("POST", INVOKE, &[plain, kind], "{}");
        assert_eq!(answer.status, status, "{kind:?}: {answer:?}");
    }
    assert_eq!(run.create("grace").status, 201);
    run.stop();
}

#[test]
fn requests_from_pages_of_other_origins_are_refused() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let page = run.page_origin().to_owned();
    let own = format!("http://127.0.0.1:{}", run.port());
    let refused: &[&[(&str, &str)]] = &[
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", &own)],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "iframe"),
        ],
        &[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "image"),
        ],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://evil.example"),
        ],
    ];
    for headers in refused {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let with_json = [&headers[..], &[JSON]].concat();
        assert_message(
            &run.send("POST", PATH, &with_json, body("ada")),
            403,
            "Forbidden",
        );
        assert_message(&run.send("GET", PATH, &headers, ""), 403, "Forbidden");
        assert_message(&run.send("GET", "/", &headers, ""), 403, "Forbidden");
    }
    let navigation: [(&str, &[u8]); 3] = [
        ("sec-fetch-site", b"cross-site"),
        ("sec-fetch-dest", b"document"),
        JSON,
    ];
    assert_message(
        &run.send("POST", PATH, &navigation, body("ada")),
        403,
        "Forbidden",
    );
    assert_eq!(run.list("").body, "[]");

    // Requests from programs, from the service's own page, and from a browser when a person types
    // the address or follows a link.
    let admitted: &[&[(&str, &str)]] = &[
        &[],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-site"), ("origin", &page)],
        &[("origin", &page)],
    ];
    for headers in admitted {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        assert_eq!(run.send("GET", PATH, &headers, "").status, 200);
        assert_eq!(run.send("POST", PATH, &headers, body("ada")).status, 415);
    }
    assert_eq!(run.send("GET", PATH, &navigation[..2], "").status, 200);
    run.stop();
}

#[test]
fn a_request_that_needs_no_cors_preflight_cannot_create_a_user() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    // A page can send requests with these media types to another origin, and the browser sends no
    // preflight before them. In an older browser, no header of such a request reveals the page's
    // origin.
    for media_type in [
        "",
        "text/plain",
        "text/plain;charset=UTF-8",
        "text/plain;application/json",
        "text/plain; a=application/json",
        "text/plain, application/json",
        "text/plain;a=, application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
    ] {
        let header = ("content-type", media_type.as_bytes());
        let answer = run.send("POST", PATH, &[header], body("ada"));
        contract::check("post", &answer);
        assert_eq!(answer.status, 415, "{media_type}");
    }
    assert_eq!(run.send("POST", PATH, &[], body("ada")).status, 415);
    // The gateway joins the two values into one, which is not a JSON media type.
    let text: (&str, &[u8]) = ("content-type", b"text/plain");
    for headers in [[text, JSON], [JSON, text]] {
        assert_eq!(run.send("POST", PATH, &headers, body("ada")).status, 415);
    }
    assert_eq!(run.list("").body, "[]");
    run.stop();
}

#[test]
fn only_the_page_gets_the_cors_headers_of_the_template() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let page = run.page_origin().to_owned();
    let preflight = ("access-control-request-method", "POST");

    let answer = run.cors("GET", &[("origin", &page)]);
    let of_answers = headers(&[
        ("access-control-allow-origin", &page),
        (
            "access-control-expose-headers",
            "etag,idempotent-replayed,link,retry-after",
        ),
        ("vary", "origin"),
    ]);
    assert_eq!(answer, (200, of_answers.clone()));
    // The page must be able to read error responses too.
    assert_eq!(run.cors("POST", &[("origin", &page)]), (415, of_answers));
    let of_preflights = headers(&[
        ("access-control-allow-origin", &page),
        ("access-control-allow-methods", "GET,POST"),
        (
            "access-control-allow-headers",
            "authorization,content-type,idempotency-key,if-none-match",
        ),
        ("access-control-max-age", "3600"),
        ("vary", "origin"),
    ]);
    let answer = run.cors("OPTIONS", &[("origin", &page), preflight]);
    assert_eq!(answer, (204, of_preflights));

    let port = page.rsplit(':').next().unwrap();
    for other in [
        format!("http://127.0.0.1:{}", run.port()),
        format!("http://localhost:{port}"),
        format!("https://127.0.0.1:{port}"),
        format!("{page}/"),
        format!("{page}0"),
        page.to_uppercase(),
        "null".to_owned(),
        "*".to_owned(),
        String::new(),
    ] {
        let origin = ("origin", &*other);
        assert_eq!(run.cors("GET", &[origin]), (403, headers(&[])), "{other}");
        assert_eq!(run.cors("POST", &[origin]), (403, headers(&[])), "{other}");
        let answer = run.cors("OPTIONS", &[origin, preflight]);
        assert_eq!(answer, (204, headers(&[])), "{other}");
    }
    run.stop();
}

#[test]
fn a_client_header_is_never_mistaken_for_a_header_of_the_lambda_runtime() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    for (name, value) in [
        ("lambda-runtime-client-context", &b"{}"[..]),
        ("lambda-runtime-client-context", &[b'a'; 4000]),
        ("lambda-runtime-cognito-identity", b"{}"),
        ("lambda-runtime-aws-request-id", b"1"),
        ("lambda-runtime-aws-request-id", b"\xff"),
        ("lambda-runtime-deadline-ms", b"1"),
        ("lambda-runtime-trace-id", b"1"),
        ("lambda-runtime-function-response-mode", b"streaming"),
        ("x-amz-client-context", b"e30="),
        ("x-amz-invocation-type", b"Event"),
        ("x-amzn-trace-id", b"\xff"),
    ] {
        let listed = run.send("GET", PATH, &[(name, value)], "");
        assert_eq!((listed.status, &*listed.body), (200, "[]"), "{name}");
        let refused = run.send("POST", PATH, &[(name, value), JSON], body("no spaces"));
        contract::check("post", &refused);
        assert_eq!(refused.status, 422, "{name}");
        assert!(
            !refused.body.contains("urn:request:1\""),
            "{}",
            refused.body
        );
    }
    assert_eq!(run.create("ada").status, 201);
    run.stop();
}

#[test]
fn a_header_or_body_that_is_not_utf_8_reaches_the_functions() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    for name in ["user-agent", "x-name", "cookie", "referer"] {
        let answer = run.send("GET", PATH, &[(name, b"Beno\xeet")], "");
        contract::check("get", &answer);
        assert_eq!((answer.status, &*answer.body), (200, "[]"), "{name}");
    }
    for body in [&b"\xff"[..], b"{\"username\":\"\xe4\"}", b"\xed\xa0\x80"] {
        let answer = run.send("POST", PATH, &[JSON], body);
        contract::check("post", &answer);
        assert_eq!(answer.status, 400, "{body:?}");
    }
    // In ISO 8859-1, the byte \xee is the letter î, which an Idempotency-Key can't contain.
    let key: (&str, &[u8]) = ("idempotency-key", b"\"\xee\"");
    let answer = run.send("POST", PATH, &[JSON, key], body("ada"));
    contract::check("post", &answer);
    assert_eq!(answer.status, 400);
    run.stop();
}

#[test]
fn all_values_of_a_repeated_header_reach_the_functions() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let page = run.list("");
    let tag = page.header("etag").unwrap().as_bytes();
    let other: (&str, &[u8]) = ("if-none-match", b"\"other\"");
    let same = ("if-none-match", tag);
    assert_eq!(run.send("GET", PATH, &[other], "").status, 200);
    for headers in [[other, same], [same, other]] {
        let answer = run.send("GET", PATH, &headers, "");
        assert_eq!((answer.status, &*answer.body), (304, ""));
    }
    run.stop();
}

#[test]
fn an_oversized_body_gets_413_and_a_malformed_chunked_body_gets_400() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let octets: (&str, &[u8]) = ("content-type", b"application/octet-stream");
    for length in [100_000, 5_900_000] {
        let answer = run.send("POST", PATH, &[JSON], "a".repeat(length));
        contract::check("post", &answer);
        assert_eq!(answer.status, 413);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
    // Lambda accepts events of at most 6 MB. The event contains a binary body in base64, so a
    // binary body of 5.9 MB is too long.
    for (header, length) in [(JSON, 6_300_000), (JSON, 11_000_000), (octets, 5_900_000)] {
        let answer = run.send("POST", PATH, &[header], "a".repeat(length));
        assert_message(&answer, 413, "Request Entity Too Large");
    }
    let answer = run.send("POST", INVOKE, &[], "a".repeat(6_300_000));
    assert_eq!(
        (answer.status, &answer.json()["errorType"]),
        (413, &json!("RequestTooLarge"))
    );
    for path in [PATH, INVOKE] {
        let port = run.port();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\n");
        let body = "Transfer-Encoding: chunked\r\n\r\nno length\r\n";
        write!(stream, "{head}{body}").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400", "{path}");
    }
    assert_eq!(run.create("ada").status, 201);
    run.stop();
}

#[test]
fn only_loopback_names_of_this_machine_reach_the_service_and_the_page() {
    let _alone = alone();
    let data = temporary_folder();
    let run = LocalRun::start(data.path());
    let client = local::http::client(Duration::from_secs(60));
    let mut names = vec!["127.0.0.1", "localhost", "LOCALHOST", "LocalHost"];
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if has_ipv6 {
        names.push("[::1]");
    }
    let page_port = run.page_origin().rsplit(':').next().unwrap();
    for name in names {
        let url = format!("http://{name}:{}/api/users", run.port());
        let mut answer = client.get(&url).call().unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        assert_eq!(answer.body_mut().read_to_string().unwrap(), "[]");
        // The page's own origin has the name 127.0.0.1. For any other name of this machine, the
        // page's server redirects to this origin, and the HTTP client follows the redirect.
        let url = format!("http://{name}:{page_port}/");
        let mut answer = client.get(&url).call().unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        let page = answer.body_mut().read_to_string().unwrap();
        assert!(page.contains("<title>Users</title>"), "{page}");
    }
    for port in [run.port().to_string(), page_port.to_owned()] {
        let address = format!("127.0.0.1:{port}");
        for host in [
            "Host: rebound.example".to_owned(),
            format!("Host: rebound.example:{port}"),
            format!("Host: 127.0.0.1.rebound.example:{port}"),
            "Host: 127.0.0.1".to_owned(),
            "Host: localhost".to_owned(),
            "X: without a host".to_owned(),
        ] {
            let mut stream = TcpStream::connect(&address).unwrap();
            write!(stream, "GET /api/users HTTP/1.0\r\n{host}\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.0 421 "), "{host}: {answer}");
        }
    }
    run.stop();
}
