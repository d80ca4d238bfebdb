//! Standard input, read ahead by a thread of its own.
//!
//! Owns: that thread. Standard input has no asynchronous form that works for files, pipes and terminals alike.
//!
//! Invariant: it is never more than a few chunks ahead, so a source that is faster than the server waits.

use std::io::{self, Read as _};

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};

const CHUNK_BYTES: usize = 256 * 1024;
const CHUNKS_AHEAD: usize = 4;

/// What comes on standard input, until its end.
pub(crate) fn stdin_chunks() -> Receiver<io::Result<Bytes>> {
    let (sender, receiver) = channel(CHUNKS_AHEAD);
    std::thread::spawn(move || read_all(&sender));
    receiver
}

fn read_all(chunks: &Sender<io::Result<Bytes>>) {
    let mut stdin = io::stdin().lock();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let chunk = match stdin.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => Ok(Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_error = chunk.is_err();
        if chunks.blocking_send(chunk).is_err() || is_error {
            return;
        }
    }
}
