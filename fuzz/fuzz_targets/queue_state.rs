//! Any bytes as records of queues, and as an image of them.
//!
//! Looks for panics, for memory that does not come from the bytes, for something that is written otherwise than it was
//! read, and for a replay that is not idempotent.
#![no_main]

use highwater_groups::queue::{QueuesImage, record};
use highwater_types::LogIndex;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(records) = record::decode(data) {
        assert_eq!(record::decode(&record::encode(&records)).as_deref(), Ok(records.as_slice()));
        let mut image = QueuesImage::default();
        image.replay_entry(LogIndex::new(1), &records);
        check(&image);
        // Acks of a batch as fewer records come to the same.
        let mut merged = QueuesImage::default();
        merged.replay_entry(LogIndex::new(1), &record::merge(records));
        assert_eq!(merged, image);
    }
    if let Ok(image) = QueuesImage::from_bytes(data) {
        check(&image);
    }
});

/// An image is the same after its snapshot.
fn check(image: &QueuesImage) {
    let bytes = image.to_bytes();
    let again = QueuesImage::from_bytes(&bytes);
    assert_eq!(again.as_ref(), Ok(image));
}
