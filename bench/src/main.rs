//! `make bench`: measures what a call of each function costs, and writes `bench/results`.
//!
//! The program sends events through the Lambda Runtime API, as Lambda does. To compare the
//! functions, it uses a fake table over TLS. It also checks the functions, measures creates under
//! load, and measures pages of a table with a million users. For these three tasks, it uses the
//! embedded engine without TLS.

use std::{env, process::ExitCode};

use bench::{
    compare::{at_full_speed, check, under_quota},
    contestants::{self, Operation, THIS_PROJECT},
    load,
    report::Report,
};

/// The default of the variable `ROUNDS`. A round starts and measures each function's process once.
const ROUNDS: usize = 15;
/// The maximum number of rounds that compare [`contestants::optimizations`].
const ROUNDS_OF_OPTIMIZATIONS: usize = 5;
/// The maximum number of rounds under each quota. It is small, because each run of a slow
/// contestant takes seconds.
const ROUNDS_UNDER_QUOTA: usize = 3;
/// Memory sizes in MB, and the percentage of a processor that Lambda gives to a function with this
/// memory. With 1,769 MB, a function gets a whole processor
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
const QUOTAS: [(u32, u32); 3] = [(128, 7), (256, 14), (512, 29)];

#[tokio::main(worker_threads = 1)]
async fn main() -> ExitCode {
    let rounds = match env::var("ROUNDS").unwrap_or_default().as_str() {
        "" => ROUNDS,
        text => match text.parse() {
            Ok(rounds) if rounds > 0 => rounds,
            _ => {
                eprintln!("make bench: ROUNDS must be a whole number of at least 1, not {text}");
                return ExitCode::FAILURE;
            }
        },
    };
    let contestants = contestants::all();
    let optimizations = contestants::optimizations();
    let this = contestants.iter().find(|it| it.name == THIS_PROJECT);
    let this = this.expect("this project is measured");
    for contestant in contestants
        .iter()
        .chain(&optimizations)
        .filter(|it| it.creates_users)
    {
        check(contestant, this).await;
    }

    let mut comparisons = Vec::new();
    for operation in [Operation::Create, Operation::List] {
        comparisons.push(at_full_speed("at full speed", &contestants, operation, rounds).await);
    }
    let rounds_of_optimizations = rounds.min(ROUNDS_OF_OPTIMIZATIONS);
    let optimizations = at_full_speed(
        "by optimization",
        &optimizations,
        Operation::Create,
        rounds_of_optimizations,
    )
    .await;
    let mut no_quota = None;
    for quota in QUOTAS {
        let rounds = rounds.min(ROUNDS_UNDER_QUOTA);
        match under_quota(&contestants, Operation::Create, rounds, quota).await {
            Ok(comparison) => comparisons.push(comparison),
            Err(error) => {
                eprintln!(
                    "make bench: can't limit the functions to a share of a processor: {error}"
                );
                no_quota = Some(error.to_string());
            }
        }
    }
    println!("Measuring creates in many concurrent sandboxes …");
    let load = load::measure(this).await;
    println!("Measuring pages of a table with a million users …");
    let pages = load::pages(this).await;

    let report = Report::new(rounds, comparisons, optimizations, no_quota, load, pages);
    report.write();
    println!("\n{}", report.markdown());
    ExitCode::SUCCESS
}
