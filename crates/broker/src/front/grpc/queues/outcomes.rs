//! What became of messages: from the wire and back.

use std::collections::BTreeMap;

use highwater_groups::queue::command::SettleError;
use highwater_groups::queue::{AckToken, Answer, Command, GroupId, Outcome, Reason, Settled, WorkerId};
use highwater_proto::v1;
use highwater_proto::v1::outcome::Kind;
use highwater_types::{ErrorCode, PartitionId};

use super::token;
use crate::front::failure::Failure;
use crate::front::grpc::error::error_of;
use crate::queues::{QueueError, QueueHandle, received};

/// An outcome with the partition that its token names, and its place in the request.
pub(super) struct Placed {
    pub(super) index: usize,
    pub(super) partition: PartitionId,
    pub(super) token: AckToken,
    pub(super) outcome: v1::Outcome,
}

/// Where an outcome goes; the refusal of one that goes nowhere.
pub(super) fn placed(index: usize, outcome: v1::Outcome) -> Result<Placed, Box<v1::Settled>> {
    match token::from_wire(&outcome.token) {
        Ok(_) if outcome.kind.is_none() => {
            let failure = Failure::invalid("the outcome says nothing that this version knows; start the newer one");
            Err(Box::new(refused(&failure)))
        }
        Ok((partition, token)) => Ok(Placed { index, partition, token, outcome }),
        Err(failure) => Err(Box::new(refused(&failure))),
    }
}

/// What became of the outcomes of a request, by their places; those that go nowhere are refused there already.
pub(super) type Results = Vec<v1::Settled>;

/// The outcomes of a request by the partition that settles them.
pub(super) fn by_partition(outcomes: Vec<v1::Outcome>) -> (BTreeMap<PartitionId, Vec<Placed>>, Results) {
    let mut by_partition: BTreeMap<PartitionId, Vec<Placed>> = BTreeMap::new();
    let placed = outcomes.into_iter().enumerate().map(|(index, outcome)| match placed(index, outcome) {
        Ok(placed) => {
            by_partition.entry(placed.partition).or_default().push(placed);
            v1::Settled::default()
        }
        Err(refused) => *refused,
    });
    let results = placed.collect();
    (by_partition, results)
}

/// The engine's form.
pub(super) fn outcome_of(outcome: &v1::Outcome) -> Outcome {
    match &outcome.kind {
        Some(Kind::Ack(_)) => Outcome::Ack,
        Some(Kind::Fail(fail)) => {
            Outcome::Fail { reason: Reason::new(&fail.reason), retry_after_ms: fail.retry_after_ms }
        }
        Some(Kind::Reject(reject)) => Outcome::Reject { reason: Reason::new(&reject.reason) },
        Some(Kind::Extend(extend)) => Outcome::Extend { lease_ms: extend.lease_ms },
        // One that is missing was refused before.
        Some(Kind::Release(_)) | None => Outcome::Release,
    }
}

/// Has outcomes of one partition settled where it is led; the results in their order.
pub(super) async fn settle(
    handle: &QueueHandle,
    group: &GroupId,
    worker: &WorkerId,
    outcomes: Vec<(AckToken, Outcome)>,
) -> Vec<v1::Settled> {
    let count = outcomes.len();
    let lease_ms = outcomes.iter().map(|(_, outcome)| match outcome {
        Outcome::Extend { lease_ms } => *lease_ms,
        _ => 0,
    });
    let lease_ms: Vec<u64> = lease_ms.collect();
    let command = Command::Settle { worker: worker.clone(), outcomes };
    let answer = match handle.send(group, command).await {
        Ok(reply) => received(reply).await,
        Err(error) => Err(error),
    };
    let all = |failure: Failure| vec![refused(&failure); count];
    match answer {
        Ok(Answer::Settle(Ok(results))) => {
            results.into_iter().zip(lease_ms).map(|(result, lease_ms)| settled(result, lease_ms)).collect()
        }
        Ok(Answer::Settle(Err(too_large))) => all(too_large.into()),
        Ok(other) => all(mismatched(&other)),
        Err(error) => all(error_for_worker(error)),
    }
}

/// Leases end with the leader that gave them, so a worker has nothing to look for elsewhere.
fn error_for_worker(error: QueueError) -> Failure {
    match error {
        QueueError::NotLeader { .. } => {
            let message = "the partition has another leader, and leases of the one before are over";
            Failure::new(ErrorCode::LeaseLost, message)
        }
        error => error.into(),
    }
}

fn settled(result: Result<Settled, SettleError>, lease_ms: u64) -> v1::Settled {
    let state = |state: v1::SettledState| v1::Settled { state: state.into(), ..Default::default() };
    match result {
        Ok(Settled::Acked) => state(v1::SettledState::Acked),
        Ok(Settled::AlreadyDone) => state(v1::SettledState::AlreadyDone),
        Ok(Settled::Released) => state(v1::SettledState::Released),
        Ok(Settled::WillRetry { attempts, after_ms }) => {
            v1::Settled { attempts, retry_after_ms: after_ms, ..state(v1::SettledState::WillRetry) }
        }
        Ok(Settled::Dead { .. }) => state(v1::SettledState::Dead),
        Ok(Settled::Extended { .. }) => v1::Settled { lease_ms, ..state(v1::SettledState::Extended) },
        Err(refusal) => refused(&refusal.into()),
    }
}

/// An outcome that was refused.
pub(super) fn refused(failure: &Failure) -> v1::Settled {
    v1::Settled { error: Some(error_of(failure)), ..Default::default() }
}

/// Whether the message is with the worker no more.
pub(super) fn is_over(settled: &v1::Settled) -> bool {
    match settled.state() {
        v1::SettledState::Extended => false,
        v1::SettledState::Unspecified => settled.error.as_ref().is_some_and(|error| {
            [ErrorCode::LeaseLost, ErrorCode::MessageSettled].iter().any(|code| code.number() == error.code)
        }),
        _ => true,
    }
}

/// The engine answered something else than was asked.
pub(super) fn mismatched(answer: &Answer) -> Failure {
    Failure::new(ErrorCode::Internal, format!("the queue answered something else: {answer:?}; this is a bug"))
}
