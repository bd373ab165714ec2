//! Tests of RFC 8265's rules, and of the service's own rules for length and mixed scripts.

use precis_core::{Error as PrecisError, profile::PrecisFastInvocation};
use precis_profiles::{UsernameCaseMapped, UsernameCasePreserved};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use shared::user::{
    Username,
    username::{UsernameError, UsernamePrefix},
};
use unicode_bidi::{BidiClass::NSM, bidi_class};

use crate::unicode::display_form;

#[track_caller]
fn check(input: &str, display: &str, key: &str) {
    let username = Username::parse(input).unwrap_or_else(|error| panic!("{input}: {error}"));
    assert_eq!((username.as_str(), username.key()), (display, key));
}

#[track_caller]
fn refuse(input: &str, error: &UsernameError) {
    assert_eq!(Username::parse(input).as_ref(), Err(error), "{input}");
}

const fn disallowed(character: char) -> UsernameError {
    UsernameError::DisallowedCharacter {
        character: Some(character),
    }
}

#[test]
fn the_legal_usernames_of_rfc_8265_are_accepted() {
    // The examples in RFC 8265 §3.5.
    check(
        "juliet@example.com",
        "juliet@example.com",
        "juliet@example.com",
    );
    check("fussball", "fussball", "fussball");
    check("fußball", "fußball", "fußball");
    check("π", "π", "π");
    check("Σ", "Σ", "σ");
    check("σ", "σ", "σ");
    check("ς", "ς", "σ");
}

#[test]
fn the_illegal_usernames_of_rfc_8265_are_refused() {
    // The examples in RFC 8265 §3.5.
    refuse("foo bar", &disallowed(' '));
    refuse("", &UsernameError::Empty);
    refuse("henryⅣ", &disallowed('Ⅳ'));
    refuse("♚", &disallowed('♚'));
}

#[test]
fn spellings_that_differ_in_case_width_or_normalization_have_one_key() {
    check("ADA", "ADA", "ada");
    check("Ａda", "Ada", "ada");
    check("jose\u{301}", "jos\u{e9}", "jos\u{e9}");
    check("JOSE\u{301}", "JOS\u{c9}", "jos\u{e9}");
    check("ｶﾞ", "ガ", "ガ");
    check("İstanbul", "İstanbul", "i\u{307}stanbul");
    // Unicode has a composed character for j with a caron, but not for J with a caron.
    check("J\u{30c}ana", "J\u{30c}ana", "ǰana");
    check("ǰana", "ǰana", "ǰana");
    // In the key, each sigma becomes σ, even at the end of a word.
    check("ΣΊΣΥΦΟΣ", "ΣΊΣΥΦΟΣ", "σίσυφοσ");
    check("Σίσυφος", "Σίσυφος", "σίσυφοσ");
    check("σίσυφοσ", "σίσυφοσ", "σίσυφοσ");
}

#[test]
fn characters_outside_of_the_identifier_class_are_refused() {
    for character in [
        '\0',
        '\t',
        '\n',
        '\u{7f}',
        ' ',
        '\u{a0}',
        '\u{3000}',
        '\u{ad}',
        '\u{200b}',
        '\u{200e}',
        '\u{202e}',
        '\u{2066}',
        '\u{feff}',
        '\u{fffd}',
        '\u{e000}',
        '\u{10ffff}',
        '☃',
        '🦀',
        '½',
        'ﬁ',
        '„',
    ] {
        // Parsing replaces the ideographic space with an ordinary one, which the error names.
        let named = if character == '\u{3000}' {
            ' '
        } else {
            character
        };
        refuse(&format!("ada{character}"), &disallowed(named));
    }
}

#[test]
fn characters_that_need_a_context_are_allowed_only_in_it() {
    check("l·l", "l·l", "l·l");
    refuse("a·b", &disallowed('·'));
    refuse("·l", &disallowed('·'));
    refuse("l·", &disallowed('·'));
    refuse("a\u{200d}b", &disallowed('\u{200d}'));
    refuse("\u{200d}b", &disallowed('\u{200d}'));
    refuse("ａ\u{200c}", &disallowed('\u{200c}'));
    check("क्\u{200d}ष", "क्\u{200d}ष", "क्\u{200d}ष");
}

