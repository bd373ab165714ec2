//! Fuzzes the encoding of cursors. The first line of each input is the prefix of the usernames to
//! list. The target uses the rest of the input twice: it decodes the rest as a cursor, and it
//! encodes the rest as a username's key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use list_users::cursor::{MAX_CHARS, decode, encode};
use shared::user::{Username, username::UsernamePrefix};

fuzz_target!(|text: &str| {
    let (prefix, text) = text.split_once('\n').unwrap_or(("", text));
    let Ok(prefix) = UsernamePrefix::parse(prefix) else {
        return;
    };

    if let Ok(key) = decode(text, &prefix) {
        check_key(&key, &prefix);
        assert_eq!(encode(&prefix, &key), text);
    }

    let made = encode(&prefix, text);
    if decode(&made, &prefix).is_ok_and(|key| key == text) {
        check_key(text, &prefix);
        assert!(made.len() <= MAX_CHARS);
        assert!(decode(&damaged(&made), &prefix).is_err(), "{made}");
    } else {
        let is_key = (1..=Username::MAX_KEY_BYTES).contains(&text.len());
        assert!(!is_key || !text.starts_with(prefix.as_str()), "{made}");
    }
});

fn check_key(key: &str, prefix: &UsernamePrefix) {
    assert!((1..=Username::MAX_KEY_BYTES).contains(&key.len()));
    assert!(key.starts_with(prefix.as_str()));
}

/// Replaces one character. The sum of the cursor's bytes selects the position and the replacement.
fn damaged(cursor: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = cursor.as_bytes().to_vec();
    let sum: usize = bytes.iter().copied().map(usize::from).sum();
    let at = sum % bytes.len();
    let value = ALPHABET.iter().position(|byte| *byte == bytes[at]);
    let value = value.expect("a cursor is base64url");
    bytes[at] = ALPHABET[(value + 1 + sum % 63) % 64];
    String::from_utf8(bytes).expect("base64url is ASCII")
}
