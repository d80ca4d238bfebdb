//! Where batches are taken apart into records: at once, or where blocking is allowed.

use bytes::Bytes;
use highwater_types::batch::{BatchHeader, Compression};
use tokio::task::JoinError;

use crate::runtime::blocking;

/// Uncompressed batches up to this many bytes are taken apart at once: handing them to another thread costs more.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// Has batches taken apart by `take`. Fails when the runtime ends meanwhile.
pub(crate) async fn take_apart<T: Send + 'static>(
    batches: Vec<Bytes>,
    take: impl FnOnce(Vec<Bytes>) -> T + Send + 'static,
) -> Result<T, JoinError> {
    let is_small = batches.iter().map(Bytes::len).sum::<usize>() <= INLINE_BYTES_MAX;
    let is_plain = |batch: &Bytes| BatchHeader::read(batch).is_ok_and(|head| head.compression == Compression::None);
    match is_small && batches.iter().all(is_plain) {
        true => Ok(take(batches)),
        false => blocking(move || take(batches)).await,
    }
}
