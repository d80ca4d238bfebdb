//! One source of settings as a provider for figment: the defaults, the file, an environment variable, or a flag.
//!
//! Each names itself, so that every value, and every complaint about one, can say where it came from.

use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::util::nest;
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::error::ConfigError;
use super::raw::OPTIONS;

/// What starts the name of an environment variable that is a setting.
const PREFIX: &str = "HIGHWATER_";

/// Where settings come from. Later in this list goes before earlier: defaults, `file`, `environment`, `flags`.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Names and values. `HIGHWATER_GRPC__LISTEN` is `grpc.listen`; a name without a double underscore is no setting.
    pub environment: Vec<(String, String)>,
    /// What the command line said.
    pub flags: Vec<Flag>,
    /// What the verb has instead of the defaults; everything else goes before it. The name is the verb's.
    pub presets: Vec<Flag>,
}

/// A setting given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As the user typed it, `--data`.
    pub name: String,
    /// The setting it stands for, `data.dir`.
    pub key: String,
    /// Its value; numbers and truth values as the file would have them.
    pub value: String,
}

impl Sources {
    /// A file, if any, and the environment of this process.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        // Names and values that are not Unicode cannot be settings.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        Self { file, environment, ..Self::default() }
    }

    /// Adds a flag, which goes before everything else.
    #[must_use]
    pub fn with_flag(mut self, name: &str, key: &str, value: impl Into<String>) -> Self {
        self.flags.push(Flag { name: name.to_owned(), key: key.to_owned(), value: value.into() });
        self
    }

    /// Gives a setting another default for this verb.
    #[must_use]
    pub fn with_preset(mut self, verb: &str, key: &str, value: impl Into<String>) -> Self {
        self.presets.push(Flag { name: verb.to_owned(), key: key.to_owned(), value: value.into() });
        self
    }

    /// The layers, the weakest first, each with known keys only.
    pub(super) fn layers(&self) -> Result<Vec<Layer>, ConfigError> {
        let mut layers = vec![Layer::defaults()?];
        for preset in &self.presets {
            layers.push(Layer::single(format!("default of {}", preset.name), &preset.key, &preset.value));
        }
        if let Some(path) = &self.file {
            layers.push(Layer::file(path)?);
        }
        for (name, value) in &self.environment {
            if let Some(key) = setting_of_variable(name)? {
                layers.push(Layer::single(format!("environment variable {name}"), &key, value));
            }
        }
        for flag in &self.flags {
            layers.push(Layer::single(format!("flag {}", flag.name), &flag.key, &flag.value));
        }
        for layer in &layers {
            layer.refuse_unknown_keys()?;
        }
        Ok(layers)
    }
}

/// The setting that an environment variable names, if it names one.
///
/// Variables without a double underscore are left alone: `HIGHWATER_SERVER` is the client's, and Kubernetes makes
/// `HIGHWATER_SERVICE_HOST` and the like out of a service's name. But one that only lacks the second underscore is
/// an error of the user, not to be passed over in silence.
fn setting_of_variable(name: &str) -> Result<Option<String>, ConfigError> {
    let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
    let key = rest.to_ascii_lowercase();
    if key.contains("__") {
        return Ok(Some(key.replace("__", ".")));
    }
    match OPTIONS.iter().find(|option| option.key.replace('.', "_") == key) {
        Some(option) => Err(ConfigError::SingleUnderscore {
            variable: name.to_owned(),
            meant: format!("{PREFIX}{}", option.key.replace('.', "__").to_ascii_uppercase()),
        }),
        None => Ok(None),
    }
}

/// The settings of one source.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    source: String,
    data: Dict,
}

impl Layer {
    fn defaults() -> Result<Self, ConfigError> {
        let mut text = String::new();
        for option in OPTIONS {
            text.push_str(&format!("{} = {}\n", option.key, option.default));
        }
        Self::toml("default".to_owned(), &text)
    }

    fn file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::FileUnreadable { path: path.to_owned(), source })?;
        Self::toml(format!("file {}", path.display()), &text)
    }

    fn toml(source: String, text: &str) -> Result<Self, ConfigError> {
        match Toml::from_str::<Dict>(text) {
            Ok(data) => Ok(Self { source, data }),
            Err(error) => Err(ConfigError::NotToml { source_name: source, message: error.to_string() }),
        }
    }

    /// One key of one variable or flag. Its text is read as TOML would read it where it can be, else it is a text.
    fn single(source: String, key: &str, text: &str) -> Self {
        let value = match text.parse::<Value>() {
            Ok(value) => value,
            Err(never) => match never {},
        };
        let data = nest(key, value).into_dict().unwrap_or_default();
        Self { source, data }
    }

    fn refuse_unknown_keys(&self) -> Result<(), ConfigError> {
        for key in leaf_keys(&self.data, "") {
            if !OPTIONS.iter().any(|option| option.key == key) {
                return Err(ConfigError::unknown_key(key, &self.source));
            }
        }
        Ok(())
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.data.clone())]))
    }
}

fn leaf_keys(data: &Dict, prefix: &str) -> Vec<String> {
    data.iter()
        .flat_map(|(name, value)| match value.as_dict() {
            // No section lies inside a section; what lies there is unknown, and is named in full.
            Some(inner) => leaf_keys(inner, &format!("{prefix}{name}.")),
            None => vec![format!("{prefix}{name}")],
        })
        .collect()
}
