//! From raw to resolved: merges the layers, gives each value its final type and checks its range. Once, here.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use figment::Figment;
use figment::value::Value;
use highwater_types::limits;

use super::error::ConfigError;
use super::layer::Layer;
use super::listeners;
use super::raw::{self, OPTIONS, Raw};
use super::units::{Auto, ByteSize, Period};
use super::{
    ClusterConfig, Config, DataConfig, GrpcConfig, HttpConfig, KafkaConfig, LimitsConfig, LoggingConfig, NodeConfig,
    Setting, TopicConfig,
};
use crate::usage;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What "auto" takes of the machine's memory at the most. Requests under way are short-lived; the rest of a large
/// machine serves better as its page cache.
const MEMORY_BYTES_AUTO_MAX: u64 = 4 * GIB;
/// Less would not hold a message of the largest size in each class.
const MEMORY_BYTES_MIN: u64 = 64 * MIB;
const PRODUCE_BYTES_MIN: u64 = 2 * limits::MESSAGE_BYTES_MAX as u64;
const PRODUCE_BYTES_MAX: u64 = 4 * GIB - 1;
/// What a replica costs: measured, see docs/performance.md.
const REPLICA_BYTES: u64 = MIB;
/// Its active segment and the next, their indexes and what is being replaced.
const REPLICA_FILES: u64 = 4;
/// Beyond this it is the processor that decides, which nobody can compute ahead.
const REPLICAS_AUTO_MAX: u64 = 10_000;
/// An even number of voters bears no more failures than one fewer.
const FIRST_VOTERS: [usize; 4] = [0, 1, 3, 5];
const RACK_BYTES_MAX: usize = 255;
const TEN_MINUTES: Duration = Duration::from_secs(600);

pub(super) fn resolve(layers: Vec<Layer>) -> Result<Config, ConfigError> {
    let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
    let raw: Raw = figment.extract().map_err(|error| wrong_type(&figment, error))?;
    let mut check = Check { settings: settings_of(&figment) };
    let limits = check.limits(&raw.limits)?;
    let grpc = check.grpc(&raw.grpc)?;
    let node = check.node(&raw.node, grpc.listen)?;
    let cluster = check.cluster(raw.cluster)?;
    Ok(Config {
        data: check.data(raw.data)?,
        node,
        grpc,
        http: check.http(&raw.http)?,
        kafka: check.kafka(&raw.kafka)?,
        cluster,
        limits,
        topic: check.topic(&raw.topic)?,
        logging: LoggingConfig { format: raw.logging.format, filter: raw.logging.filter },
        settings: check.settings,
    })
}

/// Checks ranges, and knows each value's text and source for the complaint.
struct Check {
    settings: Vec<Setting>,
}

impl Check {
    fn data(&self, raw: raw::Data) -> Result<DataConfig, ConfigError> {
        let free = match raw.free_bytes_min {
            Auto::Auto => None,
            Auto::Value(size) => Some(self.size("data.free_bytes_min", size, 16 * MIB..=1 << 50)?),
        };
        Ok(DataConfig { dir: raw.dir, free_bytes_min: free })
    }

    fn node(&self, raw: &raw::Node, listen: SocketAddr) -> Result<NodeConfig, ConfigError> {
        let advertised = self.advertised("node.advertised", &raw.advertised, "grpc", listen)?;
        let grace = self.period("node.shutdown_grace", raw.shutdown_grace, Duration::from_secs(1)..=TEN_MINUTES)?;
        Ok(NodeConfig { advertised, shutdown_grace: grace })
    }

    fn grpc(&self, raw: &raw::Grpc) -> Result<GrpcConfig, ConfigError> {
        let listen = self.listen("grpc", "grpc.listen", &raw.listen, raw.allow_insecure_network)?;
        Ok(GrpcConfig { listen })
    }

    fn http(&self, raw: &raw::Http) -> Result<HttpConfig, ConfigError> {
        if raw.listen.is_empty() {
            return Ok(HttpConfig { listen: None });
        }
        let listen = self.listen("http", "http.listen", &raw.listen, raw.allow_insecure_network)?;
        Ok(HttpConfig { listen: Some(listen) })
    }

