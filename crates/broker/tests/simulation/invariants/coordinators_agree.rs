//! After the healing, all replicas of a coordinator hold the same image of its groups.

use std::collections::BTreeMap;

use highwater_groups::stream::GroupsImage;

use super::Invariant;
use crate::history::{Event, GroupEvent};

#[derive(Default)]
pub struct CoordinatorsAgree {
    first: BTreeMap<u32, (usize, GroupsImage)>,
}

impl Invariant for CoordinatorsAgree {
    fn name(&self) -> &'static str {
        "coordinators_agree"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        let Event::Group(GroupEvent::FinalImage { machine, coordinator, image }) = event else { return Ok(()) };
        let (other, first) = self.first.entry(*coordinator).or_insert_with(|| (*machine, image.clone()));
        if image == first {
            return Ok(());
        }
        Err(format!(
            "coordinator {coordinator}: machine {machine} is at {:?} and machine {other} at {:?}; the groups that \
             differ: {:?}",
            image.revision(),
            first.revision(),
            image.groups().filter(|(id, group)| first.group(id) != Some(group)).collect::<Vec<_>>()
        ))
    }
}
