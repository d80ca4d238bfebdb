//! Who creates and deletes topics, and adds partitions.

use std::cell::Cell;
use std::rc::Rc;

use highwater_types::{ErrorCode, TopicName};
use tokio::task::spawn_local;

use super::{Busy, Clients, KnownTopic, pause, producer, reader};
use crate::dice::Dice;
use crate::front::{Request, Response};
use crate::history::Event;
use crate::trace::note;

const TOPICS_MAX: usize = 3;
const PARTITIONS_MAX: u32 = 3;

/// Creates a first topic with its clients, then changes things now and then. No name is used twice.
pub async fn run(clients: Clients) {
    let _busy = Busy::new(&clients);
    let (client, mut dice) = (clients.number(), clients.dice());
    let mut names = 0;
    while !clients.is_ending.get() {
        let live: Vec<KnownTopic> = clients.topics.borrow().clone();
        if live.is_empty() || (live.len() < TOPICS_MAX && dice.percent(30)) {
            names += 1;
            let name = TopicName::new(&format!("topic-{names}")).unwrap();
            create(&clients, client, &mut dice, name).await;
        } else {
            let one = dice.pick(&live).clone();
            if live.len() > 1 && dice.percent(20) {
                delete(&clients, client, &mut dice, one).await;
            } else if one.partitions < PARTITIONS_MAX && dice.percent(20) {
                grow(&clients, client, &mut dice, one).await;
            }
        }
        pause(&mut dice, 300..=4_000).await;
    }
}

async fn create(clients: &Clients, client: u64, dice: &mut Dice, name: TopicName) {
    let partitions = u32::try_from(dice.between(1..=2)).unwrap();
    let replicas = u32::try_from(clients.nodes.len()).unwrap();
    let request = Request::Create { topic: name.clone(), partitions, replicas };
    let id = match clients.insist(client, dice, request).await {
        Response::Topic { id, .. } => id,
        // An attempt before this one had done it.
        Response::Refused { code: ErrorCode::TopicExists, .. } => describe(clients, client, dice, &name).await,
        other => return clients.history.object("topics_can_be_made", format!("creating {name}: {other:?}")),
    };
    note!("topic {name} is {:02x}{:02x} with {partitions} partitions", id[14], id[15]);
    clients.history.tell(&Event::Created { topic: id, name: name.to_string() });
    let topic = KnownTopic { name, id, partitions, is_going: Rc::new(Cell::new(false)) };
    for number in 0..partitions {
        populate(clients, &topic, number);
    }
    clients.topics.borrow_mut().push(topic);
}

async fn describe(clients: &Clients, client: u64, dice: &mut Dice, name: &TopicName) -> [u8; 16] {
    loop {
        // A node whose image is behind does not know it yet.
        match clients.insist(client, dice, Request::Describe { topic: name.clone() }).await {
            Response::Topic { id, .. } => return id,
            _ => pause(dice, 10..=100).await,
        }
    }
}

async fn delete(clients: &Clients, client: u64, dice: &mut Dice, topic: KnownTopic) {
    topic.is_going.set(true);
    clients.history.tell(&Event::Deleting { topic: topic.id });
    clients.topics.borrow_mut().retain(|other| other.id != topic.id);
    match clients.insist(client, dice, Request::Delete { topic: topic.name.clone() }).await {
        Response::Done | Response::Refused { code: ErrorCode::UnknownTopic, .. } => {
            note!("topic {} is deleted", topic.name);
            clients.history.tell(&Event::Deleted { topic: topic.id });
        }
        other => clients.history.object("topics_can_be_deleted", format!("deleting {}: {other:?}", topic.name)),
    }
}

async fn grow(clients: &Clients, client: u64, dice: &mut Dice, topic: KnownTopic) {
    let wanted = topic.partitions + 1;
    let request = Request::AddPartitions { topic: topic.name.clone(), partitions: wanted };
    match clients.insist(client, dice, request).await {
        Response::Topic { .. } => {
            note!("topic {} has {wanted} partitions", topic.name);
            populate(clients, &topic, topic.partitions);
            let mut topics = clients.topics.borrow_mut();
            if let Some(known) = topics.iter_mut().find(|other| other.id == topic.id) {
                known.partitions = wanted;
            }
        }
        other => clients.history.object("partitions_can_be_added", format!("{}: {other:?}", topic.name)),
    }
}

/// The clients of one partition.
fn populate(clients: &Clients, topic: &KnownTopic, number: u32) {
    spawn_local(producer::idempotent(clients.clone(), topic.clone(), number));
    spawn_local(producer::idempotent(clients.clone(), topic.clone(), number));
    spawn_local(producer::plain(clients.clone(), topic.clone(), number));
    spawn_local(reader::follow(clients.clone(), topic.clone(), number));
    spawn_local(reader::ends(clients.clone(), topic.clone(), number));
}
