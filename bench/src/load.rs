//! Measures how fast many concurrent sandboxes create users, and how fast a sandbox reads pages of
//! a table with a million users.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use dynoxide::{AttributeValue, ImportOptions};
use harness::{
    Event,
    runtime_api::Sandbox,
    service::{TABLE_NAME, engine},
};
use serde::Serialize;
use shared::{
    item::{ID, KIND, KIND_USER, USERNAME, USERNAME_KEY},
    user::username::UsernamePrefix,
};
use tokio::task::JoinSet;

use crate::{
    canned_table::Access,
    compare::quantile,
    contestants::Contestant,
    measure::{self, call},
};

const SANDBOXES: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// How long the load runs for each number of sandboxes.
const DURATION: Duration = Duration::from_secs(3);

/// The results for one entry of `SANDBOXES`.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// The number of sandboxes. Each sandbox handles one request at a time, as in Lambda.
    pub sandboxes: usize,
    /// Users created per second.
    pub creates_per_second: f64,
    /// The median time of a create, in milliseconds.
    pub p50: f64,
    /// The 99th percentile of the time of a create, in milliseconds.
    pub p99: f64,
    /// The average number of processors that the functions used.
    pub functions_cpu: f64,
    /// The average number of processors that the engine and the benchmark used.
    pub engine_and_bench_cpu: f64,
}

/// Measures creates with more and more sandboxes. The sandboxes write to the embedded engine, which
/// keeps its table in memory.
///
/// # Panics
///
/// Panics if a create fails.
pub async fn measure(contestant: &Contestant) -> Vec<Load> {
    let mut loads = Vec::new();
    for sandboxes in SANDBOXES {
        let engine = engine();
        let url = engine.url();
        let table = Access {
            url: &url,
            certificates: None,
        };
        let mut ready = Vec::new();
        for _ in 0..sandboxes {
            let mut sandbox = measure::start(&contestant.create, table).await;
            sandbox.polled().await;
            ready.push(sandbox);
        }
        let processes: Vec<u32> = ready.iter().map(Sandbox::process_id).collect();
        let functions = || processes.iter().map(|it| measure::cpu_time_of(*it));
        let functions_before: Duration = functions().sum();
        let own_before = measure::cpu_time_of(std::process::id());

        let started = Instant::now();
        let mut running = JoinSet::new();
        for (number, mut sandbox) in ready.into_iter().enumerate() {
            running.spawn(async move {
                let mut times = Vec::new();
                while started.elapsed() < DURATION {
                    let username = format!("user-{number}-{}", times.len());
                    let event = Event::create_user(&username).into_json();
                    times.push(call(&mut sandbox, event).await.as_secs_f64() * 1000.0);
                }
                (sandbox, times)
            });
        }
        let done = running.join_all().await;
        let elapsed = started.elapsed().as_secs_f64();
        let functions_after: Duration = functions().sum();
        let own_after = measure::cpu_time_of(std::process::id());
        let mut times = Vec::new();
        for (sandbox, of_one) in done {
            sandbox.stop_with_output().await;
            times.extend(of_one);
        }
        times.sort_by(f64::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 creates")]
        let creates = times.len() as f64;
        loads.push(Load {
            sandboxes,
            creates_per_second: creates / elapsed,
            p50: quantile(&times, 0.5),
            p99: quantile(&times, 0.99),
            functions_cpu: functions_after
                .saturating_sub(functions_before)
                .as_secs_f64()
                / elapsed,
            engine_and_bench_cpu: own_after.saturating_sub(own_before).as_secs_f64() / elapsed,
        });
    }
    loads
}

const USERS: usize = 1_000_000;
/// How many users are inserted at a time.
const CHUNK: usize = 50_000;
/// How many times each page is requested.
const PAGES: usize = 500;

/// The times of the first and the last page of a large table, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Pages {
    /// The number of users in the table.
    pub users: usize,
    /// The median time of the first page.
    pub first: f64,
    /// The median time of the last page.
    pub last: f64,
}

/// Measures how long the first and the last page of a table with a million users take. The requests
/// alternate between the two pages. The embedded engine holds the table.
///
/// # Panics
///
/// Panics if a request for a page fails.
pub async fn pages(contestant: &Contestant) -> Pages {
    let engine = engine();
    for chunk in 0..USERS / CHUNK {
        let numbers = chunk * CHUNK..(chunk + 1) * CHUNK;
        let items = numbers.map(user).collect();
        engine
            .database()
            .import_items(TABLE_NAME, items, ImportOptions::default())
            .expect("the engine takes the items");
    }
    let table = Access {
        url: &engine.url(),
        certificates: None,
    };
    let list = contestant.list.as_ref().expect("it has a list");
    let mut list = measure::start(list, table).await;
    list.polled().await;
    let cursor = list_users::cursor::encode(&UsernamePrefix::default(), &name(USERS - 101));
    let last_page = format!("limit=100&cursor={cursor}");
    let mut first = Vec::new();
    let mut last = Vec::new();
    for _ in 0..PAGES {
        for (query, times) in [("limit=100", &mut first), (&*last_page, &mut last)] {
            let took = call(&mut list, Event::list(query).into_json()).await;
            times.push(took.as_secs_f64() * 1000.0);
        }
    }
    list.stop_with_output().await;
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        quantile(&times, 0.5)
    };
    Pages {
        users: USERS,
        first: median(first),
        last: median(last),
    }
}

fn name(number: usize) -> String {
    format!("user-{number:07}")
}

fn user(number: usize) -> HashMap<String, AttributeValue> {
    let text = |name: &str, value: String| (name.to_owned(), AttributeValue::S(value));
    HashMap::from([
        text(KIND, KIND_USER.to_owned()),
        text(USERNAME_KEY, name(number)),
        text(USERNAME, name(number)),
        text(ID, format!("019ca945-0a7b-7c3d-9d2e-{number:012x}")),
    ])
}
