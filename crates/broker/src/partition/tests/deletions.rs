//! Records are deleted: by an entry of the log, so on every replica, through restarts and crashes.

use super::cluster::Three;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_was_answered_survives_the_loss_of_power() {
    let run = Running::new().await;
    run.append(batch(3, 20, None)).await.unwrap();
    run.append(batch(2, 20, None)).await.unwrap();
    assert_eq!(run.handle.delete_below(offset(4)).await.unwrap(), offset(4));
    assert_eq!(run.handle.delete_below(offset(2)).await.unwrap(), offset(4), "it never goes back");
    let beyond = run.handle.delete_below(offset(6)).await.unwrap_err();
    assert_eq!(beyond.code(), ErrorCode::OffsetOutOfRange);
    let run = run.crash().await;
    assert_eq!(run.handle.watermarks().log_start, offset(4));
    assert_eq!(run.read(3).await.unwrap_err().code(), ErrorCode::OffsetOutOfRange);
    assert_eq!((run.read(4).await.unwrap().batches.len(), run.read(4).await.unwrap().log_start), (1, offset(4)));
    assert_eq!(run.handle.resolve(Position::Timestamp(Timestamp::from_ms(0))).await.unwrap().offset, offset(4));
    // By a checkpoint, too.
    let run = run.restart().await;
    assert_eq!(run.handle.resolve(Position::Start).await.unwrap().offset, offset(4));
    assert_eq!(run.handle.delete_below(offset(5)).await.unwrap(), offset(5));
    assert_eq!(base(&run.append(batch(1, 20, None)).await.unwrap()), 5);
    assert_eq!(run.read(5).await.unwrap().next_offset, offset(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_segments_of_what_was_deleted_go_and_the_rest_stays() {
    let mut rig = Rig::new();
    rig.options = LogOptions { segment_bytes_max: 4_096, ..LogOptions::default() };
    let run = Running::on(rig).await;
    for _ in 0..60 {
        run.append(batch(1, 400, None)).await.unwrap();
    }
    run.partition.maintain().await.unwrap();
    let before = run.handle.size_bytes();
    run.partition.retain(RetentionPolicy::default(), &QueueRetention::None).await.unwrap();
    assert_eq!(run.handle.size_bytes(), before, "nothing was deleted yet");
    run.handle.delete_below(offset(35)).await.unwrap();
    run.partition.retain(RetentionPolicy::default(), &QueueRetention::None).await.unwrap();
    let log_start = run.handle.reader.log.state().log_start;
    assert!(run.handle.size_bytes() < before, "{} of {before}", run.handle.size_bytes());
    assert!(Offset::ZERO < log_start && log_start < offset(35), "whole segments only: {log_start}");
    let run = run.restart().await;
    assert_eq!(run.handle.watermarks().log_start, offset(35), "not the start of a segment");
    assert_eq!(run.read(34).await.unwrap_err().code(), ErrorCode::OffsetOutOfRange);
    assert_eq!(run.read(35).await.unwrap().next_offset, offset(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_knows_and_only_the_leader_deletes() {
    let three = Three::start().await;
    let leader = three.leader(&[]).await;
    leader.run.append(batch(5, 20, None)).await.unwrap();
    leader.run.handle.delete_below(offset(3)).await.unwrap();
    // Behind the deletion, so that who has this has that.
    leader.run.append(batch(1, 20, None)).await.unwrap();
    three.until_committed(6).await;
    for member in &three.members {
        assert_eq!(member.run.handle.watermarks().log_start, offset(3));
        let follow = ReadFrom { may_follow: true, ..from_offset(2) };
        assert_eq!(member.run.handle.read(follow).await.unwrap_err().code(), ErrorCode::OffsetOutOfRange);
    }
    let follower = three.members.iter().find(|member| member.node != leader.node).unwrap();
    let refused = follower.run.handle.delete_below(offset(5)).await.unwrap_err();
    assert_eq!(refused, DeleteError::NotLeader { leader: Some(leader.node) });
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_deletions_at_once_end_at_the_furthest() {
    let run = Running::new().await;
    run.append(batch(20, 20, None)).await.unwrap();
    let deletions = (0..=20).map(|below| run.handle.delete_below(offset(below)));
    for begins in futures_util::future::join_all(deletions).await {
        assert!(begins.unwrap() <= offset(20));
    }
    assert_eq!(run.handle.watermarks().log_start, offset(20));
    assert_eq!(run.restart().await.handle.watermarks().log_start, offset(20));
}