#[test]
fn a_combining_mark_is_not_allowed_at_the_beginning() {
    check("x\u{301}", "x\u{301}", "x\u{301}");
    // A nonspacing mark, a spacing mark, a Hebrew mark and a Greek mark.
    for mark in ['\u{301}', '\u{93e}', '\u{5b4}', '\u{345}'] {
        refuse(&mark.to_string(), &UsernameError::LeadingMark { mark });
        refuse(&format!("{mark}а"), &UsernameError::LeadingMark { mark });
    }
    // The error names the ordinary form of a half-width mark.
    refuse("ﾞか", &UsernameError::LeadingMark { mark: '\u{3099}' });
    refuse(
        "\u{5b4}שלום",
        &UsernameError::LeadingMark { mark: '\u{5b4}' },
    );
}

#[test]
fn a_text_is_checked_in_its_composed_form() {
    // Each character of these three texts is allowed in its place. But NFC composes the last two
    // into one: a symbol, a titlecase letter, or an ĺ. Beside the ĺ, the middle dot is refused,
    // because it must stand between two letters l without accents.
    refuse("=\u{338}", &disallowed('≠'));
    refuse("\u{1f08}\u{345}", &disallowed('ᾈ'));
    refuse("l·l\u{301}", &disallowed('·'));
    // NFC replaces a Greek question mark with a semicolon, and an en quad with an en space.
    check("a\u{37e}", "a;", "a;");
    refuse("a\u{2000}", &disallowed('\u{2002}'));
}

#[test]
fn canonically_equivalent_spellings_are_one_username() {
    for (composed, others) in [
        // Bengali, Hindi, Punjabi and Odia letters with a nukta. NFC decomposes such letters.
        ("রা\u{9af}\u{9bc}", &["রা\u{9df}"][..]),
        ("\u{91c}\u{93c}ारा", &["\u{95b}ारा"]),
        ("\u{916}\u{93c}ान", &["\u{959}ान"]),
        ("\u{a1c}\u{a3c}ੋਰਾ", &["\u{a5b}ੋਰਾ"]),
        ("\u{b21}\u{b3c}ା", &["\u{b5c}ା"]),
        // The Greek letter έ with a tonos, with an oxia, and in decomposed form.
        ("Ελ\u{3ad}νη", &["Ελ\u{1f73}νη", "Ελε\u{301}νη"]),
        // Compatibility characters of 金, 李 and 渚.
        ("金さん", &["\u{f90a}さん"]),
        ("李雷", &["\u{f9e1}雷"]),
        ("渚", &["\u{fa46}"]),
        // The Hebrew letter shin with a dot, as two characters and as one.
        ("\u{5e9}\u{5c1}לום", &["\u{fb2a}לום"]),
        // The letter Å, the Ångström sign, and A with a combining ring.
        ("Å", &["\u{212b}", "A\u{30a}"]),
        // Korean syllables, and their parts.
        (
            "한글",
            &[
                "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}",
                "하\u{11ab}글",
            ],
        ),
        // The order of a mark above and a mark below does not matter.
        ("q\u{323}\u{307}", &["q\u{307}\u{323}"]),
        // A joiner is allowed only directly after a virama. The first spelling in the list below has
        // a nukta between the virama and the joiner. NFC moves the nukta before the virama, so the
        // joiner is then directly after the virama.
        (
            "\u{915}\u{93c}\u{94d}\u{200d}ष",
            &["\u{915}\u{94d}\u{93c}\u{200d}ष", "\u{958}\u{94d}\u{200d}ष"],
        ),
    ] {
        check(composed, composed, &composed.to_lowercase());
        for other in others {
            assert_eq!(Username::parse(other), Username::parse(composed), "{other}");
        }
    }
}