    fn kafka(&self, raw: &raw::Kafka) -> Result<KafkaConfig, ConfigError> {
        let auto_create_topics = raw.auto_create_topics;
        if raw.listen.is_empty() {
            if !raw.listeners.0.is_empty() {
                return Err(self.not_allowed("kafka.listeners", "empty while kafka.listen is".to_owned()));
            }
            return Ok(KafkaConfig { listen: None, advertised: None, listeners: Vec::new(), auto_create_topics });
        }
        let listen = self.listen("kafka", "kafka.listen", &raw.listen, raw.allow_insecure_network)?;
        let advertised = self.advertised("kafka.advertised", &raw.advertised, "kafka", listen)?;
        let (places, told) = (&raw.listeners.0, &raw.advertised_listeners.0);
        let listeners = listeners::read(places, told, is_host_and_port)
            .map_err(|wrong| self.not_allowed(wrong.key, wrong.allowed.to_owned()))?;
        for listener in &listeners {
            self.open("kafka", "kafka.listeners", listener.listen, raw.allow_insecure_network)?;
        }
        Ok(KafkaConfig { listen: Some(listen), advertised, listeners, auto_create_topics })
    }

    fn cluster(&self, raw: raw::Cluster) -> Result<ClusterConfig, ConfigError> {
        let listen = self.listen("cluster", "cluster.listen", &raw.listen, raw.allow_insecure_network)?;
        let advertised = self.advertised("cluster.advertised", &raw.advertised, "cluster", listen)?;
        let (first_voters, join) = (raw.first_voters.0, raw.join.0);
        if !FIRST_VOTERS.contains(&first_voters.len()) || !are_addresses(&first_voters) {
            let allowed = "empty, or 1, 3 or 5 different HOST:PORT, one for each node".to_owned();
            return Err(self.not_allowed("cluster.first_voters", allowed));
        }
        if !are_addresses(&join) {
            return Err(self.not_allowed("cluster.join", "empty, or different HOST:PORT of nodes".to_owned()));
        }
        if !first_voters.is_empty() && !join.is_empty() {
            return Err(ConfigError::FormOrJoin);
        }
        if raw.rack.len() > RACK_BYTES_MAX {
            return Err(self.not_allowed("cluster.rack", format!("at most {RACK_BYTES_MAX} bytes long")));
        }
        Ok(ClusterConfig { listen, advertised, first_voters, join, rack: raw.rack })
    }

    fn listen(
        &self,
        section: &'static str,
        key: &'static str,
        listen: &str,
        is_open: bool,
    ) -> Result<SocketAddr, ConfigError> {
        let parsed = listen.parse::<SocketAddr>();
        let listen = parsed.map_err(|_| self.not_allowed(key, "IP:PORT, such as 127.0.0.1:7400".to_owned()))?;
        self.open(section, key, listen, is_open)?;
        Ok(listen)
    }

    /// Whether an address may be listened on that others can reach.
    fn open(
        &self,
        section: &'static str,
        key: &'static str,
        listen: SocketAddr,
        is_open: bool,
    ) -> Result<(), ConfigError> {
        match listen.ip().is_loopback() || is_open {
            true => Ok(()),
            false => Err(ConfigError::InsecureNetwork { section, key, listen, source_name: self.setting(key).1 }),
        }
    }

    fn advertised(
        &self,
        key: &'static str,
        advertised: &Auto<String>,
        section: &'static str,
        listen: SocketAddr,
    ) -> Result<Option<String>, ConfigError> {
        match advertised {
            Auto::Auto if listen.ip().is_unspecified() => {
                Err(ConfigError::NothingToAdvertise { section, advertised: key, listen })
            }
            Auto::Auto => Ok(None),
            Auto::Value(address) if is_host_and_port(address) => Ok(Some(address.clone())),
            Auto::Value(_) => Err(self.not_allowed(key, "\"auto\", or HOST:PORT".to_owned())),
        }
    }

