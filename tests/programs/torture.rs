//! `make torture MINUTES=10` runs rounds until the time is up or a history breaks a rule. Each
//! round runs clients, injects faults, records a history and checks it against the rules
//! (tests/histories). The program prints the seed of each round, which is random unless
//! `HISTORY_SEED` sets it. `target/debug/torture --check FILE` checks a history that an earlier run
//! saved in a file.

use std::{
    env, fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use harness::minutes::minutes;
use indicatif::{ProgressBar, ProgressStyle};
use tests::histories::{
    history::History,
    judge,
    run::{Plan, Totals, run},
    seed,
};

/// The size of a round: large enough for pages with many users, and small enough that a person can
/// read the history.
const PLAN: Plan = Plan {
    clients: 16,
    tasks: 120,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match &arguments[..] {
        [] => torture(),
        [option, file] if option == "--check" => check_again(file),
        _ => Err("the only option is --check FILE".to_owned()),
    };
    match result {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("make torture: {message}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn torture() -> Result<String, String> {
    let time = Duration::from_secs(60 * minutes(1)?);

    let bar = ProgressBar::new(time.as_secs()).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} s").expect("the template is valid"),
    );
    bar.enable_steady_tick(Duration::from_millis(500));
    let began = Instant::now();
    let (mut rounds, mut totals) = (0, Totals::default());
    while began.elapsed() < time {
        let seed = seed();
        rounds += 1;
        bar.suspend(|| println!("round {rounds}, seed {seed}"));
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        // In a separate task, a panic becomes an error, whose message includes the seed.
        let round = tokio::spawn(async move { run(seed, PLAN, folder.path()).await });
        let (history, happened) = round
            .await
            .map_err(|error| format!("seed {seed}: {error}"))?;
        judge(&history)?;
        bar.suspend(|| println!("round {rounds}: {happened}"));
        totals += happened;
        bar.set_position(began.elapsed().as_secs());
    }
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs();
    Ok(format!(
        "{rounds} histories in {seconds} s break no rule: {totals}."
    ))
}

fn check_again(file: &str) -> Result<String, String> {
    let history = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let history: History =
        serde_json::from_str(&history).map_err(|error| format!("{file}: {error}"))?;
    judge(&history)?;
    Ok(format!("{file} keeps every rule."))
}
