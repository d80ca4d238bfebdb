//! Messages inside frames: several small ones share a frame.
//!
//! | message | |
//! |---|---|
//! | 4 | length of what follows |
//! | 8 | the request's number on its link, chosen by who asks; the reply has the same; 0 for a ping |
//! | 1 | what it is |
//! | rest | its body |

use super::frame::{Frame, FrameReader, FrameWriter, Malformed};

/// The length of all but the body.
pub(crate) const HEADER_BYTES: usize = 4 + 9;

/// What a message is. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Nothing, to be heard.
    Ping = 0,
    /// For a replica.
    Raft = 1,
    /// For the node.
    Control = 2,
    /// The answer.
    Reply = 3,
    /// There is no answer, and why, in UTF-8.
    Failure = 4,
}

impl Kind {
    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Ping),
            1 => Some(Self::Raft),
            2 => Some(Self::Control),
            3 => Some(Self::Reply),
            4 => Some(Self::Failure),
            _ => None,
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) body: Frame,
}

pub(crate) fn put(out: &mut FrameWriter, message: Message) {
    // Bodies are bounded far below 4 GiB by the budgets.
    out.put_u32(u32::try_from(message.body.len() + 9).unwrap_or(u32::MAX));
    out.put_u64(message.id);
    out.put_u8(message.kind as u8);
    out.put_frame(message.body);
}

/// The messages of a frame; the first error is the last item.
pub(crate) fn messages(frame: Frame) -> impl Iterator<Item = Result<Message, Malformed>> {
    let mut input = Some(FrameReader::new("message", frame));
    std::iter::from_fn(move || {
        let reader = input.as_mut().filter(|reader| reader.left() > 0)?;
        let read = next(reader);
        if read.is_err() {
            input = None;
        }
        Some(read)
    })
}

fn next(input: &mut FrameReader) -> Result<Message, Malformed> {
    let length = input.u32()? as usize;
    let body_bytes = length.checked_sub(9).ok_or(input.malformed())?;
    let id = input.u64()?;
    let kind = Kind::from_number(input.u8()?).ok_or(input.malformed())?;
    Ok(Message { id, kind, body: input.frame(body_bytes)? })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_share_a_frame() {
        let sent: Vec<_> = [(Kind::Ping, 0), (Kind::Raft, 50_000), (Kind::Reply, 3), (Kind::Failure, 9)]
            .into_iter()
            .zip(7..)
            .map(|((kind, bytes), id)| Message { id, kind, body: Bytes::from(vec![1; bytes]).into() })
            .collect();
        let mut out = FrameWriter::default();
        sent.iter().cloned().for_each(|message| put(&mut out, message));
        let got: Result<Vec<_>, _> = messages(out.finish()).collect();
        assert_eq!(got.unwrap(), sent);
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_an_error(bytes: Vec<u8>) {
            let read: Vec<_> = messages(Bytes::from(bytes).into()).collect();
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok), "nothing follows an error");
        }
    }
}
