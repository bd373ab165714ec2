//! Tests of usernames with all characters of Unicode. The expected results come from ICU4X, whose
//! code and tables the functions do not use.
//!
//! The tests check two promises:
//!
//! - No two users have usernames that RFC 8265 treats as equal.
//! - Canonically equivalent texts are the same username, or are all refused for the same reason.
//!
//! To check the first promise, this file computes the expected key of each username in three steps:
//! it spells out special letters, converts the result to the form that the RFC compares, and
//! replaces ς with σ.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::LazyLock,
};

use harness::workspace::source_of;
use icu_casemap::CaseMapper;
use icu_locale_core::LanguageIdentifier;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{
        CanonicalCombiningClass, DefaultIgnorableCodePoint, EastAsianWidth, GeneralCategory,
        HangulSyllableType, Script,
    },
};
use proptest::prelude::*;
use shared::user::{Username, username::UsernamePrefix};

use crate::rules::any_text;

const SCALAR_VALUES: usize = 0x11_0000 - 0x800;

/// The tone marks of Thai and Lao.
const TONE_MARKS: [char; 8] = [
    '\u{e48}', '\u{e49}', '\u{e4a}', '\u{e4b}', '\u{ec8}', '\u{ec9}', '\u{eca}', '\u{ecb}',
];

