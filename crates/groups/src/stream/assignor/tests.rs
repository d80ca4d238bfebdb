//! Properties of the assignors, over random members, subscriptions and claims.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn topic(number: usize) -> TopicId {
    TopicId::from_bytes([u8::try_from(number).unwrap(); 16])
}

/// Partition counts by topic; and for each reader which topics it reads.
fn cases() -> impl Strategy<Value = (Vec<u32>, Vec<Vec<bool>>)> {
    (1usize..6).prop_flat_map(|topics| {
        let counts = prop::collection::vec(0u32..12, topics);
        let reads = prop::collection::vec(prop::collection::vec(any::<bool>(), topics), 1..8);
        (counts, reads)
    })
}

fn topics_read(reads: &[bool]) -> Vec<TopicId> {
    reads.iter().enumerate().filter(|(_, reads)| **reads).map(|(number, _)| topic(number)).collect()
}

fn counts(partitions: &[u32]) -> BTreeMap<TopicId, u32> {
    partitions.iter().enumerate().map(|(number, count)| (topic(number), *count)).collect()
}

/// Readers of `topics` that have, and hold, what they were given.
fn readers<'a>(topics: &'a [Vec<TopicId>], given: &[Vec<TopicPartition>]) -> Vec<Reader<'a>> {
    let had = |number: usize| given.get(number).cloned().unwrap_or_default();
    let reader =
        |(number, topics): (usize, &'a Vec<TopicId>)| Reader { topics, claims: had(number), holds: had(number) };
    topics.iter().enumerate().map(reader).collect()
}

