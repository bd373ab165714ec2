//! A model of how clients, the function and the table create users, for the model checker
//! [stateright](https://docs.rs/stateright).
//!
//! Each test in `tests/histories` sees only one order of events: the order in which they happened
//! in its run. The model checks every possible order, and shows which promises break if a rule is
//! removed.
//!
//! * Up to three clients each ask for a username, with or without an Idempotency-Key. Each client
//!   may send its request a second time, before or after the first answer.
//! * Each time a client sends its request, the function runs once, and sends its write to the table
//!   at most twice. A write may arrive after the function has stopped waiting, or never. The
//!   table's answer to a write may get lost. Functions may crash at any time.
//! * An operator may erase one user.
//!
//! In the model, every answer of a function reaches the client, so that the model can check it. In
//! reality, these answers may get lost too.
//!
//! The model uses the service's code: [`create_user::insert::judge`] decides what to answer after a
//! failed condition.

mod decision;
mod linearizable;
mod story;

use std::array;

use shared::{
    caller::{Caller, Claim},
    item::{Fingerprint, StoredUser},
    user::{User, UserId, Username},
};
use stateright::{Model, Property};

pub use decision::Decision;
pub use linearizable::linearizable;
pub use story::{Path, shortest, story};

/// The largest number of clients in a model.
pub const CLIENTS: usize = 3;
/// The usernames that clients request: two names, each in two spellings.
pub const USERNAMES: [&str; 4] = ["ada", "Ada", "bea", "Bea"];
/// Pairs of caller and Idempotency-Key: two callers use the same key, and one caller uses two keys.
pub const KEYS: [(&str, &str); 3] = [("alma", "one"), ("boris", "one"), ("alma", "two")];
/// How often a client sends its request at most, and how often each function sends its write at
/// most.
const ATTEMPTS: usize = 2;

/// The request that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// An index into [`USERNAMES`].
    pub username: usize,
    /// An index into [`KEYS`].
    pub key: Option<usize>,
}

/// An attempt of a client to create its user. Each attempt runs the function once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The client.
    pub client: usize,
    /// 0 for the first attempt, and 1 for the second attempt.
    pub number: usize,
}

/// Identifies a user in the table by the write that created the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// The attempt that sent the write.
    pub attempt: Attempt,
    /// The index of the attempt's first write that contains the user. All writes of an attempt
    /// contain the same user, so the index is 0. But in a model with [`Without::OneIdARequest`],
    /// each write contains a different user, and the index is 0 or 1.
    pub write: usize,
}

impl Item {
    fn number(self) -> usize {
        (self.attempt.client * ATTEMPTS + self.attempt.number) * ATTEMPTS + self.write
    }
}

/// The content of the table under one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Nothing.
    #[default]
    Free,
    /// A user.
    User(Item),
    /// The item that replaces the erased user in [`Erasure::Tombstone`].
    Tombstone,
}

/// The progress of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Run {
    /// The client has not sent this attempt yet.
    #[default]
    Unsent,
    /// The function waits for the answer to its newest write.
    Waiting {
        /// How many writes the function has sent.
        sent: u8,
        /// How many of the attempt's older writes may still arrive at the table.
        late: u8,
    },
    /// The function has ended, with or without an answer.
    Over {
        /// How many of the attempt's writes may still arrive at the table.
        late: u8,
    },
}

/// What the operator has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Nothing.
    #[default]
    Idle,
    /// The operator has looked up the user.
    Found(Item),
    /// The operator has deleted the user for the first time.
    Deleted(Item),
    /// The operator has waited until two kinds of messages can no longer arrive: writes of attempts
    /// that clients sent before the erasure began, and a late copy of the delete.
    Waited(Item),
    /// The operator has reported that the user is erased.
    Done(Item),
}

impl Progress {
    /// The user to erase.
    #[must_use]
    pub fn user(self) -> Option<Item> {
        match self {
            Self::Idle => None,
            Self::Found(user) | Self::Deleted(user) | Self::Waited(user) | Self::Done(user) => {
                Some(user)
            }
        }
    }
}

