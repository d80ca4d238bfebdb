//! Random clients of one coordinator whose leader crashes: what must hold whatever they do.
//!
//! - No generation of a group is recorded twice, and none goes back.
//! - A committed offset is what the records say, and a commit was in its member's generation where it stands in the log.
//! - A member is in one group once; a partition that the server assigned has one owner.
//! - A member of a cooperative group is never given what another member still reads.
//! - An answer that was sent rests on records that are committed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use highwater_groups::stream::command::{
    CommitOffsets, Identity, JoinError, JoinGroup, Joined, Leaver, NewOffset, SeekOffsets, SyncGroup, Synced,
};
use highwater_groups::stream::outbox::Position;
use highwater_groups::stream::{
    Answer, Client, ClientHost, ClientId, Command, Config, Context, Decision, GenerationId, GroupId, GroupRecord,
    GroupsImage, InstanceId, MemberId, Moment, Outbox, Protocol, ProtocolName, ProtocolType, Reply, Sessions, Ticket,
    record,
};
use highwater_types::{LogIndex, Offset, PartitionId, Timestamp, TopicId, TopicPartition};
use proptest::prelude::*;

const CLIENTS: usize = 8;
const TOPIC: TopicId = TopicId::from_bytes([7; 16]);

#[derive(Clone, Debug)]
enum Op {
    /// A client does what a client does next: joins, syncs, gives up, joins again.
    Step(usize),
    Heartbeat(usize),
    Commit(usize),
    Leave(usize),
    /// A client starts again and knows nothing.
    Restart(usize),
    SimpleCommit(usize),
    Seek(usize, bool),
    Delete(usize),
    Fence(usize),
    Grow,
    TopicDeleted,
    Wait(u64),
    CommitLog(usize),
    Crash,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let client = || 0..CLIENTS;
    let op = prop_oneof![
        20 => client().prop_map(Op::Step),
        3 => client().prop_map(Op::Heartbeat),
        5 => client().prop_map(Op::Commit),
        2 => client().prop_map(Op::Leave),
        2 => client().prop_map(Op::Restart),
        1 => client().prop_map(Op::SimpleCommit),
        1 => (client(), any::<bool>()).prop_map(|(client, is_forced)| Op::Seek(client, is_forced)),
        1 => client().prop_map(Op::Delete),
        1 => client().prop_map(Op::Fence),
        1 => Just(Op::Grow),
        1 => Just(Op::TopicDeleted),
        3 => prop_oneof![Just(100), Just(3_000), Just(12_000), Just(100_000)].prop_map(Op::Wait),
        8 => (1_usize..4).prop_map(Op::CommitLog),
        1 => Just(Op::Crash),
    ];
    prop::collection::vec(op, 1..160)
}

/// A client: the first half are Kafka's, the second half sessions. Odd ones are static.
#[derive(Clone, Debug, Default)]
struct Reader {
    member: Option<MemberId>,
    generation: GenerationId,
    is_leader: bool,
    others: Vec<MemberId>,
    has_joined: bool,
    is_synced: bool,
    /// What it reads, and what it was given last.
    held: BTreeSet<TopicPartition>,
    given: BTreeSet<TopicPartition>,
    waits_for: Option<Ticket>,
}

#[derive(Default)]
struct World {
    now_ms: u64,
    ticket: u64,
    partitions: u32,
    image: GroupsImage,
    sessions: Option<Sessions>,
    outbox: Outbox,
    in_flight: VecDeque<(Position, Vec<GroupRecord>)>,
    entries: u64,
    readers: Vec<Reader>,
    /// Who committed which offset; every commit has an offset of its own.
    commits: BTreeMap<u64, Option<Identity>>,
    promised: BTreeMap<Ticket, u64>,
    recorded: BTreeSet<u64>,
    generations: BTreeMap<GroupId, GenerationId>,
    offsets: BTreeMap<(GroupId, TopicPartition), u64>,
}

fn group_of(client: usize) -> GroupId {
    GroupId::new(if client < CLIENTS / 2 { "classic" } else { "session" }).unwrap()
}

fn instance_of(client: usize) -> Option<InstanceId> {
    (client % 2 == 1).then(|| InstanceId::new(&format!("i{client}")).unwrap())
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: TOPIC, partition: PartitionId::new(partition) }
}

impl World {
    fn new() -> Self {
        Self { partitions: 5, readers: vec![Reader::default(); CLIENTS], ..Self::default() }
    }

