//! The operator of a queue group: makes it, looks at it, redrives what is dead, pauses and resumes, puts messages off and
//! calls some off, and sees in the end that nothing is left to do.

use std::collections::BTreeSet;

use highwater_groups::queue::{Command, Reason};
use highwater_types::{Offset, OffsetRange, Timestamp};

use super::way::Way;
use super::{KnownQueues, Place, places};
use crate::dice::Dice;
use crate::front::{Request, Response, Stands};
use crate::history::{Event, Operation, Queue, QueueEvent, Said};
use crate::host::START_MS;
use crate::trace::now;
use crate::workload::{Clients, Left, pause};

struct Operator {
    clients: Clients,
    group: KnownQueues,
    way: Way,
    dice: Dice,
    /// Where it is made, or is being made.
    named: BTreeSet<Queue>,
    made: BTreeSet<Queue>,
    /// What may be paused.
    paused: Vec<Place>,
}

pub(super) async fn run(clients: Clients, group: KnownQueues, _left: Left) {
    let way = Way::new(&clients, &group);
    let dice = clients.dice();
    let (named, made, paused) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut operator = Operator { clients, group, way, dice, named, made, paused };
    operator.live().await;
    operator.drain().await;
    operator.group.is_over.set(true);
}

impl Operator {
    async fn live(&mut self) {
        while !self.clients.is_draining.get() {
            pause(&mut self.dice, 100..=700).await;
            self.make().await;
            let made: Vec<Place> = self.places();
            if made.is_empty() || self.clients.is_ending.get() {
                continue;
            }
            let place = self.dice.pick(&made).clone();
            self.change(&place).await;
            // Nobody leaves a queue paused for long.
            if let Some(place) = self.paused.first().cloned()
                && self.dice.percent(30)
            {
                self.resume(&place).await;
            }
        }
    }

    /// The places where the group exists.
    fn places(&self) -> Vec<Place> {
        places(&self.clients).into_iter().filter(|place| self.made.contains(&self.group.at(place))).collect()
    }

    /// Makes the group where it is missing.
    async fn make(&mut self) {
        for place in places(&self.clients) {
            let queue = self.group.at(&place);
            if self.made.contains(&queue) {
                continue;
            }
            let (topic, group, config) = (place.topic.name.clone(), self.group.id.clone(), self.group.config);
            // Workers may be given something before the answer is here.
            if self.named.insert(queue) {
                self.tell(QueueEvent::Made { queue, config });
            }
            let request = Request::MakeQueue { topic, partition: place.number, group, config };
            if matches!(self.way.send(&place, request).await, Some(Response::Done)) {
                self.made.insert(queue);
            }
        }
    }

    /// Now and then.
    async fn change(&mut self, place: &Place) {
        match self.dice.between(0..=99) {
            0..=9 => {
                if let Some(stands) = self.look(place).await.filter(|stands| stands.dead > 0) {
                    let from = if self.dice.percent(50) { 0 } else { self.dice.between(0..=stands.first_open) };
                    self.redrive(place, from).await;
                }
            }
            10..=14 => {
                let reason = Reason::new("somebody wants to look");
                let said = self.ask(place, Operation::Pause, Command::Pause { reason }).await;
                if !matches!(said, Said::NotDone) {
                    self.paused.push(place.clone());
                }
            }
            15..=39 => {
                // Near the first that is open: there most of what may be moved is.
                let Some(stands) = self.look(place).await else { return };
                let at = stands.first_open + self.dice.between(0..=30);
                let offset = Offset::new(at).unwrap();
                if self.dice.percent(30) {
                    self.ask(place, Operation::Cancel(at), Command::Cancel { offset }).await;
                } else {
                    let ahead_ms = i64::try_from(now() + self.dice.between(0..=2_000)).unwrap();
                    let deliver_at = Timestamp::from_ms(START_MS + ahead_ms);
                    self.ask(place, Operation::Reschedule(at), Command::Reschedule { offset, deliver_at }).await;
                }
            }
            _ => {}
        }
    }

    async fn redrive(&mut self, place: &Place, from: u64) -> Said {
        let range = OffsetRange::new(Offset::new(from).unwrap(), Offset::MAX);
        let operation = Operation::Redrive(from, Offset::MAX.get());
        self.ask(place, operation, Command::Redrive { ranges: vec![range] }).await
    }

    async fn resume(&mut self, place: &Place) {
        let said = self.ask(place, Operation::Resume, Command::Resume).await;
        if matches!(said, Said::Answer(_)) || place.topic.is_going.get() {
            let queue = self.group.at(place);
            self.paused.retain(|other| self.group.at(other) != queue);
        }
    }

    async fn look(&mut self, place: &Place) -> Option<Stands> {
        let (topic, group) = (place.topic.name.clone(), self.group.id.clone());
        let request = Request::LookAtQueue { topic, partition: place.number, group };
        match self.way.send(place, request).await {
            Some(Response::Stands(stands)) => {
                let queue = self.group.at(place);
                self.tell(QueueEvent::Looked { queue, dead: stands.dead });
                Some(stands)
            }
            _ => None,
        }
    }

    /// Has something changed, and tells the history.
    async fn ask(&mut self, place: &Place, operation: Operation, command: Command) -> Said {
        let (number, queue) = (self.clients.number(), self.group.at(place));
        self.tell(QueueEvent::OperationBegan { number, queue, operation });
        let said = self.way.ask(place, command).await;
        self.tell(QueueEvent::OperationEnded { number, said: said.clone() });
        said
    }

    /// Waits until every message of every partition is done or dead. Once it redrives what is dead.
    async fn drain(&mut self) {
        let client = self.clients.number();
        let mut redriven = BTreeSet::new();
        let mut left = places(&self.clients);
        while !left.is_empty() {
            self.make().await;
            let mut open = Vec::new();
            for place in left {
                if !self.is_worked_off(client, &place, &mut redriven).await {
                    open.push(place);
                }
            }
            left = open;
            pause(&mut self.dice, 50..=300).await;
        }
    }

    async fn is_worked_off(&mut self, client: u64, place: &Place, redriven: &mut BTreeSet<Queue>) -> bool {
        let Some(stands) = self.look(place).await else { return false };
        // A pause that nobody knows to have been made may come late.
        if stands.is_paused {
            self.resume(place).await;
            return false;
        }
        let request = Request::End { topic: place.topic.name.clone(), partition: place.number };
        let Response::End(end) = self.clients.insist(client, &mut self.dice, request).await else { return false };
        if stands.first_open < end {
            return false;
        }
        let is_first = redriven.insert(self.group.at(place));
        if is_first && stands.dead > 0 && self.dice.percent(50) {
            self.redrive(place, 0).await;
            return false;
        }
        true
    }

    fn tell(&self, event: QueueEvent) {
        self.clients.history.tell(&Event::Queue(event));
    }
}
