//! What a running machine holds of the simulated disk: open files, views and locks. A crash ends them all.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::contents::FileData;
use super::plan::{Fault, Kind};
use super::{State, input_output_error, sync_error};
use crate::disk::{DiskFile, DiskLock, FileView};
use crate::locks::lock;

#[derive(Debug)]
pub(super) struct SimFile {
    state: Arc<Mutex<State>>,
    data: Arc<Mutex<FileData>>,
    boot: u64,
    is_writable: bool,
}

impl SimFile {
    pub(super) fn new(state: Arc<Mutex<State>>, data: Arc<Mutex<FileData>>, boot: u64, is_writable: bool) -> Self {
        Self { state, data, boot, is_writable }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.is_writable { Ok(()) } else { Err(rustix::io::Errno::BADF.into()) }
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, position: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.check_writable()?;
        let mut bytes = Vec::new();
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        lock(&self.state).operate(self.boot, Kind::Write, |state, fault| {
            if bytes.is_empty() {
                return Ok(());
            }
            let more_bytes = lock(&self.data).more_bytes(position + bytes.len() as u64);
            state.check_space(more_bytes)?;
            let mut data = lock(&self.data);
            state.last_written = Some(Arc::clone(&self.data));
            if fault.is_some() {
                let part = usize::try_from(state.random.below(bytes.len() as u64 + 1)).unwrap_or(0);
                data.write(position, bytes.split_at(part).0);
                return Err(input_output_error());
            }
            data.write(position, &bytes);
            Ok(())
        })
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        lock(&self.state).operate(self.boot, Kind::Read, |_, fault| match fault {
            Some(_) => Err(input_output_error()),
            None => Ok(lock(&self.data).read(position, buffer)),
        })
    }

    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        self.check_writable()?;
        lock(&self.state).operate(self.boot, Kind::Other, |state, _| {
            if range.is_empty() {
                return Ok(());
            }
            let more_bytes = lock(&self.data).more_bytes(range.end);
            state.check_space(more_bytes)?;
            lock(&self.data).allocate(range.end);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        lock(&self.state).operate(self.boot, Kind::Sync, |state, fault| match fault {
            None => {
                lock(&self.data).sync();
                state.last_written.take_if(|last| Arc::ptr_eq(last, &self.data));
                Ok(())
            }
            Some(Fault::SyncLost) => Ok(()),
            Some(fault) => {
                lock(&self.data).sync_failed();
                Err(sync_error(fault))
            }
        })
    }

    fn size(&self) -> io::Result<u64> {
        lock(&self.state).alive(self.boot)?;
        Ok(lock(&self.data).bytes())
    }

    fn map(&self, bytes: u64) -> io::Result<Arc<dyn FileView>> {
        lock(&self.state).alive(self.boot)?;
        Ok(Arc::new(SimView { data: Arc::clone(&self.data), bytes }))
    }
}

#[derive(Debug)]
struct SimView {
    data: Arc<Mutex<FileData>>,
    bytes: u64,
}

impl FileView for SimView {
    fn slice(&self, range: Range<u64>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.bytes, "a slice must lie inside its view");
        let data = lock(&self.data);
        assert!(range.end <= data.bytes(), "a view was touched beyond the end of its file: SIGBUS on a real disk");
        let Ok(length) = usize::try_from(range.end - range.start) else { return Bytes::new() };
        let mut copy = vec![0; length];
        data.read(range.start, &mut copy);
        copy.into()
    }

    fn populate(&self, _range: Range<u64>) {}
}

#[derive(Debug)]
pub(super) struct SimLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    boot: u64,
}

impl SimLock {
    pub(super) fn new(state: Arc<Mutex<State>>, path: PathBuf, boot: u64) -> Self {
        Self { state, path, boot }
    }
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.alive(self.boot).is_ok() {
            state.locks.remove(&self.path);
        }
    }
}
