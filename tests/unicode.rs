//! Usernames over all of Unicode, held against ICU4X: other code, and tables of its own.
//!
//! The promise is that no two users exist that RFC 8265 calls equal. What the RFC compares is one
//! form of a text; here it is made without the functions' code. Each accepted text's key must be
//! that form with σ for ς. So the key hangs on nothing else, and texts of one form have one key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::LazyLock,
};

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::{
    CodePointMapData,
    props::{EastAsianWidth, GeneralCategory, HangulSyllableType, Script},
};
use proptest::prelude::*;
use shared::user::{Username, username::UsernameError};
use tests::workspace::source_of;

use crate::usernames::any_text;

/// All Unicode scalar values.
const SCALAR_VALUES: usize = 0x11_0000 - 0x800;

/// The full-width or half-width form of each character that has one.
static WIDE: LazyLock<BTreeMap<char, char>> = LazyLock::new(|| {
    let forms = ('\u{ff01}'..='\u{ffee}').filter_map(|wide| {
        let narrow = narrow(&wide.to_string());
        let mut narrow = narrow.chars();
        let form = (narrow.next()?, wide);
        narrow.next().is_none().then_some(form)
    });
    forms.collect()
});

fn composed(text: &str) -> String {
    let normalizer = ComposingNormalizerBorrowed::new_nfc();
    normalizer.normalize(text).into_owned()
}

fn decomposed(text: &str) -> String {
    let normalizer = DecomposingNormalizerBorrowed::new_nfd();
    normalizer.normalize(text).into_owned()
}

/// Full-width and half-width characters become what they are compatible with, and no others do.
fn narrow(text: &str) -> String {
    let widths = CodePointMapData::<EastAsianWidth>::new();
    let compatible = ComposingNormalizerBorrowed::new_nfkc();
    let mut narrow = String::new();
    for c in text.chars() {
        match widths.get(c) {
            EastAsianWidth::Fullwidth | EastAsianWidth::Halfwidth => {
                narrow += &compatible.normalize(c.encode_utf8(&mut [0; 4]));
            }
            _ => narrow.push(c),
        }
    }
    narrow
}

/// Unicode's `toLowerCase()`, the rule of final sigma included.
fn lower(text: &str) -> String {
    let no_language = "und".parse().expect("a language");
    let mapper = CaseMapper::new();
    mapper.lowercase_to_string(text, &no_language).into_owned()
}

/// Unicode's `toUpperCase()`.
fn upper(text: &str) -> String {
    let no_language = "und".parse().expect("a language");
    let mapper = CaseMapper::new();
    mapper.uppercase_to_string(text, &no_language).into_owned()
}

/// The first character in title case, the rest in lower case.
fn title(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|c| CaseMapper::new().simple_titlecase(c));
    first.into_iter().collect::<String>() + &lower(rest.as_str())
}

/// The form by which RFC 8265 compares usernames: `UsernameCaseMapped`, §3.3.2.
fn rfc_form(text: &str) -> String {
    composed(&lower(&narrow(text)))
}

/// In Unicode 6.3, which RFC 8264's tables are made of, Cherokee has no small letters: its keys are
/// no usernames.
fn is_cherokee(c: char) -> bool {
    ('\u{13a0}'..='\u{13ff}').contains(&c)
}

/// What RFC 8264 refuses (§9.9, §9.17), though not what it composes to: the parts of Korean syllables, and
/// characters that no composed text has, such as U+212B, which is Å by now.
fn is_refused_for_its_spelling(c: char) -> bool {
    let syllable_types = CodePointMapData::<HangulSyllableType>::new();
    let is_part = matches!(
        syllable_types.get(c),
        HangulSyllableType::LeadingJamo
            | HangulSyllableType::VowelJamo
            | HangulSyllableType::TrailingJamo
    );
    is_part || composed(c.encode_utf8(&mut [0; 4])) != c.to_string()
}

