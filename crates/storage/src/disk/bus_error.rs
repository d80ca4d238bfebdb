//! What is said when a page of a map cannot be read: the file was made shorter by somebody else, or a sector is bad.
//!
//! Owns: the last words of the process, with the file's name. Never: goes on. It runs inside a signal handler, on a
//! thread that may hold any lock: so it takes none, allocates nothing, and asks the kernel which file lies at the address.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

const MAPS: &CStr = c"/proc/self/maps";
/// A line of the kernel's list of maps: up to 100 bytes, and a path.
const LINE_BYTES_MAX: usize = 4096 + 128;
/// The path is the sixth field of a line.
const FIELDS_BEFORE_PATH: usize = 5;

/// Says which file lies at `address`, and ends the process.
pub(super) fn report(address: usize) -> ! {
    say(b"highwater: SIGBUS, a page of a mapped file cannot be read. The file was made shorter by somebody else, or its \
        disk is failing. The process ends, so that nothing wrong is served. File: ");
    let mut line = Line { bytes: [0; LINE_BYTES_MAX], length: 0 };
    let path = if line.find(address) { line.path() } else { b"" };
    say(if path.is_empty() { b"not known" } else { path });
    say(b"\n");
    std::process::abort()
}

fn say(text: &[u8]) {
    // Straight to the descriptor: the lock of the standard stream may be held.
    let _nobody_to_tell = rustix::io::write(std::io::stderr().as_fd(), text);
}

/// A line on its way in.
struct Line {
    bytes: [u8; LINE_BYTES_MAX],
    length: usize,
}

impl Line {
    /// Reads up to the line whose addresses hold `address`; whether there is one.
    fn find(&mut self, address: usize) -> bool {
        let Ok(maps) = rustix::fs::open(MAPS, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return false };
        let mut buffer = [0; 1024];
        loop {
            let read = read(&maps, &mut buffer);
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return false };
            for byte in bytes {
                if *byte != b'\n' {
                    self.push(*byte);
                } else if self.holds(address) {
                    return true;
                } else {
                    self.length = 0;
                }
            }
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn holds(&self, address: usize) -> bool {
        let mut bounds = self.text().split(|byte| *byte == b'-' || *byte == b' ').map(hexadecimal);
        matches!((bounds.next(), bounds.next()), (Some(start), Some(end)) if (start..end).contains(&address))
    }

    fn path(&self) -> &[u8] {
        let fields = self.text().splitn(FIELDS_BEFORE_PATH + 1, |byte| *byte == b' ');
        fields.last().unwrap_or_default().trim_ascii_start()
    }
}

fn read(file: &OwnedFd, buffer: &mut [u8]) -> usize {
    rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *buffer)).unwrap_or(0)
}

fn hexadecimal(digits: &[u8]) -> usize {
    digits.iter().fold(0, |value, digit| (value << 4) | char::from(*digit).to_digit(16).unwrap_or(0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_an_address_is_found_and_gives_its_path() {
        let mut line = Line { bytes: [0; LINE_BYTES_MAX], length: 0 };
        let own_program = std::env::current_exe().unwrap();
        assert!(line.find((report as *const ()).addr()));
        assert_eq!(line.path(), own_program.as_os_str().as_encoded_bytes());
        line.length = 0;
        assert!(!line.find(1), "nothing is mapped there");
        line.length = 0;
        b"7f00-7f10 r--s 00000000 fd:01 42    /data/a b.segment".iter().for_each(|byte| line.push(*byte));
        assert!(line.holds(0x7f0f) && !line.holds(0x7f10));
        assert_eq!(line.path(), b"/data/a b.segment");
    }
}
