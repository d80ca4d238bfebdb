//! gRPC framing for the two services that move data: messages in under admission, answers out without a copy.
//!
//! Owns: the five-byte frame of a gRPC message, on both ways, and the trailers that end a call.
//!
//! Why not the generated servers, which the other services use: they buffer a whole message of up to 16 MiB before
//! anybody can ask whether there is memory for it, and they copy every answer into one buffer. Here bytes are admitted
//! before they are gathered, a message that came in one piece is used where it lies, and the batches of an answer go
//! from the segment's map to the socket.

mod encode;
mod message;
mod reply;

pub(crate) use encode::{holding, pieces_of_message, pieces_of_read, pieces_of_session_records, put_message};
pub(crate) use message::{Message, MessageLimits, messages, one_message};
pub(crate) use reply::{Answers, Gone, answered_by, not_a_call, single, unknown_method};

/// Bytes before each message: a flag for compression, and the length.
const FRAME_HEADER_BYTES: usize = 5;
