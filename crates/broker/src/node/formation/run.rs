//! The steps of formation, with the disk and the network: asks, waits, and makes durable.

use std::time::Duration;

use highwater_metadata::NodeRegistration;
use highwater_proto::internal::v1::control_request::Kind as Ask;
use highwater_proto::internal::v1::control_response::Kind as Answer;
use highwater_proto::internal::v1::error::Reason;
use highwater_proto::internal::v1::{ControlRequest, Join, WhoAreYou};
use highwater_storage::Identity;
use highwater_types::{ClusterId, NodeId, NodeUuid};

use super::decide::{Offer, Stance, may_found, may_wait, role};
use super::{ClusterOptions, FOUNDER, FormationError, Role, wire};
use crate::clock::Clock;
use crate::node::desk::Desk;
use crate::node::{StartError, on_disk};
use crate::peer::Peers;
use crate::planted::{Bug, is_planted};

/// How long until who did not answer is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// How often a long wait says what it waits for.
const PROGRESS: Duration = Duration::from_secs(5);

/// The identity in the data directory; the place that this node gets now when there is none.
pub(in crate::node) async fn establish(desk: &Desk, peers: &Peers, clock: &Clock) -> Result<Identity, StartError> {
    if let Some(identity) = desk.identity() {
        return Ok(identity);
    }
    let uuid = desk.hello().uuid;
    let made = Identity { cluster: ClusterId::new(clock.unique_id()), node: FOUNDER, uuid };
    let identity = match role(desk.options())? {
        Role::Alone => desk.become_node(made).await?,
        Role::Founder { others } => {
            until_nobody_belongs_anywhere(desk.options(), peers, &others, clock).await?;
            desk.become_node(made).await?
        }
        Role::Member { place } => {
            let identity = until_offered(desk, peers, place, clock).await?;
            if is_planted(Bug::ReusedNodeId) { desk.become_node(identity).await? } else { identity }
        }
        Role::Joiner => {
            let data = desk.data();
            let uuid = on_disk(move || Ok(data.joining_uuid(uuid)?)).await?;
            let identity = until_let_in(desk, peers, uuid, clock).await?;
            desk.become_node(identity).await?
        }
    };
    tracing::info!(cluster = %identity.cluster, node = %identity.node, "first start: this node has its place");
    Ok(identity)
}

/// Offers the others their places until all have taken them, and tells who they are; nothing when one of them says
/// that the cluster was formed already.
pub(in crate::node) async fn offer_places(
    options: &ClusterOptions,
    peers: &Peers,
    cluster: ClusterId,
    others: &[(NodeId, String)],
    clock: &Clock,
) -> Result<Option<Vec<NodeRegistration>>, FormationError> {
    let mut taken = Vec::new();
    let mut wait = Wait::new(clock, "until the other first voters have taken their places");
    for (place, address) in others {
        let offer = Offer { cluster, place: *place, first_voters: options.first_voters.clone() };
        let node = loop {
            match ask(peers, address, Ask::Found(wire::found(&offer))).await? {
                Some(Answer::Founded(founded)) if founded.is_formed => return Ok(None),
                Some(Answer::Founded(founded)) => break wire::registration(*place, address, founded)?,
                Some(_) => return Err(wire::bad_answer(address, "a word about the offered place")),
                None => wait.pause(address).await,
            }
        };
        taken.push(node);
    }
    Ok(Some(taken))
}

/// Asks all others until each has said that it belongs to no cluster.
async fn until_nobody_belongs_anywhere(
    options: &ClusterOptions,
    peers: &Peers,
    others: &[(NodeId, String)],
    clock: &Clock,
) -> Result<(), FormationError> {
    let mut wait = Wait::new(clock, "until all first voters are there");
    for (_, address) in others {
        let stance = loop {
            match stance_of(peers, address).await? {
                Some(stance) => break stance,
                None => wait.pause(address).await,
            }
        };
        may_found(options, address, &stance)?;
    }
    Ok(())
}

