//! What an operator may choose about stream groups.

use crate::stream::limits;

/// What an operator may choose about stream groups. The defaults are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The shortest session time-out that a member may ask for, in milliseconds.
    pub session_timeout_ms_min: u32,
    /// The longest, in milliseconds; at most [`limits::SESSION_TIMEOUT_MS_MAX`].
    pub session_timeout_ms_max: u32,
    /// How long the first members of an empty group are waited for before it starts, in milliseconds. Each that comes
    /// within it prolongs it, up to the rebalance time-out.
    pub initial_rebalance_delay_ms: u64,
    /// The most members of one group; at most [`limits::GROUP_MEMBERS_MAX`].
    pub members_max: usize,
    /// The longest text beside an offset, in bytes; at most [`limits::OFFSET_METADATA_BYTES_MAX`].
    pub offset_metadata_bytes_max: usize,
    /// How long the offsets of an empty group are kept, in milliseconds.
    pub offsets_retention_ms: u64,
    /// How often groups are looked through for what expired, in milliseconds.
    pub sweep_interval_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: limits::SESSION_TIMEOUT_MS_MAX,
            initial_rebalance_delay_ms: 3_000,
            members_max: limits::GROUP_MEMBERS_MAX,
            offset_metadata_bytes_max: limits::OFFSET_METADATA_BYTES_MAX,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            sweep_interval_ms: 10 * 60 * 1_000,
        }
    }
}

impl Config {
    /// The same, with nothing beyond the hard limits.
    pub(super) fn bounded(self) -> Self {
        Self {
            session_timeout_ms_max: self.session_timeout_ms_max.min(limits::SESSION_TIMEOUT_MS_MAX),
            members_max: self.members_max.min(limits::GROUP_MEMBERS_MAX),
            offset_metadata_bytes_max: self.offset_metadata_bytes_max.min(limits::OFFSET_METADATA_BYTES_MAX),
            ..self
        }
    }
}
