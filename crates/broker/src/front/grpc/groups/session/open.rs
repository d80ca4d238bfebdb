//! What a client opens its session with, checked once.

use highwater_groups::stream::{
    Assignor, Client, ClientHost, ClientId, GenerationId, InstanceId, MemberId, Protocol, ProtocolName,
};
use highwater_proto::v1;
use highwater_types::{Offset, limits};

use super::subscription::Subscription;
use crate::front::failure::Failure;
use crate::front::grpc::convert::bytes_of;

const SESSION_TIMEOUT_MS: u32 = 45_000;
const REBALANCE_TIMEOUT_MS: u32 = 60_000;
/// The bytes of one message unless the client says otherwise.
const MESSAGE_BYTES: usize = 1 << 20;

/// How a member begins, or goes on after its stream broke.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) member: Option<MemberId>,
    /// The generation that it was last told of.
    pub(super) generation: Option<GenerationId>,
    pub(super) instance: Option<InstanceId>,
    pub(super) client: Client,
    pub(super) subscription: Subscription,
    pub(super) session_timeout_ms: u32,
    pub(super) rebalance_timeout_ms: u32,
    pub(super) protocols: Vec<Protocol>,
    /// What it holds from before, and where it goes on.
    pub(super) held: Vec<(v1::PartitionName, Offset)>,
    pub(super) credit: u64,
    pub(super) reading: Reading,
}

/// How its partitions are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) reset: v1::OffsetReset,
    pub(super) form: v1::Form,
    pub(super) bytes_max: u32,
    pub(super) may_follow: bool,
}

impl Opening {
    pub(super) fn of(open: &v1::SessionOpen, host: String) -> Result<Self, Failure> {
        let unless = |given: u32, default: u32| if given == 0 { default } else { given };
        let bytes_max = bytes_of(open.bytes_max, MESSAGE_BYTES, limits::READ_BYTES_MAX);
        let reset = match open.reset() {
            v1::OffsetReset::Unspecified => v1::OffsetReset::Earliest,
            reset => reset,
        };
        let held = open.held.iter().map(|held| {
            let position = Offset::from_wire(held.position)
                .ok_or_else(|| Failure::invalid(format!("a partition is held at offset {}", held.position)))?;
            Ok((v1::PartitionName { topic: held.topic.clone(), partition: held.partition }, position))
        });
        let member = some(&open.member_id).map(MemberId::new).transpose()?;
        Ok(Self {
            generation: member.as_ref().filter(|_| open.generation > 0).map(|_| GenerationId::new(open.generation)),
            member,
            instance: some(&open.instance_id).map(InstanceId::new).transpose()?,
            client: Client { id: ClientId::new(&open.client_id)?, host: ClientHost::new(&host)? },
            subscription: Subscription::of(open.subscription.clone().unwrap_or_default())?,
            session_timeout_ms: unless(open.session_timeout_ms, SESSION_TIMEOUT_MS),
            rebalance_timeout_ms: unless(open.rebalance_timeout_ms, REBALANCE_TIMEOUT_MS),
            protocols: protocols(&open.assignors)?,
            held: held.collect::<Result<_, Failure>>()?,
            credit: open.credit_bytes,
            reading: Reading {
                reset,
                form: open.form(),
                bytes_max: u32::try_from(bytes_max).unwrap_or(u32::MAX),
                may_follow: open.may_follow,
            },
        })
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// The assignors by the names of which members vote; there is nothing to say to them.
fn protocols(names: &[String]) -> Result<Vec<Protocol>, Failure> {
    let default = [Assignor::CooperativeSticky.name().to_owned()];
    let names = if names.is_empty() { &default[..] } else { names };
    let protocol = |name: &String| match Assignor::from_name(name) {
        Some(_) => Ok(Protocol { name: ProtocolName::new(name)?, metadata: bytes::Bytes::new() }),
        None => Err(Failure::invalid(format!(
            "there is no assignor '{name}'; there are cooperative-sticky, sticky, range and roundrobin"
        ))),
    };
    names.iter().map(protocol).collect()
}