/// Waits for the offer of the founder, and looks whether it can still come.
async fn until_offered(desk: &Desk, peers: &Peers, place: NodeId, clock: &Clock) -> Result<Identity, FormationError> {
    let options = desk.options();
    let look = async {
        let mut wait = Wait::new(clock, "for the offer of a place by the first of cluster.first_voters");
        let others: Vec<&String> = options.first_voters.iter().filter(|own| **own != options.peer_address).collect();
        loop {
            for address in &others {
                if let Some(stance) = stance_of(peers, address).await? {
                    if let Some(old) = old_place(&stance, place).filter(|_| is_planted(Bug::ReusedNodeId)) {
                        return Ok(old);
                    }
                    may_wait(options, place, address, &stance)?;
                }
            }
            wait.pause(options.first_voters.first().map_or("", String::as_str)).await;
        }
    };
    tokio::select! {
        biased;
        identity = desk.until_somebody() => Ok(identity),
        looked = look => looked,
    }
}

/// The identity of whoever has this place in the cluster of another node.
fn old_place(stance: &Stance, place: NodeId) -> Option<Identity> {
    let uuid = *stance.formed.as_ref()?.get(&place)?;
    stance.identity.map(|theirs| Identity { cluster: theirs.cluster, node: place, uuid })
}

/// Asks one known node after the other for a place until one lets this node in.
async fn until_let_in(desk: &Desk, peers: &Peers, uuid: NodeUuid, clock: &Clock) -> Result<Identity, FormationError> {
    let options = desk.options();
    let mut wait = Wait::new(clock, "until a node of the cluster lets this one in");
    loop {
        for address in &options.join {
            let join = Join {
                uuid: wire::bytes(uuid.to_bytes()),
                peer_address: options.peer_address.clone(),
                grpc_address: desk.address().to_owned(),
                rack: options.rack.clone(),
            };
            match ask(peers, address, Ask::Join(join)).await? {
                Some(Answer::Joined(joined)) => return wire::joined(address, &joined, uuid),
                Some(_) => return Err(wire::bad_answer(address, "a place")),
                None => wait.pause(address).await,
            }
        }
    }
}

async fn stance_of(peers: &Peers, address: &str) -> Result<Option<Stance>, FormationError> {
    match ask(peers, address, Ask::WhoAreYou(WhoAreYou {})).await? {
        Some(Answer::Identified(identified)) => wire::stance(address, identified).map(Some),
        Some(_) => Err(wire::bad_answer(address, "who it is")),
        None => Ok(None),
    }
}

/// One question; nothing when it is to be asked again later.
async fn ask(peers: &Peers, address: &str, kind: Ask) -> Result<Option<Answer>, FormationError> {
    let answer = match peers.ask_address(address, ControlRequest { kind: Some(kind) }).await {
        Ok(answer) => answer.kind,
        Err(error) => {
            tracing::debug!(address, %error, "no answer yet");
            return Ok(None);
        }
    };
    match answer {
        Some(Answer::Error(error)) if matches!(error.reason(), Reason::Refused | Reason::Invalid) => {
            Err(FormationError::Refused { address: address.to_owned(), reason: error.message })
        }
        Some(Answer::Error(error)) => {
            tracing::debug!(address, reason = error.message, "not yet");
            Ok(None)
        }
        Some(answer) => Ok(Some(answer)),
        None => Err(wire::bad_answer(address, "anything in it")),
    }
}

/// A wait that says now and then what it waits for.
struct Wait<'a> {
    clock: &'a Clock,
    what: &'static str,
    told: tokio::time::Instant,
}

impl<'a> Wait<'a> {
    fn new(clock: &'a Clock, what: &'static str) -> Self {
        Self { clock, what, told: clock.instant() }
    }

    async fn pause(&mut self, address: &str) {
        if self.clock.instant().duration_since(self.told) >= PROGRESS {
            self.told = self.clock.instant();
            tracing::warn!(address, "waiting {}; no answer from this one yet", self.what);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
