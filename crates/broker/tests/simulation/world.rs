//! The world of one run: machines, network and clients, stepped by one thread, millisecond by millisecond.
//!
//! ```text
//!   start ─► faults and clients ─► heal ─► clients finish ─► replicas become equal ─► everything is read and compared
//! ```

mod ending;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_broker::node::{NodeNetwork, NodeOptions};
use highwater_broker::runtime::{Simulation, simulate};
use tokio::runtime::{Builder, RngSeed, Runtime};
use tokio::task::LocalSet;

use crate::dice::Dice;
use crate::faults::{Faults, Kind};
use crate::history::{Event, History, Partition};
use crate::host::{End, Host};
use crate::invariants::Violation;
use crate::network::{Machine, Network};
use crate::panics;
use crate::peers::{self, SimTransport};
use crate::trace::{self, note};
use crate::watchdog::{self, Watched};
use crate::workload::{Clients, admin, groups, queues};

/// How often replicas are looked at, in milliseconds.
const LOOK_MS: u64 = 5;
/// How long a cluster without faults may take for anything, in virtual milliseconds.
const PATIENCE_MS: u64 = 60_000;

/// What a run is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub nodes: usize,
    pub faults: &'static [Kind],
    /// Whether stream groups and queues take part.
    pub has_groups: bool,
    /// How long faults happen, in virtual milliseconds.
    pub faults_ms: u64,
    /// A bug that is planted, to see whether it is caught.
    pub bug: Option<Bug>,
    /// Prints the trace as it comes.
    pub shows: bool,
}

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    Broker(highwater_broker::planted::Bug),
    Groups(highwater_groups::planted::Bug),
    Storage(highwater_storage::planted::Bug),
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    pub violations: Vec<Violation>,
    pub fired: BTreeMap<Kind, u64>,
    pub counts: BTreeMap<&'static str, u64>,
    pub false_alarms: u64,
    pub virtual_ms: u64,
    pub fingerprint: u64,
    pub lines: Vec<u64>,
}

pub struct World {
    pub now: u64,
    pub network: Network,
    pub hosts: Vec<Host>,
    pub clients: Clients,
    runtime: Runtime,
    pub local: LocalSet,
    pub history: History,
    faults: Faults,
    is_healed: bool,
    /// The only copy is damaged, and its node rightly refuses to start.
    is_over: bool,
    simulation: Simulation,
    seen: BTreeMap<(Partition, Machine), (u64, u64, bool, u64, u64)>,
    false_alarms: u64,
}

/// Runs one seed: clients and faults by chance.
pub fn run(seed: u64, plan: Plan) -> Report {
    run_life(seed, plan, |world| world.live(plan))
}

/// Runs one seed of the life that the world is given.
pub fn run_life(seed: u64, plan: Plan, life: impl FnOnce(&mut World)) -> Report {
    trace::begin(plan.shows);
    let (_watch, _watched) = (panics::watch(), Watched::new(seed));
    plant(plan.bug);
    let mut world = World::new(seed, plan);
    life(&mut world);
    plant(None);
    let World { history, faults, false_alarms, now, .. } = world;
    let (fingerprint, lines) = trace::end();
    Report {
        violations: history.violations(),
        fired: faults.fired,
        counts: history.counts(),
        false_alarms,
        virtual_ms: now,
        fingerprint,
        lines,
    }
}

/// In a release build there is nothing to plant.
#[cfg(debug_assertions)]
fn plant(bug: Option<Bug>) {
    use highwater_broker::planted as broker;
    use highwater_groups::planted as groups;
    use highwater_storage::planted as storage;
    broker::plant(None);
    groups::plant(None);
    storage::plant(None);
    match bug {
        Some(Bug::Broker(bug)) => broker::plant(Some(bug)),
        Some(Bug::Groups(bug)) => groups::plant(Some(bug)),
        Some(Bug::Storage(bug)) => storage::plant(Some(bug)),
        None => {}
    }
}

#[cfg(not(debug_assertions))]
fn plant(_: Option<Bug>) {}

