#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
//! A coordinator through its handle, on a simulated disk.

use highwater_groups::stream::command::{
    CommitOffsets, Identity, JoinError, JoinGroup, Joined, Leaver, NewOffset, SyncError, SyncGroup,
};
use highwater_groups::stream::{
    Answer, Client, ClientHost, ClientId, Command, GroupId, MemberId, Protocol, ProtocolName, ProtocolType,
};
use highwater_storage::disk::sim::CrashMode;
use highwater_types::{Offset, PartitionId, TopicId, TopicPartition};

use super::*;
use crate::raft::tests::rig::{KEY, NODE, Rig};

struct Running {
    rig: Rig,
    coordinator: Coordinator,
    handle: CoordinatorHandle,
    images: watch::Sender<Arc<MetadataImage>>,
}

impl Running {
    async fn new() -> Self {
        Self::on(Rig::new()).await
    }

    async fn on(rig: Rig) -> Self {
        let images = watch::Sender::new(Arc::default());
        let config = Config { initial_rebalance_delay_ms: 0, ..Config::default() };
        let spec = CoordinatorSpec {
            name: "groups-0".to_owned(),
            key: KEY,
            log: rig.log(),
            votes: Arc::clone(rig.data.votes()),
            node: NODE,
            first_voters: vec![NODE],
            network: PeerNetwork::alone(),
            clock: rig.clock.clone(),
            images: images.subscribe(),
            config,
        };
        let coordinator = Coordinator::open(spec).await.unwrap();
        coordinator.wait_until_serving().await.unwrap();
        let handle = coordinator.handle();
        Self { rig, coordinator, handle, images }
    }

    async fn restart(self) -> Self {
        let Self { rig, coordinator, handle, .. } = self;
        drop(handle);
        coordinator.shutdown().await;
        Self::on(rig.restart()).await
    }

    /// The power goes without warning.
    async fn crash(self) -> Self {
        let Self { rig, coordinator, handle, .. } = self;
        rig.disk.crash(CrashMode::LosePending);
        coordinator.stop.cancel();
        coordinator.replica().stop_abruptly().await;
        coordinator.task.await.unwrap();
        drop((coordinator.handle, coordinator.log, handle));
        Self::on(rig.crash()).await
    }

    async fn ask(&self, command: Command) -> Answer {
        self.handle.ask(command).await.unwrap()
    }

    /// Joins and syncs; the first time with an id that has to be asked for.
    async fn join(&self, group: &str, member: Option<MemberId>) -> Joined {
        match self.ask(Command::Join(join(group, member))).await {
            Answer::Join(Ok(joined)) => {
                let by = Identity { member: joined.member.clone(), instance: None, generation: joined.generation };
                let sync =
                    SyncGroup { group: id(group), by, protocol_type: None, protocol: None, assignments: Vec::new() };
                match self.ask(Command::Sync(sync)).await {
                    Answer::Sync(Ok(_)) => joined,
                    // Somebody else came or went meanwhile.
                    Answer::Sync(Err(SyncError::RebalanceInProgress { .. })) => {
                        Box::pin(self.join(group, Some(joined.member))).await
                    }
                    other => panic!("{other:?}"),
                }
            }
            Answer::Join(Err(JoinError::MemberIdRequired { member, .. })) => {
                Box::pin(self.join(group, Some(member))).await
            }
            other => panic!("{other:?}"),
        }
    }

    async fn leave(&self, group: &str, member: &MemberId) {
        let members = vec![Leaver { member: Some(member.clone()), instance: None }];
        let left = self.ask(Command::Leave { group: id(group), members }).await;
        assert!(matches!(&left, Answer::Leave(Ok(left)) if left[0].result.is_ok()), "{left:?}");
    }

    async fn commit(&self, group: &str, next: u64) -> Result<Answer, CoordinatorError> {
        let new = NewOffset { offset: offset(next), leader_epoch: None, metadata: String::new() };
        let offsets = vec![(AT, new)];
        let commit = CommitOffsets { group: id(group), by: None, retention_ms: None, offsets, is_beginning: false };
        self.handle.ask(Command::CommitOffsets(commit)).await
    }

    fn committed(&self, group: &str) -> Option<Offset> {
        Some(self.handle.image().group(&id(group))?.offsets.get(AT)?.offset)
    }
}

const AT: TopicPartition = TopicPartition { topic: TopicId::from_bytes([7; 16]), partition: PartitionId::new(0) };

fn id(group: &str) -> GroupId {
    GroupId::new(group).unwrap()
}

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

