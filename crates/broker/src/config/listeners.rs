//! Listeners with names: `NAME://IP:PORT`, and where each is reached, `NAME://HOST:PORT`.

use std::collections::BTreeMap;

use super::KafkaListener;

/// Names of a node, at most.
const LISTENERS_MAX: usize = 8;
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

const LISTENERS: &str = "kafka.listeners";
const ADVERTISED: &str = "kafka.advertised_listeners";

/// What is wrong with a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The setting.
    pub(super) key: &'static str,
    /// What it may be.
    pub(super) allowed: &'static str,
}

/// The listeners that two lists make up; `is_address` tells what can be a HOST:PORT.
pub(super) fn read(
    listen: &[String],
    advertised: &[String],
    is_address: impl Fn(&str) -> bool,
) -> Result<Vec<KafkaListener>, Wrong> {
    let wrong = |key, allowed| Wrong { key, allowed };
    let form = "at most 8 of NAME://IP:PORT with different names, such as outside://127.0.0.1:9094";
    let places = pairs(listen).ok_or_else(|| wrong(LISTENERS, form))?;
    let told_form = "NAME://HOST:PORT with different names, each one of kafka.listeners";
    let told = pairs(advertised).ok_or_else(|| wrong(ADVERTISED, told_form))?;
    if told.iter().any(|(name, address)| !places.contains_key(name) || !is_address(address)) {
        return Err(wrong(ADVERTISED, told_form));
    }
    let mut listeners = Vec::with_capacity(places.len());
    for (name, place) in places {
        let listen: std::net::SocketAddr = place.parse().map_err(|_| wrong(LISTENERS, form))?;
        let advertised = told.get(name).map(|address| (*address).to_owned());
        if advertised.is_none() && listen.ip().is_unspecified() {
            let allowed = "such that it names each listener that is on every address of the machine";
            return Err(wrong(ADVERTISED, allowed));
        }
        listeners.push(KafkaListener { name: name.to_owned(), listen, advertised });
    }
    Ok(listeners)
}

/// Names and addresses; `None` when they are not of that form.
fn pairs(texts: &[String]) -> Option<BTreeMap<&str, &str>> {
    let pairs: Option<BTreeMap<&str, &str>> = texts.iter().map(|text| text.split_once("://")).collect();
    let is_name = |name: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_plain)
    };
    let are_fine = |pairs: &BTreeMap<&str, &str>| {
        pairs.len() == texts.len() && pairs.len() <= LISTENERS_MAX && pairs.keys().all(|name| is_name(name))
    };
    pairs.filter(are_fine)
}
