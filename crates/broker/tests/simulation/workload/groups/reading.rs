//! Where a member begins, what it reads, and what it commits.

use highwater_groups::stream::command::{CommitError, CommitOffsets, Identity, NewOffset};
use highwater_groups::stream::{Answer, Command};
use highwater_types::{ErrorCode, Offset};

use super::member::{End, Member, Stage, id_of, partition_of};
use super::way::{Said, Way};
use crate::front::{Request, Response};
use crate::history::{By, Event, GroupEvent, Life, Outcome, Partition};
use crate::trace::now;
use crate::workload::next_guess;

/// How many partitions a member reads from in one turn.
const READS: usize = 3;

impl Member {
    /// Looks up where it begins with what it was given.
    pub async fn begin(&mut self) {
        let new = self.held.iter().filter(|(_, held)| held.stage == Stage::Starting && !held.topic.is_going.get());
        let new: Vec<Partition> = new.map(|(at, _)| *at).collect();
        if new.is_empty() {
            return;
        }
        // A session asks whoever coordinates it, and does not have that confirmed.
        let confirms = self.dice.percent(50);
        let Some(offsets) = fetch(&mut self.way, &new, confirms).await else { return };
        for (partition, offset) in offsets {
            let held = self.held.get_mut(&partition).unwrap();
            let offset = offset.unwrap_or(0);
            (held.next, held.committed, held.stage) = (offset, offset, Stage::Reading);
            self.tell(GroupEvent::Begun { life: self.life, partition, offset });
        }
    }

    /// Reads on in a few of its partitions.
    pub async fn poll(&mut self) {
        let read = self.held.iter().filter(|(_, held)| held.stage == Stage::Reading && !held.topic.is_going.get());
        let read: Vec<Partition> = read.map(|(at, _)| *at).collect();
        let begin = self.dice.index(read.len());
        for partition in read.iter().cycle().skip(begin).take(READS.min(read.len())).copied() {
            self.poll_one(partition).await;
        }
    }

    async fn poll_one(&mut self, partition: Partition) {
        let held = &self.held[&partition];
        let (since, from, to, topic) = (now(), held.next, held.to, held.topic.clone());
        let request = Request::Read { topic: topic.name.clone(), partition: partition.number, from };
        match self.clients.network.call(self.life.number, to, request).await {
            Some(Response::Records(read)) => {
                // Whole batches come; the client leaves out what lies before its position.
                let (mut records, next) = (read.records.clone(), read.next);
                records.retain(|(offset, _)| *offset >= from);
                self.clients.history.tell(&Event::WasRead { partition, from, read, since });
                self.tell(GroupEvent::Polled { life: self.life, partition, from, records, next });
                self.held.get_mut(&partition).unwrap().next = next;
            }
            Some(Response::Refused { code: ErrorCode::OffsetOutOfRange, words, .. }) if !topic.is_going.get() => {
                let words = format!("{}: {partition} was read up to {from}: {words}", self.life);
                self.clients.history.object("readers_are_not_sent_away", words);
            }
            other => {
                let to = next_guess(other.as_ref(), &self.clients.nodes, &mut self.dice);
                self.held.get_mut(&partition).unwrap().to = to;
            }
        }
    }

    /// Commits what it has read.
    pub async fn commit(&mut self) -> Result<(), End> {
        let Some(by) = self.identity() else { return Ok(()) };
        let read = self.held.iter().filter(|(_, held)| held.stage != Stage::Starting && held.next > held.committed);
        let offsets: Vec<(Partition, u64)> = read.map(|(at, held)| (*at, held.next)).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        match commit(&mut self.way, self.life, by, &offsets).await {
            Said::Answer(Answer::Commit(Ok(_))) => {
                for (partition, offset) in offsets {
                    self.held.get_mut(&partition).unwrap().committed = offset;
                }
            }
            Said::Answer(Answer::Commit(Err(CommitError::RebalanceInProgress { .. }))) => self.must_join = true,
            Said::Answer(Answer::Commit(Err(CommitError::Member(_)))) => return Err(End::Out),
            Said::Answer(other) => {
                self.clients.history.object("members_may_commit", format!("{}: {other:?}", self.life));
            }
            Said::NotDone | Said::Unknown => {}
        }
        Ok(())
    }
}

/// Commits offsets as somebody, and tells the history.
pub(super) async fn commit(way: &mut Way, life: Life, by: Identity, offsets: &[(Partition, u64)]) -> Said {
    let (number, history) = (way.clients.number(), way.clients.history.clone());
    let (group, offsets) = (life.group, offsets.to_vec());
    let told = By::Member { life, generation: by.generation.get() };
    history.tell(&Event::Group(GroupEvent::SetBegan { number, group, by: told, offsets: offsets.clone() }));
    let new = |offset| NewOffset { offset: Offset::new(offset).unwrap(), leader_epoch: None, metadata: String::new() };
    let offsets = offsets.into_iter().map(|(at, offset)| (id_of(at), new(offset))).collect();
    let command =
        CommitOffsets { group: way.group.id.clone(), by: Some(by), retention_ms: None, offsets, is_beginning: false };
    let said = way.ask(Command::CommitOffsets(command), false).await;
    let outcome = match &said {
        Said::Answer(Answer::Commit(Ok(_))) => Outcome::Done,
        Said::Answer(_) | Said::NotDone => Outcome::Refused,
        Said::Unknown => Outcome::Unknown,
    };
    history.tell(&Event::Group(GroupEvent::SetEnded { number, outcome }));
    said
}

/// The group's offsets in these partitions, without those whose topic is going; nothing when nobody could say. Those that
/// are confirmed are judged.
pub(super) async fn fetch(
    way: &mut Way,
    partitions: &[Partition],
    confirms: bool,
) -> Option<Vec<(Partition, Option<u64>)>> {
    let since = now();
    let asked = partitions.iter().map(|at| id_of(*at)).collect();
    let fetch = Command::FetchOffsets { group: way.group.id.clone(), partitions: Some(asked) };
    let Said::Answer(Answer::Fetch(Ok(found))) = way.ask(fetch, confirms).await else { return None };
    let live: Vec<[u8; 16]> = way.clients.topics.borrow().iter().map(|topic| topic.id).collect();
    let offsets = found.into_iter().map(|(at, found)| (partition_of(at), found.map(|found| found.offset.get())));
    let offsets: Vec<_> = offsets.filter(|(at, _)| live.contains(&at.topic)).collect();
    if confirms {
        let (group, offsets) = (way.group.number, offsets.clone());
        way.clients.history.tell(&Event::Group(GroupEvent::Fetched { group, since, offsets }));
    }
    Some(offsets)
}
