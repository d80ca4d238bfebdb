//! Where each of several nodes on this machine is.
//!
//! Owns: the distance between their ports. Every address that one node would have, be it listened on or told to others, is so
//! many ports further for the next one; port 0 stays 0, or becomes one that is free now where others must know it before.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;

use highwater_broker::config::{Config, KafkaConfig};

use crate::error::CliError;

/// Between the ports of two nodes.
const PORTS_APART: u16 = 10;

/// Where one of several nodes is.
#[derive(Debug)]
pub(super) struct Place {
    data: PathBuf,
    clients: SocketAddr,
    /// Where clients are told to reach it, when that is another place.
    advertised: Option<String>,
    /// Where the other nodes reach it.
    pub(super) peers: SocketAddr,
    http: Option<SocketAddr>,
    kafka: KafkaConfig,
}

impl Place {
    /// The places of `count` nodes, from those that one node would have.
    pub(super) fn of(config: &Config, count: u16) -> Result<Vec<Self>, CliError> {
        let first = config.grpc.listen;
        let free = match first.port() {
            0 => free_ports(first.ip(), usize::from(count) * 2).map_err(CliError::NoPorts)?,
            _ => Vec::new(),
        };
        let mut free = free.into_iter();
        let mut port = |fixed: u16| SocketAddr::new(first.ip(), free.next().unwrap_or(fixed));
        let places = (0..count).map(|number| {
            let above = number.saturating_mul(PORTS_APART);
            let clients = first.port().saturating_add(above);
            Self {
                data: config.data.dir.join(format!("node-{}", number + 1)),
                clients: port(clients),
                advertised: config.node.advertised.as_deref().map(|told| told_apart(told, above)),
                peers: port(clients.saturating_add(1)),
                http: config.http.listen.map(|address| apart(address, above)),
                kafka: kafka_apart(&config.kafka, above),
            }
        });
        Ok(places.collect())
    }

    /// The settings that make it so; `voters` are all nodes.
    pub(super) fn settings(&self, voters: &[String]) -> Vec<(&'static str, String)> {
        let listed = |address: Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
        let listeners = self.kafka.listeners.iter();
        let named = |name: &str, address: &str| format!("{name}://{address}");
        let listen: Vec<String> =
            listeners.clone().map(|listener| named(&listener.name, &listener.listen.to_string())).collect();
        let told: Vec<String> =
            listeners.filter_map(|listener| Some(named(&listener.name, listener.advertised.as_deref()?))).collect();
        let mut settings = vec![
            ("data.dir", self.data.to_string_lossy().into_owned()),
            ("grpc.listen", self.clients.to_string()),
            ("http.listen", listed(self.http)),
            ("kafka.listen", listed(self.kafka.listen)),
            ("kafka.listeners", listen.join(",")),
            ("kafka.advertised_listeners", told.join(",")),
            ("cluster.listen", self.peers.to_string()),
            ("cluster.first_voters", voters.join(",")),
        ];
        settings.extend(self.advertised.clone().map(|told| ("node.advertised", told)));
        settings.extend(self.kafka.advertised.clone().map(|told| ("kafka.advertised", told)));
        settings
    }
}

fn apart(address: SocketAddr, ports: u16) -> SocketAddr {
    // Nobody has to know these before the node listens, so 0 may stay 0.
    match address.port() {
        0 => address,
        fixed => SocketAddr::new(address.ip(), fixed.saturating_add(ports)),
    }
}

/// The same of HOST:PORT.
fn told_apart(address: &str, ports: u16) -> String {
    let moved = address.rsplit_once(':').and_then(|(host, port)| {
        let port: u16 = port.parse().ok()?;
        Some(format!("{host}:{}", port.saturating_add(ports)))
    });
    moved.unwrap_or_else(|| address.to_owned())
}

fn kafka_apart(config: &KafkaConfig, ports: u16) -> KafkaConfig {
    let mut config = config.clone();
    config.listen = config.listen.map(|address| apart(address, ports));
    config.advertised = config.advertised.map(|told| told_apart(&told, ports));
    for listener in &mut config.listeners {
        listener.listen = apart(listener.listen, ports);
        listener.advertised = listener.advertised.take().map(|told| told_apart(&told, ports));
    }
    config
}

/// So many different ports that nobody uses at the moment.
fn free_ports(ip: IpAddr, count: usize) -> io::Result<Vec<u16>> {
    // All are held until the last one is found, so that none is given twice.
    let held = (0..count).map(|_| TcpListener::bind((ip, 0))).collect::<io::Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

#[cfg(test)]
mod tests {
    use highwater_broker::config::Sources;

    use super::*;

    /// What the setting `key` is for each of three nodes.
    fn of_three(key: &str, settings: &[(&str, &str)]) -> Vec<String> {
        let sources =
            settings.iter().fold(Sources::default(), |sources, (key, value)| sources.with_flag("t", key, *value));
        let places = Place::of(&Config::load(&sources).unwrap(), 3).unwrap();
        let setting = |place: &Place| place.settings(&[]).into_iter().find(|(found, _)| *found == key);
        places.iter().filter_map(setting).map(|(_, value)| value).collect()
    }

    #[test]
    fn several_nodes_have_different_ports() {
        let three = |ports: [u16; 3]| ports.map(|port| format!("127.0.0.1:{port}"));
        assert_eq!(of_three("http.listen", &[]), three([7480, 7490, 7500]));
        assert_eq!(of_three("kafka.listen", &[]), three([9092, 9102, 9112]));
        let free = [("grpc.listen", "127.0.0.1:0"), ("http.listen", "127.0.0.1:0")];
        assert_eq!(of_three("http.listen", &free), three([0; 3]));
        assert_eq!(of_three("http.listen", &[("http.listen", "")]), [""; 3]);
        assert_eq!(of_three("kafka.listeners", &[]), [""; 3]);
        assert_eq!(of_three("kafka.advertised", &[]), [""; 0], "it is where it listens");
    }

    #[test]
    fn what_is_told_of_several_nodes_differs_as_their_ports_do() {
        let listeners = [
            ("kafka.listeners", "in://127.0.0.1:0,out://127.0.0.1:9095"),
            ("kafka.advertised_listeners", "out://log.example:19095"),
        ];
        let listen = ["9095", "9105", "9115"].map(|port| format!("in://127.0.0.1:0,out://127.0.0.1:{port}"));
        assert_eq!(of_three("kafka.listeners", &listeners), listen);
        let told = ["19095", "19105", "19115"].map(|port| format!("out://log.example:{port}"));
        assert_eq!(of_three("kafka.advertised_listeners", &listeners), told);
        for key in ["node.advertised", "kafka.advertised"] {
            let told = ["7", "17", "27"].map(|port| format!("[::1]:{port}"));
            assert_eq!(of_three(key, &[(key, "[::1]:7")]), told);
        }
    }
}
