//! Compares the contestants. They run in turns, so that noise on the machine affects all of them alike.

use std::{thread, time::Duration};

use harness::{
    Event,
    runtime_api::Reply,
    service::{TABLE_NAME, engine},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::{
    canned_table::{Access, CannedTable},
    contestants::{Contestant, Operation, Program, Size},
    measure::{self, ProcessRun},
    quota::Quota,
};

/// How many warm calls each process gets at full speed.
const WARM_CALLS: usize = 200;
/// How many warm calls each process gets under a quota: fewer, because each call takes longer.
const WARM_CALLS_UNDER_QUOTA: usize = 100;

/// The spread of a value over all rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Half of the values are below this value.
    pub median: f64,
    /// A quarter of the values are below this value.
    pub low: f64,
    /// A quarter of the values are above this value.
    pub high: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            median: quantile(&values, 0.5),
            low: quantile(&values, 0.25),
            high: quantile(&values, 0.75),
        }
    }
}

/// Returns a quantile of the sorted values. `part` is from 0 to 1: 0 gives the smallest value, 0.5
/// the median, and 1 the largest value. The quantile is always one of the values (nearest rank).
///
/// # Panics
///
/// Panics if there are no values.
#[must_use]
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "there are far fewer than 2^52 values"
    )]
    let index = ((sorted.len() - 1) as f64 * part).round() as usize;
    sorted[index]
}

/// A contestant's figures for one operation. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The contestant's name.
    pub name: &'static str,
    /// The time from the start of the process until it polls for its first event.
    pub init: Spread,
    /// The time of the first call, from sending the event to receiving the answer.
    pub first: Spread,
    /// The time of a warm call: any call after the first.
    pub warm: Spread,
    /// The average duration that Lambda would bill for a warm call. Lambda rounds each call up to a
    /// whole millisecond.
    pub warm_billed: f64,
    /// The 99th percentile of the warm calls' times.
    pub warm_p99: f64,
    /// The processor time of INIT.
    pub init_cpu: Spread,
    /// The processor time of the first call.
    pub first_cpu: Spread,
    /// The processor time of a warm call.
    pub warm_cpu: Spread,
    /// The processor time of INIT and the first call together. The duration and the cost of a cold
    /// start with little memory depend mostly on this time, because the function gets only a
    /// fraction of a processor.
    pub cold_cpu: Spread,
    /// The peak memory of the process, in MiB.
    pub peak_memory_mib: Spread,
    /// The size of the function's deployed files.
    pub size: Size,
}

impl Figures {
    fn new(name: &'static str, program: &Program, runs: &[ProcessRun]) -> Self {
        let spread = |of: &dyn Fn(&ProcessRun) -> f64| Spread::of(runs.iter().map(of).collect());
        let mut warm: Vec<f64> = runs.iter().flat_map(|run| &run.warm).map(ms).collect();
        warm.sort_by(f64::total_cmp);
        let billed: f64 = warm.iter().map(|it| it.ceil()).sum();
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 calls")]
        let calls = warm.len() as f64;
        Self {
            name,
            init: spread(&|run| ms(&run.init.wall)),
            first: spread(&|run| ms(&run.first.wall)),
            warm_billed: billed / calls,
            warm_p99: quantile(&warm, 0.99),
            warm: Spread::of(warm),
            init_cpu: spread(&|run| ms(&run.init.cpu)),
            first_cpu: spread(&|run| ms(&run.first.cpu)),
            warm_cpu: spread(&|run| ms(&run.warm_cpu)),
            cold_cpu: spread(&|run| ms(&(run.init.cpu + run.first.cpu))),
            #[expect(clippy::cast_precision_loss, reason = "no process holds 2^52 KiB")]
            peak_memory_mib: spread(&|run| run.peak_memory_kib as f64 / 1024.0),
            size: program.size(),
        }
    }
}

fn ms(duration: &Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// All contestants' figures for one operation.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The operation.
    pub operation: Operation,
    /// The memory of a function in MB, and the percentage of a processor that Lambda gives to it.
    /// `None` at full speed.
    pub quota: Option<(u32, u32)>,
    /// One entry for each contestant, in the order of the list of contestants.
    pub figures: Vec<Figures>,
}

impl Comparison {
    /// The figures of a contestant.
    ///
    /// # Panics
    ///
    /// Panics if no contestant has this name.
    #[must_use]
    pub fn of(&self, name: &str) -> &Figures {
        let mut figures = self.figures.iter();
        figures
            .find(|figures| figures.name == name)
            .unwrap_or_else(|| panic!("no contestant {name}"))
    }
}