#[test]
fn letters_that_a_keyboard_sends_as_one_character_are_spelled_out() {
    for (typed, display, key) in [
        // Thai and Lao.
        ("อำพร", "อ\u{e4d}\u{e32}พร", "อ\u{e4d}\u{e32}พร"),
        ("ຄຳ", "ຄ\u{ecd}\u{eb2}", "ຄ\u{ecd}\u{eb2}"),
        ("ໝອກ", "ຫມອກ", "ຫມອກ"),
        ("ໜູ", "ຫນູ", "ຫນູ"),
        // Parsing splits the vowel SARA AM (U+0E33 or U+0EB3) into a ring and a second character. A
        // tone mark is drawn above the ring, so it must be after the ring. But people type it
        // before SARA AM. So parsing puts the ring before the tone mark.
        (
            "น\u{e49}\u{e33}ทิพย์",
            "น\u{e4d}\u{e49}\u{e32}ทิพย์",
            "น\u{e4d}\u{e49}\u{e32}ทิพย์",
        ),
        (
            "ນ\u{ec9}\u{eb3}",
            "ນ\u{ecd}\u{ec9}\u{eb2}",
            "ນ\u{ecd}\u{ec9}\u{eb2}",
        ),
        // Armenian.
        ("Գևորգ", "Գեւորգ", "գեւորգ"),
        ("ԼԵՒՈՆ", "ԼԵՒՈՆ", "լեւոն"),
        // Dutch, Catalan, Serbian.
        ("Ĳsbrand", "IJsbrand", "ijsbrand"),
        ("Dĳkstra", "Dijkstra", "dijkstra"),
        ("Gaŀla", "Gal·la", "gal·la"),
        ("ǈiǉana", "Ljiljana", "ljiljana"),
        ("ǄEMAL", "DŽEMAL", "džemal"),
        ("Ǌegoš", "NJegoš", "njegoš"),
        // Arabic.
        ("ع\u{fefb}ء", "علاء", "علاء"),
        ("\u{fef5}لاء", "لآلاء", "لآلاء"),
        ("عبد\u{fdf2}", "عبدالله", "عبدالله"),
        ("\u{fdf4}", "محمد", "محمد"),
    ] {
        check(typed, display, key);
        assert_eq!(UsernamePrefix::parse(typed).unwrap().as_str(), key);
    }
    // A prefix may end with a special letter. Parsing spells this letter out.
    assert_eq!(UsernamePrefix::parse("Թադև").unwrap().as_str(), "թադեւ");
    // Spelled out, SARA AM begins with a combining mark.
    refuse("ำ", &UsernameError::LeadingMark { mark: '\u{e4d}' });
    // Each U+FDF2 becomes four letters, so this username has 84 letters. At most 80 are allowed.
    refuse(
        &"\u{fdf2}".repeat(21),
        &UsernameError::TooLong { length: 84 },
    );
}

#[test]
fn typographic_apostrophes_become_the_one_on_the_keyboard() {
    check("D’Alia", "D'Alia", "d'alia");
    check("Ulug‘bek", "Ulug'bek", "ulug'bek");
    check("डी’सोउज़ा", "डी'सोउ\u{91c}\u{93c}ा", "डी'सोउ\u{91c}\u{93c}ा");
    check("О’Лірі", "О'Лірі", "о'лірі");
    check("O＇Brien", "O'Brien", "o'brien");
    assert_eq!(UsernamePrefix::parse("D’A").unwrap().as_str(), "d'a");
    // The okina of Hawaiian and the apostrophe of Ukrainian are letters, so they stay.
    check("Kaʻiulani", "Kaʻiulani", "kaʻiulani");
    check("Вʼячеслав", "Вʼячеслав", "вʼячеслав");
}

#[test]
fn a_hebrew_name_may_end_with_a_geresh_typed_as_an_apostrophe() {
    for name in ["ריתאג'", "ג'ורג'", "חאג'", "ריתאג׳", "ג\u{5bc}'", "א'"] {
        check(name, name, name);
    }
    check("ריתאג’", "ריתאג'", "ריתאג'");
    for name in [
        "'ריתאג",
        "ריתאג''",
        "ריתאג'\u{5bc}",
        "ריתאג1'",
        "ריתאג-'",
        "ריתאג'-",
        "ריתאג\"",
        "محمد'",
        "1ריתאג'",
    ] {
        refuse(name, &UsernameError::Bidi);
    }
}

