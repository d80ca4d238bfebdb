//! The bookkeeping of a member, step by step, and at random in `simulation`.

mod simulation;

use bytes::Bytes;
use highwater_proto::v1::session_request::Kind;
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS, stamp};
use highwater_types::{ErrorCode, LeaderEpoch, PartitionId, Timestamp, TopicName};
use tokio::sync::oneshot;

use super::*;
use crate::clock;
use crate::consumer::rebalance::AssignedPartition;
use crate::consumer::records;
use crate::error::ServerError;
use crate::position::Position;

const SECOND: Duration = Duration::from_secs(1);

fn offset(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

fn name(partition: u32) -> TopicPartitionName {
    TopicPartitionName::new(TopicName::new("t").unwrap(), PartitionId::new(partition))
}

fn error(code: ErrorCode) -> ServerError {
    ServerError::from_wire(v1::Error { code: code.number(), retryable: code.is_retryable(), ..v1::Error::default() })
}

/// A state in a group, driven by a server that the test plays.
struct Test {
    state: State,
    now: Instant,
}

impl Test {
    fn new(is_automatic: bool) -> Self {
        let options = StateOptions {
            group: "g".to_owned(),
            is_automatic,
            is_static: false,
            rebalance_timeout: 60 * SECOND,
            prefetch_bytes: 100_000,
        };
        let mut test = Self { state: State::new(options, v1::Subscription::default()), now: clock::now() };
        let open = test.state.begin(v1::SessionOpen::default());
        assert_eq!((open.member_id.as_str(), open.credit_bytes, open.held.len()), ("", 100_000, 0));
        test.join();
        test
    }

    fn join(&mut self) {
        let assignor = "range".to_owned();
        self.state.on_joined(v1::SessionJoined { member_id: "m-1".to_owned(), generation: 1, assignor });
    }

    /// The stream breaks, and the next one begins.
    fn reopen(&mut self) -> Vec<(u32, i64)> {
        self.state.on_break();
        let open = self.state.begin(v1::SessionOpen::default());
        assert_eq!(open.member_id, "m-1");
        self.join();
        open.held.iter().map(|held| (held.partition, held.position)).collect()
    }

    fn assign(&mut self, partitions: &[(u32, u64)]) -> (Vec<u32>, Vec<u32>) {
        let assigned =
            |(partition, at): &(u32, u64)| AssignedPartition { partition: name(*partition), offset: Some(offset(*at)) };
        let change = self.state.on_assigned(partitions.iter().map(assigned).collect());
        let number = |name: &TopicPartitionName| name.partition.get();
        let assigned = change.assigned.iter().map(|assigned| number(&assigned.partition)).collect();
        (assigned, change.lost.iter().map(number).collect())
    }

    /// A batch of records with these offsets arrives.
    fn receive(&mut self, partition: u32, offsets: std::ops::Range<u64>) {
        self.receive_bytes(partition, offsets.end, batch(offsets));
    }

    fn receive_bytes(&mut self, partition: u32, next: u64, batch: Bytes) {
        let name = name(partition);
        let response =
            v1::ReadResponse { batches: vec![batch], next_offset: next.cast_signed(), ..v1::ReadResponse::default() };
        match self.state.expected(&name) {
            Some(expected) => {
                let received = records::check(&name, expected.position, response, true);
                self.state.store(&name, expected, received);
            }
            None => self.state.drop_received(&name, records::bytes(&response)),
        }
    }

    /// The next record, as partition and offset.
    fn record(&mut self) -> Option<(u32, u64)> {
        loop {
            match self.state.next_record() {
                Next::Record(record) => return Some((record.partition.get(), record.offset.get())),
                Next::Batch(taken) => {
                    let records = taken.batch.records();
                    assert!(self.state.install(taken, records).is_none());
                }
                Next::Wait => return None,
                other => panic!("{other:?}"),
            }
        }
    }

    fn records(&mut self) -> Vec<(u32, u64)> {
        std::iter::from_fn(|| self.record()).collect()
    }

    /// Everything that is to be sent now, in short.
    fn sent(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.state.next_request(self.now)).map(|kind| short(&kind)).collect()
    }

    fn revoke(&mut self, partitions: &[u32]) {
        self.state.on_revoke(partitions.iter().map(|partition| name(*partition)).collect(), self.now);
    }

    /// What the listener is told now, if anything.
    fn told(&mut self) -> Option<Vec<u32>> {
        let told = self.state.revocation_due(self.now)?;
        self.state.revocation_told(self.now);
        Some(told.iter().map(|name| name.partition.get()).collect())
    }

    fn committed(&mut self, request: u64) {
        self.state.on_committed(request, Vec::new(), None);
    }
}

