//! What goes wrong in a run, and when: drawn from the seed while the run goes on.

use std::collections::BTreeMap;

use highwater_storage::disk::Disk;
use highwater_storage::disk::sim::{CrashMode, Fault};

use crate::dice::Dice;
use crate::host::{DATA, Host};
use crate::network::{CLIENTS, Machine, Network};
use crate::trace::note;

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Kill,
    PowerLoss,
    PowerLossInACall,
    TornWrite,
    PowerLossOfAll,
    Restart,
    Hold,
    Isolate,
    CutOneWay,
    CutInARing,
    Delays,
    LostMessages,
    SlowDisk,
    FullDisk,
    SyncError,
    ClockJump,
    BitFlip,
    Truncation,
    Rollback,
}

impl Kind {
    /// What a cluster of one must survive: all but what takes its only copy.
    pub const OF_ONE: &[Self] = &[
        Self::Kill,
        Self::PowerLoss,
        Self::PowerLossInACall,
        Self::TornWrite,
        Self::Restart,
        Self::Hold,
        Self::LostMessages,
        Self::SlowDisk,
        Self::FullDisk,
        Self::SyncError,
        Self::ClockJump,
    ];

    /// What shows that something was not durable when it was said to be.
    pub const CRASHES: &[Self] = &[Self::PowerLoss, Self::PowerLossInACall, Self::SlowDisk];

    /// What no node alone survives, and none may hide.
    pub const DAMAGE: &[Self] = &[Self::Kill, Self::PowerLoss, Self::Restart, Self::BitFlip, Self::Truncation];

    /// What a cluster of three must survive.
    pub const OF_THREE: &[Self] = &[
        Self::Kill,
        Self::PowerLoss,
        Self::PowerLossInACall,
        Self::TornWrite,
        Self::PowerLossOfAll,
        Self::Restart,
        Self::Hold,
        Self::Isolate,
        Self::CutOneWay,
        Self::CutInARing,
        Self::Delays,
        Self::LostMessages,
        Self::SlowDisk,
        Self::FullDisk,
        Self::SyncError,
        Self::ClockJump,
        Self::BitFlip,
        Self::Truncation,
        Self::Rollback,
    ];
}

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Start(Machine),
    Release(Machine),
    Connect,
    Delays,
    LostMessages,
    SlowDisk(Machine),
    FullDisk(Machine),
}

/// The faults of one run.
pub struct Faults {
    kinds: &'static [Kind],
    dice: Dice,
    next_at: u64,
    undo: Vec<(u64, Undo)>,
    /// How often each happened.
    pub fired: BTreeMap<Kind, u64>,
    /// The one machine whose medium may be damaged in this run.
    damaged: Option<Machine>,
    /// The damage that is done to the only machine once it has stopped.
    due_when_stopped: Option<Kind>,
}

impl Faults {
    pub fn new(kinds: &'static [Kind], dice: Dice, from: u64) -> Self {
        Self {
            kinds,
            dice,
            next_at: from,
            undo: Vec::new(),
            fired: BTreeMap::new(),
            damaged: None,
            due_when_stopped: None,
        }
    }

    /// From when on faults happen.
    pub fn begin_at(&mut self, now: u64) {
        self.next_at = now;
    }

