//! Finds the shortest paths that break a promise, and describes each step in a sentence.

use std::fmt::Write;

use stateright::{Checker, HasDiscoveries, Model};

use crate::{
    ATTEMPTS, Action, Attempt, Cell, Decision, Erasure, Item, KEYS, Layout, Progress, Protocol,
    Run, State, USERNAMES, Without,
};

/// The states on a path through the model. Each state except the last one comes with the action
/// that leads to the next state.
pub type Path = Vec<(State, Option<Action>)>;

const MAX_STEPS: usize = 12;
const NAMES: [&str; 3] = ["Ann", "Ben", "Cleo"];

/// The shortest path of at most twelve steps that breaks a promise.
#[must_use]
pub fn shortest(model: &Protocol, promise: &'static str) -> Option<Path> {
    (0..=MAX_STEPS).find_map(|steps| {
        let checker = model
            .clone()
            .checker()
            // A path of `steps` steps has `steps + 1` states. The maximum depth is `steps + 2`,
            // because stateright does not examine the states at the maximum depth.
            .target_max_depth(steps + 2)
            .finish_when(HasDiscoveries::AnyOf([promise].into()))
            .spawn_bfs()
            .join();
        checker.discovery(promise).map(stateright::Path::into_vec)
    })
}

/// Describes a path that breaks a promise, with one line for each step.
#[must_use]
pub fn story(model: &Protocol, path: &[(State, Option<Action>)], promise: &str) -> String {
    let mut story = String::new();
    for (number, (state, action)) in path.iter().enumerate() {
        let Some(action) = action else { break };
        let step = sentence(model, state, *action);
        writeln!(story, "{}. {step}", number + 1).expect("writing to a string succeeds");
    }
    write!(story, "Broken: {promise}.").expect("writing to a string succeeds");
    story
}

fn sentence(model: &Protocol, state: &State, action: Action) -> String {
    match action {
        Action::Send(client) => {
            let number = 0;
            let request = asks(state, Attempt { client, number });
            format!(
                "{} asks for {request}{}.",
                NAMES[client],
                place(model, client)
            )
        }
        Action::Repeat {
            client,
            forgets_key,
        } => {
            let without = if forgets_key { ", without its key" } else { "" };
            format!("{} sends the request again{without}.", NAMES[client])
        }
        Action::Arrive(attempt) => {
            let (effect, told) = arrives(model, state, attempt);
            format!(
                "{} write arrives and {effect}. {} is told {told}.",
                whose(attempt),
                NAMES[attempt.client]
            )
        }
        Action::LoseAnswer(attempt) => {
            let (effect, _) = arrives(model, state, attempt);
            let then = then(model, state, attempt);
            format!(
                "{} write arrives and {effect}. Its answer gets lost, and {then}.",
                whose(attempt)
            )
        }
        Action::TimeOut(attempt) => {
            let then = then(model, state, attempt);
            format!("{} write is late, and {then}.", whose(attempt))
        }
        Action::Forge(attempt) => {
            let told = if model.without == Some(Without::RequestId) {
                "201"
            } else {
                "503"
            };
            let name = NAMES[attempt.client];
            format!(
                "A proxy answers {} write with an empty 200. {name} is told {told}.",
                whose(attempt)
            )
        }
        Action::ArriveLate(attempt) => {
            let (effect, _) = arrives(model, state, attempt);
            format!("{} late write arrives and {effect}.", whose(attempt))
        }
        Action::Crash(attempt) => format!("{} function crashes.", whose(attempt)),
        Action::Erase => erases(model, state),
        Action::DeleteLate => "A late copy of the operator's delete arrives.".to_owned(),
        Action::Replicate(_) if model.layout == Layout::Regions => {
            "The newest write is copied from its region to the other region.".to_owned()
        }
        Action::Replicate(_) => {
            "List requests read a copy of the table. The newest write now reaches this copy."
                .to_owned()
        }
    }
}

fn asks(state: &State, attempt: Attempt) -> String {
    let username = USERNAMES[state.requests[attempt.client].username];
    state.key(attempt).map_or_else(
        || format!("{username:?} without a key"),
        |key| {
            let (caller, key) = KEYS[key];
            format!("{username:?} as {caller} with the key {key:?}")
        },
    )
}

fn place(model: &Protocol, client: usize) -> &'static str {
    let is_last = client + 1 == model.clients;
    match (model.layout, is_last) {
        (Layout::Regions, false) => ", in the first region",
        (Layout::Regions, true) => ", in the second region",
        (Layout::MoreShards, false) => ", from a function that uses one shard",
        (Layout::MoreShards, true) => ", from a function that uses two shards",
        _ => "",
    }
}

/// An attempt in the possessive form, for example "Ann's first request's".
fn whose(attempt: Attempt) -> String {
    let ordinal = ["first", "second"][attempt.number];
    format!("{}'s {ordinal} request's", NAMES[attempt.client])
}

/// What an attempt's write does to the table, and what the client is told if the table's answer
/// reaches the function.
fn arrives(model: &Protocol, state: &State, attempt: Attempt) -> (String, &'static str) {
    let mut after = *state;
    let write = match state.runs[attempt.client][attempt.number] {
        Run::Waiting { sent, .. } => usize::from(sent) - 1,
        _ => 0,
    };
    let (place, key) = model.home(state, attempt);
    let before = state.table[place][key];
    let (item, found) = model.write(&mut after, attempt, write);
    let user = |item: Item| {
        format!(
            "{} {:?}",
            owner(item),
            USERNAMES[state.requests[item.attempt.client].username]
        )
    };
    match (before, found) {
        (Cell::User(old), Cell::Free) => (format!("overwrites {}", user(old)), "201"),
        (_, Cell::Free) => (format!("makes {}", user(item)), "201"),
        (_, Cell::User(found)) => {
            let told = match model.judge(state, item, found) {
                Decision::Created => "201",
                Decision::Replayed => "201, as a replay",
                Decision::Taken => "409",
            };
            (format!("finds {}", user(found)), told)
        }
        (_, Cell::Tombstone) => ("finds the tombstone".to_owned(), "409"),
    }
}

fn owner(item: Item) -> String {
    format!("{}'s", NAMES[item.attempt.client])
}

/// What happens if the function gets no answer to its newest write.
fn then(model: &Protocol, state: &State, attempt: Attempt) -> String {
    let is_last = matches!(
        state.runs[attempt.client][attempt.number],
        Run::Waiting { sent, .. } if usize::from(sent) == ATTEMPTS
    );
    let name = NAMES[attempt.client];
    match (is_last, model.without) {
        (false, _) => "the SDK sends it again".to_owned(),
        (true, Some(Without::Doubt)) => format!("{name} is told 201"),
        (true, _) => format!("{name} is told 503"),
    }
}

fn erases(model: &Protocol, state: &State) -> String {
    let is_last_wait = model.erasure == Some(Erasure::WaitThenDelete);
    match state.progress {
        Progress::Idle => "The operator looks up the user to erase.",
        Progress::Found(_) if is_last_wait => "The operator waits until the longest retry is over.",
        Progress::Found(_) if model.erasure == Some(Erasure::Tombstone) => {
            "The operator replaces the user with a tombstone, and reports the erasure."
        }
        Progress::Found(_) => "The operator deletes the user.",
        Progress::Deleted(_) => "The operator waits until the longest retry is over.",
        Progress::Waited(_) if is_last_wait => "The operator deletes the user.",
        Progress::Waited(_) => "The operator deletes again.",
        Progress::Done(_) => "",
    }
    .to_owned()
}
