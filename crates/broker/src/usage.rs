//! What this process has used of its machine, as the kernel counts it.
//!
//! Owns: reading `/proc/self` and the memory limit of the machine or its control group; the limit of open files.
//!
//! Never: touches a disk: these files are views of the kernel's memory, so reading them does not block.

use std::path::Path;
use std::sync::OnceLock;
use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clock::Clock;

/// Processor time and memory of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time since the process started, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Memory that is resident now, in bytes. Pages of mapped segments count while they are.
    pub rss_bytes: u64,
    /// The most memory that was resident at a time, in bytes.
    pub rss_peak_bytes: u64,
}

/// Why the kernel's counters could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The file is missing or may not be read.
    #[error("cannot read {path}: {source}; is /proc mounted?")]
    Unreadable {
        /// Which file.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not look as the kernel documents it.
    #[error("{path} does not hold {field}")]
    Unexpected {
        /// Which file.
        path: &'static str,
        /// What was looked for.
        field: &'static str,
    },
}

/// No more files than that are asked for: what Linux allows a process at the most, unless it was told otherwise.
const OPEN_FILES_MAX: u64 = 1 << 20;

const STAT: &str = "/proc/self/stat";
const STATUS: &str = "/proc/self/status";

impl Usage {
    /// Reads the counters of this process.
    ///
    /// # Errors
    /// When `/proc` is not there or not as documented.
    pub fn read() -> Result<Self, UsageError> {
        let stat = read(STAT)?;
        let status = read(STATUS)?;
        let field = |name| kib_of(&status, name).ok_or(UsageError::Unexpected { path: STATUS, field: name });
        Ok(Self {
            cpu_seconds: cpu_seconds(&stat).ok_or(UsageError::Unexpected { path: STAT, field: "utime and stime" })?,
            rss_bytes: field("VmRSS")? * 1024,
            rss_peak_bytes: field("VmHWM")? * 1024,
        })
    }
}

/// A name of this process that no other one has, on this machine or another: what nodes share that say the same.
#[must_use]
pub fn process_name(clock: &Clock) -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| clock.unique_id().to_string())
}

/// How much memory this process may use, in bytes: the limit of its control group, else the machine's memory.
/// `None` where the kernel tells neither.
#[must_use]
pub fn memory_limit_bytes() -> Option<u64> {
    let machine =
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| kib_of(&text, "MemTotal")).map(|kib| kib * 1024);
    let limit = control_group_limit_bytes();
    match (machine, limit) {
        (Some(machine), Some(limit)) => Some(machine.min(limit)),
        (machine, limit) => machine.or(limit),
    }
}

/// How many files this process may have open at a time; `None`: as many as it likes.
#[must_use]
pub fn open_files_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Lets this process have as many files open as it may have without asking anybody. Systems set what it begins with for old
/// programs, often to 1,024: less than a node with some clients and partitions needs.
pub fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(OPEN_FILES_MAX).min(OPEN_FILES_MAX);
    if limit.current.is_some_and(|current| current < allowed) {
        // When that fails, it stays as it is: `open_files_limit` tells.
        let _refused = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), ..limit });
    }
}

/// The smallest `memory.max` from the process's control group up to the root (version 2).
fn control_group_limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = Path::new("/sys/fs/cgroup");
    root.join(own.trim_start_matches('/'))
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok())
        .min()
}

fn read(path: &'static str) -> Result<String, UsageError> {
    fs::read_to_string(path).map_err(|source| UsageError::Unreadable { path, source })
}

/// User and system time out of `/proc/self/stat`. The second field, the name, may hold spaces and brackets itself, so
/// counting starts after its last bracket.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    // Fields 14 and 15 of the line; what is left begins with field 3.
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    let ticks_per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some((f64::from(user) + f64::from(system)) / f64::from(ticks_per_second))
}

/// The number of a line `Name:   123 kB`.
fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 200 100 0 0 20 0 9 0 0";
        let ticks = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap());
        assert_eq!(cpu_seconds(stat), Some(300.0 / ticks));
        assert_eq!(cpu_seconds("42 (cut"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::read().unwrap();
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes, "{usage:?}");
        assert!(memory_limit_bytes().unwrap() > usage.rss_bytes);
    }
}
