//! Reading the log ahead for the groups that want more of it, and waking who waits for what was found.
//!
//! Never: reads for a group that nobody asked for in this term, or again at once what could not be read.

use std::future::ready;

use highwater_groups::queue::Command;
use highwater_types::OffsetRange;

use super::{Leading, QueueTask, SCAN_PAUSE, Scanned, Scans, scan};
use crate::partition::{ReadError, RecordsError};
use crate::queues::kept::scan_kept;

impl QueueTask {
    /// Reads on for every group that wants more of the log.
    pub(super) fn start_scans(&self, leading: &mut Leading, scans: &mut Scans) {
        if leading.served.values().all(|served| served.is_scanning) {
            return;
        }
        let context = self.context();
        let image = self.image.lock();
        let (now, log_start) = (self.clock.instant(), self.reader.log_start());
        for (group, served) in &mut leading.served {
            if served.is_scanning || served.scans_after.is_some_and(|after| now < after) {
                continue;
            }
            served.scans_after = None;
            let Some(queue) = image.queue(group) else { continue };
            let Some(wanted) = served.desk.wanted(queue, &context) else { continue };
            served.is_scanning = true;
            scans.push(match wanted.start < log_start {
                true => {
                    let result = scan_kept(queue, wanted, log_start);
                    Box::pin(ready(Scanned { group: group.clone(), wanted, result }))
                }
                false => Box::pin(scan(self.reader.clone(), group.clone(), wanted)),
            });
        }
    }

    /// A part of the log was read.
    pub(super) fn scanned(&self, leading: &mut Leading, scanned: Scanned) {
        let Scanned { group, wanted, result } = scanned;
        let Some(served) = leading.served.get_mut(&group) else { return };
        served.is_scanning = false;
        match result {
            // Nothing is there that was committed a moment ago: read again at once, it might be so for ever.
            Ok(scan) if scan.range.is_empty() => served.scans_after = Some(self.clock.instant() + SCAN_PAUSE),
            Ok(scan) => {
                let context = self.context();
                let image = self.image.lock();
                let Some(queue) = image.queue(&group) else { return };
                let decision = served.desk.offer(queue, &scan, &context);
                leading.take_in(&group, decision);
            }
            Err(RecordsError::Read(ReadError::OffsetOutOfRange { valid, .. })) if valid.start > wanted.start => {
                self.decide(leading, &group, Command::Trim { start: valid.start }, None);
            }
            Err(error) => {
                let OffsetRange { start, .. } = wanted;
                served.scans_after = Some(self.clock.instant() + SCAN_PAUSE);
                tracing::warn!(partition = self.replica.group(), %group, offset = %start, %error,
                    "the log could not be read for a queue; trying again soon");
            }
        }
    }

    /// Tells those who wait that there is something.
    pub(super) fn wake(&self, leading: &mut Leading) {
        if leading.served.is_empty() {
            return;
        }
        let context = self.context();
        let image = self.image.lock();
        for (group, served) in &mut leading.served {
            if let Some(queue) = image.queue(group) {
                served.wake(queue, &context);
            }
        }
    }
}
