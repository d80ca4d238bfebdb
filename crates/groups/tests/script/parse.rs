//! Lines of a script as commands.

use bytes::Bytes;
use highwater_groups::stream::command::{
    CommitOffsets, GroupState, Identity, JoinGroup, Leaver, NewOffset, SeekOffsets, SyncGroup,
};
use highwater_groups::stream::{
    Client, ClientHost, ClientId, Command, GenerationId, GroupId, InstanceId, MemberId, Protocol, ProtocolName,
    ProtocolType,
};
use highwater_types::{LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};

/// The words of a command: at most one name, and `key=value` pairs. A word that begins with `+` is a switch.
pub(crate) struct Words {
    name: Option<String>,
    pairs: Vec<(String, String)>,
}

impl Words {
    pub(crate) fn new(words: &str) -> Self {
        let (mut name, mut pairs) = (None, Vec::new());
        for word in words.split_whitespace() {
            match (word.split_once('='), word.strip_prefix('+')) {
                (_, Some(switch)) => pairs.push((switch.to_owned(), String::new())),
                (Some((key, value)), _) => pairs.push((key.to_owned(), value.to_owned())),
                (None, None) => name = Some(word.to_owned()),
            }
        }
        Self { name, pairs }
    }

    pub(crate) fn name(&self) -> String {
        self.name.clone().unwrap()
    }

    pub(crate) fn number(&mut self, key: &str) -> Option<u32> {
        self.take(key).map(|text| text.parse().unwrap())
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(found, _)| found == key)?;
        Some(self.pairs.remove(at).1)
    }

    fn group(&self) -> GroupId {
        GroupId::new(&self.name()).unwrap()
    }

    fn member(&mut self) -> Option<MemberId> {
        self.take("member").map(|text| member(&text))
    }

    fn instance(&mut self) -> Option<InstanceId> {
        self.take("instance").map(|text| InstanceId::new(&text).unwrap())
    }

    fn identity(&mut self) -> Option<Identity> {
        let (member, instance, generation) = (self.member(), self.instance(), self.number("generation"));
        let generation = GenerationId::new(generation.unwrap_or(1).try_into().unwrap());
        member.map(|member| Identity { member, instance, generation })
    }

    fn partitions(&mut self, key: &str) -> Option<Vec<TopicPartition>> {
        self.take(key).map(|text| text.split(',').filter(|text| !text.is_empty()).map(partition).collect())
    }

    /// What is left are offsets by partition: `orders-0=10@3:text`.
    fn offsets(&mut self) -> Vec<(TopicPartition, NewOffset)> {
        std::mem::take(&mut self.pairs).iter().map(|(at, value)| (partition(at), new_offset(value))).collect()
    }
}

/// `a#1` is the id that was made of the nonce 1.
fn member(text: &str) -> MemberId {
    match text.split_once('#') {
        Some((name, nonce)) => MemberId::fresh(name, nonce.parse().unwrap()),
        None => MemberId::new(text).unwrap(),
    }
}