fn batch(offsets: std::ops::Range<u64>) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for number in offsets.clone() {
        let value = number.to_string();
        builder.append(Timestamp::from_ms(1), None, Some(value.as_bytes()), NO_HEADERS).unwrap();
    }
    let mut bytes = builder.finish().unwrap().to_vec();
    let first = stamp(offset(offsets.start), LeaderEpoch::new(3), bytes[..16].try_into().unwrap());
    bytes[..16].copy_from_slice(&first);
    bytes.into()
}

fn short(kind: &Kind) -> String {
    let names =
        |names: &[v1::PartitionName]| format!("{:?}", names.iter().map(|name| name.partition).collect::<Vec<_>>());
    match kind {
        Kind::Commit(commit) => {
            let offsets: Vec<_> = commit.offsets.iter().map(|offset| (offset.partition, offset.offset)).collect();
            format!("commit {} {offsets:?}", commit.request)
        }
        Kind::Released(released) => format!("released {}", names(&released.partitions)),
        Kind::Pause(paused) => format!("pause {}", names(&paused.partitions)),
        Kind::Resume(resumed) => format!("resume {}", names(&resumed.partitions)),
        Kind::Seek(seek) => format!("seek {} {} {:?}", seek.request, seek.partition, seek.to.unwrap().at.unwrap()),
        Kind::Credit(credit) => format!("credit {}", credit.bytes),
        Kind::Leave(_) => "leave".to_owned(),
        Kind::Subscribe(_) => "subscribe".to_owned(),
        Kind::Open(_) | Kind::Heartbeat(_) => panic!("not the state's to send"),
    }
}

#[test]
fn only_what_the_program_came_back_for_is_done() {
    let mut test = Test::new(true);
    assert_eq!(test.assign(&[(0, 5), (1, 0)]), (vec![0, 1], vec![]));
    test.receive(0, 5..8);
    test.receive(1, 0..2);
    assert_eq!(test.record(), Some((0, 5)));
    test.state.commit_done(|_| true);
    assert_eq!(test.sent(), ["commit 1 [(0, 5), (1, 0)]"], "where it began, so that the group goes on there");
    test.committed(1);
    assert_eq!(test.record(), Some((0, 6)));
    test.state.commit_done(|_| true);
    assert_eq!(test.sent(), ["commit 2 [(0, 6)]"]);
    test.committed(2);
    test.state.commit_done(|_| true);
    assert_eq!(test.sent(), [""; 0], "nothing new is done");
    assert_eq!(test.records(), [(0, 7), (1, 0), (1, 1)]);
    assert_eq!(test.state.position(&name(1)), Some(offset(2)));
    test.state.commit_done(|_| true);
    assert_eq!(test.sent(), ["commit 3 [(0, 8), (1, 2)]"], "it came back for more than there was");
}

#[test]
fn a_manual_commit_takes_everything_that_was_given_out_with_its_epoch() {
    let mut test = Test::new(false);
    test.assign(&[(0, 0)]);
    test.receive(0, 0..10);
    assert_eq!(test.record(), Some((0, 0)));
    let mut answer = test.state.commit_given();
    let Some(Kind::Commit(commit)) = test.state.next_request(test.now) else { panic!("no commit") };
    assert_eq!((commit.offsets[0].offset, commit.offsets[0].leader_epoch), (1, Some(3)));
    assert!(answer.try_recv().is_err());
    test.state.on_committed(commit.request, vec![(name(0), error(ErrorCode::NotAssigned))], None);
    assert_eq!(answer.try_recv().unwrap().unwrap_err().code(), Some(ErrorCode::NotAssigned));
    let mut again = test.state.commit_given();
    assert_eq!(test.sent(), ["commit 2 [(0, 1)]"], "what was refused is asked for again");
    test.committed(2);
    assert_eq!(again.try_recv().unwrap(), Ok(()));
    assert_eq!(test.state.commit_given().try_recv().unwrap(), Ok(()), "nothing to do");
}

