//! Why a command failed: what to say, what to advise, and with which code to exit.
//!
//! Owns: the table of exit codes, and what a person can do about each failure.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use highwater_broker::config::ConfigError;
use highwater_broker::node::NodeFailure;
use highwater_broker::server::StartError;
use highwater_client::{
    ConnectError, ConsumeError, HealthError, ProduceError, ReadError, RequestError, SendAndWaitError, SendError,
    WorkError,
};
use highwater_storage::FileError;
use highwater_types::{ErrorCode, TopicName, TopicNameError};

use crate::dlq::filter::TwoConditions;
use crate::produce::outcomes::{Counts, ProduceStop};
use crate::queue::QueueName;

/// The command failed.
pub(crate) const FAILED: u8 = 1;
/// The command line or the configuration is wrong; nothing was done.
pub(crate) const WRONG_USAGE: u8 = 2;
/// There is no such topic, partition, offset, group or member.
pub(crate) const NOT_FOUND: u8 = 3;
/// No server could be reached.
pub(crate) const UNREACHABLE: u8 = 4;

/// Ctrl-C or `SIGTERM` ended it: 128 and the number of Ctrl-C's signal, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// No server could be reached, or an address is none.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A node does not serve.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// A request that concerns no topic and no group failed.
    #[error(transparent)]
    Request(RequestError),
    /// A request about a topic failed.
    #[error("topic {topic}: {source}")]
    Topic {
        /// The topic.
        topic: TopicName,
        /// Why.
        source: RequestError,
    },
    /// A request about a group failed.
    #[error("group {group}: {source}")]
    Group {
        /// The group.
        group: String,
        /// Why.
        source: RequestError,
        /// What to do when it is that the group has members.
        in_use: Option<&'static str>,
    },
    /// A request about a queue group failed.
    #[error("queue group {group} of topic {topic}: {source}")]
    Queue {
        /// The topic.
        topic: TopicName,
        /// The group.
        group: String,
        /// Why.
        source: RequestError,
    },
    /// A worker of a queue group cannot go on.
    #[error("{source}")]
    Work {
        /// The topic.
        topic: TopicName,
        /// The group.
        group: String,
        /// Why.
        source: Box<WorkError>,
    },
    /// The command of `queue work` cannot be started.
    #[error("{command} cannot be started: {cause}")]
    Command {
        /// The command.
        command: String,
        /// Why.
        cause: String,
    },
    /// Conditions on dead messages make no sense together.
    #[error(transparent)]
    Condition(TwoConditions),
    /// No message is what was looked for.
    #[error("{0}")]
    NoMessage(String),
    /// A name that is no topic's.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// A verb that destroys was given without `--yes`.
    #[error("this deletes topic {topic} with all its records, and there is no way back")]
    NeedsYes {
        /// The topic.
        topic: TopicName,
    },
    /// A verb that takes something away was given without `--yes`.
    #[error("this {what}")]
    NeedsYesTo {
        /// What it does.
        what: String,
    },
    /// Something is wrong with the cluster; standard output says what.
    #[error("{problems} problem{}", if *problems == 1 { "" } else { "s" })]
    Unhealthy {
        /// How many.
        problems: usize,
    },
    /// What was waited for is not done yet.
    #[error("not done after {}: {still}; it goes on", humantime::format_duration(*waited))]
    NotYet {
        /// How far it is.
        still: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The cluster did not say where its nodes listen for other nodes.
    #[error("no node of the cluster listens for other nodes, so none can be joined")]
    NobodyToJoin,
    /// No free ports can be found.
    #[error("no free ports can be found: {0}")]
    NoPorts(io::Error),
    /// The data directory is not one that `dev` can use with so many nodes.
    #[error("{} holds {found}; {advice}", data.display())]
    OtherData {
        /// The data directory.
        data: PathBuf,
        /// What it holds.
        found: String,
        /// What to do.
        advice: String,
    },
    /// The settings of a node are wrong.
    #[error(transparent)]
    Config(ConfigError),
    /// The log filter is none.
    #[error("logging.filter = {filter:?} is no filter of log lines: {cause}")]
    BadLogFilter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Standard output cannot be written.
    #[error("standard output cannot be written: {0}")]
    Stdout(io::Error),
    /// Not every record of the input was acknowledged.
    #[error("{cause}\n  {counts}")]
    Produce {
        /// The topic.
        topic: TopicName,
        /// Why it ended.
        cause: Box<ProduceStop>,
        /// How far it had come.
        counts: Counts,
    },
    /// The path holds no log.
    #[error("{} is no segment, log or data directory", path.display())]
    NoLog {
        /// The path.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A log is damaged; standard output says where.
    #[error("{problems} problem{} in {}", if *problems == 1 { "" } else { "s" }, path.display())]
    Damaged {
        /// How many.
        problems: u64,
        /// What was looked at.
        path: PathBuf,
    },
    /// The node did not start.
    #[error(transparent)]
    Start(Box<StartError>),
    /// The node stopped by itself.
    #[error("the node stopped: {0}; what was acknowledged is on the disk")]
    NodeFailed(NodeFailure),
    /// A topic cannot be read (on).
    #[error("{source}")]
    Read {
        /// The topic.
        topic: TopicName,
        /// Why.
        source: ReadError,
    },
    /// A group cannot be joined, or its member cannot go on.
    #[error("{source}")]
    Consume {
        /// The topic.
        topic: TopicName,
        /// Why.
        source: Box<ConsumeError>,
    },
    /// The system gives no threads or no event queue.
    #[error("the runtime cannot start: {0}")]
    Runtime(io::Error),
    /// A bug of ours: the verb ended in a panic.
    #[error("the command ended early: {0}")]
    Crashed(tokio::task::JoinError),
    /// The signals of the process cannot be had.
    #[error("the process cannot listen for signals: {0}")]
    Signals(io::Error),
    /// The result cannot be put as JSON.
    #[error("the result cannot be put as JSON: {0}")]
    Json(serde_json::Error),
    /// It was interrupted before it came to its end; the topic of a benchmark is gone.
    #[error("interrupted")]
    Interrupted,
    /// A record of the benchmark was not taken or not acknowledged.
    #[error(transparent)]
    BenchProduce(#[from] SendAndWaitError),
    /// Fewer records came back than were sent.
    #[error("not all of {sent} records arrived in {waited:?} after the last one was sent")]
    BenchLost {
        /// How many were sent.
        sent: u64,
        /// How long was waited.
        waited: Duration,
    },
    /// The histogram of latencies cannot be made.
    #[error("no histogram of latencies could be made")]
    Histogram,
}

impl CliError {
    /// Says which topic a failed request was about.
    pub(crate) fn topic(topic: &TopicName) -> impl Fn(RequestError) -> Self {
        |source| Self::Topic { topic: topic.clone(), source }
    }

    /// Says which topic a group was to read.
    pub(crate) fn consume(topic: &TopicName) -> impl Fn(ConsumeError) -> Self + use<> {
        let topic = topic.clone();
        move |source| Self::Consume { topic: topic.clone(), source: Box::new(source) }
    }

    /// Says which group a failed request was about.
    pub(crate) fn group(group: &str) -> impl Fn(RequestError) -> Self {
        |source| Self::Group { group: group.to_owned(), source, in_use: None }
    }

    /// Says which queue group a failed request was about.
    pub(crate) fn queue(queue: &QueueName) -> impl Fn(RequestError) -> Self {
        |source| Self::Queue { topic: queue.topic.clone(), group: queue.group.clone(), source }
    }

    /// Says which queue group a worker was to work for.
    pub(crate) fn work(queue: &QueueName) -> impl Fn(WorkError) -> Self {
        |source| Self::Work { topic: queue.topic.clone(), group: queue.group.clone(), source: Box::new(source) }
    }

    /// The same for a request that is refused while the group has members, with what to do then.
    pub(crate) fn group_in_use(group: &str, source: RequestError, in_use: &'static str) -> Self {
        Self::Group { group: group.to_owned(), source, in_use: Some(in_use) }
    }

    /// The code to exit with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Connect(ConnectError::Unreachable(_))
            | Self::Health(HealthError::Connect(ConnectError::Unreachable(_))) => UNREACHABLE,
            Self::Connect(_)
            | Self::Health(HealthError::Connect(_))
            | Self::TopicName(_)
            | Self::NeedsYes { .. }
            | Self::NeedsYesTo { .. }
            | Self::OtherData { .. }
            | Self::Config(_)
            | Self::Command { .. }
            | Self::Condition(_)
            | Self::BadLogFilter { .. } => WRONG_USAGE,
            Self::Health(_) => FAILED,
            Self::Request(source)
            | Self::Topic { source, .. }
            | Self::Group { source, .. }
            | Self::Queue { source, .. } => request_exit_code(source),
            Self::Work { source, .. } => work_exit_code(source),
            Self::NoMessage(_) => NOT_FOUND,
            Self::Read { source: ReadError::Topic { source, .. }, .. } => request_exit_code(source),
            Self::Read { source, .. } => source.code().map_or(FAILED, server_exit_code),
            Self::Consume { source, .. } => consume_exit_code(source),
            Self::Produce { cause, .. } => produce_exit_code(cause),
            Self::NoLog { .. } => NOT_FOUND,
            Self::File(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::File(_)
            | Self::Damaged { .. }
            | Self::Start(_)
            | Self::NodeFailed(_)
            | Self::Runtime(_)
            | Self::Crashed(_)
            | Self::Signals(_)
            | Self::Stdout(_)
            | Self::Json(_)
            | Self::Unhealthy { .. }
            | Self::NotYet { .. }
            | Self::NobodyToJoin
            | Self::NoPorts(_)
            | Self::Histogram => FAILED,
            Self::BenchProduce(_) | Self::BenchLost { .. } => FAILED,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// What a person can do about it, where there is something.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Connect(ConnectError::Unreachable(_)) | Self::Request(RequestError::Unreachable(_)) => {
                Some(START_ONE.to_owned())
            }
            Self::Topic { source: RequestError::Unreachable(_), .. }
            | Self::Group { source: RequestError::Unreachable(_), .. }
            | Self::Queue { source: RequestError::Unreachable(_), .. } => Some(START_ONE.to_owned()),
            Self::Queue { topic, group, source } => queue_advice(topic, group, source.code()?),
            Self::Work { topic, group, source } => queue_advice(topic, group, source.code()?),
            Self::Topic { topic, source } => topic_advice(topic, source.code()?),
            Self::Read { topic, source } => topic_advice(topic, source.code()?),
            Self::Consume { topic, source } => topic_advice(topic, source.code()?),
            Self::Group { group, source, in_use } => group_advice(group, source.code()?, *in_use),
            Self::Produce { topic, cause, .. } => match &**cause {
                ProduceStop::Send(SendError::Topic { source, .. }) => topic_advice(topic, source.code()?),
                ProduceStop::Send(SendError::UnknownPartition { .. }) => {
                    topic_advice(topic, ErrorCode::UnknownPartition)
                }
                _ => None,
            },
            Self::Start(error) if matches!(**error, StartError::Bind(_)) => {
                Some("stop what listens there, or choose another port with --listen 127.0.0.1:PORT".to_owned())
            }
            Self::Start(error) if matches!(**error, StartError::BindHttp(_)) => {
                let advice = "stop what listens there, choose another port with --http-listen 127.0.0.1:PORT, or do \
                              without metrics and health over HTTP with --http-listen ''";
                Some(advice.to_owned())
            }
            Self::Start(error) if matches!(**error, StartError::BindKafka(_)) => {
                let advice = "stop what listens there, choose another port with --kafka-listen 127.0.0.1:PORT, or do \
                              without Kafka's protocol with --kafka-listen ''";
                Some(advice.to_owned())
            }
            Self::NeedsYes { .. } | Self::NeedsYesTo { .. } => Some("say --yes if that is what you want".to_owned()),
            Self::NobodyToJoin => {
                Some("give its nodes a cluster.listen and cluster.advertised, and start them again".to_owned())
            }
            _ => None,
        }
    }
}

