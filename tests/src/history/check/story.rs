//! Short histories for the tests of the anomalies: a healthy one, and the words to plant something in it.

use super::{AnomalyKind, check};
use crate::history::event::{Answer, Call, Event, Fate, Kind, OpId, Replica, ReplicaEntry, Seen};
use crate::history::value::Value;

/// A history under way.
#[derive(Default)]
pub(super) struct Story {
    events: Vec<Event>,
    ops: u64,
}

pub(super) fn v(number: u64) -> Value {
    Value::new(1, number)
}

impl Story {
    pub(super) fn note(&mut self, kind: Kind) -> &mut Self {
        let at_us = self.events.len() as u64;
        self.events.push(Event { at_us, kind });
        self
    }

    pub(super) fn invoke(&mut self, call: Call) -> OpId {
        self.ops += 1;
        self.note(Kind::Invoked { op: OpId(self.ops), call });
        OpId(self.ops)
    }

    pub(super) fn done(&mut self, op: OpId, answer: Answer) -> &mut Self {
        self.note(Kind::Done { op, answer })
    }

    pub(super) fn send(&mut self, values: &[Value]) -> OpId {
        self.invoke(Call::Produce { partition: 0, values: values.to_vec() })
    }

    pub(super) fn ack(&mut self, op: OpId, offsets: &[u64]) -> &mut Self {
        self.done(op, Answer::Produced { fates: offsets.iter().map(|offset| Fate::At(*offset)).collect() })
    }

    pub(super) fn sent(&mut self, value: Value, offset: u64) -> &mut Self {
        let op = self.send(&[value]);
        self.ack(op, &[offset])
    }

    pub(super) fn unknown(&mut self, value: Value) -> &mut Self {
        let op = self.send(&[value]);
        self.note(Kind::Unknown { op, error: "timed out".to_owned() })
    }

    pub(super) fn refused(&mut self, value: Value) -> &mut Self {
        let op = self.send(&[value]);
        self.note(Kind::Failed { op, error: "no".to_owned() })
    }

    pub(super) fn end(&mut self, log_start: u64, end: u64) -> &mut Self {
        let op = self.invoke(Call::EndOffset { partition: 0 });
        self.done(op, Answer::Bounds { log_start, end })
    }

    pub(super) fn assign(&mut self, reader: u32, from: u64) -> &mut Self {
        self.note(Kind::Assigned { reader, partition: 0, from })
    }

    pub(super) fn poll(&mut self, reader: u32, records: &[(u64, Value)]) -> &mut Self {
        let records = records.iter().map(|(offset, value)| (*offset, Seen::Value(*value))).collect();
        self.note(Kind::Polled { reader, partition: 0, records, high_watermark: None })
    }

    /// A replica whose entry at each index holds these values, in term 1.
    pub(super) fn replica(&mut self, node: u64, values: &[Value]) -> &mut Self {
        let entry = |(index, value): (usize, &Value)| ReplicaEntry {
            index: index as u64,
            term: 1,
            kind: "data".to_owned(),
            base_offset: index as u64,
            records: 1,
            crc: crc32fast::hash(&value.bytes(0)),
            values: vec![*value],
        };
        let entries = values.iter().enumerate().map(entry).collect();
        self.note(Kind::ReplicaSeen(Replica { node, partition: 0, log_start: 0, entries }))
    }

    pub(super) fn last_replica(&mut self) -> &mut Replica {
        match self.events.last_mut().map(|event| &mut event.kind) {
            Some(Kind::ReplicaSeen(replica)) => replica,
            other => panic!("{other:?}"),
        }
    }

    /// What the checker says, each kind once.
    #[track_caller]
    pub(super) fn expect(&self, kinds: &[AnomalyKind]) {
        let found = check(&self.events);
        let mut seen: Vec<_> = found.iter().map(|anomaly| anomaly.kind).collect();
        seen.dedup();
        assert_eq!(seen, kinds, "{found:#?}");
        assert!(found.iter().all(|anomaly| anomaly.places.iter().all(|place| *place < self.events.len())));
    }
}

#[test]
fn a_healthy_history_has_no_anomaly() {
    let mut story = Story::default();
    let made = story.invoke(Call::CreateTopic { name: "t".to_owned() });
    story.done(made, Answer::Plain).end(0, 0).sent(v(0), 0).unknown(v(1)).sent(v(2), 2).end(0, 3);
    story.assign(1, 0).poll(1, &[(0, v(0)), (1, v(1))]).poll(1, &[(2, v(2))]).refused(v(3));
    let listed = story.invoke(Call::ListTopics);
    story.done(listed, Answer::Topics { names: vec!["t".to_owned()] });
    story.note(Kind::Healed).sent(v(4), 3).assign(2, 0);
    story.poll(2, &[(0, v(0)), (1, v(1)), (2, v(2)), (3, v(4))]);
    for node in 1..=3 {
        story.replica(node, &[v(0), v(1), v(2), v(4)]);
    }
    story.note(Kind::LeaderSeen { asked: 1, partition: 0, leader: 2, epoch: 1 });
    story.note(Kind::LeaderSeen { asked: 3, partition: 0, leader: 3, epoch: 2 });
    story.expect(&[]);
}
