//! Histories under faults: a username belongs to one user, and an acknowledged user is never lost or
//! doubled.

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

use harness::{
    Answer, Event,
    engine_process::EngineProcess,
    service::{connect, get, post},
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

/// What `make verify` takes; `make torture` does the same for longer.
const PLAN: Plan = Plan {
    clients: 16,
    deeds: 60,
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
    // A history in which little happens would keep every rule.
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

/// How often the engine is killed in one test.
const KILLS: usize = 20;
const WRITERS: usize = 8;
/// How long the writers may take until the kill: generous, as a machine may be busy, but bounded.
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
                            "before the kill: {answer:?}"
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
        wait.expect("the writers get ahead");
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
        // Whoever got no answer asks again, and has the user then.
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
        "{KILLS} engines killed under load, {} users kept, {unanswered} of them asked for twice",
        listed.len()
    ));
}

async fn create(table: &Table, username: &str) -> Answer {
    let event = Event::create_user(username).with_header("idempotency-key", username);
    post(table, event).await
}

/// All users, by their usernames.
async fn list(table: &Table) -> HashMap<String, Value> {
    let lister = Lister::new(table.clone(), Duration::ZERO);
    let mut users = HashMap::new();
    let mut next = Some("limit=1000".to_owned());
    while let Some(query) = next {
        let page = get(&lister, Event::list(&query)).await;
        let listed = page.json().as_array().expect("a page").clone();
        for (username, user) in page.usernames().into_iter().zip(listed) {
            let before = users.insert(username, user);
            assert_eq!(before, None, "a user is there twice");
        }
        next = page.next_query();
    }
    users
}

/// Says something even if the test succeeds.
fn say(text: &str) {
    writeln!(io::stderr(), "{text}").expect("standard error can be written");
}

fn temporary_folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
