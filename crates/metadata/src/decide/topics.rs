//! Decisions about topics: their settings, how many partitions they have, and how many replicas.

use std::collections::BTreeSet;
use std::sync::Arc;

use highwater_types::{PartitionId, TopicName, limits};

use super::{done, unchanged};
use crate::assignment::Assignment;
use crate::command::{AlterTopic, CommandError, Context, CreateTopic, Decision, Reply};
use crate::image::MetadataImage;
use crate::placement::{Place, Placement, PlacementError};
use crate::record::MetadataRecord;
use crate::settings::{Setting, SettingError, TopicSettings};
use crate::topic::Topic;

pub(super) fn create(
    image: &MetadataImage,
    command: &CreateTopic,
    context: &Context,
) -> Result<Decision, CommandError> {
    if image.topic(&command.name).is_some() {
        return Err(CommandError::TopicExists { name: command.name.clone() });
    }
    let partitions = match command.partitions {
        0 => context.policy.partitions_default,
        asked => asked,
    };
    check_partition_count(partitions)?;
    let replicas = match command.replicas {
        0 => places(image).count().try_into().unwrap_or(u32::MAX).min(context.policy.replicas_default),
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

pub(super) fn delete(image: &MetadataImage, name: &TopicName) -> Result<Decision, CommandError> {
    let topic = existing(image, name)?.id;
    done(vec![MetadataRecord::TopicDeleted { topic }])
}

pub(super) fn alter(image: &MetadataImage, command: &AlterTopic, context: &Context) -> Result<Decision, CommandError> {
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

/// The planner moves the partitions one after another.
pub(super) fn set_replicas(image: &MetadataImage, name: &TopicName, replicas: u32) -> Result<Decision, CommandError> {
    let topic = existing(image, name)?;
    if replicas == 0 || replicas > limits::REPLICAS_MAX {
        return Err(CommandError::InvalidReplicas { asked: replicas });
    }
    let nodes = places(image).count();
    if usize::try_from(replicas).unwrap_or(usize::MAX) > nodes {
        return Err(PlacementError::TooFewNodes { replicas, nodes }.into());
    }
    match topic.replicas == replicas {
        true => unchanged(),
        false => done(vec![MetadataRecord::TopicReplicasSet { topic: topic.id, replicas }]),
    }
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

/// The nodes that may be given replicas.
fn places(image: &MetadataImage) -> impl Iterator<Item = Place> {
    image.members().filter_map(Place::of)
}

fn existing<'a>(image: &'a MetadataImage, name: &TopicName) -> Result<&'a Arc<Topic>, CommandError> {
    image.topic(name).ok_or_else(|| CommandError::UnknownTopic { name: name.clone() })
}

fn check_partition_count(asked: u32) -> Result<(), CommandError> {
    if asked > limits::TOPIC_PARTITIONS_MAX { Err(CommandError::TooManyPartitions { asked }) } else { Ok(()) }
}

/// A placement that knows what the nodes hold already; `own` is the topic that is to grow.
fn place(image: &MetadataImage, own: Option<&Topic>, context: &Context) -> Placement {
    let mut placement = Placement::new(places(image), context.policy.replicas_per_node_max, context.seed);
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
