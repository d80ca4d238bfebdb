//! One connection: requests in, answers out, in the order of the requests.
//!
//! Owns: how many requests of a connection are under way, and giving up on a client that does not read its answers.
//!
//! A request is taken in only when the one before it is: what a client sends in order happens in order. Taking in a Produce
//! request is handing its batches to their partitions; its answer comes later, so many of them are on their way at once.
//! Every other request is answered where it is taken in.
//!
//! Never: takes in more while the answers of [`REQUESTS_MAX`] requests are not sent. A parked fetch or join holds up its
//! own connection and no other.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::api::Api;
use super::call::{BadRequest, Call, Door, Outcome, Pending};
use super::context::Context;
use super::dispatch;
use super::frame::{Frame, Frames};

/// Requests of a connection that are under way.
const REQUESTS_MAX: usize = 32;
/// A client that takes nothing of its answers for so long is given up.
const READ_PATIENCE: Duration = Duration::from_secs(30);
/// Pieces that one call of the system takes.
const SLICES_MAX: usize = 64;

/// A request that is taken in; `None` ends the connection.
type Taking<'a> = Pin<Box<dyn Future<Output = Option<Pending>> + Send + 'a>>;

/// Serves a connection until either side ends it.
pub(super) async fn serve(stream: TcpStream, door: Door, context: Arc<Context>) {
    let peer = door.peer;
    let (receiving, sending) = stream.into_split();
    let (answers, pending) = mpsc::channel(REQUESTS_MAX);
    let frames = Frames::new(receiving, context.budgets.clone());
    let mut taking = pin!(take_in(frames, door, context, answers));
    let mut answering = pin!(answer(sending, pending));
    let ended = tokio::select! {
        ended = &mut answering => ended,
        // What is under way is still answered.
        () = &mut taking => answering.await,
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a Kafka connection broke");
    }
}

async fn take_in(mut frames: Frames, door: Door, context: Arc<Context>, answers: mpsc::Sender<Pending>) {
    let peer = door.peer;
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = context.shutdown.requested() => return,
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => return tracing::debug!(%peer, %error, "a Kafka connection is closed"),
        };
        let Ok(place) = answers.reserve().await else { return };
        // On the heap, so that a connection that asks nothing holds little.
        let taking: Taking<'_> = Box::pin(take(frame, &door, &context));
        match taking.await {
            Some(pending) => place.send(pending),
            None => return,
        }
    }
}

async fn take(frame: Frame, door: &Door, context: &Arc<Context>) -> Option<Pending> {
    let taken = match Call::read(frame.bytes, door) {
        Ok(call) => dispatch::take(call, frame.permit, context).await,
        Err(error) => Err(error),
    };
    match taken {
        Ok(pending) => Some(pending),
        Err(error) => {
            tell(error, door, context);
            None
        }
    }
}

/// An operator who wonders why a client does not work is told once; one that sends noise writes no logs.
fn tell(error: BadRequest, door: &Door, context: &Context) {
    let known = match error {
        BadRequest::NotServed { key, version } => Api::from_key(key).map(|api| (api, version)),
        BadRequest::Malformed(_) => None,
    };
    match known {
        Some((api, version)) if context.unserved.is_news(api, version) => {
            let (first, last) = api.versions();
            tracing::warn!(peer = %door.peer, "a Kafka client asked for {} in version {version}, and versions {first} to {last} \
                are served: its connection is closed, whenever it asks so again; take a newer client", api.name());
        }
        _ => tracing::debug!(peer = %door.peer, %error, "a Kafka connection is closed"),
    }
}

/// Sends answers until there are no more.
async fn answer(mut sending: OwnedWriteHalf, mut pending: mpsc::Receiver<Pending>) -> io::Result<()> {
    while let Some(pending) = pending.recv().await {
        let outcome = match pending {
            Pending::Ready(outcome) => outcome,
            Pending::Later(answer) => answer.await,
        };
        match outcome {
            Outcome::Answer(pieces) => send(&mut sending, pieces.into()).await?,
            Outcome::Nothing => {}
            Outcome::Close => break,
        }
    }
    Ok(())
}

/// Sends pieces as they are, many with one call of the system.
async fn send(sending: &mut OwnedWriteHalf, mut pieces: VecDeque<Bytes>) -> io::Result<()> {
    while !pieces.is_empty() {
        let slices: Vec<IoSlice<'_>> = pieces.iter().take(SLICES_MAX).map(|piece| IoSlice::new(piece)).collect();
        let Ok(written) = timeout(READ_PATIENCE, sending.write_vectored(&slices)).await else {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answers"));
        };
        let mut written = written?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = pieces.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            pieces.pop_front();
        }
    }
    Ok(())
}
