//! `ElectLeaders`: the preferred replicas of partitions are to lead them.
//!
//! Never: hands over by itself. A leader hands a partition to the preferred replica as soon as that has all records, and
//! without being asked; what is asked for here is to hear when it has.

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_metadata::Member;
use highwater_types::{NodeId, TopicPartition};

use super::call::Call;
use super::context::{Context, Leaders, partition_number};
use super::error::{KafkaCode, Refusal, code_of, message_of};
use super::wire::{Malformed, Reader, Writer};

const PREFERRED: i8 = 0;

/// The longest wait, whatever a client is ready to wait.
const PATIENCE_MAX: Duration = Duration::from_secs(30);
/// The pause between two looks at who leads.
const PAUSE: Duration = Duration::from_millis(200);

struct Question {
    kind: i8,
    /// `None`: all of them.
    topics: Option<Vec<(String, Vec<i32>)>>,
    patience: Duration,
}

/// What is wanted of a partition, or became of it.
type Told = Vec<(String, Vec<(i32, Result<TopicPartition, Refusal>)>)>;

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let question = read(&mut call.body, version)?;
    let (whole, told) = elect(question, context).await;
    let mut body = call.writer();
    body.i32(0);
    if version >= 1 {
        body.i16(code_of(&whole));
    }
    body.array(told, |body, (topic, partitions)| {
        body.text(&topic);
        body.array(partitions, |body, (partition, elected)| {
            body.i32(partition);
            body.i16(code_of(&elected));
            body.nullable_text(message_of(&elected));
            body.tags();
        });
        body.tags();
    });
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader, version: i16) -> Result<Question, Malformed> {
    let kind = if version >= 1 { body.i8()? } else { PREFERRED };
    let topics = body.nullable_array(|body| {
        let topic = (body.text()?, body.array(Reader::i32)?);
        body.tags()?;
        Ok(topic)
    })?;
    let patience = Duration::from_millis(u64::try_from(body.i32()?).unwrap_or(0)).min(PATIENCE_MAX);
    body.tags()?;
    Ok(Question { kind, topics, patience })
}

async fn elect(question: Question, context: &Context) -> (Result<(), Refusal>, Told) {
    let Question { kind, topics, patience } = question;
    let checked = check(kind);
    let Some(topics) = topics else {
        if checked.is_err() {
            return (checked, Told::new());
        }
        let mut told = all(context);
        settle(&mut told, patience, context).await;
        // Of all partitions only those are told of that there was something to do for.
        let is_news = |elected: &Result<_, Refusal>| code_of(elected) != KafkaCode::ELECTION_NOT_NEEDED.number();
        told.iter_mut().for_each(|(_, partitions)| partitions.retain(|(_, elected)| is_news(elected)));
        told.retain(|(_, partitions)| !partitions.is_empty());
        return (Ok(()), told);
    };
    let place = |topic: &str, partition| checked.clone().and_then(|()| context.partition_at(topic, partition));
    let placed = |(topic, partitions): (String, Vec<i32>)| {
        let partitions = partitions.into_iter().map(|one| (one, place(&topic, one))).collect();
        (topic, partitions)
    };
    let mut told: Told = topics.into_iter().map(placed).collect();
    settle(&mut told, patience, context).await;
    (Ok(()), told)
}

fn check(kind: i8) -> Result<(), Refusal> {
    match kind {
        PREFERRED => Ok(()),
        _ => {
            let message = "only the preferred replica is elected here: a replica that lacks records never leads, so there \
                           is no unclean election";
            Err(Refusal::new(KafkaCode::INVALID_REQUEST, message))
        }
    }
}

/// All partitions of clients' topics.
fn all(context: &Context) -> Told {
    let image = context.router.image();
    let own = image.topics().filter(|topic| !topic.is_internal());
    let of = |topic: &highwater_metadata::Topic| {
        let at = |(partition, _)| (partition_number(partition), Ok(TopicPartition { topic: topic.id, partition }));
        topic.numbered_partitions().map(at).collect()
    };
    own.map(|topic| (topic.name.to_string(), of(topic))).collect()
}

/// Waits until the preferred replicas lead. A partition that none leads in time, or need not, becomes a refusal.
async fn settle(told: &mut Told, patience: Duration, context: &Context) {
    let mut waiting = BTreeSet::new();
    let leaders = leaders(told, context).await;
    for elected in told.iter_mut().flat_map(|(_, partitions)| partitions).map(|(_, elected)| elected) {
        match elected.clone().and_then(|at| look(at, &leaders, context)) {
            Ok(at) => drop(waiting.insert(at)),
            Err(refusal) => *elected = Err(refusal),
        }
    }
    let wait = async {
        while !waiting.is_empty() {
            tokio::time::sleep(PAUSE).await;
            let leaders = context.leaders(waiting.iter().copied().collect()).await;
            waiting.retain(|at| preferred(*at, context) != leaders.get(at).map(|(leader, _)| *leader));
        }
    };
    tokio::select! {
        _over = tokio::time::timeout(patience, wait) => {}
        () = context.shutdown.requested() => {}
    }
    for elected in told.iter_mut().flat_map(|(_, partitions)| partitions).map(|(_, elected)| elected) {
        if elected.as_ref().is_ok_and(|at| waiting.contains(at)) {
            let message = "the preferred replica does not lead yet; it will as soon as it has all records";
            *elected = Err(Refusal::new(KafkaCode::REQUEST_TIMED_OUT, message));
        }
    }
}

async fn leaders(told: &Told, context: &Context) -> Leaders {
    let partitions = told.iter().flat_map(|(_, partitions)| partitions);
    let named: BTreeSet<TopicPartition> = partitions.filter_map(|(_, at)| at.as_ref().ok().copied()).collect();
    context.leaders(named.into_iter().collect()).await
}

/// Whether the preferred replica does not lead, and can.
fn look(at: TopicPartition, leaders: &Leaders, context: &Context) -> Result<TopicPartition, Refusal> {
    let unknown = || Refusal::new(KafkaCode::UNKNOWN_TOPIC_OR_PARTITION, "the partition was deleted");
    let preferred = preferred(at, context).ok_or_else(unknown)?;
    if leaders.get(&at).is_some_and(|(leader, _)| *leader == preferred) {
        return Err(Refusal::new(KafkaCode::ELECTION_NOT_NEEDED, "the preferred replica leads the partition"));
    }
    match context.router.image().member(preferred).is_some_and(Member::is_ready) {
        true => Ok(at),
        false => {
            let message = format!("node {preferred}, the preferred replica, does not answer or is being drained");
            Err(Refusal::new(KafkaCode::PREFERRED_LEADER_NOT_AVAILABLE, message))
        }
    }
}

fn preferred(at: TopicPartition, context: &Context) -> Option<NodeId> {
    context.router.image().assignment(at)?.preferred_leader()
}
