//! Tests of the functions' released binaries. The sizes below are budgets. `tests/budgets/main.rs`
//! says when to change a budget.

use std::{collections::BTreeSet, fs, io::Write as _};

use flate2::{Compression, write::DeflateEncoder};
use harness::workspace::{functions, released};

const BINARY_BYTES: usize = 5_260_000;
/// The limit for a compressed binary, as in the archive for Lambda.
const ARCHIVE_BYTES: usize = 2_440_000;

#[test]
fn a_functions_binary_keeps_within_its_budget() {
    for function in functions() {
        let binary = fs::read(released(&function)).unwrap();
        assert!(binary.len() <= BINARY_BYTES, "{function}: {}", binary.len());
        let mut archive = DeflateEncoder::new(Vec::new(), Compression::default());
        archive.write_all(&binary).unwrap();
        let bytes = archive.finish().unwrap().len();
        assert!(bytes <= ARCHIVE_BYTES, "{function}: {bytes}");
    }
}

#[test]
fn no_banned_crate_is_in_a_released_binary() {
    for function in functions() {
        let binary = fs::read(released(&function)).unwrap();
        let contains = |needle: &str| {
            binary
                .windows(needle.len())
                .any(|it| it == needle.as_bytes())
        };
        // A binary's panic messages contain source paths with the names of crates. The first loop
        // tests the search: it must find crates that are in every binary.
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