    fn with_context<R>(&mut self, run: impl FnOnce(&mut Sessions, &GroupsImage, &Context<'_>) -> R) -> R {
        let count = self.partitions;
        let partitions = |topic| if topic == TOPIC { count } else { 0 };
        let wall = Timestamp::from_ms(i64::try_from(self.now_ms).unwrap());
        let now = Moment::new(self.now_ms);
        let context = Context { now, wall, nonce: self.ticket.into(), partitions: &partitions };
        let config = Config {
            initial_rebalance_delay_ms: 500,
            offsets_retention_ms: 60_000,
            sweep_interval_ms: 10_000,
            ..Config::default()
        };
        let sessions = self.sessions.get_or_insert_with(|| Sessions::new(config, &self.image, &context));
        run(sessions, &self.image, &context)
    }

    fn send(&mut self, command: Command) -> Ticket {
        self.ticket += 1;
        let ticket = Ticket::new(self.ticket);
        let decision = self.with_context(|sessions, image, context| sessions.decide(image, ticket, command, context));
        self.take(decision);
        ticket
    }

    fn ask(&mut self, client: usize, command: Command) {
        self.readers[client].waits_for = Some(Ticket::new(self.ticket + 1));
        self.send(command);
    }

    fn take(&mut self, decision: Decision) {
        let outgoing = self.outbox.push(decision);
        if let Some((position, records)) = outgoing.records {
            self.in_flight.push_back((position, record::decode(&record::encode(&records)).unwrap()));
        }
        self.tell(outgoing.replies);
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Step(client) => self.step(client),
            Op::Heartbeat(client) => {
                if let Some(by) = self.identity(client) {
                    self.ask(client, Command::Heartbeat { group: group_of(client), by });
                }
            }
            Op::Commit(client) => {
                if let Some(by) = self.identity(client) {
                    self.commit(client, Some(by));
                }
            }
            Op::Leave(client) => {
                let leaver = Leaver { member: self.readers[client].member.clone(), instance: instance_of(client) };
                self.readers[client] = Reader::default();
                self.send(Command::Leave { group: group_of(client), members: vec![leaver] });
            }
            Op::Restart(client) => self.readers[client] = Reader::default(),
            Op::SimpleCommit(client) => self.commit(client, None),
            Op::Seek(client, is_forced) => {
                let offset = self.new_offset(None);
                let offsets = vec![(at(0), offset)];
                self.send(Command::SeekOffsets(SeekOffsets { group: group_of(client), offsets, is_forced }));
            }
            Op::Delete(client) => drop(self.send(Command::DeleteGroup { group: group_of(client) })),
            Op::Fence(client) => {
                if let Some(member) = self.readers[client].member.clone() {
                    self.send(Command::FenceMember { group: group_of(client), member });
                }
            }
            Op::Grow => {
                self.partitions += 1;
                self.send(Command::TopicGrown { topic: TOPIC });
            }
            Op::TopicDeleted => drop(self.send(Command::TopicDeleted { topic: TOPIC })),
            Op::Wait(ms) => self.wait(ms),
            Op::CommitLog(count) => self.commit_log(count),
            Op::Crash => self.crash(),
        }
    }

    /// What a client does next, unless it waits for an answer.
    fn step(&mut self, client: usize) {
        let reader = self.readers[client].clone();
        if reader.waits_for.is_some() {
            return;
        }
        let Some(by) = self.identity(client).filter(|_| reader.has_joined && !reader.is_synced) else {
            self.readers[client].held.retain(|partition| reader.given.contains(partition));
            return self.join(client);
        };
        let assignments = if reader.is_leader { reader.others } else { Vec::new() };
        let assignments = assignments.into_iter().map(|id| (id, Bytes::from_static(b"x"))).collect();
        let (protocol_type, protocol) = (None, None);
        self.ask(
            client,
            Command::Sync(SyncGroup { group: group_of(client), by, protocol_type, protocol, assignments }),
        );
    }

    fn join(&mut self, client: usize) {
        let is_session = client >= CLIENTS / 2;
        let reader = &mut self.readers[client];
        (reader.has_joined, reader.is_synced) = (false, false);
        let command = JoinGroup {
            group: group_of(client),
            member: reader.member.clone(),
            instance: instance_of(client),
            client: Client { id: ClientId::new("c").unwrap(), host: ClientHost::new("h").unwrap() },
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            protocol_type: if is_session { ProtocolType::session() } else { ProtocolType::new("consumer").unwrap() },
            protocols: vec![Protocol {
                name: ProtocolName::new(if is_session { "cooperative-sticky" } else { "range" }).unwrap(),
                metadata: Bytes::new(),
            }],
            subscription: Some(vec![TOPIC]),
            owned: reader.held.iter().copied().collect(),
            needs_known_id: client.is_multiple_of(4),
            can_skip_assignment: true,
        };
        self.ask(client, Command::Join(command));
    }

