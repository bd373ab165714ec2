//! The rules that every history keeps.
//!
//! The rules use only the order that clients can observe: if operation A ended before operation B
//! began, A comes before B. If the outcome of a create is unknown, the create may take effect at
//! any later time, even after its client has stopped waiting.
//!
//! In the rules, a client is told of a user if it gets a 201 with the user, a 409 for the user's
//! username, or a page that shows the user.

use std::{
    collections::{BTreeMap, HashMap, HashSet, btree_map::Entry},
    iter,
};

use super::history::{
    Create, History, List, Operation, Outcome, Request, ShownUser, StoredItem, Walk,
};

/// A rule that every history must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The run finished, every answer matched the contract, and no answer was a 500.
    Answer,
    /// During the whole run, a username belongs to one user, and a user has one username. All 201s
    /// for a username go to attempts of one request.
    OneOwner,
    /// If a client was told of a user, the list at the end of the run shows this user.
    Kept,
    /// If an answer shows a user, a client has sent a create for the user's display form before the
    /// answer arrived. This create got a 201 that is not a replay, or its outcome is unknown. The
    /// user in a 201 has the display form that the request asked for.
    Asked,
    /// All attempts of one request get the same user. At most one attempt gets a 201 that is not a
    /// replay. Only a request with an Idempotency-Key gets replays.
    Replay,
    /// For each 409, there is another request that may have taken the username before the 409
    /// arrived.
    Conflict,
    /// At least one attempt can be the creator of the user. This rule is checked only if no other
    /// rule is broken. An attempt can be the creator if all of these statements are true:
    ///
    /// * The attempt asked for the user's display form, and was sent before any client was told of
    ///   the user.
    /// * The attempt got a 201 that is not a replay, or its outcome is unknown.
    /// * No attempt of the same request got a 409.
    /// * No attempt of another request for the username got a 201.
    /// * Every 201 that another attempt got is a replay.
    Creator,
    /// A page is sorted by username key, has no duplicates, and respects its limit, prefix and
    /// cursor. If a page links to a next page, it is full.
    Page,
    /// A page shows every user in its range, except users who were new when the page was requested.
    /// A user is new until `max_age` seconds have passed since a client was first told of the user.
    Complete,
    /// The pages of one walk never show the same user twice.
    Walk,
    /// After the last write, every walk shows exactly the users whose username key begins with the
    /// walk's prefix. The users are sorted by username key.
    Quiet,
    /// At the end of the run, the table holds exactly the users that the list shows.
    Table,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// A description of the violation.
    pub what: String,
}

/// Finds all violations of the rules.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut checker = Checker::new(history);
    if let Some(failure) = &history.failure {
        // A run that did not finish may break the other rules, so they are not checked.
        checker.report(Rule::Answer, failure.clone());
        return checker.violations;
    }
    checker.check_end();
    let all = checker.attempts.clone();
    for attempts in all.values() {
        for attempt in attempts {
            match &attempt.operation.outcome {
                Outcome::Created { user, replayed } => {
                    checker.check_created(attempt, attempts, user, *replayed);
                }
                Outcome::Taken => checker.check_taken(attempt, attempts),
                _ => {}
            }
        }
    }
    let told = checker.told();
    checker.check_pages(&told);
    if checker.violations.is_empty() {
        for (key, attempts) in &all {
            let told = told.get(key).copied().unwrap_or(u64::MAX);
            checker.check_creator(key, attempts, told);
        }
    }
    checker.violations
}

/// What identifies a request. All attempts of one request have the same identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity<'a> {
    /// A request with an Idempotency-Key: the caller, the key and the display form of the username.
    Keyed(Option<&'a str>, &'a str, &'a str),
    /// A request without an Idempotency-Key: the number of its operation. If the client sends the
    /// request again, the repetition counts as a new request.
    Single(usize),
}

#[derive(Clone, Copy, Debug)]
struct Attempt<'a> {
    number: usize,
    operation: &'a Operation,
    create: &'a Create,
    identity: Identity<'a>,
}

impl Attempt<'_> {
    fn may_have_created(&self, display: &str) -> bool {
        let may = match &self.operation.outcome {
            Outcome::Created { replayed, .. } => !replayed,
            outcome => outcome.is_unknown(),
        };
        may && self.create.name.display == display
    }
}

struct Checker<'a> {
    history: &'a History,
    attempts: BTreeMap<&'a str, Vec<Attempt<'a>>>,
    /// Maps each requested display form to its username key.
    keys: HashMap<&'a str, &'a str>,
    /// Maps each username key to its user in the list at the end of the run.
    users: BTreeMap<&'a str, &'a ShownUser>,
    violations: Vec<Violation>,
}

