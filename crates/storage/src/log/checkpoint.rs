//! The checkpoint of the state machine above, beside its log.
//!
//! Owns: the sealed file `checkpoint`. Never: looks into it.

use bytes::Bytes;

use super::Inner;
use super::file_name::CHECKPOINT;
use crate::error::FileError;
use crate::sealed_file::{self, FileKind};

impl Inner {
    /// See [`super::Log::write_checkpoint`].
    pub(super) fn write_checkpoint(&self, bytes: &[u8]) -> Result<(), FileError> {
        let path = self.dir.join(CHECKPOINT);
        let write = || sealed_file::write(&*self.disk, &path, FileKind::Checkpoint, bytes);
        self.flusher.reserve().or_give_way(write).inspect_err(|error| {
            // Without space nothing has changed; after any other error nobody knows which of the two is there.
            if !error.is_disk_full() {
                self.poison(error);
            }
        })
    }

    /// See [`super::Log::read_checkpoint`].
    pub(super) fn read_checkpoint(&self) -> Result<Option<Bytes>, FileError> {
        let sealed = sealed_file::read(&*self.disk, &self.dir.join(CHECKPOINT), FileKind::Checkpoint)?;
        Ok(sealed.map(|sealed| sealed.payload))
    }
}