/// Maps characters to their full-width or half-width forms.
static WIDTH_FORMS: LazyLock<BTreeMap<char, char>> = LazyLock::new(|| {
    let forms = ('\u{ff01}'..='\u{ffee}').filter_map(|wide| {
        let ordinary = ordinary_width(&wide.to_string());
        let mut ordinary = ordinary.chars();
        let form = (ordinary.next()?, wide);
        ordinary.next().is_none().then_some(form)
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

fn ordinary_width(text: &str) -> String {
    let widths = CodePointMapData::<EastAsianWidth>::new();
    let compatible = ComposingNormalizerBorrowed::new_nfkc();
    let mut ordinary = String::new();
    for c in text.chars() {
        match widths.get(c) {
            EastAsianWidth::Fullwidth | EastAsianWidth::Halfwidth => {
                ordinary += &compatible.normalize(c.encode_utf8(&mut [0; 4]));
            }
            _ => ordinary.push(c),
        }
    }
    ordinary
}

/// Unicode's `toLowercase()`, including its rule for a final sigma.
fn lower(text: &str) -> String {
    let mapper = CaseMapper::new();
    let text = mapper.lowercase_to_string(text, &LanguageIdentifier::UNKNOWN);
    text.into_owned()
}

fn upper(text: &str) -> String {
    let mapper = CaseMapper::new();
    let text = mapper.uppercase_to_string(text, &LanguageIdentifier::UNKNOWN);
    text.into_owned()
}

fn title(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|c| CaseMapper::new().simple_titlecase(c));
    first.into_iter().collect::<String>() + &lower(rest.as_str())
}

/// The form by which RFC 8265 compares usernames (profile `UsernameCaseMapped`, §3.3.2).
fn rfc_form(text: &str) -> String {
    composed(&lower(&ordinary_width(text)))
}

/// The special letters of docs/decisions/0002-usernames.md, each with the characters that replace
/// it.
const SPECIAL_LETTERS: [(char, &str); 28] = [
    ('\u{2018}', "'"),
    ('\u{2019}', "'"),
    ('\u{132}', "IJ"),
    ('\u{133}', "ij"),
    ('\u{140}', "l·"),
    ('\u{1c4}', "DŽ"),
    ('\u{1c5}', "Dž"),
    ('\u{1c6}', "dž"),
    ('\u{1c7}', "LJ"),
    ('\u{1c8}', "Lj"),
    ('\u{1c9}', "lj"),
    ('\u{1ca}', "NJ"),
    ('\u{1cb}', "Nj"),
    ('\u{1cc}', "nj"),
    ('\u{1f1}', "DZ"),
    ('\u{1f2}', "Dz"),
    ('\u{1f3}', "dz"),
    ('\u{587}', "\u{565}\u{582}"),
    ('\u{edc}', "\u{eab}\u{e99}"),
    ('\u{edd}', "\u{eab}\u{ea1}"),
    // Thai SARA AM and Lao SARA AM each become two characters: a ring and the vowel SARA AA.
    // `spelled_out` must move this new ring before the tone marks, but must not move other rings in
    // the text. So here, a private-use character stands for the new ring. `spelled_out` moves this
    // character, and then replaces it with the ring.
    ('\u{e33}', "\u{f0e4d}\u{e32}"),
    ('\u{eb3}', "\u{f0ecd}\u{eb2}"),
    ('\u{fdf2}', "\u{627}\u{644}\u{644}\u{647}"),
    ('\u{fdf4}', "\u{645}\u{62d}\u{645}\u{62f}"),
    ('\u{fef5}', "\u{644}\u{622}"),
    ('\u{fef7}', "\u{644}\u{623}"),
    ('\u{fef9}', "\u{644}\u{625}"),
    ('\u{fefb}', "\u{644}\u{627}"),
];

fn spelled_out(text: &str) -> String {
    let is_special = |c| SPECIAL_LETTERS.iter().any(|(special, _)| *special == c);
    if !text.contains(is_special) {
        return text.to_owned();
    }
    let mut text = SPECIAL_LETTERS
        .iter()
        .fold(text.to_owned(), |text, (special, letters)| {
            text.replace(*special, letters)
        });
    // People type tone marks before SARA AM, so the tone marks are now before the new ring. This
    // loop moves the ring before the tone marks.
    for (ring, placed) in [('\u{f0e4d}', '\u{e4d}'), ('\u{f0ecd}', '\u{ecd}')] {
        while let Some(tone) = TONE_MARKS
            .into_iter()
            .find(|tone| text.contains(&format!("{tone}{ring}")))
        {
            text = text.replace(&format!("{tone}{ring}"), &format!("{ring}{tone}"));
        }
        text = text.replace(ring, &placed.to_string());
    }
    text
}

pub(crate) fn display_form(text: &str) -> String {
    composed(&spelled_out(&composed(&ordinary_width(text))))
}

/// Whether this is a Cherokee letter. The key of a username with Cherokee letters is not a valid
/// username: it has small Cherokee letters, which Unicode 6.3 (RFC 8264) lacks.
fn is_cherokee(c: char) -> bool {
    ('\u{13a0}'..='\u{13ff}').contains(&c)
}

fn parse_and_check(text: &str) -> Option<Username> {
    let username = Username::parse(text).ok()?;
    let display = display_form(text);
    assert_eq!(username.as_str(), display, "{text:?}");
    let key = rfc_form(&display).replace('ς', "σ");
    assert_eq!(username.key(), key, "{text:?}");
    // The RFC composes a text once, after lower-casing. The service also composes the text before
    // lower-casing. If the text has no special letters, this extra composition does not change the
    // form that the RFC compares.
    if display == composed(&ordinary_width(text)) {
        assert_eq!(rfc_form(&display), rfc_form(text), "{text:?}");
    }
    for c in display.chars() {
        assert!(may_be_in_an_identifier(c), "{text:?}: {c:?}");
    }
    Some(username)
}

/// Whether RFC 8264 §4.2 and §8 allow this character, either everywhere or only beside certain
/// characters. Also returns true for letters, marks and digits that are newer than Unicode 6.3,
/// which the service refuses.
fn may_be_in_an_identifier(c: char) -> bool {
    use GeneralCategory as Category;
    let syllable_types = CodePointMapData::<HangulSyllableType>::new();
    let is_part_of_a_syllable = matches!(
        syllable_types.get(c),
        HangulSyllableType::LeadingJamo
            | HangulSyllableType::VowelJamo
            | HangulSyllableType::TrailingJamo
    );
    let text = c.to_string();
    let compatible = ComposingNormalizerBorrowed::new_nfkc();
    let is_compatible = compatible.normalize(&text) != text;
    let is_letter_or_digit = matches!(
        CodePointMapData::<Category>::new().get(c),
        Category::LowercaseLetter
            | Category::UppercaseLetter
            | Category::OtherLetter
            | Category::ModifierLetter
            | Category::DecimalNumber
            | Category::NonspacingMark
            | Category::SpacingMark
    );
    match c {
        // The exceptions (§9.6), the joiners (§9.8) and visible ASCII characters (§9.11).
        '\u{df}'
        | '\u{3c2}'
        | '\u{6fd}'
        | '\u{6fe}'
        | '\u{f0b}'
        | '\u{3007}'
        | '\u{b7}'
        | '\u{375}'
        | '\u{5f3}'
        | '\u{5f4}'
        | '\u{30fb}'
        | '\u{200c}'
        | '\u{200d}'
        | '!'..='~' => true,
        '\u{640}' | '\u{7fa}' | '\u{302e}' | '\u{302f}' | '\u{303b}' | '\u{3031}'..='\u{3035}' => {
            false
        }
        _ if is_part_of_a_syllable
            || is_compatible
            || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c) =>
        {
            false
        }
        _ => is_letter_or_digit,
    }
}

/// Undoes NFC for characters that NFC replaces with one other character. For example, NFC replaces
/// the Ångström sign (U+212B) with Å (U+00C5), so this table maps Å to the Ångström sign.
static SINGLETONS: LazyLock<BTreeMap<char, char>> = LazyLock::new(|| {
    let singletons = ('\0'..=char::MAX).filter_map(|c| {
        let composed = composed(c.encode_utf8(&mut [0; 4]));
        let mut characters = composed.chars();
        let one = characters.next().filter(|one| *one != c)?;
        characters.next().is_none().then_some((one, c))
    });
    singletons.collect()
});

/// Returns texts that differ from `text` but are canonically equivalent to it.
fn equivalents(text: &str) -> Vec<String> {
    let composed_text = composed(text);
    let decomposed_text = decomposed(text);
    let singleton = |c: char| SINGLETONS.get(&c).copied().unwrap_or(c);
    let with_singletons: String = composed_text.chars().map(singleton).collect();
    let reordered = marks_reversed(&decomposed_text);
    // Most texts have no other equivalent text, so this saves the work below.
    if [
        &composed_text,
        &decomposed_text,
        &with_singletons,
        &reordered,
    ]
    .iter()
    .all(|it| *it == text)
    {
        return Vec::new();
    }
    let mut equivalents = vec![
        with_singletons,
        reordered,
        text.chars().map(|c| decomposed(&c.to_string())).collect(),
        text.chars().map(|c| composed(&c.to_string())).collect(),
        decomposed_text,
    ];
    for equivalent in &equivalents {
        assert_eq!(composed(equivalent), composed_text, "{text:?}");
    }
    equivalents.push(composed_text);
    equivalents.retain(|it| it != text);
    equivalents.sort_unstable();
    equivalents.dedup();
    equivalents
}

/// Reorders the marks of each letter. Marks with the same combining class keep their order, so the
/// result is canonically equivalent.
fn marks_reversed(decomposed: &str) -> String {
    let mut characters: Vec<char> = decomposed.chars().collect();
    for letter in characters.chunk_by_mut(|_, next| is_mark(*next)) {
        let marks = letter
            .iter()
            .position(|c| is_mark(*c))
            .unwrap_or(letter.len());
        letter[marks..].sort_by_key(|c| Reverse(combining_class(*c)));
    }
    characters.into_iter().collect()
}

/// Whether NFC may reorder this character.
fn is_mark(c: char) -> bool {
    combining_class(c) != 0
}

fn combining_class(c: char) -> u8 {
    CodePointMapData::<CanonicalCombiningClass>::new().get(c).0
}

/// Checks that parsing gives the same result for a text and its equivalents. Returns the number of
/// equivalents.
fn check_equivalents(text: &str) -> usize {
    let equivalents = equivalents(text);
    if equivalents.is_empty() {
        return 0;
    }
    let answer = (Username::parse(text), UsernamePrefix::parse(text));
    for equivalent in &equivalents {
        let other = (
            Username::parse(equivalent),
            UsernamePrefix::parse(equivalent),
        );
        assert_eq!(other, answer, "{text:?}, {equivalent:?}");
    }
    equivalents.len()
}

/// Other spellings of the username, which RFC 8265 treats as equal to it.
fn spellings(username: &str) -> Vec<String> {
    let widen = |c: char| WIDTH_FORMS.get(&c).copied().unwrap_or(c);
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
    // Capitals may be another username: `SS`, the upper case of `ß`, is not equal to `ß`. So only
    // those that are equal are added.
    let capitals = [upper(username), title(username)];
    let is_equal = |it: &String| rfc_form(it) == rfc_form(username);
    spellings.extend(capitals.into_iter().filter(is_equal));
    spellings.retain(|it| it != username);
    spellings
}

/// For each script, the first letter that is a valid username by itself.
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
        // A sigma's neighbors decide its lower case.
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
        "{walked} texts: {accepted} are usernames ({alone} of them have one character), \
         {respelled} other spellings of these usernames have the same keys"
    );
    assert!(walked > 4 * SCALAR_VALUES, "{walked}");
    assert!(alone > 95_000, "{alone}");
    assert!(accepted > 390_000, "{accepted}");
    assert!(respelled > 40_000, "{respelled}");
}

