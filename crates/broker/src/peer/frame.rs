//! Bytes on their way between nodes: frames, and the cursors that write and read them.
//!
//! A frame is a list of pieces. Large payloads are pieces of their own (slices of the log's map, never copied to be put
//! beside each other); what is small is gathered. Nothing may depend on where a frame is cut: it may arrive in other
//! pieces than it was sent.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A payload shorter than this is copied beside its neighbours: each piece costs a frame of HTTP/2.
const GATHER_BELOW_BYTES: usize = 16 * 1024;

/// One unit of a lane: it arrives whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Frame {
    /// Its length in bytes, over all pieces.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it holds nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Its bytes, in order.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    /// Adds a piece at the end, uncopied.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push(piece);
        }
    }
}

/// Two frames are the same when their bytes are, wherever they are cut.
impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.pieces.iter().flatten().eq(other.pieces.iter().flatten())
    }
}

impl Eq for Frame {}

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Self {
        let mut frame = Self::default();
        frame.push(bytes);
        frame
    }
}

/// Writes a frame.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    done: Frame,
    open: BytesMut,
}

impl FrameWriter {
    /// How much was written.
    pub(crate) fn len(&self) -> usize {
        self.done.len() + self.open.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn put_u8(&mut self, value: u8) {
        self.open.put_u8(value);
    }

    pub(crate) fn put_u32(&mut self, value: u32) {
        self.open.put_u32_le(value);
    }

    pub(crate) fn put_u64(&mut self, value: u64) {
        self.open.put_u64_le(value);
    }

    /// Small bytes, copied.
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        self.open.put_slice(bytes);
    }

    /// Bytes of any length: uncopied when they are large.
    pub(crate) fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() < GATHER_BELOW_BYTES {
            self.open.put_slice(&bytes);
        } else {
            self.cut();
            self.done.push(bytes);
        }
    }

    /// All of another frame.
    pub(crate) fn put_frame(&mut self, frame: Frame) {
        frame.into_pieces().into_iter().for_each(|piece| self.put_bytes(piece));
    }

    pub(crate) fn finish(mut self) -> Frame {
        self.cut();
        self.done
    }

    fn cut(&mut self) {
        self.done.push(self.open.split().freeze());
    }
}

/// Bytes from another node that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub struct Malformed {
    /// What was read.
    pub what: &'static str,
}

/// Reads a frame from its front.
#[derive(Debug)]
pub(crate) struct FrameReader {
    what: &'static str,
    pieces: std::collections::VecDeque<Bytes>,
    left: usize,
}

impl FrameReader {
    /// `what` is its name in errors.
    pub(crate) fn new(what: &'static str, frame: Frame) -> Self {
        let left = frame.len();
        Self { what, pieces: frame.into_pieces().into(), left }
    }

    /// How many bytes are left.
    pub(crate) const fn left(&self) -> usize {
        self.left
    }

    pub(crate) const fn malformed(&self) -> Malformed {
        Malformed { what: self.what }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut bytes = [0; N];
        if self.left < N {
            return Err(self.malformed());
        }
        let mut filled = 0;
        while let (Some(piece), Some(rest)) = (self.pieces.front_mut(), bytes.get_mut(filled..))
            && !rest.is_empty()
        {
            let count = piece.len().min(rest.len());
            let (head, _) = rest.split_at_mut(count);
            piece.copy_to_slice(head);
            filled += count;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.left -= N;
        Ok(bytes)
    }

    /// The next `count` bytes: a slice of what arrived, unless they arrived in several pieces.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<Bytes, Malformed> {
        let frame = self.frame(count)?;
        let mut pieces = frame.into_pieces();
        Ok(match pieces.len() {
            0 => Bytes::new(),
            1 => pieces.swap_remove(0),
            _ => Bytes::from(pieces.concat()),
        })
    }

    /// The next `count` bytes as a frame of their own, uncopied.
    pub(crate) fn frame(&mut self, count: usize) -> Result<Frame, Malformed> {
        if self.left < count {
            return Err(self.malformed());
        }
        let mut frame = Frame::default();
        while frame.len() < count
            && let Some(mut piece) = self.pieces.pop_front()
        {
            let part = piece.split_to(piece.len().min(count - frame.len()));
            frame.push(part);
            if !piece.is_empty() {
                self.pieces.push_front(piece);
            }
        }
        self.left -= count;
        Ok(frame)
    }

    /// That nothing is left.
    pub(crate) const fn end(&self) -> Result<(), Malformed> {
        if self.left == 0 { Ok(()) } else { Err(self.malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same bytes, cut anew.
    fn recut(frame: Frame, piece_bytes: usize) -> Frame {
        let whole = frame.into_pieces().concat();
        let mut recut = Frame::default();
        whole.chunks(piece_bytes).for_each(|piece| recut.push(Bytes::copy_from_slice(piece)));
        recut
    }

    #[test]
    fn a_frame_reads_the_same_however_it_was_cut() {
        let mut writer = FrameWriter::default();
        writer.put_u8(7);
        writer.put_u32(70_000);
        writer.put_bytes(Bytes::from_static(b"short"));
        writer.put_bytes(Bytes::from(vec![3; GATHER_BELOW_BYTES]));
        writer.put_u64(u64::MAX - 1);
        let frame = writer.finish();
        assert_eq!(frame.pieces.len(), 3);
        for piece_bytes in [1, 2, 3, 7, 1_000, 100_000] {
            let mut reader = FrameReader::new("test", recut(frame.clone(), piece_bytes));
            assert_eq!(reader.u8(), Ok(7));
            assert_eq!(reader.u32(), Ok(70_000));
            assert_eq!(reader.bytes(5).unwrap(), "short");
            assert_eq!(reader.bytes(GATHER_BELOW_BYTES).unwrap(), vec![3; GATHER_BELOW_BYTES]);
            assert!(reader.end().is_err());
            assert_eq!(reader.u64(), Ok(u64::MAX - 1));
            assert_eq!(reader.end(), Ok(()));
            assert_eq!(reader.u8(), Err(Malformed { what: "test" }));
        }
    }

    #[test]
    fn a_large_payload_is_not_copied_on_either_side() {
        let payload = Bytes::from(vec![1; 100_000]);
        let mut writer = FrameWriter::default();
        writer.put_u8(1);
        writer.put_bytes(payload.clone());
        let mut reader = FrameReader::new("test", writer.finish());
        reader.u8().unwrap();
        assert_eq!(reader.bytes(100_000).unwrap().as_ptr(), payload.as_ptr());
    }
}
