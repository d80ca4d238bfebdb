//! The way to a queue, wherever its partition leads.

use std::collections::BTreeMap;

use highwater_groups::queue::Command;
use highwater_types::ErrorCode;

use super::{KnownQueues, Place};
use crate::dice::Dice;
use crate::front::{Request, Response};
use crate::history::{Partition, Said};
use crate::network::Machine;
use crate::workload::{Clients, next_guess};

pub(super) struct Way {
    pub clients: Clients,
    pub group: KnownQueues,
    client: u64,
    to: BTreeMap<Partition, Machine>,
    dice: Dice,
}

impl Way {
    pub fn new(clients: &Clients, group: &KnownQueues) -> Self {
        let (client, dice) = (clients.number(), clients.dice());
        Self { clients: clients.clone(), group: group.clone(), client, to: BTreeMap::new(), dice }
    }

    /// Asks for something, once.
    pub async fn ask(&mut self, place: &Place, command: Command) -> Said {
        let (topic, group) = (place.topic.name.clone(), self.group.id.clone());
        match self.send(place, Request::Queue { topic, partition: place.number, group, command }).await {
            Some(Response::Queue(answer)) => Said::Answer(answer),
            None | Some(Response::Refused { code: ErrorCode::OutcomeUnknown, .. }) => Said::Unknown,
            // Taken at its word.
            Some(_) => Said::NotDone,
        }
    }

    /// Asks the node that is thought to lead a partition.
    pub async fn send(&mut self, place: &Place, request: Request) -> Option<Response> {
        let partition = place.topic.partition(place.number);
        let Self { clients, dice, .. } = self;
        let to = *self.to.entry(partition).or_insert_with(|| *dice.pick(&clients.nodes));
        let response = self.clients.network.call(self.client, to, request).await;
        if matches!(response, None | Some(Response::Refused { .. })) {
            let next = next_guess(response.as_ref(), &self.clients.nodes, &mut self.dice);
            self.to.insert(partition, next);
        }
        response
    }
}
