//! The end of a run: all replicas have become equal, and what each of them holds is read and compared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_broker::coordinator::CoordinatorHandle;
use highwater_broker::partition::ReadFrom;
use highwater_broker::router::Router;
use highwater_metadata::{GROUPS_TOPIC, Topic};
use highwater_types::batch::records;
use highwater_types::{TopicName, TopicPartition};

use super::World;
use crate::history::{Event, GroupEvent, Partition, QueueEvent};
use crate::host::Host;
use crate::network::Machine;

impl World {
    /// Whether every replica holds, committed, all that any of its group holds.
    pub fn have_caught_up(&mut self) -> bool {
        let mut ends: BTreeMap<Partition, (u64, u64)> = BTreeMap::new();
        for host in self.hosts.iter().filter(|host| host.is_up()) {
            let Some(router) = host.router() else { return false };
            for (partition, id) in partitions(&router) {
                let Some(handle) = router.open_partition(id) else { return false };
                let marks = handle.watermarks();
                let (committed, end) = (marks.committed.get(), marks.log_end.get());
                let (least, most) = ends.entry(partition).or_insert((committed, end));
                (*least, *most) = ((*least).min(committed), (*most).max(end));
            }
        }
        let are_equal = ends.values().all(|(committed, end)| committed == end);
        are_equal && self.have_queues_caught_up() && self.have_coordinators_caught_up()
    }

    /// Whether the queues on every replica of a partition are where those on the others are.
    fn have_queues_caught_up(&self) -> bool {
        let mut found = BTreeMap::new();
        for router in self.hosts.iter().filter_map(Host::router) {
            for (partition, id) in partitions(&router) {
                let Some(handle) = router.open_partition(id) else { return false };
                let revision = handle.queues().image().revision();
                if *found.entry(partition).or_insert(revision) != revision {
                    return false;
                }
            }
        }
        true
    }

    /// Whether every replica of a coordinator is where the others are.
    fn have_coordinators_caught_up(&self) -> bool {
        let mut found = BTreeMap::new();
        for router in self.hosts.iter().filter_map(Host::router) {
            for (partition, id) in coordinators(&router) {
                let Some(handle) = coordinator(&router, id) else { return false };
                let revision = handle.image().revision();
                if *found.entry(partition).or_insert(revision) != revision {
                    return false;
                }
            }
        }
        true
    }

    /// Reads everything from every replica.
    pub(super) fn compare(&mut self) {
        let read: Arc<Mutex<Vec<Event>>> = Arc::default();
        let running: Vec<usize> = (0..self.hosts.len()).filter(|index| self.hosts[*index].is_up()).collect();
        for index in &running {
            let host = &self.hosts[*index];
            let Some(router) = host.router() else { continue };
            let (read, machine) = (Arc::clone(&read), host.machine);
            host.spawn(async move {
                let mut events = read_all(&router, machine).await;
                events.extend(images(&router, machine));
                let topics = router.image().topics().map(|topic| topic.id.to_bytes()).collect();
                events.push(Event::FinalTopics { machine, topics });
                read.lock().unwrap().extend(events);
            });
        }
        let wanted = running.len();
        let done = |read: &Mutex<Vec<Event>>| {
            read.lock().unwrap().iter().filter(|event| matches!(event, Event::FinalTopics { .. })).count() == wanted
        };
        if self.until("every replica can be read", |_| done(&read)) {
            let events = std::mem::take(&mut *read.lock().unwrap());
            events.iter().for_each(|event| self.history.tell(event));
        }
    }
}

/// The partitions of records that a node should hold.
pub(super) fn partitions(router: &Router) -> Vec<(Partition, TopicPartition)> {
    held(router, |topic| !topic.is_internal())
}

/// The coordinators that a node should hold.
pub(super) fn coordinators(router: &Router) -> Vec<(Partition, TopicPartition)> {
    held(router, Topic::is_internal)
}

/// One that is open.
pub(super) fn coordinator(router: &Router, id: TopicPartition) -> Option<CoordinatorHandle> {
    router.coordinator(&TopicName::new(GROUPS_TOPIC).unwrap(), id.partition).ok()
}

fn images(router: &Router, machine: Machine) -> Vec<Event> {
    let open =
        coordinators(router).into_iter().filter_map(|(_, id)| Some((id.partition.get(), coordinator(router, id)?)));
    open.map(|(coordinator, handle)| {
        Event::Group(GroupEvent::FinalImage { machine, coordinator, image: handle.image() })
    })
    .collect()
}

fn held(router: &Router, is_wanted: impl Fn(&Topic) -> bool) -> Vec<(Partition, TopicPartition)> {
    let image = router.image();
    let mut found = Vec::new();
    for topic in image.topics().filter(|topic| is_wanted(topic)) {
        for (number, assignment) in topic.numbered_partitions() {
            if assignment.replicas.contains(&router.node()) {
                let partition = Partition { topic: topic.id.to_bytes(), number: number.get() };
                found.push((partition, TopicPartition { topic: topic.id, partition: number }));
            }
        }
    }
    found
}

async fn read_all(router: &Router, machine: Machine) -> Vec<Event> {
    let mut events = Vec::new();
    for (partition, id) in partitions(router) {
        let Some(handle) = router.open_partition(id) else { continue };
        let marks = handle.watermarks();
        let image = handle.queues().image();
        events.push(Event::Queue(QueueEvent::FinalQueues { partition, machine, image }));
        let (start, mut from) = (marks.log_start.get(), marks.log_start);
        let mut found = Vec::new();
        while from < marks.committed {
            let request = ReadFrom { from, bytes_max: 1 << 20, bytes_min: 1, wait: Duration::ZERO, may_follow: true };
            let read = handle.read(request).await.unwrap();
            for record in read.batches.into_iter().flat_map(|batch| records(batch).unwrap()) {
                let record = record.unwrap();
                let value = record.value.unwrap();
                found.push((record.offset.get(), u64::from_be_bytes(value[..8].try_into().unwrap())));
            }
            from = read.next_offset;
        }
        events.push(Event::Final { partition, machine, start, records: found });
    }
    events
}