#[test]
fn a_revocation_waits_for_the_record_that_the_program_is_busy_with() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0), (1, 0)]);
    test.receive(0, 0..3);
    test.receive(1, 0..3);
    assert_eq!(test.record(), Some((0, 0)));
    test.revoke(&[0]);
    assert_eq!(test.told(), None, "the program is busy with a record of it");
    assert_eq!(test.state.assignment(), [name(1)]);
    assert_eq!(test.record(), Some((1, 0)), "what waits of it is dropped");
    assert!(test.state.take_wakes().0);
    assert_eq!(test.told(), Some(vec![0]));
    assert_eq!(test.sent(), ["commit 1 [(0, 1)]"], "released only when that is answered");
    test.committed(1);
    assert_eq!(test.sent(), ["released [0]"]);
    test.receive(0, 3..6);
    assert_eq!(test.records(), [(1, 1), (1, 2)]);
}

#[test]
fn a_revocation_does_not_wait_for_ever() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0)]);
    test.receive(0, 0..3);
    assert_eq!(test.records(), [(0, 0), (0, 1), (0, 2)]);
    test.receive(0, 3..4);
    assert_eq!(test.record(), Some((0, 3)));
    test.revoke(&[0, 7]);
    assert_eq!(test.state.revocation_deadline(), Some(test.now + 30 * SECOND));
    test.now += 30 * SECOND;
    assert_eq!(test.told(), Some(vec![0]));
    assert_eq!(test.sent(), ["commit 1 [(0, 3)]"], "without the record that is not done");
    test.now += 15 * SECOND;
    assert_eq!(test.sent(), ["released [0, 7]"], "the answer may come too late");
    assert_eq!(test.told(), None);
}

#[test]
fn a_new_stream_goes_on_where_records_were_received() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0), (1, 0), (2, 0)]);
    test.receive(0, 0..5);
    test.receive(1, 0..5);
    assert_eq!(test.record(), Some((0, 0)));
    test.state.commit_done(|_| true);
    assert_eq!(test.sent().len(), 1);
    assert_eq!(test.record(), Some((0, 1)));
    test.state.commit_done(|partition| *partition == name(0));
    assert_eq!(test.reopen(), [(0, 5), (1, 5), (2, 0)]);
    assert_eq!(test.sent(), ["commit 2 [(0, 1), (1, 0), (2, 0)]"], "again, and the newer one where there is one");
    assert_eq!(test.assign(&[(0, 5), (1, 5), (3, 9)]), (vec![3], vec![2]));
    test.receive(0, 5..6);
    test.receive(0, 5..6);
    let rest: Vec<_> = (2..5).map(|at| (0, at)).chain((0..5).map(|at| (1, at))).chain([(0, 5)]).collect();
    assert_eq!(test.records(), rest, "nothing twice and nothing left out");
    assert_eq!(test.assign(&[(4, 0)]), (vec![4], vec![]), "only the first list is of everything");
}

#[test]
fn a_partition_that_was_moved_meanwhile_goes_on_where_the_server_says() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0), (1, 0)]);
    test.receive(0, 0..5);
    test.receive(1, 0..5);
    assert_eq!(test.record(), Some((0, 0)));
    test.reopen();
    assert_eq!(test.assign(&[(0, 100), (1, 5)]), (vec![], vec![]));
    assert_eq!(test.state.position(&name(0)), Some(offset(100)));
    test.receive(0, 100..101);
    assert_eq!(test.records(), [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (0, 100)]);
}

