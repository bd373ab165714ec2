//! Tests of the service while faults are injected and processes are killed.

mod rules_tests;

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::{error::ProvideErrorMetadata, types::AttributeValue};
use harness::{
    Answer, Event,
    engine_process::EngineProcess,
    service::{connect, get, post},
    wire::{Proxy, WireFault},
};
use list_users::Lister;
use serde_json::Value;
use shared::table::Table;
use tempfile::TempDir;
use tests::histories::{
    judge,
    run::{Plan, run},
    seed,
};
use tokio::{sync::Notify, task::JoinSet};

/// The size of the runs in `make verify`. `make torture` runs longer.
const PLAN: Plan = Plan {
    clients: 16,
    tasks: 60,
};

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_under_faults_and_kills_see_one_owner_of_each_username() {
    let seed = seed();
    say(&format!("HISTORY_SEED={seed}"));
    let folder = temporary_folder();
    let (history, totals) = run(seed, PLAN, folder.path()).await;
    say(&totals.to_string());
    if let Err(failure) = judge(&history) {
        panic!("{failure}");
    }
    // A run in which one of these events never happens tests too little.
    let happened = [
        totals.users,
        totals.replays,
        totals.conflicts,
        totals.pages,
        totals.unknown,
        totals.faults,
        totals.killed_functions,
        totals.killed_engines,
    ];
    assert!(happened.iter().all(|count| *count > 0), "{totals}");
}

const KILLS: usize = 20;
const WRITERS: usize = 8;
/// How long a test waits for its clients. They may be slow on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_under_load_keeps_every_acknowledged_user() {
    let folder = temporary_folder();
    let mut engine = EngineProcess::start(folder.path().join("table.sqlite")).await;
    let mut acknowledged = HashMap::new();
    let mut unanswered = 0;
    for round in 0..KILLS {
        let table = connect(engine.url());
        let written = Arc::new(AtomicUsize::new(0));
        let enough = Arc::new(Notify::new());
        let killed = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (written, enough) = (Arc::clone(&written), Arc::clone(&enough));
            let (table, killed) = (table.clone(), Arc::clone(&killed));
            writers.spawn(async move {
                let mut users = HashMap::new();
                for number in 0.. {
                    let username = format!("user{round}x{writer}x{number}");
                    let answer = create(&table, &username).await;
                    if answer.status != 201 {
                        assert_eq!(answer.status, 503, "{answer:?}");
                        assert!(
                            killed.load(Ordering::Relaxed),
                            "503 before the kill: {answer:?}"
                        );
                        return (users, username);
                    }
                    users.insert(username, answer.json());
                    if written.fetch_add(1, Ordering::Relaxed) == 5 * round {
                        enough.notify_one();
                    }
                }
                unreachable!("the engine is killed")
            });
        }
        let wait = tokio::time::timeout(PATIENCE, enough.notified()).await;
        wait.expect("the writers create enough users");
        killed.store(true, Ordering::Relaxed);
        engine.kill().await;
        let ended = writers.join_all().await;
        engine.start_again().await;

        let table = connect(engine.url());
        let mut open = Vec::new();
        for (users, username) in ended {
            acknowledged.extend(users);
            open.push(username);
        }
        let listed = list(&table).await;
        for (username, user) in &acknowledged {
            assert_eq!(listed.get(username), Some(user), "round {round}");
        }
        for username in listed.keys() {
            let is_known = acknowledged.contains_key(username) || open.contains(username);
            assert!(is_known, "nobody asked for {username}");
        }
        // Repeat each create that got a 503.
        for username in open {
            let answer = create(&table, &username).await;
            assert_eq!(answer.status, 201, "{answer:?}");
            let replayed = answer.header("idempotent-replayed").is_some();
            assert_eq!(replayed, listed.contains_key(&username));
            unanswered += 1;
            acknowledged.insert(username, answer.json());
        }
    }
    let listed = list(&connect(engine.url())).await;
    assert_eq!(listed, acknowledged);
    say(&format!(
        "{KILLS} engines killed under load, {} users kept, {unanswered} creates repeated because they \
         got a 503",
        listed.len()
    ));
}

