//! Deciding: an image and a command give records and a reply, or a refusal.
//!
//! Pure. What it decides on must be the newest image, that is the committed one and whatever was proposed on top.
//!
//! Invariant: the reply shows what the image will be once the records are replayed.

mod moves;
mod nodes;
mod topics;

use highwater_types::ProducerId;

use crate::command::{Command, CommandError, Context, Decision, Reply};
use crate::image::MetadataImage;
use crate::record::MetadataRecord;

/// Decides what a command leads to.
///
/// # Errors
/// [`CommandError`] when it is refused; then nothing is to change.
pub fn decide(image: &MetadataImage, command: &Command, context: &Context) -> Result<Decision, CommandError> {
    match (command, image.cluster()) {
        (Command::FormCluster { .. }, Some(cluster)) => return Err(CommandError::AlreadyFormed { cluster }),
        (Command::FormCluster { .. }, None) | (_, Some(_)) => {}
        (_, None) => return Err(CommandError::NotFormed),
    }
    match command {
        Command::FormCluster { cluster, nodes } => {
            let formed = MetadataRecord::ClusterFormed { cluster: *cluster };
            done(std::iter::once(formed).chain(nodes.iter().cloned().map(MetadataRecord::NodeRegistered)).collect())
        }
        Command::RegisterNode(node) => nodes::register(image, node),
        Command::JoinNode(command) => nodes::join(image, command),
        Command::SetNodeState { node, state } => nodes::set_state(image, *node, *state),
        Command::ReplaceNode { node, by } => nodes::replace(image, *node, *by),
        Command::FenceNode { node } => nodes::set_fenced(image, *node, true),
        Command::UnfenceNode { node } => nodes::set_fenced(image, *node, false),
        Command::RemoveNode { node } => nodes::remove(image, *node),
        Command::CreateTopic(command) => topics::create(image, command, context),
        Command::DeleteTopic { name } => topics::delete(image, name),
        Command::AlterTopic(command) => topics::alter(image, command, context),
        Command::SetReplicas { name, replicas } => topics::set_replicas(image, name, *replicas),
        Command::MoveReplicas { partition, target } => moves::begin(image, *partition, target, &context.policy),
        Command::CancelMove { partition } => moves::cancel(image, *partition),
        Command::FinishMove { partition, generation } => moves::finish(image, *partition, *generation),
        Command::PreferLeader { partition, node } => moves::prefer(image, *partition, *node),
        Command::SetBalancing { is_on } if image.is_balancing() == *is_on => unchanged(),
        Command::SetBalancing { is_on } => done(vec![MetadataRecord::BalancingSet { is_on: *is_on }]),
        Command::AllocateProducerIds { count } => allocate_producer_ids(image, *count),
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

fn done(records: Vec<MetadataRecord>) -> Result<Decision, CommandError> {
    Ok(Decision { records, reply: Reply::Done })
}

fn unchanged() -> Result<Decision, CommandError> {
    done(Vec::new())
}
