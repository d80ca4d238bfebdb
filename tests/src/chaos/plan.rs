//! How large a run is, and what it must have done to prove anything.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dice::Dice;
use super::fault::Class;
use super::finish::FINAL_READS_OF_OUR_CLIENT;
use super::workload::Crowd;
use crate::history::Requirements;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Nodes.
    pub nodes: u64,
    /// Nodes that join it afterwards, so that there is somewhere to move to.
    pub spares: u64,
    /// Partitions of the topic, each on three nodes, or one where there is one.
    pub partitions: u32,
    /// Its clients.
    pub crowd: Crowd,
    /// The pause of a producer between two sends.
    pub pause: Duration,
    /// How often each class of fault is done at least.
    pub faults: BTreeMap<Class, u64>,
    /// Faults go on, by chance, until this time is over.
    pub at_least: Duration,
    /// The longest time between two faults.
    pub calm_max: Duration,
    /// The longest pause of a process.
    pub pause_max_ms: u64,
    /// The longest cut.
    pub cut_max_ms: u64,
    /// The size of each node's own filesystem; 0 for none.
    pub small_disk_mib: u32,
    /// Settings of every node.
    pub settings: Vec<(String, String)>,
}

impl Plan {
    /// One node, killed and frozen: the least that the harness is proven with.
    #[must_use]
    pub fn one_node(seed: u64) -> Self {
        Self {
            nodes: 1,
            faults: BTreeMap::from([
                (Class::KillLeader, 4),
                (Class::PauseLeader, 1),
                (Class::StopLeader, 1),
                (Class::Reset, 1),
            ]),
            ..Self::three_nodes(seed, BTreeMap::new())
        }
    }

    /// Three nodes and these faults.
    #[must_use]
    pub fn three_nodes(seed: u64, faults: BTreeMap<Class, u64>) -> Self {
        Self {
            seed,
            nodes: 3,
            spares: 0,
            partitions: 3,
            crowd: Crowd { producers: 3, readers: 2, thin: 1, topic_makers: 1 },
            pause: Duration::from_millis(4),
            faults,
            at_least: Duration::ZERO,
            calm_max: Duration::from_millis(1_500),
            pause_max_ms: 7_000,
            cut_max_ms: 7_000,
            small_disk_mib: 0,
            settings: Vec::new(),
        }
    }

    /// Three nodes, every class of fault, for so long. Slower clients: the history is kept in memory.
    #[must_use]
    pub fn long(seed: u64, at_least: Duration) -> Self {
        let faults = Class::ALL.iter().map(|class| (*class, 1)).collect();
        Self {
            at_least,
            calm_max: Duration::from_secs(8),
            pause_max_ms: 60_000,
            cut_max_ms: 20_000,
            pause: Duration::from_millis(25),
            spares: 1,
            ..Self::three_nodes(seed, faults)
        }
    }

    /// On how many nodes a partition is.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        if self.nodes >= 3 { 3 } else { 1 }
    }

    /// The faults in the order of the seed. After them, while there is time: any of them.
    #[must_use]
    pub fn schedule(&self, dice: &mut Dice) -> Vec<Class> {
        let mut list: Vec<Class> = Vec::new();
        for (class, times) in &self.faults {
            list.extend((0..*times).map(|_| *class));
        }
        dice.shuffle(&mut list);
        list
    }

    /// What CI has time for: twenty leaders killed, ten changes of members, and each other class that can hit one node.
    #[must_use]
    pub fn short(seed: u64) -> Self {
        let once = [
            Class::KillFollower,
            Class::StopLeader,
            Class::PauseLeader,
            Class::CutLeaderFromPeers,
            Class::Isolate,
            Class::CutLeaderOut,
            Class::CutLeaderIn,
            Class::CutPair,
            Class::KillAll,
            Class::Reset,
            Class::ReplaceNode,
            Class::Decommission,
            Class::Drain,
        ];
        // With the two of whole nodes: ten.
        let often = [(Class::KillLeader, 20), (Class::Membership, 8)];
        let faults = once.into_iter().map(|class| (class, 1)).chain(often).collect();
        Self { spares: 1, calm_max: Duration::from_millis(800), ..Self::three_nodes(seed, faults) }
    }

    /// What the history must hold for the run to prove anything.
    #[must_use]
    pub fn requirements(&self) -> Requirements {
        let faults = self.faults.iter().filter(|(_, times)| **times > 0);
        // A minority is hit by these, so the others must go on.
        let goes_on = |class: Class| self.nodes >= 3 && !matches!(class, Class::KillAll | Class::Delay | Class::Reset);
        let blows: u64 = self.faults.values().sum();
        Requirements {
            faults: faults.clone().map(|(class, times)| (class.name().to_owned(), *times)).collect(),
            acknowledged_min: 200 + blows * 20,
            acknowledged_during: faults
                .filter(|(class, _)| goes_on(**class))
                .map(|(class, times)| (class.name().to_owned(), times * 20))
                .collect(),
            end_lookups_min: 20 + blows * 5,
            // What our client reads from leaders and from followers, and what each node has.
            final_reads_min: (FINAL_READS_OF_OUR_CLIENT + usize::try_from(self.nodes + self.spares).unwrap_or(0))
                * self.partitions as usize,
            acknowledged_after_healing: 100,
            acknowledged_thin: u64::from(self.crowd.thin) * (20 + blows * 2),
            topics_deleted: u64::from(self.crowd.topic_makers) * (1 + blows / 20),
            replicas_min: usize::try_from(self.partitions * self.replicas()).unwrap_or(usize::MAX),
        }
    }
}
