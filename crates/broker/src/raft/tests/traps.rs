//! What loses data when it is done wrong. Each test was a trap in a prototype.

use bytes::Bytes;
use futures_util::FutureExt;
use highwater_storage::disk::sim::{CrashMode, SimDisk};
use highwater_storage::{Boundary, EntryKind, LogOptions, RetentionPolicy};
use highwater_types::{EntryId, LogIndex, Offset};
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

use super::rig::{KEY, NODE, Rig, Seen, append, batch};
use crate::raft::checkpoint::{self, CheckpointError};
use crate::raft::codec::{self, Checkpoint};
use crate::raft::types::{Command, Proposed, RaftEntry, TypeConfig, Vote, log_id};
use crate::raft::{Replica, ReplicaError};

fn data(term: u64, index: u64, records: usize) -> RaftEntry {
    let proposed = Proposed { kind: EntryKind::Data, payload: batch(records, 10, None), on_append: None, fence: None };
    RaftEntry::new_normal(log_id(EntryId::new(term, index)), Command::Proposed(proposed))
}

fn blank(term: u64, index: u64) -> RaftEntry {
    RaftEntry::new_blank(log_id(EntryId::new(term, index)))
}

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

#[tokio::test]
async fn a_vote_is_saved_only_after_earlier_appends_are_durable() {
    let rig = Rig::without_flusher();
    let log = rig.log();
    let mut store = rig.store(&log);
    let (flushed, mut is_flushed) = TypeConfig::oneshot();
    store.append([data(1, 0, 3)], IOFlushed::signal(flushed)).await.unwrap();
    let mut voter = store.clone();
    let vote = Vote::new(2, 1);
    let mut saved = Box::pin(voter.save_vote(&vote));
    assert!(saved.as_mut().now_or_never().is_none(), "nothing is durable yet");
    assert!(is_flushed.try_recv().is_err());
    rig.data.flusher().run_round();
    assert!(is_flushed.try_recv().unwrap().is_ok());
    saved.await.unwrap();
    assert_eq!(log.flushed().map(|flushed| flushed.id), Some(EntryId::new(1, 0)));
}

