//! One step: a command or a tick on its way to a decision.

use highwater_types::Timestamp;

use super::config::Config;
use crate::stream::command::{Answer, Context, Decision, Reply};
use crate::stream::ids::{Moment, Ticket};
use crate::stream::limits;
use crate::stream::member::Member;
use crate::stream::record::GroupRecord;

pub(super) struct Step<'a> {
    pub(super) config: Config,
    pub(super) context: &'a Context<'a>,
    pub(super) decision: Decision,
    records_bytes: usize,
}

impl<'a> Step<'a> {
    pub(super) fn new(config: Config, context: &'a Context<'a>) -> Self {
        Self { config, context, decision: Decision::default(), records_bytes: 0 }
    }

    pub(super) fn now(&self) -> Moment {
        self.context.now
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.context.wall
    }

    /// To be persisted.
    pub(super) fn record(&mut self, record: GroupRecord) {
        self.records_bytes += match &record {
            GroupRecord::GenerationStarted(generation) => generation.members.iter().map(Member::weight_bytes).sum(),
            GroupRecord::MembersRemoved { members, .. } => members.iter().map(|member| member.as_str().len()).sum(),
            GroupRecord::OffsetsExpired { partitions, .. } => partitions.len() * 8,
            _ => 0,
        };
        self.decision.records.push(record);
    }

    /// Whether a tick has written enough.
    pub(super) fn is_full(&self) -> bool {
        self.records_bytes > limits::TICK_BYTES_MAX
    }

    /// To be told when the records are committed.
    pub(super) fn answer(&mut self, to: Ticket, answer: Answer) {
        self.decision.then.push(Reply { to, answer });
    }

    /// To be told at once, because it rests on the request alone or on the committed image.
    pub(super) fn answer_now(&mut self, to: Ticket, answer: Answer) {
        self.decision.now.push(Reply { to, answer });
    }
}
