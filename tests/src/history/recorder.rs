//! Puts what the tasks of a workload do into one order, in memory and, where wanted, in a file.
//!
//! Invariant: an event is in the history before `note` returns, so that a request which leaves afterwards stands after it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::event::{Answer, Call, Event, Kind, OpId};

/// Takes events from any task or thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    next_op: AtomicU64,
    acknowledged: AtomicU64,
    /// Records that were sent and are not decided yet.
    in_flight: AtomicU64,
    events: Mutex<Events>,
}

#[derive(Debug)]
struct Events {
    all: Vec<Event>,
    file: Option<BufWriter<File>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::with(None)
    }
}

impl Recorder {
    fn with(file: Option<BufWriter<File>>) -> Self {
        let events = Mutex::new(Events { all: Vec::new(), file });
        let (next_op, acknowledged, in_flight) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { started: Instant::now(), next_op, acknowledged, in_flight, events }) }
    }

    /// One that writes the events to a file as well.
    ///
    /// # Panics
    /// When the file cannot be made.
    #[must_use]
    pub fn to_file(path: &Path) -> Self {
        Self::with(Some(BufWriter::new(File::create(path).expect("the file of the history can be made"))))
    }

    /// Adds an event and tells where in the history it stands.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn note(&self, kind: Kind) {
        if let Kind::Done { answer: Answer::Produced { fates }, .. } = &kind {
            let stored = fates.iter().filter(|fate| fate.is_acknowledged()).count();
            self.shared.acknowledged.fetch_add(stored as u64, Ordering::Relaxed);
            self.shared.in_flight.fetch_sub(fates.len() as u64, Ordering::Relaxed);
        }
        if let Kind::Invoked { call: Call::Produce { values, .. }, .. } = &kind {
            self.shared.in_flight.fetch_add(values.len() as u64, Ordering::Relaxed);
        }
        let mut events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        let at_us = u64::try_from(self.shared.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let event = Event { at_us, kind };
        if let Some(file) = &mut events.file {
            serde_json::to_writer(&mut *file, &event).expect("an event can be written");
            file.write_all(b"\n").expect("the history can be written");
        }
        events.all.push(event);
    }

    /// Notes that a client is about to ask.
    #[must_use]
    pub fn invoke(&self, call: Call) -> OpId {
        let op = OpId(self.shared.next_op.fetch_add(1, Ordering::Relaxed));
        self.note(Kind::Invoked { op, call });
        op
    }

    /// Records that were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Records that were sent and are not decided yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// The time since the start, as the events have it.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Everything so far. The file is complete afterwards.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut events.file {
            file.flush().expect("the history can be written");
        }
        events.all.clone()
    }
}

/// Reads a history back from its file.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn read(path: &Path) -> Vec<Event> {
    let file = BufReader::new(File::open(path).expect("the file of the history can be opened"));
    let lines = file.lines().map(|line| line.expect("the history is text"));
    lines.map(|line| serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::event::Fate;

    #[test]
    fn a_history_is_read_back_as_it_was_noted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let recorder = Recorder::to_file(&path);
        let op = recorder.invoke(Call::ListTopics);
        recorder.note(Kind::Unknown { op, error: "the connection broke".to_owned() });
        recorder.note(Kind::Done {
            op,
            answer: Answer::Produced { fates: vec![Fate::Somewhere, Fate::At(1), Fate::Unknown] },
        });
        assert_eq!(recorder.acknowledged(), 2);
        let noted = recorder.events();
        assert_eq!(read(&path), noted);
    }
}
