//! The options of every verb that has to do with a node's settings: `dev`, `server`, `config`.
//!
//! Owns: which flag stands for which setting. What a setting means, and its range, is the broker's.

use std::path::PathBuf;

use clap::Args;
use highwater_broker::config::{Config, Sources};
use highwater_broker::usage::raise_open_files_limit;

use crate::error::CliError;
use crate::key_value::KeyValue;

/// Flags that go before the environment and the file.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeArgs {
    /// The data directory [setting data.dir]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes any free one [setting grpc.listen]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Where to serve metrics and health over HTTP; empty: nowhere [setting http.listen]
    #[arg(long, value_name = "IP:PORT")]
    http_listen: Option<String>,
    /// Where to serve clients that speak Kafka's protocol; empty: nowhere [setting kafka.listen]
    #[arg(long, value_name = "IP:PORT")]
    kafka_listen: Option<String>,
    /// Where to listen for other nodes [setting cluster.listen]
    #[arg(long, value_name = "IP:PORT")]
    peer_listen: Option<String>,
    /// What to log: error, warn, info, debug, trace, or a filter [setting logging.filter]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How to log: human or json [setting logging.format]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Any setting by its name, as often as needed; 'highwater config' lists them
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<KeyValue>,
}

impl NodeArgs {
    /// The settings that come of the defaults, `file`, the environment and these flags.
    pub(crate) fn load(&self, file: Option<PathBuf>) -> Result<Config, CliError> {
        self.load_from(Sources::of_process(file))
    }

    /// The settings that come of `sources` and these flags.
    pub(crate) fn load_from(&self, sources: Sources) -> Result<Config, CliError> {
        self.load_with(sources, std::iter::empty())
    }

    /// The same, where some settings, each as a flag, a key and a value, go before all others.
    pub(crate) fn load_with<'a>(
        &self,
        mut sources: Sources,
        first: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> Result<Config, CliError> {
        if let Some(data) = &self.data {
            sources = sources.with_flag("--data", "data.dir", data.to_string_lossy());
        }
        let texts = [
            ("--listen", "grpc.listen", &self.listen),
            ("--http-listen", "http.listen", &self.http_listen),
            ("--kafka-listen", "kafka.listen", &self.kafka_listen),
            ("--peer-listen", "cluster.listen", &self.peer_listen),
            ("--log", "logging.filter", &self.log),
            ("--log-format", "logging.format", &self.log_format),
        ];
        for (flag, key, value) in texts {
            if let Some(value) = value {
                sources = sources.with_flag(flag, key, value);
            }
        }
        for pair in &self.set {
            sources = sources.with_flag("--set", &pair.key, &pair.value);
        }
        sources = first.fold(sources, |sources, (flag, key, value)| sources.with_flag(flag, key, value));
        // Before the settings are chosen that follow it.
        raise_open_files_limit();
        Config::load(&sources).map_err(CliError::Config)
    }
}
