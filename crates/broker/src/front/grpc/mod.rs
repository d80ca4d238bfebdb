//! The gRPC front, `highwater.v1`: one file per API.

mod error;
mod wire;
