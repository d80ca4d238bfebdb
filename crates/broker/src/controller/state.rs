//! The state of the metadata group: the image, published after each entry.

use std::sync::Arc;

use bytes::Bytes;
use highwater_metadata::{MetadataImage, record};
use highwater_storage::Entry;
use tokio::sync::watch;

use crate::raft::{ApplyError, GroupState, RestoreError};

/// The image as the committed entries make it.
#[derive(Debug)]
pub(crate) struct MetadataState {
    image: MetadataImage,
    published: watch::Sender<Arc<MetadataImage>>,
}

impl MetadataState {
    /// An empty image, and where each later one is published.
    pub(crate) fn new() -> (Self, watch::Receiver<Arc<MetadataImage>>) {
        let (published, image) = watch::channel(Arc::default());
        (Self { image: MetadataImage::default(), published }, image)
    }

    fn publish(&self) {
        self.published.send_replace(Arc::new(self.image.clone()));
    }
}

impl GroupState for MetadataState {
    fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        let records =
            record::decode(&entry.payload).map_err(|error| ApplyError { id: entry.id, reason: error.to_string() })?;
        if self.image.replay_entry(entry.id.index, &records) {
            self.publish();
        }
        Ok(())
    }

    fn encode(&self) -> Bytes {
        self.image.to_bytes()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.image = match bytes {
            [] => MetadataImage::default(),
            bytes => MetadataImage::from_bytes(bytes).map_err(|error| RestoreError { reason: error.to_string() })?,
        };
        self.publish();
        Ok(())
    }
}
