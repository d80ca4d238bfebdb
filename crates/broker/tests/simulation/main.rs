//! Real nodes on simulated machines: one seed, one thread, virtual time. See `docs/simulation.md`.
//!
//! `HIGHWATER_SEEDS=N` runs so many seeds, from `HIGHWATER_FIRST_SEED` on; `HIGHWATER_SEED=N` runs one and prints its trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    clippy::print_stderr,
    clippy::type_complexity,
    missing_docs,
    unreachable_pub,
    dead_code
)]

mod dice;
mod directed;
mod faults;
mod front;
mod history;
mod host;
mod invariants;
mod network;
mod panics;
mod peers;
mod trace;
mod workload;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use faults::Kind;
use world::{Bug, Plan, Report, World, run, run_life};

const ONE: Plan = Plan { nodes: 1, faults: Kind::OF_ONE, faults_ms: 15_000, bug: None, shows: false };
/// The only copy is damaged: it may be refused, and must never be served.
const DAMAGED: Plan = Plan { faults: Kind::DAMAGE, ..ONE };

const THREE: Plan = Plan { nodes: 3, faults: Kind::OF_THREE, faults_ms: 12_000, bug: None, shows: false };

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Whether somebody wants to read traces.
fn shows() -> bool {
    number("HIGHWATER_SEED").is_some()
}

