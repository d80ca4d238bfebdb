//! Since when each move stands as it does. The image says what moves, and nobody writes down since when: a node counts from
//! when it first saw that.
//!
//! Never: knows longer than this node runs. A move is called stuck a while later after a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use highwater_metadata::MetadataImage;
use highwater_types::TopicPartition;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;

/// The partitions that move, each with the generation of its assignment and when that was first seen. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moves(Arc<Mutex<BTreeMap<TopicPartition, (u32, Instant)>>>);

/// How long each partition that moves has been at the same step.
pub type MoveAges = BTreeMap<TopicPartition, Duration>;

impl Moves {
    /// Takes down what moves in each image. Never ends.
    pub(crate) async fn follow(self, mut images: watch::Receiver<Arc<MetadataImage>>, clock: Clock) {
        loop {
            let image = Arc::clone(&images.borrow_and_update());
            self.see(&image, clock.instant());
            if images.changed().await.is_err() {
                // The node stops.
                return std::future::pending().await;
            }
        }
    }

    fn see(&self, image: &MetadataImage, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let moving = image.partitions().filter(|(_, _, held)| held.is_moving());
        *known = moving
            .map(|(id, _, held)| {
                let before = known.get(&id).filter(|(generation, _)| *generation == held.generation);
                (id, before.copied().unwrap_or((held.generation, now)))
            })
            .collect();
    }

    pub(crate) fn ages(&self, now: Instant) -> MoveAges {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(id, (_, since))| (*id, now.saturating_duration_since(*since))).collect()
    }
}

#[cfg(test)]
mod tests {
    use highwater_metadata::Assignment;

    use super::super::tests::{assign, image, node};
    use super::*;

    #[test]
    fn the_time_of_a_move_begins_anew_with_each_step() {
        let (mut image, moves, start) = (image(), Moves::default(), Clock::system().instant());
        let at = |seconds| start + Duration::from_secs(seconds);
        moves.see(&image, start);
        assert!(moves.ages(at(1)).is_empty(), "nothing moves");
        let on = |generation, target: Option<u64>| Assignment {
            target: target.map(|last| vec![node(1), node(2), node(last)]),
            generation,
            ..Assignment::new(vec![node(1), node(2), node(3)])
        };
        let age = |seconds| moves.ages(at(seconds)).into_values().next().map(|age| age.as_secs());
        assign(&mut image, on(1, Some(4)));
        moves.see(&image, at(10));
        moves.see(&image, at(20));
        assert_eq!(age(30), Some(20));
        assign(&mut image, on(2, Some(5)));
        moves.see(&image, at(30));
        assert_eq!(age(30), Some(0));
        assign(&mut image, on(3, None));
        moves.see(&image, at(40));
        assert_eq!(age(50), None);
    }
}
