//! Which versions clients have asked for that are not served: each is told to the operator once.
//!
//! Invariant: however many clients ask for however much, a bounded number of lines is written and a bounded set kept.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::api::Api;

/// Different ones that are told. Clients that people have ask for a handful.
const TOLD_MAX: usize = 100;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Unserved(Mutex<BTreeSet<(i16, i16)>>);

impl Unserved {
    /// Whether this is to be told now.
    pub(super) fn is_news(&self, api: Api, version: i16) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < TOLD_MAX && told.insert((api.key(), version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_news_once_and_noise_is_none() {
        let unserved = Unserved::default();
        assert!(unserved.is_news(Api::Produce, 2) && !unserved.is_news(Api::Produce, 2));
        assert!(unserved.is_news(Api::OffsetCommit, 1));
        let news = (100..1_000).filter(|version| unserved.is_news(Api::Fetch, *version)).count();
        assert_eq!(news, TOLD_MAX - 2);
    }
}
