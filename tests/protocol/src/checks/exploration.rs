//! Explores all states of the model, and finds the promises that break if a rule is removed.
//!
//! This command prints all steps of each counter-example:
//!
//! ```sh
//! cargo test --locked --workspace --test protocol -- --nocapture --test-threads 1 break
//! ```

use std::{
    collections::BTreeSet,
    io::{self, Write},
    time::Instant,
};

use protocol::{
    ACKNOWLEDGED, CLIENTS, ERASED, Erasure, LISTED, Layout, NOT_BROUGHT_BACK, NOT_BY_CLIENT,
    NOT_CREATED_ANEW, ONE_OWNER, OWN_USER, Protocol, TRUE_CONFLICT, TRUE_REPLAY, Without, shortest,
    story,
};
use stateright::{Checker, Expectation, Model};

/// In each row: a removed rule, a promise that breaks without this rule, and the number of steps in
/// the shortest counter-example.
const NEEDED: [(Without, &str, usize); 12] = [
    (Without::Condition, ACKNOWLEDGED, 4),
    (Without::OwnId, TRUE_CONFLICT, 3),
    (Without::OwnId, TRUE_REPLAY, 3),
    (Without::Fingerprint, OWN_USER, 4),
    (Without::Key, OWN_USER, 4),
    (Without::Spelling, OWN_USER, 4),
    (Without::Caller, OWN_USER, 4),
    (Without::ComparisonForm, ONE_OWNER, 4),
    (Without::OneIdARequest, TRUE_CONFLICT, 3),
    (Without::Doubt, ACKNOWLEDGED, 3),
    (Without::RequestId, ACKNOWLEDGED, 2),
    (Without::ConsistentRead, LISTED, 2),
];

/// In each row: a way to erase a user, a promise that breaks if the operator erases a user in this
/// way, and the number of steps in the shortest counter-example.
const ERASURES: [(Erasure, &str, usize); 13] = [
    (Erasure::Delete, ERASED, 5),
    (Erasure::Delete, ACKNOWLEDGED, 7),
    (Erasure::DeleteById, ERASED, 5),
    (Erasure::DeleteById, NOT_BROUGHT_BACK, 5),
    (Erasure::DeleteOldById, NOT_BROUGHT_BACK, 6),
    (Erasure::DeleteTwice, ACKNOWLEDGED, 7),
    (Erasure::DeleteTwiceByRequest, NOT_BY_CLIENT, 8),
    (Erasure::Delete, NOT_CREATED_ANEW, 5),
    (Erasure::DeleteById, NOT_CREATED_ANEW, 5),
    (Erasure::DeleteOldById, NOT_CREATED_ANEW, 6),
    (Erasure::DeleteTwice, NOT_CREATED_ANEW, 8),
    (Erasure::DeleteTwiceByRequest, NOT_CREATED_ANEW, 8),
    (Erasure::WaitThenDelete, NOT_CREATED_ANEW, 7),
];

#[test]
fn the_rules_keep_every_promise_in_every_order_of_events() {
    let mut model = Protocol::new(CLIENTS);
    model.merges = true;
    assert_eq!(broken("the service", &model), BTreeSet::new());
}

#[test]
fn merged_states_hide_no_broken_promise() {
    let broken_ones = [Without::OwnId, Without::Key].map(|rule| Protocol::without(2, rule));
    for model in [Protocol::new(2)].into_iter().chain(broken_ones) {
        let rule = model.without;
        let name = rule.map_or_else(
            || "two clients".to_owned(),
            |rule| format!("Without {rule:?}"),
        );
        let mut merged = model.clone();
        merged.merges = true;
        let found = broken(&format!("{name}, merged"), &merged);
        assert_eq!(found, broken(&name, &model), "{name}");
    }
}

#[test]
fn removing_any_rule_breaks_a_promise() {
    let tried: Vec<Without> = NEEDED.iter().map(|it| it.0).collect();
    assert!(Without::ALL.iter().all(|rule| tried.contains(rule)));
    for (rule, promise, steps) in NEEDED {
        let model = Protocol::without(2, rule);
        assert_breaks(&format!("Without {rule:?}"), &model, promise, steps);
    }
}

#[test]
fn two_regions_and_a_change_of_shards_break_promises_but_shards_alone_do_not() {
    for (layout, promise, steps) in [
        (Layout::Regions, ONE_OWNER, 4),
        (Layout::Regions, ACKNOWLEDGED, 5),
        (Layout::MoreShards, ONE_OWNER, 4),
    ] {
        let mut model = Protocol::new(2);
        model.layout = layout;
        assert_breaks(&format!("{layout:?}"), &model, promise, steps);
    }
    let mut model = Protocol::new(2);
    model.layout = Layout::Shards;
    assert_eq!(broken("shards", &model), BTreeSet::new());
}

#[test]
fn every_erasure_without_a_tombstone_breaks_a_promise() {
    for (erasure, promise, steps) in ERASURES {
        let mut model = Protocol::new(2);
        model.erasure = Some(erasure);
        assert_breaks(&format!("{erasure:?}"), &model, promise, steps);
    }
}

#[test]
fn an_erasure_that_waits_first_is_undone_only_by_a_request_that_is_sent_later() {
    for (erasure, breaks) in [
        (Erasure::WaitThenDelete, BTreeSet::from([NOT_CREATED_ANEW])),
        (Erasure::Tombstone, BTreeSet::new()),
    ] {
        let mut model = Protocol::new(2);
        model.erasure = Some(erasure);
        model.merges = true;
        assert_eq!(broken(&format!("{erasure:?}"), &model), breaks);
    }
}

fn broken(name: &str, model: &Protocol) -> BTreeSet<&'static str> {
    let start = Instant::now();
    let checker = model.clone().checker().threads(2).spawn_bfs().join();
    assert!(checker.is_done(), "{name}");
    report(&format!(
        "{name}: {} states in {:.1} s",
        checker.unique_state_count(),
        start.elapsed().as_secs_f32()
    ));
    let discoveries = checker.discoveries();
    let mut broken = BTreeSet::new();
    for property in model.properties() {
        let is_found = discoveries.contains_key(property.name);
        if property.expectation == Expectation::Sometimes {
            assert!(is_found, "{name}: never reached: {}", property.name);
        } else if is_found {
            broken.insert(property.name);
        }
    }
    broken
}

/// Prints the shortest counter-example, and checks that it has this many steps.
#[track_caller]
fn assert_breaks(name: &str, model: &Protocol, promise: &'static str, steps: usize) {
    let path = shortest(model, promise).unwrap_or_else(|| panic!("{name}: {promise}"));
    println!("\n{name}\n{}", story(model, &path, promise));
    report(&format!(
        "{name}: {} steps break: {promise}",
        path.len() - 1
    ));
    assert_eq!(path.len() - 1, steps, "{name}: {promise}");
}

/// Prints even if the test passes: the test harness captures `println!`, but not `writeln!`.
fn report(line: &str) {
    writeln!(io::stdout(), "{line}").expect("standard output is open");
}
