//! A member as the records hold it: what it offered when it joined, and what it was given.
//!
//! Never: deadlines or who waits; those are volatile and stand in `sessions`.

use bytes::Bytes;
use highwater_types::{TopicId, TopicPartition};

use super::ids::{ClientHost, ClientId, InstanceId, MemberId, ProtocolName};

/// A way to assign that a member offers, and what it says to whoever assigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The name, which members vote for.
    pub name: ProtocolName,
    /// Opaque to the server.
    pub metadata: Bytes,
}

/// Who is behind a member, for people who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// What it calls itself.
    pub id: ClientId,
    /// Where it was last seen.
    pub host: ClientHost,
}

/// What a member was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// By the leader of the group; opaque to the server.
    Opaque(Bytes),
    /// By the server: sorted, each partition once.
    Partitions(Vec<TopicPartition>),
}

impl Default for Assignment {
    fn default() -> Self {
        Self::Opaque(Bytes::new())
    }
}

impl Assignment {
    /// The partitions, when the server assigned them.
    #[must_use]
    pub fn partitions(&self) -> &[TopicPartition] {
        match self {
            Self::Opaque(_) => &[],
            Self::Partitions(partitions) => partitions,
        }
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Its name over restarts, when it is a static member.
    pub instance: Option<InstanceId>,
    /// Who is behind it.
    pub client: Client,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: u32,
    /// How long it may take to join again when the group rebalances, in milliseconds.
    pub rebalance_timeout_ms: u32,
    /// What it offers, the preferred one first.
    pub protocols: Vec<Protocol>,
    /// The topics that it reads, sorted; `None` when the server cannot read its metadata.
    pub subscription: Option<Vec<TopicId>>,
    /// What it held when it last joined, and may hold until it has given it up. Only where the server assigns.
    pub owned: Vec<TopicPartition>,
    /// What it was given.
    pub assignment: Assignment,
}

impl Member {
    /// What it brings, in bytes: what the caps on members count.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        let protocols = self.protocols.iter().map(|protocol| protocol.name.as_str().len() + protocol.metadata.len());
        let topics = self.subscription.as_ref().map_or(0, Vec::len) * size_of::<TopicId>();
        let texts = [self.id.as_str().len(), self.client.id.as_str().len(), self.client.host.as_str().len()];
        protocols.sum::<usize>()
            + topics
            + self.owned.len() * size_of::<TopicPartition>()
            + texts.into_iter().sum::<usize>()
            + self.instance.as_ref().map_or(0, |instance| instance.as_str().len())
    }

    /// Whether it reads a topic, as far as the server can tell.
    #[must_use]
    pub fn may_read(&self, topic: TopicId) -> bool {
        self.subscription.as_ref().is_none_or(|topics| topics.binary_search(&topic).is_ok())
    }

    /// Its metadata for one protocol; empty when it does not offer it.
    #[must_use]
    pub fn metadata(&self, name: &ProtocolName) -> Bytes {
        let offered = self.protocols.iter().find(|protocol| protocol.name == *name);
        offered.map_or_else(Bytes::new, |protocol| protocol.metadata.clone())
    }

    /// Whether it offers a protocol.
    #[must_use]
    pub fn offers(&self, name: &ProtocolName) -> bool {
        self.protocols.iter().any(|protocol| protocol.name == *name)
    }

    /// Whether the server gave it a partition.
    pub(crate) fn was_given(&self, partition: TopicPartition) -> bool {
        self.assignment.partitions().binary_search(&partition).is_ok()
    }

    /// What it may be reading, as far as the server knows: what it was given, and what it has not given up. Sorted.
    pub(crate) fn may_hold(&self) -> Vec<TopicPartition> {
        let mut held = [self.assignment.partitions(), &self.owned].concat();
        held.sort_unstable();
        held.dedup();
        held
    }

    /// Whether it now holds less than it did of what it was to give up.
    pub(crate) fn has_given_up(&self, owned: &[TopicPartition]) -> bool {
        self.owned.iter().any(|at| !self.was_given(*at) && !owned.contains(at))
    }

    /// Takes over what it says of itself when it joins again. Of what it says it holds, only that counts which the
    /// server knows it may hold: nobody claims what another one was given since.
    pub(crate) fn update(&mut self, joined: Self) {
        let may_hold = self.may_hold();
        let Self { client, session_timeout_ms, rebalance_timeout_ms, protocols, subscription, mut owned, .. } = joined;
        owned.retain(|at| may_hold.binary_search(at).is_ok());
        (self.client, self.session_timeout_ms, self.rebalance_timeout_ms) =
            (client, session_timeout_ms, rebalance_timeout_ms);
        (self.protocols, self.subscription, self.owned) = (protocols, subscription, owned);
    }
}