    fn limits(&mut self, raw: &raw::Limits) -> Result<LimitsConfig, ConfigError> {
        let memory = match raw.memory_bytes {
            Auto::Auto => {
                let chosen = usage::memory_limit_bytes().map_or(GIB, |bytes| bytes / 4);
                let chosen = chosen.clamp(MEMORY_BYTES_MIN, MEMORY_BYTES_AUTO_MAX) / MIB * MIB;
                self.chose("limits.memory_bytes", ByteSize(chosen)).0
            }
            Auto::Value(size) => self.size("limits.memory_bytes", size, MEMORY_BYTES_MIN..=1 << 46)?,
        };
        let produce = match raw.produce_in_flight_bytes {
            Auto::Auto => self.chose("limits.produce_in_flight_bytes", ByteSize((memory / 2).min(PRODUCE_BYTES_MAX))).0,
            Auto::Value(size) => {
                let range = PRODUCE_BYTES_MIN..=PRODUCE_BYTES_MAX.min(memory / 4 * 3);
                self.size("limits.produce_in_flight_bytes", size, range)?
            }
        };
        let rest = memory.saturating_sub(produce);
        Ok(LimitsConfig {
            threads: self.threads(raw.threads)?,
            memory_bytes: as_usize(memory),
            produce_in_flight_bytes: as_usize(produce),
            read_decoded_bytes: as_usize(rest / 2),
            receive_window_bytes: as_usize(rest / 2),
            connections: as_usize(self.number("limits.connections", raw.connections, 1..=65_536)?.into()),
            streams_per_connection: self.number(
                "limits.streams_per_connection",
                raw.streams_per_connection,
                1..=4_096,
            )?,
            replicas: self.replicas(raw.replicas, memory)?,
            catch_up_bytes_per_second: self.size(
                "limits.catch_up_bytes_per_second",
                raw.catch_up_bytes_per_second,
                MIB..=1 << 40,
            )?,
            message_timeout: self.period(
                "limits.message_timeout",
                raw.message_timeout,
                Duration::from_secs(1)..=TEN_MINUTES,
            )?,
        })
    }

    fn threads(&mut self, threads: Auto<u32>) -> Result<usize, ConfigError> {
        let key = "limits.threads";
        match threads {
            Auto::Auto => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                // Work hops between tasks for every batch. On few cores a second thread makes most hops a wake-up of the
                // other one, which costs more than it helps: see docs/performance.md.
                let chosen = cores.saturating_sub(1).max(1);
                Ok(self.chose(key, chosen))
            }
            Auto::Value(threads) => Ok(as_usize(self.number(key, threads, 1..=1_024)?.into())),
        }
    }

    fn replicas(&mut self, replicas: Auto<u32>, memory: u64) -> Result<usize, ConfigError> {
        let key = "limits.replicas";
        match replicas {
            Auto::Auto => {
                let chosen = replicas_auto(usage::memory_limit_bytes(), memory, usage::open_files_limit());
                Ok(as_usize(self.chose(key, chosen)))
            }
            Auto::Value(replicas) => Ok(as_usize(self.number(key, replicas, 1..=100_000)?.into())),
        }
    }

    fn topic(&self, raw: &raw::Topic) -> Result<TopicConfig, ConfigError> {
        let partitions = 1..=limits::TOPIC_PARTITIONS_MAX;
        Ok(TopicConfig {
            default_partitions: self.number("topic.default_partitions", raw.default_partitions, partitions)?,
            default_replicas: self.number("topic.default_replicas", raw.default_replicas, 1..=9)?,
        })
    }

    fn size(&self, key: &'static str, size: ByteSize, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let (from, to) = (ByteSize(*range.start()), ByteSize(*range.end()));
        self.within(key, size, from..=to).map(|size| size.0)
    }

    fn period(
        &self,
        key: &'static str,
        period: Period,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        let (from, to) = (Period(*range.start()), Period(*range.end()));
        self.within(key, period, from..=to).map(|period| period.0)
    }

    fn number(&self, key: &'static str, number: u32, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
        self.within(key, number, range)
    }

    fn within<T: PartialOrd + Display>(
        &self,
        key: &'static str,
        value: T,
        range: RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        if range.contains(&value) {
            return Ok(value);
        }
        Err(self.not_allowed(key, format!("from {} to {}", range.start(), range.end())))
    }

    fn not_allowed(&self, key: &'static str, allowed: String) -> ConfigError {
        let (value, source_name) = self.setting(key);
        ConfigError::NotAllowed { key, value, source_name, allowed }
    }

    /// Notes what "auto" came to.
    fn chose<T: Display + Copy>(&mut self, key: &'static str, chosen: T) -> T {
        if let Some(setting) = self.settings.iter_mut().find(|setting| setting.key == key) {
            setting.value = format!("{} ({chosen})", setting.value);
        }
        chosen
    }

    fn setting(&self, key: &str) -> (String, String) {
        let setting = self.settings.iter().find(|setting| setting.key == key);
        setting.map(|setting| (setting.value.clone(), setting.source.clone())).unwrap_or_default()
    }
}