/// Parses a text and, if it is a username, checks all that is known of it without the functions'
/// code.
fn parse_and_check(text: &str) -> Option<Username> {
    let username = Username::parse(text).ok()?;
    let display = composed(&narrow(text));
    assert_eq!(username.as_str(), display, "{text:?}");
    let key = rfc_form(text).replace('ς', "σ");
    assert_eq!(username.key(), key, "{text:?}");
    if display != text {
        assert_eq!(rfc_form(&display), rfc_form(text), "{text:?}");
    }
    Some(username)
}

/// Other spellings of a username, which RFC 8265 calls equal to it.
fn spellings(username: &str) -> Vec<String> {
    let widen = |c: char| WIDE.get(&c).copied().unwrap_or(c);
    let decomposed = decomposed(username);
    let mut spellings = vec![
        username.chars().map(widen).collect(),
        decomposed.chars().map(widen).collect(),
        decomposed,
        lower(username),
        username.to_lowercase(),
    ];
    for spelling in &spellings {
        assert_eq!(rfc_form(spelling), rfc_form(username), "{spelling:?}");
    }
    // Lower case leads back from most of upper and title case, but not from the `SS` of `ß`.
    let capitals = [upper(username), title(username)];
    let leads_back = |it: &String| rfc_form(it) == rfc_form(username);
    spellings.extend(capitals.into_iter().filter(leads_back));
    spellings.retain(|it| it != username);
    spellings
}

/// For each script its first character that is a username by itself.
fn letters() -> BTreeMap<Script, char> {
    let scripts = CodePointMapData::<Script>::new();
    let categories = CodePointMapData::<GeneralCategory>::new();
    let mut letters = BTreeMap::new();
    for c in '\0'..=char::MAX {
        let is_letter = matches!(
            categories.get(c),
            GeneralCategory::UppercaseLetter
                | GeneralCategory::LowercaseLetter
                | GeneralCategory::OtherLetter
        );
        if is_letter
            && !letters.contains_key(&scripts.get(c))
            && Username::parse(&c.to_string()).is_ok()
        {
            letters.insert(scripts.get(c), c);
        }
    }
    letters
}

#[test]
fn every_key_over_all_of_unicode_is_the_form_that_rfc_8265_compares() {
    let scripts = CodePointMapData::<Script>::new();
    let letters = letters();
    let (mut walked, mut accepted, mut respelled) = (0, 0, 0);
    let mut alone = 0;
    for c in '\0'..=char::MAX {
        let script = scripts.get(c);
        let letter = letters.get(&script).copied().unwrap_or('a');
        let mut texts = vec![
            String::from(c),
            String::from_iter([letter, c]),
            String::from_iter([c, letter]),
            String::from_iter([c, c]),
        ];
        // Around a sigma, whose lower case hangs on its neighbours.
        if [Script::Greek, Script::Common, Script::Inherited].contains(&script) {
            texts.extend([
                String::from_iter(['Α', c, 'Σ']),
                String::from_iter(['Α', 'Σ', c]),
                String::from_iter(['Α', 'Σ', c, 'Α']),
            ]);
        }
        for text in texts {
            walked += 1;
            let Some(username) = parse_and_check(&text) else {
                continue;
            };
            accepted += 1;
            alone += usize::from(text.len() == c.len_utf8());
            for spelling in spellings(username.as_str()) {
                if let Some(respelling) = parse_and_check(&spelling) {
                    respelled += 1;
                    assert_eq!(respelling.key(), username.key(), "{text:?}, {spelling:?}");
                }
            }
            match Username::parse(username.key()) {
                Ok(key) => assert_eq!((key.as_str(), key.key()), (username.key(), username.key())),
                Err(error) => assert!(text.contains(is_cherokee), "{text:?}: {error}"),
            }
        }
    }
    println!(
        "{walked} texts, {accepted} usernames, {alone} of one character, {respelled} respelled"
    );
    assert!(walked > 4 * SCALAR_VALUES, "{walked}");
    assert!(alone > 95_000, "{alone}");
    assert!(accepted > 390_000, "{accepted}");
    assert!(respelled > 40_000, "{respelled}");
}

