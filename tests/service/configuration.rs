//! Tests of the environment variables that the functions read when they start.

use std::{fs, path::Path, process::ExitStatus, time::Duration};

use harness::{
    Event,
    runtime_api::{Reply, Sandbox},
    service::unreachable,
    workspace::{binary_of, functions},
};
use serde_json::Value;

use crate::contract;

/// A complete environment: both functions start with these variables.
const COMPLETE: [(&str, &str); 5] = [
    ("TABLE_NAME", "users"),
    ("LIST_MAX_AGE_SECONDS", "0"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
];

/// The variables in [`COMPLETE`] that Lambda itself sets.
const LAMBDAS_OWN: [&str; 3] = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

#[tokio::test]
async fn the_template_sets_exactly_the_variables_that_the_functions_read() {
    for function in contract::functions() {
        let binary = &function["Metadata"]["BuildProperties"]["Binary"];
        let binary = binary_of(binary.as_str().expect("a name"));
        let variables = function["Properties"]["Environment"]["Variables"].as_object();
        let variables = variables.expect("variables");
        let is_set = |name: &str| LAMBDAS_OWN.contains(&name) || variables.contains_key(name);
        let environment: Vec<_> = COMPLETE
            .into_iter()
            .filter(|(name, _)| is_set(name))
            .collect();

        // The function calls this address instead of AWS. Nothing listens at this address.
        let (_socket, nowhere) = unreachable();
        let mut complete = environment.clone();
        complete.push(("AWS_ENDPOINT_URL_DYNAMODB", &nowhere));
        let mut sandbox = Sandbox::start(&binary, &complete).await;
        let event = Event::list("no=parameter");
        let reply = sandbox.invoke(event, Duration::from_secs(10)).await;
        assert!(matches!(reply, Reply::Response(_)), "{reply:?}");
        sandbox.stop().await;
        for variable in variables.keys() {
            let rest = environment.iter().filter(|(name, _)| name != variable);
            let rest: Vec<_> = rest.copied().collect();
            let message = format!("{variable} is not set; set it in the function's environment");
            assert_refused(&binary, &rest, &message).await;
        }
    }
}

#[tokio::test]
async fn a_missing_lambda_variable_ends_the_process_with_one_line_that_names_it() {
    for function in functions() {
        for missing in LAMBDAS_OWN {
            let rest = COMPLETE.into_iter().filter(|(name, _)| *name != missing);
            let rest: Vec<(&str, &str)> = rest.collect();
            let message = format!("{missing} is not set; set it in the function's environment");
            assert_refused(&binary_of(&function), &rest, &message).await;
        }
    }
}

#[tokio::test]
async fn an_invalid_variable_ends_the_process_with_one_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let no_certificates = folder.path().join("empty.pem");
    fs::write(&no_certificates, "no certificates").unwrap();
    let no_certificates = no_certificates.to_str().unwrap();
    let garbage_certificate = folder.path().join("garbage.pem");
    let garbage = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";
    fs::write(&garbage_certificate, garbage).unwrap();
    let garbage_certificate = garbage_certificate.to_str().unwrap();
    let missing = folder.path().join("missing.pem");
    let unreadable = fs::read(&missing).unwrap_err();
    let unreadable = &*format!("names a file that can't be read: {unreadable}");
    let missing = missing.to_str().unwrap();

    let table_name = "is not a table name: 3 to 255 letters, digits, `_`, `-` or `.`";
    let seconds = "is not a whole number of seconds from 0 to 86400";
    let url = "must be an http or https URL that has no path, query or user";
    for (function, variable, value, problem) in [
        ("create-user", "TABLE_NAME", "us", table_name),
        ("list-users", "TABLE_NAME", "our users", table_name),
        ("create-user", "TABLE_NAME", "", "is empty"),
        ("list-users", "LIST_MAX_AGE_SECONDS", "-1", seconds),
        ("list-users", "LIST_MAX_AGE_SECONDS", "1.5", seconds),
        ("list-users", "LIST_MAX_AGE_SECONDS", "1 h", seconds),
        ("list-users", "LIST_MAX_AGE_SECONDS", "86401", seconds),
        ("create-user", "AWS_ENDPOINT_URL_DYNAMODB", "localhost", url),
        (
            "list-users",
            "AWS_ENDPOINT_URL_DYNAMODB",
            "ftp://localhost",
            url,
        ),
        ("list-users", "AWS_ENDPOINT_URL", "http://", url),
        (
            "create-user",
            "AWS_ENDPOINT_URL",
            "https://proxy.example/dynamodb",
            url,
        ),
        (
            "list-users",
            "AWS_ENDPOINT_URL",
            "https://name@proxy.example",
            url,
        ),
        ("create-user", "AWS_CA_BUNDLE", missing, unreadable),
        (
            "create-user",
            "AWS_CA_BUNDLE",
            garbage_certificate,
            "names a file without a certificate, or with an invalid one",
        ),
        (
            "create-user",
            "AWS_REGION",
            "eu central",
            "is not the name of a region, such as eu-central-1",
        ),
        (
            "list-users",
            "AWS_CA_BUNDLE",
            no_certificates,
            "names a file without a certificate, or with an invalid one",
        ),
    ] {
        let mut environment = COMPLETE.to_vec();
        environment.retain(|(name, _)| *name != variable);
        environment.push((variable, value));
        let message = format!("{variable} {problem}; set it in the function's environment");
        assert_refused(&binary_of(function), &environment, &message).await;
    }
}

async fn assert_refused(binary: &Path, environment: &[(&str, &str)], message: &str) {
    let sandbox = Sandbox::start(binary, environment).await;
    let (status, output): (ExitStatus, String) = sandbox.ended().await;
    assert_eq!(status.code(), Some(1), "{message}");
    assert_eq!(output.lines().count(), 1, "{output}");
    let line: Value = serde_json::from_str(&output).expect("the line is JSON");
    assert_eq!(line["message"], message);
    assert_eq!(line["level"], "FATAL");
    assert_eq!(line.as_object().unwrap().len(), 3, "{line}");
}
