//! The record of one run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::Name;

/// The requests of all clients in one run, their outcomes, and the contents of the table after the
/// last write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The seed of the run's random choices.
    pub seed: u64,
    /// The maximum age of a page, in seconds.
    pub max_age: u64,
    /// Why the run ended early, for example because of an answer that violates the contract.
    pub failure: Option<String>,
    /// All operations, in the order in which they ended.
    pub operations: Vec<Operation>,
    /// The lists that were read after the last write, each up to its last page. No faults were
    /// injected at that time. The first list has no prefix, so it shows all users.
    pub walks: Vec<Walk>,
    /// All items that a scan of the table returned after the last write.
    pub items: Vec<StoredItem>,
}

/// An item's attributes by name, without `request`, which holds the request's fingerprint.
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
    /// The client's request.
    pub request: Request,
    /// The outcome, as the client learned it.
    pub outcome: Outcome,
}

/// A request that a client sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Create a user.
    Create(Create),
    /// Get one page of a list of users.
    List(List),
}

/// A request to create a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// The caller that the token names. `None` if the event has no authorizer.
    pub caller: Option<String>,
    /// The Idempotency-Key.
    pub key: Option<String>,
    /// The username.
    pub name: Name,
}

/// A request for one page of a list of users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The query string.
    pub query: String,
    /// The list includes only users whose username key begins with this prefix.
    pub prefix: String,
    /// The largest number of users on the page.
    pub limit: usize,
    /// The last username on the previous page. `None` for the first page.
    pub after: Option<String>,
    /// Identifies the walk. In a walk, a client reads one or more pages of the same list, one page
    /// after another.
    pub walk: usize,
}

/// The outcome of a request, as the client learns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// 201: the user exists.
    Created {
        /// The user.
        user: ShownUser,
        /// Whether an earlier attempt of the same request created the user.
        replayed: bool,
    },
    /// 409: another request has already created a user with this username.
    Taken,
    /// 200: a page.
    Page {
        /// The users on the page.
        users: Vec<ShownUser>,
        /// Whether the page links to a next page.
        has_next: bool,
    },
    /// 503: the request may have taken effect already, or may take effect later.
    Unavailable,
    /// Like [`Outcome::Unavailable`], but without an answer, because the function was killed.
    Killed,
}

impl Outcome {
    /// Whether the client cannot know if its request took effect.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Killed)
    }
}

/// A user, with the fields that a response of the API shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownUser {
    /// The id.
    pub id: String,
    /// The username, in its display form.
    pub username: String,
    /// The time of creation.
    pub created_at: String,
}

/// A list of users that was read page by page, from the first page to the last page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// The list includes only users whose username key begins with this prefix.
    pub prefix: String,
    /// The `limit` of each request: a page may have at most this many users.
    pub limit: usize,
    /// The users of all pages.
    pub users: Vec<ShownUser>,
}