fn all(partitions: &BTreeMap<TopicId, u32>, readers: &[Reader<'_>]) -> BTreeSet<TopicPartition> {
    let read = partitions.iter().filter(|(topic, _)| !readers_of(readers, **topic).is_empty());
    read.flat_map(|(topic, count)| partitions_of(*topic, *count)).collect()
}

fn loads(given: &[Vec<TopicPartition>]) -> (usize, usize) {
    let loads = || given.iter().map(Vec::len);
    (loads().min().unwrap(), loads().max().unwrap())
}

/// Each partition once, all of them unless some may be withheld, each to a reader of its topic.
fn check(given: &[Vec<TopicPartition>], readers: &[Reader<'_>], counts: &BTreeMap<TopicId, u32>, is_whole: bool) {
    let mut seen = BTreeSet::new();
    for (partitions, reader) in given.iter().zip(readers) {
        for partition in partitions {
            assert!(seen.insert(*partition), "{partition} has two owners");
            assert!(reader.topics.contains(&partition.topic), "{partition} is not read by its owner");
        }
    }
    let all = all(counts, readers);
    assert!(seen.is_subset(&all));
    assert!(!is_whole || seen == all, "some partitions have no owner");
}

/// Whether some chain of hand-overs from `donor` reaches a reader that has at least two fewer: brute force.
fn could_be_better(given: &[Vec<TopicPartition>], readers: &[Reader<'_>]) -> bool {
    (0..given.len()).any(|donor| {
        let mut reached = BTreeSet::from([donor]);
        loop {
            let before = reached.len();
            let topics: BTreeSet<_> = reached.iter().flat_map(|r| given[*r].iter().map(|p| p.topic)).collect();
            reached.extend(topics.iter().flat_map(|topic| readers_of(readers, *topic)));
            if reached.len() == before {
                break;
            }
        }
        reached.iter().any(|other| given[*other].len() + 2 <= given[donor].len())
    })
}

proptest! {
    #[test]
    fn every_partition_has_one_owner_among_its_readers((partitions, reads) in cases()) {
        let (counts, topics) = (counts(&partitions), reads.iter().map(|r| topics_read(r)).collect::<Vec<_>>());
        for assignor in Assignor::ALL {
            let readers = readers(&topics, &[]);
            let given = assignor.assign(&readers, &counts);
            check(&given, &readers, &counts, true);
            prop_assert_eq!(&given, &assignor.assign(&readers, &counts));
        }
    }

    #[test]
    fn equal_subscriptions_differ_by_at_most_one(partitions in prop::collection::vec(0u32..12, 1..6), count in 1usize..9) {
        let (counts, topics) = (counts(&partitions), vec![topics_read(&vec![true; partitions.len()]); count]);
        for assignor in [Assignor::RoundRobin, Assignor::Sticky] {
            let (min, max) = loads(&assignor.assign(&readers(&topics, &[]), &counts));
            prop_assert!(max - min <= 1, "{assignor}: {min}..{max}");
        }
        // Range promises it for each topic.
        let given = Assignor::Range.assign(&readers(&topics, &[]), &counts);
        for number in 0..partitions.len() {
            let of_topic = given.iter().map(|given| given.iter().filter(|at| at.topic == topic(number)).count());
            let loads: Vec<_> = of_topic.collect();
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn unequal_subscriptions_are_as_even_as_they_can_be((partitions, reads) in cases(), (_, before) in cases()) {
        let (counts, topics) = (counts(&partitions), reads.iter().map(|r| topics_read(r)).collect::<Vec<_>>());
        let old_topics: Vec<_> = before.iter().map(|r| topics_read(r)).collect();
        let had = Assignor::Range.assign(&readers(&old_topics, &[]), &counts);
        let readers = readers(&topics, &had);
        let given = Assignor::Sticky.deal(&readers, &counts);
        check(&given, &readers, &counts, true);
        prop_assert!(!could_be_better(&given, &readers));
    }

    #[test]
    fn sticky_moves_no_more_than_it_must(
        partitions in prop::collection::vec(0u32..12, 1..6), before in 1usize..9, after in 1usize..9, left in 0usize..3,
    ) {
        let (counts, topics) = (counts(&partitions), topics_read(&vec![true; partitions.len()]));
        let mut had = Assignor::Range.assign(&readers(&vec![topics.clone(); before], &[]), &counts);
        had.drain(..left.min(had.len() - 1));
        had.resize(after.max(had.len()), Vec::new());
        let topics = vec![topics; had.len()];
        let given = Assignor::Sticky.deal(&readers(&topics, &had), &counts);
        let total: usize = given.iter().map(Vec::len).sum();
        let kept: usize = had.iter().zip(&given).map(|(had, given)| had.iter().filter(|at| given.contains(at)).count()).sum();
        // Nobody may keep more than a full share, and only so many as do not come out even may keep a fuller one.
        let (floor, extra) = (total / given.len(), total % given.len());
        let fuller = had.iter().filter(|had| had.len() > floor).count().min(extra);
        let most: usize = had.iter().map(|had| had.len().min(floor)).sum::<usize>() + fuller;
        prop_assert_eq!(kept, most);
        let (min, max) = loads(&given);
        prop_assert!(max - min <= 1);
    }

    #[test]
    fn no_partition_is_given_to_two_at_once((partitions, reads) in cases(), (_, before) in cases(), which in 0usize..4) {
        let assignor = Assignor::ALL[which];
        let counts = counts(&partitions);
        let old_topics: Vec<_> = before.iter().map(|r| topics_read(r)).collect();
        let topics: Vec<_> = reads.iter().map(|r| topics_read(r)).collect();
        let mut held = Assignor::Range.assign(&readers(&old_topics, &[]), &counts);
        held.truncate(topics.len());
        // First round: what moves is withheld. Its holder reads on until it has given up what it was not given again.
        let first_readers = readers(&topics, &held);
        let first = assignor.assign(&first_readers, &counts);
        check(&first, &first_readers, &counts, false);
        for (number, given) in first.iter().enumerate() {
            for (other, held) in held.iter().enumerate().filter(|(other, _)| *other != number) {
                prop_assert!(given.iter().all(|at| !held.contains(at)), "{number} was given what {other} holds");
            }
        }
        // Second round: they have given it up, and now everything has an owner.
        let second_readers = readers(&topics, &first);
        let second = assignor.assign(&second_readers, &counts);
        check(&second, &second_readers, &counts, true);
        let keeps = |(first, second): (&Vec<_>, &Vec<_>)| first.iter().all(|at| second.contains(at));
        prop_assert!(first.iter().zip(&second).all(keeps));
    }
}

#[test]
fn a_thousand_members_share_ten_thousand_partitions() {
    let counts: BTreeMap<_, _> = (0..10).map(|number| (topic(number), 1_000)).collect();
    let everything: Vec<_> = counts.keys().copied().collect();
    // The last 500 do not read the last topic, so quotas do not decide.
    let unequal: Vec<_> = (0..1_000).map(|number| everything[..if number < 500 { 10 } else { 9 }].to_vec()).collect();
    for topics in [vec![everything; 1_000], unequal] {
        let mut given = Vec::new();
        for assignor in Assignor::ALL {
            let readers = readers(&topics, &given);
            given = assignor.assign(&readers, &counts);
            check(&given, &readers, &counts, false);
        }
    }
}
