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
mod watchdog;
mod workload;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use faults::Kind;
use world::{Bug, Plan, Report, World, run, run_life};

const ONE: Plan = Plan { nodes: 1, faults: Kind::OF_ONE, has_groups: true, faults_ms: 15_000, bug: None, shows: false };
/// The only copy is damaged: it may be refused, and must never be served.
const DAMAGED: Plan = Plan { faults: Kind::DAMAGE, ..ONE };

const THREE: Plan =
    Plan { nodes: 3, faults: Kind::OF_THREE, has_groups: true, faults_ms: 12_000, bug: None, shows: false };

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
    sweep("full disks", Plan { faults: &[Kind::FullDisk], has_groups: false, ..THREE }, 4);
}

/// Found by the runs with all faults: a node that stops in order must not say that nothing was done of what it had begun.
#[test]
fn what_a_stopping_coordinator_says_holds() {
    for seed in 1..=5 {
        let report = run_life(seed, Plan { shows: shows(), ..ONE }, directed::stopped_while_committing);
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
        assert!(report.counts.contains_key("fetched"), "seed {seed}: nobody could say what came of it");
    }
}

/// Found by reading what the runs do: a rest was written down as a date, and the next leader believed the date.
#[test]
fn a_rest_lasts_as_long_as_was_meant() {
    for seed in 1..=3 {
        let report = run_life(seed, Plan { shows: shows(), ..THREE }, directed::queues::rest_by_a_wrong_clock);
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
        assert!(report.counts.contains_key("leased"), "seed {seed}: nobody was given anything");
    }
}

#[test]
fn a_node_whose_only_copy_is_damaged() {
    // Many runs end early, refused: so many that a topic is deleted in some.
    sweep("damage to the only copy", DAMAGED, 32);
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
    use highwater_groups::planted::Bug as InGroups;
    use highwater_storage::planted::Bug as InStorage;

    use super::*;

    const WITHOUT_GROUPS: Plan = Plan { has_groups: false, ..ONE };

    #[test]
    fn an_ack_before_the_flush() {
        let (_, invariant) = caught(Bug::Storage(InStorage::AckBeforeSync), WITHOUT_GROUPS, 50);
        assert!(
            ["acked_is_kept", "one_value_an_offset", "no_duplicates", "no_stale_end"].contains(&invariant),
            "{invariant}"
        );
    }

    #[test]
    fn a_window_too_small_for_what_is_in_flight() {
        let (_, invariant) = caught(Bug::Broker(InBroker::SmallWindow), WITHOUT_GROUPS, 50);
        assert!(["producers_are_not_forgotten", "no_duplicates"].contains(&invariant), "{invariant}");
    }

    #[test]
    fn an_answer_of_a_coordinator_before_the_commit() {
        let (_, invariant) = caught(Bug::Broker(InBroker::AnswerBeforeCommit), ONE, 50);
        let of_groups = ["commits_never_go_back", "old_generations_are_refused", "one_holder_a_partition"];
        assert!(of_groups.contains(&invariant), "{invariant}");
    }

    #[test]
    fn a_commit_of_an_old_generation() {
        let (_, invariant) = caught(Bug::Groups(InGroups::CommitOfOldGeneration), ONE, 50);
        assert_eq!(invariant, "old_generations_are_refused");
    }

    #[test]
    fn a_partition_that_is_given_before_it_is_released() {
        let (_, invariant) = caught(Bug::Groups(InGroups::GivenBeforeReleased), ONE, 50);
        assert_eq!(invariant, "one_holder_a_partition");
    }

    #[test]
    fn a_seek_that_fences_nobody() {
        let (_, invariant) = caught(Bug::Groups(InGroups::SeekWithoutFence), ONE, 50);
        assert_eq!(invariant, "seeks_are_not_undone");
    }

    #[test]
    fn a_token_of_a_lease_that_is_over() {
        let (_, invariant) = caught(Bug::Groups(InGroups::OldTokenTaken), ONE, 50);
        // An old token that counts an attempt is seen by both.
        assert!(["old_tokens_do_nothing", "attempts_are_counted"].contains(&invariant), "{invariant}");
    }

    #[test]
    fn attempts_that_a_new_leader_forgets() {
        let (_, invariant) = caught(Bug::Groups(InGroups::AttemptsForgotten), ONE, 50);
        assert_eq!(invariant, "attempts_are_counted");
    }

    #[test]
    fn acks_that_a_snapshot_leaves_out() {
        let (_, invariant) = caught(Bug::Groups(InGroups::AcksNotInSnapshot), ONE, 50);
        let of_queues = ["done_is_not_delivered", "attempts_are_counted", "every_message_ends", "queues_agree"];
        assert!(of_queues.contains(&invariant), "{invariant}");
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

    #[test]
    fn messages_that_an_old_leader_gives_away() {
        let schedule = directed::queues::leader_that_gives_away;
        directed(Bug::Broker(InBroker::GivenByOldLeader), schedule, &["done_is_not_delivered"]);
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
    let of_groups = [
        "joined",
        "begun",
        "polled",
        "released",
        "sought",
        "offsets set",
        "offsets refused",
        "offsets unknown",
        "fetched",
        "leased",
        "settled",
        "token refused",
        "settle unknown",
        "message died",
        "redriven",
        "called off",
        "put off",
        "paused",
    ];
    let of_groups = of_groups.into_iter().filter(|_| plan.has_groups);
    for name in ["sent", "acked", "read", "end", "created", "deleted"].into_iter().chain(of_groups) {
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
