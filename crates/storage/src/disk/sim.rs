//! A disk in memory that keeps what is written apart from what is durable, fails on request, and loses its power
//! between any two calls. The same seed and the same calls give the same disk, byte for byte.
//!
//! Owns: the simulated medium and its faults. Never: touches a real file, reads a clock, or is kinder than a real disk:
//! a name that was not synced is lost even when its file was synced, and a page survives a crash sector by sector.
//!
//! A crash ends all handles. The machine that starts again is another [`SimDisk`], from [`SimDisk::reboot`]; what is
//! left of the old process holds the old one, whose every call fails (see [`is_crash`]).

mod contents;
mod handle;
mod names;
mod plan;
mod random;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use self::contents::FileData;
use self::handle::{SimFile, SimLock};
use self::names::{Names, Node};
pub use self::plan::{CrashMode, Fault, FaultRates};
use self::plan::{Kind, Plan};
use self::random::Random;
use super::{DirEntry, Disk, DiskFile, DiskLock, DiskSpace};
use crate::locks::lock;

/// What a disk without a set capacity says it has, in bytes.
const DEFAULT_CAPACITY_BYTES: u64 = 1 << 40;

/// What every call of a machine without power gives.
#[derive(Debug, thiserror::Error)]
#[error("the simulated machine has lost its power")]
struct Crashed;

fn crashed() -> io::Error {
    io::Error::other(Crashed)
}

/// Whether `error` only says that the simulated machine has crashed.
#[must_use]
pub fn is_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Crashed>())
}

fn input_output_error() -> io::Error {
    rustix::io::Errno::IO.into()
}

/// What a sync says that fails with `fault`.
fn sync_error(fault: Fault) -> io::Error {
    if fault == Fault::SyncNoSpace { ErrorKind::StorageFull.into() } else { input_output_error() }
}

/// One running machine's view of the simulated disk; a clone is the same machine.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    boot: u64,
}

impl SimDisk {
    /// An empty disk whose chances all come from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            names: Names::new(),
            random: Random::new(seed),
            plan: Plan::default(),
            boot: 0,
            has_power: true,
            locks: BTreeSet::new(),
            capacity_bytes: None,
            last_written: None,
        };
        Self { state: Arc::new(Mutex::new(state)), boot: 0 }
    }

    /// Cuts the power now.
    pub fn crash(&self, mode: CrashMode) {
        lock(&self.state).crash(mode);
    }

    /// Cuts the power in the `nth` changing call from now on (1 is the next). A sync is cut before it did anything;
    /// any other call has happened, but only as far as `mode` lets pending things survive.
    pub fn crash_at(&self, nth: u64, mode: CrashMode) {
        lock(&self.state).plan.schedule_crash(nth, mode);
    }

    /// Whether the power is cut.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        let state = lock(&self.state);
        state.boot != self.boot || !state.has_power
    }

    /// Starts the machine again, with what is on the medium and without planned faults. When it is still running, the
    /// power is cut first ([`CrashMode::LosePending`]).
    #[must_use]
    pub fn reboot(&self) -> Self {
        let mut state = lock(&self.state);
        if state.has_power {
            state.crash(CrashMode::LosePending);
        }
        state.boot += 1;
        state.has_power = true;
        state.plan.clear();
        Self { state: Arc::clone(&self.state), boot: state.boot }
    }

    /// How many calls there were that can change what a crash leaves: what [`SimDisk::crash_at`] counts.
    #[must_use]
    pub fn operations(&self) -> u64 {
        lock(&self.state).plan.operations()
    }

    /// Makes `fault` happen to the `nth` call of its kind from now on (1 is the next).
    pub fn schedule(&self, fault: Fault, nth: u64) {
        lock(&self.state).plan.schedule(fault, nth);
    }

    /// Lets calls fail by chance from now on.
    pub fn set_rates(&self, rates: FaultRates) {
        lock(&self.state).plan.rates = rates;
    }

    /// Forgets planned faults, a planned crash and rates.
    pub fn clear_faults(&self) {
        lock(&self.state).plan.clear();
    }

    /// Limits the disk's space, in bytes; `None` lifts the limit. What is there already stays.
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        lock(&self.state).capacity_bytes = capacity_bytes;
    }

    /// Damages the medium: turns over bit `bit` of the byte at `position`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such file, [`ErrorKind::InvalidInput`] when it is shorter.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u8) -> io::Result<()> {
        let file = lock(&self.state).names.file(path)?;
        let mut data = lock(&file);
        if position >= data.bytes() {
            return Err(ErrorKind::InvalidInput.into());
        }
        data.flip_bit(position, bit);
        Ok(())
    }

    /// Damages the medium: gives the page of 4 KiB at `position` the contents that it had before its newest sync.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such file, [`ErrorKind::InvalidInput`] when the page was not synced
    /// since the last time.
    pub fn make_stale(&self, path: &Path, position: u64) -> io::Result<()> {
        let file = lock(&self.state).names.file(path)?;
        if lock(&file).make_stale(position) { Ok(()) } else { Err(ErrorKind::InvalidInput.into()) }
    }

    /// Damages the medium: cuts the file at `bytes`, as somebody else's tool might.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such file.
    pub fn cut(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = lock(&self.state).names.file(path)?;
        lock(&file).cut(bytes);
        Ok(())
    }

    /// Runs a changing call on the names, unless the power is gone or goes now.
    fn change<T>(&self, call: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        lock(&self.state).operate(self.boot, Kind::Other, |state, _| call(state))
    }

    /// Runs a call that changes nothing.
    fn look<T>(&self, call: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        let state = lock(&self.state);
        state.alive(self.boot)?;
        call(&state)
    }

    fn file(&self, data: Arc<Mutex<FileData>>, is_writable: bool) -> Arc<dyn DiskFile> {
        Arc::new(SimFile::new(Arc::clone(&self.state), data, self.boot, is_writable))
    }
}

