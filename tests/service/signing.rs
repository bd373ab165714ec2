//! Tests that requests to the table have the signatures that AWS's own library would make.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use harness::{
    Event,
    runtime_api::{Sandbox, environment},
};
use proptest::prelude::*;
use shared::signing::{Signable, Signature, Signer};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
};

/// The functions' timeout in `template.yaml`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The start of the year 2100, in seconds since 1970.
const FUTURE: u64 = 4_102_444_800;

fn signed_by_aws(
    region: &str,
    request: Signable<'_>,
    credentials: &Credentials,
    time: SystemTime,
) -> Signature {
    let identity = credentials.clone().into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("dynamodb")
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let url = format!("https://{}/", request.host);
    let body = SignableBody::Bytes(request.body);
    let headers = request.headers.iter().copied();
    let request = SignableRequest::new("POST", url, headers, body).unwrap();
    let (signed, _) = sign(request, &parameters).unwrap().into_parts();
    let header = |name| {
        let mut headers = signed.headers();
        let (_, value) = headers.find(|(found, _)| *found == name).unwrap();
        value.to_owned()
    };
    Signature {
        date: header("x-amz-date"),
        authorization: header("authorization"),
    }
}

fn credentials() -> impl Strategy<Value = Credentials> {
    let token = proptest::option::of("[A-Za-z0-9+/=]{1,500}");
    ("[A-Z0-9]{16,20}", "[A-Za-z0-9+/]{1,100}", token)
        .prop_map(|(id, secret, token)| Credentials::new(id, secret, token, None, "test"))
}

/// Hosts with and without a port, but never with the default port 443. AWS's library would sign
/// the host without this port, but our client signs the host exactly as in the endpoint's URL.
fn host() -> impl Strategy<Value = String> {
    let host = "[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,3}(:[1-9][0-9]{0,3})?";
    host.prop_filter("the default port", |host| !host.ends_with(":443"))
}

proptest! {
    /// One signer signs several requests with different days and secrets, so the test fails if the
    /// signer uses an old signing key.
    #[test]
    fn every_signature_matches_that_of_the_aws_library(
        region in "[a-z]{2}-[a-z]{4,9}-[1-9]",
        host in host(),
        agent in "[a-z0-9/.]{1,40}( {1,3}[a-z0-9/.]{1,20}){0,3} {0,2}",
        calls in proptest::collection::vec((credentials(), 0..FUTURE, ".{0,500}"), 1..5),
    ) {
        let signer = Signer::new(region.clone());
        let calls = calls.iter().flat_map(|call| [call, call]).chain(&calls);
        for (credentials, seconds, body) in calls {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds);
            let request = Signable {
                host: &host,
                headers: &[
                    ("x-amz-target", "DynamoDB_20120810.PutItem"),
                    ("content-type", "application/x-amz-json-1.0"),
                    ("x-amz-user-agent", agent.as_str()),
                ],
                body: body.as_bytes(),
            };
            let signature = signer.sign(request, credentials, time);
            prop_assert_eq!(signature, signed_by_aws(&region, request, credentials, time));
        }
    }
}

#[tokio::test]
async fn the_signature_of_a_request_matches_the_headers_and_body_that_are_sent() {
    for (function, token) in [
        ("create-user", None),
        ("list-users", Some("a session's token")),
    ] {
        let table = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = table.local_addr().unwrap().to_string();
        let url = format!("http://{host}");
        let mut variables = environment(&url).to_vec();
        variables.extend(token.map(|token| ("AWS_SESSION_TOKEN", token)));
        let binary = harness::workspace::binary_of(function);
        let sandbox = Sandbox::start(&binary, &variables).await;

        // Reads the warm-up's request.
        let (stream, _) = table.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        assert_eq!(lines[0], "POST / HTTP/1.1", "{function}");
        let headers: HashMap<&str, &str> = lines[1..]
            .iter()
            .map(|line| line.split_once(": ").unwrap())
            .collect();
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();

        assert_eq!(headers["host"], host, "{function}");
        assert_eq!(headers.get("x-amz-security-token").copied(), token);
        let variable = |name| {
            let mut variables = variables.iter();
            variables.find(|(found, _)| *found == name).unwrap().1
        };
        let credentials = Credentials::new(
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
            token.map(ToOwned::to_owned),
            None,
            "test",
        );
        // AWS requires that the signature covers every header `X-Amz-…`. `signed_by_aws` itself
        // adds the headers with the date and the token.
        let is_signed = |name: &str| {
            name == "content-type"
                || name.starts_with("x-amz-")
                    && name != "x-amz-date"
                    && name != "x-amz-security-token"
        };
        let signed: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, *value))
            .filter(|(name, _)| is_signed(name))
            .collect();
        let request = Signable {
            host: &host,
            headers: &signed,
            body: &body,
        };
        let time = time_of(headers["x-amz-date"]);
        assert!(time.elapsed().unwrap() < Duration::from_secs(60));
        let signature = signed_by_aws("eu-central-1", request, &credentials, time);
        assert_eq!(headers["authorization"], signature.authorization);
        drop(stream);
        sandbox.stop_with_output().await;
    }
}

#[tokio::test]
async fn a_credential_that_is_invalid_in_a_header_gets_500_and_the_cause_is_logged() {
    for variable in ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"] {
        let mut variables = environment("http://127.0.0.1:1").to_vec();
        variables.retain(|(name, _)| *name != variable);
        variables.push((variable, "two\nlines"));
        let binary = harness::workspace::binary_of("create-user");
        let mut sandbox = Sandbox::start(&binary, &variables).await;
        let reply = sandbox.invoke(Event::create_user("ada"), TIMEOUT).await;
        assert_eq!(reply.into_answer().status, 500, "{variable}");
        let lines = sandbox.stop().await;
        let cause = lines.last().and_then(|line| line["cause"].as_str());
        let cause = cause.expect("a cause");
        assert!(cause.contains("header value"), "{variable}: {cause}");
        assert!(!cause.contains("two"), "{variable}: {cause}");
    }
}

/// Parses a time such as `20261127T193059Z`.
fn time_of(date: &str) -> SystemTime {
    let (day, time) = date.trim_end_matches('Z').split_once('T').unwrap();
    let date = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &day[..4],
        &day[4..6],
        &day[6..],
        &time[..2],
        &time[2..4],
        &time[4..],
    );
    humantime::parse_rfc3339(&date).unwrap()
}