#[test]
fn every_canonically_equivalent_spelling_over_all_of_unicode_gets_the_same_answer() {
    let scripts = CodePointMapData::<Script>::new();
    let letters = letters();
    let mut respelled = 0;
    for c in '\0'..=char::MAX {
        let letter = letters.get(&scripts.get(c)).copied().unwrap_or('a');
        let mut texts = vec![
            String::from(c),
            String::from_iter([letter, c]),
            String::from_iter([c, letter]),
            // NFC composes symbols, such as ≠, from a character and this mark.
            String::from_iter([c, '\u{338}']),
        ];
        if is_mark(c) || decomposed(&texts[0]) != texts[0] {
            // U+0301 is drawn above the letter, and U+0323 below the letter.
            texts.push(String::from_iter([letter, '\u{301}', c, '\u{323}']));
        }
        respelled += texts.iter().map(|it| check_equivalents(it)).sum::<usize>();
    }
    println!("{respelled} other spellings");
    assert!(respelled > 90_000, "{respelled}");
}

#[test]
fn all_canonical_equivalents_of_the_normalization_test_suite_have_one_key() {
    let suite = source_of("icu_normalizer").join("tests/data/NormalizationTest.txt");
    let suite = fs::read_to_string(suite).unwrap();
    let scripts = CodePointMapData::<Script>::new();
    let letters = letters();
    let (mut lines, mut accepted, mut pairs) = (0, 0, 0);
    for line in suite.lines().filter(|line| !line.starts_with(['#', '@'])) {
        lines += 1;
        let columns: Vec<String> = line.split(';').take(5).map(text_of).collect();
        let [source, nfc, nfd, nfkc, nfkd] = &columns[..] else {
            panic!("five columns: {line}");
        };
        // Many texts begin with a combining mark, which needs a letter before it.
        let script = source
            .chars()
            .map(|c| scripts.get(c))
            .find(|it| letters.contains_key(it));
        let letter = script.map_or('a', |script| letters[&script]);
        for equivalents in [&[source, nfc, nfd][..], &[nfkc, nfkd]] {
            for prefix in [String::new(), letter.to_string()] {
                let texts = equivalents.iter().map(|text| format!("{prefix}{text}"));
                let texts: BTreeSet<String> = texts.collect();
                let usernames = texts.iter().map(|text| parse_and_check(text));
                let usernames: Vec<Option<Username>> = usernames.collect();
                accepted += usernames.iter().flatten().count();
                for pair in usernames.windows(2) {
                    pairs += usize::from(pair[0].is_some());
                    assert_eq!(pair[0], pair[1], "{line}");
                }
            }
        }
    }
    println!("{lines} lines, {accepted} usernames, {pairs} pairs of equal usernames");
    assert!(lines > 20_000, "{lines}");
    assert!(accepted > 110_000, "{accepted}");
    assert!(pairs > 50_000, "{pairs}");
}

