//! Alarms: what the cluster was told is wrong with a member, until an operator takes it back.

use std::collections::BTreeSet;

use base::MemberId;
use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, alarm_request::AlarmAction,
};

use crate::membership::Members;

/// The alarms that are raised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms(BTreeSet<(AlarmType, u64)>);

impl Alarms {
    /// The space quota was exceeded: nothing is written that needs room.
    pub fn no_space(&self) -> bool {
        self.has(AlarmType::Nospace)
    }

    /// Members differ, and too many of them, or nobody knows which: nothing is written at all.
    ///
    /// While a majority of the voters is not among those that differ, it goes on without them (etcd
    /// stops at the first alarm).
    pub fn corrupt(&self, members: &Members) -> bool {
        let of = |id: &MemberId| self.is_corrupt(*id);
        let is_member = |id: u64| members.members.contains_key(&MemberId(id));
        let mut differ = self.0.iter().filter(|(kind, _)| *kind == AlarmType::Corrupt);
        if differ.any(|(_, id)| !is_member(*id)) {
            return true;
        }
        let voters = || members.members.values().filter(|member| !member.learner);
        voters().any(|member| of(&member.id))
            && voters().filter(|member| !of(&member.id)).count() <= voters().count() / 2
    }

    /// This member differs from the others: it answers no client.
    pub fn is_corrupt(&self, member: MemberId) -> bool {
        self.0.contains(&(AlarmType::Corrupt, member.0))
    }

    /// The member has gone, and with it what was wrong with its data. True if there was such an alarm.
    pub(crate) fn forget_corrupt(&mut self, member: MemberId) -> bool {
        self.0.remove(&(AlarmType::Corrupt, member.0))
    }

    fn has(&self, kind: AlarmType) -> bool {
        self.0.iter().any(|(raised, _)| *raised == kind)
    }

    /// All of them, by kind.
    pub fn all(&self) -> Vec<AlarmMember> {
        self.of(AlarmType::None)
    }

    /// `None`: of all kinds.
    fn of(&self, kind: AlarmType) -> Vec<AlarmMember> {
        let wanted = |raised: AlarmType| kind == AlarmType::None || raised == kind;
        self.0.iter().filter(|(raised, _)| wanted(*raised)).copied().map(shown).collect()
    }

    /// Raises, takes back or lists alarms; true if they changed.
    pub(crate) fn apply(&mut self, request: &AlarmRequest) -> (AlarmResponse, bool) {
        let kind = AlarmType::try_from(request.alarm).ok();
        let alarm = kind.map(|kind| (kind, request.member_id));
        let raisable = alarm.filter(|(kind, _)| *kind != AlarmType::None);
        let (alarms, changed) = match (AlarmAction::try_from(request.action), raisable) {
            (Ok(AlarmAction::Get), _) => {
                (kind.map(|kind| self.of(kind)).unwrap_or_default(), false)
            }
            (Ok(AlarmAction::Activate), Some(alarm)) => {
                let changed = self.0.insert(alarm);
                (vec![shown(alarm)], changed)
            }
            (Ok(AlarmAction::Deactivate), Some(alarm)) if self.0.remove(&alarm) => {
                (vec![shown(alarm)], true)
            }
            _ => (Vec::new(), false),
        };
        (AlarmResponse { header: None, alarms }, changed)
    }

    pub(crate) fn encode(&self) -> Bytes {
        AlarmResponse { header: None, alarms: self.all() }.encode_to_vec().into()
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, prost::DecodeError> {
        let AlarmResponse { alarms, .. } = AlarmResponse::decode(row)?;
        let known = alarms
            .iter()
            .filter_map(|one| Some((AlarmType::try_from(one.alarm).ok()?, one.member_id)));
        Ok(Self(known.collect()))
    }
}

fn shown((kind, member_id): (AlarmType, u64)) -> AlarmMember {
    AlarmMember { member_id, alarm: kind.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Member;

    #[test]
    fn while_a_majority_of_the_voters_is_sound_writing_goes_on() {
        let check = |voters: &[u64], learners: &[u64], corrupt: &[u64], stops: bool| {
            let member = |id: &u64, learner| {
                let id = MemberId(*id);
                (id, Member { id, learner, ..Member::default() })
            };
            let voters_of = voters.iter().map(|id| member(id, false));
            let all = voters_of.chain(learners.iter().map(|id| member(id, true)));
            let members = Members { members: all.collect(), ..Members::default() };
            let alarms = Alarms(corrupt.iter().map(|id| (AlarmType::Corrupt, *id)).collect());
            assert_eq!(alarms.corrupt(&members), stops, "{voters:?} {learners:?} {corrupt:?}");
        };
        check(&[1, 2, 3], &[], &[], false);
        check(&[1, 2, 3], &[], &[2], false);
        check(&[1, 2, 3], &[], &[2, 3], true);
        check(&[1, 2, 3, 4], &[], &[1, 4], true);
        check(&[1, 2, 3, 4, 5], &[], &[1, 4], false);
        check(&[1, 2], &[], &[2], true);
        check(&[1], &[], &[1], true);
        check(&[1], &[2], &[2], false);
        // Nobody knows who it is, or it is no member.
        check(&[1, 2, 3], &[], &[0], true);
        check(&[1, 2, 3], &[], &[7], true);
    }
}