/// The state of the whole system. A set of clients, of attempts or of users is a bit mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The request of each client.
    pub requests: [Request; CLIENTS],
    /// The clients that omit the Idempotency-Key from their second attempt.
    pub forgetful: u8,
    /// The progress of each client's attempts.
    pub runs: [[Run; ATTEMPTS]; CLIENTS],
    /// The table: `table[place][key]`. Most models use only the first place. In others, the second
    /// place is the second region or item collection ([`Layout`]), or an old copy of the table
    /// ([`Without::ConsistentRead`]).
    pub table: [[Cell; USERNAMES.len()]; 2],
    /// For each key, the number of the place that was written last.
    pub newest: [u8; USERNAMES.len()],
    /// The users that clients got in a 201 response.
    pub told: u16,
    /// Which wrong answers clients got: one bit for each `Wrong`.
    pub wrong: u8,
    /// The progress of the erasure.
    pub progress: Progress,
    /// The attempts that clients sent before the erasure began: one bit for each attempt.
    pub begun: u8,
    /// The users that the operator deleted on purpose: the user to erase, and other users that were
    /// created by attempts of that user's request.
    pub erased: u16,
    /// Whether a late copy of the operator's delete may still arrive.
    pub late_delete: bool,
}

impl State {
    fn run(&mut self, attempt: Attempt) -> &mut Run {
        &mut self.runs[attempt.client][attempt.number]
    }

    /// The attempt's index into [`KEYS`], or `None` if the attempt has no Idempotency-Key.
    #[must_use]
    pub fn key(&self, attempt: Attempt) -> Option<usize> {
        let forgotten = attempt.number > 0 && self.forgetful >> attempt.client & 1 == 1;
        self.requests[attempt.client].key.filter(|_| !forgotten)
    }

    /// Whether two attempts belong to one request.
    fn are_one_request(&self, one: Attempt, other: Attempt) -> bool {
        let username = |attempt: Attempt| self.requests[attempt.client].username;
        let key = self.key(one);
        one == other || key.is_some() && key == self.key(other) && username(one) == username(other)
    }

    fn users(&self) -> impl Iterator<Item = Item> {
        self.table.iter().flatten().filter_map(|cell| match cell {
            Cell::User(item) => Some(*item),
            _ => None,
        })
    }
}

/// An answer that no client may get.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// A 201 with a user that another request created, or with a spelling that the client did not
    /// ask for.
    OthersUser,
    /// A 201 that is marked as a replay, although the attempt that got it created the user.
    FalseReplay,
    /// A 409 to a request that itself created the user with this username.
    FalseConflict,
}

/// The rule that a model of the service leaves out, to show which promise then breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Leaves out this rule: a write succeeds only if the table has no user with the same key.
    Condition,
    /// Leaves out this rule: after a failed condition, the function compares the ids of the new
    /// user and the existing user.
    OwnId,
    /// Leaves out this rule: the function compares the fingerprints of the new user and the
    /// existing user.
    Fingerprint,
    /// Leaves out this rule: only a request with an Idempotency-Key gets a replay.
    Key,
    /// Leaves out this rule: the function compares the spellings of the new username and the
    /// existing username.
    Spelling,
    /// Leaves out this rule: the caller is part of the fingerprint.
    Caller,
    /// Leaves out this rule: the table's key is the username's comparison form, which ignores case.
    ComparisonForm,
    /// Leaves out this rule: all writes of one attempt contain the same user id.
    OneIdARequest,
    /// Leaves out this rule: the client gets a 503 if the function got no answer from the table.
    Doubt,
    /// Leaves out this rule: the function accepts a response as DynamoDB's answer only if the
    /// response has a request id.
    RequestId,
    /// Leaves out this rule: a list request uses consistent reads.
    ConsistentRead,
}

impl Without {
    /// All rules.
    pub const ALL: [Self; 11] = [
        Self::Condition,
        Self::OwnId,
        Self::Fingerprint,
        Self::Key,
        Self::Spelling,
        Self::Caller,
        Self::ComparisonForm,
        Self::OneIdARequest,
        Self::Doubt,
        Self::RequestId,
        Self::ConsistentRead,
    ];
}

