//! Any bytes as the index of a segment: as they came, and with the checksum and the owner's fields made right.
//!
//! Looks for panics, and a broken promise: an index that is taken finds only points that it holds.
#![no_main]

use bytes::Bytes;
use highwater_storage::log::SegmentNumber;
use highwater_storage::log::index::{Index, IndexOwner};
use highwater_types::LogIndex;
use libfuzzer_sys::fuzz_target;

const OWNER: IndexOwner = IndexOwner { number: SegmentNumber::new(3), salt: 77, base_index: LogIndex::new(50) };
const END: u32 = 9000;

fuzz_target!(|data: &[u8]| {
    look(Bytes::copy_from_slice(data));
    if let Some(sealed) = seal(data) {
        look(sealed);
    }
});

fn look(file: Bytes) {
    if let Some(mut index) = Index::decode(&file, OWNER, u64::from(END)) {
        for wanted in [0, 50, 51, 1000, u64::MAX] {
            let found = index.last_where(|point| point.index <= LogIndex::new(wanted));
            assert!(found.is_none_or(|point| point.index.get() <= wanted));
        }
        index.cut(4000);
        let _ = index.into_memory().encode(OWNER, u64::from(END));
    }
}

fn seal(data: &[u8]) -> Option<Bytes> {
    let mut bytes = data.to_vec();
    bytes.get_mut(..12)?.copy_from_slice(b"HWINDEX_\x01\0\0\0");
    bytes.get_mut(16..24)?.copy_from_slice(&OWNER.number.get().to_le_bytes());
    bytes.get_mut(24..28)?.copy_from_slice(&OWNER.salt.to_le_bytes());
    bytes.get_mut(28..32)?.copy_from_slice(&END.to_le_bytes());
    bytes.get_mut(32..40)?.copy_from_slice(&OWNER.base_index.get().to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes.get(..12)?);
    hasher.update(bytes.get(16..)?);
    let crc = hasher.finalize();
    bytes.get_mut(12..16)?.copy_from_slice(&crc.to_le_bytes());
    Some(bytes.into())
}
