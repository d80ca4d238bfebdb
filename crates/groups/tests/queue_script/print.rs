//! Answers and images as lines of a script.

use std::fmt::{self, Write as _};

use highwater_groups::queue::command::{Acquired, Moved};
use highwater_groups::queue::{Answer, QueuesImage, Reply, Settled, Standing, Stats};

pub(crate) fn replies(replies: &[Reply]) -> String {
    let mut text = String::new();
    replies.iter().for_each(|Reply { to, answer }| writeln!(text, "{to}: {}", self::answer(answer)).unwrap());
    text
}

fn result<T, E: fmt::Display>(result: &Result<T, E>, show: impl FnOnce(&T) -> String) -> String {
    match result {
        Ok(value) => show(value),
        Err(error) => format!("refused: {error}"),
    }
}

fn answer(answer: &Answer) -> String {
    let done = |_: &()| "done".to_owned();
    match answer {
        Answer::Acquire(acquired) => leases(acquired),
        Answer::Settle(answer) => result(answer, |results| {
            let mut texts: Vec<_> = results.iter().map(|one| result(one, settled)).collect();
            texts.dedup();
            texts.join("; ")
        }),
        Answer::Move(answer) => result(answer, done),
        Answer::Dead(answer) => result(answer, |Moved { messages, has_more }| {
            format!("{messages} messages{}", if *has_more { " and more" } else { "" })
        }),
        Answer::Configure(answer) => result(answer, done),
        Answer::Done => "done".to_owned(),
    }
}

fn leases(acquired: &Acquired) -> String {
    let mut text = "leased".to_owned();
    for lease in &acquired.leases {
        write!(text, " {}#{}", lease.offset, lease.token.serial).unwrap();
        if lease.attempt > 1 {
            write!(text, "(attempt {})", lease.attempt).unwrap();
        }
    }
    if let Some(stall) = acquired.stall {
        write!(text, " and no more: {stall:?}").unwrap();
    }
    text
}

fn settled(settled: &Settled) -> String {
    match settled {
        Settled::Acked => "acked".to_owned(),
        Settled::AlreadyDone => "already done".to_owned(),
        Settled::Released => "released".to_owned(),
        Settled::WillRetry { attempts, after_ms } => format!("failed {attempts} times, again in {after_ms} ms"),
        Settled::Dead { cause } => format!("dead: {cause:?}"),
        Settled::Extended { deadline } => format!("extended to {deadline}"),
    }
}

pub(crate) fn stats(stats: &Stats) -> String {
    let Stats { ready, blocked, delayed, resting, leased, settling, dead, unseen, workers, .. } = stats;
    let Stats { acked, dropped, trimmed, done_ranges, is_full, .. } = stats;
    format!(
        "ready={ready} blocked={blocked} delayed={delayed} resting={resting} leased={leased} settling={settling} \
         dead={dead} unseen={unseen} workers={workers} acked={acked} dropped={dropped} trimmed={trimmed} \
         ranges={done_ranges} full={is_full}\n"
    )
}

pub(crate) fn image(image: &QueuesImage) -> String {
    let mut text = String::new();
    for (group, queue) in image.queues() {
        write!(text, "queue {group} start={}", queue.start()).unwrap();
        queue.done().iter().for_each(|range| write!(text, " {range}").unwrap());
        if let Some(pause) = queue.pause() {
            write!(text, " paused by {:?}: {}", pause.by, pause.reason).unwrap();
        }
        text.push('\n');
        let everything = highwater_types::OffsetRange::new(queue.start(), highwater_types::Offset::MAX);
        for (offset, entry) in queue.entries(everything) {
            let standing = match entry.standing {
                Standing::Retry { at } => format!("retry at {at}"),
                Standing::Scheduled { deliver_at } => format!("scheduled at {deliver_at}"),
                Standing::Dead { cause, at } => format!("dead since {at}: {cause:?}"),
            };
            let kept = if queue.kept(offset).is_some() { ", its record kept" } else { "" };
            let (attempts, journal) = (entry.attempts, entry.journal.len());
            writeln!(text, "  {offset} attempts={attempts} {standing}, {journal} in the journal{kept}").unwrap();
        }
    }
    text
}