#[derive(Debug)]
struct State {
    names: Names,
    random: Random,
    plan: Plan,
    boot: u64,
    has_power: bool,
    locks: BTreeSet<PathBuf>,
    capacity_bytes: Option<u64>,
    /// Where the newest write went, if nothing was synced since.
    last_written: Option<Arc<Mutex<FileData>>>,
}

impl State {
    fn alive(&self, boot: u64) -> io::Result<()> {
        if self.has_power && self.boot == boot { Ok(()) } else { Err(crashed()) }
    }

    /// Counts a call and makes it, with the fault that is due, unless the power goes.
    fn operate<T>(
        &mut self,
        boot: u64,
        kind: Kind,
        call: impl FnOnce(&mut Self, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.alive(boot)?;
        let fault = self.plan.count(kind).or_else(|| self.fault_by_chance(kind));
        let crash = self.plan.crash_due();
        if let Some(mode) = crash.filter(|_| kind == Kind::Sync) {
            self.crash(mode);
            return Err(crashed());
        }
        let result = call(self, fault);
        if let Some(mode) = crash {
            self.crash(mode);
            return Err(crashed());
        }
        result
    }

    fn fault_by_chance(&mut self, kind: Kind) -> Option<Fault> {
        let rates = self.plan.rates;
        let candidates: &[(u32, Fault)] = match kind {
            Kind::Write => &[(rates.write_errors, Fault::WriteError)],
            Kind::Read => &[(rates.read_errors, Fault::ReadError)],
            Kind::Sync => &[(rates.sync_errors, Fault::SyncError), (rates.syncs_lost, Fault::SyncLost)],
            Kind::Other => &[],
        };
        candidates.iter().find(|(rate, _)| *rate > 0 && self.random.chance(*rate)).map(|(_, fault)| *fault)
    }

    fn crash(&mut self, mode: CrashMode) {
        if !self.has_power {
            return;
        }
        self.has_power = false;
        self.locks.clear();
        if let Some(file) = self.last_written.take().filter(|_| mode == CrashMode::TearLastWrite) {
            lock(&file).tear(&mut self.random);
        }
        // Seldom, half or mostly written: each finds other mistakes.
        let per_million = 125_000 * (1 + 3 * u32::try_from(self.random.below(3)).unwrap_or(0));
        for file in self.names.files() {
            let mut file = lock(&file);
            match mode {
                CrashMode::LosePending => file.crash_losing_all(),
                CrashMode::KeepSome => file.crash_keeping_some(&mut self.random, per_million),
                CrashMode::TearLastWrite | CrashMode::KeepAll => file.crash_keeping_all(),
            }
        }
        let pending = self.names.pending_changes();
        let kept = match mode {
            CrashMode::LosePending => 0,
            CrashMode::KeepSome => usize::try_from(self.random.below(pending as u64 + 1)).unwrap_or(pending),
            CrashMode::TearLastWrite | CrashMode::KeepAll => pending,
        };
        self.names.crash(kept);
    }

    /// Whether `more_bytes` fit.
    fn check_space(&self, more_bytes: u64) -> io::Result<()> {
        match self.capacity_bytes {
            Some(capacity) if more_bytes > 0 && self.names.reserved_bytes() + more_bytes > capacity => {
                Err(ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.change(|state| state.names.create_dir_all(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.look(|state| state.names.list(dir))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let data = self.change(|state| {
            let place = state.names.place(path)?;
            if state.names.node(&place).is_some() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let data = Arc::new(Mutex::new(FileData::default()));
            state.names.set(place, Some(Node::File(Arc::clone(&data))));
            Ok(data)
        })?;
        Ok(self.file(data, true))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.look(|state| state.names.file(path))?, true))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.look(|state| state.names.file(path))?, false))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            let (from, to) = (state.names.place(from)?, state.names.place(to)?);
            state.names.rename(from, to)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.names.file(path)?;
            let place = state.names.place(path)?;
            state.names.set(place, None);
            Ok(())
        })
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.change(|state| state.names.remove_dir_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        lock(&self.state).operate(self.boot, Kind::Sync, |state, fault| match fault {
            None => state.names.sync_dir(dir),
            Some(Fault::SyncLost) => Ok(()),
            Some(fault) => Err(sync_error(fault)),
        })
    }

    fn sync_filesystem(&self, _dir: &Path) -> io::Result<()> {
        lock(&self.state).operate(self.boot, Kind::Sync, |state, fault| {
            let files = state.names.files();
            match fault {
                None => {
                    files.iter().for_each(|file| lock(file).sync());
                    state.names.sync_all();
                    state.last_written = None;
                    Ok(())
                }
                Some(Fault::SyncLost) => Ok(()),
                Some(fault) => {
                    files.iter().for_each(|file| lock(file).sync_failed());
                    Err(sync_error(fault))
                }
            }
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        match self.create(path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let mut state = lock(&self.state);
        state.alive(self.boot)?;
        if !state.locks.insert(path.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock::new(Arc::clone(&self.state), path.to_owned(), self.boot)))
    }

    fn space(&self, _dir: &Path) -> io::Result<DiskSpace> {
        self.look(|state| {
            let total_bytes = state.capacity_bytes.unwrap_or(DEFAULT_CAPACITY_BYTES);
            Ok(DiskSpace { free_bytes: total_bytes.saturating_sub(state.names.reserved_bytes()), total_bytes })
        })
    }
}