/// Compares the contestants at full speed.
pub async fn at_full_speed(
    title: &str,
    contestants: &[Contestant],
    operation: Operation,
    rounds: usize,
) -> Comparison {
    compare(title, contestants, operation, rounds, None).await
}

/// Compares the contestants under a quota (see [`Comparison::quota`]).
///
/// # Errors
///
/// Fails if the machine does not support quotas.
pub async fn under_quota(
    contestants: &[Contestant],
    operation: Operation,
    rounds: usize,
    (memory, percent): (u32, u32),
) -> Result<Comparison, std::io::Error> {
    let quota = Quota::percent(percent)?;
    let title = format!("{percent} % of a processor");
    let mut comparison = compare(&title, contestants, operation, rounds, Some(&quota)).await;
    comparison.quota = Some((memory, percent));
    Ok(comparison)
}

async fn compare(
    title: &str,
    contestants: &[Contestant],
    operation: Operation,
    rounds: usize,
    quota: Option<&Quota>,
) -> Comparison {
    let table = CannedTable::start().await;
    let warm = match quota {
        None => WARM_CALLS,
        Some(_) => WARM_CALLS_UNDER_QUOTA,
    };
    let programs: Vec<(&'static str, &Program)> = contestants
        .iter()
        .filter_map(|it| Some((it.name, it.program(operation)?)))
        .collect();
    let bar = ProgressBar::new((rounds * programs.len()) as u64).with_style(
        ProgressStyle::with_template("{prefix:34} {bar:30} {pos:>3}/{len} {msg}")
            .expect("the template is valid"),
    );
    bar.set_prefix(format!("{operation:?}, {title}"));
    let mut runs: Vec<Vec<ProcessRun>> = vec![Vec::new(); programs.len()];
    for _ in 0..rounds {
        for ((name, program), runs) in programs.iter().zip(&mut runs) {
            bar.set_message(*name);
            let _running = Running(name);
            runs.push(measure::process(program, table.access(), quota, operation, warm).await);
            bar.inc(1);
        }
    }
    bar.finish_with_message("");
    let figures = programs.iter().zip(&runs);
    let figures = figures.map(|((name, program), runs)| Figures::new(name, program, runs));
    Comparison {
        operation,
        quota: None,
        figures: figures.collect(),
    }
}

/// The contestant that is running. Prints its name if the benchmark panics.
struct Running<'a>(&'a str);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("make bench: the contestant {} failed", self.0);
        }
    }
}

/// Checks with the embedded engine that a contestant creates and lists users. If the contestant has
/// no list function, the list function of `other` lists the users.
///
/// # Panics
///
/// Panics if the functions do not create or list the users.
pub async fn check(contestant: &Contestant, other: &Contestant) {
    let engine = engine();
    let table = Access {
        url: &engine.url(),
        certificates: None,
    };
    let name = contestant.name;
    let _running = Running(name);
    let mut create = measure::start(&contestant.create, table).await;
    let list = contestant.list.as_ref().or(other.list.as_ref());
    let mut list = measure::start(list.expect("the other has a list"), table).await;
    for (event, status) in [
        (Event::create_user("Grace"), 201),
        (Event::create_user("ada"), 201),
        (Event::create_user("GRACE"), 409),
        (Event::create_user("grace hopper"), 422),
        (Event::create("{"), 400),
    ] {
        let reply = create.invoke(event, measure::TIMEOUT).await;
        assert_eq!(answer(&reply)["statusCode"], status, "{name}: {reply:?}");
    }
    let reply = list
        .invoke(Event::list("limit=100"), measure::TIMEOUT)
        .await;
    let users: Value = serde_json::from_str(answer(&reply)["body"].as_str().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{name}: {error}: {reply:?}"));
    let users = users.as_array().expect("an array");
    let names: Vec<_> = users.iter().map(|user| &user["username"]).collect();
    assert_eq!(names, ["ada", "Grace"], "{name}, of {TABLE_NAME}");
    for sandbox in [create, list] {
        sandbox.stop_with_output().await;
    }
}

fn answer(reply: &Reply) -> &Value {
    match reply {
        Reply::Response(response) => response,
        Reply::Error(error) => panic!("the function failed: {error}"),
    }
}
