//! What happened in a run, with virtual times: a fingerprint always, the lines when somebody wants to read them.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;

thread_local! {
    static TRACE: RefCell<Trace> = const { RefCell::new(Trace { now: 0, fingerprint: 0, shows: false, lines: Vec::new() }) };
}

struct Trace {
    now: u64,
    fingerprint: u64,
    shows: bool,
    /// Kept to find where two runs of one seed part.
    lines: Vec<u64>,
}

/// Begins a trace on this thread. `shows` prints every line as it comes.
pub fn begin(shows: bool) {
    TRACE.set(Trace { now: 0, fingerprint: 0xcbf2_9ce4_8422_2325, shows, lines: Vec::new() });
}

/// The virtual time from now on.
pub fn set_now(now: u64) {
    TRACE.with_borrow_mut(|trace| trace.now = now);
}

pub fn now() -> u64 {
    TRACE.with_borrow(|trace| trace.now)
}

/// Notes that something happened.
pub fn put(line: fmt::Arguments<'_>) {
    TRACE.with_borrow_mut(|trace| {
        let line = format!("{:>7} ms  {line}", trace.now);
        for byte in line.bytes() {
            trace.fingerprint = (trace.fingerprint ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        trace.lines.push(trace.fingerprint);
        if trace.shows {
            let _nobody_reads = writeln!(std::io::stderr(), "{line}");
        }
    });
}

/// The fingerprint of everything noted since [`begin`], and after each line.
pub fn end() -> (u64, Vec<u64>) {
    TRACE.with_borrow_mut(|trace| (trace.fingerprint, std::mem::take(&mut trace.lines)))
}

/// Notes a line, formatted.
macro_rules! note {
    ($($arg:tt)*) => { $crate::trace::put(format_args!($($arg)*)) };
}
pub(crate) use note;