/// Where users are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// All users are in one item collection of one table, as in the service.
    #[default]
    One,
    /// Users are in a global table with two regions. A write is replicated to the other region
    /// later. If both regions write the same key, the later write wins. Only the last client uses
    /// the second region.
    Regions,
    /// Users are in two item collections. A hash of the key chooses the collection, so that all
    /// clients use the same collection for a key.
    Shards,
    /// Two releases of the function are in use: the older release keeps all users in one item
    /// collection, and the newer release uses two. Only the last client calls the newer release.
    MoreShards,
}

/// How an operator erases a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// Delete the user with the username, whatever its id is.
    Delete,
    /// Look up the user's id, and delete the user only if the id is still the same.
    DeleteById,
    /// Like `DeleteById`, but for an old user: no write of the attempt that created the user can
    /// still arrive at the table.
    DeleteOldById,
    /// Delete the user with the username, whatever its id is. Wait until no write of an attempt
    /// that was sent before the erasure can still arrive, and delete again in the same way.
    DeleteTwice,
    /// Like `DeleteTwice`, but look up the user first. Both deletes have the same condition: the
    /// user in the table has the id of the user that was looked up, or has the fingerprint and the
    /// spelling of that user.
    DeleteTwiceByRequest,
    /// Look up the user's id, wait until no write of an attempt from before the erasure can still
    /// arrive, and delete the user only if the id is still the same.
    WaitThenDelete,
    /// Replace the user with an item that has the same key and no personal data. The item stays
    /// forever.
    Tombstone,
}

impl Erasure {
    /// All ways to erase a user.
    pub const ALL: [Self; 7] = [
        Self::Delete,
        Self::DeleteById,
        Self::DeleteOldById,
        Self::DeleteTwice,
        Self::DeleteTwiceByRequest,
        Self::WaitThenDelete,
        Self::Tombstone,
    ];
}

/// One step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client sends its request.
    Send(usize),
    /// A client sends its request again.
    Repeat {
        /// The client.
        client: usize,
        /// Whether the client omits its Idempotency-Key from this attempt.
        forgets_key: bool,
    },
    /// The newest write of an attempt arrives, and the function gets the table's answer.
    Arrive(Attempt),
    /// The newest write of an attempt arrives, and the table's answer gets lost.
    LoseAnswer(Attempt),
    /// The newest write of an attempt times out, but may still arrive later.
    TimeOut(Attempt),
    /// A proxy between the function and the table stops the newest write, and invents a 200 as the
    /// answer. The write never reaches the table.
    Forge(Attempt),
    /// A write of an attempt arrives late: the function no longer waits for its answer.
    ArriveLate(Attempt),
    /// A function crashes.
    Crash(Attempt),
    /// The operator takes the next step of the erasure.
    Erase,
    /// A late copy of the operator's delete arrives at the table.
    DeleteLate,
    /// The newest content of the key with this number is copied to the place of [`State::table`]
    /// that does not have it.
    Replicate(usize),
}

/// The model.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// How many clients there are.
    pub clients: usize,
    /// The rule that the model leaves out, if any.
    pub without: Option<Without>,
    /// Where users are kept.
    pub layout: Layout,
    /// How the operator erases one user. `None` if no user is erased. If a user is erased, all
    /// clients ask for the same name, in one or both of its spellings.
    pub erasure: Option<Erasure>,
    /// Whether states count as one state if they differ only in numbers that no longer matter (see
    /// `merge`).
    pub merges: bool,
    usernames: [Username; USERNAMES.len()],
    fingerprints: [Fingerprint; KEYS.len()],
    ids: [UserId; CLIENTS * ATTEMPTS * ATTEMPTS],
    /// The key of each username. A key is a number: the index in [`USERNAMES`] of the first
    /// username with this key.
    keys: [usize; USERNAMES.len()],
}

impl Protocol {
    /// A model of the service with all its rules.
    #[must_use]
    pub fn new(clients: usize) -> Self {
        let usernames = USERNAMES.map(|name| Username::parse(name).expect("the username is valid"));
        let mut protocol = Self {
            clients,
            without: None,
            layout: Layout::One,
            erasure: None,
            merges: false,
            usernames,
            fingerprints: KEYS.map(|(caller, key)| Fingerprint::new(&named(caller), key)),
            ids: array::from_fn(|_| UserId::new()),
            keys: [0; USERNAMES.len()],
        };
        protocol.keys = protocol.keys_by(Username::key);
        protocol
    }