const START_ONE: &str = "start a node with 'highwater dev', or name one with --server HOST:PORT or HIGHWATER_SERVER";

fn topic_advice(topic: &TopicName, code: ErrorCode) -> Option<String> {
    match code {
        ErrorCode::UnknownTopic => Some(format!("create it with 'highwater topic create {topic}'")),
        ErrorCode::UnknownPartition | ErrorCode::OffsetOutOfRange => {
            Some(format!("'highwater topic describe {topic}' shows what there is"))
        }
        _ => None,
    }
}

fn group_advice(group: &str, code: ErrorCode, in_use: Option<&str>) -> Option<String> {
    match code {
        ErrorCode::GroupNotEmpty => in_use.map(str::to_owned),
        ErrorCode::UnknownGroup => Some("'highwater group list' shows the groups that there are".to_owned()),
        ErrorCode::UnknownMember => Some(format!("'highwater group describe {group}' shows its members")),
        ErrorCode::UnknownTopic | ErrorCode::UnknownPartition => {
            Some("'highwater topic list' shows the topics and how many partitions they have".to_owned())
        }
        _ => None,
    }
}

fn queue_advice(topic: &TopicName, group: &str, code: ErrorCode) -> Option<String> {
    match code {
        ErrorCode::UnknownGroup => Some(format!(
            "make it with 'highwater queue set {topic} --group {group}'; 'highwater queue list {topic}' shows those that there are"
        )),
        ErrorCode::MessageLeased => {
            Some(format!("'highwater queue peek {topic} --group {group}' shows who has it, and for how long"))
        }
        ErrorCode::MessageSettled => {
            Some(format!("'highwater message where {topic}' shows what became of it; 'highwater dlq' is for the dead"))
        }
        other => topic_advice(topic, other),
    }
}

