//! A member and a server that is simulated, at random: whatever breaks, is revoked, paused or late, records come in order,
//! each once while a partition is held, and nothing is committed that is not done.

use std::collections::{BTreeMap, VecDeque};

use highwater_proto::v1::position::At;
use proptest::prelude::*;

use super::{Kind, NextBatch, Test, name, offset};

const PARTITIONS: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// The server sends so many records of a partition, if it may.
    Send(u32, u64),
    /// So many messages of the server arrive.
    Deliver(usize),
    /// The program asks for a record.
    Ask,
    /// The program asks for a batch.
    AskForBatch,
    /// What the member is to send arrives.
    Flush,
    Break,
    /// The group takes the member for dead.
    Lose,
    Pause(u32),
    Resume(u32),
    Revoke(u32),
    Commit,
    /// The listener is told, if it is time.
    Tell,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..PARTITIONS, 1..6_u64).prop_map(|(partition, count)| Step::Send(partition, count)),
        6 => (1..6_usize).prop_map(Step::Deliver),
        10 => Just(Step::Ask),
        2 => Just(Step::AskForBatch),
        5 => Just(Step::Flush),
        2 => Just(Step::Break),
        1 => Just(Step::Lose),
        1 => (0..PARTITIONS).prop_map(Step::Pause),
        2 => (0..PARTITIONS).prop_map(Step::Resume),
        1 => (0..PARTITIONS).prop_map(Step::Revoke),
        2 => Just(Step::Commit),
        2 => Just(Step::Tell),
    ];
    prop::collection::vec(step, 1..200)
}

/// What is on its way to the member.
#[derive(Debug)]
enum Message {
    Assigned(u32, u64),
    Records(u32, std::ops::Range<u64>),
    Revoke(u32),
    Sought(u32, u64, u64),
    Committed(u64),
}

/// A partition as the server sees it.
#[derive(Debug, Default)]
struct Served {
    position: u64,
    is_paused: bool,
    is_revoked: bool,
}

struct Simulation {
    test: Test,
    served: BTreeMap<u32, Served>,
    under_way: VecDeque<Message>,
    committed: BTreeMap<u32, u64>,
    /// The next record that the program is to get, and where it has come back to.
    expected: BTreeMap<u32, u64>,
    done: BTreeMap<u32, u64>,
    busy: Option<(u32, u64)>,
}

impl Simulation {
    fn new() -> Self {
        let mut simulation = Self {
            test: Test::new(true),
            served: BTreeMap::new(),
            under_way: VecDeque::new(),
            committed: BTreeMap::new(),
            expected: BTreeMap::new(),
            done: BTreeMap::new(),
            busy: None,
        };
        (0..PARTITIONS).for_each(|partition| simulation.assign(partition));
        simulation
    }

    fn assign(&mut self, partition: u32) {
        let position = self.committed.get(&partition).copied().unwrap_or(0);
        self.served.insert(partition, Served { position, ..Served::default() });
        self.under_way.push_back(Message::Assigned(partition, position));
    }

    /// The list is the server's; what is new to the member begins where the server says.
    fn list(&mut self, listed: &[(u32, u64)]) {
        let held = self.test.state.partitions.keys().map(|name| name.partition.get()).collect::<Vec<_>>();
        self.test.assign(listed);
        for (partition, at) in listed.iter().filter(|(partition, _)| !held.contains(partition)) {
            self.expected.insert(*partition, *at);
            self.done.insert(*partition, *at);
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Send(partition, count) => self.serve(*partition, *count),
            Step::Deliver(count) => (0..*count).for_each(|_| self.deliver()),
            Step::Ask => drop(self.ask()),
            Step::AskForBatch => self.ask_for_batch(),
            Step::Flush => self.flush(),
            Step::Break => self.reopen(),
            Step::Lose => self.lose(),
            Step::Pause(partition) => drop(self.test.state.set_paused(&[name(*partition)], true)),
            Step::Resume(partition) => drop(self.test.state.set_paused(&[name(*partition)], false)),
            Step::Revoke(partition) => {
                if let Some(served) = self.served.get_mut(partition).filter(|served| !served.is_revoked) {
                    served.is_revoked = true;
                    self.under_way.push_back(Message::Revoke(*partition));
                }
            }
            Step::Commit => self.test.state.commit_done(|_| true),
            Step::Tell => drop(self.test.told()),
        }
    }

    fn serve(&mut self, partition: u32, count: u64) {
        let Some(served) = self.served.get_mut(&partition) else { return };
        if !served.is_paused && !served.is_revoked {
            let from = served.position;
            served.position += count;
            self.under_way.push_back(Message::Records(partition, from..from + count));
        }
    }

    fn deliver(&mut self) {
        match self.under_way.pop_front() {
            None => {}
            Some(Message::Assigned(partition, at)) => self.list(&[(partition, at)]),
            Some(Message::Records(partition, offsets)) => self.test.receive(partition, offsets),
            Some(Message::Revoke(partition)) => self.test.revoke(&[partition]),
            Some(Message::Sought(partition, request, at)) => {
                self.test.state.on_sought(&name(partition), request, Ok(offset(at)));
            }
            Some(Message::Committed(request)) => self.test.committed(request),
        }
    }