    /// A model of the service without this rule.
    #[must_use]
    pub fn without(clients: usize, rule: Without) -> Self {
        let mut protocol = Self::new(clients);
        protocol.without = Some(rule);
        match rule {
            Without::Caller => {
                protocol.fingerprints = KEYS.map(|(_, key)| Fingerprint::new(&Caller::Anyone, key));
            }
            Without::ComparisonForm => protocol.keys = protocol.keys_by(Username::as_str),
            _ => {}
        }
        protocol
    }

    fn keys_by(&self, form: fn(&Username) -> &str) -> [usize; USERNAMES.len()] {
        let first = |username| {
            let same = |other| form(other) == form(username);
            let first = self.usernames.iter().position(same);
            first.expect("a username equals itself")
        };
        array::from_fn(|number| first(&self.usernames[number]))
    }

    /// The user that a write puts into the table.
    #[must_use]
    pub fn stored(&self, state: &State, item: Item) -> StoredUser {
        let request = state.requests[item.attempt.client];
        StoredUser {
            user: User {
                id: self.ids[item.number()],
                username: self.usernames[request.username].clone(),
            },
            fingerprint: state.key(item.attempt).map(|key| self.fingerprints[key]),
        }
    }

    /// Finds the cell of [`State::table`] that an attempt writes to. Returns the two indexes of this
    /// cell: the place and the key.
    fn home(&self, state: &State, attempt: Attempt) -> (usize, usize) {
        let key = self.keys[state.requests[attempt.client].username];
        let is_last = attempt.client + 1 == self.clients;
        let place = match self.layout {
            Layout::One => 0,
            Layout::Regions => usize::from(is_last),
            Layout::Shards => usize::from(key == 0),
            Layout::MoreShards => usize::from(is_last && key == 0),
        };
        (place, key)
    }

    /// Applies a write to the table. Returns the user that the write contains, and the content that
    /// its condition finds in the cell. In a model whose writes have no condition, this content is
    /// always `Free`.
    fn write(&self, state: &mut State, attempt: Attempt, write: usize) -> (Item, Cell) {
        let write = if self.without == Some(Without::OneIdARequest) {
            write
        } else {
            0
        };
        let item = Item { attempt, write };
        let (place, key) = self.home(state, attempt);
        let cell = &mut state.table[place][key];
        let found = if self.without == Some(Without::Condition) {
            Cell::Free
        } else {
            *cell
        };
        if found == Cell::Free {
            *cell = Cell::User(item);
            state.newest[key] = place.try_into().expect("0 or 1");
        }
        (item, found)
    }

    /// Decides what the function answers. The function has sent a write of `item`. When the write
    /// arrived, the table had the content `found` at the item's key. Returns the decision, and the
    /// user that the answer shows if it is a 201.
    fn decide(&self, state: &State, item: Item, found: Cell) -> (Decision, Item) {
        match found {
            Cell::Free => (Decision::Created, item),
            Cell::Tombstone => (Decision::Taken, item),
            Cell::User(found) => match self.judge(state, item, found) {
                Decision::Created => (Decision::Created, item),
                other => (other, found),
            },
        }
    }

    /// What the function answers if the newest write of this attempt arrives now: the decision, and
    /// the user that the answer shows if it is a 201. `None` if the attempt is not waiting for an
    /// answer.
    #[must_use]
    pub fn answer(&self, state: &State, attempt: Attempt) -> Option<(Decision, Item)> {
        let Run::Waiting { sent, .. } = state.runs[attempt.client][attempt.number] else {
            return None;
        };
        let mut after = *state;
        let (item, found) = self.write(&mut after, attempt, usize::from(sent) - 1);
        Some(self.decide(state, item, found))
    }

