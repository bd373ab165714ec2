//! Usernames that conflict: a few names, each in several spellings.
//!
//! The expected forms of each spelling were written by hand, so that the histories do not depend on the
//! service's own code.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// A username as a client writes it, and its expected forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// What the client sends.
    pub spelling: String,
    /// The display form.
    pub display: String,
    /// The username key.
    pub key: String,
}

/// Spellings of names, their display forms and their keys.
const NAMES: [(&str, &str, &str); 17] = [
    ("ada", "ada", "ada"),
    ("ADA", "ADA", "ada"),
    ("Ada", "Ada", "ada"),
    ("ａｄａ", "ada", "ada"),
    ("Ａda", "Ada", "ada"),
    ("ad", "ad", "ad"),
    ("AD", "AD", "ad"),
    ("jos\u{e9}", "jos\u{e9}", "jos\u{e9}"),
    ("jose\u{301}", "jos\u{e9}", "jos\u{e9}"),
    ("JOSE\u{301}", "JOS\u{c9}", "jos\u{e9}"),
    ("ольга", "ольга", "ольга"),
    ("Ольга", "Ольга", "ольга"),
    ("カナ", "カナ", "カナ"),
    ("ｶﾅ", "カナ", "カナ"),
    ("ｶナ", "カナ", "カナ"),
    // UTF-8 and UTF-16 sort these two differently: only the first is outside the Basic Multilingual Plane.
    ("\u{20bb7}", "\u{20bb7}", "\u{20bb7}"),
    ("\u{fa0e}", "\u{fa0e}", "\u{fa0e}"),
];

/// Prefixes as a client writes them, each with the prefix of the keys that it selects.
const PREFIXES: [(&str, &str); 8] = [
    ("", ""),
    ("a", "a"),
    ("ＡＤ", "ad"),
    ("ada1", "ada1"),
    ("JOSE\u{301}", "jos\u{e9}"),
    ("Оль", "оль"),
    ("ｶ", "カ"),
    ("\u{20bb7}", "\u{20bb7}"),
];

impl Name {
    /// A random name that ends with this number.
    pub fn choose(rng: &mut Rng, number: usize) -> Self {
        let (spelling, display, key) = NAMES[rng.usize(..NAMES.len())];
        Self {
            spelling: format!("{spelling}{number}"),
            display: format!("{display}{number}"),
            key: format!("{key}{number}"),
        }
    }
}

/// A prefix to list by.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    /// What the client sends.
    pub spelling: &'static str,
    /// The prefix of the listed users' keys.
    pub key: &'static str,
}

impl Prefix {
    /// A random prefix, which is empty about every second time.
    pub fn choose(rng: &mut Rng) -> Self {
        let number = rng.usize(..2 * PREFIXES.len());
        Self::all().nth(number).unwrap_or(Self {
            spelling: "",
            key: "",
        })
    }

    /// All prefixes, the empty one first.
    pub fn all() -> impl Iterator<Item = Self> {
        let prefix = |(spelling, key)| Self { spelling, key };
        PREFIXES.into_iter().map(prefix)
    }
}
