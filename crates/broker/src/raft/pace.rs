//! When a replica heartbeats, campaigns, or rests: the rules, without a clock or a network.
//!
//! openraft would wake each group 25 times a second to ask its timers. A node has thousands of groups, nearly all idle, so its
//! ticks are off, and one task of the node looks at all groups ten times a second instead. Beyond that:
//!
//! - A leader that has nothing uncommitted says so in the [`pulse`](super::pulse) that all such groups of two nodes share. A
//!   member agrees when it has the same and knows that it is committed. While a majority agrees, and none that answers
//!   disagrees, the leader is **quiet**: it sends no heartbeats of its own.
//! - Followers campaign one after the other, not at random: each has a place in the row, another one in each group. So
//!   two that hear nothing any more do not split the votes.
//!
//! Owns: what was heard and agreed, and when. Never: grants or counts a vote; the core does, and a campaign is a
//! pre-vote, which disturbs nobody who still hears the leader.
//!
//! Invariants:
//! - Nothing that the safety of Raft rests on is touched: terms, votes, logs and commits are the core's.
//! - The core of a quiet leader does not see its lease renewed. Who writes after a quiet time renews it before.
//! - A follower that agreed to a pulse vouches for the leader as it would have after a heartbeat: it helps nobody else to an
//!   election for [`LEASE`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_types::{LogIndex, NodeId, Term};
use tokio::time::Instant;

use super::config::ELECTION_MS_MAX;

/// How long nothing must have happened before a group is quiet.
const CALM: Duration = Duration::from_secs(1);

/// How long an agreement to a pulse holds for the leader. Who hears no more pulses campaigns long before.
const AGREED_FOR: Duration = Duration::from_secs(2);

/// How long it keeps who gave it from helping others to an election.
const LEASE: Duration = Duration::from_millis(600);

/// Between two heartbeats of a leader. Looks come every 100 ms, sometimes a little early.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(190);

/// How long a follower that lives on pulses waits for the next one before it campaigns, if it is the first in the row.
const PULSE_PATIENCE: Duration = Duration::from_millis(800);

/// The same for a follower that gets appends: a little more than the lease that the cores of the others keep to.
const APPEND_PATIENCE: Duration = Duration::from_millis(ELECTION_MS_MAX + 100);

/// The same for a replica that knows of no leader: somebody else may be about to win.
const NOBODY_PATIENCE: Duration = Duration::from_millis(500);

/// How much longer each next one in the row waits.
const STAGGER: Duration = Duration::from_millis(250);

/// How long a campaign may take before the next: between this and twice this.
const CAMPAIGN_PAUSE_MS: u64 = 400;

/// A group in which nothing is under way: everything up to `last`, the end of the log, is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Still {
    pub(super) term: Term,
    pub(super) last: LogIndex,
}

/// What the metrics of a replica show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// It leads.
    Leads {
        /// The other members.
        others: Vec<NodeId>,
        /// When it has nothing that is not committed.
        still: Option<Still>,
        /// How long ago a majority last answered the core.
        quorum_age: Option<Duration>,
    },
    /// It follows.
    Follows {
        leader: NodeId,
        term: Term,
        /// When it has nothing that is not committed.
        still: Option<Still>,
        /// Its place in the row, if it has a vote.
        rank: Option<u32>,
    },
    /// Nobody leads, as far as it knows.
    Neither {
        /// Its place in the row.
        rank: u32,
    },
    /// It has no vote, or may not use it now.
    Watches,
}

/// The follower's word of its leader.
#[derive(Clone, Copy, Debug)]
struct Heard {
    leader: NodeId,
    term: Term,
    at: Instant,
    by_pulse: bool,
}

/// What is to be done after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Rest,
    /// The core shall send heartbeats.
    Heartbeat,
    /// The core shall ask for votes.
    Campaign,
}

/// The pace of one replica.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When something was written last.
    active_at: Option<Instant>,
    heartbeat_at: Option<Instant>,
    /// What the leader last saw at rest, and since when.
    still: Option<(Still, Instant)>,
    /// Who agreed to that, and when the pulse was sent.
    agreed: BTreeMap<NodeId, Instant>,
    /// Who answered otherwise.
    disagrees: BTreeSet<NodeId>,
    heard: Option<Heard>,
    /// Since when there is no leader to hear.
    nobody_since: Option<Instant>,
    /// Not before then the next campaign, and how many there were.
    campaign_after: Option<Instant>,
    campaigns: u64,
    is_calm: bool,
    is_quiet: bool,
    needs_renewal: bool,
}

impl Pace {
    /// Judges what the metrics show now. `chance` is any number, another one for each replica.
    pub(super) fn look(&mut self, view: &View, now: Instant, chance: u64) -> Verdict {
        (self.is_calm, self.is_quiet) = (false, false);
        if let View::Leads { others, still, quorum_age } = view {
            return self.lead(others, *still, *quorum_age, now);
        }
        self.rest(None, now);
        let due = match view {
            View::Follows { leader, term, rank: Some(rank), .. } => {
                let heard = self.heard.filter(|heard| (heard.leader, heard.term) == (*leader, *term));
                let at = |patience: Duration| patience + STAGGER * *rank;
                match heard {
                    Some(heard) => {
                        self.nobody_since = None;
                        heard.at + at(heard.patience())
                    }
                    // It was told just now, if only by what is on its disk.
                    None => *self.nobody_since.get_or_insert(now) + at(APPEND_PATIENCE),
                }
            }
            View::Neither { rank } => *self.nobody_since.get_or_insert(now) + NOBODY_PATIENCE + STAGGER * *rank,
            View::Leads { .. } | View::Follows { rank: None, .. } | View::Watches => return Verdict::Rest,
        };
        self.campaign(due, now, chance)
    }

