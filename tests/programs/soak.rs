//! `make soak`: runs both functions for several minutes, with all processors busy, and checks every
//! answer. From the first minute to the last minute, the memory of a process may grow only a
//! little, and the numbers of its file descriptors and connections may not grow.

use std::{
    fmt::{Display, Write as _},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::available_parallelism,
    time::{Duration, Instant},
};

use harness::{
    Answer, Event, contract,
    minutes::minutes,
    process,
    runtime_api::{Sandbox, environment},
    service::engine,
    workspace::binary_of,
};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{process::Command, task::JoinSet};

/// How much the memory of a process may grow from the first minute to the last minute. The growth
/// of its peak memory has the same limit. In ten minutes, a process handles at least 100,000 calls,
/// so this limit finds a leak of about 5 bytes per call. Because of the allocator, memory grows a
/// little even without a leak. docs/reliability.md says how much.
const MAX_GROWTH_KIB: usize = 512;
/// The timeout of the functions in template.yaml.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of samples in a minute.
const MINUTE: usize = 60;
/// A client reads at most this many pages of a list before it starts the next list.
const PAGES: usize = 100;

#[tokio::main]
async fn main() -> ExitCode {
    // At least two minutes, so that the first minute and the last minute can be compared.
    let minutes = match minutes(2) {
        Ok(minutes) => minutes,
        Err(message) => {
            eprintln!("make soak: {message}");
            return ExitCode::FAILURE;
        }
    };
    let duration = Duration::from_secs(60 * minutes);

    let engine = engine();
    let url = engine.url();
    let mut functions = Vec::new();
    let mut running = JoinSet::new();
    let until = Instant::now() + duration;
    for number in 0..available_parallelism().map_or(1, usize::from) {
        let sandbox = start("create-user", &url).await;
        let (function, calls) = Function::new("create-user", &sandbox);
        functions.push(function);
        running.spawn(create(sandbox, number, until, calls));

        let sandbox = start("list-users", &url).await;
        let (function, calls) = Function::new("list-users", &sandbox);
        functions.push(function);
        running.spawn(list(sandbox, number, until, calls));
    }

    let bar = ProgressBar::new(duration.as_secs()).with_style(
        ProgressStyle::with_template("{bar:40} {pos:>4}/{len} s {msg}")
            .expect("the template is valid"),
    );
    let mut interval = tokio::time::interval(INTERVAL);
    interval.tick().await;
    while Instant::now() + INTERVAL < until {
        interval.tick().await;
        // A task ends early only if it panicked because of a wrong answer.
        if running.try_join_next().is_some() {
            eprintln!("make soak: an answer was wrong. The answer is printed above");
            return ExitCode::FAILURE;
        }
        functions.iter_mut().for_each(Function::sample);
        bar.inc(1);
        bar.set_message(format!("{} calls", total(&functions)));
    }
    for sandbox in running.join_all().await {
        // Panics if the process has already ended.
        sandbox.stop_with_output().await;
    }
    bar.finish();

    let created: usize = functions.iter().map(Function::created).sum();
    let listed = count_listed_users(&url).await;
    println!("{} calls in {minutes} minutes.\n", total(&functions));
    print!("{}", table(&functions));
    let mut faults: Vec<String> = functions.iter().flat_map(Function::faults).collect();
    if created != listed {
        faults.push(format!(
            "{created} users were created, but the list shows {listed}"
        ));
    }
    for fault in &faults {
        eprintln!("make soak: {fault}");
    }
    ExitCode::from(u8::from(!faults.is_empty()))
}

/// Starts a process of a function. Discards its log, which would have millions of lines.
async fn start(function: &str, table_url: &str) -> Sandbox {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", r#"exec "$0" >/dev/null"#])
        .arg(binary_of(function));
    let mut sandbox = Sandbox::start_command(shell, &environment(table_url)).await;
    sandbox.polled().await;
    sandbox
}

/// The number of requests for each user: a create, a retry of this create, and another create that
/// gets a 409.
const CALLS_PER_USER: usize = 3;

async fn create(
    mut sandbox: Sandbox,
    number: usize,
    until: Instant,
    calls: Arc<AtomicUsize>,
) -> Sandbox {
    for user in 0.. {
        if Instant::now() >= until {
            break;
        }
        let name = format!("user{number}x{user}");
        let new = Event::create_user(&name).with_header("idempotency-key", &name);
        let taken = Event::create_user(&name.to_uppercase());
        let events: [_; CALLS_PER_USER] = [
            (new.clone(), 201, None),
            (new, 201, Some("true")),
            (taken, 409, None),
        ];
        for (event, status, replayed) in events {
            let answer = call(&mut sandbox, "post", event, &calls).await;
            assert_eq!(answer.status, status, "{answer:?}");
            assert_eq!(answer.header("idempotent-replayed"), replayed);
        }
    }
    sandbox
}

