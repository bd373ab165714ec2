//! Defines which usernames are allowed and which usernames count as the same.
//!
//! A username has two forms from [RFC 8265](https://www.rfc-editor.org/rfc/rfc8265). The display form
//! (`UsernameCasePreserved`) is the username that the user chose, with three changes: its characters have ordinary
//! width, it is in Unicode Normalization Form C, and special letters are spelled out (ĳ becomes ij). The key
//! (`UsernameCaseMapped`) is the display form in lower case, with σ instead of ς. Only one user can have a username
//! with a given key.

use std::fmt;

use precis_core::{
    CodepointInfo, DerivedPropertyValue, Error as PrecisError, IdentifierClass, StringClass,
    UnexpectedError,
};
use unicode_bidi::{BidiClass, bidi_class};
use unicode_normalization::char::is_combining_mark;
use unicode_script::Script;
use unicode_security::mixed_script::AugmentedScriptSet;

use super::spelling::{advice, to_display, to_key};

/// A valid username, either checked by [`Username::parse`] or read from the table.
///
/// `Debug` hides the username, because it is personal data and must not appear in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Username {
    display: String,
    key: String,
}

impl Username {
    /// The maximum length of the display form, in Unicode scalar values.
    ///
    /// Most e-mail addresses and full names have at most 80 characters. Even if each character takes four bytes, the
    /// item stays under 1 KiB, so a write costs one write unit.
    pub const MAX_CHARS: usize = 80;

    /// The maximum length of the key, in bytes. Each character of the display form becomes at most four bytes of the
    /// key.
    pub const MAX_KEY_BYTES: usize = Self::MAX_CHARS * 4;

    /// Checks a username and maps it to its two forms. Never truncates or trims the input.
    ///
    /// # Errors
    /// The error names the first rule that the input breaks.
    pub fn parse(input: &str) -> Result<Self, UsernameError> {
        if input.is_empty() {
            return Err(UsernameError::Empty);
        }
        let display = to_display(input);
        let length = display.chars().count();
        if length > Self::MAX_CHARS {
            return Err(UsernameError::TooLong { length });
        }
        // All rules apply to the display form (RFC 8264 §7), so canonically equivalent spellings get the same result.
        // For example, `=` followed by U+0338 counts as `≠`.
        check_characters(&display)?;
        // A combining mark at the beginning would be drawn on the text before the username. RFC 5891 §4.2.3.2 has the
        // same rule for host names.
        if let Some(mark) = display.chars().next().filter(|c| is_combining_mark(*c)) {
            return Err(UsernameError::LeadingMark { mark });
        }
        if mixes_scripts(&display) {
            return Err(UsernameError::MixedScripts);
        }
        if breaks_bidi_rule(&display) {
            return Err(UsernameError::Bidi);
        }
        Ok(Self {
            key: to_key(&display),
            display: display.into_owned(),
        })
    }

    /// Builds a username that was read from the table. Does not check the username, because it was checked before it
    /// was written. A second check of all usernames on a page would cost more than the rest of the request.
    pub(crate) fn from_table(display: String, key: String) -> Self {
        Self { display, key }
    }

    /// Returns the display form, which people see.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.display
    }

    /// Returns the key. No two users have the same key. Lists of users are sorted by the code points of the keys.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Username(…)")
    }
}

/// The beginning of a username's key, for a search.
///
/// A prefix is mapped like a username but not validated, because the beginning of a valid username may be an invalid
/// username. A prefix with a disallowed character matches no username.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct UsernamePrefix(String);

impl UsernamePrefix {
    /// Maps the beginning of a username to the beginning of its key.
    ///
    /// # Errors
    /// Fails if the display form has more than [`Username::MAX_CHARS`] characters. The error holds the number of
    /// characters.
    pub fn parse(input: &str) -> Result<Self, usize> {
        let display = to_display(input);
        let length = display.chars().count();
        if length > Username::MAX_CHARS {
            return Err(length);
        }
        Ok(Self(to_key(&display)))
    }

    /// Returns the mapped prefix. An empty prefix matches every username.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UsernamePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsernamePrefix(…)")
    }
}

/// Why a username is invalid. `Display` writes a sentence for the person who chose the username.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsernameError {
    /// The username is empty.
    Empty,
    /// The display form has more than [`Username::MAX_CHARS`] characters.
    TooLong {
        /// The length of the display form in characters.
        length: usize,
    },
    /// The username contains a character that the `IdentifierClass` of
    /// [RFC 8264 §4.2](https://www.rfc-editor.org/rfc/rfc8264#section-4.2) does not allow. Examples are a space, a
    /// control character, a non-ASCII symbol, and a character in the wrong place, such as `·` at the end.
    DisallowedCharacter {
        /// The character, if known.
        character: Option<char>,
    },
    /// The username begins with a combining mark.
    LeadingMark {
        /// The mark.
        mark: char,
    },
    /// The username mixes scripts, for example to imitate another username.
    MixedScripts,
    /// The username breaks the Bidi Rule of [RFC 5893 §2](https://www.rfc-editor.org/rfc/rfc5893#section-2).
    Bidi,
}

impl UsernameError {
    /// Returns a stable code, by which programs can recognize the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong { .. } => "too-long",
            Self::DisallowedCharacter { .. } | Self::LeadingMark { .. } => "disallowed-character",
            Self::MixedScripts => "mixed-scripts",
            Self::Bidi => "bidi",
        }
    }
}

