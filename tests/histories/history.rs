//! A history: what clients asked of one service, what each was told, and what the table holds at the end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::Name;

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
    pub items: Vec<StoredItem>,
}

/// The attributes of an item, but for what tells a repeated request.
pub type StoredItem = BTreeMap<String, String>;

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
        user: ShownUser,
        /// Whether an earlier attempt of the same request had created it.
        replayed: bool,
    },
    /// 409: the username is another's.
    Taken,
    /// 200: a page.
    Page {
        /// Its users.
        users: Vec<ShownUser>,
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
pub struct ShownUser {
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
    pub users: Vec<ShownUser>,
}
