//! The metadata group's state: what it refuses, and what it publishes.

use highwater_metadata::{MetadataRecord, record};
use highwater_storage::{Entry, EntryKind};
use highwater_types::{ClusterId, EntryId, Offset, ProducerId};

use super::*;
use crate::raft::GroupState;

fn entry(index: u64, payload: bytes::Bytes) -> Entry {
    let id = EntryId::new(1, index);
    Entry { id, kind: EntryKind::Metadata, base_offset: Offset::ZERO, record_count: 0, payload }
}

fn formed(cluster: u8) -> bytes::Bytes {
    record::encode(&[MetadataRecord::ClusterFormed { cluster: ClusterId::from_bytes([cluster; 16]) }])
}

#[test]
fn each_entry_is_published() {
    let (mut state, mut image) = MetadataState::new();
    assert_eq!(image.borrow_and_update().cluster(), None);
    state.apply(&entry(3, formed(7))).unwrap();
    assert!(image.has_changed().unwrap());
    assert_eq!(image.borrow_and_update().cluster(), Some(ClusterId::from_bytes([7; 16])));
}

#[test]
fn a_restart_from_a_checkpoint_goes_on_where_it_was() {
    let (mut state, _image) = MetadataState::new();
    state.apply(&entry(1, formed(7))).unwrap();
    state
        .apply(&entry(2, record::encode(&[MetadataRecord::ProducerIdsReserved { next: ProducerId::new(9) }])))
        .unwrap();
    let (mut restarted, image) = MetadataState::new();
    restarted.restore(&state.encode()).unwrap();
    restarted.apply(&entry(2, record::encode(&[]))).unwrap();
    assert_eq!(image.borrow().producer_id_next(), ProducerId::new(9));
    assert_eq!(restarted.encode(), state.encode());
}

#[test]
fn what_a_newer_version_wrote_is_refused_and_changes_nothing() {
    let (mut state, image) = MetadataState::new();
    let refused = state.apply(&entry(1, bytes::Bytes::from_static(&[9, 0]))).unwrap_err();
    assert!(refused.to_string().contains("start a newer version"), "{refused}");
    let refused = state.restore(&[9, 0]).unwrap_err();
    assert!(refused.to_string().contains("start a newer version"), "{refused}");
    assert_eq!(**image.borrow(), MetadataImage::default());
}
