//! Queues as a client meets them: workers, failures and dead letters, operators.

mod client;
mod failures;
mod operators;
mod retention;
mod sharing;
