//! What a node shows of the queue groups of the partitions that it leads: what waits, what is dead, what was done.
//!
//! Never: shows more groups than a scrape can bear; how many were left out is a metric, too. Never: what only a desk knows
//! (leases, delays): a scrape makes none.

use futures_util::future::BoxFuture;
use highwater_groups::queue::{GroupId, Queue};
use highwater_types::{Offset, TopicPartition};

use super::{Family, Labels, Source};
use crate::router::Router;

/// The most groups on one page, each partition counted by itself.
const GROUPS_MAX: usize = 5_000;

/// The queue groups that this node decides.
#[derive(Clone, Debug)]
pub(crate) struct QueueSource(Router);

impl QueueSource {
    pub(crate) const fn new(router: Router) -> Self {
        Self(router)
    }
}

impl Source for QueueSource {
    fn name(&self) -> &'static str {
        "queues"
    }

    fn gather(&self) -> BoxFuture<'_, Vec<Family>> {
        Box::pin(async {
            let image = self.0.image();
            let mut page = Page::new();
            let mut count = 0;
            for (at, handle) in self.0.open_partitions() {
                let Some(topic) = image.topic_by_id(at.topic).filter(|_| handle.leadership().serves_writes) else {
                    continue;
                };
                let (queues, log_end) = (handle.queues().image(), handle.watermarks().committed);
                for (group, queue) in queues.queues() {
                    count += 1;
                    if count <= GROUPS_MAX {
                        page.add(topic.name.as_str(), at, group, queue, log_end);
                    }
                }
            }
            let left_out = count.saturating_sub(GROUPS_MAX);
            let left_out =
                Family::gauge("queues_omitted", "Queue groups of partitions that are not shown").of(left_out);
            page.families(left_out)
        })
    }
}

struct Page {
    waiting: Family,
    dead: Family,
    paused: Family,
    acked: Family,
    dropped: Family,
    trimmed: Family,
}

impl Page {
    fn new() -> Self {
        Self {
            waiting: Family::gauge(
                "queue_messages_open",
                "Messages that are neither done nor dead, with workers or not",
            ),
            dead: Family::gauge("queue_messages_dead", "Messages that are not tried again unless they are redriven"),
            paused: Family::gauge("queue_paused", "Whether the group hands out nothing: 1, or 0"),
            acked: Family::counter("queue_messages_acked", "Messages acked since the group began"),
            dropped: Family::counter("queue_messages_dropped", "Messages dropped since the group began"),
            trimmed: Family::counter("queue_messages_trimmed", "Messages that retention took before they were done"),
        }
    }

    fn add(&mut self, topic: &str, at: TopicPartition, group: &GroupId, queue: &Queue, log_end: Offset) {
        let labels = Labels::new([
            ("topic", topic.to_owned()),
            ("partition", at.partition.to_string()),
            ("group", group.to_string()),
        ]);
        let (acked, dropped, trimmed) = queue.counts();
        self.waiting.push(labels.clone(), queue.open_count(log_end));
        self.dead.push(labels.clone(), queue.dead_count());
        self.paused.push(labels.clone(), queue.pause().is_some());
        self.acked.push(labels.clone(), acked);
        self.dropped.push(labels.clone(), dropped);
        self.trimmed.push(labels, trimmed);
    }

    fn families(self, left_out: Family) -> Vec<Family> {
        vec![self.waiting, self.dead, self.paused, self.acked, self.dropped, self.trimmed, left_out]
    }
}
