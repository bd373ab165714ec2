//! The results: as JSON for the plots, as Markdown for people, with the goals beside what was
//! reached.

use std::{fmt::Write as _, fs, process::Command, thread::available_parallelism, time::SystemTime};

use harness::workspace::root;
use serde::Serialize;

use crate::{
    compare::{Comparison, Figures},
    contestants::{Operation, THIS_PROJECT},
    load::{Load, Pages},
};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    date: String,
    machine: Machine,
    rounds: usize,
    comparisons: Vec<Comparison>,
    /// Why there was no quota of a processor.
    no_quota: Option<String>,
    load: Vec<Load>,
    pages: Pages,
    goals: Vec<Goal>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    rust: String,
    node: String,
    python: String,
}

/// A ratio, and what it should be at most.
#[derive(Debug, Serialize)]
struct Goal {
    figure: &'static str,
    reached: f64,
    at_most: f64,
}

impl Report {
    /// The report of a run.
    #[must_use]
    pub fn new(
        rounds: usize,
        comparisons: Vec<Comparison>,
        no_quota: Option<String>,
        load: Vec<Load>,
        pages: Pages,
    ) -> Self {
        let goals = goals(&comparisons, &pages);
        let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Self {
            date: date[..10].to_owned(),
            machine: Machine::this(),
            rounds,
            comparisons,
            no_quota,
            load,
            pages,
            goals,
        }
    }

    /// Writes the results into their folder.
    ///
    /// # Panics
    /// The folder takes no file.
    pub fn write(&self) {
        let folder = root().join("bench/results");
        let json = serde_json::to_string_pretty(self).expect("numbers and texts are JSON");
        for (name, content) in [
            ("results.json", json + "\n"),
            ("results.md", self.markdown()),
        ] {
            let path = folder.join(name);
            fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    /// The results for people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for comparison in &self.comparisons {
            text += &table(comparison);
        }
        text += "| ratio | reached | goal |\n|---|---:|---:|\n";
        for goal in &self.goals {
            let mark = if goal.reached <= goal.at_most {
                ""
            } else {
                " ✗"
            };
            let (reached, at_most) = (number(goal.reached), number(goal.at_most));
            writeln!(text, "| {} | {reached}{mark} | ≤ {at_most} |", goal.figure).expect("text");
        }
        text += "\n| sandboxes | creates/s | p50 ms | p99 ms | processors: functions | engine |\n\
                 |---:|---:|---:|---:|---:|---:|\n";
        for load in &self.load {
            writeln!(
                text,
                "| {} | {:.0} | {} | {} | {:.2} | {:.2} |",
                load.sandboxes,
                load.creates_per_second,
                number(load.p50),
                number(load.p99),
                load.functions_cpu,
                load.engine_cpu,
            )
            .expect("text");
        }
        let Pages { users, first, last } = &self.pages;
        let (first, last) = (number(*first), number(*last));
        writeln!(
            text,
            "\nOf {users} users, the first page takes {first} ms and the last {last} ms.\n"
        )
        .expect("text");
        let Machine {
            processor,
            cores,
            kernel,
            rust,
            node,
            python,
        } = &self.machine;
        writeln!(
            text,
            "{}, {} rounds, {cores} cores of {processor}, Linux {kernel}, {rust}, Node.js {node}, \
             {python}.",
            self.date, self.rounds
        )
        .expect("text");
        text
    }
}

fn table(comparison: &Comparison) -> String {
    let operation = match comparison.operation {
        Operation::Create => "create",
        Operation::List => "list of 100 users",
    };
    let quota = match comparison.quota_percent {
        None => String::new(),
        Some(percent) => format!(", {percent} % of a processor"),
    };
    let mut text = format!(
        "| {operation}{quota} | INIT ms | first ms | warm ms | p99 ms | cold CPU ms | memory MiB | \
         code MB | zip MB |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    for figures in &comparison.figures {
        let cells = [
            figures.init.median,
            figures.first.median,
            figures.warm.median,
            figures.warm_p99,
            figures.cold_cpu.median,
            figures.peak_memory_mib.median,
            megabytes(figures.size.bytes),
            megabytes(figures.size.zipped_bytes),
        ];
        let cells = cells.map(number).join(" | ");
        writeln!(text, "| {} | {cells} |", figures.name).expect("text");
    }
    text + "\n"
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no function has that many bytes"
)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A number with three digits that count, at least.
fn number(number: f64) -> String {
    let digits = match number.abs() {
        it if it >= 100.0 => 0,
        it if it >= 10.0 => 1,
        it if it >= 1.0 => 2,
        _ => 3,
    };
    format!("{number:.digits$}")
}

fn goals(comparisons: &[Comparison], pages: &Pages) -> Vec<Goal> {
    let of = |operation: Operation| {
        let mut comparisons = comparisons.iter();
        let comparison = comparisons.find(|it| it.operation == operation);
        comparison.expect("every operation was measured at full speed")
    };
    let (create, list) = (of(Operation::Create), of(Operation::List));
    let this = create.of(THIS_PROJECT);
    let ratio = |figure, reached: f64, at_most: f64| Goal {
        figure,
        reached,
        at_most,
    };
    let against = |other: &str, of: fn(&Figures) -> f64| of(this) / of(create.of(other));
    let largest = |of: fn(&Figures) -> u64| {
        [create, list]
            .map(|comparison| of(comparison.of(THIS_PROJECT)))
            .into_iter()
            .max()
            .map_or(0.0, megabytes)
    };
    vec![
        ratio(
            "INIT against the empty function's",
            against("empty function", |it| it.init.median),
            3.0,
        ),
        ratio(
            "INIT against Node.js's",
            against("Node.js", |it| it.init.median),
            1.0 / 30.0,
        ),
        ratio(
            "first call against a warm one",
            this.first.median / this.warm.median,
            3.0,
        ),
        ratio(
            "first call's CPU against naive Rust's",
            against("naive Rust", |it| it.first_cpu.median),
            0.1,
        ),
        ratio(
            "warm create against the empty function's call",
            against("empty function", |it| it.warm.median),
            3.0,
        ),
        ratio(
            "warm create against Python's",
            against("Python", |it| it.warm.median),
            1.0 / 6.0,
        ),
        ratio(
            "warm create against Node.js's",
            against("Node.js", |it| it.warm.median),
            1.0 / 6.0,
        ),
        ratio(
            "warm list of 100 users against a warm create",
            list.of(THIS_PROJECT).warm.median / this.warm.median,
            2.0,
        ),
        ratio(
            "CPU of a cold start against naive Rust's",
            against("naive Rust", |it| it.cold_cpu.median),
            0.2,
        ),
        ratio("the larger binary, MB", largest(|it| it.size.bytes), 5.0),
        ratio(
            "the larger archive, MB",
            largest(|it| it.size.zipped_bytes),
            2.5,
        ),
        ratio(
            "peak memory against the empty function's",
            against("empty function", |it| it.peak_memory_mib.median),
            2.0,
        ),
        ratio(
            "last page of a million users against the first",
            pages.last / pages.first,
            1.1,
        ),
    ]
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        let processor = processor
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("an unknown processor", |name| {
                name.trim_start_matches([' ', '\t', ':'])
            });
        Self {
            processor: processor.to_owned(),
            cores: available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease")
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            rust: version("rustc"),
            node: version(".tools/python/bin/node"),
            python: version(".tools/contestants-python/bin/python"),
        }
    }
}

/// What a command says of its version.
fn version(command: &str) -> String {
    let output = Command::new(command)
        .arg("--version")
        .current_dir(root())
        .output();
    output.map_or_else(
        |error| format!("no {command}: {error}"),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