#[test]
fn a_refusal_says_what_to_write_instead() {
    let message = |text: &str| Username::parse(text).unwrap_err().to_string();
    for (text, advice) in [
        (
            "ada lovelace",
            "U+0020 is not allowed here; use _, . or - instead of a space, or leave it out.",
        ),
        (
            "ada\u{a0}",
            "U+00A0 is not allowed here; use _, . or - instead of a space, or leave it out.",
        ),
        ("D´Alia", "U+00B4 is not allowed here; use “'” instead."),
        ("Դ՚Արտ", "U+055A is not allowed here; use “'” instead."),
        ("“ada”", "U+201C is not allowed here; use “\"” instead."),
        ("Anne–Marie", "U+2013 is not allowed here; use “-” instead."),
        ("בן־גוריון", "U+05BE is not allowed here; use “-” instead."),
        ("a·b", "U+00B7 is not allowed here; use “.” instead."),
        ("Soﬁa", "U+FB01 is not allowed here; use “fi” instead."),
        ("henryⅣ", "U+2163 is not allowed here; use “IV” instead."),
        ("Mªjosé", "U+00AA is not allowed here; use “a” instead."),
        ("𝐚da", "U+1D41A is not allowed here; use “a” instead."),
        ("دراجـي", "U+0640 is not allowed here; leave it out."),
        ("ada\u{200b}", "U+200B is not allowed here; leave it out."),
        ("सि\u{200c}ह", "U+200C is not allowed here; leave it out."),
        // A username can't contain a part of a Korean syllable, so the error does not suggest one.
        (
            "ㅋㅋ",
            "U+314B is not allowed here; use letters, digits and the visible ASCII characters, \
             without spaces.",
        ),
        (
            "ada🦀",
            "U+1F980 is not allowed here; use letters, digits and the visible ASCII characters, \
             without spaces.",
        ),
    ] {
        assert_eq!(message(text), format!("The character {advice}"), "{text}");
    }
    assert_eq!(
        message("\u{93f}नशा"),
        "The username begins with the combining mark U+093F; put a letter before the mark."
    );
    let unknown = UsernameError::DisallowedCharacter { character: None };
    assert_eq!(
        unknown.to_string(),
        "A character of the username is not allowed in its position."
    );
}

#[test]
fn the_error_names_the_character_that_lacks_a_neighbor() {
    for (text, character) in [
        ("\u{5f3}א", '\u{5f3}'),
        ("·l", '·'),
        ("٣l·", '·'),
        ("か・l·", '·'),
        ("\u{375}", '\u{375}'),
        ("α\u{375}", '\u{375}'),
        ("\u{64b}\u{200c}ب٣", '\u{200c}'),
        ("ب\u{200c}\u{64b}", '\u{200c}'),
    ] {
        refuse(text, &disallowed(character));
    }
}

#[test]
fn every_visible_ascii_character_is_allowed() {
    let visible: String = ('!'..='~').collect();
    for half in [&visible[..47], &visible[47..]] {
        check(half, half, &half.to_ascii_lowercase());
    }
}

#[test]
fn the_length_counts_the_characters_of_the_display_form() {
    for character in ["a", "é", "車", "𐐨"] {
        let longest = character.repeat(80);
        check(&longest, &longest, &longest);
        let error = UsernameError::TooLong { length: 81 };
        refuse(&character.repeat(81), &error);
    }
    // NFC composes these 160 characters into 80.
    check(&"e\u{301}".repeat(80), &"é".repeat(80), &"é".repeat(80));
    // The key has 160 characters, because the lower case of İ has two.
    check(&"İ".repeat(80), &"İ".repeat(80), &"i\u{307}".repeat(80));
    refuse(
        &"e\u{301}".repeat(81),
        &UsernameError::TooLong { length: 81 },
    );
}

#[test]
fn any_single_script_is_allowed() {
    for username in [
        "ada",
        "josé",
        "Ольга",
        "Ελένη",
        "ᏣᎳᎩ",
        "たろう",
        "タロウ",
        "太郎",
        "김철수",
        "محمد",
        "שלום",
        "नमस्ते",
        "สมชาย",
        "Նարեկ",
        "ნინო",
        "tiếng",
        "1234",
        "ada_1815",
        "李雷",
    ] {
        Username::parse(username).unwrap_or_else(|error| panic!("{username}: {error}"));
    }
}

#[test]
fn latin_may_be_mixed_with_japanese_korean_and_chinese() {
    for username in [
        "Toyota車",
        "taroたろう",
        "LG전자",
        "abcㄅ中",
        "たろう太郎タロウ",
        "한국韓國",
    ] {
        Username::parse(username).unwrap_or_else(|error| panic!("{username}: {error}"));
    }
}

#[test]
fn other_mixtures_of_scripts_are_refused() {
    for username in [
        "раypal",
        "Аda",
        "αdam",
        "adаm",
        "Ольга太郎",
        "たろう김",
        "김ㄅ",
        "नमस्तेada",
        "นada",
        "ᏣᎳᎩada",
        "שלוםa",
        "aשלום",
        "αж",
    ] {
        refuse(username, &UsernameError::MixedScripts);
    }
}