fn text_of(column: &str) -> String {
    let code_points = column.split(' ');
    let code_points = code_points.map(|digits| u32::from_str_radix(digits, 16).unwrap());
    code_points.map(|it| char::from_u32(it).unwrap()).collect()
}

#[test]
fn no_key_changes_with_the_tables_of_a_newer_toolchain_or_crate() {
    // Later releases must make the same keys as this release, because they find stored users by
    // key. If a checksum changes, show that no existing key has changed, or migrate the table.
    let mut keys = crc32fast::Hasher::new();
    let mut unmapped_keys = crc32fast::Hasher::new();
    let update = |keys: &mut crc32fast::Hasher, username: &Username| {
        for form in [username.as_str(), username.key()] {
            keys.update(form.as_bytes());
            keys.update(&[0xff]);
        }
    };
    for c in '\0'..=char::MAX {
        // A combining mark needs a character before it, such as the digit 1.
        for text in [c.to_string(), format!("1{c}")] {
            let Ok(username) = Username::parse(&text) else {
                continue;
            };
            update(&mut keys, &username);
            // `unmapped_keys` covers the usernames that parsing leaves as they are, except for the
            // width of characters.
            if username.as_str() == ordinary_width(&text) {
                update(&mut unmapped_keys, &username);
            }
        }
    }
    // Older versions of the service refused special letters, and checked characters before they
    // composed the text. `unmapped_keys` is the checksum of the usernames above that those versions
    // accepted, and of their keys. In those versions, it was the first number below. So if the first
    // assertion holds, none of those keys has changed.
    assert_eq!(unmapped_keys.finalize(), 763_125_575);
    assert_eq!(keys.finalize(), 3_915_216_721);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_canonically_equivalent_spelling_of_any_text_gets_the_same_answer(text in any_text()) {
        check_equivalents(&text);
    }

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
