//! What is on its way between members: lost, repeated, overtaken, cut off.

use std::collections::BTreeSet;

use base::MemberId;
use member::PeerMessage;

/// More than that is lost.
const IN_FLIGHT_MAX: usize = 400;

/// What is on its way between members.
#[derive(Debug, Default)]
pub(crate) struct Network {
    in_flight: Vec<Flight>,
    /// From whom nothing reaches whom.
    cut: BTreeSet<(MemberId, MemberId)>,
    /// One message in so many is lost, and one repeated; none if 0.
    pub(crate) faulty: usize,
}

/// A message on its way, as bytes: what cannot be written and read again does not arrive.
#[derive(Debug)]
struct Flight {
    from: MemberId,
    to: MemberId,
    bytes: Vec<u8>,
    may_repeat: bool,
}

impl Network {
    pub(crate) fn send(&mut self, from: MemberId, message: &PeerMessage, rng: &mut fastrand::Rng) {
        if self.faulty > 0 && rng.usize(..self.faulty) == 0 {
            return;
        }
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            self.in_flight.swap_remove(rng.usize(..IN_FLIGHT_MAX));
        }
        // A stream of TCP does not repeat what goes over it; for all else it does not matter.
        let may_repeat = !message.is_proposal();
        let (to, bytes) = (message.to(), message.to_bytes());
        self.in_flight.push(Flight { from, to, bytes, may_repeat });
    }

    /// Any of the messages, unless it is lost at a cut; `None` if there are none.
    pub(crate) fn deliver(
        &mut self,
        rng: &mut fastrand::Rng,
    ) -> Option<(MemberId, MemberId, PeerMessage)> {
        while !self.in_flight.is_empty() {
            // Mostly in order, sometimes not.
            let window = if rng.u8(..4) == 0 { self.in_flight.len() } else { 1 };
            let at = rng.usize(..window);
            let Flight { from, to, bytes, may_repeat } = self.in_flight.remove(at);
            if self.cut.contains(&(from, to)) {
                continue;
            }
            if may_repeat && self.faulty > 0 && rng.usize(..self.faulty) == 0 {
                let bytes = bytes.clone();
                self.in_flight.push(Flight { from, to, bytes, may_repeat });
            }
            if let Some(message) = PeerMessage::from_bytes(&bytes) {
                return Some((from, to, message));
            }
        }
        None
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Cuts one direction, a member off from all, or the members into two halves.
    pub(crate) fn cut(&mut self, members: &[MemberId], rng: &mut fastrand::Rng) {
        let any = |rng: &mut fastrand::Rng| members.get(rng.usize(..members.len())).copied();
        let (Some(one), Some(other)) = (any(rng), any(rng)) else { return };
        match rng.u8(..3) {
            0 => {
                self.cut.insert((one, other));
            }
            1 => self.part(members, |member| member == one),
            _ => {
                let half: BTreeSet<MemberId> =
                    members.iter().copied().filter(|_| rng.bool()).collect();
                self.part(members, |member| half.contains(&member));
            }
        }
    }

    fn part(&mut self, members: &[MemberId], is_inside: impl Fn(MemberId) -> bool) {
        for from in members {
            for to in members.iter().filter(|to| is_inside(**to) != is_inside(*from)) {
                self.cut.insert((*from, *to));
            }
        }
    }

    /// Whether nothing goes from the one to the other, or back.
    pub(crate) fn is_cut(&self, one: MemberId, other: MemberId) -> bool {
        self.cut.contains(&(one, other)) || self.cut.contains(&(other, one))
    }

    /// Everybody reaches everybody.
    pub(crate) fn mend(&mut self) {
        self.cut.clear();
    }
}
