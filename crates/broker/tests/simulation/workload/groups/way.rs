//! The way to the coordinator of a group, wherever it is.

use highwater_groups::stream::{Answer, Command};
use highwater_types::ErrorCode;

use super::KnownGroup;
use crate::dice::Dice;
use crate::front::{Request, Response};
use crate::network::Machine;
use crate::workload::{Clients, next_guess, pause};

/// How many nodes are asked before something else is done.
const TRIES: usize = 4;

/// What came of a question.
#[derive(Debug)]
pub enum Said {
    Answer(Answer),
    /// Nobody took it.
    NotDone,
    /// It may have been done.
    Unknown,
}

pub struct Way {
    pub clients: Clients,
    pub group: KnownGroup,
    client: u64,
    to: Machine,
    dice: Dice,
}

impl Way {
    pub fn new(clients: &Clients, group: &KnownGroup) -> Self {
        let mut dice = clients.dice();
        let to = *dice.pick(&clients.nodes);
        Self { clients: clients.clone(), group: group.clone(), client: clients.number(), to, dice }
    }

    /// Asks. What was not answered may still be done, but before anything that is asked later.
    pub async fn ask(&mut self, command: Command, confirms: bool) -> Said {
        for _ in 0..TRIES {
            let request = Request::Group { group: self.group.id.clone(), command: command.clone(), confirms };
            let answer = self.clients.network.call(self.client, self.to, request).await;
            if let Some(Response::Group(answer)) = answer {
                return Said::Answer(answer);
            }
            let is_open = matches!(answer, None | Some(Response::Refused { code: ErrorCode::OutcomeUnknown, .. }));
            self.to = next_guess(answer.as_ref(), &self.clients.nodes, &mut self.dice);
            if is_open {
                return Said::Unknown;
            }
            // Taken at their word, and not asked again: then it shows whether nothing was done.
            if let Some(Response::Refused { code: ErrorCode::ShuttingDown | ErrorCode::DiskFull, .. }) = answer {
                return Said::NotDone;
            }
            pause(&mut self.dice, 5..=100).await;
        }
        Said::NotDone
    }
}