impl<'a> Checker<'a> {
    fn new(history: &'a History) -> Self {
        let mut attempts = BTreeMap::<&str, Vec<Attempt>>::new();
        let mut keys = HashMap::new();
        for (number, operation) in history.operations.iter().enumerate() {
            let Request::Create(create) = &operation.request else {
                continue;
            };
            let name = &create.name;
            let identity = create
                .key
                .as_deref()
                .map_or(Identity::Single(number), |key| {
                    Identity::Keyed(create.caller.as_deref(), key, &name.display)
                });
            keys.insert(&*name.display, &*name.key);
            attempts.entry(&name.key).or_default().push(Attempt {
                number,
                operation,
                create,
                identity,
            });
        }
        Self {
            history,
            attempts,
            keys,
            users: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    fn report(&mut self, rule: Rule, what: String) {
        self.violations.push(Violation { rule, what });
    }

    /// Stores in `self.users` the users that the first walk shows. Then checks that all walks and
    /// the table show these users. All walks of a history begin after the last write.
    fn check_end(&mut self) {
        let Some(Walk { users, .. }) = self.history.walks.first() else {
            self.report(
                Rule::Quiet,
                "the history has no list from the end of the run".to_owned(),
            );
            return;
        };
        let mut ids = HashSet::new();
        for user in users {
            if !ids.insert(&user.id) {
                self.report(Rule::OneOwner, format!("an id has two usernames: {user:?}"));
            }
            let Some(key) = self.check_asked(user, u64::MAX) else {
                continue;
            };
            match self.users.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(user);
                }
                Entry::Occupied(entry) => {
                    let other = *entry.get();
                    self.report(Rule::OneOwner, format!("{user:?} and {other:?}"));
                }
            }
        }
        for walk in &self.history.walks {
            let Walk {
                prefix,
                limit,
                users: shown,
            } = walk;
            // A walk must show the users in the order of `self.users`, sorted by username key.
            let all = self.users.iter();
            let all = all
                .filter(|(key, _)| key.starts_with(prefix))
                .map(|it| *it.1);
            if !all.eq(shown) {
                let what =
                    format!("a walk with limit {limit} and prefix {prefix:?} shows {shown:?}");
                self.report(Rule::Quiet, what);
            }
        }
        self.check_table(users);
    }

    fn check_table(&mut self, users: &[ShownUser]) {
        let mut listed: Vec<StoredItem> = users.iter().map(|user| self.item(user)).collect();
        for item in &self.history.items {
            match listed.iter().position(|it| it == item) {
                Some(at) => drop(listed.swap_remove(at)),
                None => self.report(Rule::Table, format!("no list shows {item:?}")),
            }
        }
        for item in listed {
            self.report(Rule::Table, format!("the table has no {item:?}"));
        }
    }

    fn item(&self, user: &ShownUser) -> StoredItem {
        let username = &*user.username;
        // If no client requested this username, its key is unknown, and `check_end` has already
        // reported `Rule::Asked`.
        let key = self.keys.get(username).copied().unwrap_or(username);
        let attributes = [
            ("kind", "user"),
            ("username_key", key),
            ("username", username),
            ("id", &user.id),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        StoredItem::from(attributes)
    }

    /// Checks that a create for this user was sent before `told`, the time when a client was told
    /// of the user. Returns the username key.
    fn check_asked(&mut self, user: &ShownUser, told: u64) -> Option<&'a str> {
        let key = self.keys.get(&*user.username).copied();
        let attempts = key.and_then(|key| self.attempts.get(key));
        let asked = attempts.into_iter().flatten().any(|attempt| {
            attempt.may_have_created(&user.username) && attempt.operation.start < told
        });
        if !asked {
            self.report(Rule::Asked, format!("nobody had asked for {user:?}"));
        }
        key
    }

    /// Checks that the list at the end of the run shows this user, with the same fields.
    fn check_kept(&mut self, user: &ShownUser, key: &str) {
        match self.users.get(key) {
            None => self.report(Rule::Kept, format!("{user:?} is lost")),
            Some(other) if *other != user => {
                let what = format!("{user:?}, but at the end {other:?}");
                self.report(Rule::OneOwner, what);
            }
            Some(_) => {}
        }
    }

    fn check_created(
        &mut self,
        attempt: &Attempt<'a>,
        attempts: &[Attempt<'a>],
        user: &ShownUser,
        replayed: bool,
    ) {
        let name = &attempt.create.name;
        if user.username != name.display {
            let what = format!("the 201 for {name:?} shows {user:?}");
            self.report(Rule::Asked, what);
        }
        self.check_asked(user, attempt.operation.end);
        self.check_kept(user, &name.key);

        let others = || {
            attempts
                .iter()
                .filter(|other| other.number != attempt.number)
        };
        for other in others() {
            let Outcome::Created {
                user: other_user,
                replayed: other_replayed,
            } = &other.operation.outcome
            else {
                continue;
            };
            let both = || format!("{:?} and {:?}", attempt.operation, other.operation);
            if other.identity != attempt.identity {
                self.report(Rule::OneOwner, both());
            } else if other_user != user || !(replayed || *other_replayed) {
                self.report(Rule::Replay, both());
            }
        }
        let has_first = others().any(|other| {
            other.identity == attempt.identity
                && other.may_have_created(&name.display)
                && other.operation.start < attempt.operation.end
        });
        if replayed && !has_first {
            let what = format!("there was nothing to replay: {:?}", attempt.operation);
            self.report(Rule::Replay, what);
        }
    }

    fn check_taken(&mut self, attempt: &Attempt<'a>, attempts: &[Attempt<'a>]) {
        let Some(owner) = self.users.get(&*attempt.create.name.key) else {
            let what = format!(
                "the answer says that the username is taken, but at the end nobody has it: {:?}",
                attempt.operation
            );
            self.report(Rule::Kept, what);
            return;
        };
        let is_known = |other: &Attempt| matches!(other.operation.outcome, Outcome::Created { .. });
        let known = attempts.iter().find(|other| is_known(other));
        let may_own = |other: &Attempt| {
            other.identity != attempt.identity
                && known.is_none_or(|known| known.identity == other.identity)
                && other.may_have_created(&owner.username)
                && other.operation.start < attempt.operation.end
        };
        if !attempts.iter().any(may_own) {
            let what = format!(
                "the username was refused, but no other request can have taken it: {:?}",
                attempt.operation
            );
            self.report(Rule::Conflict, what);
        }
    }

