//! A history: what clients asked of one service, what they were told, and what the table holds at the
//! end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::Name;

/// The history of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The seed of the clients' choices.
    pub seed: u64,
    /// How old a page may be, in seconds.
    pub max_age: u64,
    /// Why the run ended early, such as an answer outside the contract. `None` if the run finished.
    pub failure: Option<String>,
    /// All operations, in the order in which they ended.
    pub operations: Vec<Operation>,
    /// Lists read to their last page, after the last write and without faults. The first list has no
    /// prefix, so it shows all users.
    pub walks: Vec<Walk>,
    /// All items in the table after the last write, read with a scan.
    pub items: Vec<StoredItem>,
}

/// The attributes of an item, except `request`, which identifies a repeated request.
pub type StoredItem = BTreeMap<String, String>;

/// A request and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The client that sent the request.
    pub client: usize,
    /// When the request was sent, in microseconds since the run began.
    pub start: u64,
    /// When the client learned the outcome, in microseconds since the run began.
    pub end: u64,
    /// What the client asked.
    pub request: Request,
    /// What the client was told.
    pub outcome: Outcome,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Create a user.
    Create(Create),
    /// List a page.
    List(List),
}

/// A request to create a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// The caller. `None` if there is no authorizer.
    pub caller: Option<String>,
    /// The Idempotency-Key.
    pub key: Option<String>,
    /// The username.
    pub name: Name,
}

/// A request to list a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The query string.
    pub query: String,
    /// The prefix of the listed users' keys.
    pub prefix: String,
    /// The largest number of users on the page.
    pub limit: usize,
    /// The last username on the previous page.
    pub after: Option<String>,
    /// The number of the walk that the page belongs to. A walk reads a list page by page.
    pub walk: usize,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// 201: the user exists.
    Created {
        /// The user.
        user: ShownUser,
        /// Whether an earlier attempt of the same request created the user.
        replayed: bool,
    },
    /// 409: another request owns the username.
    Taken,
    /// 200: a page.
    Page {
        /// The users on the page.
        users: Vec<ShownUser>,
        /// Whether the page links to a next page.
        has_next: bool,
    },
    /// 503: the request may have taken effect, or may still take effect.
    Unavailable,
    /// No answer, because the function was killed: the request may have taken effect.
    Killed,
}

impl Outcome {
    /// Whether the client does not know the outcome of its request.
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

/// A list, read to its last page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// The prefix of the listed users' keys.
    pub prefix: String,
    /// The largest number of users on a page.
    pub limit: usize,
    /// The users of all pages.
    pub users: Vec<ShownUser>,
}
