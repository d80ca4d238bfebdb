//! What a member reads: topics by name and by pattern, as the cluster has them at the moment.

use std::collections::BTreeSet;

use highwater_metadata::MetadataImage;
use highwater_proto::v1;
use highwater_types::{TopicId, TopicName};
use wildmatch::WildMatch;

use crate::front::failure::Failure;

/// Names and patterns together.
const NAMES_MAX: usize = 10_000;

/// What a member reads.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    topics: BTreeSet<TopicName>,
    patterns: Vec<WildMatch>,
}

impl Subscription {
    pub(super) fn of(said: v1::Subscription) -> Result<Self, Failure> {
        let v1::Subscription { topics, patterns } = said;
        if topics.is_empty() && patterns.is_empty() {
            return Err(Failure::invalid("the session names no topic and no pattern to read"));
        }
        if topics.len() + patterns.len() > NAMES_MAX {
            return Err(Failure::invalid(format!("more than {NAMES_MAX} topics and patterns in one session")));
        }
        if let Some(internal) = topics.iter().find(|topic| topic.starts_with("__")) {
            return Err(Failure::invalid(format!("topic '{internal}' is the server's own and is not read")));
        }
        let topics = topics.iter().map(|topic| Ok(TopicName::new(topic)?)).collect::<Result<_, Failure>>()?;
        Ok(Self { topics, patterns: patterns.iter().map(|pattern| WildMatch::new(pattern)).collect() })
    }

    /// The topics that there are, sorted.
    pub(super) fn topics(&self, image: &MetadataImage) -> Vec<TopicId> {
        let matches = |name: &TopicName| {
            self.topics.contains(name) || self.patterns.iter().any(|pattern| pattern.matches(name.as_str()))
        };
        let wanted = image.topics().filter(|topic| !topic.is_internal() && matches(&topic.name));
        let mut topics: Vec<_> = wanted.map(|topic| topic.id).collect();
        topics.sort_unstable();
        topics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_reads_nothing_or_the_servers_own_is_refused() {
        let of = |topics: &[&str], patterns: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Subscription::of(v1::Subscription { topics: owned(topics), patterns: owned(patterns) })
        };
        assert!(of(&[], &[]).is_err());
        assert!(of(&["__groups"], &[]).is_err());
        assert!(of(&["no spaces"], &[]).is_err());
        let subscription = of(&["orders"], &["order.*"]).unwrap();
        let matched = |name: &str| subscription.patterns.iter().any(|pattern| pattern.matches(name));
        assert!(matched("order.placed") && matched("order.placed.v2"));
        assert!(!matched("orders") && !matched("reorder.placed"));
    }
}
