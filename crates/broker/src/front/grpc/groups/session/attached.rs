//! Which stream speaks for a member.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_groups::stream::{GroupId, MemberId};
use tokio_util::sync::CancellationToken;

type Table = HashMap<(GroupId, MemberId), (u64, CancellationToken)>;

/// The members that streams of this node speak for. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(in crate::front::grpc::groups) struct Attached {
    table: Arc<Mutex<Table>>,
    last: Arc<AtomicU64>,
}

/// Speaks for a member until another stream does.
#[derive(Debug)]
pub(super) struct Attachment {
    attached: Attached,
    group: GroupId,
    member: MemberId,
    serial: u64,
    superseded: CancellationToken,
}

impl Attached {
    /// Speaks for a member from now on; whoever did so before stops.
    pub(super) fn attach(&self, group: GroupId, member: MemberId) -> Attachment {
        let serial = self.last.fetch_add(1, Ordering::Relaxed);
        let superseded = CancellationToken::new();
        let before = self.lock().insert((group.clone(), member.clone()), (serial, superseded.clone()));
        if let Some((_, before)) = before {
            before.cancel();
        }
        Attachment { attached: self.clone(), group, member, serial, superseded }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Changed in single steps only.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attachment {
    pub(super) fn member(&self) -> &MemberId {
        &self.member
    }

    /// Resolves when another stream speaks for the member.
    pub(super) async fn superseded(&self) {
        self.superseded.cancelled().await;
    }

    /// Whether this one still does.
    pub(super) fn is_current(&self) -> bool {
        !self.superseded.is_cancelled()
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let key = (self.group.clone(), self.member.clone());
        let mut table = self.attached.lock();
        if table.get(&key).is_some_and(|(serial, _)| *serial == self.serial) {
            table.remove(&key);
        }
    }
}