    /// Checks [`Rule::Creator`] for one user. `told` is the time when a client was first told of
    /// the user.
    fn check_creator(&mut self, key: &str, attempts: &[Attempt<'a>], told: u64) {
        let Some(user) = self.users.get(key) else {
            return;
        };
        let may_be_creator = |creator: &Attempt| {
            creator.may_have_created(&user.username)
                && creator.operation.start < told
                && attempts.iter().all(|it| match &it.operation.outcome {
                    Outcome::Created { replayed, .. } => {
                        it.identity == creator.identity
                            && (*replayed || it.number == creator.number)
                    }
                    Outcome::Taken => it.identity != creator.identity,
                    _ => true,
                })
        };
        if !attempts.iter().any(may_be_creator) {
            let what = format!("no attempt can be the creator of {user:?}");
            self.report(Rule::Creator, what);
        }
    }

    fn check_pages(&mut self, told: &BTreeMap<&'a str, u64>) {
        let max_age = 1_000_000 * self.history.max_age;
        let mut walks = HashMap::<usize, HashSet<&str>>::new();
        for operation in &self.history.operations {
            let Operation {
                request: Request::List(list),
                outcome: Outcome::Page { users, has_next },
                ..
            } = operation
            else {
                continue;
            };
            let shown = walks.entry(list.walk).or_default();
            let mut keys = Vec::with_capacity(users.len());
            for user in users {
                if !shown.insert(&user.id) {
                    let what = format!("{user:?} is shown again: {operation:?}");
                    self.report(Rule::Walk, what);
                }
                if let Some(key) = self.check_asked(user, operation.end) {
                    self.check_kept(user, key);
                    keys.push(key);
                }
            }
            let after = list.after.as_deref();
            // A page without a cursor begins after "", which sorts before every username key.
            let after = after.and_then(|after| self.keys.get(after)).copied();
            let after = after.unwrap_or_default();
            self.check_page(operation, list, after, &keys, *has_next);

            // If there is a next page, this page covers no key after the key of its last user.
            let last = has_next.then(|| keys.last().copied().unwrap_or(after));
            let on_page: HashSet<&str> = keys.into_iter().collect();
            for (key, time) in told {
                let in_range = *key > after
                    && key.starts_with(&list.prefix)
                    && last.is_none_or(|last| *key <= last);
                if in_range && *time + max_age < operation.start && !on_page.contains(key) {
                    self.report(Rule::Complete, format!("{key} is missing: {operation:?}"));
                }
            }
        }
    }

    fn check_page(
        &mut self,
        operation: &Operation,
        list: &List,
        after: &str,
        keys: &[&str],
        has_next: bool,
    ) {
        let is_sorted = iter::once(&after)
            .chain(keys)
            .is_sorted_by(|one, next| one < next);
        let is_sound = is_sorted
            && keys.len() <= list.limit
            // DynamoDB ends a page before its limit only if the page reaches one megabyte. All
            // pages in a history are smaller.
            && (keys.len() == list.limit || !has_next)
            && keys.iter().all(|key| key.starts_with(&list.prefix));
        if !is_sound {
            self.report(Rule::Page, format!("{operation:?}"));
        }
    }

    /// Maps the key of each taken username to the time when a client was first told of its user.
    fn told(&self) -> BTreeMap<&'a str, u64> {
        let mut told = BTreeMap::<&str, u64>::new();
        for operation in &self.history.operations {
            let keys = match (&operation.request, &operation.outcome) {
                (Request::Create(create), Outcome::Created { .. } | Outcome::Taken) => {
                    vec![&*create.name.key]
                }
                (Request::List(_), Outcome::Page { users, .. }) => {
                    let keys = users.iter();
                    keys.filter_map(|user| self.keys.get(&*user.username).copied())
                        .collect()
                }
                _ => continue,
            };
            for key in keys {
                let time = told.entry(key).or_insert(operation.end);
                *time = operation.end.min(*time);
            }
        }
        told
    }
}
