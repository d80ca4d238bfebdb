//! What stands in the files of a node: its replicas, entry by entry, as the checker wants them.
//!
//! Reads without a lock, so it may look while the node runs; the last entries may be missing then.

use std::collections::BTreeMap;
use std::path::Path;

use highwater_storage::EntryKind;
use highwater_storage::disk::os::OsDisk;
use highwater_storage::inspect::{self, FrameDump};
use highwater_types::batch;

use crate::history::{Replica, ReplicaEntry, Value};

/// The replica of one partition in a data directory; `None` when it has none.
///
/// # Errors
/// When its files cannot be read, with the file.
pub fn replica(data: &Path, node: u64, topic_id: &str, partition: u32) -> Result<Option<Replica>, String> {
    let folder = data.join("logs").join(format!("{}-{partition}", topic_id.replace('-', "")));
    if !folder.is_dir() {
        return Ok(None);
    }
    let disk = OsDisk::default();
    let files = inspect::log_files(&disk, &folder).map_err(|error| error.to_string())?;
    let listed =
        files.manifest.as_ref().map(|manifest| manifest.segments.iter().map(|facts| facts.number).collect::<Vec<_>>());
    let last_listed = listed.as_ref().and_then(|listed| listed.last().copied());
    let mut entries: BTreeMap<u64, ReplicaEntry> = BTreeMap::new();
    let mut log_start = None;
    for file in files.segments.iter().filter(|file| file.exists) {
        // What is not listed and not after the listed ones was dropped by a truncation or retention.
        if file.facts.is_none() && last_listed.is_some_and(|last| file.number <= last) {
            continue;
        }
        let end = file.facts.map(|facts| facts.end.position).filter(|_| Some(file.number) != last_listed);
        let dump = inspect::segment(&disk, &file.path).map_err(|error| error.to_string())?;
        let Ok(header) = &dump.header else { continue };
        let base = header.base_offset.get();
        let mut next_offset = base;
        for frame in dump {
            let frame = frame.map_err(|error| error.to_string())?;
            if end.is_some_and(|end| frame.position >= end) {
                break;
            }
            let Some(entry) = entry(&frame, next_offset) else { continue };
            log_start.get_or_insert(base);
            next_offset = entry.base_offset + u64::from(entry.records);
            // A later segment replaces what a truncation left behind in an earlier one.
            drop(entries.split_off(&entry.index));
            entries.insert(entry.index, entry);
        }
    }
    let log_start = log_start.unwrap_or(0);
    Ok(Some(Replica { node, partition, log_start, entries: entries.into_values().collect() }))
}

fn entry(frame: &FrameDump, base_offset: u64) -> Option<ReplicaEntry> {
    let header = frame.header.as_ref().ok()?;
    Some(ReplicaEntry {
        index: header.id.index.get(),
        term: header.id.term.get(),
        kind: format!("{:?}", header.kind).to_lowercase(),
        base_offset: frame.batch.as_ref().map_or(base_offset, |batch| batch.base_offset.get()),
        records: header.record_count,
        crc: crc32fast::hash(&frame.payload),
        values: if header.kind == EntryKind::Data { values(frame) } else { Vec::new() },
    })
}

/// The values in a batch. What is no value of the workload is told by whoever reads it.
fn values(frame: &FrameDump) -> Vec<Value> {
    let Ok(records) = batch::records(frame.payload.clone()) else { return Vec::new() };
    records.flatten().filter_map(|record| Value::read(record.value?.as_ref()).ok()).collect()
}