    fn identity(&self, client: usize) -> Option<Identity> {
        let (reader, instance) = (&self.readers[client], instance_of(client));
        reader.member.clone().map(|member| Identity { member, instance, generation: reader.generation })
    }

    fn new_offset(&mut self, by: Option<Identity>) -> Offset {
        let offset = u64::try_from(self.commits.len()).unwrap() + 1;
        self.commits.insert(offset, by);
        Offset::new(offset).unwrap()
    }

    fn commit(&mut self, client: usize, by: Option<Identity>) {
        let offset = self.new_offset(by.clone());
        let new = NewOffset { offset, leader_epoch: None, metadata: String::new() };
        let partition = at(u32::try_from(client).unwrap());
        self.promised.insert(Ticket::new(self.ticket + 1), offset.get());
        let offsets = vec![(partition, new)];
        self.send(Command::CommitOffsets(CommitOffsets {
            group: group_of(client),
            by,
            retention_ms: None,
            offsets,
            is_beginning: false,
        }));
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        for round in 0.. {
            assert!(round < 10_000, "time does not pass");
            let due = self.with_context(|sessions, _, _| sessions.next_deadline()).get();
            if due > end {
                break;
            }
            self.now_ms = self.now_ms.max(due);
            let decision = self.with_context(|sessions, image, context| sessions.tick(image, context));
            self.take(decision);
        }
        self.now_ms = end;
    }

    fn commit_log(&mut self, count: usize) {
        for _ in 0..count {
            let Some((position, records)) = self.in_flight.pop_front() else { return };
            for record in &records {
                self.check_record(record);
                self.image.replay(record);
                self.model(record);
            }
            self.entries += 1;
            self.image.replay_entry(LogIndex::new(self.entries), &[]);
            self.check_image();
            let replies = self.outbox.committed(position);
            self.tell(replies);
        }
    }

    /// The leader is gone; of what it proposed nothing more is committed.
    fn crash(&mut self) {
        self.in_flight.clear();
        if let Some(sessions) = self.sessions.take() {
            let lost: BTreeSet<_> = std::mem::take(&mut self.outbox).fail(sessions).into_iter().collect();
            for reader in &mut self.readers {
                if reader.waits_for.is_some_and(|ticket| lost.contains(&ticket)) {
                    reader.waits_for = None;
                }
            }
        }
        self.image = GroupsImage::from_bytes(&self.image.to_bytes()).unwrap();
    }