    fn come_back(&mut self) {
        if let Some((partition, next)) = self.busy.take() {
            self.done.insert(partition, next);
        }
    }

    fn ask_for_batch(&mut self) {
        self.come_back();
        let NextBatch::Batch(batch) = self.test.state.next_batch() else { return };
        let partition = batch.partition().get();
        for record in batch.records().unwrap() {
            let at = record.unwrap().offset.get();
            assert_eq!(self.expected.insert(partition, at + 1), Some(at), "partition {partition}");
        }
        self.busy = Some((partition, self.expected[&partition]));
    }

    fn ask(&mut self) -> bool {
        self.come_back();
        let Some((partition, at)) = self.test.record() else { return false };
        assert_eq!(self.expected.insert(partition, at + 1), Some(at), "partition {partition}");
        self.busy = Some((partition, at + 1));
        true
    }

    fn flush(&mut self) {
        while let Some(kind) = self.test.state.next_request(self.test.now) {
            match kind {
                Kind::Pause(names) => self.set_paused(&names.partitions, true),
                Kind::Resume(names) => self.set_paused(&names.partitions, false),
                Kind::Seek(seek) => {
                    let Some(At::Offset(to)) = seek.to.unwrap().at else { panic!("only what was dropped is sought") };
                    if let Some(served) = self.served.get_mut(&seek.partition) {
                        served.position = to.cast_unsigned();
                        let sought = Message::Sought(seek.partition, seek.request, served.position);
                        self.under_way.push_back(sought);
                    }
                }
                Kind::Commit(commit) => {
                    for offset in &commit.offsets {
                        let (partition, at) = (offset.partition, offset.offset.cast_unsigned());
                        assert!(at <= self.done[&partition], "{at} of partition {partition} is not done");
                        let before = self.committed.insert(partition, at);
                        assert!(before.is_none_or(|before| before <= at), "{partition} went back to {at}");
                    }
                    self.under_way.push_back(Message::Committed(commit.request));
                }
                Kind::Released(released) => {
                    for partition in released.partitions.iter().map(|name| name.partition) {
                        if self.served.get(&partition).is_some_and(|served| served.is_revoked) {
                            self.assign(partition);
                        }
                    }
                }
                Kind::Credit(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn set_paused(&mut self, names: &[highwater_proto::v1::PartitionName], is_paused: bool) {
        for name in names {
            if let Some(served) = self.served.get_mut(&name.partition) {
                served.is_paused = is_paused;
            }
        }
    }

    fn reopen(&mut self) {
        self.under_way.clear();
        let held: BTreeMap<u32, i64> = self.test.reopen().into_iter().collect();
        let committed = &self.committed;
        for (partition, served) in &mut self.served {
            let begin = || committed.get(partition).copied().unwrap_or(0);
            let position = held.get(partition).map_or_else(begin, |position| position.cast_unsigned());
            *served = Served { position, ..Served::default() };
        }
        let listed: Vec<_> = self.served.iter().map(|(partition, served)| (*partition, served.position)).collect();
        self.list(&listed);
    }

    /// It joins again, and is given everything anew.
    fn lose(&mut self) {
        self.under_way.clear();
        self.busy = None;
        self.test.state.on_break();
        self.test.state.on_lost();
        let open = self.test.state.begin(highwater_proto::v1::SessionOpen::default());
        assert!(open.member_id.is_empty() && open.held.is_empty());
        self.test.join();
        (0..PARTITIONS).for_each(|partition| self.assign(partition));
    }

    /// Everything settles, and then every partition goes on.
    fn settle(&mut self) {
        for _ in 0..10 {
            (0..PARTITIONS).for_each(|partition| drop(self.test.state.set_paused(&[name(partition)], false)));
            while self.ask() {}
            while self.test.told().is_some() {}
            self.flush();
            (0..self.under_way.len()).for_each(|_| self.deliver());
        }
        let before = self.expected.clone();
        (0..PARTITIONS).for_each(|partition| self.serve(partition, 2));
        (0..self.under_way.len()).for_each(|_| self.deliver());
        while self.ask() {}
        for partition in 0..PARTITIONS {
            assert_eq!(self.expected[&partition], before[&partition] + 2, "partition {partition} goes on");
        }
        self.test.state.commit_done(|_| true);
        for _ in 0..3 {
            self.flush();
            (0..self.under_way.len()).for_each(|_| self.deliver());
        }
        assert_eq!(self.committed, self.expected, "and everything is committed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn records_come_in_order_and_once_and_only_what_is_done_is_committed(steps in steps()) {
        let mut simulation = Simulation::new();
        for step in &steps {
            simulation.take(step);
        }
        simulation.settle();
    }
}
