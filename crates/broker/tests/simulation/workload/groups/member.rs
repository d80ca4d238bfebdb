//! A member in one of its lives: what it is, what it holds, and the loop of what it does.
//!
//! It asks for one thing at a time. How it joins stands in `joining`, how it reads and commits in `reading`, and what it
//! should not do in `mischief`.

use std::collections::BTreeMap;

use highwater_groups::stream::command::{HeartbeatError, Identity, Leaver};
use highwater_groups::stream::{Answer, Command, GenerationId, InstanceId, MemberId};
use highwater_types::{PartitionId, TopicId, TopicPartition};

use super::KnownGroup;
use super::way::{Said, Way};
use crate::dice::Dice;
use crate::history::{Event, GroupEvent, Life, Partition};
use crate::network::Machine;
use crate::trace::now;
use crate::workload::{Clients, KnownTopic, pause};

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has left, and was told so.
    Left,
    /// Without a word.
    Died,
    /// The group has no such member any more.
    Out,
    /// The group was made to go on elsewhere, or it could not be told that the member leaves.
    Lost,
}

/// Where a partition stands between being given and being released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Reading,
    Revoked,
}

pub(super) struct Held {
    pub topic: KnownTopic,
    pub stage: Stage,
    /// The next offset to read.
    pub next: u64,
    pub committed: u64,
    /// Who is thought to lead it.
    pub to: Machine,
}

/// A life that is over.
pub(super) struct Ghost {
    pub life: Life,
    pub by: Identity,
    /// Whether the group knows that, so that nothing it says may be taken.
    pub is_gone: bool,
}

pub(super) struct Member {
    pub clients: Clients,
    pub group: KnownGroup,
    pub life: Life,
    pub way: Way,
    pub id: Option<MemberId>,
    pub instance: Option<InstanceId>,
    pub generation: Option<GenerationId>,
    pub topics: Vec<KnownTopic>,
    pub held: BTreeMap<Partition, Held>,
    pub must_join: bool,
    pub ghost: Option<Ghost>,
    pub dice: Dice,
    beat_at: u64,
}

impl Member {
    pub fn new(
        clients: Clients,
        group: KnownGroup,
        life: Life,
        instance: Option<InstanceId>,
        ghost: Option<Ghost>,
    ) -> Self {
        Self {
            life,
            way: Way::new(&clients, &group),
            id: None,
            instance,
            generation: None,
            topics: Vec::new(),
            held: BTreeMap::new(),
            must_join: true,
            ghost,
            dice: clients.dice(),
            beat_at: 0,
            clients,
            group,
        }
    }

    /// Lasts until it ends.
    pub async fn live(&mut self) -> End {
        loop {
            if self.group.is_over.get() {
                return self.leave().await;
            }
            if let Err(end) = self.turn().await {
                return end;
            }
            pause(&mut self.dice, 30..=300).await;
        }
    }

    async fn turn(&mut self) -> Result<(), End> {
        let topics = self.clients.topics.borrow().clone();
        if topics.is_empty() {
            return Ok(());
        }
        let ids = |topics: &[KnownTopic]| topics.iter().map(|topic| topic.id).collect::<Vec<_>>();
        if self.must_join || ids(&topics) != ids(&self.topics) {
            self.topics = topics;
            return self.join().await;
        }
        if now() >= self.beat_at {
            self.beat_at = now() + self.dice.between(300..=700);
            self.beat().await?;
        }
        self.begin().await;
        self.poll().await;
        if self.dice.percent(40) {
            self.commit().await?;
        }
        self.give_up().await?;
        if self.clients.is_ending.get() { Ok(()) } else { self.misbehave().await }
    }

    async fn beat(&mut self) -> Result<(), End> {
        let Some(by) = self.identity() else { return Ok(()) };
        let beat = Command::Heartbeat { group: self.group.id.clone(), by };
        match self.way.ask(beat, false).await {
            Said::Answer(Answer::Heartbeat(Err(HeartbeatError::RebalanceInProgress { .. }))) => self.must_join = true,
            Said::Answer(Answer::Heartbeat(Err(HeartbeatError::Member(_)))) => return Err(End::Out),
            _ => {}
        }
        Ok(())
    }

    /// Leaves; whoever cannot be told finds out by the session time-out.
    pub async fn leave(&mut self) -> End {
        let Some(id) = self.id.clone() else { return End::Left };
        let members = vec![Leaver { member: Some(id), instance: self.instance.clone() }];
        match self.way.ask(Command::Leave { group: self.group.id.clone(), members }, false).await {
            Said::Answer(_) => End::Left,
            _ => End::Lost,
        }
    }

    /// Who it is in its generation; nothing before it is in one.
    pub fn identity(&self) -> Option<Identity> {
        let (member, generation) = (self.id.clone()?, self.generation?);
        Some(Identity { member, instance: self.instance.clone(), generation })
    }

    pub fn tell(&self, event: GroupEvent) {
        self.clients.history.tell(&Event::Group(event));
    }

    /// What remains of it.
    pub fn into_ghost(self, end: End) -> Option<Ghost> {
        let is_gone = matches!(end, End::Left | End::Out);
        if is_gone {
            self.tell(GroupEvent::Gone { life: self.life });
        }
        self.identity().map(|by| Ghost { life: self.life, by, is_gone })
    }
}

pub(super) fn id_of(partition: Partition) -> TopicPartition {
    TopicPartition { topic: TopicId::from_bytes(partition.topic), partition: PartitionId::new(partition.number) }
}

pub(super) fn partition_of(id: TopicPartition) -> Partition {
    Partition { topic: id.topic.to_bytes(), number: id.partition.get() }
}
