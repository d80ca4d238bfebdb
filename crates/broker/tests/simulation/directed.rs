//! Schedules that are aimed at one bug each: the same world, network and invariants as in the runs by chance, but every
//! step is chosen. They must pass without the bug.

pub mod queues;

use std::cell::RefCell;
use std::rc::Rc;

use highwater_groups::stream::command::{CommitOffsets, NewOffset};
use highwater_groups::stream::{Answer, Command, GroupId};
use highwater_metadata::GROUPS_TOPIC;
use highwater_storage::disk::Disk;
use highwater_storage::disk::sim::CrashMode;
use highwater_types::{ErrorCode, Offset, PartitionId, TopicId, TopicName, TopicPartition};

use crate::front::{Request, Response};
use crate::history::{By, Event, GroupEvent, Outcome, Partition};
use crate::network::Machine;
use crate::trace::{note, now};
use crate::workload::producer;
use crate::world::World;

/// How long something may take that the schedule waits for, in virtual milliseconds.
const SOON_MS: u64 = 10_000;

/// A follower's log is damaged in its middle; it and one that was away must not elect a leader that lacks what was
/// acknowledged behind the damage.
pub fn damage_in_the_middle(world: &mut World) {
    let Some((_, [leader, damaged, away])) = world.prepare() else { return };
    world.crash(away, CrashMode::KeepAll);
    // Behind what the checkpoint holds: a log that ends before that is found out by it.
    world.store(1);
    let (path, position) = world.end_of_log(damaged);
    world.store(4);
    world.crash(damaged, CrashMode::KeepAll);
    world.crash(leader, CrashMode::KeepAll);
    let disk = world.host(damaged).disk.reboot();
    disk.flip_bit(&path, position, 3).unwrap();
    note!("a bit of {} at {position} is flipped on machine {damaged}", path.display());
    world.host(damaged).disk = disk;
    world.start(damaged);
    world.start(away);
    world.go_on_without(leader);
}

/// A voter loses its power after its vote has made a leader, before anything else is on its disk. It must not vote again
/// in that term.
pub fn forgotten_vote(world: &mut World) {
    let Some((_, [first, one, other])) = world.prepare() else { return };
    world.hosts.iter_mut().for_each(|host| host.disk_ms_max = 300);
    world.crash(first, CrashMode::KeepAll);
    let mut elected = None;
    world.within(3 * SOON_MS, |world| {
        elected = world.leader().filter(|leader| *leader != first);
        elected.is_some()
    });
    let Some(elected) = elected else { return world.history.object("it_elects", "nobody was elected".to_owned()) };
    let voter = if elected == one { other } else { one };
    world.crash(voter, CrashMode::LosePending);
    world.cut_off(elected);
    world.hosts.iter_mut().for_each(|host| host.disk_ms_max = 2);
    world.start(first);
    world.start(voter);
    world.within(SOON_MS, |world| world.leads(first) || world.leads(voter));
    world.heal();
    world.finish();
}

/// A node comes back empty. It and one that was away must not elect a leader that lacks what the wiped one had
/// acknowledged.
pub fn wiped_voter(world: &mut World) {
    let Some((_, [leader, one, other])) = world.prepare() else { return };
    // The first voter founds clusters, and comes back in another way.
    let (wiped, away) = if one == 1 { (other, one) } else { (one, other) };
    world.crash(away, CrashMode::KeepAll);
    world.store(5);
    world.crash(wiped, CrashMode::KeepAll);
    world.host(wiped).wipe();
    world.start(wiped);
    let has_a_place = |world: &mut World| world.host(wiped).disk.open("/data/identity".as_ref()).is_ok();
    world.within(SOON_MS, has_a_place);
    world.crash(leader, CrashMode::KeepAll);
    world.start(away);
    world.go_on_without(leader);
}

/// A leader is held while another is elected and acknowledges. It goes on cut off from the others, and is asked for the
/// end before anybody can tell it.
pub fn leader_that_was_held(world: &mut World) {
    let Some((topic, [held, ..])) = world.prepare() else { return };
    world.cut_off(held);
    let now = world.now;
    world.host(held).hold(now);
    let another = |world: &mut World| world.leader().is_some_and(|leader| leader != held);
    if !world.until("another leader is elected", another) {
        return;
    }
    world.store(3);
    let now = world.now;
    world.host(held).release(now);
    world.ask_for_the_end(held, &topic);
    world.heal();
    world.finish();
}

