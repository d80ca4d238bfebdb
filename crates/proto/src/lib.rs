//! The gRPC API of Highwater as generated code.
//!
//! Owns: nothing but what the files under `proto/` say. Read them for the documentation of each message.
//!
//! Never: holds logic. Conversions stand where they are used, in the broker's front and in the client.

/// The public API, `highwater.v1`.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_qualifications)]
    tonic::include_proto!("highwater.v1");
}

/// What nodes say to each other, beside Raft's own messages, which the broker encodes by hand.
pub mod internal {
    /// The first version.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
        #![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_qualifications)]
        tonic::include_proto!("highwater.internal.v1");
    }
}

/// The compiled descriptors of the API, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/highwater.bin"));

/// The trailing metadata in which a failed unary call carries a [`v1::Error`], encoded.
pub const ERROR_METADATA_KEY: &str = "highwater-error-bin";

/// The metadata of a call by which a client says that it goes to the leader itself: with it, a node that does not lead
/// answers `NOT_LEADER` with the leader's address; without it, the node passes the call on.
pub const REDIRECT_METADATA_KEY: &str = "highwater-redirect";

/// The metadata of a call that another node passes on. It is never passed on a second time.
pub const PROXIED_METADATA_KEY: &str = "highwater-proxied";