    fn campaign(&mut self, due: Instant, now: Instant, chance: u64) -> Verdict {
        if now < due {
            (self.campaign_after, self.campaigns) = (None, 0);
            return Verdict::Rest;
        }
        if self.campaign_after.is_some_and(|after| now < after) {
            return Verdict::Rest;
        }
        self.campaigns += 1;
        let spread = spread(chance, self.campaigns) % CAMPAIGN_PAUSE_MS;
        self.campaign_after = Some(now + Duration::from_millis(CAMPAIGN_PAUSE_MS + spread));
        Verdict::Campaign
    }

    fn lead(&mut self, others: &[NodeId], still: Option<Still>, quorum_age: Option<Duration>, now: Instant) -> Verdict {
        (self.heard, self.nobody_since, self.campaign_after, self.campaigns) = (None, None, None, 0);
        self.is_calm = self.rest(still, now).is_some_and(|rested| rested >= CALM)
            && self.active_at.is_none_or(|active| now.duration_since(active) >= CALM)
            && !others.is_empty();
        let agrees = |node: &&NodeId| self.agreed.get(node).is_some_and(|at| now.duration_since(*at) < AGREED_FOR);
        let agreeing = 1 + others.iter().filter(agrees).count();
        self.is_quiet = self.is_calm && self.disagrees.is_empty() && 2 * agreeing > 1 + others.len();
        if self.is_quiet {
            self.needs_renewal = true;
        } else if quorum_age.is_some_and(|age| age < LEASE) {
            self.needs_renewal = false;
        }
        let is_due = self.heartbeat_at.is_none_or(|at| now.duration_since(at) >= HEARTBEAT_INTERVAL);
        if self.is_quiet || others.is_empty() || !is_due {
            return Verdict::Rest;
        }
        self.heartbeat_at = Some(now);
        Verdict::Heartbeat
    }

    /// What a leader has to tell the others in the next pulse.
    pub(super) fn pulse(&self) -> Option<Still> {
        self.still.map(|(still, _)| still).filter(|_| self.is_calm)
    }

    /// Notes what is at rest; tells for how long it has been.
    fn rest(&mut self, still: Option<Still>, now: Instant) -> Option<Duration> {
        if self.still.map(|(still, _)| still) != still {
            self.still = still.map(|still| (still, now));
            self.agreed.clear();
            self.disagrees.clear();
        }
        self.still.map(|(_, since)| now.duration_since(since))
    }

    /// Something is about to be written. Returns whether the lease has to be renewed before.
    pub(super) fn wake(&mut self, now: Instant) -> bool {
        self.active_at = Some(now);
        (self.is_calm, self.is_quiet) = (false, false);
        self.agreed.clear();
        self.needs_renewal
    }

    /// The lease was renewed, or could not be.
    pub(super) fn renewed(&mut self) {
        self.needs_renewal = false;
    }

    /// A member answered the pulse that was sent then.
    pub(super) fn answered(&mut self, node: NodeId, still: Still, sent_at: Instant, agrees: bool) {
        let is_about_now = self.still.is_some_and(|(now, _)| now == still);
        if agrees && is_about_now && self.active_at.is_none_or(|active| active < sent_at) {
            self.agreed.insert(node, sent_at);
            self.disagrees.remove(&node);
        } else if !agrees && is_about_now {
            self.agreed.remove(&node);
            self.disagrees.insert(node);
        }
    }

    /// An append of the leader was taken.
    pub(super) fn hear(&mut self, leader: NodeId, term: Term, now: Instant) {
        self.heard = Some(Heard { leader, term, at: now, by_pulse: false });
    }

    /// Whether this replica agrees that the group is at rest, as the node that leads it says.
    pub(super) fn take_pulse(&mut self, view: &View, from: NodeId, said: Still, now: Instant) -> bool {
        let View::Follows { leader, term, still, .. } = view else { return false };
        let agrees = *leader == from && *term == said.term && *still == Some(said);
        if agrees {
            self.heard = Some(Heard { leader: from, term: said.term, at: now, by_pulse: true });
        }
        agrees
    }

    /// Whether this replica vouches for its leader against a candidate. What the core heard, it judges itself.
    pub(super) fn vouches_against(&self, candidate: NodeId, now: Instant) -> bool {
        let pulse = self.heard.filter(|heard| heard.by_pulse && heard.leader != candidate);
        pulse.is_some_and(|heard| now.duration_since(heard.at) < LEASE)
    }

    /// The leader gives up its place: an election may begin at any time.
    pub(super) fn forget_leader(&mut self) {
        (self.heard, self.nobody_since) = (None, None);
    }

    /// Whether this leader needs no heartbeats, as a majority agrees that nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// When a member last agreed to a pulse.
    pub(super) fn agreed_at(&self, node: NodeId) -> Option<Instant> {
        self.agreed.get(&node).copied()
    }
}

impl Heard {
    /// How long the next word of the leader may take.
    const fn patience(&self) -> Duration {
        if self.by_pulse { PULSE_PATIENCE } else { APPEND_PATIENCE }
    }
}

/// A number that looks like chance (the finisher of SplitMix64, Steele et al. 2014).
const fn spread(seed: u64, step: u64) -> u64 {
    let mixed = seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
