//! Stream groups: members that share the partitions of all topics, as the session of the gRPC front does it, and an
//! operator of each group who looks at its offsets and now and then sets them back.
//!
//! Invariant: a seek only goes back, so every record is owed to every group.

mod joining;
mod member;
mod mischief;
mod operator;
mod reading;
mod way;

use std::cell::Cell;
use std::rc::Rc;

use highwater_groups::stream::{GroupId, InstanceId};
use tokio::task::spawn_local;

use super::{Clients, Left, pause};
use crate::history::Life;
use member::{End, Member};

/// How many members each group has. The first of each group is static.
const SEATS: [u64; 2] = [3, 2];

/// A group, and whether its members are to leave it for good.
#[derive(Clone)]
pub(super) struct KnownGroup {
    number: usize,
    id: GroupId,
    is_over: Rc<Cell<bool>>,
}

/// One group or two, with their members.
pub fn run(clients: &Clients) {
    let count = 1 + clients.dice().index(SEATS.len());
    for (number, seats) in SEATS.into_iter().take(count).enumerate() {
        let id = GroupId::new(&format!("group-{number}")).unwrap();
        let group = KnownGroup { number, id, is_over: Rc::default() };
        spawn_local(operator::run(clients.clone(), group.clone(), Left::new(clients)));
        for seat in 0..seats {
            spawn_local(sit(clients.clone(), group.clone(), seat, Left::new(clients)));
        }
    }
}

/// One member after another on a seat.
async fn sit(clients: Clients, group: KnownGroup, seat: u64, _left: Left) {
    let mut dice = clients.dice();
    let instance = (seat == 0).then(|| InstanceId::new(&format!("static-{}", group.number)).unwrap());
    let mut ghost = None;
    while !group.is_over.get() {
        let life = Life { group: group.number, seat, number: clients.number() };
        let mut member = Member::new(clients.clone(), group.clone(), life, instance.clone(), ghost.take());
        let end = member.live().await;
        crate::trace::note!("{life}: ends, {end:?}");
        ghost = member.into_ghost(end);
        if !matches!(end, End::Left) || !group.is_over.get() {
            pause(&mut dice, 20..=1_500).await;
        }
    }
}
