//! Writes the messages of one lane, several to a frame.
//!
//! What was queued while a frame was on its way shares the next one. A message that may wait does so only while the lane
//! is in use: on a quiet one it goes at once.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::frame::{Frame, FrameWriter};
use super::message::{self, Kind, Message};
use super::traffic::Counters;
use crate::clock::Clock;

/// About so large a frame gets by gathering messages.
const GATHERED_BYTES_MAX: usize = 256 * 1024;
/// How long a message that has time waits for company. A heartbeat confirms reads too, so it may not be long.
const GATHERING: Duration = Duration::from_millis(5);

/// Whether a message may wait a moment for others to share its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// At once.
    Now,
    /// At once when the lane was quiet, else with what comes in the next few milliseconds.
    Soon,
}

/// The sending side of one lane.
#[derive(Debug)]
pub(super) struct Writer {
    pipe: mpsc::Sender<Frame>,
    /// How often something is sent at least.
    ping: Option<Duration>,
    clock: Clock,
    sent: Counters,
    out: FrameWriter,
    messages: u64,
    /// When what is in `out` has to go.
    due: Option<Instant>,
    sent_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(pipe: mpsc::Sender<Frame>, ping: Option<Duration>, clock: Clock, sent: Counters) -> Self {
        Self { pipe, ping, clock, sent, out: FrameWriter::default(), messages: 0, due: None, sent_at: None }
    }

    /// Writes what is queued until one side is gone.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<(Message, Timing)>) {
        loop {
            let wake_at = self.due.or_else(|| self.ping.map(|ping| self.clock.instant() + ping));
            let came = tokio::select! {
                biased;
                came = queue.recv() => match came {
                    Some(came) => Some(came),
                    None => return,
                },
                () = at(wake_at) => None,
                // Nothing to send may be for a long time; the other side may go meanwhile.
                () = self.pipe.closed() => return,
            };
            match came {
                Some((message, timing)) => self.put(message, timing),
                None if self.out.is_empty() => {
                    self.put(Message { id: 0, kind: Kind::Ping, body: Frame::default() }, Timing::Now);
                }
                None => {}
            }
            while self.out.len() < GATHERED_BYTES_MAX
                && let Ok((message, timing)) = queue.try_recv()
            {
                self.put(message, timing);
            }
            let is_due = self.due.is_some_and(|due| due <= self.clock.instant());
            if (is_due || self.out.len() >= GATHERED_BYTES_MAX) && !self.flush().await {
                return;
            }
        }
    }

    fn put(&mut self, message: Message, timing: Timing) {
        let now = self.clock.instant();
        let earliest = match (timing, self.sent_at) {
            (Timing::Soon, Some(sent_at)) => (sent_at + GATHERING).max(now),
            _ => now,
        };
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
        message::put(&mut self.out, message);
        self.messages += 1;
    }

    /// False when the other side is gone.
    async fn flush(&mut self) -> bool {
        let frame = std::mem::take(&mut self.out).finish();
        self.sent.add(std::mem::take(&mut self.messages), frame.len());
        let is_sent = self.pipe.send(frame).await.is_ok();
        (self.sent_at, self.due) = (Some(self.clock.instant()), None);
        is_sent
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
