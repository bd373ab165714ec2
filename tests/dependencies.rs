//! What the functions are built of: every crate costs start-up time and bytes.

use std::{collections::BTreeSet, fs};

use tests::workspace::{crates_of, read, released};

const FUNCTIONS: [&str; 2] = ["create-user", "list-users"];

/// Crates that must never come back (`openssl-probe` is none of them: it is pure Rust and only knows
/// where systems keep certificates): a second TLS implementation with a slow start, a system
/// library, and the SDK's former HTTP stack.
const BANNED: [&str; 7] = [
    "aws-lc-rs v",
    "aws-lc-sys v",
    "aws-lc-fips-sys v",
    "openssl v",
    "openssl-sys v",
    "s2n-tls v",
    "hyper v0.14",
];

#[test]
fn no_banned_crate_is_in_a_function() {
    for function in FUNCTIONS {
        let crates = crates_of(function);
        for present in [
            "aws-sdk-dynamodb v1",
            "lambda_http v1",
            "ring v0.17",
            "hyper v1",
        ] {
            let is_there = crates.iter().any(|line| line.starts_with(present));
            assert!(is_there, "{function} has {present}");
        }
        for banned in BANNED {
            let found = crates.iter().find(|line| line.starts_with(banned));
            assert_eq!(found, None, "in {function}");
        }
    }
}

#[test]
fn no_banned_crate_is_in_a_released_binary() {
    for function in FUNCTIONS {
        let binary = fs::read(released(function)).unwrap();
        let contains = |needle: &str| {
            binary
                .windows(needle.len())
                .any(|it| it == needle.as_bytes())
        };
        // Panics name the source files that they come from, and so the crates.
        for present in ["/hyper-1.", "/rustls-0.23", "/aws-sdk-dynamodb-1."] {
            assert!(contains(present), "{function} has {present}");
        }
        for banned in [
            "/aws-lc-",
            "/openssl-0",
            "/openssl-sys-",
            "/hyper-0.14",
            "/s2n-tls-",
            "/dynoxide",
            "/rusqlite",
            "AWS-LC",
            "OpenSSL 3",
            "OpenSSL 1",
        ] {
            assert!(!contains(banned), "{function} has {banned}");
        }
    }
}

#[test]
fn a_bare_cargo_lambda_build_yields_exactly_the_two_functions() {
    let folder = released(FUNCTIONS[0]);
    let folder = folder
        .parent()
        .and_then(|function| function.parent())
        .unwrap();
    let built = fs::read_dir(folder).unwrap();
    let built: BTreeSet<String> = built
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(built, BTreeSet::from(FUNCTIONS.map(ToOwned::to_owned)));
}

#[test]
fn what_is_fuzzed_is_built_of_the_same_crates() {
    let locked = |path: &str| -> BTreeSet<(String, String)> {
        let lock: toml::Table = read(path).parse().unwrap();
        let packages = lock["package"].as_array().unwrap().iter();
        let member = |package: &toml::Value, name| package[name].as_str().unwrap().to_owned();
        packages
            .map(|package| (member(package, "name"), member(package, "version")))
            .collect()
    };
    let project = locked("Cargo.lock");
    let fuzzed = locked("tests/fuzz/Cargo.lock").into_iter();
    let others: Vec<String> = fuzzed
        .filter(|package| !project.contains(package))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(others, ["arbitrary", "fuzz", "jobserver", "libfuzzer-sys"]);
}
