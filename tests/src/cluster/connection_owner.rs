//! Who opened a connection: found by the port it comes from, in what the system tells of its sockets and processes.
//!
//! This is what lets one proxy, behind the one address that a node advertises, cut that node off from another one only.

use std::collections::BTreeMap;

use super::rules::End;

/// The node whose process holds the socket at the other end; a client where it is none of them.
pub(super) fn of(port: u16, processes: &BTreeMap<u64, u32>) -> End {
    let Some(inode) = inode_of(port) else { return End::Client };
    let wanted = format!("socket:[{inode}]");
    for (node, pid) in processes {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let mut links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        if links.any(|link| link.as_os_str() == wanted.as_str()) {
            return End::Node(*node);
        }
    }
    End::Client
}

/// The inode of the socket of loopback with this local port.
fn inode_of(port: u16) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let local = format!("0100007F:{port:04X}");
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.nth(1) == Some(local.as_str());
        // After the local address come the other one, the state, queues, timers, retransmits, the user and a timeout.
        is_it.then(|| words.nth(7)?.parse().ok()).flatten().filter(|inode| *inode != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_owner_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = stream.local_addr().unwrap().port();
        let (_accepted, _) = listener.accept().unwrap();
        assert_eq!(of(port, &BTreeMap::from([(7, std::process::id())])), End::Node(7));
        assert_eq!(of(port, &BTreeMap::new()), End::Client);
        drop(stream);
    }
}
