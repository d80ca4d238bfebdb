//! Where a partition is looked for: the leader that was told, or else one server after the other.
//!
//! Pure but for the list of servers: chance is an argument, and waiting is the caller's.
//!
//! A redirect is followed at once, so a new leader costs one trip more. Only when it leads on and on, as it may while an
//! election is under way, there is a pause, and never a long one: leaders come back within a second or two.

use std::sync::Arc;
use std::time::Duration;

use highwater_types::ErrorCode;

use crate::connection::Connections;
use crate::error::Failure;
use crate::retry::Backoff;

/// The longest pause between two looks for a leader.
const LONGEST_SEARCH_PAUSE: Duration = Duration::from_millis(160);
/// So many redirects in a row are followed without a pause.
const REDIRECTS_AT_ONCE: u32 = 2;

/// Where one partition is looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finder {
    /// Who leads, when somebody said so.
    leader: Option<Arc<str>>,
    redirects: u32,
    /// How often servers did not know, since something worked.
    unknown: u32,
    backoff: Backoff,
}

impl Finder {
    /// Begins with a server that was told.
    pub(crate) fn starting_at(leader: Option<Arc<str>>) -> Self {
        Self { leader, ..Self::default() }
    }

    /// The server to go to now.
    pub(crate) fn server(&self, connections: &Connections) -> Arc<str> {
        self.leader.clone().unwrap_or_else(|| connections.current())
    }

    /// It worked.
    pub(crate) fn on_success(&mut self) {
        self.redirects = 0;
        self.unknown = 0;
        self.backoff.reset();
    }

    /// What `server` answered, or that it did not, decides where to go next; tells how long to wait before.
    pub(crate) fn on_failure(
        &mut self,
        connections: &Connections,
        server: &Arc<str>,
        failure: &Failure,
        chance: u64,
    ) -> Duration {
        let code = match failure {
            Failure::Server(error) => Some(error.code),
            Failure::Unsent(_) | Failure::Broken(_) => None,
            Failure::Rejected(_) => return self.backoff.next(chance),
        };
        match (code, failure.leader_address()) {
            (Some(ErrorCode::NotLeader), Some(leader)) if leader != server => {
                self.leader = Some(Arc::clone(leader));
                self.redirects = self.redirects.saturating_add(1);
                if self.redirects <= REDIRECTS_AT_ONCE {
                    return Duration::ZERO;
                }
            }
            (Some(ErrorCode::NotLeader | ErrorCode::LeaderUnavailable), _) => {
                self.leader = None;
                self.unknown = self.unknown.saturating_add(1);
                // It may know in a moment; or never, when it is the one that is cut off.
                if self.unknown.is_multiple_of(2) {
                    connections.rotate(server);
                }
            }
            (Some(ErrorCode::ShuttingDown) | None, _) => {
                self.leader = None;
                connections.rotate(server);
            }
            (Some(_), _) => return self.backoff.next(chance),
        }
        self.backoff.next_up_to(LONGEST_SEARCH_PAUSE, chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ConnectionError, ServerError};

    fn connections() -> Connections {
        Connections::new(&["a:1".to_owned(), "b:1".to_owned()], Duration::from_secs(1)).unwrap()
    }

    fn refusal(code: ErrorCode, leader: Option<&str>) -> Failure {
        Failure::Server(ServerError {
            code,
            message: "".into(),
            retryable: true,
            valid_range: None,
            leader_address: leader.map(Arc::from),
            expected_sequence: None,
        })
    }

    #[test]
    fn redirects_are_followed_at_once_until_they_go_round_in_circles() {
        let (connections, mut finder) = (connections(), Finder::default());
        let (a, b) = (Arc::from("a:1"), Arc::from("b:1"));
        for (at, to, waits) in [(&a, &b, false), (&b, &a, false), (&a, &b, true), (&b, &a, true)] {
            let wait = finder.on_failure(&connections, at, &refusal(ErrorCode::NotLeader, Some(to)), 0);
            assert_eq!((finder.server(&connections), wait > Duration::ZERO), (Arc::clone(to), waits));
        }
        finder.on_success();
        assert!(finder.on_failure(&connections, &a, &refusal(ErrorCode::NotLeader, Some("c:1")), 0).is_zero());
    }

    #[test]
    fn a_server_that_knows_no_leader_is_asked_twice_and_then_another() {
        let (connections, mut finder) = (connections(), Finder::default());
        let a: Arc<str> = Arc::from("a:1");
        let unknown = refusal(ErrorCode::LeaderUnavailable, None);
        let first = finder.on_failure(&connections, &a, &unknown, 0);
        assert!(!first.is_zero() && *finder.server(&connections) == *"a:1");
        finder.on_failure(&connections, &a, &unknown, 0);
        assert_eq!(&*finder.server(&connections), "b:1");
    }

    #[test]
    fn a_leader_that_is_gone_is_looked_for_elsewhere_without_long_pauses() {
        let (connections, mut finder) = (connections(), Finder::starting_at(Some(Arc::from("c:1"))));
        let c: Arc<str> = Arc::from("c:1");
        for _ in 0..20 {
            let gone = Failure::Broken(ConnectionError::new("c:1", "reset"));
            assert!(finder.on_failure(&connections, &c, &gone, u64::MAX) <= LONGEST_SEARCH_PAUSE);
        }
        assert_eq!(&*finder.server(&connections), "a:1", "the servers that were named are not to blame");
    }
}
