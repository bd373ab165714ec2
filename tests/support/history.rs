//! Histories: what many clients asked of the service at the same time, under faults, and what each
//! was told; and the rules that any such history keeps if a username belongs to one user and an
//! acknowledged user is never lost or doubled.
//!
//! [`run()`] makes a history with the functions' real processes over an engine on a file, and
//! [`check()`] judges it. A history is data: it can be written to a file, read by a person, and judged
//! again.
//!
//! A seed decides how old a page may be, what each client asks for, and between which of its requests
//! it adds which faults and kills. It does not decide how the processes are scheduled: the same seed
//! makes the same choices, and not the same history.

pub mod check;
pub mod names;
pub mod run;

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use check::{Rule, Violation, check};
pub use names::Name;
pub use run::{Plan, Totals, run};

use crate::workspace;

/// The seed that `HISTORY_SEED` names, or a fresh one.
///
/// # Panics
/// It names none.
#[must_use]
pub fn seed() -> u64 {
    let seed = env::var("HISTORY_SEED").unwrap_or_default();
    if seed.is_empty() {
        // Short enough to be typed.
        fastrand::u32(..).into()
    } else {
        seed.parse().expect("HISTORY_SEED is a number")
    }
}

/// What clients asked of one service, and what they were told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The seed of the clients' choices.
    pub seed: u64,
    /// How old a page may be, in seconds.
    pub max_age: u64,
    /// What ended the run before its time, such as an answer that there may never be.
    pub failure: Option<String>,
    /// All operations, in the order in which they ended.
    pub operations: Vec<Operation>,
    /// Walks through the whole list after the last write, when the faults were over. The first one
    /// shows all users.
    pub walks: Vec<Walk>,
    /// All that the table holds then, as the table itself shows it.
    pub items: Vec<Item>,
}

/// The attributes of an item, but for what tells a repeated request.
pub type Item = BTreeMap<String, String>;

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Which client made it.
    pub client: usize,
    /// When the request left, in microseconds of one clock that never goes back.
    pub start: u64,
    /// When the client knew what became of it.
    pub end: u64,
    /// What was asked.
    pub request: Request,
    /// What was told.
    pub outcome: Outcome,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A user.
    Create(Create),
    /// A page of the list.
    List(List),
}

/// A request for a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Who asks; nobody known, where there is no authorizer.
    pub caller: Option<String>,
    /// The Idempotency-Key.
    pub key: Option<String>,
    /// The username.
    pub name: Name,
}

/// A request for a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The query string.
    pub query: String,
    /// What the keys of the listed users begin with.
    pub prefix: String,
    /// The largest number of users on the page.
    pub limit: usize,
    /// The username of the last user on the page before.
    pub after: Option<String>,
    /// The walk that the page belongs to: a list followed from page to page.
    pub walk: usize,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// 201: there is this user.
    Created {
        /// The user.
        user: User,
        /// Whether an earlier attempt of the same request had created it.
        replayed: bool,
    },
    /// 409: the username is another's.
    Taken,
    /// 200: a page.
    Page {
        /// Its users.
        users: Vec<User>,
        /// Whether it links to a next page.
        has_next: bool,
    },
    /// 503: the request may have taken effect, or may still.
    Unavailable,
    /// Nothing, as the function was killed: the request may have taken effect.
    Killed,
}

impl Outcome {
    /// Whether the client does not know what became of its request.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Killed)
    }
}

/// A user as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The id.
    pub id: String,
    /// The username, in its display form.
    pub username: String,
    /// The time of creation.
    pub created_at: String,
}

/// A list, followed to its last page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// What the keys of the listed users begin with.
    pub prefix: String,
    /// The largest number of users on a page.
    pub limit: usize,
    /// The users of all pages.
    pub users: Vec<User>,
}

impl History {
    /// Judges the history. One that breaks a rule is kept in a file.
    ///
    /// # Errors
    /// The seed, the file and what is wrong, for a person to read.
    ///
    /// # Panics
    /// The file can't be written.
    pub fn judge(&self) -> Result<(), String> {
        /// A lost user breaks a rule on every page.
        const SHOWN: usize = 3;

        let violations = check(self);
        if violations.is_empty() {
            return Ok(());
        }
        let mut by_rule = BTreeMap::<Rule, Vec<String>>::new();
        for violation in violations {
            by_rule
                .entry(violation.rule)
                .or_default()
                .push(violation.what);
        }
        let file = self.write();
        let mut lines = vec![format!(
            "HISTORY_SEED={} made a history that breaks rules; it is in {}",
            self.seed,
            file.display()
        )];
        for (rule, found) in by_rule {
            lines.push(format!("{rule:?}, {} times, such as", found.len()));
            lines.extend(found.into_iter().take(SHOWN));
        }
        Err(lines.join("\n"))
    }

    fn write(&self) -> PathBuf {
        let folder = workspace::target().join("torture");
        fs::create_dir_all(&folder).expect("the folder can be made");
        let file = folder.join(format!("{}.json", self.seed));
        let json = serde_json::to_string_pretty(self).expect("a history can be written as JSON");
        fs::write(&file, json).expect("the file can be written");
        file
    }
}