#[test]
fn a_revocation_that_a_break_interrupts_is_done_over_or_forgotten() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0), (1, 0)]);
    test.revoke(&[0, 1]);
    assert_eq!(test.told(), Some(vec![0, 1]));
    assert_eq!(test.sent().len(), 1, "the commit");
    assert_eq!(test.reopen(), [(0, 0), (1, 0)]);
    assert_eq!(test.assign(&[(0, 0)]), (vec![0], vec![]), "the listener took it for gone; the other one it knows of");
    assert_eq!(test.state.assignment(), [name(0)]);
    test.revoke(&[0]);
    assert_eq!(test.told(), Some(vec![0]));
}

#[test]
fn a_member_that_is_out_forgets_everything() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0), (1, 0)]);
    test.receive(0, 0..5);
    assert_eq!(test.record(), Some((0, 0)));
    let mut answer = test.state.commit_given();
    let mut seek = test.state.seek(&name(1), Position::End).unwrap();
    assert_eq!(test.state.on_lost(), [name(0), name(1)]);
    let lost = ConsumeError::MembershipLost { group: "g".to_owned() };
    assert_eq!((answer.try_recv().unwrap(), seek.try_recv().unwrap()), (Err(lost.clone()), Err(lost)));
    assert!(test.state.member().is_none() && test.state.assignment().is_empty());
    assert_eq!(test.record(), None);
    let open = test.state.begin(v1::SessionOpen::default());
    assert_eq!((open.member_id.as_str(), open.held.len(), open.credit_bytes), ("", 0, 100_000));
    test.join();
    assert_eq!(test.sent(), [""; 0], "nothing of before is committed");
    assert_eq!(test.assign(&[(0, 0)]), (vec![0], vec![]));
}

#[test]
fn a_seek_drops_what_is_of_before_it() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0)]);
    test.receive(0, 0..5);
    assert_eq!(test.record(), Some((0, 0)));
    let mut answer = test.state.seek(&name(0), Position::Offset(offset(50))).unwrap();
    assert_eq!(test.sent(), ["seek 1 0 Offset(50)"]);
    test.receive(0, 5..10);
    assert_eq!(test.record(), None);
    test.state.on_sought(&name(0), 1, Ok(offset(50)));
    assert_eq!(answer.try_recv().unwrap(), Ok(offset(50)));
    test.receive(0, 50..51);
    assert_eq!(test.records(), [(0, 50)]);
    assert!(test.state.seek(&name(9), Position::Start).is_err());
}

#[test]
fn a_seek_that_fails_leaves_no_gap() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0)]);
    test.receive(0, 0..5);
    assert_eq!(test.record(), Some((0, 0)));
    let mut answer = test.state.seek(&name(0), Position::Timestamp(Timestamp::from_ms(5))).unwrap();
    assert_eq!(test.sent().len(), 1);
    test.receive(0, 5..10);
    test.state.on_sought(&name(0), 1, Err(error(ErrorCode::LeaderUnavailable)));
    assert!(answer.try_recv().unwrap().unwrap_err().is_retryable());
    test.receive(0, 10..15);
    assert_eq!(test.sent(), ["seek 2 0 Offset(1)"], "what was dropped is read again");
    test.state.on_sought(&name(0), 2, Ok(offset(1)));
    test.receive(0, 1..3);
    assert_eq!(test.records(), [(0, 1), (0, 2)]);
}

#[test]
fn a_seek_survives_a_new_stream() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0)]);
    let mut answer = test.state.seek(&name(0), Position::Offset(offset(7))).unwrap();
    assert_eq!(test.sent(), ["seek 1 0 Offset(7)"]);
    test.reopen();
    assert_eq!(test.assign(&[(0, 0)]), (vec![], vec![]));
    assert_eq!(test.sent(), ["seek 2 0 Offset(7)"]);
    test.state.on_sought(&name(0), 1, Ok(offset(3)));
    assert!(answer.try_recv().is_err(), "an answer of another stream");
    test.state.on_sought(&name(0), 2, Ok(offset(7)));
    assert_eq!(answer.try_recv().unwrap(), Ok(offset(7)));
}