    /// Records the answer that a client gets, and whether the answer is wrong.
    fn record_answer(&self, state: &mut State, item: Item, found: Cell) {
        let (decision, user) = self.decide(state, item, found);
        let are_one_request = state.are_one_request(user.attempt, item.attempt);
        let wrong = match decision {
            Decision::Created => None,
            Decision::Replayed if user.attempt == item.attempt => Some(Wrong::FalseReplay),
            Decision::Replayed => (!are_one_request).then_some(Wrong::OthersUser),
            Decision::Taken => {
                (are_one_request && found != Cell::Tombstone).then_some(Wrong::FalseConflict)
            }
        };
        if decision != Decision::Taken {
            state.told |= 1 << user.number();
        }
        if let Some(wrong) = wrong {
            state.wrong |= 1 << wrong as u8;
        }
    }

    fn erase(&self, state: &mut State, erasure: Erasure) -> Option<()> {
        state.progress = match state.progress {
            Progress::Idle => {
                let Cell::User(user) = state.table[0][0] else {
                    return None;
                };
                state.begun = Self::begun(state);
                Progress::Found(user)
            }
            Progress::Found(user) if erasure == Erasure::WaitThenDelete => {
                Self::wait(state);
                Progress::Waited(user)
            }
            Progress::Found(user) => {
                if erasure == Erasure::DeleteOldById {
                    *state.run(user.attempt) = Run::Over { late: 0 };
                }
                self.delete(state, erasure, user);
                state.late_delete = true;
                match erasure {
                    Erasure::DeleteTwice | Erasure::DeleteTwiceByRequest => Progress::Deleted(user),
                    _ => Progress::Done(user),
                }
            }
            Progress::Deleted(user) => {
                Self::wait(state);
                Progress::Waited(user)
            }
            Progress::Waited(user) => {
                self.delete(state, erasure, user);
                state.late_delete = true;
                Progress::Done(user)
            }
            Progress::Done(_) => return None,
        };
        Some(())
    }

    fn begun(state: &State) -> u8 {
        let runs = state.runs.iter().flatten().enumerate();
        runs.fold(0, |begun, (number, run)| {
            begun | u8::from(*run != Run::Unsent) << number
        })
    }

    /// The operator waits. Afterwards, a late copy of the delete can no longer arrive. If a client
    /// sent an attempt before the erasure began, the writes of this attempt cannot arrive either.
    fn wait(state: &mut State) {
        for (number, run) in state.runs.iter_mut().flatten().enumerate() {
            if state.begun >> number & 1 == 1 {
                *run = Run::Over { late: 0 };
            }
        }
        state.late_delete = false;
    }

    fn delete(&self, state: &mut State, erasure: Erasure, user: Item) {
        let Cell::User(found) = state.table[0][0] else {
            return;
        };
        let are_one_request = state.are_one_request(found.attempt, user.attempt);
        let may = match erasure {
            Erasure::Delete | Erasure::DeleteTwice => true,
            Erasure::DeleteById
            | Erasure::DeleteOldById
            | Erasure::WaitThenDelete
            | Erasure::Tombstone => found == user,
            Erasure::DeleteTwiceByRequest => {
                let [found, user] = [found, user].map(|item| self.stored(state, item));
                found.user.id == user.user.id
                    || user.fingerprint.is_some()
                        && found.fingerprint == user.fingerprint
                        && found.user.username == user.user.username
            }
        };
        if !may {
            return;
        }
        state.table[0][0] = if erasure == Erasure::Tombstone {
            Cell::Tombstone
        } else {
            Cell::Free
        };
        if are_one_request {
            state.erased |= 1 << found.number();
        }
    }

    /// Resets the numbers of this state that no longer matter. So two states become equal if they
    /// differ only in such numbers. Does nothing while an erasure can still delete a user, because
    /// a taken username may then become free again.
    ///
    /// While the username is taken, a write changes nothing, and every repetition of the write gets
    /// the same answer. So two numbers do not matter: how many writes an attempt has sent, and how
    /// many of its writes may still arrive. If the username is free, two late writes have the same
    /// effect as one: the first write creates the user, and the second write finds it.
    fn merge(&self, state: &mut State) {
        let is_erasure_over = matches!(state.progress, Progress::Done(_)) && !state.late_delete;
        if self.erasure.is_some() && !is_erasure_over {
            return;
        }
        for client in 0..self.clients {
            for number in 0..ATTEMPTS {
                let (place, key) = self.home(state, Attempt { client, number });
                let is_free = state.table[place][key] == Cell::Free;
                match &mut state.runs[client][number] {
                    Run::Waiting { sent, late } if !is_free => (*sent, *late) = (2, 0),
                    Run::Unsent | Run::Waiting { .. } => {}
                    Run::Over { late } => *late = (*late).min(u8::from(is_free)),
                }
            }
        }
    }

