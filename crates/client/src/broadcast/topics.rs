//! Which topics are followed, and noticing new ones.
//!
//! Owns: the look-out for them, as a future that is polled with the rest; there is no task.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, FutureExt};
use highwater_types::{ErrorCode, TopicName};
use wildmatch::WildMatch;

use super::config::BroadcastBuilder;
use crate::growth;
use crate::position::Position;
use crate::reader::{ReadError, Reader};

/// Looks out for topics that are to be followed and are not.
pub(super) struct Watch {
    settings: BroadcastBuilder,
    looking: BoxFuture<'static, Vec<Reader>>,
}

impl Watch {
    pub(super) fn new(settings: BroadcastBuilder) -> Self {
        Self { settings, looking: std::future::pending().boxed() }
    }

    /// Looks for all but these.
    pub(super) fn go_on(&mut self, followed: &BTreeSet<TopicName>) {
        self.looking = look(self.settings.clone(), followed.clone()).boxed();
    }

    /// Those that were found; then [`Watch::go_on`] is due.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Vec<Reader>> {
        Pin::new(&mut self.looking).poll(context)
    }
}

async fn look(settings: BroadcastBuilder, followed: BTreeSet<TopicName>) -> Vec<Reader> {
    loop {
        growth::pause(settings.client.shared.topics_refresh).await;
        match find(&settings, &followed, Position::Start).await {
            Ok(new) if new.is_empty() => {}
            Ok(new) => return new,
            Err(error) => tracing::debug!(%error, "the topics could not be asked for"),
        }
    }
}

/// Readers of the topics that are there, are meant, and are not followed yet.
pub(super) async fn find(
    settings: &BroadcastBuilder,
    followed: &BTreeSet<TopicName>,
    from: Position,
) -> Result<Vec<Reader>, ReadError> {
    let topics = settings.client.admin().list_topics().await.map_err(ReadError::Topics)?;
    let selection = Selection::new(&settings.topics, &settings.patterns);
    let is_new = |name: &str| selection.matches(name) && !followed.iter().any(|known| known.as_str() == name);
    let mut readers = Vec::new();
    for topic in topics.iter().filter(|topic| is_new(&topic.name)) {
        match settings.reader(&topic.name, from).open().await {
            Ok(reader) => readers.push(reader),
            // Deleted since it was listed.
            Err(error) if error.code() == Some(ErrorCode::UnknownTopic) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(readers)
}

/// Names and patterns.
struct Selection<'a> {
    names: &'a [String],
    patterns: Vec<WildMatch>,
}

impl<'a> Selection<'a> {
    fn new(names: &'a [String], patterns: &[String]) -> Self {
        Self { names, patterns: patterns.iter().map(|pattern| WildMatch::new(pattern)).collect() }
    }

    fn matches(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name) || self.patterns.iter().any(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_meant_by_its_name_or_by_a_pattern() {
        let (names, patterns) = (["orders".to_owned()], ["user.*".to_owned(), "shard-?".to_owned()]);
        let selection = Selection::new(&names, &patterns);
        for meant in ["orders", "user.", "user.signed_up", "shard-7"] {
            assert!(selection.matches(meant), "{meant}");
        }
        for other in ["orders2", "users", "a.user.b", "shard-17", "shard-", ""] {
            assert!(!selection.matches(other), "{other}");
        }
    }
}
