//! The operator of a group: makes the coordinators, looks at the group's offsets, sets them back now and then, and sees
//! in the end that everything is read.

use highwater_groups::stream::command::SeekOffsets;
use highwater_groups::stream::{Answer, Command};
use highwater_metadata::GROUPS_TOPIC;
use highwater_types::{ErrorCode, Offset, TopicName};

use super::KnownGroup;
use super::member::id_of;
use super::reading::fetch;
use super::way::{Said, Way};
use crate::dice::Dice;
use crate::front::{Request, Response};
use crate::history::{By, Event, GroupEvent, Outcome, Partition};
use crate::workload::{Clients, Left, pause};

/// How many coordinators there are. The product has more, which would only slow the simulation down.
const COORDINATORS: u32 = 2;

pub(super) async fn run(clients: Clients, group: KnownGroup, _left: Left) {
    let mut dice = clients.dice();
    make_coordinators(&clients, &mut dice).await;
    let mut way = Way::new(&clients, &group);
    while !clients.is_draining.get() {
        pause(&mut dice, 300..=1_500).await;
        let partitions = partitions(&clients);
        let Some(offsets) = fetch(&mut way, &partitions, true).await else { continue };
        if dice.percent(15) && !clients.is_ending.get() {
            set_back(&mut way, &mut dice, &offsets).await;
        }
    }
    drain(&clients, &mut way, &mut dice).await;
    group.is_over.set(true);
}

/// Whoever first uses groups makes the topic of their coordinators.
async fn make_coordinators(clients: &Clients, dice: &mut Dice) {
    let name = TopicName::new(GROUPS_TOPIC).unwrap();
    let create = Request::Create { topic: name.clone(), partitions: COORDINATORS, replicas: 0 };
    match clients.insist(clients.number(), dice, create).await {
        Response::Topic { id, .. } => clients.history.tell(&Event::Created { topic: id, name: name.to_string() }),
        Response::Refused { code: ErrorCode::TopicExists, .. } => {}
        other => clients.history.object("topics_can_be_made", format!("creating {name}: {other:?}")),
    }
}

fn partitions(clients: &Clients) -> Vec<Partition> {
    let topics = clients.topics.borrow();
    topics.iter().flat_map(|topic| (0..topic.partitions).map(|number| topic.partition(number))).collect()
}

/// Sets one partition back, although the group has members.
async fn set_back(way: &mut Way, dice: &mut Dice, offsets: &[(Partition, Option<u64>)]) {
    let committed: Vec<(Partition, u64)> = offsets.iter().filter_map(|(at, offset)| Some((*at, (*offset)?))).collect();
    if committed.is_empty() {
        return;
    }
    let (partition, committed) = *dice.pick(&committed);
    let to = dice.between(0..=committed);
    let (number, group) = (way.clients.number(), way.group.number);
    let began = GroupEvent::SetBegan { number, group, by: By::Seek, offsets: vec![(partition, to)] };
    way.clients.history.tell(&Event::Group(began));
    let offsets = vec![(id_of(partition), Offset::new(to).unwrap())];
    let seek = SeekOffsets { group: way.group.id.clone(), offsets, is_forced: true };
    let outcome = match way.ask(Command::SeekOffsets(seek), false).await {
        Said::Answer(Answer::Seek(Ok(()))) => Outcome::Done,
        Said::Answer(_) | Said::NotDone => Outcome::Refused,
        Said::Unknown => Outcome::Unknown,
    };
    way.clients.history.tell(&Event::Group(GroupEvent::SetEnded { number, outcome }));
}

/// Waits until the group's offsets stand at the ends of all partitions.
async fn drain(clients: &Clients, way: &mut Way, dice: &mut Dice) {
    let client = clients.number();
    loop {
        let mut ends = Vec::new();
        let topics = clients.topics.borrow().clone();
        for topic in &topics {
            for number in 0..topic.partitions {
                let request = Request::End { topic: topic.name.clone(), partition: number };
                let Response::End(end) = clients.insist(client, dice, request).await else { continue };
                ends.push((topic.partition(number), end));
            }
        }
        let partitions: Vec<Partition> = ends.iter().map(|(at, _)| *at).collect();
        if let Some(offsets) = fetch(way, &partitions, true).await {
            let is_at = |(at, end): &(Partition, u64)| {
                let committed = offsets.iter().find(|(other, _)| other == at).and_then(|(_, offset)| *offset);
                committed.unwrap_or(0) == *end
            };
            if ends.iter().all(is_at) {
                let group = way.group.number;
                return clients.history.tell(&Event::Group(GroupEvent::Drained { group, offsets }));
            }
        }
        pause(dice, 50..=300).await;
    }
}
