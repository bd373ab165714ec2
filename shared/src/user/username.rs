//! Usernames: which are allowed, and when two of them are the same.
//!
//! [RFC 8265](https://www.rfc-editor.org/rfc/rfc8265) gives a username two forms. The display form
//! (`UsernameCasePreserved`) is what its owner chose, width-mapped and normalised. The key
//! (`UsernameCaseMapped`) is the display form in lower case, with σ for ς; two usernames with one key
//! are the same username. Nothing outside this module maps, trims or compares a username.

use std::{borrow::Cow, fmt};

use precis_core::{
    CodepointInfo, DerivedPropertyValue, Error as PrecisError, IdentifierClass, StringClass,
    UnexpectedError, profile::Rules,
};
use precis_profiles::UsernameCaseMapped;
use unicode_bidi::{BidiClass, bidi_class};
use unicode_normalization::char::is_combining_mark;
use unicode_script::Script;
use unicode_security::mixed_script::AugmentedScriptSet;

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
        let narrow = map_width(input);
        let display = compose(Cow::Borrowed(&narrow));
        let length = display.chars().count();
        if length > Self::MAX_CHARS {
            return Err(UsernameError::TooLong { length });
        }
        // Both: RFC 8264 asks before the text is composed, when what could compose away is still
        // there, and composing can make a character that is not allowed (`=` and U+0338 make `≠`).
        check_characters(&narrow)?;
        if display != narrow {
            check_characters(&display)?;
        }
        // A mark is drawn on the letter before it: without one, on what stands before the username.
        // RFC 5891 §4.2.3.2 has this rule for the names of hosts.
        if let Some(mark) = display.chars().next().filter(|c| is_combining_mark(*c)) {
            let code_point = mark.into();
            return Err(UsernameError::DisallowedCharacter { code_point });
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

    /// A username as the table holds it. It was parsed before it was written, and parsing a page
    /// of them again would cost more than the rest of the request.
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
/// It is mapped like a username but not judged like one: half a word may break a rule that the
/// whole word keeps, and a character that no username may have simply finds nobody.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct UsernamePrefix(String);

impl UsernamePrefix {
    /// Brings the beginning of a username into the form of the keys.
    ///
    /// # Errors
    /// Its display form has more than [`Username::MAX_CHARS`] characters; the error is their
    /// number.
    pub fn parse(input: &str) -> Result<Self, usize> {
        let display = compose(map_width(input));
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
    /// symbol, a compatibility character, or one that needs another context; or it begins with a
    /// combining mark.
    DisallowedCharacter {
        /// The Unicode code point.
        code_point: u32,
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
            Self::DisallowedCharacter { .. } => "disallowed-character",
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
            Self::DisallowedCharacter { code_point } => write!(
                f,
                "The character U+{code_point:04X} is not allowed here; use letters, digits and \
                 the visible ASCII characters, without spaces."
            ),
            Self::MixedScripts => f.write_str(
                "The username mixes letters of different scripts; use letters of one script, or \
                 Latin together with Japanese, Korean or Chinese.",
            ),
            Self::Bidi => f.write_str(
                "A username with right-to-left characters must begin with a right-to-left letter, \
                 end with a letter or digit, hold no left-to-right letters, and not mix the digits \
                 0 to 9 with Arabic-Indic ones.",
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
    let code_point = match error {
        PrecisError::BadCodepoint(CodepointInfo { cp, .. })
        | PrecisError::Unexpected(
            UnexpectedError::ContextRuleNotApplicable(CodepointInfo { cp, .. })
            | UnexpectedError::MissingContextRule(CodepointInfo { cp, .. }),
        ) => cp,
        // A character needs a neighbour on a side where the text ends, and the crate does not say
        // which character: it is the first one, or else the last of those with such a rule.
        PrecisError::Invalid
        | PrecisError::Unexpected(
            UnexpectedError::ProfileRuleNotApplicable | UnexpectedError::Undefined,
        ) => {
            let needs_context = |c: &char| {
                let property = class.get_value_from_char(*c);
                matches!(
                    property,
                    DerivedPropertyValue::ContextJ | DerivedPropertyValue::ContextO
                )
            };
            let first = text.chars().next().filter(needs_context);
            let culprit = first.or_else(|| text.chars().rfind(needs_context));
            u32::from(culprit.unwrap_or_default())
        }
    };
    Err(UsernameError::DisallowedCharacter { code_point })
}

// The mappings of RFC 8265, §3.3.2 and 3.4.2, which take any text. The crate has the first two.

/// Full-width and half-width characters become ordinary ones.
fn map_width(text: &str) -> Cow<'_, str> {
    let mapped = UsernameCaseMapped::new().width_mapping_rule(text);
    mapped.expect("a mapping refuses nothing")
}

/// Unicode Normalization Form C.
fn compose(text: Cow<'_, str>) -> Cow<'_, str> {
    let mapped = UsernameCaseMapped::new().normalization_rule(text);
    mapped.expect("a mapping refuses nothing")
}

/// From the display form to the key.
///
/// RFC 8264 §5.2.3 asks for Unicode's `toLowerCase()`, which makes of Σ a ς at the end of a word
/// and a σ elsewhere. The key takes ς and σ for one letter, so `ΣΊΣΥΦΟΣ` is `Σίσυφος` as the RFC
/// has it, and a prefix finds both: it does not know whether the word ends with it.
fn to_key(display: &str) -> String {
    let lower = display.to_lowercase().replace('ς', "σ");
    compose(Cow::Owned(lower)).into_owned()
}

/// Whether the text has right-to-left characters and breaks the Bidi Rule of
/// [RFC 5893 §2](https://www.rfc-editor.org/rfc/rfc5893#section-2).
///
/// `precis-profiles` has this rule too, but refuses every nonspacing mark that is not at the end,
/// and so most vocalised Hebrew and Arabic names and nearly all in Thaana.
fn breaks_bidi_rule(text: &str) -> bool {
    use BidiClass::{AL, AN, BN, CS, EN, ES, ET, NSM, ON, R};
    if text.is_ascii() {
        return false;
    }
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
