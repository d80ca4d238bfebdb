//! An idempotent producer against a machine that loses its power at any call of the disk: what was acknowledged is
//! there, at its offset (P1, P2), and what is sent again is stored once (P5).

use std::collections::VecDeque;

use highwater_storage::disk::sim::{CrashMode, SimDisk};

use super::*;

const SEEDS: u64 = 40;
const LIVES: u64 = 4;
const IN_FLIGHT: usize = 5;

/// A batch as its producer knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    first: i32,
    records: usize,
}

/// A producer that keeps its batches until they are acknowledged.
#[derive(Default)]
struct Producer {
    next: i32,
    unacknowledged: VecDeque<Sent>,
    acknowledged: Vec<(Sent, u64)>,
}

impl Producer {
    /// Sends again what is not acknowledged, in order; the machine must not fail meanwhile.
    async fn resend(&mut self, run: &Running) {
        while let Some(sent) = self.unacknowledged.pop_front() {
            let ack = run.append(stamped(9, 0, sent.first, sent.records)).await;
            let ack = ack.unwrap_or_else(|error| panic!("{sent:?} sent again: {error}"));
            self.acknowledged.push((sent, base(&ack)));
        }
    }

    /// Sends new batches, a few in flight, until one fails or there were enough.
    async fn send(&mut self, run: &Running, batches: usize) {
        let mut tickets = VecDeque::new();
        for n in 0..batches {
            let sent = Sent { first: self.next, records: 1 + n % 3 };
            self.next += sent.records as i32;
            self.unacknowledged.push_back(sent);
            tickets.push_back(run.send(stamped(9, 0, sent.first, sent.records), Acks::Quorum).await);
            if tickets.len() == IN_FLIGHT && !self.hear(&mut tickets).await {
                break;
            }
        }
        while !tickets.is_empty() && self.hear(&mut tickets).await {}
    }

    async fn hear(&mut self, tickets: &mut VecDeque<AppendTicket>) -> bool {
        let Ok(ack) = tickets.pop_front().unwrap().await else { return false };
        let sent = self.unacknowledged.pop_front().unwrap();
        assert!(!ack.duplicate);
        self.acknowledged.push((sent, base(&ack)));
        true
    }

    /// Everything is in the log once, in order, where it was acknowledged, and nothing else is.
    async fn check(&self, run: &Running, seed: u64) {
        let mut stored = Vec::new();
        let mut from = 0;
        while from < run.handle.watermarks().committed.get() {
            let result = run.read(from).await.unwrap();
            for bytes in &result.batches {
                assert!(verify_crc(bytes), "seed {seed}");
                let header = BatchHeader::read(bytes).unwrap();
                assert_eq!(header.base_offset.get(), from, "seed {seed}: a gap");
                from = header.next_offset().get();
                let first = header.producer.unwrap().first_sequence.get();
                stored.push((Sent { first, records: header.record_count as usize }, header.base_offset.get()));
            }
        }
        assert_eq!(stored, self.acknowledged, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_crash_loses_or_repeats_an_acknowledged_batch() {
    let mut cut_short = 0;
    for seed in 0..SEEDS {
        let mut producer = Producer::default();
        let mut rig = Rig::start(SimDisk::new(seed), true);
        // Small, so that segments roll and the crashes meet that too.
        rig.options = LogOptions { segment_bytes_max: 4_096, allocate_bytes_min: 4_096, ..LogOptions::default() };
        let mut run = Running::on(rig).await;
        for life in 0..LIVES {
            producer.resend(&run).await;
            if (seed + life) % 3 == 0 {
                run.partition.maintain().await.unwrap();
            }
            let mode = CrashMode::ALL[((seed + life) % 4) as usize];
            run.rig.disk.crash_at(1 + (seed * 7 + life * 13) % 90, mode);
            producer.send(&run, 60).await;
            cut_short += u64::from(!producer.unacknowledged.is_empty());
            run = run.crash().await;
        }
        producer.resend(&run).await;
        producer.check(&run, seed).await;
    }
    assert!(cut_short > SEEDS, "most lives must end with batches in flight, not {cut_short}");
}
