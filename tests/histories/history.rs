//! A history: the clients' requests to one service, their outcomes, and the table's contents at the end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::Name;

/// A record of one run: the requests, their outcomes, and the users at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The seed of the run's random choices.
    pub seed: u64,
    /// The maximum age of a page, in seconds.
    pub max_age: u64,
    /// Why the run ended early. For example, an answer violated the contract. `None` if the run finished.
    pub failure: Option<String>,
    /// All operations, in the order in which they ended.
    pub operations: Vec<Operation>,
    /// The lists that were read to their last page after the last write, without faults. The first
    /// list has no prefix, so it shows all users.
    pub walks: Vec<Walk>,
    /// All items that a scan of the table returned after the last write.
    pub items: Vec<StoredItem>,
}

/// An item's attributes by name, without `request`: the fingerprint by which the service recognizes
/// a repeated request.
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
    /// The outcome of the request, as the client learned it.
    pub outcome: Outcome,
}

/// A request of a client.
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
    /// The caller. `None` if there is no authorizer.
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
    /// The prefix of the username keys that the list includes.
    pub prefix: String,
    /// The largest number of users on the page.
    pub limit: usize,
    /// The last username on the previous page.
    pub after: Option<String>,
    /// The number of the walk that this request belongs to. The requests of a walk read one list page by page.
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
    /// 409: another request owns the username.
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
    /// No answer, because the function was killed. The request may have taken effect already, or
    /// may take effect later.
    Killed,
}

impl Outcome {
    /// Whether the client cannot know if its request took effect.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Killed)
    }
}

/// A user as a response of the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownUser {
    /// The id.
    pub id: String,
    /// The username, in its display form.
    pub username: String,
    /// The time of creation.
    pub created_at: String,
}

/// A list that was read page by page to its last page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// The prefix of the username keys that the list includes.
    pub prefix: String,
    /// The largest number of users on a page.
    pub limit: usize,
    /// The users of all pages.
    pub users: Vec<ShownUser>,
}