async fn list(
    mut sandbox: Sandbox,
    number: usize,
    until: Instant,
    calls: Arc<AtomicUsize>,
) -> Sandbox {
    let prefix = format!("user{number}x");
    for limit in [1, 10, 100, 1000].into_iter().cycle() {
        let mut next = Some(format!("limit={limit}&prefix={prefix}"));
        for _ in 0..PAGES {
            let Some(query) = next else { break };
            if Instant::now() >= until {
                return sandbox;
            }
            let page = call(&mut sandbox, "get", Event::list(&query), &calls).await;
            let usernames = page.usernames();
            next = page.next_query();
            let is_full = usernames.len() == limit;
            assert!(is_full || next.is_none() && usernames.len() < limit);
            assert!(usernames.is_sorted(), "{usernames:?}");
            assert!(usernames.iter().all(|name| name.starts_with(&prefix)));
        }
    }
    unreachable!("the sizes go round")
}

async fn call(sandbox: &mut Sandbox, method: &str, event: Event, calls: &AtomicUsize) -> Answer {
    let answer = sandbox.invoke(event, TIMEOUT).await.into_answer();
    contract::check(method, &answer);
    calls.fetch_add(1, Ordering::Relaxed);
    answer
}

async fn count_listed_users(table_url: &str) -> usize {
    let calls = AtomicUsize::new(0);
    let mut sandbox = start("list-users", table_url).await;
    let mut users = 0;
    let mut next = Some("limit=1000".to_owned());
    while let Some(query) = next {
        let page = call(&mut sandbox, "get", Event::list(&query), &calls).await;
        users += page.usernames().len();
        next = page.next_query();
    }
    sandbox.stop_with_output().await;
    users
}

/// A process of a function.
struct Function {
    name: &'static str,
    process: u32,
    calls: Arc<AtomicUsize>,
    samples: Vec<Sample>,
}

/// A sample of a process's resources.
#[derive(Clone, Copy)]
struct Sample {
    memory_kib: usize,
    peak_memory_kib: usize,
    descriptors: usize,
    connections: usize,
}

impl Sample {
    /// The largest value of each resource.
    fn over(samples: &[Sample]) -> Self {
        let most = |of: fn(&Sample) -> usize| samples.iter().map(of).max().unwrap_or_default();
        Self {
            memory_kib: most(|sample| sample.memory_kib),
            peak_memory_kib: most(|sample| sample.peak_memory_kib),
            descriptors: most(|sample| sample.descriptors),
            connections: most(|sample| sample.connections),
        }
    }
}

impl Function {
    fn new(name: &'static str, sandbox: &Sandbox) -> (Self, Arc<AtomicUsize>) {
        let calls = Arc::<AtomicUsize>::default();
        let function = Self {
            name,
            process: sandbox.process_id(),
            calls: Arc::clone(&calls),
            samples: Vec::new(),
        };
        (function, calls)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn created(&self) -> usize {
        match self.name {
            "create-user" => self.calls() / CALLS_PER_USER,
            _ => 0,
        }
    }

    fn sample(&mut self) {
        let descriptors = process::descriptors(self.process);
        let is_connection = |target: &&String| target.starts_with("socket:");
        self.samples.push(Sample {
            memory_kib: process::memory_kib(self.process, "VmRSS"),
            peak_memory_kib: process::memory_kib(self.process, "VmHWM"),
            connections: descriptors.iter().filter(is_connection).count(),
            descriptors: descriptors.len(),
        });
    }

    /// The largest value of each resource in the first minute and in the last minute.
    fn minutes(&self) -> [Sample; 2] {
        let samples = &self.samples;
        [&samples[..MINUTE], &samples[samples.len() - MINUTE..]].map(Sample::over)
    }

    fn faults(&self) -> Vec<String> {
        let [first, last] = self.minutes();
        let growth = last.memory_kib.saturating_sub(first.memory_kib);
        // The peak also shows what was allocated and freed between two samples.
        let peak_growth = last.peak_memory_kib.saturating_sub(first.peak_memory_kib);
        let of = format!("{} ({})", self.name, self.process);
        [
            (growth > MAX_GROWTH_KIB).then(|| format!("the memory of {of} grew by {growth} KiB")),
            (peak_growth > MAX_GROWTH_KIB)
                .then(|| format!("the peak memory of {of} grew by {peak_growth} KiB")),
            (last.descriptors > first.descriptors)
                .then(|| format!("{of} has more file descriptors")),
            (last.connections > first.connections).then(|| format!("{of} has more connections")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn total(functions: &[Function]) -> usize {
    functions.iter().map(Function::calls).sum()
}

/// Shows each process's resources in the first minute and in the last minute.
fn table(functions: &[Function]) -> String {
    let mut text = format!(
        "{:12} {:>9} {:>17} {:>17} {:>13} {:>13}\n",
        "function", "calls", "memory KiB", "peak KiB", "descriptors", "connections"
    );
    for function in functions {
        let [first, last] = function.minutes();
        let pair = |first: &dyn Display, last: &dyn Display| format!("{first} → {last}");
        writeln!(
            text,
            "{:12} {:>9} {:>17} {:>17} {:>13} {:>13}",
            function.name,
            function.calls(),
            pair(&first.memory_kib, &last.memory_kib),
            pair(&first.peak_memory_kib, &last.peak_memory_kib),
            pair(&first.descriptors, &last.descriptors),
            pair(&first.connections, &last.connections),
        )
        .expect("text");
    }
    text
}
