//! Fuzzes the code that parses usernames. An accepted username must have the properties that
//! `check_accepted` checks. A refused text must have the fault that the error names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::user::{
    Username,
    username::{UsernameError, UsernamePrefix},
};
use unicode_normalization::{UnicodeNormalization, is_nfc};

fuzz_target!(|text: &str| {
    let answer = Username::parse(text);
    for spelling in [text.nfc().collect::<String>(), text.nfd().collect()] {
        assert_eq!(Username::parse(&spelling), answer);
        assert_eq!(
            UsernamePrefix::parse(&spelling),
            UsernamePrefix::parse(text)
        );
    }
    match answer {
        Ok(username) => check_accepted(text, &username),
        Err(error) => check_refused(text, &error),
    }
    if let Err(length) = UsernamePrefix::parse(text) {
        assert!(length > Username::MAX_CHARS);
    }
});

fn check_accepted(text: &str, username: &Username) {
    let (display, key) = (username.as_str(), username.key());
    let length = display.chars().count();
    assert!((1..=Username::MAX_CHARS).contains(&length), "{length}");
    assert!((1..=Username::MAX_KEY_BYTES).contains(&key.len()));
    assert!(is_nfc(display) && is_nfc(key));
    assert_eq!(format!("{username:?}"), "Username(…)");

    assert_eq!(Username::parse(display).as_ref(), Ok(username));
    // A client may list with the text or with the display form as the prefix. The service turns
    // both into the username's key. So both lists contain the user.
    for spelling in [text, display] {
        let prefix = UsernamePrefix::parse(spelling).expect("a username is its own prefix");
        assert_eq!(prefix.as_str(), key);
    }

    // The key is itself a valid username, except in the two cases below.
    match Username::parse(key) {
        Ok(again) => assert_eq!((again.as_str(), again.key()), (key, key)),
        // The key may be too long for a username, because the lower case of İ has two characters.
        Err(UsernameError::TooLong { .. }) => {}
        // RFC 8264's tables are for Unicode 6.3, which lacks small Cherokee letters.
        Err(UsernameError::DisallowedCharacter {
            character: Some(character),
        }) => {
            let is_cherokee =
                matches!(character, '\u{13f8}'..='\u{13fd}' | '\u{ab70}'..='\u{abbf}');
            assert!(is_cherokee, "{character:?}");
        }
        Err(error) => panic!("{error}"),
    }

    let wide: String = text.chars().map(widened).collect();
    assert_eq!(Username::parse(&wide).as_ref(), Ok(username));
    if let Ok(other) = Username::parse(&text.to_ascii_uppercase()) {
        assert_eq!(other.key(), key);
    }
}

fn check_refused(text: &str, error: &UsernameError) {
    match error {
        UsernameError::Empty => assert_eq!(text, ""),
        UsernameError::TooLong { length } => assert!(*length > Username::MAX_CHARS),
        UsernameError::DisallowedCharacter {
            character: Some(it),
        }
        | UsernameError::LeadingMark { mark: it } => {
            // The error names a character of the text, of its NFC form or of its NFKC form. If the
            // character is half-width, such as U+FFA1, the error may also name the ordinary form,
            // U+3131, which none of the three contains. So if the text has half-width characters, this check
            // accepts any character.
            let mut characters = text.chars().chain(text.nfc()).chain(text.nfkc());
            let is_half_width = |character| ('\u{ff61}'..='\u{ffee}').contains(&character);
            let is_there = characters.any(|there| there == *it) || text.contains(is_half_width);
            assert!(is_there, "{it:?}");
        }
        UsernameError::DisallowedCharacter { character: None } => {
            panic!("the character is not known")
        }
        UsernameError::MixedScripts | UsernameError::Bidi => assert!(!text.is_ascii()),
    }
    assert!(!error.to_string().is_empty());
}

fn widened(character: char) -> char {
    match character {
        '!'..='~' => char::from_u32(u32::from(character) + 0xfee0).expect("a full-width form"),
        other => other,
    }
}
