//! Sessions: what the leader of a coordinator knows beside the image: who waits for what, and until when.
//!
//! Owns: the live groups, which are those with members; the agenda of their deadlines; the sweep for what expires.
//!
//! Never: committed offsets, which stand in the image alone. A group without members needs no session.
//!
//! Invariants:
//! - Sessions decide on the newest state, so membership here runs ahead of the image by what is not committed yet. They
//!   are never taken back in parts: when a record cannot be committed, [`Outbox::fail`](super::Outbox::fail) takes them
//!   away, and [`Sessions::new`] makes them anew from the image.
//! - New sessions force no rebalance, but for one that was under way because members went, or because the server
//!   assigned another number of partitions. Every member of the image begins its session time-out anew.
//! - A group that the image has members of is live. One that is not live is what the image says.
//! - The agenda has each live group once, not later than its earliest deadline. Heartbeats only move deadlines on, so
//!   they leave the agenda alone: the group is looked at in vain now and then, and put back.

mod config;
mod expiry;
mod groups;
mod join;
mod live;
mod member;
mod offsets;
mod rebalance;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use highwater_types::TopicId;

use super::command::{Answer, Command, Context, Decision};
use super::ids::{GenerationId, GroupId, Moment, Ticket};
use super::image::GroupsImage;
use super::limits;
use live::LiveGroup;
use step::Step;

pub use config::Config;

/// What the leader of a coordinator knows beside the image.
#[derive(Debug)]
pub struct Sessions {
    config: Config,
    live: BTreeMap<GroupId, LiveGroup>,
    agenda: BTreeSet<(Moment, GroupId)>,
    /// No generation up to this one is decided again. It stands for groups that are live no more and that the image
    /// does not have: they are deleted, or their records are still on their way.
    floor: GenerationId,
    sweep_at: Moment,
    /// Where the sweep goes on.
    swept: Option<GroupId>,
}

impl Sessions {
    /// Sessions for all members of the image. The image must hold everything that was committed before this leader.
    #[must_use]
    pub fn new(config: Config, image: &GroupsImage, context: &Context<'_>) -> Self {
        let now = context.now;
        let config = config.bounded();
        let sweep_at = now.plus_ms(config.sweep_interval_ms);
        let mut sessions = Self {
            config,
            live: BTreeMap::new(),
            agenda: BTreeSet::new(),
            floor: GenerationId::default(),
            sweep_at,
            swept: None,
        };
        for (id, group) in image.groups().filter(|(_, group)| !group.members.is_empty()) {
            sessions.live.insert(id.clone(), LiveGroup::restore(id.clone(), group, context));
            sessions.reschedule(id);
        }
        sessions
    }

    /// Decides what a command leads to. The image is the committed one.
    pub fn decide(&mut self, image: &GroupsImage, ticket: Ticket, command: Command, context: &Context<'_>) -> Decision {
        let mut step = Step::new(self.config, context);
        match command {
            Command::Join(command) => self.join(image, &mut step, ticket, command),
            Command::Sync(command) => self.sync(&mut step, ticket, command),
            Command::Heartbeat { group, by } => self.heartbeat(&mut step, ticket, &group, &by),
            Command::Leave { group, members } => self.leave(&mut step, ticket, &group, members),
            Command::CommitOffsets(command) => self.commit(image, &mut step, ticket, command),
            Command::FetchOffsets { group, partitions } => {
                step.answer_now(ticket, Answer::Fetch(offsets::fetch(image, &group, partitions)));
            }
            Command::DescribeGroup { group } => {
                let description = self.describe(image, &group);
                step.answer(ticket, Answer::Describe(description));
            }
            Command::ListGroups { states } => step.answer(ticket, Answer::List(self.list(image, &states))),
            Command::DeleteGroup { group } => self.delete(image, &mut step, ticket, &group),
            Command::DeleteOffsets { group, partitions } => {
                self.delete_offsets(image, &mut step, ticket, &group, partitions);
            }
            Command::SeekOffsets(command) => self.seek(image, &mut step, ticket, command),
            Command::TopicDeleted { topic } => {
                step.record(super::record::GroupRecord::TopicDeleted { topic });
                self.rebalance_readers_of(&mut step, topic);
                step.answer(ticket, Answer::Done);
            }
            Command::TopicGrown { topic } => {
                self.rebalance_readers_of(&mut step, topic);
                step.answer(ticket, Answer::Done);
            }
            Command::FenceMember { group, member } => self.fence(&mut step, ticket, &group, &member),
        }
        step.decision
    }

    /// Does what is due: ends sessions and join rounds, removes what expired. It does a bounded part at a time; when
    /// more is due, [`Sessions::next_deadline`] is not after `now`.
    pub fn tick(&mut self, image: &GroupsImage, context: &Context<'_>) -> Decision {
        let mut step = Step::new(self.config, context);
        for _ in 0..limits::TICK_GROUPS_MAX {
            let is_due = self.agenda.first().is_some_and(|(due, _)| *due <= context.now);
            if !is_due || step.is_full() {
                break;
            }
            let Some((_, id)) = self.agenda.pop_first() else { break };
            self.expire_group(image, &mut step, &id);
        }
        if self.sweep_at <= context.now && !step.is_full() {
            self.sweep(image, &mut step);
        }
        step.decision
    }

    /// When [`Sessions::tick`] is due. A command may bring it forward.
    #[must_use]
    pub fn next_deadline(&self) -> Moment {
        self.agenda.first().map_or(self.sweep_at, |(due, _)| self.sweep_at.min(*due))
    }

    /// How many groups are live.
    #[must_use]
    pub fn live_groups(&self) -> usize {
        self.live.len()
    }

    /// All who wait in a join or a sync.
    pub(super) fn into_waiting(self) -> Vec<Ticket> {
        self.live.into_values().flat_map(LiveGroup::into_waiting).collect()
    }

    /// The live group, made from the image when it is not live yet.
    fn make_live(&mut self, image: &GroupsImage, id: &GroupId) -> &mut LiveGroup {
        let floor = self.floor;
        self.live.entry(id.clone()).or_insert_with(|| LiveGroup::load(id.clone(), image, floor))
    }

    /// Puts a group on the agenda where it belongs.
    fn reschedule(&mut self, id: &GroupId) {
        let Some(group) = self.live.get_mut(id) else { return };
        let due = group.next_deadline();
        let was_due = std::mem::replace(&mut group.scheduled, due);
        if was_due != due {
            was_due.map(|was_due| self.agenda.remove(&(was_due, id.clone())));
            self.agenda.extend(due.map(|due| (due, id.clone())));
        }
    }

    /// The server assigned by how many partitions the topic had.
    fn rebalance_readers_of(&mut self, step: &mut Step<'_>, topic: TopicId) {
        let concerned = self.live.values().filter(|group| group.is_assigned_by_server_for(topic));
        for id in concerned.map(|group| group.id.clone()).collect::<Vec<_>>() {
            if let Some(group) = self.live.get_mut(&id) {
                rebalance::begin(group, step);
            }
            self.reschedule(&id);
        }
    }
}
