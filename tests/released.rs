//! The functions' binaries as they are deployed.

use std::{collections::BTreeSet, fs};

use tests::workspace::{functions, released};

#[test]
fn no_banned_crate_is_in_a_released_binary() {
    for function in functions() {
        let binary = fs::read(released(&function)).unwrap();
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
fn a_bare_cargo_lambda_build_yields_exactly_the_functions() {
    let functions = functions();
    let binary = released(functions.first().unwrap());
    let folder = binary
        .parent()
        .and_then(|function| function.parent())
        .unwrap();
    let built = fs::read_dir(folder).unwrap();
    let built: BTreeSet<String> = built
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(built, functions);
}
