//! What is on its way between members: lost, repeated, overtaken, cut off.

use std::collections::BTreeSet;

use base::MemberId;
use member::PeerMessage;

use crate::{Report, Sabotage, sabotage, weather::Weather};

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
    /// One in so many overtakes others; none if 0.
    pub(crate) hasty: usize,
    /// What was sent is numbered.
    sent: u64,
    sabotage: Option<Sabotage>,
}

/// A message on its way, as bytes: what cannot be written and read again does not arrive.
#[derive(Debug)]
struct Flight {
    number: u64,
    from: MemberId,
    to: MemberId,
    bytes: Vec<u8>,
    may_repeat: bool,
}

impl Network {
    pub(crate) fn new(weather: &Weather, sabotage: Option<Sabotage>) -> Self {
        let Weather { faulty, hasty, .. } = *weather;
        Self { faulty, hasty, sabotage, ..Self::default() }
    }

    pub(crate) fn send(
        &mut self,
        from: MemberId,
        message: &PeerMessage,
        rng: &mut fastrand::Rng,
        report: &mut Report,
    ) {
        if one_in(self.faulty, rng) {
            report.lost += 1;
            return;
        }
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            self.in_flight.swap_remove(rng.usize(..IN_FLIGHT_MAX));
            report.lost += 1;
        }
        // A stream of TCP does not repeat what goes over it; for all else it does not matter.
        let repeats = self.sabotage == Some(Sabotage::RepeatProposals);
        let may_repeat = !message.is_proposal() || repeats;
        let (to, mut bytes) = (message.to(), message.to_bytes());
        sabotage::alter_message(self.sabotage, message, &mut bytes, rng);
        self.sent += 1;
        self.in_flight.push(Flight { number: self.sent, from, to, bytes, may_repeat });
    }

    /// Any of the messages, unless it is lost at a cut; `None` if there are none for those who
    /// listen.
    pub(crate) fn deliver(
        &mut self,
        listens: impl Fn(MemberId) -> bool,
        rng: &mut fastrand::Rng,
        report: &mut Report,
    ) -> Option<(MemberId, PeerMessage)> {
        loop {
            let heard = |flight: &Flight| listens(flight.to);
            // Mostly in order, sometimes not.
            let at = if one_in(self.hasty, rng) {
                Some(rng.usize(..self.in_flight.len().max(1)))
                    .filter(|at| self.in_flight.get(*at).is_some_and(heard))
            } else {
                None
            };
            let at = at.or_else(|| self.in_flight.iter().position(heard))?;
            let Flight { number, from, to, bytes, may_repeat } = self.in_flight.remove(at);
            if self.cut.contains(&(from, to)) {
                report.lost += 1;
                continue;
            }
            let is_overtaken =
                |one: &Flight| (one.from, one.to) == (from, to) && one.number < number;
            report.overtaken += u64::from(self.in_flight.iter().any(is_overtaken));
            if may_repeat && one_in(self.faulty, rng) {
                report.repeated += 1;
                let bytes = bytes.clone();
                self.in_flight.push(Flight { number, from, to, bytes, may_repeat });
            }
            if let Some(message) = PeerMessage::from_bytes(&bytes) {
                report.delivered += 1;
                return Some((to, message));
            }
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Takes messages out that are on their way, for somebody else to bring them later.
    #[cfg(test)]
    pub(crate) fn withhold(&mut self, is_meant: impl Fn(&PeerMessage) -> bool) -> Vec<PeerMessage> {
        let read = |flight: &Flight| PeerMessage::from_bytes(&flight.bytes).unwrap();
        let meant = self.in_flight.extract_if(.., |flight| is_meant(&read(flight)));
        meant.map(|flight| read(&flight)).collect()
    }

    /// Cuts one direction, a member off from all, or the members into two halves.
    pub(crate) fn cut(
        &mut self,
        members: &[MemberId],
        rng: &mut fastrand::Rng,
        report: &mut Report,
    ) {
        let (Some(one), Some(other)) = (any(members, rng), any(members, rng)) else { return };
        report.parted += 1;
        match rng.u8(..6) {
            0 => {
                self.cut_way(one, other);
                report.one_way += 1;
            }
            // It hears nobody, or nobody hears it.
            1 => {
                let hears = rng.bool();
                let pair = |other: &MemberId| if hears { (one, *other) } else { (*other, one) };
                self.cut.extend(members.iter().filter(|other| **other != one).map(pair));
                report.one_way += 1;
            }
            2 => self.separate(one, other),
            3 => self.part(members, |member| member == one),
            _ => {
                let half: BTreeSet<MemberId> =
                    members.iter().copied().filter(|_| rng.bool()).collect();
                self.part(members, |member| half.contains(&member));
            }
        }
    }

    /// Cuts one direction.
    pub(crate) fn cut_way(&mut self, from: MemberId, to: MemberId) {
        self.cut.insert((from, to));
    }

    /// Cuts two members off from each other.
    pub(crate) fn separate(&mut self, one: MemberId, other: MemberId) {
        self.cut_way(one, other);
        self.cut_way(other, one);
    }

    /// Cuts one member off from all others.
    pub(crate) fn isolate(&mut self, one: MemberId, members: &[MemberId]) {
        self.part(members, |member| member == one);
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

    /// One way is whole again.
    pub(crate) fn mend_one(&mut self, rng: &mut fastrand::Rng) {
        let ways: Vec<_> = self.cut.iter().copied().collect();
        if let Some(way) = any(&ways, rng) {
            self.cut.remove(&way);
        }
    }

    /// Everybody reaches everybody.
    pub(crate) fn mend(&mut self) {
        self.cut.clear();
    }
}

/// Once in so many times; never if that is 0.
pub(crate) fn one_in(many: usize, rng: &mut fastrand::Rng) -> bool {
    many > 0 && rng.usize(..many) == 0
}

/// Any of them, if there are any.
pub(crate) fn any<T: Copy>(all: &[T], rng: &mut fastrand::Rng) -> Option<T> {
    if all.is_empty() { None } else { all.get(rng.usize(..all.len())).copied() }
}