    fn check_record(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::GenerationStarted(started) => {
                let newest = self.generations.insert(started.group.clone(), started.generation);
                assert!(newest.is_none_or(|newest| newest < started.generation), "{newest:?} and then {record}");
            }
            GroupRecord::OffsetsCommitted { group, offsets, .. } => {
                for (_, committed) in offsets {
                    self.recorded.insert(committed.offset.get());
                    if let Some(Some(by)) = self.commits.get(&committed.offset.get()) {
                        let held = self.image.group(group).unwrap();
                        assert_eq!(held.generation, by.generation, "{record}");
                        assert!(held.members.iter().any(|member| member.id == by.member), "{record}");
                    }
                }
            }
            _ => {}
        }
    }

    /// What the records say of offsets, in the plainest words.
    fn model(&mut self, record: &GroupRecord) {
        let now = Timestamp::from_ms(i64::try_from(self.now_ms).unwrap());
        match record {
            GroupRecord::OffsetsCommitted { group, offsets, .. } => offsets.iter().for_each(|(at, committed)| {
                self.offsets.insert((group.clone(), *at), committed.offset.get());
            }),
            GroupRecord::OffsetsBegun { group, offsets, .. } => offsets.iter().for_each(|(at, begun)| {
                self.offsets.entry((group.clone(), *at)).or_insert(begun.offset.get());
            }),
            GroupRecord::OffsetsDeleted { group, partitions } => {
                self.offsets.retain(|(held, at), _| held != group || !partitions.contains(at));
            }
            GroupRecord::OffsetsExpired { group, partitions, .. } => {
                assert!(self.image.group(group).is_none_or(|group| group.members.is_empty()), "a live group");
                assert!(now.as_ms() >= 60_000);
                let image = &self.image;
                let is_kept = |at: &TopicPartition| image.group(group).is_some_and(|group| group.offsets.contains(*at));
                self.offsets.retain(|(held, at), _| held != group || !partitions.contains(at) || is_kept(at));
            }
            GroupRecord::GroupDeleted { group } => self.offsets.retain(|(held, _), _| held != group),
            GroupRecord::TopicDeleted { topic } => self.offsets.retain(|(_, at), _| at.topic != *topic),
            _ => {}
        }
    }

    fn check_image(&self) {
        let mut members = BTreeSet::new();
        let mut offsets = BTreeMap::new();
        for (id, group) in self.image.groups() {
            let mut owners = BTreeSet::new();
            for member in &group.members {
                assert!(members.insert(member.id.clone()), "{} is there twice", member.id);
                for partition in member.assignment.partitions() {
                    assert!(owners.insert(*partition), "{partition} has two owners");
                }
            }
            offsets.extend(group.offsets.iter().map(|(at, held)| ((id.clone(), at), held.offset.get())));
        }
        assert_eq!(offsets, self.offsets);
    }

    fn tell(&mut self, replies: Vec<Reply>) {
        for Reply { to, answer } in replies {
            if let (Some(offset), Answer::Commit(Ok(_))) = (self.promised.remove(&to), &answer) {
                assert!(self.recorded.contains(&offset), "a commit was answered before it was committed");
            }
            let waits = self.readers.iter().position(|reader| reader.waits_for == Some(to));
            if let Some(client) = waits {
                self.readers[client].waits_for = None;
                self.hear(client, answer);
            }
        }
    }

    fn hear(&mut self, client: usize, answer: Answer) {
        let reader = &mut self.readers[client];
        match answer {
            Answer::Join(Ok(Joined { generation, leader, member, members, skip_assignment, .. })) => {
                assert!(self.image.generation(&group_of(client)) >= generation, "it is not committed");
                reader.is_leader = leader.as_ref() == Some(&member) && !skip_assignment;
                reader.others = members.into_iter().map(|member| member.id).collect();
                (reader.generation, reader.member, reader.has_joined) = (generation, Some(member), true);
            }
            Answer::Join(Err(JoinError::MemberIdRequired { member, .. })) => reader.member = Some(member),
            Answer::Sync(Ok(Synced { assignment, .. })) => {
                let given: BTreeSet<_> = assignment.partitions().iter().copied().collect();
                reader.is_synced = true;
                self.check_not_held(client, &given);
                let reader = &mut self.readers[client];
                // What it was not given again it reads until its next step.
                reader.held.extend(&given);
                reader.given = given;
            }
            Answer::Join(Err(_)) => *reader = Reader::default(),
            Answer::Heartbeat(Err(highwater_groups::stream::command::HeartbeatError::Member(_)))
            | Answer::Sync(Err(highwater_groups::stream::command::SyncError::Member(_))) => {
                *reader = Reader { member: reader.member.take(), ..Reader::default() };
            }
            Answer::Heartbeat(Err(_)) | Answer::Sync(Err(_)) => (reader.has_joined, reader.is_synced) = (false, false),
            _ => {}
        }
    }

    /// Of the members of the group, only one reads a partition; those that were thrown out do not count.
    fn check_not_held(&self, client: usize, given: &BTreeSet<TopicPartition>) {
        let Some(group) = self.image.group(&group_of(client)) else { return };
        let me = &self.readers[client];
        if group.generation != me.generation {
            return;
        }
        for (_, other) in self.readers.iter().enumerate().filter(|(number, _)| *number != client) {
            let is_member = group.members.iter().any(|member| Some(&member.id) == other.member.as_ref());
            let new = given.difference(&me.held);
            for partition in new.filter(|_| is_member) {
                assert!(!other.held.contains(partition), "{partition} is still read by {:?}", other.member);
            }
        }
    }
}

proptest! {
    #[test]
    fn groups_keep_their_promises(ops in ops()) {
        let mut world = World::new();
        ops.into_iter().for_each(|op| world.run(op));
        // In the end all that was proposed is committed, and everybody who waited is told.
        world.commit_log(usize::MAX);
        world.wait(400_000);
        world.commit_log(usize::MAX);
        let waiting = world.readers.iter().filter(|reader| reader.waits_for.is_some()).count();
        prop_assert_eq!(waiting, 0);
    }
}