    /// Whether the model starts from this list of requests. Two lists are equivalent if swapping
    /// names, spellings, keys or clients turns one list into the other. Of several equivalent
    /// lists, the model starts only from the first one in sort order.
    ///
    /// In a model with [`Without::Caller`], two of the three keys have the same fingerprint, and the
    /// third has another, so keys are not swapped. Clients are swapped only in [`Layout::One`]: in
    /// [`Layout::Regions`] and [`Layout::MoreShards`], the last client writes to another region or
    /// shard.
    fn is_first(&self, requests: &[Request]) -> bool {
        let mut all = vec![requests.to_vec()];
        let mut vary = |change: &dyn Fn(&mut Vec<Request>)| {
            let mut more = all.clone();
            more.iter_mut().for_each(change);
            all.append(&mut more);
        };
        // For each list, add the list in which the two names are swapped. Then do the same for the
        // two spellings of each name.
        vary(&|them| them.iter_mut().for_each(|it| it.username ^= 2));
        for name in [0, 2] {
            let flip = |it: &mut Request| it.username ^= usize::from(it.username & 2 == name);
            vary(&|them| them.iter_mut().for_each(flip));
        }
        if self.without != Some(Without::Caller) {
            for keys in [(0, 1), (1, 2), (0, 1)] {
                let swap = |key: usize| match key {
                    _ if key == keys.0 => keys.1,
                    _ if key == keys.1 => keys.0,
                    _ => key,
                };
                vary(&|them| {
                    let swap = |it: &mut Request| it.key = it.key.map(swap);
                    them.iter_mut().for_each(swap);
                });
            }
        }
        if self.layout == Layout::One {
            for clients in [(0, 1), (1, 2), (0, 1)] {
                if clients.1 < requests.len() {
                    vary(&|them| them.swap(clients.0, clients.1));
                }
            }
        }
        all.iter().all(|it| requests <= &it[..])
    }
}