#[test]
fn right_to_left_usernames_follow_the_bidi_rule() {
    for username in [
        "שלום",
        "محمد1",
        "שלום1",
        "محمد.علي",
        "מִרְיָם",
        "مُحَمَّد",
        "އަހުމަދު",
        "ߒߞߏ߫ߣ",
        "علي١٢",
    ] {
        Username::parse(username).unwrap_or_else(|error| panic!("{username}: {error}"));
    }
    for username in ["1שלום", "שלום-", "שלום_", "١٢٣", "علي1١"] {
        refuse(username, &UsernameError::Bidi);
    }
}

#[test]
fn debug_output_holds_no_username() {
    let username = Username::parse("ada").unwrap();
    assert_eq!(format!("{username:?}"), "Username(…)");
    let prefix = UsernamePrefix::parse("ada").unwrap();
    assert_eq!(format!("{prefix:?}"), "UsernamePrefix(…)");
}

#[test]
fn no_character_takes_more_than_four_bytes_in_lower_case() {
    // `Username::MAX_KEY_BYTES` allows four bytes for each character of the longest display form.
    let longest = ('\0'..=char::MAX).map(|c| c.to_lowercase().map(char::len_utf8).sum::<usize>());
    assert_eq!(longest.max(), Some(4));
}

/// Texts of one script. Most are valid usernames. Some contain characters that parsing replaces.
fn a_likely_username() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9._@À-ÖØ-öø-ÿａ-ｚＡ-ＺİıßJ\u{301}\u{307}\u{308}\u{30c}]{1,80}",
        "[Α-ΡΣ-Ωα-ωἀ-ἇἈ-Ἇ\u{301}\u{345}]{1,80}",
        "[А-яЁёЙй0-9\u{306}\u{308}]{1,80}",
        "[א-ת][א-ת\u{5b0}-\u{5b9}]{0,60}[א-ת]",
        "[ب-غ][ا-غ\u{64b}-\u{652}٠-٩]{0,60}[ب-غ]",
        "[ހ-ޥ][ހ-ޥ\u{7a6}-\u{7b0}]{0,60}",
        "[क-ह][क-हा-ौ]{0,60}",
        "[あ-んア-ンー一-十ｱ-ﾝ]{1,60}",
        "[가-깋]{1,60}",
        "[ᄀ-ᄂ][ᅡ-ᅣ]{1,2}[ᆨ-ᆪ]?",
        "[ก-ฮ][ก-ฮ\u{e31}-\u{e3a}\u{e47}-\u{e4e}]{0,60}",
        "[ກ-ຮ][ກຂຄງຈຊຍດ-ທນ-ຟມຢຣລວສຫອຮ\u{eb0}-\u{eb9}\u{ec8}-\u{ecd}ໜໝ]{0,60}",
        "[Ա-Ֆա-և]{1,80}",
    ]
}

/// Texts, many of which are almost valid usernames.
fn an_unlikely_username() -> impl Strategy<Value = String> {
    prop_oneof![
        "[al=<·ｌ\u{301}\u{338}\u{345}\u{200c}\u{200d}]{1,6}",
        "[אاaـ1١۱._\u{5b0}\u{64b}-]{1,6}",
        "[क्ष・あｱﾞᾀᾈ≠ﬁⅣ\u{1f08}\u{200d}]{1,6}",
        "[Ꭰ-Ꮿꭰ-ꮿ]{1,6}",
        "[ĲŀǅǊǳl·j'’‘ʼaа\u{301}]{1,6}",
        "[אג'’\u{5f3}\u{5b0}1a-]{1,6}",
        "[นล\u{e33}\u{eb3}\u{e48}\u{e49}\u{ec8}\u{e4d}\u{e32}\u{301}a]{1,6}",
        "[\u{fdf2}\u{fdf4}\u{fef5}\u{fefb}عبد1١\u{64b}]{1,6}",
        "[\u{958}\u{915}\u{93c}\u{94d}\u{200d}\u{212b}\u{f90a}\u{1f73}\u{1112}\u{1161}\u{11ab}\u{1160}]{1,6}",
        any::<String>(),
        "\\PC{1,20}",
    ]
}

pub(crate) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![a_likely_username(), an_unlikely_username()]
}

