//! Whether a queue has nothing more for anybody, for workers that end then.
//!
//! Asked only when the worker has had nothing for a short while, and again as long as the answer is no.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::clock::Instant;
use crate::request::RequestError;

/// So long nothing may have come before the server is asked, and between two questions.
const QUIET: Duration = Duration::from_millis(300);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Emptiness {
    admin: Admin,
    topic: String,
    group: String,
    /// Since when there is nothing to do; `None`: there is.
    quiet_since: Option<Instant>,
    question: Option<JoinHandle<Result<bool, RequestError>>>,
}

impl Drop for Emptiness {
    fn drop(&mut self) {
        self.busy();
    }
}

impl Emptiness {
    pub(super) fn new(admin: Admin, topic: &str, group: &str) -> Self {
        Self { admin, topic: topic.to_owned(), group: group.to_owned(), quiet_since: None, question: None }
    }

    /// There is something to do: what was asked before says nothing any more.
    pub(super) fn busy(&mut self) {
        self.quiet_since = None;
        if let Some(question) = self.question.take() {
            question.abort();
        }
    }

    /// There is nothing to do at the moment.
    pub(super) fn quiet(&mut self, now: Instant) {
        let since = *self.quiet_since.get_or_insert(now);
        if self.question.is_some() || now < since + QUIET {
            return;
        }
        let (admin, topic, group) = (self.admin.clone(), self.topic.clone(), self.group.clone());
        let question = async move { Ok(admin.describe_queue(&topic, &group).await?.is_idle()) };
        self.question = Some(tokio::spawn(question));
    }

    /// When to ask, if nothing happens before.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.quiet_since.filter(|_| self.question.is_none()).map(|since| since + QUIET)
    }

    /// Waits for an answer; for ever where nothing was asked. Dropping the future loses nothing.
    pub(super) async fn answered(&mut self) -> Result<bool, RequestError> {
        let Some(question) = &mut self.question else { return std::future::pending().await };
        let answer = question.await;
        self.question = None;
        self.quiet_since = None;
        match answer {
            Ok(Err(error)) if error.is_retryable() => Ok(false),
            Ok(answer) => answer,
            // It panicked, which is told elsewhere, or was aborted.
            Err(_) => Ok(false),
        }
    }
}