fn named(caller: &str) -> Caller {
    Caller::Named {
        issuer: None,
        claim: "sub",
        value: Claim {
            text: caller.to_owned(),
            is_string: true,
        },
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let usernames = if self.erasure.is_some() { 2 } else { 4 };
        let one = (0..usernames).flat_map(|username| {
            let keys = [None, Some(0), Some(1), Some(2)];
            keys.map(|key| Request { username, key })
        });
        let one: Vec<Request> = one.collect();
        let mut all = vec![Vec::new()];
        for _ in 0..self.clients {
            all = all
                .iter()
                .flat_map(|before: &Vec<Request>| {
                    one.iter()
                        .map(|request| [&before[..], &[*request]].concat())
                })
                .collect();
        }
        all.retain(|requests| self.is_first(requests));
        // stateright explores the last state of this list first. So the simplest requests are at
        // the end of the list, because their counter-examples are the easiest to read.
        all.iter()
            .rev()
            .map(|requests| State {
                requests: array::from_fn(|client| {
                    let nothing = Request {
                        username: 0,
                        key: None,
                    };
                    requests.get(client).copied().unwrap_or(nothing)
                }),
                forgetful: 0,
                runs: Default::default(),
                table: Default::default(),
                newest: [0; 4],
                told: 0,
                wrong: 0,
                progress: Progress::Idle,
                begun: 0,
                erased: 0,
                late_delete: false,
            })
            .collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // If stateright finds several equally short counter-examples one after another, it keeps
        // the last one. So the simplest actions are at the end of the list.
        for client in (0..self.clients).rev() {
            for number in (0..ATTEMPTS).rev() {
                let attempt = Attempt { client, number };
                let late = match state.runs[client][number] {
                    Run::Unsent => 0,
                    Run::Waiting { late, .. } => {
                        actions.extend([
                            Action::Crash(attempt),
                            Action::Forge(attempt),
                            Action::TimeOut(attempt),
                            Action::LoseAnswer(attempt),
                            Action::Arrive(attempt),
                        ]);
                        late
                    }
                    Run::Over { late } => late,
                };
                if late > 0 {
                    actions.push(Action::ArriveLate(attempt));
                }
            }
            match state.runs[client] {
                [Run::Unsent, _] => actions.push(Action::Send(client)),
                [_, Run::Unsent] => {
                    let has_key = state.requests[client].key.is_some();
                    for forgets_key in [true, false] {
                        if has_key || !forgets_key {
                            actions.push(Action::Repeat {
                                client,
                                forgets_key,
                            });
                        }
                    }
                }
                _ => {}
            }
        }
        if self.erasure.is_some() {
            actions.push(Action::Erase);
            if state.late_delete {
                actions.push(Action::DeleteLate);
            }
        }
        if self.layout == Layout::Regions || self.without == Some(Without::ConsistentRead) {
            let differs = |key: &usize| state.table[0][*key] != state.table[1][*key];
            actions.extend((0..4).filter(differs).map(Action::Replicate));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::Send(client) => {
                let number = 0;
                *state.run(Attempt { client, number }) = Run::Waiting { sent: 1, late: 0 };
            }
            Action::Repeat {
                client,
                forgets_key,
            } => {
                let number = 1;
                state.forgetful |= u8::from(forgets_key) << client;
                *state.run(Attempt { client, number }) = Run::Waiting { sent: 1, late: 0 };
            }
            Action::Arrive(attempt) | Action::LoseAnswer(attempt) | Action::TimeOut(attempt) => {
                let Run::Waiting { sent, mut late } = *state.run(attempt) else {
                    return None;
                };
                let mut answer = None;
                if action == Action::TimeOut(attempt) {
                    late += 1;
                } else {
                    let write = self.write(&mut state, attempt, usize::from(sent) - 1);
                    answer = (action == Action::Arrive(attempt)).then_some(write);
                }
                *state.run(attempt) = if answer.is_none() && usize::from(sent) < ATTEMPTS {
                    Run::Waiting { sent: 2, late }
                } else {
                    Run::Over { late }
                };
                match answer {
                    Some((item, found)) => self.record_answer(&mut state, item, found),
                    None if self.without == Some(Without::Doubt)
                        && usize::from(sent) == ATTEMPTS =>
                    {
                        let item = Item { attempt, write: 0 };
                        self.record_answer(&mut state, item, Cell::Free);
                    }
                    None => {}
                }
            }
            Action::Forge(attempt) => {
                let Run::Waiting { late, .. } = *state.run(attempt) else {
                    return None;
                };
                *state.run(attempt) = Run::Over { late };
                if self.without == Some(Without::RequestId) {
                    let item = Item { attempt, write: 0 };
                    self.record_answer(&mut state, item, Cell::Free);
                }
            }
            Action::ArriveLate(attempt) => {
                match state.run(attempt) {
                    Run::Waiting { late, .. } | Run::Over { late } => *late -= 1,
                    Run::Unsent => return None,
                }
                self.write(&mut state, attempt, 0);
            }
            Action::Crash(attempt) => {
                let Run::Waiting { late, .. } = *state.run(attempt) else {
                    return None;
                };
                *state.run(attempt) = Run::Over { late: late + 1 };
            }
            Action::Erase => self.erase(&mut state, self.erasure?)?,
            Action::DeleteLate => {
                state.late_delete = false;
                let user = state.progress.user()?;
                self.delete(&mut state, self.erasure?, user);
            }
            Action::Replicate(key) => {
                let newest = state.table[usize::from(state.newest[key])][key];
                state.table[0][key] = newest;
                state.table[1][key] = newest;
            }
        }
        if self.merges {
            self.merge(&mut state);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ACKNOWLEDGED, |_, state: &State| {
                let there = state.users().fold(0, |all, item| all | 1 << item.number());
                state.told & !there & !state.erased == 0
            }),
            Property::always(ONE_OWNER, |model: &Self, state: &State| {
                let name = |item: Item| {
                    let username = state.requests[item.attempt.client].username;
                    model.usernames[username].key()
                };
                let mut users = state.users();
                users.all(|one| {
                    state
                        .users()
                        .all(|other| one == other || name(one) != name(other))
                })
            }),
            Property::always(OWN_USER, |_, state| !is_wrong(state, Wrong::OthersUser)),
            Property::always(TRUE_REPLAY, |_, state| !is_wrong(state, Wrong::FalseReplay)),
            Property::always(TRUE_CONFLICT, |_, state| {
                !is_wrong(state, Wrong::FalseConflict)
            }),
            Property::always(LISTED, |model: &Self, state: &State| {
                // In the model without consistent reads, a list reads only `state.table[1]`, which
                // is a copy of the table that may be old.
                let is_stale = model.without == Some(Without::ConsistentRead);
                let read = &state.table[usize::from(is_stale)..];
                let users = read.iter().flatten().filter_map(|cell| match cell {
                    Cell::User(item) => Some(1 << item.number()),
                    _ => None,
                });
                let listed = users.fold(0, |all, user: u16| all | user);
                state.told & !listed & !state.erased == 0
            }),
        ];
        if self.erasure.is_some() {
            properties.extend([
                Property::always(ERASED, |_, state: &State| {
                    is_gone(state, |item, user| item == user)
                }),
                Property::always(NOT_BROUGHT_BACK, |_, state: &State| {
                    is_gone(state, |item, user| {
                        is_begun(state, item.attempt)
                            && state.are_one_request(item.attempt, user.attempt)
                    })
                }),
                Property::always(NOT_BY_CLIENT, |_, state: &State| {
                    is_gone(state, |item, user| {
                        is_begun(state, item.attempt) && item.attempt.client == user.attempt.client
                    })
                }),
                Property::always(NOT_CREATED_ANEW, |_, state: &State| {
                    is_gone(state, |item, user| {
                        state.are_one_request(item.attempt, user.attempt)
                    })
                }),
                Property::sometimes("an erasure is done", |_, state: &State| {
                    matches!(state.progress, Progress::Done(_))
                }),
            ]);
        }
        properties
    }
}

