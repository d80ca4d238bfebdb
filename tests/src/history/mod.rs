//! What clients asked for and were told, and whether a log may behave so.
//!
//! Owns: the events, the recorder that puts them in one order, their file form (JSON lines), the checker.
//!
//! Invariants: the order of the events is the order of real time: a call stands before the request left, its answer after
//! it came. So an answer that stands before a call was known when that call was made.
//!
//! Never: knows how the events came about; the checker is a function of the events.

pub mod check;
pub mod event;
pub mod facts;
pub mod recorder;
pub mod report;
pub mod value;

pub use check::{Anomaly, AnomalyKind, check};
pub use event::{Answer, Call, Event, Fate, Kind, OpId, Replica, ReplicaEntry, Seen};
pub use recorder::Recorder;
pub use report::{Report, Requirements, judge};
pub use value::Value;