fn assert_same_runs(plan: Plan, seeds: std::ops::RangeInclusive<u64>) {
    for seed in seeds {
        let (one, other) = (run(seed, plan), run(seed, plan));
        assert!(one.lines.len() > 100, "seed {seed}: {} lines prove nothing", one.lines.len());
        assert_eq!(one.lines.len(), other.lines.len(), "seed {seed}");
        let parted = one.lines.iter().zip(&other.lines).position(|(one, other)| one != other);
        assert_eq!(parted, None, "seed {seed}: the runs part at this line of the trace");
        assert_eq!(one.fingerprint, other.fingerprint);
        assert_eq!((one.virtual_ms, &one.counts, &one.fired), (other.virtual_ms, &other.counts, &other.fired));
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_same_runs(ONE, 1..=3);
}

#[test]
fn the_same_seed_gives_the_same_run_of_a_cluster() {
    assert_same_runs(THREE, 1..=2);
}

#[test]
fn a_node_alone() {
    sweep("a node alone", ONE, 20);
}

#[test]
fn three_nodes() {
    sweep("three nodes", THREE, 6);
}

/// Found by the runs with all faults: the append of a follower found no space, and its node gave up.
#[test]
fn full_disks_end_no_node() {
    sweep("full disks", Plan { faults: &[Kind::FullDisk], ..THREE }, 4);
}

#[test]
fn a_node_whose_only_copy_is_damaged() {
    sweep("damage to the only copy", DAMAGED, 20);
}

/// Runs seeds until the bug is caught. Returns the seed and the invariant.
fn caught(bug: Bug, plan: Plan, seeds: u64) -> (u64, &'static str) {
    for seed in 1..=seeds {
        let report = run(seed, Plan { bug: Some(bug), ..plan });
        if let Some(violation) = report.violations.first() {
            eprintln!("{bug:?} is caught by seed {seed}: {violation:?}");
            return (seed, violation.invariant);
        }
    }
    panic!("{bug:?} was planted, and {seeds} seeds did not catch it");
}

#[cfg(debug_assertions)]
mod planted_bugs_are_caught {
    use highwater_broker::planted::Bug as InBroker;
    use highwater_storage::planted::Bug as InStorage;

    use super::*;

    #[test]
    fn an_ack_before_the_flush() {
        let (_, invariant) = caught(Bug::Storage(InStorage::AckBeforeSync), ONE, 50);
        assert!(
            ["acked_is_kept", "one_value_an_offset", "no_duplicates", "no_stale_end"].contains(&invariant),
            "{invariant}"
        );
    }

    #[test]
    fn a_window_too_small_for_what_is_in_flight() {
        let (_, invariant) = caught(Bug::Broker(InBroker::SmallWindow), ONE, 50);
        assert!(["producers_are_not_forgotten", "no_duplicates"].contains(&invariant), "{invariant}");
    }

    /// A schedule that is aimed at the bug: with it, each of these seeds breaks the invariant; without it, none does.
    fn directed(bug: Bug, schedule: fn(&mut World), invariants: &[&str]) {
        for seed in 1..=3 {
            let clean = run_life(seed, Plan { shows: shows(), ..THREE }, schedule);
            assert!(clean.violations.is_empty(), "seed {seed}, without the bug: {:#?}", clean.violations);
            let report = run_life(seed, Plan { bug: Some(bug), shows: shows(), ..THREE }, schedule);
            let Some(violation) = report.violations.first() else {
                panic!("{bug:?} was planted, and seed {seed} did not catch it")
            };
            eprintln!("{bug:?} is caught by seed {seed}: {violation:?}");
            assert!(invariants.contains(&violation.invariant), "caught for another reason: {violation:?}");
        }
    }

    #[test]
    fn a_log_that_is_cut_at_any_bad_frame() {
        let invariants = ["one_value_an_offset", "acked_is_kept"];
        directed(Bug::Storage(InStorage::CutAtAnyBadFrame), directed::damage_in_the_middle, &invariants);
    }

    #[test]
    fn a_vote_that_is_not_synced() {
        directed(Bug::Broker(InBroker::VoteNotSynced), directed::forgotten_vote, &["one_leader_a_term"]);
    }

    #[test]
    fn a_node_id_that_is_used_again() {
        let invariants = ["one_value_an_offset", "acked_is_kept"];
        directed(Bug::Broker(InBroker::ReusedNodeId), directed::wiped_voter, &invariants);
    }

    #[test]
    fn a_stale_end_after_a_pause() {
        directed(Bug::Broker(InBroker::StaleEnd), directed::leader_that_was_held, &["no_stale_end"]);
    }
}

/// Runs many seeds on two threads, and says which of them fail.
fn sweep(what: &str, plan: Plan, count: u64) {
    if let Some(seed) = number("HIGHWATER_SEED") {
        let report = run(seed, Plan { shows: true, ..plan });
        eprintln!("{what}, seed {seed}: {:?}, {:?}", report.counts, report.fired);
        assert!(report.violations.is_empty(), "{:#?}", report.violations);
        return;
    }
    let first = number("HIGHWATER_FIRST_SEED").unwrap_or(1);
    let count = number("HIGHWATER_SEEDS").unwrap_or(count);
    let (next, reports) = (AtomicU64::new(first), Mutex::new(Vec::<(u64, Report)>::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let report = run(seed, plan);
                    if let Some(violation) = report.violations.first() {
                        eprintln!("{what}: seed {seed} fails: {violation:?}");
                    }
                    reports.lock().unwrap().push((seed, report));
                }
            });
        }
    });
    let reports = reports.into_inner().unwrap();
    let virtual_s: u64 = reports.iter().map(|(_, report)| report.virtual_ms).sum::<u64>() / 1_000;
    let sum = |of: &dyn Fn(&Report) -> u64| reports.iter().map(|(_, report)| of(report)).sum::<u64>();
    eprintln!(
        "{what}: {count} seeds, {virtual_s} s of virtual time, {} false alarms",
        sum(&|report| report.false_alarms)
    );
    for name in ["sent", "acked", "read", "end", "created", "deleted"] {
        let total = sum(&|report| report.counts.get(name).copied().unwrap_or(0));
        eprintln!("  {total} {name}");
        assert!(total > 0 || count < 20, "nothing was {name}: the runs prove nothing");
    }
    for kind in plan.faults {
        let total = sum(&|report| report.fired.get(kind).copied().unwrap_or(0));
        eprintln!("  {total} x {kind:?}");
        assert!(total > 0 || count < 20, "{kind:?} never happened: the runs prove nothing about it");
    }
    let mut failed: Vec<u64> =
        reports.iter().filter(|(_, report)| !report.violations.is_empty()).map(|(seed, _)| *seed).collect();
    failed.sort_unstable();
    assert!(failed.is_empty(), "{what}: these seeds fail: {failed:?}; run one with HIGHWATER_SEED=N");
}
