//! How openraft is set up, the same for every group.
//!
//! Owns: the times by which a group notices that its leader is gone (`docs/adr/051`), and the rules that openraft would
//! have otherwise. Never: a setting of a user: a cluster whose nodes disagree about these has no leader.

use openraft::{Config, SnapshotPolicy};

/// How long a heartbeat may take to be answered, in milliseconds. When they go out, [`pace`](super::pace) says.
const HEARTBEAT_MS: u64 = 400;
/// The core asks for a range. It draws nothing from it, as it campaigns only when it is told to.
const ELECTION_MS_MIN: u64 = ELECTION_MS_MAX - 100;
/// The lease of a leader, in milliseconds: so long after its last word the cores grant nobody else a vote.
pub(super) const ELECTION_MS_MAX: u64 = 800;

/// The configuration of the group that is called so in messages.
pub(super) fn config(group: &str) -> Config {
    Config {
        cluster_name: group.to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS_MIN,
        election_timeout_max: ELECTION_MS_MAX,
        // Retention decides what is let go, through `trim`; then all of it at once.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        enable_pre_vote: Some(true),
        // One task of the node looks after all groups.
        enable_tick: false,
        // A replica that lost an unacknowledged tail is repaired by its leader, not given up.
        allow_log_reversion: Some(true),
        // A leader that was away leads again only in a new term: one epoch never spans a restart.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}
