//! Where positions are: each is asked of the node that leads its partition, whichever node the client talks to.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use highwater_proto::v1;
use highwater_types::{NodeId, PartitionId, limits};
use tonic::body::Body;
use tonic::codegen::http;

use super::remote::client;
use super::{Read, checked};
use crate::front::failure::Failure;
use crate::front::grpc::proxy::{self, Search, is_search, is_search_there, passed_on};
use crate::front::grpc::wire;

/// How long a leader may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A position that was asked for, and what was found.
#[derive(Debug)]
struct Asked {
    position: v1::PartitionPosition,
    found: Option<v1::PartitionOffset>,
}

impl Read {
    pub(super) async fn lookup(&self, request: http::Request<Body>) -> Result<Vec<Bytes>, Failure> {
        // Also for a client that finds leaders itself: one request may concern many of them.
        let may_pass_on = !proxy::was_passed_on(request.headers());
        let v1::LookupOffsetsRequest { topic, positions } = self.context.control_request(request.into_body()).await?;
        if positions.len() > limits::TOPIC_PARTITIONS_MAX as usize {
            return Err(Failure::invalid("more positions than a topic may have partitions"));
        }
        let positions = positions.into_iter().map(|asked| (asked.partition, asked.position)).collect();
        let offsets = self.lookup_each(&topic, positions, may_pass_on).await?;
        Ok(wire::pieces_of_message(&v1::LookupOffsetsResponse { offsets }))
    }

    /// The offsets of positions in partitions of a topic, in their order, whoever leads them.
    pub(in crate::front::grpc) async fn lookup_positions(
        &self,
        topic: &str,
        positions: Vec<(u32, v1::Position)>,
        may_pass_on: bool,
    ) -> Result<Vec<v1::PartitionOffset>, Failure> {
        let positions = positions.into_iter().map(|(partition, position)| (partition, Some(position))).collect();
        self.lookup_each(topic, positions, may_pass_on).await
    }

    async fn lookup_each(
        &self,
        topic: &str,
        positions: Vec<(u32, Option<v1::Position>)>,
        may_pass_on: bool,
    ) -> Result<Vec<v1::PartitionOffset>, Failure> {
        let asked = positions.into_iter().map(|(partition, position)| Asked {
            position: v1::PartitionPosition { partition, position },
            found: None,
        });
        let mut asked: Vec<Asked> = asked.collect();
        let mut search = Search::start();
        loop {
            let mut elsewhere: BTreeMap<NodeId, (String, Vec<&mut Asked>)> = BTreeMap::new();
            let mut missing = None;
            for asked in asked.iter_mut().filter(|asked| asked.found.is_none()) {
                let failure = match self.lookup_here(topic, asked.position).await {
                    Ok(found) => {
                        asked.found = Some(found);
                        continue;
                    }
                    Err(failure) if may_pass_on && is_search(&failure) => failure,
                    Err(failure) => return Err(failure),
                };
                let id = self.id(topic, asked.position.partition)?;
                let failure = self.context.placed(id, failure);
                if let (Some(leader), Some(address)) = (failure.leader, failure.leader_address.clone()) {
                    elsewhere.entry(leader).or_insert_with(|| (address, Vec::new())).1.push(asked);
                } else {
                    missing = Some(failure);
                }
            }
            let there = elsewhere
                .into_iter()
                .map(|(leader, (address, asked))| self.lookup_there(topic, leader, address, asked));
            for result in join_all(there).await {
                match result {
                    Ok(()) => {}
                    Err(failure) if is_search_there(&failure) => missing = Some(failure),
                    Err(failure) => return Err(failure),
                }
            }
            match missing {
                Some(failure) => search.pause(failure).await?,
                None => break,
            }
        }
        Ok(asked.into_iter().filter_map(|asked| asked.found).collect())
    }

    async fn lookup_here(&self, topic: &str, asked: v1::PartitionPosition) -> Result<v1::PartitionOffset, Failure> {
        let v1::PartitionPosition { partition, position } = asked;
        let handle = self.context.partition(topic, PartitionId::new(partition))?;
        let found = handle.resolve(checked(&handle, position)?).await?;
        let marks = handle.watermarks();
        Ok(v1::PartitionOffset {
            partition,
            offset: found.offset.to_wire(),
            timestamp_ms: found.timestamp.map(highwater_types::Timestamp::as_ms),
            log_start: marks.log_start.to_wire(),
            high_watermark: marks.committed.to_wire(),
        })
    }

    /// Asks one leader for all that it leads.
    async fn lookup_there(
        &self,
        topic: &str,
        leader: NodeId,
        address: String,
        asked: Vec<&mut Asked>,
    ) -> Result<(), Failure> {
        let positions: Vec<_> = asked.iter().map(|asked| asked.position).collect();
        let ids = positions.iter().map(|position| self.id(topic, position.partition));
        let ids = ids.collect::<Result<Vec<_>, Failure>>()?;
        let request = passed_on(v1::LookupOffsetsRequest { topic: topic.to_owned(), positions });
        let send = async |channel| client(channel).lookup_offsets(request).await;
        let result = self.context.proxy.call(leader, &address, PATIENCE, send).await.map_err(super::remote::repeatable);
        match (&result, ids.as_slice()) {
            // Which of several it does not lead is not said: they are guessed anew.
            (Err(failure), [_, _, ..]) if is_search_there(failure) => {
                ids.iter().for_each(|id| self.context.proxy.learn(*id, None));
            }
            _ => ids.iter().for_each(|id| self.context.learn_of(*id, leader, &result)),
        }
        for (asked, found) in asked.into_iter().zip(result?.offsets) {
            asked.found = Some(found);
        }
        Ok(())
    }
}