#[test]
fn a_pause_holds_no_credit_and_loses_nothing() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0), (1, 0)]);
    test.receive(0, 0..3);
    test.receive(1, 0..1);
    assert_eq!(test.record(), Some((0, 0)));
    test.state.set_paused(&[name(0)], true).unwrap();
    assert_eq!(test.sent(), ["pause [0]"]);
    test.receive(0, 3..6);
    assert_eq!(test.records(), [(1, 0)]);
    test.state.set_paused(&[name(0)], false).unwrap();
    assert_eq!(test.sent(), ["seek 1 0 Offset(1)", "resume [0]"]);
    test.receive(0, 6..9);
    test.state.on_sought(&name(0), 1, Ok(offset(1)));
    test.receive(0, 1..3);
    assert_eq!(test.records(), [(0, 1), (0, 2)]);
    assert!(test.state.set_paused(&[name(0), name(9)], true).is_err());
    assert_eq!(test.sent(), [""; 0], "all or none");
    test.state.set_paused(&[name(1)], true).unwrap();
    assert_eq!(test.sent(), ["pause [1]"]);
    test.state.set_paused(&[name(1)], false).unwrap();
    assert_eq!(test.sent(), ["resume [1]"], "nothing was dropped");
    test.state.set_paused(&[name(1)], true).unwrap();
    test.reopen();
    test.assign(&[(0, 3), (1, 1)]);
    assert_eq!(test.sent(), ["pause [1]"], "a new stream knows of no pause");
}

#[test]
fn credit_is_given_back_for_what_is_taken_and_for_what_is_dropped() {
    let mut test = Test::new(true);
    test.state.credit = Credit::new(1_000);
    test.assign(&[(0, 0), (1, 0)]);
    let half = batch(0..70);
    assert!(half.len() >= 500 && half.len() < 1_000);
    test.receive(0, 0..70);
    test.receive(1, 0..70);
    assert_eq!(test.sent(), [""; 0], "it waits");
    test.record();
    assert_eq!(test.sent(), [format!("credit {}", half.len())]);
    test.revoke(&[1]);
    assert_eq!(test.state.next_request(test.now).map(|kind| short(&kind)), Some(format!("credit {}", half.len())));
    test.receive(1, 70..140);
    assert!(test.sent()[0].starts_with("credit"), "nobody's");
}

#[test]
fn a_partition_that_fails_says_so_after_what_came_before() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0), (1, 0)]);
    test.receive(0, 0..1);
    test.state.on_failed(name(0), error(ErrorCode::OffsetOutOfRange));
    let mut damaged = batch(0..1).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    test.receive_bytes(1, 1, damaged.into());
    assert_eq!(test.record(), Some((0, 0)));
    let Next::Failed(ConsumeError::Partition { partition, source }) = test.state.next_record() else { panic!() };
    assert_eq!((partition, source.code), (name(0), ErrorCode::OffsetOutOfRange));
    let Next::Failed(error) = test.state.next_record() else { panic!() };
    assert!(matches!(error, ConsumeError::Unreadable { .. }) && error.to_string().contains("t-1"), "{error}");
    assert_eq!(test.record(), None, "each is said once");
    assert_eq!(test.sent(), ["pause [1]"], "the server need not go on with it");
    let _answer = test.state.seek(&name(1), Position::Offset(offset(1))).unwrap();
    assert_eq!(test.sent(), ["seek 1 1 Offset(1)", "resume [1]"]);
    test.state.on_sought(&name(1), 1, Ok(offset(1)));
    test.receive(1, 1..2);
    assert_eq!(test.records(), [(1, 1)]);
}

