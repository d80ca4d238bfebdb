//! Requests out of a socket, one after the other.
//!
//! Owns: the frame (a length, then so many bytes), its bounds, and how long a client may take over one.
//!
//! Invariants: nothing is gathered before its length is admitted against a budget, and memory is taken as bytes come, not
//! as the length promises. A length that cannot be is the end of the connection: what follows cannot be told from noise.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use highwater_types::limits;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;

use super::api::Api;
use crate::admission::{AdmissionError, ByteBudget, BytePermit};

/// The largest request that brings records.
const DATA_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX;
/// The largest of all others: the assignments of the largest group fit.
const CONTROL_BYTES_MAX: usize = 4 << 20;
/// A request that is taken apart needs more memory than it has bytes.
const CONTROL_COST: usize = 4;
/// What such requests may cost together.
const CONTROL_BYTES: usize = 64 << 20;
/// A key, a version and a correlation id: no request is shorter.
const FRAME_BYTES_MIN: usize = 8;
/// What is reserved at once; more comes as bytes come.
const FIRST_BYTES: usize = 128 << 10;
/// A client that asks nothing for so long is gone, or connects again (Kafka's `connections.max.idle.ms`).
const IDLE_PATIENCE: Duration = Duration::from_secs(600);
/// In the middle of a request a client may be silent for so long.
const SILENCE: Duration = Duration::from_secs(10);
/// And the whole of it may take so long.
const FRAME_PATIENCE: Duration = Duration::from_secs(120);

const LENGTH_BYTES: usize = 4;
/// The length and the key of the API, which says what budget the rest is of.
const HEAD_BYTES: usize = 6;

/// What requests under way may hold, by what they bring.
#[derive(Clone, Debug)]
pub(super) struct Budgets {
    /// Shared with the other fronts.
    pub(super) produce: ByteBudget,
    control: ByteBudget,
}

impl Budgets {
    pub(super) fn new(produce: ByteBudget) -> Self {
        Self { produce, control: ByteBudget::new(CONTROL_BYTES) }
    }
}

/// A whole request, without its length.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    /// Stands for its memory.
    pub(super) permit: BytePermit,
}

/// Why nothing more is read from a client.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It was closed within a request.
    #[error("the client left in the middle of a request")]
    Cut,
    /// A length that no request has.
    #[error("a request of {0} bytes")]
    Length(i32),
    /// It stopped sending within a request.
    #[error("the client stopped in the middle of a request")]
    Silent,
    /// The node is stopping.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    stream: OwnedReadHalf,
    budgets: Budgets,
}

impl Frames {
    pub(super) fn new(stream: OwnedReadHalf, budgets: Budgets) -> Self {
        Self { stream, budgets }
    }

    /// The next request; `None` when the client has left, or has not asked anything for long.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let mut head = [0; HEAD_BYTES];
        let Ok(first) = timeout(IDLE_PATIENCE, self.stream.read(&mut head)).await else { return Ok(None) };
        match first? {
            0 => Ok(None),
            filled => {
                let rest = timeout(FRAME_PATIENCE, self.rest(head, filled)).await;
                rest.unwrap_or(Err(FrameError::Silent)).map(Some)
            }
        }
    }

    async fn rest(&mut self, mut head: [u8; HEAD_BYTES], mut filled: usize) -> Result<Frame, FrameError> {
        while filled < LENGTH_BYTES {
            filled += self.more(head.get_mut(filled..).unwrap_or_default()).await?;
        }
        let [l0, l1, l2, l3, ..] = head;
        let length = i32::from_be_bytes([l0, l1, l2, l3]);
        check(length, DATA_BYTES_MAX)?;
        while filled < HEAD_BYTES {
            filled += self.more(head.get_mut(filled..).unwrap_or_default()).await?;
        }
        let [.., k0, k1] = head;
        let is_data = i16::from_be_bytes([k0, k1]) == Api::Produce.key();
        let length = check(length, if is_data { DATA_BYTES_MAX } else { CONTROL_BYTES_MAX })?;
        let permit = match is_data {
            true => self.budgets.produce.acquire(length).await?,
            false => self.budgets.control.acquire(length * CONTROL_COST).await?,
        };
        let mut buffer = BytesMut::with_capacity(length.min(FIRST_BYTES));
        buffer.put_slice(&[k0, k1]);
        self.gather(&mut buffer, length).await?;
        Ok(Frame { bytes: buffer.freeze(), permit })
    }

    async fn gather(&mut self, buffer: &mut BytesMut, length: usize) -> Result<(), FrameError> {
        while buffer.len() < length {
            let missing = length - buffer.len();
            if buffer.len() == buffer.capacity() {
                buffer.reserve(missing.min(buffer.len()));
            }
            let mut place = buffer.limit(missing);
            match timeout(SILENCE, self.stream.read_buf(&mut place)).await {
                Ok(Ok(0)) => return Err(FrameError::Cut),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(FrameError::Silent),
            }
        }
        Ok(())
    }

    async fn more(&mut self, place: &mut [u8]) -> Result<usize, FrameError> {
        match timeout(SILENCE, self.stream.read(place)).await {
            Ok(Ok(0)) => Err(FrameError::Cut),
            Ok(read) => Ok(read?),
            Err(_) => Err(FrameError::Silent),
        }
    }
}

fn check(length: i32, bytes_max: usize) -> Result<usize, FrameError> {
    let bytes = usize::try_from(length).ok();
    bytes.filter(|bytes| (FRAME_BYTES_MIN..=bytes_max).contains(bytes)).ok_or(FrameError::Length(length))
}
