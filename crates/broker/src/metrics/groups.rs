//! What a node shows of the groups that it coordinates: their members, and how far they are behind.
//!
//! Never: shows more partitions than a scrape can bear; how many were left out is a metric, too.

use futures_util::future::BoxFuture;

use super::{Family, Labels, Source};
use crate::front::grpc::{GroupLag, Groups};

/// The most partitions of groups on one page. Each takes a look into its log.
const PARTITIONS_MAX: usize = 5_000;

/// The groups that this node coordinates.
#[derive(Clone, Debug)]
pub(crate) struct GroupSource(Groups);

impl GroupSource {
    pub(crate) const fn new(groups: Groups) -> Self {
        Self(groups)
    }
}

impl Source for GroupSource {
    fn name(&self) -> &'static str {
        "groups"
    }

    fn gather(&self) -> BoxFuture<'_, Vec<Family>> {
        Box::pin(async {
            let coordinated = self.0.coordinated();
            let (committed, lags) = self.0.lags(PARTITIONS_MAX).await;
            let mut members = Family::gauge("group_members", "Members of each group that this node coordinates");
            for (group, count) in &coordinated {
                members.push(Labels::new([("group", group.to_string())]), *count);
            }
            let groups = Family::gauge("groups", "Groups that this node coordinates").of(coordinated.len());
            let left_out = committed.saturating_sub(PARTITIONS_MAX);
            let left_out =
                Family::gauge("group_partitions_omitted", "Partitions of groups whose lag is not shown").of(left_out);
            let mut families = lag_families(&lags);
            families.extend([groups, members, left_out]);
            families
        })
    }
}

fn lag_families(lags: &[GroupLag]) -> Vec<Family> {
    let mut records = Family::gauge("group_lag_records", "Records that the group has not read yet");
    let mut seconds = Family::gauge("group_lag_seconds", "How long ago the first record not read yet was stored");
    let mut offsets = Family::gauge("group_committed_offset", "The next record that the group reads");
    for lag in lags {
        let labels = Labels::new([
            ("group", lag.group.to_string()),
            ("topic", lag.topic.to_string()),
            ("partition", lag.at.partition.to_string()),
        ]);
        records.push(labels.clone(), lag.records);
        offsets.push(labels.clone(), lag.committed.get());
        if let Some(ms) = lag.ms {
            seconds.push(labels, std::time::Duration::from_millis(ms).as_secs_f64());
        }
    }
    vec![records, seconds, offsets]
}
