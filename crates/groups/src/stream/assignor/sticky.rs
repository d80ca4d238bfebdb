//! The sticky assignor: loads as even as subscriptions allow, and what was claimed stays where it can.
//!
//! When all readers read the same topics, a quota for each decides, and nothing moves that need not. Otherwise what is
//! free goes to who has least, and then partitions wander along chains of readers, from one that has at least two more
//! to one that has fewer, until no chain is left: then no reader can be better off without another being worse off.
//! What was free wanders first, and what was claimed only when that does not do. So when the last partitions of a
//! balanced assignment come free, the others stay: cooperative rebalances come to an end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use highwater_types::{TopicId, TopicPartition};

use super::deal::share;
use super::{Reader, partitions_of, readers_of};

/// The partitions and who has each, all by number.
struct Board {
    partitions: Vec<TopicPartition>,
    /// The topic of each partition, by its place in `takers`.
    topics: Vec<usize>,
    /// The readers of each topic.
    takers: Vec<Vec<usize>>,
    owners: Vec<Option<usize>>,
    /// The partitions of each reader.
    held: Vec<Vec<usize>>,
}

pub(super) fn assign(readers: &[Reader<'_>], partitions: &BTreeMap<TopicId, u32>) -> Vec<Vec<TopicPartition>> {
    let mut board = Board::new(readers, partitions);
    board.seat_claims(readers);
    if board.takers.iter().all(|takers| takers.len() == readers.len()) {
        board.fill_quotas();
    } else {
        let is_free: Vec<bool> = board.owners.iter().map(Option::is_none).collect();
        board.give_out_free();
        board.even_out(&is_free);
        board.even_out(&vec![true; is_free.len()]);
    }
    board.given()
}

impl Board {
    /// Only topics that somebody reads are on the board.
    fn new(readers: &[Reader<'_>], counts: &BTreeMap<TopicId, u32>) -> Self {
        let (mut partitions, mut topics, mut takers) = (Vec::new(), Vec::new(), Vec::new());
        for (topic, count) in counts {
            let readers = readers_of(readers, *topic);
            if !readers.is_empty() {
                partitions.extend(partitions_of(*topic, *count));
                topics.resize(partitions.len(), takers.len());
                takers.push(readers);
            }
        }
        let owners = vec![None; partitions.len()];
        Self { partitions, topics, takers, owners, held: vec![Vec::new(); readers.len()] }
    }

    /// Leaves each partition with the one reader that claims it. What two claim is nobody's.
    fn seat_claims(&mut self, readers: &[Reader<'_>]) {
        let mut is_disputed = vec![false; self.partitions.len()];
        for (number, reader) in readers.iter().enumerate() {
            for claim in &reader.claims {
                let Ok(at) = self.partitions.binary_search(claim) else { continue };
                let reads = reader.topics.binary_search(&claim.topic).is_ok();
                match (self.owners.get_mut(at), is_disputed.get_mut(at)) {
                    (Some(owner @ None), Some(false)) if reads => *owner = Some(number),
                    (Some(owner @ Some(_)), Some(dispute)) if reads && *owner != Some(number) => {
                        (*owner, *dispute) = (None, true);
                    }
                    _ => {}
                }
            }
        }
        for (at, owner) in self.owners.iter().enumerate() {
            if let Some(held) = owner.and_then(|owner| self.held.get_mut(owner)) {
                held.push(at);
            }
        }
    }

    /// Everybody reads everything: who has most keeps one more where it does not come out even.
    fn fill_quotas(&mut self) {
        let mut order: Vec<usize> = (0..self.held.len()).collect();
        order.sort_by_key(|reader| Reverse(self.load(*reader)));
        let count = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        let mut needy = VecDeque::new();
        for (place, reader) in order.iter().enumerate() {
            let quota = share(count, order.len(), place);
            let excess = self.held.get_mut(*reader).map(|held| held.split_off(held.len().min(quota)));
            excess.into_iter().flatten().for_each(|at| self.own(at, None));
            needy.extend((self.load(*reader) < quota).then_some((*reader, quota)));
        }
        let free: Vec<usize> = self.free().collect();
        for at in free {
            // The quotas add up to all partitions, so somebody needs one as long as one is free.
            let Some((reader, quota)) = needy.pop_front() else { break };
            self.give(at, reader);
            needy.extend((self.load(reader) < quota).then_some((reader, quota)));
        }
    }

    /// Topics with few readers first: their partitions have the least choice.
    fn give_out_free(&mut self) {
        let mut free: Vec<usize> = self.free().collect();
        free.sort_by_key(|at| self.takers_of(*at).len());
        for at in free {
            let least = self.takers_of(at).iter().copied().min_by_key(|reader| self.load(*reader));
            if let Some(reader) = least {
                self.give(at, reader);
            }
        }
    }

    /// Hands on what may move. Always from the reader that has most. One from which no chain leads down is done, and so are all that it
    /// reaches: they have at least as many as it has but one, and nobody who comes later has more.
    fn even_out(&mut self, may_move: &[bool]) {
        let mut is_done = vec![false; self.held.len()];
        loop {
            let open = (0..self.held.len()).filter(|reader| is_done.get(*reader) == Some(&false));
            let Some(donor) = open.max_by_key(|reader| (self.load(*reader), Reverse(*reader))) else { return };
            match self.chain_from(donor, may_move) {
                Ok(chain) => chain.into_iter().for_each(|(at, reader)| self.hand_over(at, reader)),
                Err(reached) => reached.into_iter().for_each(|reader| {
                    if let Some(done) = is_done.get_mut(reader) {
                        *done = true;
                    }
                }),
            }
        }
    }

    /// Partitions that change hands so that `donor` has one fewer and somebody who has at least two fewer has one more;
    /// or all that it reaches.
    fn chain_from(&self, donor: usize, may_move: &[bool]) -> Result<Vec<(usize, usize)>, Vec<usize>> {
        // How each reader is reached: who before it gives which partition.
        let mut reached: BTreeMap<usize, Option<(usize, usize)>> = BTreeMap::from([(donor, None)]);
        let mut is_seen = vec![false; self.takers.len()];
        let mut next = VecDeque::from([donor]);
        while let Some(giver) = next.pop_front() {
            let held = self.held.get(giver).into_iter().flatten();
            for at in held.filter(|at| may_move.get(**at) == Some(&true)) {
                let topic = self.topics.get(*at).copied().unwrap_or_default();
                if is_seen.get_mut(topic).is_none_or(|seen| std::mem::replace(seen, true)) {
                    continue;
                }
                for taker in self.takers_of(*at) {
                    if reached.contains_key(taker) {
                        continue;
                    }
                    reached.insert(*taker, Some((giver, *at)));
                    if self.load(*taker) + 2 <= self.load(donor) {
                        return Ok(chain_to(*taker, &reached));
                    }
                    next.push_back(*taker);
                }
            }
        }
        Err(reached.into_keys().collect())
    }

    fn hand_over(&mut self, at: usize, reader: usize) {
        let owner = self.owners.get(at).copied().flatten();
        if let Some(held) = owner.and_then(|owner| self.held.get_mut(owner)) {
            held.retain(|held| *held != at);
        }
        self.give(at, reader);
    }

    fn give(&mut self, at: usize, reader: usize) {
        self.own(at, Some(reader));
        if let Some(held) = self.held.get_mut(reader) {
            held.push(at);
        }
    }

    fn own(&mut self, at: usize, owner: Option<usize>) {
        if let Some(place) = self.owners.get_mut(at) {
            *place = owner;
        }
    }

    fn free(&self) -> impl Iterator<Item = usize> {
        self.owners.iter().enumerate().filter(|(_, owner)| owner.is_none()).map(|(at, _)| at)
    }

    fn takers_of(&self, at: usize) -> &[usize] {
        self.topics.get(at).and_then(|topic| self.takers.get(*topic)).map_or(&[], Vec::as_slice)
    }

    fn load(&self, reader: usize) -> usize {
        self.held.get(reader).map_or(0, Vec::len)
    }

    fn given(&self) -> Vec<Vec<TopicPartition>> {
        let partition = |at: &usize| self.partitions.get(*at).copied();
        self.held.iter().map(|held| held.iter().filter_map(partition).collect()).collect()
    }
}

fn chain_to(end: usize, reached: &BTreeMap<usize, Option<(usize, usize)>>) -> Vec<(usize, usize)> {
    let (mut chain, mut reader) = (Vec::new(), end);
    while let Some((giver, at)) = reached.get(&reader).copied().flatten() {
        chain.push((at, reader));
        reader = giver;
    }
    chain
}
