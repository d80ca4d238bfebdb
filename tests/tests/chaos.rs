//! Faults on real processes, and the verdict over what clients saw. `HIGHWATER_CHAOS_SEED` repeats a schedule;
//! `HIGHWATER_CHAOS_SECONDS` makes the long run as long, and `HIGHWATER_CHAOS_WITHOUT` leaves classes of faults out of it, by
//! their names with commas between them.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use highwater_tests::binary::highwater_binary;
use highwater_tests::chaos::{Outcome, Plan, run};
use highwater_tests::history::{AnomalyKind, Requirements, judge, recorder};

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

fn seed() -> u64 {
    number("HIGHWATER_CHAOS_SEED").unwrap_or(7)
}

#[track_caller]
fn assert_good(outcome: &Outcome) {
    assert!(outcome.report.is_good(), "seed {}: {}", outcome.seed, outcome.report.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_that_is_killed_loses_nothing() {
    assert_good(&run(&highwater_binary(), Plan::one_node(seed())).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_lose_nothing() {
    assert_good(&run(&highwater_binary(), Plan::short(seed())).await);
}

/// `just chaos SECONDS SEED`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "as long as it is told to be: just chaos"]
async fn three_nodes_at_length() {
    let seconds = number("HIGHWATER_CHAOS_SECONDS").unwrap_or(300);
    let mut plan = Plan::long(seed(), Duration::from_secs(seconds));
    let without = std::env::var("HIGHWATER_CHAOS_WITHOUT").unwrap_or_default();
    plan.faults.retain(|class, _| !without.split(',').any(|name| name == class.name()));
    assert_good(&run(&highwater_binary(), plan).await);
}

/// What a run that was ended has left: `HIGHWATER_HISTORY` names its file, without a last line that is not whole. What nobody
/// had read by then does not count.
#[test]
#[ignore = "for histories that are there already"]
fn a_history_is_judged_again() {
    let path = std::env::var("HIGHWATER_HISTORY").expect("HIGHWATER_HISTORY names the file");
    let report = judge(&recorder::read(Path::new(&path)), &Requirements::default());
    println!("{}", report.text());
    assert!(report.anomalies.iter().all(|anomaly| anomaly.kind == AnomalyKind::Unseen));
}
