//! A history records the requests of many clients, and their outcomes, while faults happen.
//!
//! Every history must keep the rules in [`rules`]. They follow from two promises. First, a username
//! belongs to one user. Second, once an answer of the service has contained a user, this user is
//! never lost or duplicated.
//!
//! [`run`](run::run) records a history. It runs the functions' binaries with an engine that
//! emulates DynamoDB and stores its table in a file. [`check`] finds the rules that a history
//! breaks.
//!
//! A seed decides the maximum age of a page, what each client asks for, and when faults and kills
//! happen. But the operating system decides when each process runs, so two runs with the same seed
//! may record different histories.

pub mod history;
pub mod names;
pub mod rules;
pub mod run;

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use harness::workspace;

use self::{
    history::History,
    rules::{Rule, check},
};

/// The seed in the environment variable `HISTORY_SEED`, or a random seed.
///
/// # Panics
/// Panics if `HISTORY_SEED` is not a number.
#[must_use]
pub fn seed() -> u64 {
    let seed = env::var("HISTORY_SEED").unwrap_or_default();
    if seed.is_empty() {
        // A `u32` is short enough for a person to type.
        fastrand::u32(..).into()
    } else {
        seed.parse().expect("HISTORY_SEED is a number")
    }
}

/// Checks a history. If the history breaks a rule, saves the history to a file.
///
/// # Errors
/// Fails if the history breaks a rule. The error names the seed, the file and the broken rules.
///
/// # Panics
/// Panics if the file can't be written.
pub fn judge(history: &History) -> Result<(), String> {
    /// How many violations of each rule the error shows. There can be many, because a lost user can
    /// be missing on every page.
    const SHOWN: usize = 3;

    let violations = check(history);
    if violations.is_empty() {
        return Ok(());
    }
    let mut by_rule = BTreeMap::<Rule, Vec<String>>::new();
    for violation in violations {
        by_rule
            .entry(violation.rule)
            .or_default()
            .push(violation.what);
    }
    let file = write(history);
    let mut lines = vec![format!(
        "HISTORY_SEED={}: the history breaks rules. It is saved in {}",
        history.seed,
        file.display()
    )];
    for (rule, found) in by_rule {
        lines.push(format!("{rule:?}, {} times, such as", found.len()));
        lines.extend(found.into_iter().take(SHOWN));
    }
    Err(lines.join("\n"))
}

fn write(history: &History) -> PathBuf {
    let folder = workspace::target().join("torture");
    fs::create_dir_all(&folder).expect("the folder can be made");
    let file = folder.join(format!("{}.json", history.seed));
    let json = serde_json::to_string_pretty(history).expect("a history can be written as JSON");
    fs::write(&file, json).expect("the file can be written");
    file
}