const USERNAMES: usize = 24;
/// How long the test waits for delayed writes: longer than the longest delay in `faults`.
const WAIT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn erased_users_stay_erased_and_other_users_are_kept_under_faults() {
    let folder = temporary_folder();
    let engine = EngineProcess::start(folder.path().join("table.sqlite")).await;
    let proxy = Proxy::start(engine.url()).await;
    let table = connect(engine.url());

    proxy.inject(faults());
    let mut clients = JoinSet::new();
    for number in 0..USERNAMES {
        for caller in ["ann", "ann", "ben"] {
            clients.spawn(ask(proxy.url(), format!("ada{number}"), caller));
        }
    }
    clients.join_all().await;
    let before = list(&table).await;
    tokio::time::sleep(WAIT).await;
    let (erased, kept): (HashMap<_, _>, HashMap<_, _>) = before
        .into_iter()
        .partition(|(username, _)| username.ends_with(['0', '2', '4', '6', '8']));
    assert!(erased.len() > USERNAMES / 4, "{erased:?}");

    proxy.inject(faults());
    let mut operators = JoinSet::new();
    let mut owners = JoinSet::new();
    for (number, (username, user)) in erased.iter().enumerate() {
        let id = user["id"].as_str().expect("a user has an id");
        // Two operators erase each user, because in practice an operator may repeat the command.
        for _ in 0..2 {
            operators.spawn(erase(proxy.url(), username.clone(), id.to_owned()));
        }
        owners.spawn(create_until_201(proxy.url(), username.clone()));
        owners.spawn(create_until_201(proxy.url(), format!("bea{number}")));
    }
    operators.join_all().await;
    let owners = owners.join_all().await;
    tokio::time::sleep(WAIT).await;
    let struck = proxy.struck();
    assert_eq!(list(&table).await, kept.into_iter().chain(owners).collect());
    say(&format!(
        "{} users were erased under {struck} faults, and each username was taken by a new owner",
        erased.len()
    ));
}

/// Faults for creates and deletes. Each delay is longer than the time that the SDK waits for an
/// answer.
fn faults() -> impl Iterator<Item = WireFault> {
    let kinds = [
        WireFault::Delay(Duration::from_millis(1500)),
        WireFault::LoseAnswer,
        WireFault::Delay(Duration::from_millis(1300)),
        WireFault::ResetAfter,
        WireFault::LoseRequest,
    ];
    kinds.into_iter().cycle().take(3 * USERNAMES)
}

/// Sends one create. Every create has the same Idempotency-Key, whatever its caller and its
/// username are.
async fn ask(url: String, username: String, caller: &str) -> Answer {
    let event = Event::create_user(&username).by(caller);
    let event = event.with_header("idempotency-key", "one");
    post(&connect(&url), event).await
}

async fn create_until_201(url: String, username: String) -> (String, Value) {
    let wait = async {
        loop {
            let answer = ask(url.clone(), username.clone(), "cleo").await;
            if answer.status == 201 {
                return (username, answer.json());
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("the erased username becomes free")
}

/// Erases the user in the way that docs/operations.md describes. Retries until the table confirms
/// that no user has this id.
async fn erase(url: String, username: String, id: String) {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let table = connect(&url);
    loop {
        let deleted = table
            .client()
            .delete_item()
            .table_name(table.name())
            .key("kind", text("user"))
            .key("username_key", text(&username))
            .condition_expression("id = :id")
            .expression_attribute_values(":id", text(&id))
            .send()
            .await;
        match deleted {
            Ok(_) => return,
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => return,
            Err(_) => {}
        }
    }
}

async fn create(table: &Table, username: &str) -> Answer {
    let event = Event::create_user(username).with_header("idempotency-key", username);
    post(table, event).await
}

async fn list(table: &Table) -> HashMap<String, Value> {
    let lister = Lister::new(table.clone(), Duration::ZERO);
    let mut users = HashMap::new();
    let mut next = Some("limit=1000".to_owned());
    while let Some(query) = next {
        let page = get(&lister, Event::list(&query)).await;
        let listed = page.json().as_array().expect("a page").clone();
        for (username, user) in page.usernames().into_iter().zip(listed) {
            let before = users.insert(username, user);
            assert_eq!(before, None, "a user is listed twice");
        }
        next = page.next_query();
    }
    users
}

/// Prints even if the test passes: the test harness captures `println!`, but not `writeln!`.
fn say(text: &str) {
    writeln!(io::stderr(), "{text}").expect("standard error can be written");
}

fn temporary_folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
