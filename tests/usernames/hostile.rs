//! Tests of usernames that could deceive people, hide characters or break the service.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

use harness::{Event, Service};
use icu_casemap::CaseMapper;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup, Script},
};
use serde_json::json;
use shared::user::{
    Username,
    username::UsernameError::{self, DisallowedCharacter, MixedScripts},
};
use unicode_security::skeleton;

const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// A username may mix each of these scripts with Latin, and some of these scripts with each other.
const EAST_ASIAN: [Script; 5] = [
    Script::Bopomofo,
    Script::Han,
    Script::Hangul,
    Script::Hiragana,
    Script::Katakana,
];

fn script(c: char) -> Script {
    CodePointMapData::<Script>::new().get(c)
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

fn parse(text: &str) -> Result<Username, UsernameError> {
    Username::parse(text)
}

/// Groups all assigned characters by their UTS #39 skeleton. Characters that look alike have the
/// same skeleton.
fn look_alikes() -> BTreeMap<String, Vec<char>> {
    let mut look_alikes: BTreeMap<_, Vec<char>> = BTreeMap::new();
    for c in ('\0'..=char::MAX).filter(|c| script(*c) != Script::Unknown) {
        let skeleton = skeleton(c.encode_utf8(&mut [0; 4])).collect();
        look_alikes.entry(skeleton).or_default().push(c);
    }
    look_alikes
}

fn is_shown_as_itself(c: char) -> bool {
    parse(&c.to_string()).is_ok_and(|it| it.as_str() == c.to_string())
}

fn with_at_each_position(c: char, text: &str) -> impl Iterator<Item = String> {
    let ends = text.char_indices().map(|(index, _)| index);
    ends.chain(iter::once(text.len())).map(move |index| {
        let (before, behind) = text.split_at(index);
        format!("{before}{c}{behind}")
    })
}

#[test]
fn a_look_alike_of_another_script_is_refused_in_a_latin_word() {
    let look_alikes = look_alikes();
    let (mut refused, mut accepted) = (0, Vec::new());
    for letter in ('A'..='Z').chain('a'..='z').chain('0'..='9') {
        let skeleton: String = skeleton(&letter.to_string()).collect();
        let others = look_alikes[&skeleton].iter();
        for &other in others.filter(|c| !c.is_ascii() && script(**c) != Script::Latin) {
            match parse(&format!("pa{other}pal")) {
                Err(MixedScripts | DisallowedCharacter { .. }) => refused += 1,
                Err(error) => panic!("{other}: {error}"),
                // The service replaces this look-alike with the ASCII character.
                Ok(username) if username.as_str().is_ascii() => {}
                Ok(_) => accepted.push(other),
            }
        }
    }
    println!("{refused} look-alikes refused");
    assert!(refused > 1_500, "{refused}");
    // These are accepted, because a username may mix Latin with Japanese and Chinese.
    accepted.sort_unstable();
    accepted.dedup();
    assert_eq!(accepted, ['〇', 'ㄒ', 'ㄚ', '丅', '丫']);
}

#[test]
fn a_letter_next_to_its_look_alike_from_another_script_is_refused() {
    let is_of_a_script = |c: &char| ![Script::Common, Script::Inherited].contains(&script(*c));
    let mut pairs = 0;
    for group in look_alikes().values() {
        let usernames = group.iter().filter(|c| is_shown_as_itself(**c));
        let letters: Vec<char> = usernames.copied().filter(is_of_a_script).collect();
        for &one in &letters {
            for &other in letters
                .iter()
                .filter(|other| script(**other) != script(one))
            {
                pairs += 1;
                let are_east_asian = [one, other]
                    .iter()
                    .all(|c| script(*c) == Script::Latin || EAST_ASIAN.contains(&script(*c)));
                // Some digits belong to several scripts. Such a digit may stand beside letters of
                // each of these scripts.
                let is_digit = [one, other]
                    .iter()
                    .any(|c| category(*c) == GeneralCategory::DecimalNumber);
                if !are_east_asian && !is_digit {
                    let text = format!("{one}{one}{other}{one}");
                    assert_eq!(parse(&text), Err(MixedScripts), "{text}");
                }
            }
        }
    }
    assert!(pairs > 6_300, "{pairs}");
}

#[tokio::test]
async fn look_alikes_in_one_script_and_whole_words_in_another_script_are_accepted() {
    // RFC 8265 treats the two usernames of each pair as different.
    let service = Service::start();
    for (one, other) in [
        ("scope", "ѕсоре"),
        ("Ilya", "llya"),
        ("agent0", "agentO"),
        ("1st", "lst"),
        ("modern", "rnodern"),
        ("google", "ɡoogle"),
        ("o_o", "o__o"),
        ("Toyota", "T〇y〇ta"),
        ("ı", "i"),
        ("ロ車", "口車"),
        // The second username has a joiner or a non-joiner, which is hard to see.
        ("क्ष", "क्\u{200d}ष"),
        ("محمد", "م\u{200c}حمد"),
        // The second username has a character that looks like an apostrophe.
        ("D'Alia", "DʼAlia"),
        ("Ka'ana", "Kaʻana"),
        ("ריתאג'", "ריתאג׳"),
        // A Thai ring (U+0E4D) before and after a tone mark. The vowel SARA AM consists of a ring
        // and U+0E32. If a person types SARA AM with one key, parsing puts the ring before the tone
        // mark. The ring is after the tone mark only if a person types the ring and U+0E32 as two
        // characters.
        ("น\u{e4d}\u{e49}\u{e32}", "น\u{e49}\u{e4d}\u{e32}"),
    ] {
        for username in [one, other] {
            let answer = service.create(username).await;
            assert_eq!(answer.status, 201, "{username}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn spellings_that_look_alike_are_one_user() {
    let service = Service::start();
    for spellings in [
        &["O'Brien", "O’Brien", "o‘brien", "O＇BRIEN"][..],
        &["อ\u{e33}พร", "อ\u{e4d}\u{e32}พร"],
        &["น\u{e49}\u{e33}", "น\u{e4d}\u{e49}\u{e32}"],
        &["ນ\u{ec9}\u{eb3}", "ນ\u{ecd}\u{ec9}\u{eb2}"],
        &["ໝອກ", "ຫມອກ"],
        &["Գևորգ", "Գեւորգ", "ԳԵՒՈՐԳ"],
        &["ǈiǉana", "Ljiljana", "ǇIǇANA"],
        &["\u{fdf4}", "محمد"],
        &["ع\u{fefb}ء", "علاء"],
        &["Gaŀla", "gal·la"],
        &["\u{212b}sa", "Åsa", "A\u{30a}sa"],
        &["\u{f90a}", "金"],
        &["\u{1112}\u{1161}\u{11ab}", "한"],
    ] {
        let mut statuses = Vec::new();
        for username in spellings {
            statuses.push(service.create(username).await.status);
        }
        assert_eq!(statuses[0], 201, "{spellings:?}");
        assert!(statuses[1..].iter().all(|it| *it == 409), "{spellings:?}");
    }
}

#[test]
fn no_username_is_displayed_with_a_character_that_parsing_replaces() {
    // Parsing replaces some characters with others that look the same. If some usernames contained
    // the replaced character, and others the replacement, they would look the same, and a person
    // could find the wrong user.
    let is_replaced = |c: &char| {
        let texts = [c.to_string(), format!("1{c}")];
        let mut usernames = texts.iter().flat_map(|text| parse(text));
        usernames.any(|it| !it.as_str().contains(*c))
    };
    let replaced: BTreeSet<char> = ('\0'..=char::MAX).filter(is_replaced).collect();
    assert!(replaced.len() > 1_000, "{}", replaced.len());
    let mut respelled = 0;
    for c in '\0'..=char::MAX {
        for text in [
            c.to_string(),
            format!("1{c}"),
            format!("ก{c}"),
            format!("א{c}"),
        ] {
            let Ok(username) = parse(&text) else {
                continue;
            };
            let shown = username.as_str();
            assert!(!shown.contains(|c| replaced.contains(&c)), "{text:?}");
            respelled += usize::from(shown != text);
            assert_eq!(parse(shown).as_ref(), Ok(&username), "{text:?}");
        }
    }
    assert!(respelled > 2_500, "{respelled}");
}

#[test]
fn the_alternative_that_an_error_suggests_is_allowed() {
    let mut advised = 0;
    for c in '\0'..=char::MAX {
        let Err(error @ DisallowedCharacter { .. }) = parse(&format!("a{c}b")) else {
            continue;
        };
        let message = error.to_string();
        let advice = message
            .split_once("; use “")
            .and_then(|(_, it)| it.strip_suffix("” instead."));
        if let Some(advice) = advice {
            advised += 1;
            let followed = parse(&format!("a{advice}b"));
            let is_allowed = !matches!(followed, Err(DisallowedCharacter { .. }));
            assert!(is_allowed, "{message}");
        }
    }
    println!("{advised} characters with an alternative");
    assert!(advised > 2_000, "{advised}");
}

#[test]
fn a_geresh_may_end_a_hebrew_username_but_not_begin_one_or_end_an_arabic_one() {
    // In left-to-right text, an apostrophe at the end of a right-to-left name is drawn on the
    // right, where it seems to be the name's first character. But no other username looks like this
    // name, because no right-to-left username begins with an apostrophe.
    let marks = ["", "'", "''", "׳", "\"", "-", "."];
    for before in marks {
        for behind in marks {
            for name in ["ריתאג", "محمد", "ދިވެހި"] {
                let text = format!("{before}{name}{behind}");
                let is_hebrew = name == "ריתאג";
                let is_allowed = before.is_empty()
                    && (behind.is_empty() || is_hebrew && ["'", "׳"].contains(&behind));
                assert_eq!(parse(&text).is_ok(), is_allowed, "{text}");
            }
        }
    }
}

#[test]
fn invisible_characters_are_refused_at_every_position() {
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let is_invisible = |c: &char| {
        ignorable.contains(*c)
            || GeneralCategoryGroup::Control.contains(category(*c))
            || GeneralCategoryGroup::Format.contains(category(*c))
            || GeneralCategoryGroup::Separator.contains(category(*c))
            // Unicode puts these blank characters into the category of symbols.
            || ['\u{2800}', '\u{1d159}'].contains(c)
    };
    let mut refused = 0;
    for c in ('\0'..=char::MAX).filter(is_invisible) {
        for text in ["adam", "Ольга", "שלום", "محمد", "太郎", "한국"] {
            if JOINERS.contains(&c) && text == "محمد" {
                continue;
            }
            for text in with_at_each_position(c, text) {
                let result = parse(&text);
                assert!(
                    matches!(result, Err(DisallowedCharacter { .. })),
                    "{text:?}"
                );
                refused += 1;
            }
        }
    }
    println!("{refused} texts with an invisible character are refused");
    assert!(refused > 100_000, "{refused}");
}

#[test]
fn joiners_are_allowed_only_where_they_join() {
    let accepted = |joiner, text| {
        let texts = with_at_each_position(joiner, text);
        texts
            .map(|text| parse(&text).is_ok())
            .collect::<Vec<bool>>()
    };
    let [non_joiner, joiner] = JOINERS;
    assert_eq!(
        accepted(non_joiner, "محمد"),
        [false, true, true, true, false]
    );
    assert_eq!(accepted(joiner, "محمد"), [false; 5]);
    for joiner in JOINERS {
        assert_eq!(accepted(joiner, "क्ष"), [false, false, true, false]);
    }
}

#[test]
fn a_username_is_made_of_letters_marks_digits_and_visible_ascii() {
    use GeneralCategory::TitlecaseLetter;
    let is_ordinary = |c: &char| {
        c.is_ascii_graphic()
            || category(*c) == GeneralCategory::DecimalNumber
            || GeneralCategoryGroup::Letter.contains(category(*c))
                && category(*c) != TitlecaseLetter
            || [
                GeneralCategory::NonspacingMark,
                GeneralCategory::SpacingMark,
            ]
            .contains(&category(*c))
    };
    let (mut accepted, mut others) = (0, Vec::new());
    for c in '\0'..=char::MAX {
        // A combining mark needs a character before it, such as the digit 1.
        let texts = [c.to_string(), format!("1{c}")];
        for username in texts.iter().filter_map(|text| parse(text).ok()) {
            accepted += 1;
            others.extend(username.as_str().chars().filter(|c| !is_ordinary(c)));
        }
    }
    assert!(accepted > 190_000, "{accepted}");
    others.sort_unstable();
    others.dedup();
    // All other characters of usernames are exceptions in RFC 8264 §9.6: two Sindhi signs, a
    // Tibetan mark, and the ideographic zero.
    assert_eq!(others, ['\u{6fd}', '\u{6fe}', '\u{f0b}', '〇']);
}

#[tokio::test]
async fn beyond_the_basic_multilingual_plane_letters_are_allowed_but_not_symbols() {
    let service = Service::start();
    for username in ["𐌰𐌱", "𐐀𐐁", "𠀋", "𐤀𐤁", "𒀀"] {
        assert_eq!(service.create(username).await.status, 201, "{username}");
    }
    for username in [
        // RFC 8264 uses Unicode 6.3, which lacks the script Adlam.
        "𞤀𞤁",
        // A mathematical letter.
        "𝐚",
        "😀",
        "👩\u{200d}🚀",
        "👍🏽",
        "🇩🇪",
        "1\u{fe0f}\u{20e3}",
        "ada\u{e0061}",
        "ada\u{e0001}",
        "ada\u{e0100}",
        "ada\u{f0000}",
        "ada\u{1fffe}",
        "ada\u{fdd0}",
        "ada\u{10ffff}",
    ] {
        let answer = service.create(username).await;
        assert_eq!(answer.status, 422, "{username}: {answer:?}");
        assert_eq!(answer.json()["errors"][0]["code"], "disallowed-character");
    }
    for c in '\u{30000}'..=char::MAX {
        assert!(parse(&format!("太{c}")).is_err(), "{c:?}");
    }
}

#[tokio::test]
async fn a_username_in_json_escapes_is_the_same_username() {
    let service = Service::start();
    for (username, escaped) in [
        ("ada", r"\u0061d\u0061"),
        ("josé", r"JOSE\u0301"),
        ("𐐨", r"\ud801\udc00"),
        ("a\"\\/b", r#"A\"\\\/B"#),
    ] {
        assert_eq!(service.create(username).await.status, 201, "{username}");
        let body = format!(r#"{{"username":"{escaped}"}}"#);
        let answer = service.post(Event::create(&body)).await;
        assert_eq!(answer.status, 409, "{escaped}: {answer:?}");
    }
}

#[tokio::test]
async fn a_letter_may_have_many_marks_within_the_limit_of_80_characters() {
    // Only the limit of 80 characters restricts the marks on a letter. RFC 8265 does not.
    let service = Service::start();
    let marks = ['\u{31b}', '\u{323}', '\u{301}', '\u{334}'];
    let flood = |length: usize| marks.iter().cycle().take(length).collect::<String>();
    let username = format!("q{}", flood(79));
    assert_eq!(service.create(&username).await.status, 201);
    // The order of marks at different positions, such as above and below a letter, does not matter.
    let mut sorted: Vec<char> = flood(79).chars().collect();
    for _ in 0..2 {
        sorted.sort_unstable();
        let username: String = iter::once('Q').chain(sorted.iter().copied()).collect();
        assert_eq!(service.create(&username).await.status, 409);
        sorted.reverse();
    }
    for length in [80, 8_000] {
        let body = json!({ "username": format!("q{}", flood(length)) });
        let answer = service.post(Event::create(&body.to_string())).await;
        assert_eq!(answer.json()["errors"][0]["code"], "too-long", "{length}");
    }
}

#[tokio::test]
async fn a_capital_letter_and_its_small_letter_are_the_same_username() {
    let letters = ('\0'..=char::MAX).filter(|c| is_shown_as_itself(*c));
    let pairs = letters.filter_map(|letter| {
        let small: String = letter.to_lowercase().collect();
        let simple = CaseMapper::new().simple_lowercase(letter);
        // The lower case of İ has two characters, but its simple lower case has only one.
        assert!(letter == 'İ' || small == simple.to_string(), "{letter}");
        let letter = letter.to_string();
        (letter != small).then_some((letter, small))
    });
    let pairs: Vec<(String, String)> = pairs.collect();
    assert!(pairs.len() > 1_000, "{}", pairs.len());

    let is_cherokee = |small: &str| parse(small).is_err();
    let mut cherokee = 0;
    for (letter, small) in &pairs {
        cherokee += usize::from(is_cherokee(small));
        for text in [format!("{letter}{small}"), format!("{small}{letter}")] {
            if let Ok(username) = parse(&text) {
                assert_eq!(username.key(), small.repeat(2));
            }
        }
    }
    // Small Cherokee letters are refused: RFC 8264 uses Unicode 6.3, which lacks them.
    assert_eq!(cherokee, 85);

    let service = Service::start();
    let mut taken = 0;
    for (letter, small) in pairs
        .iter()
        .filter(|(_, small)| !is_cherokee(small))
        .step_by(2)
    {
        assert_eq!(service.create(letter).await.status, 201, "{letter}");
        assert_eq!(service.create(small).await.status, 409, "{small}");
        taken += 1;
    }
    println!("{taken} letters are created (201), and their small letters are refused (409)");
    assert!(taken > 450, "{taken}");
}
