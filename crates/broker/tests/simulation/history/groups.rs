//! What the members of stream groups did and were told.

use super::Partition;
use crate::trace::note;

/// One life of a member: from its first join until it is out, leaves or dies. A static member that comes back has
/// another life on the same seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    pub group: usize,
    pub seat: u64,
    pub number: u64,
}

impl std::fmt::Display for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "group {}, seat {}, life {}", self.group, self.seat, self.number)
    }
}

/// Who sets the offsets of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A member, which believes to be in this generation.
    Member { life: Life, generation: i32 },
    /// An operator, who moves the group back.
    Seek,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Refused,
    Unknown,
}

/// Something that happened to a group, as its clients saw it.
#[derive(Clone, Debug)]
pub enum GroupEvent {
    /// A member is in a generation. It had said that it held `held`, and was given `given`.
    Joined { life: Life, generation: i32, held: Vec<Partition>, given: Vec<Partition> },
    /// It begins to read what it was given, at the group's offset.
    Begun { life: Life, partition: Partition, offset: u64 },
    /// It asked for `from` and got this.
    Polled { life: Life, partition: Partition, from: u64, records: Vec<(u64, u64)>, next: u64 },
    /// It reads it no more.
    Released { life: Life, partition: Partition },
    /// It has left, or its seat was taken by its next life: nothing that it says later may be taken.
    Gone { life: Life },
    /// Somebody begins to set offsets.
    SetBegan { number: u64, group: usize, by: By, offsets: Vec<(Partition, u64)> },
    /// And this came of it.
    SetEnded { number: u64, outcome: Outcome },
    /// The offsets of a group, asked for at `since`.
    Fetched { group: usize, since: u64, offsets: Vec<(Partition, Option<u64>)> },
    /// Everything is read, and the group's offsets, which stand at the ends, were fetched for the last time.
    Drained { group: usize, offsets: Vec<(Partition, Option<u64>)> },
    /// After the healing: what one replica of a coordinator holds.
    FinalImage { machine: usize, coordinator: u32, image: highwater_groups::stream::GroupsImage },
}

impl GroupEvent {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Joined { .. } => "joined",
            Self::Begun { .. } => "begun",
            Self::Polled { .. } => "polled",
            Self::Released { .. } => "released",
            Self::Gone { .. } => "gone",
            Self::SetBegan { by: By::Seek, .. } => "sought",
            Self::SetBegan { .. } => "commit sent",
            Self::SetEnded { outcome: Outcome::Done, .. } => "offsets set",
            Self::SetEnded { outcome: Outcome::Refused, .. } => "offsets refused",
            Self::SetEnded { outcome: Outcome::Unknown, .. } => "offsets unknown",
            Self::Fetched { .. } => "fetched",
            Self::Drained { .. } => "drained",
            Self::FinalImage { .. } => "final image",
        }
    }

    pub fn note(&self) {
        match self {
            Self::Joined { life, generation, held, given } => {
                note!("{life}: generation {generation} gives {}, held {}", list(given), list(held));
            }
            Self::Begun { life, partition, offset } => note!("{life}: begins {partition} at {offset}"),
            Self::Polled { life, partition, from, next, .. } if from < next => {
                note!("{life}: read {partition} from {from} to {next}");
            }
            Self::Polled { .. } => {}
            Self::Released { life, partition } => note!("{life}: released {partition}"),
            Self::Gone { life } => note!("{life}: is gone"),
            Self::SetBegan { number, group, by, offsets } => {
                let offsets: Vec<String> = offsets.iter().map(|(at, offset)| format!("{at}={offset}")).collect();
                note!("group {group}: set {number} by {by:?}: {}", offsets.join(" "));
            }
            Self::SetEnded { number, outcome } => note!("set {number}: {outcome:?}"),
            Self::Fetched { group, since, offsets } => {
                let offsets: Vec<String> = offsets.iter().map(|(at, offset)| format!("{at}={offset:?}")).collect();
                note!("group {group}: asked at {since} ms, offsets are {}", offsets.join(" "));
            }
            Self::Drained { group, .. } => note!("group {group} has read everything"),
            Self::FinalImage { machine, coordinator, image } => {
                note!("machine {machine}: coordinator {coordinator} is at {:?}", image.revision());
            }
        }
    }
}

fn list(partitions: &[Partition]) -> String {
    let words: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    format!("[{}]", words.join(" "))
}