/// A node alone is stopped in order while a commit is on its way to its slow disk. What it says of the commit must hold
/// when it is back.
pub fn stopped_while_committing(world: &mut World) {
    if !world.form() {
        return;
    }
    let name = TopicName::new(GROUPS_TOPIC).unwrap();
    world.ask(1, Request::Create { topic: name, partitions: 1, replicas: 1 });
    let group = GroupId::new("group").unwrap();
    let partition = Partition { topic: [7; 16], number: 0 };
    let at = TopicPartition { topic: TopicId::from_bytes(partition.topic), partition: PartitionId::new(0) };
    let fetch = || {
        let command = Command::FetchOffsets { group: group.clone(), partitions: Some(vec![at]) };
        Request::Group { group: group.clone(), command, confirms: true }
    };
    if !world.until("there is a coordinator", |world| matches!(world.ask(1, fetch()), Some(Response::Group(_)))) {
        return;
    }
    world.host(1).disk_ms_max = 400;
    let offset = NewOffset { offset: Offset::new(5).unwrap(), leader_epoch: None, metadata: String::new() };
    let (by, retention_ms, offsets) = (None, None, vec![(at, offset)]);
    let commit =
        Command::CommitOffsets(CommitOffsets { group: group.clone(), by, retention_ms, offsets, is_beginning: false });
    let began = GroupEvent::SetBegan { number: 1, group: 0, by: By::Seek, offsets: vec![(partition, 5)] };
    world.history.tell(&Event::Group(began));
    let said = world.begin_to_ask(1, Request::Group { group: group.clone(), command: commit, confirms: false });
    world.steps(10);
    world.host(1).stop();
    world.within(SOON_MS, |_| said.borrow().is_some());
    let said = said.take().flatten();
    note!("the commit was answered: {said:?}");
    let outcome = match said {
        Some(Response::Group(_)) => Outcome::Done,
        None | Some(Response::Refused { code: ErrorCode::OutcomeUnknown, .. }) => Outcome::Unknown,
        Some(_) => Outcome::Refused,
    };
    world.history.tell(&Event::Group(GroupEvent::SetEnded { number: 1, outcome }));
    world.host(1).disk_ms_max = 2;
    // Not in the same millisecond, which would leave open what was before what.
    world.steps(5);
    world.until("the coordinator is back", |world| {
        let since = now();
        let Some(Response::Group(Answer::Fetch(Ok(found)))) = world.ask(1, fetch()) else { return false };
        let told = found.first().and_then(|(_, found)| Some(found.as_ref()?.offset.get()));
        let fetched = GroupEvent::Fetched { group: 0, since, offsets: vec![(partition, told)] };
        world.history.tell(&Event::Group(fetched));
        true
    });
}

type Topic = (TopicName, Partition);
type Said = Rc<RefCell<Option<Option<Response>>>>;

impl World {
    /// A cluster with a topic of one partition, and three records on each replica. Returns the leader first.
    fn prepare(&mut self) -> Option<(Topic, [Machine; 3])> {
        if !self.form() {
            return None;
        }
        let name = TopicName::new("topic").unwrap();
        let request = Request::Create { topic: name.clone(), partitions: 1, replicas: 3 };
        let Some(Response::Topic { id, .. }) = self.ask(1, request) else {
            self.history.object("topics_can_be_made", "the topic was not made".to_owned());
            return None;
        };
        let partition = Partition { topic: id, number: 0 };
        self.history.tell(&Event::Created { topic: id, name: name.to_string() });
        self.store(3);
        if !self.until("all replicas have the first records", Self::have_caught_up) {
            return None;
        }
        // What the followers have is on their disks.
        self.steps(1_000);
        let leader = self.leader()?;
        let followers: Vec<Machine> = self.clients.nodes.iter().copied().filter(|node| *node != leader).collect();
        Some(((name, partition), [leader, followers[0], followers[1]]))
    }

    fn host(&mut self, machine: Machine) -> &mut crate::host::Host {
        self.hosts.iter_mut().find(|host| host.machine == machine).unwrap()
    }

