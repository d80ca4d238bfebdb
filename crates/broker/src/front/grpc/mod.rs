//! The gRPC front, `highwater.v1`: one file per API, and the listener that serves them.

mod admin;
mod connection;
mod context;
mod convert;
mod error;
mod groups;
mod listener;
mod produce;
mod proxy;
mod queues;
mod read;
mod service;
mod wire;

pub(crate) use context::Context;
pub(crate) use groups::{GroupLag, Groups};
pub use listener::BindError;
pub(crate) use listener::{Listener, ListenerLimits, Serving};
pub(crate) use proxy::Proxy;
pub use service::ReflectionError;
pub(crate) use service::{Health, routes};
pub(crate) use wire::MessageLimits;