/// Returns true until the erasure is done. After that, returns whether the erased user is gone from
/// the table. `is_its(item, user)` returns whether `item`, a user in the table, counts as `user`,
/// the erased user.
fn is_gone(state: &State, is_its: impl Fn(Item, Item) -> bool) -> bool {
    match state.progress {
        Progress::Done(user) => !state.users().any(|item| is_its(item, user)),
        _ => true,
    }
}

fn is_begun(state: &State, attempt: Attempt) -> bool {
    state.begun >> (attempt.client * ATTEMPTS + attempt.number) & 1 == 1
}

fn is_wrong(state: &State, wrong: Wrong) -> bool {
    state.wrong >> wrong as u8 & 1 == 1
}

/// If a client got a user in a 201, the table contains this user, unless the user was erased.
pub const ACKNOWLEDGED: &str = "an acknowledged user exists";
/// A username never has two users.
pub const ONE_OWNER: &str = "a username has one owner";
/// No 201 shows a user that another request created.
pub const OWN_USER: &str = "a 201 is about the request's own user";
/// No attempt gets a replay of a user that the attempt itself created.
pub const TRUE_REPLAY: &str = "no attempt gets a replay of a user that it created";
/// If a request gets a 409, the user who has the username was created by another request.
pub const TRUE_CONFLICT: &str = "a 409 means that another request created the user";
/// A list shows every user that a client got in a 201, unless the user was erased.
pub const LISTED: &str = "a list shows every acknowledged user";
/// After the erasure, no user has the erased user's id.
pub const ERASED: &str = "an erased user does not come back";
/// If a client sent an attempt of the erased user's request before the erasure began, this attempt
/// creates no user after the erasure, not even with a new id.
pub const NOT_BROUGHT_BACK: &str = "if an attempt of the erased user's request was sent before the erasure, it creates no user later";
/// If the erased user's client sent an attempt before the erasure began, this attempt creates no
/// user after the erasure. This also holds for an attempt without an Idempotency-Key.
pub const NOT_BY_CLIENT: &str =
    "no attempt that the erased user's client sent before the erasure creates a user later";
/// After the erasure, no attempt of the erased user's request creates a user, not even if a client
/// sends the attempt after the erasure.
pub const NOT_CREATED_ANEW: &str =
    "after an erasure, no attempt of the erased user's request creates a user";