#[test]
fn a_close_commits_what_is_done_and_then_leaves() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0), (1, 0)]);
    test.receive(0, 0..5);
    assert_eq!(test.record(), Some((0, 0)));
    test.state.close(test.now);
    assert_eq!(test.told(), Some(vec![0, 1]));
    assert_eq!(test.sent(), ["commit 1 [(0, 1), (1, 0)]"], "who closes is done with the last record, too");
    assert!(matches!(test.state.next_record(), Next::End));
    test.committed(1);
    assert_eq!(test.sent(), ["leave"]);
    assert_eq!((test.sent().len(), test.state.phase()), (0, Phase::Leaving));

    let mut manual = Test::new(false);
    manual.assign(&[(0, 0)]);
    manual.state.close(manual.now);
    manual.told();
    assert_eq!(manual.sent(), ["leave"]);

    let mut dropped = Test::new(true);
    dropped.assign(&[(0, 0)]);
    dropped.state.abandon();
    assert_eq!(dropped.sent(), ["leave"], "and commits nothing");

    let mut named = Test::new(true);
    named.state.options.is_static = true;
    named.assign(&[(0, 4)]);
    named.state.close(named.now);
    named.told();
    assert_eq!(named.sent(), ["commit 1 [(0, 4)]"]);
    named.committed(1);
    assert_eq!(named.sent(), [""; 0], "its place waits for it");
    assert_eq!(named.state.phase(), Phase::Leaving);
}

#[test]
fn a_close_goes_on_over_a_new_stream() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0)]);
    test.receive(0, 0..2);
    assert_eq!(test.records(), [(0, 0), (0, 1)]);
    test.state.close(test.now);
    test.told();
    assert_eq!(test.sent(), ["commit 1 [(0, 2)]"]);
    assert_eq!(test.reopen(), [(0, 2)]);
    test.assign(&[(0, 2)]);
    assert_eq!(test.sent(), ["commit 2 [(0, 2)]"]);
    test.committed(2);
    assert_eq!(test.sent(), ["leave"]);
}

#[test]
fn an_unreachable_group_is_told_to_all_who_wait_and_then_tried_again() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0)]);
    let mut answer: oneshot::Receiver<_> = test.state.commit_given();
    let unavailable = ConsumeError::Unavailable { group: "g".to_owned(), after: SECOND, last: "reset".to_owned() };
    test.state.on_break();
    test.state.on_unavailable(unavailable.clone());
    assert_eq!(answer.try_recv().unwrap(), Err(unavailable.clone()));
    assert!(matches!(test.state.next_record(), Next::Failed(error) if error == unavailable));
    assert!(matches!(test.state.next_record(), Next::Wait));
    test.state.end(None);
    assert!(matches!(test.state.next_record(), Next::End));
    assert!(
        matches!(test.state.seek(&name(0), Position::Start), Err(ConsumeError::Ended { .. })),
        "nobody will answer"
    );
    assert!(test.state.assignment().is_empty());
}

#[test]
fn a_batch_that_is_given_out_whole_is_one_thing_to_be_done_with() {
    let mut test = Test::new(true);
    test.assign(&[(0, 0)]);
    test.receive(0, 0..5);
    test.receive(0, 5..9);
    assert_eq!(test.record(), Some((0, 0)));
    let NextBatch::Batch(rest) = test.state.next_batch() else { panic!() };
    assert_eq!(rest.records().unwrap().count(), 4, "what is left of it");
    test.state.commit_done(|_| true);
    assert_eq!(test.sent(), ["commit 1 [(0, 1)]"]);
    test.committed(1);
    let NextBatch::Batch(_) = test.state.next_batch() else { panic!() };
    test.revoke(&[0]);
    assert_eq!(test.told(), None);
    assert!(matches!(test.state.next_batch(), NextBatch::Wait));
    assert_eq!(test.told(), Some(vec![0]));
    assert_eq!(test.sent(), ["commit 2 [(0, 9)]"]);
}

#[test]
fn a_partition_without_a_place_is_told_and_nothing_of_it_committed_before_a_seek() {
    let mut test = Test::new(true);
    let unplaced = AssignedPartition { partition: name(0), offset: None };
    assert_eq!(test.state.on_assigned(vec![unplaced]).assigned.len(), 1);
    test.state.on_failed(name(0), error(ErrorCode::OffsetOutOfRange));
    assert!(matches!(test.state.next_record(), Next::Failed(ConsumeError::Partition { .. })));
    let _answer = test.state.commit_given();
    assert!(test.sent().iter().all(|sent| !sent.contains("commit")), "there is nothing that could be committed");
    assert!(test.state.begin(v1::SessionOpen::default()).held.is_empty(), "nor gone on from");
}
