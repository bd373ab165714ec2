//! Checks that two judges accept the same random histories: the rules of `tests::histories::rules`,
//! and `protocol::linearizable`, which searches for an order of the operations.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use protocol::linearizable;
use tests::histories::{
    history::{
        Create, History, List, Operation, Outcome, Request, ShownUser as User, StoredItem as Item,
        Walk,
    },
    names::Name,
    rules::{Rule, check},
    seed,
};

const HISTORIES: usize = 100_000;

const NAMES: [(&str, &str); 4] = [
    ("ada", "ada"),
    ("Ada", "ada"),
    ("bea", "bea"),
    ("BEA", "bea"),
];
const CALLERS: [Option<&str>; 3] = [Some("alma"), Some("boris"), None];
const KEYS: [Option<&str>; 3] = [Some("one"), Some("two"), None];
const PREFIXES: [&str; 4] = ["", "", "a", "b"];

#[test]
fn the_rules_and_the_linearizability_check_agree_on_sound_and_corrupted_histories() {
    let mut seed = seed();
    let mut sound = 0;
    let mut found = BTreeMap::<Rule, usize>::new();
    for _ in 0..HISTORIES {
        let mut rng = Rng::with_seed(seed);
        let mut history = sound_history(&mut rng);
        history.seed = seed;
        let corruptions = rng.usize(..4);
        let corruptions: Vec<&str> = (0..corruptions)
            .map(|_| corrupt(&mut history, &mut rng))
            .collect();
        let rules: BTreeSet<Rule> = check(&history).iter().map(|it| it.rule).collect();
        let order = linearizable(&history);
        assert!(
            rules.is_empty() == order.is_ok(),
            "HISTORY_SEED={seed}, {corruptions:?}: the judges disagree: broken rules {rules:?}, linearizable() returned {order:?}\n{history:#?}"
        );
        assert!(
            !corruptions.is_empty() || rules.is_empty(),
            "HISTORY_SEED={seed}: {rules:?}"
        );
        sound += usize::from(rules.is_empty());
        for rule in rules {
            *found.entry(rule).or_default() += 1;
        }
        seed = rng.u32(..).into();
    }
    println!(
        "{HISTORIES} histories: {sound} are sound. Number of histories that break each rule: {found:?}"
    );
    let all = [
        Rule::Answer,
        Rule::OneOwner,
        Rule::Kept,
        Rule::Asked,
        Rule::Replay,
        Rule::Conflict,
        Rule::Creator,
        Rule::Page,
        Rule::Complete,
        Rule::Walk,
        Rule::Quiet,
        Rule::Table,
    ];
    assert!(found.keys().eq(&all), "{found:?}");
}

/// An operation of a generated history, before its outcome is decided.
struct Plan {
    start: u64,
    effect: u64,
    end: u64,
    request: Request,
    /// `Unavailable` or `Killed` if the client does not learn the true outcome, otherwise `None`.
    unknown: Option<Outcome>,
}

/// Makes a sound history: its operations take effect in an order that explains all answers.
fn sound_history(rng: &mut Rng) -> History {
    let max_age = rng.u64(..2);
    let count = rng.u64(3..12);
    let mut plans: Vec<Plan> = (0..count)
        .map(|number| plan(rng, number, max_age))
        .collect();
    plans.sort_by_key(|plan| plan.effect);
    // In a real run, a cursor names a user from a page, so some create has requested the username
    // in the cursor. Remove the cursors with other usernames.
    let requests = plans.iter().map(|plan| &plan.request);
    let asked: BTreeSet<String> = requests
        .filter_map(|request| match request {
            Request::Create(create) => Some(create.name.display.clone()),
            Request::List(_) => None,
        })
        .collect();
    for plan in &mut plans {
        if let Request::List(list) = &mut plan.request {
            list.after.take_if(|after| !asked.contains(after));
        }
    }
    let mut history = History {
        max_age,
        ..History::default()
    };
    let mut users = BTreeMap::<String, (Create, User)>::new();
    for (number, plan) in plans.into_iter().enumerate() {
        let outcome = match &plan.request {
            Request::Create(create) => created(&mut users, create, number),
            Request::List(list) => page(&users, list),
        };
        history.operations.push(Operation {
            client: number,
            start: plan.start,
            end: plan.end,
            request: plan.request,
            outcome: plan.unknown.unwrap_or(outcome),
        });
    }
    history.operations.sort_by_key(|it| it.end);
    for prefix in ["", "a", "b"] {
        let list = List {
            prefix: prefix.to_owned(),
            limit: 1000,
            ..list(rng, 0)
        };
        let Outcome::Page { users, .. } = page(
            &users,
            &List {
                after: None,
                ..list
            },
        ) else {
            unreachable!("a list shows a page");
        };
        history.walks.push(Walk {
            prefix: prefix.to_owned(),
            limit: 1000,
            users,
        });
    }
    history.items = users
        .values()
        .map(|(create, user)| item(&create.name.key, user))
        .collect();
    history
}

