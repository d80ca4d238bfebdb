//! Schedules about queues.

use highwater_groups::queue::{AckToken, Answer, Command, GroupId, Outcome, QueueConfig, Reason, WorkerId};
use highwater_storage::disk::sim::CrashMode;
use highwater_types::TopicName;

use super::Topic;
use crate::front::{Request, Response};
use crate::history::{Event, Leased, Queue, QueueEvent};
use crate::network::Machine;
use crate::trace::now;
use crate::world::World;

/// How often the old leader is asked: the first time it has not looked at the messages yet.
const QUESTIONS: usize = 4;

/// A leader is cut off while another one has every message worked off. Clients still reach the old one and ask it for
/// messages: it must not give away what is acked.
pub fn leader_that_gives_away(world: &mut World) {
    let Some((topic, [old, ..])) = world.prepare() else { return };
    let queue = Queue { group: 0, partition: topic.1 };
    if !world.make_queue(old, &topic, queue) || !world.until("all have the queue", World::have_caught_up) {
        return;
    }
    world.cut_off(old);
    let mut new = None;
    let is_elected = world.until("another leader is elected", |world| {
        let nodes = std::rc::Rc::clone(&world.clients.nodes);
        new = nodes.iter().copied().find(|machine| *machine != old && world.leads(*machine));
        new.is_some()
    });
    let Some(new) = new.filter(|_| is_elected) else { return };
    let mut acked = 0;
    let is_worked_off = world.until("the messages are worked off", |world| {
        let tokens = world.acquire(new, &topic, queue, 2);
        acked += tokens.len();
        world.settle(new, &topic, queue, 2, &tokens, &Outcome::Ack);
        acked >= 3
    });
    if !is_worked_off {
        return;
    }
    for _ in 0..QUESTIONS {
        world.steps(20);
        let _given_away = world.acquire(old, &topic, queue, 3);
    }
    world.heal();
    world.finish();
}

/// A leader whose clock is an hour ahead writes down that messages have failed, and is gone. They rest as long as was meant,
/// not until the hour is over.
pub fn rest_by_a_wrong_clock(world: &mut World) {
    let Some((topic, [wrong, ..])) = world.prepare() else { return };
    let queue = Queue { group: 0, partition: topic.1 };
    world.host(wrong).clock_ahead_ms = 3_600_000;
    if !world.make_queue(wrong, &topic, queue) {
        return;
    }
    let mut failed = 0;
    let have_failed = world.until("the messages fail", |world| {
        let tokens = world.acquire(wrong, &topic, queue, 1);
        failed += tokens.len();
        let reason = Reason::new("it went wrong");
        world.settle(wrong, &topic, queue, 1, &tokens, &Outcome::Fail { reason, retry_after_ms: Some(100) });
        failed >= 3
    });
    if !have_failed || !world.until("all know of it", World::have_caught_up) {
        return;
    }
    world.crash(wrong, CrashMode::KeepAll);
    let mut acked = 0;
    world.until("the messages are given again", |world| {
        let Some(new) = world.leader().filter(|new| *new != wrong) else { return false };
        let tokens = world.acquire(new, &topic, queue, 2);
        acked += tokens.len();
        world.settle(new, &topic, queue, 2, &tokens, &Outcome::Ack);
        acked >= 3
    });
    world.heal();
    world.finish();
}

impl World {
    fn make_queue(&mut self, to: Machine, (name, _): &Topic, queue: Queue) -> bool {
        let (group, config) = (group(), QueueConfig::default());
        let request = || Request::MakeQueue { topic: name.clone(), partition: 0, group: group.clone(), config };
        self.history.tell(&Event::Queue(QueueEvent::Made { queue, config }));
        self.until("the queue is made", |world| matches!(world.ask(to, request()), Some(Response::Done)))
    }

    fn acquire(&mut self, to: Machine, (name, _): &Topic, queue: Queue, worker: u64) -> Vec<AckToken> {
        let since = now();
        let command = Command::Acquire { worker: name_of(worker), max: 10 };
        let answer = self.ask(to, in_queue(name, command));
        crate::trace::note!("machine {to} was asked for messages: {answer:?}");
        let Some(Response::Queue(Answer::Acquire(acquired))) = answer else { return Vec::new() };
        let leases = acquired.leases.iter().map(|lease| Leased {
            offset: lease.offset.get(),
            token: lease.token,
            attempt: lease.attempt,
        });
        self.history.tell(&Event::Queue(QueueEvent::Leased { queue, worker, since, leases: leases.collect() }));
        acquired.leases.into_iter().map(|lease| lease.token).collect()
    }

    fn settle(
        &mut self,
        to: Machine,
        (name, _): &Topic,
        queue: Queue,
        worker: u64,
        tokens: &[AckToken],
        outcome: &Outcome,
    ) {
        let outcomes: Vec<(AckToken, Outcome)> = tokens.iter().map(|token| (*token, outcome.clone())).collect();
        let number = self.clients.number();
        let began = QueueEvent::SettleBegan { number, queue, worker, outcomes: outcomes.clone() };
        self.history.tell(&Event::Queue(began));
        let answer = self.ask(to, in_queue(name, Command::Settle { worker: name_of(worker), outcomes }));
        let results = match answer {
            Some(Response::Queue(Answer::Settle(Ok(results)))) => Some(results),
            _ => None,
        };
        self.history.tell(&Event::Queue(QueueEvent::Settled { number, results }));
        // Not in the same millisecond, which would leave open what was before what.
        self.steps(5);
    }
}

fn group() -> GroupId {
    GroupId::new("queue-0").unwrap()
}

fn name_of(worker: u64) -> WorkerId {
    WorkerId::new(&format!("worker-{worker}")).unwrap()
}

fn in_queue(topic: &TopicName, command: Command) -> Request {
    Request::Queue { topic: topic.clone(), partition: 0, group: group(), command }
}
