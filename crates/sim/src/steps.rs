//! Without chance: one thing after the other that there is to do, always in the same turn.

use crate::{Violation, weather::Event, world::World};

/// What happens one after the other, in turn.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    next: usize,
    /// Nobody does this for now.
    pub(crate) without: Option<Event>,
}

/// What a member does in turn.
const EVENTS: [Event; 7] = [
    Event::Log,
    Event::Sync,
    Event::TellPersisted,
    Event::Apply,
    Event::TellApplied,
    Event::Install,
    Event::Flush,
];
/// How many messages are delivered for each turn of a member.
const DELIVERIES: usize = 3;

impl Steps {
    /// Nobody does this from now on.
    #[cfg(test)]
    pub(crate) fn leave_out(&mut self, event: Event) {
        self.without = Some(event);
    }

    pub(crate) fn many(&mut self, world: &mut World, count: usize) -> Result<(), Violation> {
        (0..count).try_for_each(|_| self.one(world))
    }

    /// The next thing that there is to do; if there is none, time goes on.
    pub(crate) fn one(&mut self, world: &mut World) -> Result<(), Violation> {
        if self.one_without_time(world)? { Ok(()) } else { world.tick() }
    }

    /// The next thing that there is to do; false if there is none.
    pub(crate) fn one_without_time(&mut self, world: &mut World) -> Result<bool, Violation> {
        let per_member = EVENTS.len() + DELIVERIES;
        let all = world.nodes.len() * per_member + 1;
        for _ in 0..all {
            let turn = self.next % all;
            self.next = turn + 1;
            let (member, part) = (turn / per_member, turn % per_member);
            let done = match EVENTS.get(part) {
                _ if turn + 1 == all => world.has_transfers() && world.transfer().map(|()| true)?,
                Some(event) if Some(*event) == self.without => false,
                Some(event) => world.happens_at(member, *event)?,
                None => world.deliver()?,
            };
            if done {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