impl fmt::Display for UsernameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(
                f,
                "The username is empty; it needs 1 to {} characters.",
                Username::MAX_CHARS
            ),
            Self::TooLong { length } => write!(
                f,
                "The username has {length} characters; at most {} are allowed.",
                Username::MAX_CHARS
            ),
            Self::DisallowedCharacter {
                character: Some(character),
            } => write!(
                f,
                "The character U+{:04X} is not allowed here; {}.",
                u32::from(*character),
                advice(*character)
            ),
            Self::DisallowedCharacter { character: None } => {
                f.write_str("A character of the username is not allowed in its position.")
            }
            Self::LeadingMark { mark } => write!(
                f,
                "The username begins with the combining mark U+{:04X}; put a letter before the mark.",
                u32::from(*mark)
            ),
            Self::MixedScripts => f.write_str(
                "The username mixes letters of different scripts; use letters of one script, or \
                 Latin together with Japanese, Korean or Chinese.",
            ),
            Self::Bidi => f.write_str(
                "A username with right-to-left characters must begin with a right-to-left letter and \
                 end with a letter, a digit, or one ' after a Hebrew letter. It must not contain \
                 left-to-right letters, or mix the digits 0 to 9 with Arabic-Indic digits.",
            ),
        }
    }
}

impl std::error::Error for UsernameError {}

/// Checks that the `IdentifierClass` allows every character, and that each character with a context rule obeys that
/// rule.
fn check_characters(text: &str) -> Result<(), UsernameError> {
    let class = IdentifierClass::default();
    let Err(error) = class.allows(text) else {
        return Ok(());
    };
    let character = match error {
        PrecisError::BadCodepoint(CodepointInfo { cp, .. })
        | PrecisError::Unexpected(
            UnexpectedError::ContextRuleNotApplicable(CodepointInfo { cp, .. })
            | UnexpectedError::MissingContextRule(CodepointInfo { cp, .. }),
        ) => char::from_u32(cp),
        // A character at the beginning or end lacks a neighbor that it needs, but precis-core does not say which
        // character. If the first character needs a left neighbor, the error names the first character. Otherwise, the
        // error names the last character that has a context rule. The search for the first character skips combining
        // marks, because a mark such as U+064B does not count as a neighbor of U+200C.
        PrecisError::Invalid
        | PrecisError::Unexpected(
            UnexpectedError::ProfileRuleNotApplicable | UnexpectedError::Undefined,
        ) => {
            let needs_left =
                |c: &char| matches!(c, '·' | '\u{5f3}' | '\u{5f4}' | '\u{200c}' | '\u{200d}');
            let needs_context = |c: &char| {
                let property = class.get_value_from_char(*c);
                matches!(
                    property,
                    DerivedPropertyValue::ContextJ | DerivedPropertyValue::ContextO
                )
            };
            let first = text.chars().find(|c| !is_combining_mark(*c));
            let last = || text.chars().rfind(needs_context);
            first.filter(needs_left).or_else(last)
        }
    };
    Err(UsernameError::DisallowedCharacter { character })
}

/// Whether the text has right-to-left characters and breaks the Bidi Rule of
/// [RFC 5893 §2](https://www.rfc-editor.org/rfc/rfc5893#section-2).
///
/// `precis-profiles` also implements this rule, but refuses every nonspacing mark that is not at the end of the text.
/// It would therefore refuse most vocalized Hebrew and Arabic names and nearly all names in Thaana.
///
/// This function makes one exception to the Bidi Rule: a username may end with one `'` after a Hebrew letter. The rule
/// allows a geresh (U+05F3) there, but keyboards send `'` instead. In left-to-right text, this `'` is drawn at the right of
/// the username, where the username begins, instead of at the left. But no right-to-left username may begin with `'`, so
/// nobody can mistake the username for another one.
fn breaks_bidi_rule(text: &str) -> bool {
    use BidiClass::{AL, AN, BN, CS, EN, ES, ET, NSM, ON, R};
    if text.is_ascii() {
        return false;
    }
    let is_hebrew_letter = |c| matches!(c, 'א'..='ײ');
    let has_geresh = |name: &&str| {
        let last = name.chars().rfind(|c| bidi_class(*c) != NSM);
        last.is_some_and(is_hebrew_letter)
    };
    let text = text.strip_suffix('\'').filter(has_geresh).unwrap_or(text);
    let classes = || text.chars().map(bidi_class);
    let has = |wanted| classes().any(|class| class == wanted);
    if !(has(R) || has(AL) || has(AN)) {
        return false;
    }
    // This text contains a right-to-left character. The Bidi Rule forbids such a character in a text that begins with a
    // left-to-right letter, so this text must begin with a right-to-left letter. Rules 5 and 6 of the Bidi Rule are
    // only for texts that begin with a left-to-right letter, so this code checks only rules 1 to 4.
    let keeps = classes()
        .next()
        .is_some_and(|first| matches!(first, R | AL))
        && classes().all(|class| matches!(class, R | AL | AN | EN | ES | CS | ET | ON | BN | NSM))
        && classes()
            .rfind(|class| *class != NSM)
            .is_some_and(|last| matches!(last, R | AL | AN | EN))
        && !(has(EN) && has(AN));
    !keeps
}

/// Whether the text mixes scripts in a way that the Highly Restrictive level of
/// [UTS #39 §5.2](https://www.unicode.org/reports/tr39/#Restriction_Level_Detection) forbids. This level allows one
/// script, or Latin together with Japanese, Korean or Chinese.
///
/// The level also has a list of allowed characters. This function does not apply that list, because the list would
/// refuse `@` and the scripts of some minorities.
fn mixes_scripts(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    // The default is the set of all scripts.
    let mut all = AugmentedScriptSet::default();
    let mut beside_latin = AugmentedScriptSet::default();
    for set in text.chars().map(AugmentedScriptSet::for_char) {
        all.intersect_with(set);
        if !set.base.contains_script(Script::Latin) {
            beside_latin.intersect_with(set);
        }
    }
    all.is_empty() && !(beside_latin.jpan || beside_latin.kore || beside_latin.hanb)
}