    fn crash(&mut self, machine: Machine, mode: CrashMode) {
        self.host(machine).crash(mode);
    }

    /// Nothing passes between a machine and the other nodes; clients reach it.
    fn cut_off(&mut self, machine: Machine) {
        note!("machine {machine} is cut off");
        let nodes = self.clients.nodes.clone();
        let others = nodes.iter().filter(|other| **other != machine);
        self.network.state().cuts.extend(others.flat_map(|other| [(machine, *other), (*other, machine)]));
    }

    /// Whether it leads the topic's partition and serves, or thinks so.
    fn leads(&mut self, machine: Machine) -> bool {
        self.host(machine).led_partitions() > 0
    }

    /// The machine that leads in the newest term.
    fn leader(&mut self) -> Option<Machine> {
        let up = self.hosts.iter().filter(|host| !host.is_held() && host.led_partitions() > 0);
        up.map(|host| host.machine).next()
    }

    /// Lets the two others elect a leader, if they can, and take records; then the former leader comes back.
    fn go_on_without(&mut self, leader: Machine) {
        if self.within(SOON_MS, |world| world.leader().is_some_and(|elected| elected != leader)) {
            self.store(2);
        }
        self.heal();
        self.finish();
    }

    /// Has records stored, one after another.
    fn store(&mut self, count: u64) {
        let (name, mut dice) = (TopicName::new("topic").unwrap(), self.clients.dice());
        let client = self.clients.number();
        for _ in 0..count {
            let is_stored = self.until("a record is stored", |world| {
                let Some(to) = world.leader() else { return false };
                let Some(partition) = world.host(to).partition(&name) else { return false };
                let values = vec![world.clients.value()];
                let (producer, batch) = (client, producer::batch(&values, None, &mut dice));
                let sent = Event::Sent { partition, producer, values: values.clone(), is_idempotent: false };
                world.history.tell(&sent);
                match world.ask(to, Request::Produce { topic: name.clone(), partition: 0, batch }) {
                    Some(Response::Stored { base, .. }) => {
                        world.history.tell(&Event::Acked { partition, producer, base, values });
                        true
                    }
                    _ => false,
                }
            });
            if !is_stored {
                return;
            }
        }
    }

    fn ask_for_the_end(&mut self, machine: Machine, (name, partition): &Topic) {
        let since = now();
        let answer = self.ask(machine, Request::End { topic: name.clone(), partition: 0 });
        note!("machine {machine} was asked for the end: {answer:?}");
        if let Some(Response::End(end)) = answer {
            self.history.tell(&Event::End { partition: *partition, end, since });
        }
    }

    /// Asks a node, and waits for its answer.
    fn ask(&mut self, to: Machine, request: Request) -> Option<Response> {
        let answer = self.begin_to_ask(to, request);
        self.within(SOON_MS, |_| answer.borrow().is_some());
        answer.take().flatten()
    }

    /// Asks a node; the answer comes while other things are done.
    fn begin_to_ask(&mut self, to: Machine, request: Request) -> Said {
        let answer = Said::default();
        let call = self.network.call(self.clients.number(), to, request);
        let place = Rc::clone(&answer);
        self.local.spawn_local(async move { *place.borrow_mut() = Some(call.await) });
        answer
    }

    /// The segment of the topic's partition on a machine, and where the last byte in it is.
    fn end_of_log(&mut self, machine: Machine) -> (std::path::PathBuf, u64) {
        let host = self.host(machine);
        let key = host.partition(&TopicName::new("topic").unwrap()).unwrap();
        let hex: String = key.topic.iter().map(|byte| format!("{byte:02x}")).collect();
        let is_its_segment = |path: &std::path::Path| {
            let text = path.to_string_lossy().replace('-', "");
            text.contains(&hex) && path.extension().is_some_and(|extension| extension == "segment")
        };
        let files = host.files();
        let Some((path, bytes)) = files.iter().find(|(path, _)| is_its_segment(path)) else {
            panic!("no segment of {hex} among {files:?}")
        };
        let mut content = vec![0; usize::try_from(*bytes).unwrap()];
        host.disk.open(path).unwrap().read_at(0, &mut content).unwrap();
        let last = content.iter().rposition(|byte| *byte != 0).unwrap();
        (path.clone(), last as u64)
    }
}