#[test]
fn all_canonical_equivalents_of_the_normalisation_test_suite_have_one_key() {
    let suite = source_of("icu_normalizer").join("tests/data/NormalizationTest.txt");
    let suite = fs::read_to_string(suite).unwrap();
    let scripts = CodePointMapData::<Script>::new();
    let letters = letters();
    let (mut lines, mut accepted, mut pairs, mut refused) = (0, 0, 0, 0);
    for line in suite.lines().filter(|line| !line.starts_with(['#', '@'])) {
        lines += 1;
        let columns: Vec<String> = line.split(';').take(5).map(text_of).collect();
        let [source, nfc, nfd, nfkc, nfkd] = &columns[..] else {
            panic!("five columns: {line}");
        };
        // Many are marks, which rather stand behind a letter.
        let script = source
            .chars()
            .map(|c| scripts.get(c))
            .find(|it| letters.contains_key(it));
        let letter = script.map_or('a', |script| letters[&script]);
        for equivalents in [&[source, nfc, nfd][..], &[nfkc, nfkd]] {
            for prefix in [String::new(), letter.to_string()] {
                let texts = equivalents.iter().map(|text| format!("{prefix}{text}"));
                let texts: BTreeSet<String> = texts.collect();
                let usernames = texts.iter().filter_map(|text| parse_and_check(text));
                let usernames: Vec<Username> = usernames.collect();
                accepted += usernames.len();
                for text in texts.iter().filter(|_| !usernames.is_empty()) {
                    if let Err(error) = Username::parse(text) {
                        refused += 1;
                        let mut culprits = text.chars().filter(|c| is_refused_for_its_spelling(*c));
                        let explains = |c: char| {
                            let code_point = c.into();
                            error == UsernameError::DisallowedCharacter { code_point }
                        };
                        assert!(culprits.any(explains), "{text:?}: {error}");
                    }
                }
                for pair in usernames.windows(2) {
                    pairs += 1;
                    // The display form is composed too.
                    assert_eq!(pair[0], pair[1], "{line}");
                }
            }
        }
    }
    println!(
        "{lines} lines, {accepted} usernames, {pairs} pairs of equals, {refused} refused whose \
         equal is a username"
    );
    assert!(lines > 20_000, "{lines}");
    assert!(accepted > 65_000, "{accepted}");
    assert!(pairs > 6_000, "{pairs}");
    // Four for each of the 11,172 Korean syllables.
    assert_eq!(refused, 47_333);
}

/// The text of a column: its code points in hexadecimal digits.
fn text_of(column: &str) -> String {
    let code_points = column.split(' ');
    let code_points = code_points.map(|digits| u32::from_str_radix(digits, 16).unwrap());
    code_points.map(|it| char::from_u32(it).unwrap()).collect()
}

#[test]
fn no_key_moves_with_the_tables_of_a_newer_toolchain_or_crate() {
    // A key that is stored must be what is looked for ever after. A change of this sum needs a
    // migration of the table, or must be shown to move no key.
    let mut keys = crc32fast::Hasher::new();
    for c in '\0'..=char::MAX {
        // A mark needs something before it.
        for username in [c.to_string(), format!("1{c}")]
            .iter()
            .flat_map(|it| Username::parse(it))
        {
            keys.update(username.as_str().as_bytes());
            keys.update(&[0xff]);
            keys.update(username.key().as_bytes());
            keys.update(&[0xff]);
        }
    }
    assert_eq!(keys.finalize(), 763_125_575);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_key_of_any_text_is_the_form_that_rfc_8265_compares(text in any_text()) {
        if let Some(username) = parse_and_check(&text) {
            for spelling in spellings(&text) {
                if let Some(respelling) = parse_and_check(&spelling) {
                    prop_assert_eq!(respelling.key(), username.key());
                }
            }
        }
    }
}