/// A topic's id is its name.
pub(crate) fn topic(name: &str) -> TopicId {
    let mut bytes = [b'.'; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    TopicId::from_bytes(bytes)
}

fn partition(text: &str) -> TopicPartition {
    let (name, number) = text.rsplit_once('-').unwrap();
    TopicPartition { topic: topic(name), partition: PartitionId::new(number.parse().unwrap()) }
}

fn new_offset(text: &str) -> NewOffset {
    let (rest, metadata) = text.split_once(':').unwrap_or((text, ""));
    let (offset, epoch) = rest.split_once('@').map_or((rest, None), |(offset, epoch)| (offset, Some(epoch)));
    NewOffset {
        offset: Offset::new(offset.parse().unwrap()).unwrap(),
        leader_epoch: epoch.map(|epoch| LeaderEpoch::new(epoch.parse().unwrap())),
        // `long*5000` is so many bytes of text.
        metadata: metadata
            .strip_prefix("long*")
            .map_or(metadata.to_owned(), |count| "x".repeat(count.parse().unwrap())),
    }
}

fn protocols(text: &str) -> Vec<Protocol> {
    let protocol = |text: &str| {
        let (name, metadata) = text.split_once(':').unwrap_or((text, ""));
        Protocol { name: ProtocolName::new(name).unwrap(), metadata: Bytes::copy_from_slice(metadata.as_bytes()) }
    };
    text.split(',').map(protocol).collect()
}

fn join(words: &mut Words) -> JoinGroup {
    let is_session = words.take("session").is_some();
    let client = words.take("client").unwrap_or_default();
    JoinGroup {
        group: words.group(),
        member: words.member(),
        instance: words.instance(),
        client: Client { id: ClientId::new(&client).unwrap(), host: ClientHost::new("10.0.0.1").unwrap() },
        session_timeout_ms: words.number("session_ms").unwrap_or(10_000),
        rebalance_timeout_ms: words.number("rebalance_ms").unwrap_or(20_000),
        protocol_type: match words.take("type") {
            Some(text) => ProtocolType::new(&text).unwrap(),
            None if is_session => ProtocolType::session(),
            None => ProtocolType::new("consumer").unwrap(),
        },
        protocols: protocols(&words.take("protocols").unwrap_or_else(|| "range".to_owned())),
        subscription: words.take("reads").map(|text| text.split(',').map(topic).collect()),
        owned: words.partitions("owned").unwrap_or_default(),
        needs_known_id: words.take("handshake").is_some(),
        can_skip_assignment: words.take("skip").is_some(),
    }
}

fn sync(words: &mut Words) -> SyncGroup {
    let (group, by) = (words.group(), words.identity().unwrap());
    let given = |(id, value): &(String, String)| (member(id), Bytes::copy_from_slice(value.as_bytes()));
    SyncGroup {
        group,
        by,
        protocol_type: None,
        protocol: words.take("protocol").map(|text| ProtocolName::new(&text).unwrap()),
        assignments: std::mem::take(&mut words.pairs).iter().map(given).collect(),
    }
}

pub(crate) fn command(verb: &str, words: &mut Words) -> Command {
    match verb {
        "join" => Command::Join(join(words)),
        "sync" => Command::Sync(sync(words)),
        "heartbeat" => Command::Heartbeat { group: words.group(), by: words.identity().unwrap() },
        "leave" => {
            let group = words.group();
            let mut members = Vec::new();
            while words.pairs.iter().any(|(key, _)| key == "member" || key == "instance") {
                members.push(Leaver { member: words.member(), instance: words.instance() });
            }
            Command::Leave { group, members }
        }
        "commit" => {
            let (group, by) = (words.group(), words.identity());
            let retention_ms = words.number("retention_ms").map(u64::from);
            let is_beginning = words.take("begin").is_some();
            Command::CommitOffsets(CommitOffsets { group, by, retention_ms, offsets: words.offsets(), is_beginning })
        }
        "fetch" => Command::FetchOffsets { group: words.group(), partitions: words.partitions("partitions") },
        "describe" => Command::DescribeGroup { group: words.group() },
        "list" => {
            let states = words.take("states").unwrap_or_default();
            Command::ListGroups { states: states.split(',').filter(|text| !text.is_empty()).map(state).collect() }
        }
        "delete" => Command::DeleteGroup { group: words.group() },
        "delete-offsets" => {
            Command::DeleteOffsets { group: words.group(), partitions: words.partitions("partitions").unwrap() }
        }
        "seek" => {
            let (group, is_forced) = (words.group(), words.take("force").is_some());
            let offsets = words.offsets().into_iter().map(|(at, new)| (at, new.offset)).collect();
            Command::SeekOffsets(SeekOffsets { group, offsets, is_forced })
        }
        "topic-deleted" => Command::TopicDeleted { topic: topic(&words.name()) },
        "topic-grown" => Command::TopicGrown { topic: topic(&words.name()) },
        "fence" => Command::FenceMember { group: words.group(), member: words.member().unwrap() },
        _ => panic!("no such command: {verb}"),
    }
}

fn state(text: &str) -> GroupState {
    match text {
        "Empty" => GroupState::Empty,
        "Stable" => GroupState::Stable,
        "PreparingRebalance" => GroupState::PreparingRebalance,
        "CompletingRebalance" => GroupState::CompletingRebalance,
        _ => panic!("no such state: {text}"),
    }
}
