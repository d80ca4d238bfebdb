//! What can be wrong with settings. Every message names the key, its value, where it came from and what is allowed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::raw::OPTIONS;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing or may not be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    FileUnreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is not TOML.
    #[error("{source_name} is not TOML: {message}")]
    NotToml {
        /// Where the text came from.
        source_name: String,
        /// What the parser said, with the line.
        message: String,
    },
    /// No setting has that name.
    #[error("unknown setting '{key}' from {source_name}; {hint}")]
    UnknownKey {
        /// The name.
        key: String,
        /// Where it came from.
        source_name: String,
        /// The nearest name, or all of them.
        hint: String,
    },
    /// An environment variable that would be a setting with one more underscore.
    #[error("environment variable {variable} is not read: section and name are set apart by two underscores, {meant}")]
    SingleUnderscore {
        /// The variable.
        variable: String,
        /// What it should be called.
        meant: String,
    },
    /// The value is not of the setting's type.
    #[error("{key} = {value} from {source_name}: {problem}")]
    WrongType {
        /// The setting.
        key: String,
        /// What it was given.
        value: String,
        /// Where that came from.
        source_name: String,
        /// What was expected.
        problem: String,
    },
    /// The value is of the right type, but not allowed.
    #[error("{key} = {value} from {source_name}: must be {allowed}")]
    NotAllowed {
        /// The setting.
        key: &'static str,
        /// What it was given.
        value: String,
        /// Where that came from.
        source_name: String,
        /// What is allowed.
        allowed: String,
    },
    /// A listener that others could reach, without anything to keep them out.
    #[error(
        "{key} = {listen} from {source_name} can be reached from other machines, and this version has neither \
         authentication nor encryption; listen on 127.0.0.1, or accept that whoever reaches the port may do everything \
         with {section}.allow_insecure_network = true"
    )]
    InsecureNetwork {
        /// The section of the listener.
        section: &'static str,
        /// The setting.
        key: &'static str,
        /// The address.
        listen: SocketAddr,
        /// Where it came from.
        source_name: String,
    },
    /// The listener takes every address of the machine, so it does not say where others reach it.
    #[error("{section}.listen = {listen} is no address that anybody could connect to; set {advertised} to HOST:PORT")]
    NothingToAdvertise {
        /// The section of the listener.
        section: &'static str,
        /// The setting to set.
        advertised: &'static str,
        /// The address.
        listen: SocketAddr,
    },
    /// A node that is to make a cluster and to join one.
    #[error(
        "cluster.first_voters and cluster.join are both set: a new node forms a cluster with the first, or joins one \
         through the second; unset one of them"
    )]
    FormOrJoin,
}

impl ConfigError {
    pub(super) fn unknown_key(key: String, source: &str) -> Self {
        let last = key.rsplit('.').next().unwrap_or(&key);
        let hint = match OPTIONS.iter().find(|option| option.name == last) {
            Some(option) => format!("did you mean '{}'?", option.key),
            None => {
                let known: Vec<&str> = OPTIONS.iter().map(|option| option.key).collect();
                format!("known are: {}", known.join(", "))
            }
        };
        Self::UnknownKey { key, source_name: source.to_owned(), hint }
    }
}