/// The same against the disk: wherever the power is cut in the round, a vote that survived has its log before it.
#[tokio::test]
async fn no_crash_leaves_a_vote_without_the_appends_before_it() {
    let mut cuts_with_vote = 0;
    for cut in 1.. {
        let disk = SimDisk::new(cut);
        let rig = Rig::start(disk.clone(), false);
        let log = rig.log();
        let mut store = rig.store(&log);
        store.append([data(1, 0, 3)], IOFlushed::noop()).await.unwrap();
        let vote = Vote::new(2, 1);
        let saved = store.save_vote(&vote).now_or_never();
        assert!(saved.is_none());
        disk.crash_at(cut, if cut % 2 == 0 { CrashMode::KeepSome } else { CrashMode::LosePending });
        rig.data.flusher().run_round();
        let is_over = !disk.is_crashed();
        drop((store, log));
        let rig = rig.crash();
        let log = rig.log();
        if rig.store(&log).read_vote().await.unwrap() == Some(vote) {
            cuts_with_vote += 1;
            assert_eq!(log.state().last, Some(EntryId::new(1, 0)), "cut {cut}: the vote without the append");
        }
        if is_over {
            break;
        }
    }
    assert!(cuts_with_vote > 0, "the round must make the vote durable at its end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_entries_count_no_records() {
    let rig = Rig::new();
    let log = rig.log();
    let mut store = rig.store(&log);
    let members = openraft::Membership::new_with_defaults(vec![[1].into()], []);
    let membership = RaftEntry::new_membership(log_id(EntryId::new(0, 0)), members);
    // Several terms and kinds in one append.
    append(&mut store, [membership, blank(1, 1), data(1, 2, 3), blank(3, 3), data(3, 4, 2), data(3, 5, 1)]).await;
    assert_eq!(log.state().log_end, offset(6));
    store.truncate_after(Some(log_id(EntryId::new(1, 2)))).await.unwrap();
    assert_eq!(log.state().log_end, offset(3), "offsets roll back with the entries");
    append(&mut store, [blank(4, 3), data(4, 4, 2)]).await;
    let entries = log.read_entries(LogIndex::new(0), LogIndex::new(9), usize::MAX).unwrap();
    let places: Vec<_> = entries.iter().map(|e| (e.id.term.get(), e.base_offset.get(), e.record_count)).collect();
    assert_eq!(places, [(0, 0, 0), (1, 0, 0), (1, 0, 3), (4, 3, 0), (4, 3, 2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_for_replication_are_capped_in_bytes() {
    let rig = Rig::new();
    let log = rig.log();
    let mut store = rig.store(&log);
    let large = |index| {
        let proposed =
            Proposed { kind: EntryKind::Data, payload: batch(1, 1_500_000, None), on_append: None, fence: None };
        RaftEntry::new_normal(log_id(EntryId::new(1, index)), Command::Proposed(proposed))
    };
    append(&mut store, [large(0), large(1), large(2)]).await;
    assert_eq!(store.limited_get_log_entries(0, 3).await.unwrap().len(), 1, "never none, never all");
    assert_eq!(store.try_get_log_entries(0..3).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_beyond_the_log_without_a_snapshot_is_refused() {
    let rig = Rig::new();
    let log = rig.log();
    let mut store = rig.store(&log);
    append(&mut store, [data(1, 0, 3)]).await;
    let refusal = store.purge(log_id(EntryId::new(2, 9))).await.unwrap_err();
    assert!(refusal.to_string().contains("no snapshot reaches there"), "{refusal}");
    assert_eq!(log.state().last, Some(EntryId::new(1, 0)), "nothing was dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_ahead_of_its_log_is_refused_by_name() {
    let rig = Rig::new();
    let log = rig.log();
    append(&mut rig.store(&log), [data(1, 0, 3)]).await;
    for applied in [EntryId::new(1, 5), EntryId::new(2, 0)] {
        let ahead = Checkpoint { applied: Some(applied), seen: Some(applied), ..Checkpoint::default() };
        log.write_checkpoint(&codec::encode_checkpoint(&ahead)).unwrap();
        let refusal = checkpoint::load(&log).unwrap_err();
        assert!(matches!(refusal, CheckpointError::DoesNotFitLog { .. }), "{refusal}");
        assert!(refusal.to_string().contains("/data/logs/"), "it names the file: {refusal}");
        assert_eq!(log.state().last, Some(EntryId::new(1, 0)), "the log is as it was");
    }
    let refused = Replica::open(rig.spec(log, Seen::default())).await;
    assert!(matches!(refused, Err(ReplicaError::Checkpoint { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purged_log_without_its_checkpoint_is_refused() {
    let rig = Rig::new();
    let log = rig.log();
    let mut store = rig.store(&log);
    append(&mut store, [data(1, 0, 3), data(1, 1, 3)]).await;
    store.purge(log_id(EntryId::new(1, 0))).await.unwrap();
    assert!(matches!(checkpoint::load(&log), Err(CheckpointError::Missing { .. })));
}

async fn propose(replica: &Replica, records: usize) -> u64 {
    let committed = replica.propose(EntryKind::Data, batch(records, 10, None)).await.unwrap();
    committed.base_offset.get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_go_on_across_restarts_and_terms() {
    let mut rig = Rig::new();
    let mut expected = 0;
    let mut last_term = None;
    for run in 0..4 {
        let seen = Seen::default();
        let (replica, log) = rig.replica(seen.clone()).await.unwrap();
        let term = replica.leadership().borrow().term;
        assert!(last_term < Some(term), "a restarted leader leads in a new term");
        last_term = Some(term);
        assert_eq!(replica.committed().borrow().get(), expected, "all is applied before it serves");
        for records in [1, 5, 2] {
            assert_eq!(propose(&replica, records).await, expected);
            expected += records as u64;
        }
        assert_eq!(seen.entries().len(), 3 * (run + 1), "each entry is applied once, over all runs");
        // Cleanly once, by losing the power the next time.
        rig = if run % 2 == 0 {
            replica.shutdown().await;
            drop((replica, log));
            rig.restart()
        } else {
            abandon(replica).await;
            drop(log);
            rig.crash()
        };
    }
}

/// Ends the tasks of a replica without the courtesies of a shutdown.
async fn abandon(replica: Replica) {
    replica.stop_abruptly().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_keeps_what_was_acknowledged() {
    for run in 0..3 {
        let rig = Rig::new();
        let (replica, log) = rig.replica(Seen::default()).await.unwrap();
        let mut acknowledged = 0;
        for _ in 0..20 {
            acknowledged = propose(&replica, 2).await + 2;
        }
        // More on its way, of which nobody heard.
        let tickets: Vec<_> = (0..run).map(|_| replica.propose(EntryKind::Data, batch(1, 10, None))).collect();
        let crashed = rig.disk.clone();
        crashed.crash(CrashMode::LosePending);
        drop(tickets);
        abandon(replica).await;
        drop(log);
        let rig = rig.crash();
        let seen = Seen::default();
        let (replica, _log) = rig.replica(seen.clone()).await.unwrap();
        assert!(replica.committed().borrow().get() >= acknowledged);
        assert_eq!(propose(&replica, 1).await, replica.committed().borrow().get() - 1);
        let offsets: Vec<_> = seen.entries().iter().take(20).map(|(_, offset)| *offset).collect();
        assert_eq!(offsets, (0..20).map(|n| 2 * n).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trimmed_group_restarts_behind_its_boundary() {
    let mut rig = Rig::new();
    rig.options = LogOptions { segment_bytes_max: 4_096, ..LogOptions::default() };
    let seen = Seen::default();
    let (replica, log) = rig.replica(seen.clone()).await.unwrap();
    for _ in 0..50 {
        replica.propose(EntryKind::Data, batch(1, 500, None)).await.unwrap();
    }
    replica.maintain().await.unwrap();
    let policy = RetentionPolicy { age_ms_max: None, bytes_max: Some(8_192) };
    let committed = *replica.committed().borrow();
    let boundary = log.retention_boundary(&policy, rig.clock.now(), committed).unwrap();
    // Offsets do not tell whether an entry without records is applied; its id does.
    let last = log.state().last.unwrap();
    let id = EntryId::new(last.term.get(), last.index.get() + 1);
    replica.trim(Boundary { id, ..boundary.clone() }).await.unwrap();
    assert_eq!(log.state().purged, None, "not applied yet, so left alone");
    replica.trim(boundary.clone()).await.unwrap();
    assert_eq!(log.state().purged, Some(boundary.id));
    assert_eq!(log.state().log_start, boundary.next_offset);
    assert!(boundary.next_offset > Offset::ZERO);
    // The same again, and an older one, change nothing.
    replica.trim(boundary.clone()).await.unwrap();
    replica.shutdown().await;
    drop((replica, log));

    let rig = rig.restart();
    let again = Seen::default();
    let (replica, log) = rig.replica(again.clone()).await.unwrap();
    assert_eq!(again.entries(), seen.entries(), "nothing was applied twice, nothing forgotten");
    assert_eq!(log.state().purged, Some(boundary.id));
    assert_eq!(propose(&replica, 1).await, 50);
    replica.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trim_that_found_no_space_is_made_up_for() {
    let mut rig = Rig::new();
    rig.options = LogOptions { segment_bytes_max: 4_096, ..LogOptions::default() };
    let (replica, log) = rig.replica(Seen::default()).await.unwrap();
    for _ in 0..50 {
        replica.propose(EntryKind::Data, batch(1, 500, None)).await.unwrap();
    }
    let policy = RetentionPolicy { age_ms_max: None, bytes_max: Some(8_192) };
    let committed = *replica.committed().borrow();
    let boundary = log.retention_boundary(&policy, rig.clock.now(), committed).unwrap();
    rig.disk.set_capacity(Some(0));
    assert!(replica.trim(boundary.clone()).await.is_err(), "not even the checkpoint fits");
    rig.disk.set_capacity(None);
    replica.trim(boundary.clone()).await.unwrap();
    assert_eq!(log.state().purged, Some(boundary.id));
    assert_eq!(propose(&replica, 1).await, 50, "the group lives on");
    replica.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_for_another_term_is_refused_and_not_stored() {
    let rig = Rig::new();
    let (replica, log) = rig.replica(Seen::default()).await.unwrap();
    let term = highwater_types::Term::new(replica.leadership().borrow().term.get() + 1);
    let (told, is_told) = tokio::sync::oneshot::channel();
    let proposal = crate::raft::Proposal {
        kind: EntryKind::Data,
        payload: batch(1, 10, None),
        term: Some(term),
        on_append: Some(told),
        fence: None,
    };
    let refused = replica.submit(proposal).await.await.unwrap_err();
    assert_eq!(refused, crate::raft::ProposeError::NotLeader { leader: Some(NODE) });
    assert!(refused.is_definite());
    assert!(is_told.await.is_err());
    assert_eq!(log.state().log_end, Offset::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_refused_proposal_nothing_of_the_same_fence_is_stored() {
    let rig = Rig::new();
    let (replica, log) = rig.replica(Seen::default()).await.unwrap();
    let term = replica.leadership().borrow().term;
    let other_term = highwater_types::Term::new(term.get() + 1);
    let fence = crate::raft::Fence::default();
    let inside = |term, fence: &crate::raft::Fence| {
        let (kind, payload) = (EntryKind::Data, batch(2, 10, None));
        crate::raft::Proposal { kind, payload, term: Some(term), on_append: None, fence: Some(fence.clone()) }
    };
    let first = replica.submit(inside(term, &fence)).await;
    let refused = replica.submit(inside(other_term, &fence)).await;
    let behind = replica.submit(inside(term, &fence)).await;
    assert_eq!(first.await.unwrap().base_offset, Offset::ZERO);
    assert!(refused.await.unwrap_err().is_definite());
    assert_eq!(behind.await, Err(crate::raft::ProposeError::NotLeader { leader: None }), "definite: it has no records");
    assert!(fence.has_fallen());
    assert_eq!(log.state().log_end.get(), 2);
    let anew = replica.submit(inside(term, &crate::raft::Fence::default())).await;
    assert_eq!(anew.await.unwrap().base_offset.get(), 2, "a blank place takes no offset");
    replica.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_the_state_does_not_know_stops_the_replica() {
    let rig = Rig::new();
    let log = rig.log();
    let producers = crate::partition::test_state();
    let replica = Replica::open(rig.spec(log, producers)).await.unwrap();
    replica.initialize(&[NODE]).await.unwrap();
    replica.wait_until_serving().await.unwrap();
    let lost = replica.propose(EntryKind::Metadata, Bytes::from_static(b"?")).await.unwrap_err();
    assert_eq!(lost, crate::raft::ProposeError::OutcomeUnknown);
    let failure = tokio::time::timeout(std::time::Duration::from_secs(20), replica.failed()).await.unwrap();
    assert!(failure.to_string().contains("cannot be applied"), "{failure}");
    assert!(!replica.leadership().borrow().serves_writes);
    let _ = KEY;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_a_group_is_not_begun_and_its_replica_lives_on() {
    let rig = Rig::new();
    let space = rig.data.space().unwrap();
    // Enough for a checkpoint.
    rig.disk.set_capacity(Some(space.total_bytes - space.free_bytes + 4_096));
    let replica = Replica::open(rig.spec(rig.log(), Seen::default())).await.unwrap();
    let refused = replica.initialize(&[NODE]).await.unwrap_err();
    assert!(refused.to_string().contains("space"), "{refused}");
    assert!(!replica.is_initialized().await.unwrap(), "nothing was stored");
    rig.disk.set_capacity(None);
    replica.initialize(&[NODE]).await.unwrap();
    replica.wait_until_serving().await.unwrap();
    replica.shutdown().await;
}