fn request_exit_code(error: &RequestError) -> u8 {
    match error {
        RequestError::Unreachable(_) => UNREACHABLE,
        other => other.code().map_or(FAILED, server_exit_code),
    }
}

fn produce_exit_code(cause: &ProduceStop) -> u8 {
    match cause {
        ProduceStop::Send(SendError::Topic { source, .. }) => request_exit_code(source),
        ProduceStop::Send(SendError::UnknownPartition { .. }) => NOT_FOUND,
        ProduceStop::Delivery(ProduceError::Refused { source, .. }) => server_exit_code(source.code),
        ProduceStop::Interrupted => INTERRUPTED,
        _ => FAILED,
    }
}

fn consume_exit_code(error: &ConsumeError) -> u8 {
    match error {
        ConsumeError::Settings { .. } | ConsumeError::InvalidTopicName { .. } => WRONG_USAGE,
        ConsumeError::Unavailable { .. } => UNREACHABLE,
        other => other.code().map_or(FAILED, server_exit_code),
    }
}

fn work_exit_code(error: &WorkError) -> u8 {
    match error {
        WorkError::Settings { .. } | WorkError::InvalidTopicName { .. } => WRONG_USAGE,
        WorkError::Unavailable { .. } => UNREACHABLE,
        other => other.code().map_or(FAILED, server_exit_code),
    }
}

