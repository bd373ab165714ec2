//! Converts a typed text to the display form of a username, and converts the display form to the username's key.
//!
//! RFC 8265 (§3.3.2 and 3.4.2) defines the mappings. This module adds one mapping: it replaces special letters (see
//! [`is_special_letter`]). The mappings accept any text, even if it is not a valid username.

use std::{borrow::Cow, iter};

use precis_core::{IdentifierClass, StringClass, profile::Rules};
use precis_profiles::UsernameCaseMapped;
use unicode_normalization::UnicodeNormalization;

/// Returns the display form of a text. Canonically equivalent Unicode texts have the same display form.
pub(super) fn to_display(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    map_special_letters(compose(map_width(text)))
}

/// Returns the key of a display form.
///
/// RFC 8264 §5.2.3 requires Unicode's `toLowerCase()`, which turns Σ into ς at the end of a word and into σ elsewhere.
/// A search prefix may end inside a word. A Σ at the end of such a prefix would become ς, although the same letter
/// becomes σ in the whole word. So the key always has σ instead of ς. As a result, `ΣΊΣΥΦΟΣ` and `Σίσυφος` have the
/// same key, as the RFC requires, and every prefix of either spelling finds the user.
pub(super) fn to_key(display: &str) -> String {
    let lower = display.to_lowercase().replace('ς', "σ");
    compose(Cow::Owned(lower)).into_owned()
}

/// Replaces full-width and half-width characters with characters of ordinary width.
fn map_width(text: &str) -> Cow<'_, str> {
    let mapped = UsernameCaseMapped::new().width_mapping_rule(text);
    mapped.expect("a mapping accepts any text")
}

/// Normalizes a text to Unicode Normalization Form C.
fn compose(text: Cow<'_, str>) -> Cow<'_, str> {
    let mapped = UsernameCaseMapped::new().normalization_rule(text);
    mapped.expect("a mapping accepts any text")
}

/// Whether `c` is a special letter: some keyboards send it instead of `'`, or instead of a sequence of ordinary letters
/// (ĳ for ij).
///
/// RFC 8264 refuses special letters (§9.16 and 9.17), but people type their names with them.
/// `docs/decisions/0002-usernames.md` explains how we chose them, and which similar characters we left out.
fn is_special_letter(c: char) -> bool {
    matches!(
        c,
        // ‘ and ’, which phones send instead of '.
        '\u{2018}' | '\u{2019}'
        // Dutch Ĳ and ĳ.
        | '\u{132}' | '\u{133}'
        // Catalan ŀ, which becomes l and a middle dot. RFC 5892 allows a middle dot only between two lower-case l, so
        // upper-case Ŀ is not in this list.
        | '\u{140}'
        // Croatian and Serbian Ǆ, Ǉ and Ǌ, and Mmuock Ǳ, each in upper, title and lower case.
        | '\u{1c4}'..='\u{1cc}' | '\u{1f1}'..='\u{1f3}'
        // Armenian և.
        | '\u{587}'
        // Thai and Lao SARA AM.
        | '\u{e33}' | '\u{eb3}'
        // Lao ໜ and ໝ.
        | '\u{edc}' | '\u{edd}'
        // The words Allah and Muhammad, each as one character, on keyboards for Urdu, Dhivehi and Sindhi.
        | '\u{fdf2}' | '\u{fdf4}'
        // The ligatures of Arabic lam with four kinds of alef.
        | '\u{fef5}' | '\u{fef7}' | '\u{fef9}' | '\u{fefb}'
    )
}

/// Replaces special letters with ordinary ones. The text must be in Normalization Form C, where combining marks have a
/// fixed order. In this order, a tone mark is directly before SARA AM, where [`push_sara_am`] looks for it.
fn map_special_letters(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains(is_special_letter) {
        return text;
    }
    let mut mapped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2018}' | '\u{2019}' => mapped.push('\''),
            '\u{e33}' => push_sara_am(&mut mapped, '\u{e4d}', '\u{e32}'),
            '\u{eb3}' => push_sara_am(&mut mapped, '\u{ecd}', '\u{eb2}'),
            _ if is_special_letter(c) => mapped.extend(iter::once(c).nfkc()),
            _ => mapped.push(c),
        }
    }
    compose(Cow::Owned(mapped))
}

/// Appends the two parts of SARA AM: a ring and SARA AA.
///
/// If people type a tone mark before SARA AM, they see the tone mark above the ring. The spelled-out text looks the
/// same only in this order: the ring, the tone mark, SARA AA. So if `text` ends with a tone mark, this function inserts
/// the ring before the tone mark. The text renderers Uniscribe and `HarfBuzz` use this order for SARA AM too.
fn push_sara_am(text: &mut String, ring: char, sara_aa: char) {
    let is_tone_mark = |c| matches!(c, '\u{e48}'..='\u{e4b}' | '\u{ec8}'..='\u{ecb}');
    text.insert(text.trim_end_matches(is_tone_mark).len(), ring);
    text.push(sara_aa);
}

/// Returns what a person should do about a disallowed character, as an imperative such as "leave it out".
pub(super) fn advice(c: char) -> Cow<'static, str> {
    let instead = match c {
        _ if c.is_whitespace() => {
            return "use _, . or - instead of a space, or leave it out".into();
        }
        // Acute accent, reversed quotation mark, prime, Armenian apostrophe, geresh.
        '\u{b4}' | '\u{201b}' | '\u{2032}' | '\u{55a}' | '\u{5f3}' => "'",
        // Quotation marks, double prime, gershayim.
        '\u{ab}' | '\u{bb}' | '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{5f4}' => "\"",
        // Hyphens (also Armenian and Hebrew), dashes, minus.
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{58a}' | '\u{5be}' => "-",
        // Middle dots and bullet.
        '\u{b7}' | '\u{2022}' | '\u{2027}' | '\u{30fb}' => ".",
        // Tatweel and lajanyalan, which only stretch a word, and invisible characters: soft hyphen, joiners, direction
        // marks, variation selectors, tags.
        '\u{640}'
        | '\u{7fa}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e0fff}' => return "leave it out".into(),
        _ => {
            let ordinary: String = iter::once(c).nfkc().collect();
            let is_allowed = IdentifierClass::default().allows(&ordinary).is_ok();
            return if is_allowed && !ordinary.chars().eq([c]) {
                format!("use “{ordinary}” instead").into()
            } else {
                "use letters, digits and the visible ASCII characters, without spaces".into()
            };
        }
    };
    format!("use “{instead}” instead").into()
}
