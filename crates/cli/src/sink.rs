//! Standard output for a stream of records, written by a thread of its own.
//!
//! Owns: that thread, so that a slow reader of the output never holds up the asynchronous side, and printing and reading
//! from the server go on side by side.
//!
//! Invariant: bytes leave in the order they were given; at most a few buffers wait. A reader that went away closes the
//! sink, which is no failure.

use std::io::{self, Write as _};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use crate::error::CliError;

/// A buffer is handed on when it has so many bytes, or earlier when there is nothing else to do.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;
const BUFFERS_WAITING: usize = 4;

/// Takes buffers, writes them to standard output.
#[derive(Debug)]
pub(crate) struct Sink {
    buffers: Sender<Part>,
    thread: JoinHandle<io::Result<()>>,
}

/// What is to be written, and who waits until it is.
#[derive(Debug)]
struct Part {
    bytes: Vec<u8>,
    written: Option<oneshot::Sender<()>>,
}

/// Whether anybody still reads the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Listens,
    Left,
}

impl Sink {
    /// Starts the thread.
    pub(crate) fn stdout() -> Self {
        let (buffers, received) = channel(BUFFERS_WAITING);
        Self { buffers, thread: std::thread::spawn(move || write_all(received)) }
    }

    /// Hands on what is in `buffer` and leaves it empty; waits while the output is behind.
    pub(crate) async fn write(&self, buffer: &mut Vec<u8>) -> Audience {
        if buffer.is_empty() {
            return if self.buffers.is_closed() { Audience::Left } else { Audience::Listens };
        }
        let full = std::mem::replace(buffer, Vec::with_capacity(BUFFER_BYTES));
        match self.buffers.send(Part { bytes: full, written: None }).await {
            Ok(()) => Audience::Listens,
            Err(_) => Audience::Left,
        }
    }

    /// The same, and waits until all that was handed on is written.
    pub(crate) async fn write_through(&self, buffer: &mut Vec<u8>) -> Audience {
        let bytes = std::mem::replace(buffer, Vec::with_capacity(BUFFER_BYTES));
        let (written, is_written) = oneshot::channel();
        if self.buffers.send(Part { bytes, written: Some(written) }).await.is_err() {
            return Audience::Left;
        }
        is_written.await.map_or(Audience::Left, |()| Audience::Listens)
    }

    /// Resolves when nobody reads the output any more.
    pub(crate) async fn left(&self) {
        self.buffers.closed().await;
    }

    /// Waits until everything is written.
    #[allow(clippy::disallowed_methods, reason = "a verb of the command line; only the broker is simulated")]
    pub(crate) async fn finish(self) -> Result<(), CliError> {
        drop(self.buffers);
        let written = tokio::task::spawn_blocking(|| self.thread.join()).await;
        match written {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(CliError::Stdout(error)),
            Ok(Err(_)) | Err(_) => Err(CliError::Stdout(io::Error::other("the thread that writes it ended early"))),
        }
    }
}

fn write_all(mut buffers: Receiver<Part>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    while let Some(Part { bytes, written }) = buffers.blocking_recv() {
        match stdout.write_all(&bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
        if let Some(written) = written {
            // Whoever waited may have been told to end.
            let _ = written.send(());
        }
    }
    Ok(())
}
