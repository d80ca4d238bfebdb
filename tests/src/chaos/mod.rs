//! Chaos: a workload on a cluster of real processes, faults from a seeded schedule, and the verdict over the history.
//!
//! ```text
//!   producers, readers, askers ──► cluster ◄── faults, one after another, by the seed
//!            └──────────► history ◄──────────┘        then: heal, drain, read all through every node, compare files
//!                            └──► checker ──► report
//! ```
//! Owns: the workload, the schedule, the measured silences. Never: decides what an anomaly is.
//!
//! The seed fixes the schedule and what the workload sends; real processes do not repeat their timing.

pub mod dice;
pub mod fault;
pub mod files;
pub mod finish;
mod members;
mod nodes;
pub mod plan;
pub mod run;
pub mod scene;
pub mod silence;
pub mod thin;
mod topics;
pub mod workload;

pub use dice::Dice;
pub use fault::Class;
pub use plan::Plan;
pub use run::{Outcome, run};
pub use scene::Scene;
