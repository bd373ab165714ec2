//! The usernames that the clients of a run choose from. Many of them conflict, because several
//! spellings of one name have the same username key.
//!
//! The display forms and the keys were written by hand, so that the tests do not compute them with
//! the service's own code.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// A username as a client writes it, with the expected display form and username key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// What the client sends.
    pub spelling: String,
    /// The display form.
    pub display: String,
    /// The username key.
    pub key: String,
}

/// Each entry has a spelling, its display form and its username key.
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
    // UTF-8 and UTF-16 sort these two names in opposite orders, because only the first name is
    // outside the Basic Multilingual Plane.
    ("\u{20bb7}", "\u{20bb7}", "\u{20bb7}"),
    ("\u{fa0e}", "\u{fa0e}", "\u{fa0e}"),
];

/// Prefixes: first the prefix that a client sends, then how the matching username keys begin.
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
    /// A random entry of `NAMES`, with `number` at the end of each of its three texts.
    pub fn choose(rng: &mut Rng, number: usize) -> Self {
        let (spelling, display, key) = NAMES[rng.usize(..NAMES.len())];
        Self {
            spelling: format!("{spelling}{number}"),
            display: format!("{display}{number}"),
            key: format!("{key}{number}"),
        }
    }
}

/// A prefix for a list request.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    /// What the client sends.
    pub spelling: &'static str,
    /// The list includes only users whose username key begins with this prefix.
    pub key: &'static str,
}

impl Prefix {
    /// A random prefix, which is empty in about half of the cases.
    pub fn choose(rng: &mut Rng) -> Self {
        let number = rng.usize(..2 * PREFIXES.len());
        Self::all().nth(number).unwrap_or(Self {
            spelling: "",
            key: "",
        })
    }

    /// All prefixes, the empty prefix first.
    pub fn all() -> impl Iterator<Item = Self> {
        let prefix = |(spelling, key)| Self { spelling, key };
        PREFIXES.into_iter().map(prefix)
    }
}
