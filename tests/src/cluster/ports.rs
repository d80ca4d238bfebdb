//! Ports of loopback for nodes that must come back under the same address.
//!
//! Below the range from which the system takes the ports of outgoing connections: one of those could take the port of a
//! node that is down.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const LOWEST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that nobody listens on, and that this process did not hand out before.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free() -> u16 {
    // Where this process begins is its own, so that two test processes seldom try the same.
    let own = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = LOWEST + (own.wrapping_mul(37).wrapping_add(step)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {LOWEST} on");
}
