//! Any bytes as records of stream groups, and as an image of them.
//!
//! Looks for panics, for memory that does not come from the bytes, and for something that is written otherwise than it was
//! read.
#![no_main]

use highwater_groups::stream::{GroupsImage, record};
use highwater_types::LogIndex;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(records) = record::decode(data) {
        assert_eq!(record::decode(&record::encode(&records)).as_deref(), Ok(records.as_slice()));
        let mut image = GroupsImage::default();
        image.replay_entry(LogIndex::new(1), &records);
        check(&image);
    }
    if let Ok(image) = GroupsImage::from_bytes(data) {
        check(&image);
    }
});

/// An image is the same after its snapshot.
fn check(image: &GroupsImage) {
    let bytes = image.to_bytes();
    let again = GroupsImage::from_bytes(&bytes).map(|again| again.to_bytes());
    assert_eq!(again.as_deref(), Ok(&bytes[..]));
}
