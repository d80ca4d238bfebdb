//! One request, its head read, and how its answer is sent.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::api::Api;
use super::wire::{Malformed, Reader, Writer};

/// How a client came in.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// Where it is.
    pub(super) peer: SocketAddr,
    /// The name of the listener; `None`: the one without.
    pub(super) listener: Option<Arc<str>>,
}

/// What a client asks.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) api: Api,
    pub(super) version: i16,
    correlation: i32,
    /// What the client calls itself.
    pub(super) client_id: Option<String>,
    /// Where it is.
    pub(super) peer: IpAddr,
    /// The name of the listener that it came in through.
    pub(super) listener: Option<Arc<str>>,
    pub(super) body: Reader,
}

/// A request that is not one of ours: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    /// It cannot be read.
    #[error("a request that cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// Nothing was said of such an API.
    #[error("a request of an API that is not served, {key} in version {version}")]
    NotServed {
        /// The number of the API.
        key: i16,
        /// Its version.
        version: i16,
    },
}

/// How a request ends.
pub(super) enum Outcome {
    /// With this answer, in pieces.
    Answer(Vec<Bytes>),
    /// Without one, as the client wishes.
    Nothing,
    /// With the connection: the only way to tell a client that wants no answer.
    Close,
}

/// An answer that is there, or on its way. Answers leave in the order of the requests.
pub(super) enum Pending {
    Ready(Outcome),
    Later(Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

impl Call {
    /// Reads the head.
    pub(super) fn read(bytes: Bytes, door: &Door) -> Result<Self, BadRequest> {
        let (peer, listener) = (door.peer.ip(), door.listener.clone());
        let mut body = Reader::new(bytes, false);
        let (key, version, correlation) = (body.i16()?, body.i16()?, body.i32()?);
        let api = Api::from_key(key).ok_or(BadRequest::NotServed { key, version })?;
        if !api.serves(version) {
            return match api {
                // Whoever asks for versions cannot know them: it is answered in the oldest one (KIP-511).
                Api::ApiVersions => Ok(Self { api, version, correlation, client_id: None, peer, listener, body }),
                _ => Err(BadRequest::NotServed { key, version }),
            };
        }
        // In the old encoding whatever the version is.
        let client_id = body.nullable_text()?;
        let mut body = body.flexible(api.is_flexible(version));
        body.tags()?;
        Ok(Self { api, version, correlation, client_id, peer, listener, body })
    }

    /// For the body of the answer.
    pub(super) fn writer(&self) -> Writer {
        Writer::new(self.api.is_flexible(self.version))
    }

    /// How the answer is sent, once its body is written.
    pub(super) fn envelope(&self) -> Envelope {
        let is_flexible = self.api.has_flexible_answer_head(self.version);
        Envelope { correlation: self.correlation, is_flexible }
    }
}

/// What surrounds the body of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    correlation: i32,
    is_flexible: bool,
}

impl Envelope {
    /// The whole answer.
    pub(super) fn seal(self, body: Writer) -> Outcome {
        let mut pieces = body.into_pieces();
        let head_bytes = size_of::<i32>() + usize::from(self.is_flexible);
        let length = head_bytes + pieces.iter().map(Bytes::len).sum::<usize>();
        let mut head = BytesMut::with_capacity(size_of::<i32>() + head_bytes);
        // Answers are bounded far below.
        head.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
        head.put_i32(self.correlation);
        if self.is_flexible {
            head.put_u8(0);
        }
        pieces.insert(0, head.freeze());
        Outcome::Answer(pieces)
    }
}
