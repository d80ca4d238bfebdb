//! Deciding: an image and a command give records and a reply, or a refusal.
//!
//! Pure. What it decides on must be the newest image, that is the committed one and whatever was proposed on top.
//!
//! Invariant: the reply shows what the image will be once the records are replayed.

use std::collections::BTreeSet;
use std::sync::Arc;

use highwater_types::{PartitionId, ProducerId, TopicName, limits};

use crate::command::{AlterTopic, Command, CommandError, Context, CreateTopic, Decision, Reply};
use crate::image::MetadataImage;
use crate::placement::{Assignment, Placement};
use crate::record::MetadataRecord;
use crate::settings::{Setting, SettingError, TopicSettings};
use crate::topic::{NodeRegistration, Topic};

/// Decides what a command leads to.
///
/// # Errors
/// [`CommandError`] when it is refused; then nothing is to change.
pub fn decide(image: &MetadataImage, command: &Command, context: &Context) -> Result<Decision, CommandError> {
    match (command, image.cluster()) {
        (Command::FormCluster { .. }, Some(cluster)) => Err(CommandError::AlreadyFormed { cluster }),
        (Command::FormCluster { cluster, node }, None) => Ok(Decision {
            records: vec![
                MetadataRecord::ClusterFormed { cluster: *cluster },
                MetadataRecord::NodeRegistered(node.clone()),
            ],
            reply: Reply::Done,
        }),
        (_, None) => Err(CommandError::NotFormed),
        (Command::RegisterNode(node), Some(_)) => register_node(image, node),
        (Command::CreateTopic(command), Some(_)) => create_topic(image, command, context),
        (Command::DeleteTopic { name }, Some(_)) => delete_topic(image, name),
        (Command::AlterTopic(command), Some(_)) => alter_topic(image, command, context),
        (Command::AllocateProducerIds { count }, Some(_)) => allocate_producer_ids(image, *count),
    }
}

fn register_node(image: &MetadataImage, node: &NodeRegistration) -> Result<Decision, CommandError> {
    let records = match image.node(node.node) {
        Some(known) if known.uuid != node.uuid => return Err(CommandError::NodeIdTaken { node: node.node }),
        Some(known) if known == node => Vec::new(),
        _ => vec![MetadataRecord::NodeRegistered(node.clone())],
    };
    Ok(Decision { records, reply: Reply::Done })
}

fn create_topic(image: &MetadataImage, command: &CreateTopic, context: &Context) -> Result<Decision, CommandError> {
    if image.topic(&command.name).is_some() {
        return Err(CommandError::TopicExists { name: command.name.clone() });
    }
    let partitions = match command.partitions {
        0 => context.policy.partitions_default,
        asked => asked,
    };
    check_partition_count(partitions)?;
    let replicas = match command.replicas {
        0 => u32::try_from(image.nodes().len()).unwrap_or(u32::MAX).min(context.policy.replicas_default),
        asked => asked,
    };
    let settings = with_changes(TopicSettings::default(), &command.settings, &[])?;
    let topic = Topic {
        id: context.topic_id,
        name: command.name.clone(),
        created_at: context.now,
        replicas,
        partitions: place(image, None, context).place(partitions, replicas)?,
        settings,
    };
    let records = match command.is_validate_only {
        true => Vec::new(),
        false => vec![MetadataRecord::TopicCreated(topic.clone())],
    };
    Ok(Decision { records, reply: Reply::Topic(Arc::new(topic)) })
}

fn delete_topic(image: &MetadataImage, name: &TopicName) -> Result<Decision, CommandError> {
    let topic = existing(image, name)?.id;
    Ok(Decision { records: vec![MetadataRecord::TopicDeleted { topic }], reply: Reply::Done })
}

fn alter_topic(image: &MetadataImage, command: &AlterTopic, context: &Context) -> Result<Decision, CommandError> {
    let before = existing(image, &command.name)?;
    let mut after = Topic::clone(before);
    let mut records = Vec::new();
    after.settings = with_changes(after.settings, &command.set, &command.unset)?;
    if after.settings != before.settings {
        records.push(MetadataRecord::TopicConfigured { topic: after.id, settings: after.settings.clone() });
    }
    if let Some(asked) = command.partitions {
        let first = before.partition_count();
        let assignments = more_partitions(image, before, asked, context)?;
        if !assignments.is_empty() {
            after.partitions.extend_from_slice(&assignments);
            let first = PartitionId::new(first);
            records.push(MetadataRecord::PartitionsAdded { topic: after.id, first, assignments });
        }
    }
    Ok(Decision { records, reply: Reply::Topic(Arc::new(after)) })
}

/// Places what is missing to so many partitions.
fn more_partitions(
    image: &MetadataImage,
    topic: &Topic,
    asked: u32,
    context: &Context,
) -> Result<Vec<Assignment>, CommandError> {
    let now = topic.partition_count();
    check_partition_count(asked)?;
    match asked.checked_sub(now) {
        None => Err(CommandError::FewerPartitions { name: topic.name.clone(), now, asked }),
        Some(0) => Ok(Vec::new()),
        Some(more) => Ok(place(image, Some(topic), context).place(more, topic.replicas)?),
    }
}

fn allocate_producer_ids(image: &MetadataImage, count: u32) -> Result<Decision, CommandError> {
    let first = image.producer_id_next();
    let next = first.get().checked_add(i64::from(count)).ok_or(CommandError::ProducerIdsExhausted { count })?;
    Ok(Decision {
        records: vec![MetadataRecord::ProducerIdsReserved { next: ProducerId::new(next) }],
        reply: Reply::ProducerIds { first, count },
    })
}

fn existing<'a>(image: &'a MetadataImage, name: &TopicName) -> Result<&'a Arc<Topic>, CommandError> {
    image.topic(name).ok_or_else(|| CommandError::UnknownTopic { name: name.clone() })
}

fn check_partition_count(asked: u32) -> Result<(), CommandError> {
    if asked > limits::TOPIC_PARTITIONS_MAX { Err(CommandError::TooManyPartitions { asked }) } else { Ok(()) }
}

/// A placement that knows what the nodes hold already; `own` is the topic that is to grow.
fn place(image: &MetadataImage, own: Option<&Topic>, context: &Context) -> Placement {
    let nodes = image.nodes().map(|node| node.node);
    let mut placement = Placement::new(nodes, context.policy.replicas_per_node_max, context.seed);
    for topic in image.topics() {
        let is_own = own.is_some_and(|own| own.id == topic.id);
        for held in &topic.partitions {
            if is_own { placement.count_own(held) } else { placement.count_other(held) }
        }
    }
    placement
}

/// The settings with some set and some returned to their defaults; naming one twice is refused as a mistake.
fn with_changes(
    mut settings: TopicSettings,
    set: &[(String, String)],
    unset: &[String],
) -> Result<TopicSettings, SettingError> {
    let mut given = BTreeSet::new();
    let mut name_once = |name: &str| {
        let setting = Setting::from_name(name)?;
        if given.insert(setting) { Ok(setting) } else { Err(SettingError::GivenTwice { setting }) }
    };
    for (name, value) in set {
        let setting = name_once(name)?;
        settings.set(setting, setting.parse(value)?);
    }
    for name in unset {
        settings.unset(name_once(name)?);
    }
    Ok(settings)
}
