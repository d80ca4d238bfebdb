//! What the workers and operators of queue groups did and were told.

use highwater_groups::queue::command::SettleError;
use highwater_groups::queue::{AckToken, Answer, Outcome, QueueConfig, QueuesImage, Settled};

use super::Partition;
use crate::trace::note;

/// A queue: one group on one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    pub group: usize,
    pub partition: Partition,
}

impl std::fmt::Display for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "queue {} on {}", self.group, self.partition)
    }
}

/// A message that a worker was given.
#[derive(Clone, Copy, Debug)]
pub struct Leased {
    pub offset: u64,
    pub token: AckToken,
    pub attempt: u32,
}

/// What an operator wants done.
#[derive(Clone, Debug)]
pub enum Operation {
    /// The dead ones from the first offset up to the second have a new budget.
    Redrive(u64, u64),
    Cancel(u64),
    Reschedule(u64),
    Pause,
    Resume,
}

/// What came of asking a queue for something.
#[derive(Clone, Debug)]
pub enum Said {
    Answer(Answer),
    /// Nothing was done.
    NotDone,
    /// It may have been done.
    Unknown,
}

/// What came of each outcome of a settle that was answered.
pub type Results = Vec<Result<Settled, SettleError>>;

/// Something that happened to a queue, as its clients saw it.
#[derive(Clone, Debug)]
pub enum QueueEvent {
    /// It is made, and begins with the first message.
    Made { queue: Queue, config: QueueConfig },
    /// A worker asked at `since` and was given these.
    Leased { queue: Queue, worker: u64, since: u64, leases: Vec<Leased> },
    /// A worker begins to say what became of messages; the tokens need not be its own.
    SettleBegan { number: u64, queue: Queue, worker: u64, outcomes: Vec<(AckToken, Outcome)> },
    /// It was answered this; nothing when nobody knows what came of it.
    Settled { number: u64, results: Option<Results> },
    /// Nothing was done of it.
    SettleRefused { number: u64 },
    /// An operator begins to change something.
    OperationBegan { number: u64, queue: Queue, operation: Operation },
    /// And this came of it.
    OperationEnded { number: u64, said: Said },
    /// An operator saw how many are dead.
    Looked { queue: Queue, dead: usize },
    /// After the healing: what one replica of a partition holds of its queues.
    FinalQueues { partition: Partition, machine: usize, image: QueuesImage },
}

impl QueueEvent {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Made { .. } => "queue made",
            Self::Leased { .. } => "leased",
            Self::SettleBegan { .. } => "settle sent",
            Self::Settled { results: None, .. } => "settle unknown",
            Self::Settled { results: Some(results), .. } if results.iter().any(Result::is_err) => "token refused",
            Self::Settled { results: Some(results), .. } if results.iter().any(is_death) => "message died",
            Self::Settled { .. } => "settled",
            Self::SettleRefused { .. } => "settle refused",
            Self::OperationBegan { operation: Operation::Redrive(..), .. } => "redriven",
            Self::OperationBegan { operation: Operation::Cancel(_), .. } => "called off",
            Self::OperationBegan { operation: Operation::Reschedule(_), .. } => "put off",
            Self::OperationBegan { operation: Operation::Pause, .. } => "paused",
            Self::OperationBegan { operation: Operation::Resume, .. } => "resumed",
            Self::OperationEnded { .. } => "operated",
            Self::Looked { .. } => "looked",
            Self::FinalQueues { .. } => "final queues",
        }
    }

    pub fn note(&self) {
        match self {
            Self::Made { queue, .. } => note!("{queue}: is made"),
            Self::Leased { queue, worker, leases, .. } => {
                let words: Vec<_> =
                    leases.iter().map(|lease| format!("{} {}", Token(lease.token), lease.attempt)).collect();
                note!("{queue}: worker {worker} has {}", words.join(", "));
            }
            Self::SettleBegan { number, queue, worker, outcomes } => {
                let words: Vec<_> =
                    outcomes.iter().map(|(token, outcome)| format!("{}{}", Token(*token), letter(outcome))).collect();
                note!("{queue}: worker {worker}, settle {number}: {}", words.join(", "));
            }
            Self::Settled { number, results } => {
                let results = results.iter().flatten();
                let words: Vec<_> = results.map(|result| if result.is_ok() { "+" } else { "-" }).collect();
                note!("settle {number}: {}", words.concat());
            }
            Self::SettleRefused { number } => note!("settle {number}: not done"),
            Self::OperationBegan { number, queue, operation } => note!("{queue}: operation {number}: {operation:?}"),
            Self::OperationEnded { number, said } => note!("operation {number}: {said:?}"),
            Self::Looked { queue, dead } => note!("{queue}: {dead} are dead"),
            Self::FinalQueues { partition, machine, image } => {
                note!("machine {machine}: the queues on {partition} are at {:?}", image.revision());
            }
        }
    }
}

fn is_death(result: &Result<Settled, SettleError>) -> bool {
    matches!(result, Ok(Settled::Dead { .. }))
}

/// An outcome in a trace: there are many.
fn letter(outcome: &Outcome) -> char {
    match outcome {
        Outcome::Ack => 'a',
        Outcome::Release => 'r',
        Outcome::Fail { .. } => 'f',
        Outcome::Lost { .. } => 'l',
        Outcome::Reject { .. } => 'j',
        Outcome::Extend { .. } => 'e',
    }
}

/// A token, so that two can be told apart by the eye.
struct Token(AckToken);

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let AckToken { offset, nonce, serial } = self.0;
        write!(f, "{offset}({:04x}:{})", nonce.get() & 0xFFFF, serial.get())
    }
}
