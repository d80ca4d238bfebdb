//! What `group list` and `group describe` print. The names of the JSON keys are a contract.
//!
//! Invariant: what the server did not tell is `-` for people and `null` for programs, never 0.

mod lag;

use std::collections::{BTreeMap, BTreeSet};

use highwater_client::{GroupDescription, GroupListing, GroupMember, GroupOffset, GroupState, Offset, Timestamp};
use serde::Serialize;

use self::lag::Total;
pub(crate) use self::lag::ago;
use crate::output::{Report, Table};

/// The name of a state, as `group list --state` takes it.
pub(super) fn state_name(state: Option<GroupState>) -> &'static str {
    match state {
        Some(GroupState::Empty) => "empty",
        Some(GroupState::PreparingRebalance) => "preparing-rebalance",
        Some(GroupState::CompletingRebalance) => "completing-rebalance",
        Some(GroupState::Stable) => "stable",
        Some(GroupState::Dead) => "dead",
        _ => "unknown",
    }
}

/// What may be missing.
pub(crate) fn or_dash(cell: Option<impl ToString>) -> String {
    cell.map(|cell| cell.to_string()).filter(|cell| !cell.is_empty()).unwrap_or_else(|| "-".to_owned())
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Groups(Vec<GroupRow>);

#[derive(Debug, Serialize)]
struct GroupRow {
    group: String,
    state: &'static str,
    kind: String,
    members: u32,
    coordinator: u64,
}

impl Groups {
    pub(super) fn new(mut groups: Vec<GroupListing>) -> Self {
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        let row = |listing: GroupListing| GroupRow {
            group: listing.group,
            state: state_name(listing.state),
            kind: listing.protocol_type,
            members: listing.members,
            coordinator: listing.coordinator.get(),
        };
        Self(groups.into_iter().map(row).collect())
    }
}

impl Report for Groups {
    fn table(&self) -> String {
        let mut table = Table::new(["GROUP", "STATE", "KIND", "MEMBERS", "COORDINATOR"]);
        for row in &self.0 {
            table.row([
                row.group.clone(),
                row.state.to_owned(),
                or_dash(Some(&row.kind)),
                row.members.to_string(),
                row.coordinator.to_string(),
            ]);
        }
        table.render()
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Description {
    group: String,
    state: &'static str,
    kind: String,
    generation: i32,
    assignor: String,
    coordinator: u64,
    total: Total,
    members: Vec<MemberRow>,
    partitions: Vec<PartitionRow>,
}

#[derive(Debug, Serialize)]
struct MemberRow {
    member: String,
    instance: Option<String>,
    client: String,
    host: String,
    partitions: Vec<GivenRow>,
}

#[derive(Debug, Serialize)]
struct GivenRow {
    topic: String,
    partition: u32,
}

#[derive(Debug, Serialize)]
struct PartitionRow {
    topic: String,
    partition: u32,
    current: Option<u64>,
    log_start: Option<u64>,
    log_end: Option<u64>,
    lag_records: Option<u64>,
    lag_ms: Option<u64>,
    committed_at_ms: Option<i64>,
    metadata: String,
    member: Option<String>,
}

impl Description {
    pub(super) fn new(mut found: GroupDescription) -> Self {
        found.offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let partitions: Vec<PartitionRow> = found.offsets.into_iter().map(PartitionRow::new).collect();
        Self {
            group: found.group,
            state: state_name(found.state),
            kind: found.protocol_type,
            generation: found.generation.get(),
            assignor: found.assignor,
            coordinator: found.coordinator.get(),
            total: partitions.iter().map(|row| (row.lag_records, row.lag_ms)).collect(),
            members: found.members.into_iter().map(MemberRow::new).collect(),
            partitions,
        }
    }

    fn partitions(&self) -> String {
        let hosts: BTreeMap<&str, &str> =
            self.members.iter().map(|member| (member.member.as_str(), member.host.as_str())).collect();
        let mut table = Table::new(["TOPIC", "PARTITION", "CURRENT", "END", "LAG", "LAG TIME", "MEMBER", "HOST"]);
        let mut readers = BTreeSet::new();
        for row in &self.partitions {
            let member = row.member.as_deref();
            readers.extend(member);
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                or_dash(row.current),
                or_dash(row.log_end),
                or_dash(row.lag_records),
                or_dash(row.lag_ms.map(ago)),
                or_dash(member),
                or_dash(member.and_then(|member| hosts.get(member))),
            ]);
        }
        let dash = || "-".to_owned();
        for idle in self.members.iter().filter(|member| !readers.contains(member.member.as_str())) {
            let (member, host) = (idle.member.clone(), or_dash(Some(&idle.host)));
            table.row([dash(), dash(), dash(), dash(), dash(), dash(), member, host]);
        }
        table.render()
    }
}

impl PartitionRow {
    fn new(offset: GroupOffset) -> Self {
        Self {
            topic: offset.topic,
            partition: offset.partition.get(),
            current: offset.offset.map(Offset::get),
            log_start: offset.log_start.map(Offset::get),
            log_end: offset.log_end.map(Offset::get),
            lag_records: offset.lag_records,
            lag_ms: offset.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            committed_at_ms: offset.committed_at.map(Timestamp::as_ms),
            metadata: offset.metadata,
            member: offset.member_id,
        }
    }
}

impl MemberRow {
    fn new(member: GroupMember) -> Self {
        let given = member.partitions.into_iter();
        Self {
            member: member.member_id,
            instance: member.instance_id,
            client: member.client_id,
            host: member.host,
            partitions: given
                .map(|at| GivenRow { topic: at.topic.as_str().to_owned(), partition: at.partition.get() })
                .collect(),
        }
    }
}

impl Report for Description {
    fn table(&self) -> String {
        let is_bare = self.members.is_empty() && self.partitions.is_empty();
        let partitions = if is_bare { "it has no members and no offsets\n".to_owned() } else { self.partitions() };
        let mut head = Table::plain();
        head.row(["group".to_owned(), self.group.clone()]);
        head.row(["state".to_owned(), self.state.to_owned()]);
        head.row(["generation".to_owned(), self.generation.to_string()]);
        head.row(["assignor".to_owned(), or_dash(Some(&self.assignor))]);
        head.row(["coordinator".to_owned(), format!("node {}", self.coordinator)]);
        format!("{}\n{partitions}\ntotal        {}\n", head.render(), self.total)
    }
}

#[cfg(test)]
mod tests;
