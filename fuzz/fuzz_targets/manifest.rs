//! Any bytes as the payload of a manifest.
//!
//! Looks for panics, memory that a count makes it take, and a broken promise: what is read is written the same again.
#![no_main]

use highwater_storage::log::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = Manifest::decode(data) {
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
});