fn join(group: &str, member: Option<MemberId>) -> JoinGroup {
    JoinGroup {
        group: id(group),
        member,
        instance: None,
        client: Client { id: ClientId::new("test").unwrap(), host: ClientHost::new("").unwrap() },
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: ProtocolType::session(),
        protocols: vec![Protocol { name: ProtocolName::new("range").unwrap(), metadata: bytes::Bytes::new() }],
        subscription: Some(vec![AT.topic]),
        owned: Vec::new(),
        needs_known_id: true,
        can_skip_assignment: true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_stop_and_a_power_cut() {
    let running = Running::new().await;
    running.commit("readers", 7).await.unwrap();
    let member = running.join("workers", None).await;
    let running = running.restart().await;
    assert_eq!(running.committed("readers"), Some(offset(7)));
    running.commit("readers", 9).await.unwrap();
    let running = running.crash().await;
    assert_eq!(running.committed("readers"), Some(offset(9)));
    let by = Identity { member: member.member.clone(), instance: None, generation: member.generation };
    let beat = running.ask(Command::Heartbeat { group: id("workers"), by }).await;
    assert_eq!(beat, Answer::Heartbeat(Ok(())), "the member is one still");
    running.coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_joins_and_leaves_take_less_than_a_minute_and_leave_nothing_behind() {
    let running = Running::new().await;
    let began = running.rig.clock.instant();
    let some = (0..20).map(|group| {
        let running = &running;
        async move {
            let group = format!("workers-{}", group % 10);
            for _ in 0..500 {
                let joined = running.join(&group, None).await;
                running.leave(&group, &joined.member).await;
            }
        }
    });
    futures_util::future::join_all(some).await;
    let took = running.rig.clock.instant().duration_since(began);
    assert!(took < Duration::from_secs(60), "{took:?}");
    let image = running.handle.image();
    assert_eq!(image.len(), 10);
    assert!(image.groups().all(|(_, group)| group.members.is_empty()));
    assert!(image.to_bytes().len() < 16 * 1024, "{} bytes", image.to_bytes().len());
    running.coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_stands_for_what_was_before_it() {
    let running = Running::new().await;
    for next in 0..200 {
        running.commit("readers", next).await.unwrap();
    }
    running.coordinator.maintain().await.unwrap();
    let running = running.restart().await;
    assert_eq!(running.committed("readers"), Some(offset(199)));
    running.coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_what_writes_and_answers_the_rest() {
    let running = Running::new().await;
    let member = running.join("workers", None).await;
    running.commit("readers", 7).await.unwrap();
    running.rig.disk.set_capacity(Some(0));
    // What the disk has set aside for the log is used up first.
    let mut next = 7;
    let refused = loop {
        match running.commit("readers", next + 1).await {
            Ok(_) => next += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, CoordinatorError::DiskFull { .. }), "{refused}");
    assert_eq!(refused.code(), highwater_types::ErrorCode::DiskFull);
    let by = Identity { member: member.member.clone(), instance: None, generation: member.generation };
    let beat = running.ask(Command::Heartbeat { group: id("workers"), by }).await;
    assert_eq!(beat, Answer::Heartbeat(Ok(())), "nobody is out because the disk is full");
    assert_eq!(running.committed("readers"), Some(offset(next)));
    running.rig.disk.set_capacity(None);
    running.commit("readers", next + 1).await.unwrap();
    assert_eq!(running.committed("readers"), Some(offset(next + 1)));
    running.coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_go_take_their_offsets_along() {
    let running = Running::new().await;
    running.commit("readers", 7).await.unwrap();
    let topic = |id: TopicId| highwater_metadata::Topic {
        id,
        name: highwater_types::TopicName::new("orders").unwrap(),
        created_at: highwater_types::Timestamp::from_ms(0),
        replicas: 1,
        partitions: Vec::new(),
        settings: highwater_metadata::TopicSettings::default(),
    };
    let mut image = MetadataImage::default();
    let index = highwater_types::LogIndex::new;
    image.replay_entry(index(1), &[highwater_metadata::MetadataRecord::TopicCreated(topic(AT.topic))]);
    running.images.send_replace(Arc::new(image.clone()));
    running.commit("readers", 8).await.unwrap();
    assert_eq!(running.committed("readers"), Some(offset(8)));
    image.replay_entry(index(2), &[highwater_metadata::MetadataRecord::TopicDeleted { topic: AT.topic }]);
    running.images.send_replace(Arc::new(image));
    let gone = async {
        while running.committed("readers").is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the offsets go");
    running.coordinator.shutdown().await;
}
