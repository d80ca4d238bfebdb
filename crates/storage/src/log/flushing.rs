//! A log's part in a flush round, and its manifest.
//!
//! Owns: what a round takes from the log, the order of manifests, and moving the durable mark. Never: releases an append
//! before the manifest that lists its segment is durable.

use std::collections::BTreeMap;

use super::Inner;
use super::error::{LogError, NoSpace};
use super::file_name::MANIFEST;
use super::manifest::{Manifest, Tail};
use super::writer::{Flushed, NumberedManifest, Taken, Writer};
use crate::error::FileError;
use crate::flush::{DirtyFile, Flushable, OnDurable};
use crate::locks::lock;
use crate::planted::{Bug, is_planted};
use crate::poison::Poisoned;
use crate::sealed_file::{self, FileKind};

impl Flushable for Inner {
    fn take_pending(&self, dirty: &mut Vec<DirtyFile>) {
        let mut guard = lock(&self.writer);
        let writer = &mut *guard;
        writer.is_announced = false;
        let mut files = std::mem::take(&mut writer.unsynced);
        if let Some(active) = writer.active.as_mut().filter(|active| active.is_dirty) {
            active.is_dirty = false;
            files.push(active.space.dirty());
        }
        dirty.extend_from_slice(&files);
        let manifest = std::mem::take(&mut writer.is_manifest_due).then(|| self.number_manifest(writer));
        writer.taken = Some(Taken {
            files,
            callbacks: release_too_early(Bug::AckBeforeSync, std::mem::take(&mut writer.pending)),
            generation: writer.generation,
            mark: writer.mark(),
            manifest,
        });
    }

    fn write_metadata(&self) -> Result<(), FileError> {
        let manifest = lock(&self.writer).taken.as_mut().and_then(|taken| {
            taken.callbacks = release_too_early(Bug::AckBeforeManifest, std::mem::take(&mut taken.callbacks));
            taken.manifest.take()
        });
        manifest.map_or(Ok(()), |manifest| self.write_manifest(&manifest))
    }

    fn release(&self, outcome: Result<(), Poisoned>) {
        let callbacks = {
            let mut writer = lock(&self.writer);
            let Some(taken) = writer.taken.take() else { return };
            // After a truncation the mark may name an entry that is gone; the truncation has set its own.
            if outcome.is_ok() && taken.generation == writer.generation {
                writer.advance_flushed(taken.mark);
                self.publish(&writer);
            }
            taken.callbacks
        };
        for callback in callbacks {
            callback(outcome.clone());
        }
    }
}

/// Gives `callbacks` back, unless the bug is planted that calls them now.
fn release_too_early(bug: Bug, callbacks: Vec<OnDurable>) -> Vec<OnDurable> {
    if !is_planted(bug) {
        return callbacks;
    }
    callbacks.into_iter().for_each(|callback| callback(Ok(())));
    Vec::new()
}

impl Writer {
    fn advance_flushed(&mut self, mark: Option<Flushed>) {
        let index = |flushed: Option<Flushed>| flushed.map(|flushed| flushed.id.index);
        if index(mark) > index(self.flushed) {
            self.flushed = mark;
        }
    }
}

impl Inner {
    /// The manifest of the log as it is now. To be written after everything written so far is durable.
    pub(super) fn number_manifest(&self, writer: &mut Writer) -> NumberedManifest {
        let tail = if writer.active.is_some() { Tail::Open } else { Tail::Sealed };
        let segments = self.segments().iter().map(|segment| segment.facts()).collect();
        self.number_manifest_of(writer, segments, tail)
    }

    /// The manifest of the log with these segments.
    pub(super) fn number_manifest_of(
        &self,
        writer: &mut Writer,
        segments: Vec<super::manifest::SegmentFacts>,
        tail: Tail,
    ) -> NumberedManifest {
        writer.manifests += 1;
        let manifest = Manifest {
            key: self.key,
            next_segment: writer.next_segment,
            purged: writer.purged,
            log_start: writer.log_start,
            // While there is a segment, its header says it.
            membership: writer.membership.clone().filter(|_| segments.is_empty()),
            segments,
            tail,
        };
        NumberedManifest { sequence: writer.manifests, manifest }
    }

    /// Writes a manifest, unless a later one has been written.
    pub(super) fn write_manifest(&self, numbered: &NumberedManifest) -> Result<(), FileError> {
        let mut written = lock(&self.manifest_written);
        if numbered.sequence > *written {
            let path = self.dir.join(MANIFEST);
            let payload = numbered.manifest.encode();
            let write = || sealed_file::write(&*self.disk, &path, FileKind::Manifest, &payload);
            self.flusher.reserve().or_give_way(write)?;
            *written = numbered.sequence;
        }
        Ok(())
    }

    /// Makes everything that was appended durable, here and now. Callbacks are left to the next round.
    pub(super) fn sync_now(&self, writer: &mut Writer) -> Result<(), Poisoned> {
        // What a running round has taken is perhaps not durable yet.
        let taken = writer.taken.iter().flat_map(|taken| taken.files.iter().cloned());
        let mut files: BTreeMap<_, _> =
            writer.unsynced.iter().cloned().chain(taken).map(|dirty| (dirty.path, dirty.file)).collect();
        if let Some(active) = writer.active.as_ref().filter(|active| active.is_dirty) {
            let dirty = active.space.dirty();
            files.insert(dirty.path, dirty.file);
        }
        let files: Vec<_> = files.into_iter().map(|(path, file)| DirtyFile { path, file }).collect();
        self.flusher.sync_files(&files)?;
        writer.unsynced.clear();
        if let Some(active) = &mut writer.active {
            active.is_dirty = false;
        }
        Ok(())
    }

    /// A manifest that cannot be written for want of space changes nothing; any other failure is final.
    pub(super) fn write_manifest_now(&self, numbered: &NumberedManifest) -> Result<(), LogError> {
        self.write_manifest(numbered).map_err(|error| {
            if error.is_disk_full() { NoSpace { cause: error }.into() } else { self.poison(error).into() }
        })
    }
}