    /// Begins and ends what is due. Returns the machines that are to be started.
    pub fn step(&mut self, now: u64, hosts: &mut [Host], network: &Network) -> Vec<Machine> {
        let mut starts = Vec::new();
        let (due, later) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| *at <= now);
        self.undo = later;
        let due: Vec<(u64, Undo)> = due;
        for (_, undo) in due {
            end(undo, now, hosts, network, &mut starts);
        }
        if now >= self.next_at {
            self.next_at = now + self.dice.between(100..=4_000);
            let kind = *self.dice.pick(self.kinds);
            if self.begin(kind, now, hosts, network) {
                *self.fired.entry(kind).or_default() += 1;
            }
        }
        starts
    }

    /// A machine has stopped in order.
    pub fn stopped(&mut self, host: &mut Host) {
        if let Some(kind) = self.due_when_stopped.take() {
            damage(kind, host, &mut self.dice);
        }
    }

    /// A machine ended by itself: whoever looks after it starts it again.
    pub fn start_soon(&mut self, machine: Machine, now: u64) {
        self.undo.push((now + self.dice.between(200..=2_000), Undo::Start(machine)));
    }

    /// Ends everything. Returns the machines that are to be started.
    pub fn heal(&mut self, now: u64, hosts: &mut [Host], network: &Network) -> Vec<Machine> {
        note!("everything is healed");
        let mut starts = Vec::new();
        for (_, undo) in std::mem::take(&mut self.undo) {
            end(undo, now, hosts, network, &mut starts);
        }
        self.next_at = u64::MAX;
        for host in hosts.iter_mut() {
            host.release(now);
            host.clock_ahead_ms = 0;
            host.disk.clear_faults();
            host.disk.set_capacity(None);
            if !host.is_up() && !starts.contains(&host.machine) {
                starts.push(host.machine);
            }
        }
        starts
    }

    fn begin(&mut self, kind: Kind, now: u64, hosts: &mut [Host], network: &Network) -> bool {
        let dice = &mut self.dice;
        let up: Vec<usize> = (0..hosts.len()).filter(|index| hosts[*index].is_up()).collect();
        if up.is_empty() {
            return false;
        }
        let index = *dice.pick(&up);
        let machine = hosts[index].machine;
        let until = now + if dice.percent(70) { dice.between(100..=3_000) } else { dice.between(3_000..=9_000) };
        match kind {
            Kind::Kill | Kind::PowerLoss | Kind::TornWrite => {
                hosts[index].crash(match kind {
                    Kind::Kill => CrashMode::KeepAll,
                    Kind::TornWrite => CrashMode::TearLastWrite,
                    _ => *dice.pick(&[CrashMode::LosePending, CrashMode::KeepSome]),
                });
                self.undo.push((until, Undo::Start(machine)));
            }
            Kind::PowerLossInACall => {
                let mode = *dice.pick(&CrashMode::ALL);
                hosts[index].disk.crash_at(dice.between(1..=60), mode);
            }
            Kind::PowerLossOfAll => {
                for index in up {
                    hosts[index].crash(*dice.pick(&[CrashMode::LosePending, CrashMode::KeepSome]));
                    self.undo.push((now + dice.between(100..=2_000), Undo::Start(hosts[index].machine)));
                }
            }
            // It ends by itself and is started again.
            Kind::Restart => hosts[index].stop(),
            Kind::Hold => {
                if hosts[index].is_held() {
                    return false;
                }
                hosts[index].hold(now);
                self.undo.push((until, Undo::Release(machine)));
            }
            Kind::Isolate | Kind::CutOneWay | Kind::CutInARing => {
                let machines: Vec<Machine> = hosts.iter().map(|host| host.machine).collect();
                let cuts = cuts(kind, machine, &machines, dice);
                note!("cut: {cuts:?}");
                network.state().cuts.extend(cuts);
                self.undo.push((until, Undo::Connect));
            }
            Kind::Delays => {
                let delay_max = dice.between(20..=800);
                note!("messages take up to {delay_max} ms");
                network.state().delay_max = delay_max;
                self.undo.push((until, Undo::Delays));
            }
            Kind::LostMessages => {
                note!("messages of clients are lost");
                network.state().lost_percent = dice.between(1..=30);
                self.undo.push((until, Undo::LostMessages));
            }
            Kind::SlowDisk => {
                hosts[index].disk_ms_max = dice.between(20..=600);
                note!("the disk of machine {machine} takes up to {} ms", hosts[index].disk_ms_max);
                self.undo.push((until, Undo::SlowDisk(machine)));
            }
            Kind::FullDisk => {
                let Ok(space) = hosts[index].disk.space(DATA.as_ref()) else { return false };
                note!("the disk of machine {machine} is full");
                let used = space.total_bytes - space.free_bytes;
                hosts[index].disk.set_capacity(Some(used + dice.between(0..=20_000)));
                self.undo.push((until, Undo::FullDisk(machine)));
            }
            Kind::SyncError => {
                note!("a sync of machine {machine} will fail");
                hosts[index].may_fail = true;
                hosts[index].disk.schedule(Fault::SyncError, dice.between(1..=10));
            }
            Kind::ClockJump => {
                let hour = 3_600_000;
                let by = i64::try_from(dice.between(0..=2 * hour)).unwrap() - i64::try_from(hour).unwrap();
                hosts[index].clock_ahead_ms = by;
                note!("the clock of machine {machine} is {by} ms ahead");
            }
            // The last appends before a crash cannot be told from a torn tail, and there is no other copy to say so.
            Kind::BitFlip | Kind::Truncation | Kind::Rollback if hosts.len() == 1 => {
                hosts[index].stop();
                self.due_when_stopped = Some(kind);
            }
            Kind::BitFlip | Kind::Truncation | Kind::Rollback => {
                if *self.damaged.get_or_insert(machine) != machine {
                    return false;
                }
                hosts[index].crash(CrashMode::KeepAll);
                self.undo.push((until, Undo::Start(machine)));
                return damage(kind, &mut hosts[index], dice);
            }
        }
        true
    }
}

