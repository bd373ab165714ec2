//! Judges a history: searches for an order of its operations that explains all answers. The rules
//! in `tests::histories::rules` are another way to judge a history.
//!
//! A history is sound if the operations on each username have an order that explains all answers.
//! In that order, each operation takes effect at one moment between its beginning and its end.
//! stateright's `LinearizabilityTester` searches for the order. A create whose outcome is unknown
//! may take effect at any moment after its beginning, or never. A page counts as a read of each
//! username in its range.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use tests::histories::history::{Create, History, List, Outcome, Request, ShownUser as User};

/// Checks that a history is sound (see the definition at the top of this file).
///
/// # Errors
/// Fails if the history is not sound. The error describes what is wrong.
pub fn linearizable(history: &History) -> Result<(), String> {
    if let Some(failure) = &history.failure {
        return Err(failure.clone());
    }
    let keys = keys(history);
    let end = end(history, &keys)?;
    let operations = operations(history, &keys)?;
    let all: BTreeSet<&str> = operations.keys().chain(end.keys()).copied().collect();
    for key in all {
        let operations = operations.get(key).map_or(&[][..], Vec::as_slice);
        if !has_order(operations, end.get(key).copied()) {
            return Err(format!("{key}: no order explains {operations:?}"));
        }
    }
    Ok(())
}

/// Maps each requested display form to its username key.
fn keys(history: &History) -> BTreeMap<&str, &str> {
    let requests = history.operations.iter().map(|it| &it.request);
    let names = requests.filter_map(|request| match request {
        Request::Create(create) => Some((&*create.name.display, &*create.name.key)),
        Request::List(_) => None,
    });
    names.collect()
}

/// Maps each username key to its user at the end of the run. Fails if the lists at the end
/// ([`History::walks`]) and the table do not show the same users.
fn end<'a>(
    history: &'a History,
    keys: &BTreeMap<&'a str, &'a str>,
) -> Result<BTreeMap<&'a str, &'a User>, String> {
    let [all, others @ ..] = &history.walks[..] else {
        return Err("the history has no list from the end of the run".to_owned());
    };
    let shown = keys_of(&all.users, keys)?;
    if !all.prefix.is_empty() || !shown.is_sorted_by(|one, next| one < next) {
        return Err("the list at the end is not sorted".to_owned());
    }
    let ids: HashSet<&str> = all.users.iter().map(|user| &*user.id).collect();
    if ids.len() < all.users.len() {
        return Err("an id has two usernames".to_owned());
    }
    for walk in others {
        let of_prefix = shown.iter().zip(&all.users);
        let of_prefix = of_prefix.filter(|(key, _)| key.starts_with(&walk.prefix));
        if !of_prefix.map(|(_, user)| user).eq(&walk.users) {
            return Err(format!(
                "a list at the end contradicts the list of all users: {walk:?}"
            ));
        }
    }
    let rows = shown.iter().zip(&all.users).map(|(key, user)| {
        [
            ("kind", "user"),
            ("username_key", key),
            ("username", &user.username),
            ("id", &user.id),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    });
    let mut rows: Vec<BTreeMap<String, String>> = rows.collect();
    let mut items = history.items.clone();
    rows.sort();
    items.sort();
    if rows != items {
        return Err("the table and the list differ".to_owned());
    }
    Ok(shown.into_iter().zip(&all.users).collect())
}

fn keys_of<'a>(
    users: &'a [User],
    keys: &BTreeMap<&'a str, &'a str>,
) -> Result<Vec<&'a str>, String> {
    let key = |user: &'a User| {
        let key = keys.get(&*user.username).copied();
        key.ok_or_else(|| format!("nobody asked for {user:?}"))
    };
    users.iter().map(key).collect()
}

/// An operation on one username.
#[derive(Clone, Debug)]
struct Operation<'a> {
    start: u64,
    /// `None` if the operation's outcome is unknown.
    end: Option<u64>,
    asked: Asked<'a>,
    told: Told<'a>,
}

fn operations<'a>(
    history: &'a History,
    keys: &BTreeMap<&'a str, &'a str>,
) -> Result<BTreeMap<&'a str, Vec<Operation<'a>>>, String> {
    let names: BTreeSet<&str> = keys.values().copied().collect();
    let mut operations = BTreeMap::<&str, Vec<Operation>>::new();
    let mut walks = HashSet::new();
    for (number, operation) in history.operations.iter().enumerate() {
        let mut add = |key, start, asked, told| {
            let end = (told != Told::Unknown).then_some(operation.end);
            operations.entry(key).or_default().push(Operation {
                start,
                end,
                asked,
                told,
            });
        };
        match (&operation.request, &operation.outcome) {
            (Request::Create(create), outcome) => {
                let told = match outcome {
                    Outcome::Created { user, replayed } => Told::Created(user, *replayed),
                    Outcome::Taken => Told::Taken,
                    Outcome::Unavailable | Outcome::Killed => Told::Unknown,
                    Outcome::Page { .. } => return Err(format!("{operation:?}")),
                };
                add(
                    &create.name.key,
                    operation.start,
                    Asked::Create(number, create),
                    told,
                );
            }
            (Request::List(list), Outcome::Page { users, has_next }) => {
                let shown = keys_of(users, keys)?;
                let after = list
                    .after
                    .as_deref()
                    .and_then(|after| keys.get(after).copied());
                let after = after.unwrap_or_default();
                if !is_page(list, after, &shown, *has_next)
                    || !users
                        .iter()
                        .all(|user| walks.insert((list.walk, &*user.id)))
                {
                    return Err(format!("{operation:?}"));
                }
                let last = has_next.then(|| shown.last().copied().unwrap_or(after));
                // A page may show the table as it was up to `max_age` seconds before the request.
                let start = operation.start.saturating_sub(1_000_000 * history.max_age);
                for &key in &names {
                    let is_in_range = key > after
                        && key.starts_with(&list.prefix)
                        && last.is_none_or(|last| key <= last);
                    if is_in_range {
                        let user = shown.iter().position(|it| *it == key);
                        add(
                            key,
                            start,
                            Asked::Read,
                            Told::Shown(user.map(|at| &users[at])),
                        );
                    }
                }
            }
            (Request::List(_), _) => {}
        }
    }
    Ok(operations)
}

