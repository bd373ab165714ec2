//! Writes the results as JSON for the plots and as Markdown for people, and compares them to the goals.

use std::{fmt::Write as _, fs, process::Command, thread::available_parallelism, time::SystemTime};

use harness::workspace::root;
use serde::Serialize;

use crate::{
    compare::{Comparison, Figures},
    contestants::{FLOOR, Operation, THIS_PROJECT},
    load::{Load, Pages},
};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    date: String,
    machine: Machine,
    rounds: usize,
    comparisons: Vec<Comparison>,
    /// The figures of [`crate::contestants::optimizations`].
    optimizations: Comparison,
    /// Why the benchmark could not limit the functions to a share of a processor.
    no_quota: Option<String>,
    load: Vec<Load>,
    pages: Pages,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    rust: String,
    node: String,
    python: String,
}

#[derive(Debug, Serialize)]
struct Goal {
    figure: &'static str,
    reached: f64,
    at_most: f64,
}

impl Report {
    /// Makes the report of a run of the benchmark.
    #[must_use]
    pub fn new(
        rounds: usize,
        comparisons: Vec<Comparison>,
        optimizations: Comparison,
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
            optimizations,
            no_quota,
            load,
            pages,
            goals,
        }
    }

    /// Writes the results to `bench/results`.
    ///
    /// # Panics
    ///
    /// Panics if the files can't be written.
    pub fn write(&self) {
        let folder = root().join("bench/results");
        let json =
            serde_json::to_string_pretty(self).expect("numbers and strings can be written as JSON");
        for (name, content) in [
            ("results.json", json + "\n"),
            ("results.md", self.markdown()),
        ] {
            let path = folder.join(name);
            fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    /// The average time that Lambda would bill for a warm create, by memory size.
    fn bill(&self) -> String {
        let quotas = self
            .comparisons
            .iter()
            .filter_map(|it| Some((it.quota?, it)));
        let quotas: Vec<_> = quotas.collect();
        let Some((_, first)) = quotas.first() else {
            return String::new();
        };
        let mut text = "| billed ms of a warm create".to_owned();
        for ((memory, _), _) in &quotas {
            write!(text, " | {memory} MB").expect("text");
        }
        text += " |\n|---";
        text += &"|---:".repeat(quotas.len());
        text += "|\n";
        for Figures { name, .. } in &first.figures {
            write!(text, "| {name}").expect("text");
            for (_, comparison) in &quotas {
                let billed = number(comparison.of(name).warm_billed);
                write!(text, " | {billed}").expect("text");
            }
            text += " |\n";
        }
        text + "\n"
    }

    /// The results as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for comparison in &self.comparisons {
            text += &table(comparison, &title(comparison));
        }
        text += &table(&self.optimizations, "naive Rust, by optimization");
        text += &self.bill();
        text += "| figure | reached | goal |\n|---|---:|---:|\n";
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
                load.engine_and_bench_cpu,
            )
            .expect("text");
        }
        let Pages { users, first, last } = &self.pages;
        let (millions, first, last) = (users / 1_000_000, number(*first), number(*last));
        writeln!(
            text,
            "\nWith {millions} million users in the table, the first page takes {first} ms and the last page \
             {last} ms.\n"
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

fn title(comparison: &Comparison) -> String {
    match (comparison.operation, comparison.quota) {
        (Operation::List, _) => "list of 100 users".to_owned(),
        (Operation::Create, None) => "create".to_owned(),
        (Operation::Create, Some((memory, percent))) => {
            format!("create with {memory} MB: {percent} % of a processor")
        }
    }
}

fn table(comparison: &Comparison, title: &str) -> String {
    let mut text = format!(
        "| {title} | INIT ms | first ms | warm ms | p99 ms | INIT CPU ms | first CPU ms | warm CPU ms | \
         memory MiB | code MB | zip MB |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    for figures in &comparison.figures {
        let cells = [
            figures.init.median,
            figures.first.median,
            figures.warm.median,
            figures.warm_p99,
            figures.init_cpu.median,
            figures.first_cpu.median,
            figures.warm_cpu.median,
            figures.peak_memory_mib.median,
            megabytes(figures.size.bytes),
            megabytes(figures.size.zipped_bytes),
        ];
        let cells = cells.map(number).join(" | ");
        writeln!(text, "| {} | {cells} |", figures.name).expect("text");
    }
    text + "\n"
}

#[expect(clippy::cast_precision_loss, reason = "no function has 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Formats a number. A number from 1 upwards gets at least three significant digits, such as 1.23
/// or 1234. A smaller number gets three decimals, such as 0.012.
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
    let create = of(Operation::Create);
    let (this, floor) = (create.of(THIS_PROJECT), create.of(FLOOR));
    let (naive, node) = (create.of("naive Rust"), create.of("Node.js"));
    let list = of(Operation::List).of(THIS_PROJECT);
    let mebibytes = |it: &Figures| it.peak_memory_mib.median;
    let largest = |of: fn(&Figures) -> u64| megabytes(of(this).max(of(list)));
    let figures = [
        (
            "CPU of a warm create: this project ÷ floor",
            this.warm_cpu.median / floor.warm_cpu.median,
            2.5,
        ),
        (
            "time of a warm create: this project ÷ floor",
            this.warm.median / floor.warm.median,
            1.8,
        ),
        (
            "CPU: warm list of 100 users ÷ warm create",
            list.warm_cpu.median / this.warm_cpu.median,
            1.5,
        ),
        (
            "CPU of INIT: this project ÷ floor",
            this.init_cpu.median / floor.init_cpu.median,
            1.5,
        ),
        (
            "CPU of the first call: this project ÷ floor",
            this.first_cpu.median / floor.first_cpu.median,
            2.0,
        ),
        (
            "peak memory: this project ÷ floor",
            mebibytes(this) / mebibytes(floor),
            2.4,
        ),
        ("the larger binary, MB", largest(|it| it.size.bytes), 5.6),
        (
            "the larger archive, MB",
            largest(|it| it.size.zipped_bytes),
            2.7,
        ),
        (
            "CPU of a cold start: this project ÷ naive Rust",
            this.cold_cpu.median / naive.cold_cpu.median,
            0.2,
        ),
        (
            "time of INIT and first call: this project ÷ Node.js",
            (this.init.median + this.first.median) / (node.init.median + node.first.median),
            1.0 / 25.0,
        ),
        (
            "time of a page, with a million users: last ÷ first",
            pages.last / pages.first,
            1.1,
        ),
    ];
    let goal = |(figure, reached, at_most)| Goal {
        figure,
        reached,
        at_most,
    };
    figures.into_iter().map(goal).collect()
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
