//! `make bench`: what a call costs, beside an empty function and what people would pick instead.
//!
//! It drives each function through the Lambda Runtime API as the service does, with a table behind
//! TLS, and writes what it measured to `bench/results`.

use std::{env, process::ExitCode};

use bench::{
    compare::{at_full_speed, check, under_quota},
    contestants::{self, Operation, THIS_PROJECT},
    load,
    report::Report,
};
use harness::workspace::target;

/// How many lives everybody lives, unless `ROUNDS` says otherwise.
const ROUNDS: usize = 15;
/// How many under each quota: those of the slow ones take seconds.
const ROUNDS_UNDER_QUOTA: usize = 5;
/// The shares of a processor, in percent, that 128 MB and 512 MB of memory give: a whole one comes
/// with 1,769 MB (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
const QUOTAS: [u32; 2] = [7, 29];

#[tokio::main(worker_threads = 1)]
async fn main() -> ExitCode {
    let rounds = match env::var("ROUNDS").unwrap_or_default().as_str() {
        "" => ROUNDS,
        text => match text.parse() {
            Ok(rounds) if rounds > 0 => rounds,
            _ => {
                eprintln!("make bench: ROUNDS is not a number above 0: {text}");
                return ExitCode::FAILURE;
            }
        },
    };
    let contestants = contestants::all(&target());
    let this = contestants.iter().find(|it| it.name == THIS_PROJECT);
    let this = this.expect("this project is measured");
    for contestant in contestants.iter().filter(|contestant| contestant.works) {
        check(contestant).await;
    }

    let mut comparisons = Vec::new();
    for operation in [Operation::Create, Operation::List] {
        comparisons.push(at_full_speed(&contestants, operation, rounds).await);
    }
    let mut no_quota = None;
    for percent in QUOTAS {
        let rounds = rounds.min(ROUNDS_UNDER_QUOTA);
        match under_quota(&contestants, Operation::Create, rounds, percent).await {
            Ok(comparison) => comparisons.push(comparison),
            Err(error) => {
                eprintln!("make bench: no share of a processor can be given: {error}");
                no_quota = Some(error.to_string());
            }
        }
    }
    println!("Creates from many sandboxes at once …");
    let load = load::measure(this).await;
    println!("Pages of a million users …");
    let pages = load::pages(this).await;

    let report = Report::new(rounds, comparisons, no_quota, load, pages);
    report.write();
    println!("\n{}", report.markdown());
    ExitCode::SUCCESS
}
