//! `highwater dlq redrive|drop`: dead messages are tried again, or given up.
//!
//! Invariant: what is said to be done is done, also when it is interrupted or fails half way.

use std::time::Duration;

use highwater_client::{Admin, DeadFilter, MovedDead, RequestError};
use serde::Serialize;

use super::ShiftArgs;
use super::pace::{Pace, Step};
use crate::clock;
use crate::console::{Counting, remark};
use crate::error::CliError;
use crate::output::Report;
use crate::queue::QueueName;
use crate::signals::Signals;

/// Before those are asked for again that could not be moved.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// What is done to dead messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    Redrive,
    Drop,
}

impl Shift {
    fn done(self) -> &'static str {
        match self {
            Self::Redrive => "redriven",
            Self::Drop => "dropped",
        }
    }

    fn to_do(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Drop => "drop",
        }
    }
}

/// Which messages of which group.
struct Target<'a> {
    admin: Admin,
    queue: &'a QueueName,
    filter: DeadFilter,
    shift: Shift,
}

impl Target<'_> {
    async fn step(&self, max: Option<u32>, is_dry: bool) -> Result<MovedDead, RequestError> {
        let QueueName { topic, group } = self.queue;
        match self.shift {
            Shift::Redrive => self.admin.redrive(topic.as_str(), group, &self.filter, max, is_dry).await,
            Shift::Drop => self.admin.drop_dead(topic.as_str(), group, &self.filter, max, is_dry).await,
        }
    }

    /// Does it step by step; how many it were so far is told whatever happens.
    async fn all(&self, args: &ShiftArgs, done: &mut u64) -> Result<(), CliError> {
        let (pace, started) = (Pace::new(args.rate), clock::now());
        let mut progress = Counting::start(self.shift.done());
        let result = loop {
            let left = args.max.unwrap_or(u64::MAX).saturating_sub(*done);
            if left == 0 {
                break Ok(());
            }
            match pace.step(clock::now() - started, *done, left) {
                Step::Wait(wait) => tokio::time::sleep(wait).await,
                Step::Go(count) => match self.step(Some(count), false).await {
                    Ok(moved) => {
                        *done += moved.messages;
                        progress.show(*done);
                        if !moved.has_more {
                            break Ok(());
                        }
                        if moved.messages == 0 {
                            // Those that are left are being moved or settled just now.
                            tokio::time::sleep(BUSY_PAUSE).await;
                        }
                    }
                    Err(source) => break Err(CliError::queue(self.queue)(source)),
                },
            }
        };
        progress.finish();
        result
    }
}

/// Does it, or says what it would do.
pub(super) async fn run(args: ShiftArgs, shift: Shift) -> Result<(), CliError> {
    let mut signals = Signals::listen().map_err(CliError::Signals)?;
    let filter = args.dead.filter()?;
    let admin = args.dead.connect.client().await?.admin();
    let target = Target { admin, queue: &args.dead.queue, filter, shift };
    let mut shifted = Shifted::new(&args.dead.queue, shift);
    if !args.yes {
        let max = args.max.map(|max| u32::try_from(max).unwrap_or(u32::MAX));
        let moved = target.step(max, true).await.map_err(CliError::queue(&args.dead.queue))?;
        shifted.messages = moved.messages;
        shifted.has_more = moved.has_more && args.max.is_none_or(|max| moved.messages < max);
        return args.output.print(&shifted);
    }
    shifted.done = true;
    let ended = tokio::select! {
        ended = target.all(&args, &mut shifted.messages) => ended,
        () = signals.next() => Err(CliError::Interrupted),
    };
    match ended {
        Ok(()) => args.output.print(&shifted),
        Err(error) => {
            remark(format_args!("{} messages are {}; the rest stays dead", shifted.messages, shift.done()));
            Err(error)
        }
    }
}

/// What was done, or would be. The names of the JSON keys are a contract.
#[derive(Debug, Serialize)]
struct Shifted {
    topic: String,
    group: String,
    #[serde(skip)]
    shift: Shift,
    action: &'static str,
    /// `false`: nothing was changed.
    done: bool,
    messages: u64,
    /// There are more than were counted.
    has_more: bool,
}

impl Shifted {
    fn new(queue: &QueueName, shift: Shift) -> Self {
        let (topic, group) = (queue.topic.as_str().to_owned(), queue.group.clone());
        Self { topic, group, shift, action: shift.to_do(), done: false, messages: 0, has_more: false }
    }
}

impl Report for Shifted {
    fn table(&self) -> String {
        let plural = if self.messages == 1 { "" } else { "s" };
        let least = if self.has_more { "at least " } else { "" };
        let count = format!("{least}{} message{plural}", self.messages);
        let what = if self.done {
            format!("{} {count}", self.shift.done())
        } else {
            format!("would {} {count}; say --yes to do it", self.shift.to_do())
        };
        format!("queue group {} of topic {}: {what}\n", self.group, self.topic)
    }
}

#[cfg(test)]
mod tests {
    use highwater_types::TopicName;

    use super::*;

    #[test]
    fn what_was_done_is_said_and_what_would_be_is_said_otherwise() {
        let queue = QueueName { topic: TopicName::new("orders").unwrap(), group: "billing".to_owned() };
        let mut shifted = Shifted { messages: 12, ..Shifted::new(&queue, Shift::Redrive) };
        assert_eq!(
            shifted.table(),
            "queue group billing of topic orders: would redrive 12 messages; say --yes to do it\n"
        );
        shifted.has_more = true;
        assert!(shifted.table().contains("would redrive at least 12 messages"));
        let shifted = Shifted { messages: 1, done: true, ..Shifted::new(&queue, Shift::Drop) };
        assert_eq!(shifted.table(), "queue group billing of topic orders: dropped 1 message\n");
        let json = r#"{"topic":"orders","group":"billing","action":"drop","done":true,"messages":1,"has_more":false}"#;
        assert_eq!(serde_json::to_string(&shifted).unwrap(), json);
    }
}
