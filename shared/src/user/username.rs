//! Usernames: which are allowed, and when two of them are the same.
//!
//! [RFC 8265](https://www.rfc-editor.org/rfc/rfc8265) gives a username two forms. The display form
//! (`UsernameCasePreserved`) is what its owner chose, in ordinary spelling. The key
//! (`UsernameCaseMapped`) is the display form in lower case, with σ for ς; two usernames with one key
//! are the same username. Nothing outside this module maps, trims or compares a username.

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

/// A unique name, made only by [`Username::parse`] or read back from the table.
///
/// `Debug` shows nothing of it: a username is personal data and belongs in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Username {
    display: String,
    key: String,
}

impl Username {
    /// The longest display form, in Unicode scalar values.
    ///
    /// 80 leaves room for an e-mail address or a full name, and keeps an item under the 1 KiB that
    /// one write unit pays for even if every character takes four bytes.
    pub const MAX_CHARS: usize = 80;

    /// The longest key, in bytes: no lower case letter takes more than four.
    pub const MAX_KEY_BYTES: usize = Self::MAX_CHARS * 4;

    /// Checks a username and brings it into its two forms. Nothing is cut off or trimmed.
    ///
    /// # Errors
    /// The first rule that the input breaks.
    pub fn parse(input: &str) -> Result<Self, UsernameError> {
        if input.is_empty() {
            return Err(UsernameError::Empty);
        }
        let display = to_display(input);
        let length = display.chars().count();
        if length > Self::MAX_CHARS {
            return Err(UsernameError::TooLong { length });
        }
        // The rules judge the display form and nothing else (RFC 8264 §7), so every spelling of a
        // text gets the same answer, and what composes into a symbol is one: `=` and U+0338 are `≠`.
        check_characters(&display)?;
        // A mark is drawn on the letter before it. At the start, that would be the text before the username.
        // RFC 5891 §4.2.3.2 has this rule for the names of hosts.
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

    /// A username from the table. It was parsed before it was written. Parsing a page of them again would
    /// cost more than the rest of the request.
    pub(crate) fn from_table(display: String, key: String) -> Self {
        Self { display, key }
    }

    /// The display form: what its owner chose, and what others see.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.display
    }

    /// The comparison form. Usernames are unique by it and sorted by its code points.
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

/// The beginning of a username's key, to search by.
///
/// It is mapped like a username but not validated like one, because half a word may break a rule that
/// the whole word keeps. A character that no username may have simply finds nobody.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct UsernamePrefix(String);

impl UsernamePrefix {
    /// Brings the beginning of a username into the form of the keys.
    ///
    /// # Errors
    /// Its display form has more than [`Username::MAX_CHARS`] characters; the error is their
    /// number.
    pub fn parse(input: &str) -> Result<Self, usize> {
        let display = to_display(input);
        let length = display.chars().count();
        if length > Username::MAX_CHARS {
            return Err(length);
        }
        Ok(Self(to_key(&display)))
    }

    /// The mapped prefix; empty when it filters nothing.
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

/// Why a username is refused. `Display` is a sentence for the person who chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsernameError {
    /// It has no character.
    Empty,
    /// Its display form has more than [`Username::MAX_CHARS`] characters.
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// It has a character outside the `IdentifierClass` of
    /// [RFC 8264 §4.2](https://www.rfc-editor.org/rfc/rfc8264#section-4.2): a space, a control, a
    /// symbol, a compatibility character, or one that needs another context.
    DisallowedCharacter {
        /// The character, if it is known which one it is.
        character: Option<char>,
    },
    /// It begins with a combining mark.
    LeadingMark {
        /// The mark.
        mark: char,
    },
    /// It mixes scripts, as a forged name does.
    MixedScripts,
    /// It breaks the Bidi Rule of
    /// [RFC 5893 §2](https://www.rfc-editor.org/rfc/rfc5893#section-2).
    Bidi,
}

impl UsernameError {
    /// The stable code of the reason, for programs.
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
                "The username begins with the combining mark U+{:04X}; put its letter before it.",
                u32::from(*mark)
            ),
            Self::MixedScripts => f.write_str(
                "The username mixes letters of different scripts; use letters of one script, or \
                 Latin together with Japanese, Korean or Chinese.",
            ),
            Self::Bidi => f.write_str(
                "A username with right-to-left characters must begin with a right-to-left letter, \
                 end with a letter or digit, or with one ' behind a Hebrew letter, hold no \
                 left-to-right letters, and not mix the digits 0 to 9 with Arabic-Indic ones.",
            ),
        }
    }
}

impl std::error::Error for UsernameError {}

/// Checks that every character is in the `IdentifierClass` and stands where its rule, if it has one,
/// allows it.
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
        // A character needs a neighbour on a side where the text ends, and the crate does not say
        // which character: one that has only marks before it, or else the last one with a rule.
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
/// `precis-profiles` has this rule too, but refuses every nonspacing mark that is not at the end,
/// and so most vocalised Hebrew and Arabic names and nearly all in Thaana.
///
/// One `'` may end a username behind a Hebrew letter: keyboards send it for the geresh, U+05F3, with
/// which the rule lets a name end. As no right-to-left username begins with `'`, two of them still
/// never look alike where a text of the other direction moves it to the other end.
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
    // Rules 1 to 4. One that begins with a left-to-right letter would have to keep rules 5 and 6,
    // which allow no right-to-left character.
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
/// [UTS #39 §5.2](https://www.unicode.org/reports/tr39/#Restriction_Level_Detection) refuses:
/// it is not of one script, nor of Latin with Japanese, Korean or Chinese.
///
/// Only the script half of the level is wanted here. Its list of identifier characters would
/// refuse `@` and the scripts of living minorities.
fn mixes_scripts(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
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