/// A random operation. Each operation has a different `number`, and its times are computed from
/// this number. So no two times in the history are equal.
fn plan(rng: &mut Rng, number: u64, max_age: u64) -> Plan {
    let mut times = [0; 3].map(|_| rng.u64(..if max_age > 0 { 40_000 } else { 400 }));
    // Most operations are short, so that few operations overlap.
    for at in 1..3 {
        times[at] = times[0] + times[at] / rng.choice([1, 4, 16]).expect("one");
    }
    times.sort_unstable();
    let [start, effect, end] = [0, 1, 2].map(|at| 1000 * times[at] + 3 * number + at as u64);
    if rng.u8(..3) == 0 {
        // A page may show the table as it was up to `max_age` seconds before the request.
        let age = rng.u64(..=1_000_000 * max_age);
        let effect = if max_age > 0 {
            effect.saturating_sub(age) / 1000 * 1000 + 3 * number + 1
        } else {
            effect
        };
        let effect = effect.max((start + 1).saturating_sub(1_000_000 * max_age));
        let request = Request::List(list(rng, number));
        let unknown = (rng.u8(..8) == 0).then_some(Outcome::Unavailable);
        return Plan {
            start,
            effect,
            end,
            request,
            unknown,
        };
    }
    let (display, key) = rng.choice(NAMES).expect("one");
    let create = Create {
        caller: rng.choice(CALLERS).flatten().map(ToOwned::to_owned),
        key: rng.choice(KEYS).flatten().map(ToOwned::to_owned),
        name: Name {
            spelling: display.to_owned(),
            display: display.to_owned(),
            key: key.to_owned(),
        },
    };
    let unknown = (rng.u8(..3) == 0)
        .then(|| rng.choice([Outcome::Unavailable, Outcome::Killed]))
        .flatten();
    // A create with an unknown outcome may take effect after its client stopped waiting.
    let late = if unknown.is_some() {
        1000 * rng.u64(..200)
    } else {
        0
    };
    Plan {
        start,
        effect: effect + late,
        end,
        request: Request::Create(create),
        unknown,
    }
}

fn list(rng: &mut Rng, number: u64) -> List {
    let after = rng.choice([None, None, Some("ada"), Some("BEA")]).flatten();
    List {
        query: String::new(),
        prefix: rng.choice(PREFIXES).expect("one").to_owned(),
        limit: rng.usize(1..4),
        after: after.map(ToOwned::to_owned),
        walk: usize::try_from(number).expect("small"),
    }
}

fn created(
    users: &mut BTreeMap<String, (Create, User)>,
    create: &Create,
    number: usize,
) -> Outcome {
    let Some((owner, user)) = users.get(&create.name.key) else {
        let user = user(number, &create.name.display);
        let entry = (create.clone(), user.clone());
        users.insert(create.name.key.clone(), entry);
        return Outcome::Created {
            user,
            replayed: false,
        };
    };
    if create.key.is_some() && owner == create {
        return Outcome::Created {
            user: user.clone(),
            replayed: true,
        };
    }
    Outcome::Taken
}

fn page(users: &BTreeMap<String, (Create, User)>, list: &List) -> Outcome {
    let after = list
        .after
        .as_ref()
        .map(|after| after.to_lowercase())
        .unwrap_or_default();
    let range = users
        .iter()
        .filter(|(key, _)| **key > after && key.starts_with(&list.prefix));
    let mut users: Vec<User> = range.map(|(_, (_, user))| user.clone()).collect();
    let has_next = users.len() > list.limit;
    users.truncate(list.limit);
    Outcome::Page { users, has_next }
}

fn user(number: usize, username: &str) -> User {
    User {
        id: format!("{number:08}-0000-7000-8000-000000000000"),
        username: username.to_owned(),
        created_at: format!("2026-03-01T12:00:{number:02}.000Z"),
    }
}

