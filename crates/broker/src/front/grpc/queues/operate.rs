//! Operating: groups made, set, paused and deleted; messages put off and called off.

use bytes::Bytes;
use highwater_groups::queue::{Answer, Command, GroupId, QueueConfig, Reason};
use highwater_proto::v1;
use highwater_types::{ErrorCode, Offset, PartitionId, Timestamp, TopicName, TopicPartition};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::{Response, Status};

use super::calls::{Asked, Client, Here, by_partition, group_of};
use super::outcomes::mismatched;
use super::{Queues, pieces, settings};
use crate::front::failure::Failure;
use crate::front::grpc::proxy::passed_on;

impl Queues {
    /// Makes a group or changes its settings. All partitions get the same: those of the first partition, changed.
    pub(super) async fn set(&self, request: http::Request<Body>) -> Result<Vec<Bytes>, Failure> {
        let (request, may_pass_on) = self.read_call::<v1::SetQueueRequest>(request).await?;
        let group = group_of(&request.group)?;
        if request.partition.is_some() {
            return Ok(pieces(&self.ask_each(&request, may_pass_on).await?));
        }
        let now = self.settings_of(&request.topic, &group, may_pass_on).await?;
        let config = settings::changed(now.unwrap_or_default(), &request.settings.unwrap_or_default())?;
        let whole = v1::SetQueueRequest { settings: Some(settings::to_wire(&config)), ..request };
        let answer = self.ask_each(&whole, may_pass_on).await?;
        Ok(pieces(&v1::SetQueueResponse { is_new: now.is_none(), ..answer }))
    }

    /// The settings of a group, as its first partition has them; nothing where there is no such group.
    pub(super) async fn settings_of(
        &self,
        topic: &str,
        group: &GroupId,
        may_pass_on: bool,
    ) -> Result<Option<QueueConfig>, Failure> {
        let id = TopicPartition {
            topic: self.context.router.topic(&TopicName::new(topic)?)?.id,
            partition: PartitionId::new(0),
        };
        let request =
            v1::DescribeQueueRequest { topic: topic.to_owned(), group: group.to_string(), partition: Some(0) };
        match self.at(id, &request, may_pass_on).await {
            Ok(answer) => {
                let told = answer.settings.unwrap_or_default();
                Ok(Some(settings::changed(QueueConfig::default(), &told)?))
            }
            Err(failure) if failure.code == ErrorCode::UnknownGroup => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Makes sure that a group is there in every partition, or in one: who begins to work need not ask for it.
    pub(super) async fn prepare(
        &self,
        topic: &str,
        group: &GroupId,
        partition: Option<u32>,
        may_pass_on: bool,
    ) -> Result<QueueConfig, Failure> {
        // Between nodes: who passed it on has prepared it.
        if !may_pass_on {
            return Ok(QueueConfig::default());
        }
        let config = self.settings_of(topic, group, may_pass_on).await?.unwrap_or_default();
        let request = v1::SetQueueRequest {
            topic: topic.to_owned(),
            group: group.to_string(),
            // As the first partition has it, where it is missing.
            settings: Some(settings::to_wire(&config)),
            from_end: false,
            partition,
            if_missing: true,
        };
        self.ask_each(&request, may_pass_on).await?;
        Ok(config)
    }
}

impl Asked for v1::SetQueueRequest {
    type Answer = v1::SetQueueResponse;

    by_partition!(set_queue);

    async fn here(&self, here: Here<'_>) -> Result<Self::Answer, Failure> {
        let (group, queues) = (group_of(&self.group)?, here.handle.queues());
        let settings = self.settings.unwrap_or_default();
        let now = queues.config(&group);
        let config = settings::changed(now.unwrap_or_default(), &settings)?;
        let is_new = now.is_none() && queues.create(&group, config, self.from_end).await?;
        if is_new || self.if_missing {
            return Ok(v1::SetQueueResponse { settings: Some(settings::to_wire(&config)), is_new });
        }
        match queues.ask(&group, Command::Configure { config }).await? {
            Answer::Configure(result) => result?,
            other => return Err(mismatched(&other)),
        }
        Ok(v1::SetQueueResponse { settings: Some(settings::to_wire(&config)), is_new })
    }

    fn joined(&self, answers: Vec<Self::Answer>) -> Self::Answer {
        answers.into_iter().next().unwrap_or_default()
    }
}

/// Has a command without an answer of its own done.
async fn done(here: &Here<'_>, group: &GroupId, command: Command) -> Result<(), Failure> {
    match here.handle.queues().ask(group, command).await? {
        Answer::Done => Ok(()),
        Answer::Move(result) => Ok(result?),
        other => Err(mismatched(&other)),
    }
}

/// Requests that are done in every partition, with nothing to tell.
macro_rules! done_by_partition {
    ($($Request:ident: $method:ident => $Answer:ident, |$request:ident| $command:expr;)+) => {
        $(impl Asked for v1::$Request {
            type Answer = v1::$Answer;

            by_partition!($method);

            async fn here(&self, here: Here<'_>) -> Result<Self::Answer, Failure> {
                let $request = self;
                done(&here, &group_of(&self.group)?, $command).await?;
                Ok(v1::$Answer {})
            }

            fn joined(&self, _: Vec<Self::Answer>) -> Self::Answer {
                v1::$Answer {}
            }
        })+
    };
}

done_by_partition! {
    DeleteQueueRequest: delete_queue => DeleteQueueResponse, |_request| Command::Delete;
    PauseQueueRequest: pause_queue => PauseQueueResponse, |request| Command::Pause { reason: Reason::new(&request.reason) };
    ResumeQueueRequest: resume_queue => ResumeQueueResponse, |_request| Command::Resume;
}

/// Requests about one message.
macro_rules! about_a_message {
    ($($Request:ident: $method:ident => $Answer:ident, |$request:ident, $offset:ident| $command:expr;)+) => {
        $(impl Asked for v1::$Request {
            type Answer = v1::$Answer;

            fn topic(&self) -> &str {
                &self.topic
            }

            fn partition(&self) -> Option<u32> {
                Some(self.partition)
            }

            fn of_partition(&self, partition: u32) -> Self {
                Self { partition, ..self.clone() }
            }

            async fn here(&self, here: Here<'_>) -> Result<Self::Answer, Failure> {
                let ($request, $offset) = (self, offset_of(self.offset)?);
                done(&here, &group_of(&self.group)?, $command).await?;
                Ok(v1::$Answer {})
            }

            async fn there(self, mut client: Client) -> Result<Response<Self::Answer>, Status> {
                client.$method(passed_on(self)).await
            }

            fn joined(&self, _: Vec<Self::Answer>) -> Self::Answer {
                v1::$Answer {}
            }
        })+
    };
}

about_a_message! {
    RescheduleRequest: reschedule => RescheduleResponse, |request, offset| {
        Command::Reschedule { offset, deliver_at: Timestamp::from_ms(request.deliver_at_ms) }
    };
    CancelRequest: cancel => CancelResponse, |_request, offset| Command::Cancel { offset };
}

pub(super) fn offset_of(offset: i64) -> Result<Offset, Failure> {
    Offset::from_wire(offset).ok_or_else(|| Failure::invalid(format!("offset {offset} is below 0")))
}