fn settings_of(figment: &Figment) -> Vec<Setting> {
    let setting =
        |key: &'static str| Setting { key, value: value_text(figment, key), source: source_text(figment, key) };
    OPTIONS.iter().map(|option| setting(option.key)).collect()
}

fn value_text(figment: &Figment, key: &str) -> String {
    figment.find_value(key).map(|value| toml_text(&value)).unwrap_or_default()
}

fn source_text(figment: &Figment, key: &str) -> String {
    figment.find_metadata(key).map(|metadata| metadata.name.to_string()).unwrap_or_default()
}

/// A value as the file would have it.
fn toml_text(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
            (Some(number), _, _) => number.to_string(),
            (_, Some(number), _) => number.to_string(),
            (_, _, number) => number.unwrap_or_default().to_string(),
        },
        Value::Array(_, values) => format!("[{}]", values.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        // Neither can stand where a setting is: no setting is a table, and the keys of one would be unknown.
        Value::Dict(..) | Value::Char(..) | Value::Empty(..) => format!("{value:?}"),
    }
}

fn wrong_type(figment: &Figment, error: figment::Error) -> ConfigError {
    let key = error.path.join(".");
    ConfigError::WrongType {
        value: value_text(figment, &key),
        source_name: source_text(figment, &key),
        problem: error.kind.to_string(),
        key,
    }
}

fn are_addresses(addresses: &[String]) -> bool {
    let different: BTreeSet<&String> = addresses.iter().collect();
    different.len() == addresses.len() && addresses.iter().all(|address| is_host_and_port(address))
}

/// What a machine has room for: half of the memory that requests under way leave, and the files that may be open, less
/// those of connections and of the process itself.
fn replicas_auto(machine_bytes: Option<u64>, requests_bytes: u64, open_files: Option<u64>) -> u64 {
    let by_memory = machine_bytes.unwrap_or(GIB).saturating_sub(requests_bytes) / 2 / REPLICA_BYTES;
    let by_files = open_files.map_or(u64::MAX, |files| files.saturating_sub(files / 4) / REPLICA_FILES);
    by_memory.min(by_files).clamp(1, REPLICAS_AUTO_MAX)
}

fn is_host_and_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(['/', ' ', '@']) && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

/// Exact: every machine that this runs on has 64-bit addresses, and the ranges above end far below.
fn as_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_bounded_by_memory_and_by_files() {
        assert_eq!(replicas_auto(Some(8 * GIB), 2 * GIB, Some(1 << 20)), 3_072);
        assert_eq!(replicas_auto(Some(64 * GIB), 4 * GIB, Some(1_024)), 192);
        assert_eq!(replicas_auto(Some(1 << 45), 4 * GIB, None), REPLICAS_AUTO_MAX);
        assert_eq!(replicas_auto(None, GIB, Some(0)), 1);
    }
}