fn item(key: &str, user: &User) -> Item {
    [
        ("kind", "user"),
        ("username_key", key),
        ("username", &user.username),
        ("id", &user.id),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Changes a history at random. The changed history may still be sound (see [`sound_history`]).
/// Returns a description of the change.
fn corrupt(history: &mut History, rng: &mut Rng) -> &'static str {
    match rng.u8(..6) {
        0 => corrupt_end(history, rng),
        1 | 2 => corrupt_page(history, rng),
        _ => corrupt_operation(history, rng),
    }
}

fn corrupt_operation(history: &mut History, rng: &mut Rng) -> &'static str {
    let count = history.operations.len();
    let other = history.operations[rng.usize(..count)].clone();
    let stranger = user(99, rng.choice(NAMES).expect("one").0);
    let at = rng.usize(..count);
    let operation = &mut history.operations[at];
    let Request::Create(create) = &mut operation.request else {
        let length = operation.end - operation.start;
        operation.start = 1000 * rng.u64(..400) + 500 + at as u64;
        operation.end = operation.start + length;
        return "a page at another time";
    };
    let what = rng.u8(..9);
    match (what, &mut operation.outcome) {
        (0, Outcome::Created { user, .. }) => {
            user.id = stranger.id;
            "another id"
        }
        (1, Outcome::Created { user, .. }) => {
            user.username = stranger.username;
            "another display form"
        }
        (2, Outcome::Created { user, .. }) => {
            user.created_at = stranger.created_at;
            "another time of creation"
        }
        (3, Outcome::Created { replayed, .. }) => {
            *replayed = !*replayed;
            "a wrong replay flag"
        }
        (4, outcome) => {
            *outcome = Outcome::Taken;
            "a conflict"
        }
        (5, outcome) => {
            *outcome = Outcome::Killed;
            "a forgotten answer"
        }
        (6, outcome) => {
            if matches!(&other.request, Request::Create(it) if it.name.key == create.name.key) {
                *outcome = other.outcome;
            }
            "another create's answer"
        }
        (7, _) => {
            create.key = rng.choice(KEYS).flatten().map(ToOwned::to_owned);
            create.caller = rng.choice(CALLERS).flatten().map(ToOwned::to_owned);
            "another key or caller"
        }
        _ => {
            let length = operation.end - operation.start;
            operation.start = 1000 * rng.u64(..400) + 500 + at as u64;
            operation.end = operation.start + length;
            "a create at another time"
        }
    }
}

fn corrupt_page(history: &mut History, rng: &mut Rng) -> &'static str {
    let stranger = user(99, rng.choice(NAMES).expect("one").0);
    let lists = history.operations.iter_mut().filter_map(|operation| {
        match (&mut operation.request, &mut operation.outcome) {
            (Request::List(list), Outcome::Page { users, has_next }) => {
                Some((list, users, has_next))
            }
            _ => None,
        }
    });
    let mut lists: Vec<_> = lists.collect();
    if lists.is_empty() {
        return "no page";
    }
    let at = rng.usize(..lists.len());
    let (list, users, has_next) = &mut lists[at];
    match rng.u8(..7) {
        0 => {
            users.pop();
            "a page without its last user"
        }
        1 => {
            users.reverse();
            "a page in another order"
        }
        2 => {
            users.extend_from_within(..);
            "a page with duplicates"
        }
        3 => {
            users.push(stranger);
            "a page with a stranger"
        }
        4 => {
            **has_next = !**has_next;
            "a page with a wrong `has_next`"
        }
        5 => {
            let number = rng.u64(..100);
            **list = self::list(rng, number);
            "an answer to another query"
        }
        _ => {
            for (list, ..) in lists {
                list.walk = 0;
            }
            "all pages in one walk"
        }
    }
}

fn corrupt_end(history: &mut History, rng: &mut Rng) -> &'static str {
    let stranger = user(99, rng.choice(NAMES).expect("one").0);
    let number = rng.usize(..3);
    let (Some(first), Some(walk)) = (
        history.walks.first().cloned(),
        history.walks.get_mut(number),
    ) else {
        return "nothing at the end";
    };
    match rng.u8(..8) {
        0 => {
            history.failure = Some("a 500".to_owned());
            "a failure"
        }
        1 => {
            history.walks.clear();
            "no walk at the end"
        }
        2 => {
            walk.users.push(stranger);
            "a walk with a stranger"
        }
        3 => {
            walk.users.reverse();
            "a walk in another order"
        }
        4 => {
            history.items.push(item("zoe", &stranger));
            "a stray item"
        }
        5 => {
            history.items.pop();
            "a lost item"
        }
        6 => {
            if let (Some(user), Some(last)) = (first.users.first(), walk.users.last_mut()) {
                last.id.clone_from(&user.id);
            }
            "another id at the end"
        }
        _ => {
            if let Some(lost) = first.users.last() {
                history.items.pop();
                for walk in &mut history.walks {
                    walk.users.retain(|user| user != lost);
                }
            }
            "a lost user"
        }
    }
}
