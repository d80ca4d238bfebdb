//! What goes wrong, and when: chosen by a test, by number or by rate.

use std::collections::BTreeMap;

/// What is on the simulated medium after the power was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Nothing that was pending.
    LosePending,
    /// Any part of what was pending: each sector of 512 bytes, each length, and a first part of the name changes, by
    /// the seed.
    KeepSome,
    /// All that was pending, but of the newest write only a first part, to the byte.
    TearLastWrite,
    /// All that was pending.
    KeepAll,
}

impl CrashMode {
    /// All of them, for tests that go through each.
    pub const ALL: [Self; 4] = [Self::LosePending, Self::KeepSome, Self::TearLastWrite, Self::KeepAll];
}

/// A call that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write fails with EIO; a first part of it was made.
    WriteError,
    /// A read fails with EIO.
    ReadError,
    /// A sync (of a file, a folder or the filesystem) fails with EIO, and as Linux does, what was pending counts as
    /// written from then on: the next sync says `Ok`, a crash shows that it is not there.
    SyncError,
    /// The same with ENOSPC: a filesystem that looks for space only when it must write.
    SyncNoSpace,
    /// A sync says `Ok` and does nothing: a disk that lies. What was pending stays so.
    SyncLost,
}

/// How often calls fail by chance, in a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// Of writes, see [`Fault::WriteError`].
    pub write_errors: u32,
    /// Of reads, see [`Fault::ReadError`].
    pub read_errors: u32,
    /// Of syncs, see [`Fault::SyncError`].
    pub sync_errors: u32,
    /// Of syncs, see [`Fault::SyncLost`].
    pub syncs_lost: u32,
}

/// What kind of call it is: each kind is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Write,
    Read,
    Sync,
    /// Changes names or reserves space; fails only by a crash or a full disk.
    Other,
}

impl Fault {
    fn kind(self) -> Kind {
        match self {
            Self::WriteError => Kind::Write,
            Self::ReadError => Kind::Read,
            Self::SyncError | Self::SyncNoSpace | Self::SyncLost => Kind::Sync,
        }
    }
}

/// The faults to come, and the counts that they are due by.
#[derive(Debug, Default)]
pub(super) struct Plan {
    done: BTreeMap<Kind, u64>,
    due: BTreeMap<(Kind, u64), Fault>,
    operations: u64,
    crash: Option<(u64, CrashMode)>,
    pub(super) rates: FaultRates,
}

impl Plan {
    /// Calls that can change what a crash leaves, so far.
    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    /// `fault` happens to the `nth` call of its kind from now on; 1 is the next.
    pub(super) fn schedule(&mut self, fault: Fault, nth: u64) {
        let kind = fault.kind();
        let done = self.done.get(&kind).copied().unwrap_or(0);
        self.due.insert((kind, done + nth.max(1)), fault);
    }

    /// The power goes in the `nth` changing call from now on; 1 is the next.
    pub(super) fn schedule_crash(&mut self, nth: u64, mode: CrashMode) {
        self.crash = Some((self.operations + nth.max(1), mode));
    }

    /// Forgets everything that was to come.
    pub(super) fn clear(&mut self) {
        self.due.clear();
        self.crash = None;
        self.rates = FaultRates::default();
    }

    /// Counts a call; the fault that is scheduled for it.
    pub(super) fn count(&mut self, kind: Kind) -> Option<Fault> {
        if kind != Kind::Read {
            self.operations += 1;
        }
        let done = self.done.entry(kind).or_default();
        *done += 1;
        self.due.remove(&(kind, *done))
    }

    /// The crash that is due at the call that was just counted.
    pub(super) fn crash_due(&mut self) -> Option<CrashMode> {
        let (_, mode) = self.crash.take_if(|(at, _)| *at <= self.operations)?;
        Some(mode)
    }
}
