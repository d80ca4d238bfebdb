//! What a member does that it should not: leave, die, be silent for too long, commit as one that it is no more.

use highwater_groups::stream::GenerationId;
use highwater_groups::stream::command::Identity;

use super::member::{End, Member};
use super::reading::commit;
use crate::history::{Life, Partition};
use crate::workload::pause;

impl Member {
    /// Now and then.
    pub async fn misbehave(&mut self) -> Result<(), End> {
        match self.dice.between(0..=119) {
            0..=1 => {
                let end = self.leave().await;
                return Err(end);
            }
            2..=3 => return Err(End::Died),
            4..=6 => pause(&mut self.dice, 500..=3_000).await,
            7..=12 => self.commit_as_before().await,
            13..=22 => self.commit_as_ghost().await,
            _ => {}
        }
        Ok(())
    }

    /// With a generation that is over. Were it taken, the group would go back.
    async fn commit_as_before(&mut self) {
        let Some(by) = self.identity().filter(|by| by.generation.get() > 1) else { return };
        let before = GenerationId::new(by.generation.get() - 1);
        self.commit_stale(self.life, Identity { generation: before, ..by }).await;
    }

    /// As its last life on this seat.
    async fn commit_as_ghost(&mut self) {
        let Some(ghost) = self.ghost.as_ref().filter(|ghost| ghost.is_gone) else { return };
        let (life, by) = (ghost.life, ghost.by.clone());
        self.commit_stale(life, by).await;
    }

    async fn commit_stale(&mut self, life: Life, by: Identity) {
        let partitions: Vec<Partition> = self.held.keys().copied().collect();
        if !partitions.is_empty() {
            let partition = *self.dice.pick(&partitions);
            let _refused = commit(&mut self.way, life, by, &[(partition, 0)]).await;
        }
    }
}
