//! Signs of life: every node tells the controller twice a second that it lives, and the controller fences who is silent.
//!
//! Owns: what was heard of each node and when, and the judgement who is to be fenced and who not any more.
//!
//! Invariant: silence is counted only while this node was there to hear. A controller that was paused, or has just come
//! to lead, begins anew; otherwise it would fence everybody for its own absence.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use highwater_metadata::{Command, MetadataImage};
use highwater_proto::internal::v1::NodeHeartbeat;
use highwater_types::{NodeId, Term};
use tokio::time::Instant;

/// How often a node says that it lives, and how often the controller looks.
pub(super) const BEAT_INTERVAL: Duration = Duration::from_millis(500);

/// A node that was silent for so long is fenced.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// A fenced node that was heard within this is fenced no more.
const FRESH: Duration = Duration::from_millis(1_500);

/// A look that comes so late means that this node did not run.
const PAUSE_MIN: Duration = Duration::from_millis(1_500);

/// What was heard of the nodes. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Beats(Arc<Mutex<BTreeMap<NodeId, Beat>>>);

#[derive(Clone, Debug)]
struct Beat {
    at: Instant,
    said: NodeHeartbeat,
}

impl Beats {
    /// Takes down a sign of life.
    pub(super) fn note(&self, node: NodeId, said: NodeHeartbeat, at: Instant) {
        self.beats().insert(node, Beat { at, said });
    }

    /// What each node said last, and how long ago.
    pub(super) fn said(&self, now: Instant) -> BTreeMap<NodeId, (Duration, NodeHeartbeat)> {
        let said =
            |(node, beat): (&NodeId, &Beat)| (*node, (now.saturating_duration_since(beat.at), beat.said.clone()));
        self.beats().iter().map(said).collect()
    }

    /// Forgets nodes that are no part of the cluster.
    fn keep_members(&self, image: &MetadataImage) {
        self.beats().retain(|node, _| image.member(*node).is_some());
    }

    fn heard(&self, node: NodeId) -> Option<Instant> {
        self.beats().get(&node).map(|beat| beat.at)
    }

    fn beats(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Beat>> {
        // Changed in single steps only, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The controller's judgement of who lives.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// The term in which this node leads, since when it listens, and when it last looked.
    listening: Option<(Term, Instant, Instant)>,
}

impl Judge {
    /// This node does not lead.
    pub(super) fn rest(&mut self) {
        self.listening = None;
    }

    /// Whom to fence, and whom not any more.
    pub(super) fn look(&mut self, image: &MetadataImage, beats: &Beats, term: Term, now: Instant) -> Vec<Command> {
        let since = match self.listening {
            Some((of, since, last)) if of == term && now.saturating_duration_since(last) < PAUSE_MIN => since,
            _ => now,
        };
        self.listening = Some((term, since, now));
        beats.keep_members(image);
        let verdict = |node: NodeId, is_fenced: bool| {
            let heard = beats.heard(node);
            let silence = now.saturating_duration_since(heard.map_or(since, |heard| heard.max(since)));
            let is_fresh = heard.is_some_and(|heard| heard >= since && now.saturating_duration_since(heard) < FRESH);
            match is_fenced {
                false if silence > SILENCE_MAX => Some(Command::FenceNode { node }),
                true if is_fresh => Some(Command::UnfenceNode { node }),
                _ => None,
            }
        };
        image.members().filter_map(|member| verdict(member.node(), member.is_fenced)).collect()
    }
}

#[cfg(test)]
mod tests {
    use highwater_metadata::{MetadataRecord, NodeRegistration};
    use highwater_types::NodeUuid;

    use super::*;

    const STEP: Duration = BEAT_INTERVAL;

    fn image(fenced: &[u64]) -> MetadataImage {
        let mut image = MetadataImage::default();
        for number in 1..=2 {
            let (node, uuid) = (NodeId::new(number), NodeUuid::from_bytes([1; 16]));
            let none = String::new;
            let (address, peer_address, rack, kafka_address) = (none(), none(), none(), none());
            let kafka_listeners = BTreeMap::new();
            let registration =
                NodeRegistration { node, uuid, address, peer_address, rack, kafka_address, kafka_listeners };
            image.replay(&MetadataRecord::NodeRegistered(registration));
        }
        for number in fenced {
            image.replay(&MetadataRecord::NodeFenced { node: NodeId::new(*number) });
        }
        image
    }

    /// Looks every half second; node 1 is heard each time, node 2 while `hears` says so. Returns at which looks
    /// something was decided, and what.
    fn watch(judge: &mut Judge, fenced: &[u64], looks: u32, hears: impl Fn(u32) -> bool) -> Vec<(u32, Command)> {
        let (beats, start) = (Beats::default(), crate::clock::Clock::system().instant());
        let mut decided = Vec::new();
        for look in 0..looks {
            let now = start + STEP * look;
            beats.note(NodeId::new(1), NodeHeartbeat::default(), now);
            if hears(look) {
                beats.note(NodeId::new(2), NodeHeartbeat::default(), now);
            }
            let commands = judge.look(&image(fenced), &beats, Term::new(1), now);
            decided.extend(commands.into_iter().map(|command| (look, command)));
        }
        decided
    }

    #[tokio::test]
    async fn who_is_silent_is_fenced_after_three_seconds() {
        let node = NodeId::new(2);
        let decided = watch(&mut Judge::default(), &[], 9, |look| look < 2);
        assert_eq!(decided, [(8, Command::FenceNode { node })]);
        let decided = watch(&mut Judge::default(), &[], 8, |_| false);
        assert_eq!(decided, [(7, Command::FenceNode { node })], "who was never heard is given as long");
    }

    #[tokio::test]
    async fn who_is_heard_again_is_fenced_no_more() {
        let node = NodeId::new(2);
        let decided = watch(&mut Judge::default(), &[2], 3, |look| look == 2);
        assert_eq!(decided, [(2, Command::UnfenceNode { node })]);
    }

    #[tokio::test]
    async fn a_controller_that_was_paused_fences_nobody_for_it() {
        let (mut judge, beats, start) = (Judge::default(), Beats::default(), crate::clock::Clock::system().instant());
        beats.note(NodeId::new(1), NodeHeartbeat::default(), start);
        assert_eq!(judge.look(&image(&[]), &beats, Term::new(1), start), []);
        let later = start + Duration::from_secs(60);
        assert_eq!(judge.look(&image(&[]), &beats, Term::new(1), later), []);
        let stale = judge.look(&image(&[2]), &beats, Term::new(1), later + STEP);
        assert_eq!(stale, [], "what was heard before the pause says nothing");
        assert_eq!(judge.look(&image(&[]), &beats, Term::new(2), later + 7 * STEP), [], "nor does another term");
    }
}
