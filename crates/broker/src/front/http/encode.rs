//! From families to the text that Prometheus reads.
//!
//! Owns: nothing of the format; that is the library's. It only hands over what was gathered.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::metrics::{Family, Kind, Value};

/// What who asks must accept for the first of these names.
const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const PREFIX: &str = "highwater";

/// What the text is called for who accepts this: the same text is good in the older format too, but that is what a
/// browser shows.
pub(super) fn content_type(accepted: &str) -> &'static str {
    if accepted.contains(OPEN_METRICS) { OPEN_METRICS_TYPE } else { PLAIN_TYPE }
}

/// The page. Those families that have no value are left out.
pub(super) fn text(families: Vec<Family>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Gathered(families)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// What was gathered before, as the library wants it.
#[derive(Debug)]
struct Gathered(Vec<Family>);

impl Collector for Gathered {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in self.0.iter().filter(|family| !family.samples.is_empty()) {
            let kind = match family.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
            };
            let mut encoder = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for sample in &family.samples {
                let labels = sample.labels.pairs();
                if labels.is_empty() {
                    value(&mut encoder, family.kind, sample.value)?;
                } else {
                    value(&mut encoder.encode_family(&labels)?, family.kind, sample.value)?;
                }
            }
        }
        Ok(())
    }
}

fn value(encoder: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Gauge, Value::Whole(value)) => encoder.encode_gauge(&value),
        (Kind::Gauge, Value::Real(value)) => encoder.encode_gauge(&value),
        (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        (Kind::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
    }
}

#[cfg(test)]
mod tests {
    use highwater_storage::Identity;
    use highwater_types::{ClusterId, LeaderEpoch, NodeId, NodeUuid, Offset, PartitionId, TopicName, Watermarks};
    use uuid::Uuid;

    use super::*;
    use crate::metrics::{Labels, PartitionReading, Reading};

    fn partition(number: u32, is_leader: bool) -> PartitionReading {
        let offset = |value| Offset::new(value).unwrap();
        PartitionReading {
            topic: TopicName::new("orders").unwrap(),
            partition: PartitionId::new(number),
            watermarks: Watermarks {
                log_start: offset(5),
                committed: offset(40),
                flushed: offset(41),
                log_end: offset(42),
            },
            size_bytes: 4_096,
            is_leader,
            epoch: LeaderEpoch::new(7),
        }
    }

    fn reading() -> Reading {
        Reading {
            identity: Identity {
                cluster: ClusterId::new(Uuid::from_u128(0xC1)),
                node: NodeId::new(2),
                uuid: NodeUuid::new(Uuid::from_u128(0xA2)),
            },
            disk_free_bytes: 900,
            disk_size_bytes: 1_000,
            disk_floor_bytes: 50,
            is_disk_full: false,
            produce_in_flight_bytes: 12,
            produce_budget_bytes: 64,
            leads_metadata: true,
            partitions: vec![partition(0, true), partition(1, false)],
        }
    }

    /// What users have in their alerts and dashboards: a name that changes here breaks them.
    #[test]
    fn the_page_of_a_node() {
        let shown = text(reading().families()).unwrap();
        if std::env::var_os("HIGHWATER_UPDATE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/front/http/page.txt");
            #[allow(clippy::disallowed_methods, reason = "the text is kept in the tree")]
            std::fs::write(path, &shown).unwrap();
        }
        assert_eq!(shown, include_str!("page.txt"), "write it anew: HIGHWATER_UPDATE=1 cargo test the_page_of_a_node");
    }

    #[test]
    fn labels_are_escaped_and_families_without_values_left_out() {
        let labels = Labels::new([("group", "a \"b\"\\\n".to_owned())]);
        let families = vec![
            Family::gauge("empty", "Nothing"),
            Family::gauge("lag_seconds", "How late").with(labels, 0.5),
            Family::counter("cpu_seconds", "How long").of(2_u64),
        ];
        let expected = "# HELP highwater_lag_seconds How late\n# TYPE highwater_lag_seconds gauge\n\
                        highwater_lag_seconds{group=\"a \\\"b\\\"\\\\\\n\"} 0.5\n\
                        # HELP highwater_cpu_seconds How long\n# TYPE highwater_cpu_seconds counter\n\
                        highwater_cpu_seconds_total 2\n# EOF\n";
        assert_eq!(text(families).unwrap(), expected);
    }
}