fn server_exit_code(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::UnknownTopic
        | ErrorCode::UnknownPartition
        | ErrorCode::OffsetOutOfRange
        | ErrorCode::UnknownGroup
        | ErrorCode::UnknownMember => NOT_FOUND,
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_about_a_group_depends_on_the_verb_and_on_what_is_wrong() {
        let advice = |code| group_advice("billing", code, Some("say --force")).unwrap_or_default();
        assert_eq!(advice(ErrorCode::GroupNotEmpty), "say --force");
        assert!(advice(ErrorCode::UnknownGroup).contains("group list"));
        assert!(advice(ErrorCode::UnknownMember).contains("group describe billing"));
        assert_eq!(advice(ErrorCode::Overloaded), "");
    }

    #[test]
    fn what_to_do_about_a_queue_names_it() {
        let topic = TopicName::new("orders").unwrap();
        let advice = |code| queue_advice(&topic, "billing", code).unwrap_or_default();
        assert!(advice(ErrorCode::UnknownGroup).contains("queue set orders --group billing"));
        assert!(advice(ErrorCode::UnknownTopic).contains("topic create orders"));
        assert!(advice(ErrorCode::MessageLeased).contains("queue peek orders --group billing"));
        assert!(advice(ErrorCode::MessageSettled).contains("message where orders"));
    }

    #[test]
    fn what_is_not_there_has_a_code_of_its_own() {
        for code in [ErrorCode::UnknownTopic, ErrorCode::UnknownGroup, ErrorCode::UnknownMember] {
            assert_eq!(server_exit_code(code), NOT_FOUND);
        }
        assert_eq!(server_exit_code(ErrorCode::GroupNotEmpty), FAILED);
    }
}