impl World {
    fn new(seed: u64, plan: Plan) -> Self {
        let mut dice = Dice::new(seed);
        let simulation = simulate(dice.next());
        let network = Network::new(dice.part());
        let machines: Vec<Machine> = (1..=plan.nodes).collect();
        let hosts = machines.iter().map(|machine| Host::new(*machine, dice.part(), network.clone())).collect();
        let history = History::new();
        let clients = Clients::new(network.clone(), history.clone(), machines, dice.part());
        let rng: [u8; 32] = std::array::from_fn(|_| dice.next() as u8);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&rng))
            .build()
            .unwrap();
        Self {
            now: 0,
            network,
            hosts,
            clients,
            runtime,
            local: LocalSet::new(),
            history,
            faults: Faults::new(plan.faults, dice.part(), u64::MAX),
            is_healed: true,
            is_over: false,
            simulation,
            seen: BTreeMap::new(),
            false_alarms: 0,
        }
    }

    fn live(&mut self, plan: Plan) {
        if !self.form() {
            return;
        }
        let clients = self.clients.clone();
        self.local.spawn_local(async move {
            if plan.has_groups {
                groups::run(&clients);
                queues::run(&clients);
            }
            admin::run(clients).await;
        });
        self.steps(500);
        self.is_healed = false;
        self.faults.begin_at(self.now);
        self.steps(plan.faults_ms);
        if self.is_over {
            return;
        }
        self.heal();
        // Life goes on for a while, then everybody finishes what they have begun.
        self.steps(2_000);
        self.clients.is_ending.set(true);
        if !self.until("every producer gets its answers", |world| world.clients.busy.get() == 0) {
            return;
        }
        self.clients.is_draining.set(true);
        if self.until("every group reads everything, and every queue is worked off", |world| {
            world.clients.in_groups.get() == 0
        }) {
            self.finish();
        }
    }

    /// Starts all machines; returns whether their nodes have become a cluster.
    pub fn form(&mut self) -> bool {
        for index in 0..self.hosts.len() {
            self.start(self.hosts[index].machine);
        }
        self.until("the cluster is formed", |world| world.hosts.iter().all(|host| host.router().is_some()))
    }

    /// Ends every fault, and starts who is down.
    pub fn heal(&mut self) {
        let starts = self.faults.heal(self.now, &mut self.hosts, &self.network);
        self.network.state().heal();
        self.is_healed = true;
        starts.into_iter().for_each(|machine| self.start(machine));
    }

    /// Waits until all replicas are equal, and judges what they hold.
    pub fn finish(&mut self) {
        if self.until("all replicas catch up", Self::have_caught_up) && !self.history.is_violated() {
            self.compare();
            self.history.finish();
        }
    }

    pub fn start(&mut self, machine: Machine) {
        let now = self.now;
        let (nodes, network) = (self.hosts.len(), self.network.clone());
        let host = self.hosts.iter_mut().find(|host| host.machine == machine).unwrap();
        if !host.is_up() {
            host.start(now, |options| configure(options, machine, nodes, &network));
        }
    }

    /// Steps until something holds. A cluster that is healed and does not get there has lost its liveness.
    pub fn until(&mut self, what: &'static str, holds: impl FnMut(&mut Self) -> bool) -> bool {
        let held = self.within(PATIENCE_MS, holds);
        if !held && !self.history.is_violated() && !self.is_over {
            self.history.object("it_heals", format!("not within {} s: {what}", PATIENCE_MS / 1_000));
        }
        held
    }

    /// Steps until something holds, at most so long; returns whether it does.
    pub fn within(&mut self, ms: u64, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let deadline = self.now + ms;
        while self.now < deadline && !self.history.is_violated() && !self.is_over {
            self.step();
            if self.now.is_multiple_of(LOOK_MS) && holds(self) {
                return true;
            }
        }
        false
    }

    pub fn steps(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end && !self.history.is_violated() && !self.is_over {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now += 1;
        trace::set_now(self.now);
        watchdog::stepped();
        let starts = self.faults.step(self.now, &mut self.hosts, &self.network);
        starts.into_iter().for_each(|machine| self.start(machine));
        self.network.deliver(self.now);
        for index in 0..self.hosts.len() {
            let host = &mut self.hosts[index];
            self.simulation.set_disk_delay_max(Duration::from_millis(host.disk_ms_max));
            host.step(self.now);
            if let Some(end) = host.end.take() {
                self.judge_end(index, end);
            }
        }
        self.local.block_on(&self.runtime, async { tokio::time::sleep(Duration::from_millis(1)).await });
        let (panics, false_alarms) = panics::take();
        self.false_alarms += false_alarms;
        for words in panics {
            self.history.object("nothing_panics", words);
        }
        if self.now.is_multiple_of(LOOK_MS) {
            self.look();
        }
    }

    /// A node ended by itself. Whoever looks after it starts it again, but for one that refuses its damaged data.
    fn judge_end(&mut self, index: usize, end: End) {
        let is_alone = self.hosts.len() == 1;
        let host = &mut self.hosts[index];
        let machine = host.machine;
        match end {
            End::Refused(words) if is_alone && host.is_damaged() => {
                note!("machine {machine} stays down: {words}");
                self.is_over = true;
                return;
            }
            End::Refused(words) if host.may_stay_down(&words) => {
                note!("machine {machine} stays down: {words}");
                return;
            }
            End::Refused(words) if host.is_wiped => {
                note!("machine {machine} was wiped, and is refused: {words}");
                return;
            }
            End::Refused(words) if !host.may_fail => {
                self.history.object("nodes_start", format!("machine {machine}: {words}"));
            }
            End::Failed(failure) if !host.may_fail && !host.is_damaged() => {
                self.history.object("nodes_go_on", format!("machine {machine}: {failure}"));
            }
            End::Stopped => self.faults.stopped(host),
            _ => host.may_fail = false,
        }
        if self.is_healed {
            self.start(machine);
        } else {
            self.faults.start_soon(machine, self.now);
        }
    }

    /// Tells the history how the replicas stand.
    fn look(&mut self) {
        for host in &self.hosts {
            let (machine, life) = (host.machine, host.life);
            let mut told = Vec::new();
            if let Some(leadership) = host.controller() {
                let partition = Partition { topic: [0; 16], number: 0 };
                told.push((partition, leadership.term.get(), leadership.is_leader, 0, 0));
            }
            let Some(router) = host.router() else { continue };
            for (partition, id) in ending::partitions(&router) {
                let Some(handle) = router.open_partition(id) else { continue };
                let (leadership, marks) = (handle.leadership(), handle.watermarks());
                let (start, committed) = (marks.log_start.get(), marks.committed.get());
                told.push((partition, leadership.term.get(), leadership.is_leader, start, committed));
            }
            for (partition, id) in ending::coordinators(&router) {
                let Some(handle) = ending::coordinator(&router, id) else { continue };
                let leadership = *handle.leadership().borrow();
                told.push((partition, leadership.term.get(), leadership.is_leader, 0, 0));
            }
            for (partition, term, leads, start, committed) in told {
                let now = (life, term, leads, start, committed);
                let before = self.seen.insert((partition, machine), now);
                if before == Some(now) {
                    continue;
                }
                if before.is_none_or(|before| (before.1, before.2) != (term, leads)) {
                    note!("{partition} on machine {machine}: term {term}{}", if leads { ", leads" } else { "" });
                }
                self.history.tell(&Event::Replica { partition, machine, life, term, leads, start, committed });
            }
        }
    }
}

fn configure(options: &mut NodeOptions, machine: Machine, nodes: usize, network: &Network) {
    options.groups.session_timeout_ms_min = 1_000;
    options.groups.initial_rebalance_delay_ms = 200;
    if nodes == 1 {
        return;
    }
    options.cluster.peer_address = peers::address(machine);
    options.cluster.first_voters = (1..=nodes).map(peers::address).collect();
    let transport = Arc::new(SimTransport { network: network.clone(), machine });
    let listener = Arc::clone(&transport);
    options.network = NodeNetwork { transport, listen: Arc::new(move |peers, _| listener.listen(Arc::new(peers))) };
}