fn end(undo: Undo, now: u64, hosts: &mut [Host], network: &Network, starts: &mut Vec<Machine>) {
    let host = |machine: Machine| hosts.iter().position(|host| host.machine == machine).unwrap();
    match undo {
        Undo::Start(machine) => {
            if !hosts[host(machine)].is_up() && !starts.contains(&machine) {
                starts.push(machine);
            }
        }
        Undo::Release(machine) => {
            let index = host(machine);
            hosts[index].release(now);
        }
        Undo::Connect => {
            note!("connected");
            network.state().cuts.clear();
        }
        Undo::Delays => network.state().delay_max = 2,
        Undo::LostMessages => network.state().lost_percent = 0,
        Undo::SlowDisk(machine) => {
            let index = host(machine);
            hosts[index].disk_ms_max = 2;
        }
        Undo::FullDisk(machine) => hosts[host(machine)].disk.set_capacity(None),
    }
}

fn cuts(kind: Kind, machine: Machine, machines: &[Machine], dice: &mut Dice) -> Vec<(Machine, Machine)> {
    let others = || machines.iter().copied().filter(|other| *other != machine);
    let mut cuts = Vec::new();
    match kind {
        Kind::Isolate => {
            for other in others() {
                cuts.extend([(machine, other), (other, machine)]);
            }
            // Its clients may still reach it: then an old leader goes on being asked.
            if dice.percent(30) {
                cuts.extend([(machine, CLIENTS), (CLIENTS, machine)]);
            }
        }
        Kind::CutOneWay => {
            let hears = dice.percent(50);
            for other in others().filter(|_| dice.percent(70)) {
                cuts.push(if hears { (machine, other) } else { (other, machine) });
            }
        }
        // Each hears one neighbour only.
        _ => {
            for (index, one) in machines.iter().enumerate() {
                cuts.push((*one, machines[(index + 1) % machines.len()]));
            }
        }
    }
    cuts
}

/// Damages a file of a machine that is down. Returns whether there was one.
fn damage(kind: Kind, host: &mut Host, dice: &mut Dice) -> bool {
    host.disk = host.disk.reboot();
    let of = |name: &str| -> Vec<_> {
        let all = host.files().into_iter().filter(|(_, bytes)| *bytes > 0);
        all.filter(|(path, _)| path.to_string_lossy().contains(name)).collect()
    };
    let names: &[&str] = &["segment", "votes", "manifest", "checkpoint", ".log", "/logs/"];
    let one_of = names[dice.index(names.len())];
    let files = of(one_of);
    if files.is_empty() {
        return false;
    }
    let (path, bytes) = dice.pick(&files).clone();
    // Files are allocated long before they are full: half of the damage goes to where the data is.
    let at = dice.next() % if dice.percent(50) { bytes } else { bytes.min(20_000) };
    let done = match kind {
        Kind::BitFlip => host.disk.flip_bit(&path, at, (dice.next() % 8) as u8),
        Kind::Truncation => host.disk.cut(&path, at),
        _ => host.disk.make_stale(&path, at),
    };
    if done.is_ok() {
        note!("{kind:?} on machine {}: {} at {at} of {bytes}", host.machine, path.display());
        host.damaged.push(path);
    }
    done.is_ok()
}