#[test]
fn most_generated_likely_usernames_are_valid() {
    // Most property tests below check a text only if it is a valid username. So most texts of
    // `a_likely_username` must be valid.
    let mut runner = TestRunner::deterministic();
    let texts = (0..2000).map(|_| a_likely_username().new_tree(&mut runner).unwrap().current());
    let legal = texts.filter(|text| Username::parse(text).is_ok()).count();
    assert!(legal > 1500, "{legal}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn parsing_is_idempotent(text in any_text()) {
        if let Ok(username) = Username::parse(&text) {
            let again = Username::parse(username.as_str());
            prop_assert_eq!(again.as_ref(), Ok(&username));
            // The key of a Cherokee username is not a valid username: it has small Cherokee
            // letters, which Unicode 6.3 (RFC 8264) lacks.
            let is_cherokee = |c| ('\u{13a0}'..='\u{13ff}').contains(&c);
            if !username.as_str().contains(is_cherokee) {
                match Username::parse(username.key()) {
                    Ok(key) => {
                        prop_assert_eq!((key.as_str(), key.key()), (username.key(), username.key()));
                    }
                    // The key may be too long, because the lower case of İ has two characters.
                    Err(error) => {
                        let is_too_long = matches!(error, UsernameError::TooLong { .. });
                        prop_assert!(is_too_long, "{}", error);
                    }
                }
            }
        }
    }

    #[test]
    fn parsing_agrees_with_the_precis_crate_on_the_display_form(text in any_text()) {
        use UsernameError::{Bidi, DisallowedCharacter, Empty, LeadingMark, MixedScripts, TooLong};
        // Unlike the service, the precis crate checks characters before it composes them, and does
        // not spell out special letters such as ĳ. So the crate gets the display form, which is
        // already composed and spelled out.
        let ordinary = display_form(&text);
        let theirs = <UsernameCasePreserved as PrecisFastInvocation>::enforce(ordinary.as_str());
        let ours = Username::parse(&text);
        let agree = match (&theirs, &ours) {
            (Ok(display), Ok(username)) => {
                let key = <UsernameCaseMapped as PrecisFastInvocation>::enforce(display.as_ref());
                // The crate checks the characters before it lower-cases them, and its Bidi Rule does
                // not depend on case. So the crate returns a key for every display form. It
                // lower-cases every Σ to σ, but does not change ς. The service replaces ς with σ,
                // so this test does the same with the crate's key.
                let key = key.map(|key| key.replace('ς', "σ"));
                username.as_str() == display && key.is_ok_and(|key| username.key() == key)
            }
            // The crate does not have the rules that cause these three errors.
            (Ok(_), Err(error)) => {
                matches!(error, TooLong { .. } | MixedScripts | LeadingMark { .. })
            }
            // The crate's Bidi Rule refuses two things that the service accepts: nonspacing marks
            // between right-to-left letters, and an apostrophe that stands for a geresh.
            (Err(PrecisError::Invalid), Ok(username)) => {
                let mut characters = username.as_str().chars();
                characters.any(|c| bidi_class(c) == NSM) || username.as_str().ends_with('\'')
            }
            (Err(PrecisError::Invalid), Err(error)) => matches!(
                error,
                Empty | Bidi | MixedScripts | TooLong { .. } | LeadingMark { .. }
            ),
            (Err(_), Err(error)) => matches!(error, DisallowedCharacter { .. } | TooLong { .. }),
            (Err(_), Ok(_)) => false,
        };
        prop_assert!(agree, "{theirs:?}, {:?}", ours.map(|it| it.as_str().to_owned()));
    }

    #[test]
    fn a_username_and_its_key_keep_within_their_limits(text in any_text()) {
        if let Ok(username) = Username::parse(&text) {
            let length = username.as_str().chars().count();
            prop_assert!((1..=Username::MAX_CHARS).contains(&length));
            prop_assert!((1..=Username::MAX_KEY_BYTES).contains(&username.key().len()));
        }
    }

    #[test]
    fn a_username_used_as_a_prefix_matches_itself(text in any_text()) {
        if let Ok(username) = Username::parse(&text) {
            for spelling in [text.as_str(), username.as_str()] {
                let prefix = UsernamePrefix::parse(spelling).unwrap();
                prop_assert_eq!(prefix.as_str(), username.key());
            }
        }
    }

    #[test]
    fn every_text_is_a_valid_prefix_unless_it_is_too_long(text in any_text()) {
        let prefix = UsernamePrefix::parse(&text);
        if let Err(length) = prefix {
            prop_assert!(length > Username::MAX_CHARS);
        }
        if text.is_ascii() {
            prop_assert_eq!(prefix.is_ok(), text.len() <= Username::MAX_CHARS);
        }
    }
}
