//! A history records concurrent requests to the service under faults, and their outcomes. Every
//! history must keep the rules that follow from two promises: a username belongs to one user, and
//! an acknowledged user is never lost or duplicated.
//!
//! [`run`](run::run) runs the functions' binaries with an engine that stores its table in a file,
//! and records a history. [`check`] finds the rules that a history breaks. It can also check a
//! history that was saved to a file.
//!
//! A seed decides the maximum age of a page, what each client asks for, and when faults and kills
//! happen. The operating system decides how processes are scheduled, so the same seed makes the
//! same choices but not the same history.

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

/// The seed in the variable `HISTORY_SEED`. If the variable is empty or not set, a random seed.
///
/// # Panics
/// `HISTORY_SEED` is not a number.
#[must_use]
pub fn seed() -> u64 {
    let seed = env::var("HISTORY_SEED").unwrap_or_default();
    if seed.is_empty() {
        // A `u32` is short enough to type.
        fastrand::u32(..).into()
    } else {
        seed.parse().expect("HISTORY_SEED is a number")
    }
}

/// Checks a history, and saves the history to a file if it breaks a rule.
///
/// # Errors
/// The history breaks rules. The error names the seed, the file and the rules.
///
/// # Panics
/// The file can't be written.
pub fn judge(history: &History) -> Result<(), String> {
    /// How many violations the error shows for each rule. There can be many more, because one lost
    /// user can be missing on every page.
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
