//! Joining, being given partitions, and giving them up.

use highwater_groups::stream::command::{JoinError, JoinGroup, SyncError, SyncGroup};
use highwater_groups::stream::{
    Answer, Assignor, Client, ClientHost, ClientId, Command, GenerationId, Protocol, ProtocolName, ProtocolType,
};
use highwater_types::{TopicId, TopicPartition};

use super::member::{End, Held, Member, Stage, id_of, partition_of};
use super::way::Said;
use crate::history::{GroupEvent, Partition};
use crate::workload::pause;

const SESSION_TIMEOUT_MS: u32 = 1_500;
const REBALANCE_TIMEOUT_MS: u32 = 2_000;

impl Member {
    /// Asks to be in the next generation; when nobody answers, it asks again at its next turn.
    pub async fn join(&mut self) -> Result<(), End> {
        self.must_join = true;
        let held: Vec<Partition> = self.held.keys().copied().collect();
        let joined = match self.way.ask(Command::Join(self.wish(&held)), false).await {
            Said::Answer(Answer::Join(Ok(joined))) => joined,
            Said::Answer(Answer::Join(Err(JoinError::MemberIdRequired { member, .. }))) => {
                self.id = Some(member);
                return Ok(());
            }
            Said::Answer(Answer::Join(Err(JoinError::Member(_)))) => return Err(End::Out),
            Said::Answer(Answer::Join(Err(JoinError::Superseded { .. }))) | Said::NotDone | Said::Unknown => {
                return Ok(());
            }
            Said::Answer(other) => {
                self.clients.history.object("members_may_join", format!("{}: {other:?}", self.life));
                return Err(End::Lost);
            }
        };
        self.id = Some(joined.member);
        let before = self.generation;
        let is_fenced = before.is_some_and(|before| joined.generation != before && joined.generation != before.next());
        if is_fenced {
            // The mark of an operator's seek: what was read before it does not count.
            let _ = self.leave().await;
            return Err(End::Lost);
        }
        self.sync(joined.generation, &held).await
    }

    async fn sync(&mut self, generation: GenerationId, held: &[Partition]) -> Result<(), End> {
        let Some(mut by) = self.identity().or_else(|| {
            let (member, instance) = (self.id.clone()?, self.instance.clone());
            Some(highwater_groups::stream::command::Identity { member, instance, generation })
        }) else {
            return Ok(());
        };
        by.generation = generation;
        let (group, assignments) = (self.group.id.clone(), Vec::new());
        let sync = SyncGroup { group, by, protocol_type: None, protocol: None, assignments };
        match self.way.ask(Command::Sync(sync), false).await {
            Said::Answer(Answer::Sync(Ok(synced))) => {
                self.place(generation, held, synced.assignment.partitions());
                Ok(())
            }
            Said::Answer(Answer::Sync(Err(SyncError::Member(_)))) => Err(End::Out),
            // It joins again.
            _ => Ok(()),
        }
    }

    fn place(&mut self, generation: GenerationId, held: &[Partition], given: &[TopicPartition]) {
        (self.generation, self.must_join) = (Some(generation), false);
        let given: Vec<Partition> = given.iter().map(|at| partition_of(*at)).collect();
        let (life, held) = (self.life, held.to_vec());
        self.tell(GroupEvent::Joined { life, generation: generation.get(), held, given: given.clone() });
        // A static member that came back has taken the seat of its last life.
        if let Some(ghost) = self.ghost.as_mut().filter(|ghost| ghost.by.instance.is_some() && !ghost.is_gone) {
            ghost.is_gone = true;
            let life = ghost.life;
            self.tell(GroupEvent::Gone { life });
        }
        let lost: Vec<Partition> = self.held.keys().filter(|at| !given.contains(at)).copied().collect();
        for partition in lost {
            match self.held[&partition].stage {
                Stage::Starting => {
                    self.release(partition);
                    self.must_join = true;
                }
                Stage::Reading | Stage::Revoked => self.held.get_mut(&partition).unwrap().stage = Stage::Revoked,
            }
        }
        for partition in given {
            let Some(topic) = self.topics.iter().find(|topic| topic.id == partition.topic).cloned() else { continue };
            let to = *self.dice.pick(&self.clients.nodes);
            let new = Held { topic, stage: Stage::Starting, next: 0, committed: 0, to };
            self.held.entry(partition).or_insert(new);
        }
    }

    /// Releases what it was not given again, and joins without it. Sometimes it takes too long.
    pub async fn give_up(&mut self) -> Result<(), End> {
        let revoked = |(at, held): (&Partition, &Held)| (held.stage == Stage::Revoked).then_some(*at);
        let revoked: Vec<Partition> = self.held.iter().filter_map(revoked).collect();
        if revoked.is_empty() {
            return Ok(());
        }
        if self.dice.percent(10) && !self.clients.is_ending.get() {
            pause(&mut self.dice, 500..=3_000).await;
        }
        if self.dice.percent(80) {
            self.commit().await?;
        }
        revoked.into_iter().for_each(|partition| self.release(partition));
        self.must_join = true;
        Ok(())
    }

    fn release(&mut self, partition: Partition) {
        self.held.remove(&partition);
        self.tell(GroupEvent::Released { life: self.life, partition });
    }

    fn wish(&self, held: &[Partition]) -> JoinGroup {
        let name = ProtocolName::new(Assignor::CooperativeSticky.name()).unwrap();
        JoinGroup {
            group: self.group.id.clone(),
            member: self.id.clone(),
            instance: self.instance.clone(),
            client: Client { id: ClientId::new("sim").unwrap(), host: ClientHost::new("clients").unwrap() },
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            protocol_type: ProtocolType::session(),
            protocols: vec![Protocol { name, metadata: bytes::Bytes::new() }],
            subscription: Some(self.topics.iter().map(|topic| TopicId::from_bytes(topic.id)).collect()),
            owned: held.iter().map(|at| id_of(*at)).collect(),
            needs_known_id: self.id.is_none() && self.instance.is_none(),
            can_skip_assignment: true,
        }
    }
}