/// Whether a page is sorted, respects its query, and is full if another page follows.
fn is_page(list: &List, after: &str, shown: &[&str], has_next: bool) -> bool {
    let is_full = shown.len() == list.limit;
    [&[after], shown]
        .concat()
        .is_sorted_by(|one, next| one < next)
        && shown.iter().all(|key| key.starts_with(&list.prefix))
        && (is_full || shown.len() < list.limit && !has_next)
}

/// Whether the operations on one username have an order that explains all answers and the final
/// owner. The final owner is `user`, or nobody if `user` is `None`.
fn has_order(operations: &[Operation], user: Option<&User>) -> bool {
    let begins = operations
        .iter()
        .enumerate()
        .map(|(at, it)| (it.start, 0, at));
    let ends = operations
        .iter()
        .enumerate()
        .filter_map(|(at, it)| Some((it.end?, 1, at)));
    let mut events: Vec<(u64, u8, usize)> = begins.chain(ends).collect();
    events.sort_unstable();
    // The tester allows only one open operation per thread. An operation with an unknown outcome
    // stays open, so each operation gets its own thread number.
    let mut tester = LinearizabilityTester::new(Name(None));
    let sound = "each operation begins once and ends at most once";
    for (_, is_end, at) in events {
        if is_end == 0 {
            tester.on_invoke(at, operations[at].asked).expect(sound);
        } else {
            tester.on_return(at, operations[at].told).expect(sound);
        }
    }
    let last = operations.len();
    tester.on_invoke(last, Asked::Read).expect(sound);
    tester.on_return(last, Told::Shown(user)).expect(sound);
    tester.is_consistent()
}

/// The create that took a username, or `None` if the username is free.
#[derive(Clone, Copy, Debug)]
struct Name<'a>(Option<Winner<'a>>);

#[derive(Clone, Copy, Debug)]
struct Winner<'a> {
    number: usize,
    request: &'a Create,
    /// `None` until an answer shows the user.
    user: Option<&'a User>,
}

#[derive(Clone, Copy, Debug)]
enum Asked<'a> {
    /// A create request, with its number in the history.
    Create(usize, &'a Create),
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told<'a> {
    /// The user, and whether the answer is a replay.
    Created(&'a User, bool),
    Taken,
    Unknown,
    Shown(Option<&'a User>),
}

impl<'a> Winner<'a> {
    /// A create request creates only one user. So the first call of this method stores `user`, and
    /// later calls accept only the stored user.
    fn can_have_created(&mut self, user: &'a User) -> bool {
        *self.user.get_or_insert(user) == user && user.username == self.request.name.display
    }

    /// Whether the create `request`, which has this `number` in the history, is the winner's
    /// request or a repetition of it.
    fn is(&self, number: usize, request: &Create) -> bool {
        let is_repetition = request.key.is_some()
            && (&request.caller, &request.key) == (&self.request.caller, &self.request.key)
            && request.name.display == self.request.name.display;
        number == self.number || is_repetition
    }
}

impl<'a> SequentialSpec for Name<'a> {
    type Op = Asked<'a>;
    type Ret = Told<'a>;

    /// Applies an operation without checking its answer. The tester calls this function instead of
    /// `is_valid_step` if the outcome is unknown.
    fn invoke(&mut self, asked: &Asked<'a>) -> Told<'a> {
        if let Asked::Create(number, request) = *asked {
            self.0.get_or_insert(Winner {
                number,
                request,
                user: None,
            });
        }
        Told::Unknown
    }

    fn is_valid_step(&mut self, asked: &Asked<'a>, told: &Told<'a>) -> bool {
        match (*asked, *told, &mut self.0) {
            (Asked::Create(..), Told::Created(user, false), None) => {
                self.invoke(asked);
                self.0
                    .as_mut()
                    .is_some_and(|winner| winner.can_have_created(user))
            }
            (Asked::Create(number, request), Told::Created(user, true), Some(winner)) => {
                winner.is(number, request) && winner.can_have_created(user)
            }
            (Asked::Create(number, request), Told::Taken, Some(winner)) => {
                !winner.is(number, request)
            }
            (Asked::Read, Told::Shown(Some(user)), Some(winner)) => winner.can_have_created(user),
            (Asked::Read, Told::Shown(None), None) => true,
            _ => false,
        }
    }
}
