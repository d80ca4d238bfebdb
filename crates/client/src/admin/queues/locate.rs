//! "Where is my message?": a record, and what became of it for each queue group.

use std::collections::BTreeMap;

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::{Offset, PartitionId};

use super::status::MessageStatus;
use super::{Admin, service, topic_name};
use crate::reader::ReadRecord;
use crate::request::{Repeat, RequestError, request};

/// What a message is looked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocateBy {
    /// Its place.
    Offset(PartitionId, Offset),
    /// Its key: the newest records with it.
    Key(Bytes),
    /// Its header `message-id`: see [`Record::message_id`](crate::Record::message_id).
    MessageId(String),
}

/// A message, and where it is for each queue group of its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocatedMessage {
    /// The record.
    pub record: ReadRecord,
    /// Where it is, by queue group.
    pub groups: BTreeMap<String, MessageStatus>,
}

impl Admin {
    /// Looks for a message, and tells where it is for each queue group of the topic. Not by key or id in all of a topic:
    /// among the newest records of each partition, `look_back` of them (0: 100,000), and at most `messages_max` are told
    /// (0: 10).
    ///
    /// # Errors
    /// When there is no such topic, partition or offset, or the request fails. A key or an id that is not found is none.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// use highwater_client::LocateBy;
    /// for found in admin.locate("orders", LocateBy::Key("order-17".into()), 0, 0).await? {
    ///     println!("{}-{}: {:?}", found.record.partition, found.record.offset, found.groups);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn locate(
        &self,
        topic: &str,
        by: LocateBy,
        messages_max: u32,
        look_back: u64,
    ) -> Result<Vec<LocatedMessage>, RequestError> {
        let name = topic_name(topic)?;
        let mut message =
            v1::LocateRequest { topic: topic.to_owned(), messages_max, look_back, ..v1::LocateRequest::default() };
        match by {
            LocateBy::Offset(partition, offset) => {
                (message.partition, message.offset) = (Some(partition.get()), Some(offset.to_wire()));
            }
            LocateBy::Key(key) => message.key = Some(key),
            LocateBy::MessageId(id) => message.message_id = id,
        }
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { service(channel).locate(message).await }
        })
        .await?;
        let missing = RequestError::Incomplete { request: "locate", missing: "a record" };
        let located = answer.messages.into_iter().map(|found| {
            let record = ReadRecord::from_wire(&name, PartitionId::new(found.partition), found.record?)?;
            let group =
                |known: v1::LocatedStatus| (known.group, MessageStatus::from_wire(known.status.unwrap_or_default()));
            Some(LocatedMessage { record, groups: found.groups.into_iter().map(group).collect() })
        });
        located.collect::<Option<_>>().ok_or(missing)
    }
}
