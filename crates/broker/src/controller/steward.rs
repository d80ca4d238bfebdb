//! The steward: what the controller does by itself, on the node that leads the metadata group.
//!
//! Owns: two loops on every node, which rest where the node does not lead. One says that this node lives, and judges who
//! else does. The other carries out what the image asks for: plans, and who is a member of the metadata group.
//!
//! Never: remembers anything that the next leader would need. It stands in the image.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{Member, MetadataImage, PlanLimits, metadata_voters, next_steps};
use highwater_proto::internal::v1::NodeHeartbeat;
use highwater_proto::internal::v1::control_request::Kind as Ask;
use highwater_proto::internal::v1::control_response::Kind as Answer;
use highwater_types::NodeId;
use tokio::time::MissedTickBehavior;

use super::beats::{BEAT_INTERVAL, Judge};
use super::{ControllerError, ControllerHandle};
use crate::raft::Replica;

/// How long a sign of life may take.
const BEAT_PATIENCE: Duration = Duration::from_secs(1);

/// The pause between two looks at what there is to do, unless the image changes before.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The pause after a change, so that a burst of them is planned for once.
const SETTLE: Duration = Duration::from_millis(100);

/// What a node tells of itself with its signs of life.
pub(crate) type Facts = Arc<dyn Fn() -> NodeHeartbeat + Send + Sync>;

/// Says that this node lives, to whoever leads the metadata group; and while that is this node, judges who lives.
pub(super) async fn beat(controller: &ControllerHandle, facts: Facts, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    let mut ticks = tokio::time::interval(BEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut judge = Judge::default();
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            _ = ticks.tick() => {}
        }
        let led = *controller.replica.leadership().borrow();
        match led.leader {
            Some(_) if led.is_leader && led.serves_writes => {
                let now = controller.forward.clock().instant();
                controller.beats.note(controller.replica.node(), facts(), now);
                let image = Arc::clone(&controller.image().borrow());
                for command in judge.look(&image, &controller.beats, led.term, now) {
                    note(&format!("{command:?}"), controller.submit_here(command).await.map(drop));
                }
                continue;
            }
            Some(leader) if !led.is_leader => tell(controller, leader, facts()).await,
            _ => {}
        }
        judge.rest();
    }
}

async fn tell(controller: &ControllerHandle, leader: NodeId, beat: NodeHeartbeat) {
    let asked = controller.forward.ask(leader, Ask::NodeHeartbeat(beat));
    match tokio::time::timeout(BEAT_PATIENCE, asked).await {
        Ok(Ok(Some(Answer::Error(error)))) => {
            tracing::debug!(%leader, message = error.message, "the controller did not take a sign of life");
        }
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%leader, %error, "the controller does not hear this node"),
        Err(_) => tracing::debug!(%leader, "the controller did not answer a sign of life in time"),
    }
}

/// Carries out what the image asks for, while this node leads the metadata group.
pub(super) async fn tend(controller: &ControllerHandle, stop: impl Future<Output = ()>) {
    let replica = &controller.replica;
    tokio::pin!(stop);
    let (mut images, mut leadership) = (controller.image(), replica.leadership());
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        let serves = leadership.borrow_and_update().serves_writes;
        let work = async {
            if serves && image.cluster().is_some() {
                keep_members(replica, &image).await;
                plan(controller, &image).await;
            }
            tokio::time::sleep(SETTLE).await;
            // What is wrong with these is noticed elsewhere; here it is just time to look again.
            tokio::select! {
                _ = images.changed() => {}
                _ = leadership.changed() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        };
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = work => {}
        }
    }
}

async fn plan(controller: &ControllerHandle, image: &MetadataImage) {
    let voters = controller.replica.status().members.having_say();
    for command in next_steps(image, &voters, &controller.policy, &PlanLimits::default()) {
        let text = format!("{command:?}");
        let done = controller.submit_here(command).await.map(drop);
        let is_over = matches!(done, Err(ControllerError::NotController { .. } | ControllerError::Stopped));
        note(&text, done);
        if is_over {
            return;
        }
    }
}

/// Makes the right nodes voters of the metadata group, and every other one a learner.
async fn keep_members(replica: &Replica, image: &MetadataImage) {
    let members = replica.status().members;
    let now = members.incoming.as_ref().unwrap_or(&members.voters);
    let voters = metadata_voters(image, now);
    let learners: BTreeSet<NodeId> = image.members().map(Member::node).filter(|node| !voters.contains(node)).collect();
    if members.incoming.is_none() && members.voters == voters && members.learners == learners {
        return;
    }
    match replica.set_members(&voters, &learners).await {
        Ok(()) => tracing::info!(?voters, ?learners, "changed the members of the metadata group"),
        Err(error) => tracing::info!(%error, "the members of the metadata group are not changed yet; trying again"),
    }
}

fn note(command: &str, done: Result<(), ControllerError>) {
    if let Err(error) = done {
        tracing::debug!(command, %error, "the controller could not do what it wanted to; looking again soon");
    }
}
