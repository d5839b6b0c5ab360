//! What the original's alarms do to the entries behind them.
//!
//! By its own rules, not by ours: it lets puts in nested transactions pass, and up to 3.5 of two kinds
//! of alarms the one that came last is in force, until either is taken back; but after a restart both.

use std::collections::BTreeSet;

use proto::{
    command::Op,
    etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmType, RequestOp, TxnRequest, alarm_request::AlarmAction,
        request_op::Request,
    },
};

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passes,
    /// Refused with an alarm's error.
    Refused,
    /// It depends on when the member was started last, which nobody knows.
    Unknown,
}

/// What is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rules {
    no_space: bool,
    corrupt: bool,
}

impl Rules {
    fn refuse(self, op: &Op) -> bool {
        let is_about_members = matches!(op, Op::LeaseCheckpoint(_) | Op::Alarm(_));
        self.corrupt && !is_about_members || self.no_space && takes_room(op)
    }
}

/// The alarms that are raised.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    raised: BTreeSet<(i32, u64)>,
    /// In force in a member that has not been started since. From 3.6 on: those of one that has.
    live: Rules,
    /// It is of 3.6 or later.
    is_3_6: bool,
}

impl Alarms {
    /// As the file has them.
    pub(crate) fn of(alarms: Vec<AlarmMember>, is_3_6: bool) -> Self {
        let raised = alarms.into_iter().map(|one| (one.alarm, one.member_id)).collect();
        let mut alarms = Self { raised, live: Rules::default(), is_3_6 };
        let restored = alarms.restored();
        // Of both kinds, which one is in force the file does not say.
        if is_3_6 || !(restored.no_space && restored.corrupt) {
            alarms.live = restored;
        }
        alarms
    }

    fn has(&self, kind: AlarmType) -> bool {
        self.raised.iter().any(|(raised, _)| *raised == i32::from(kind))
    }

    /// What a member begins with.
    fn restored(&self) -> Rules {
        Rules { no_space: self.has(AlarmType::Nospace), corrupt: self.has(AlarmType::Corrupt) }
    }

    pub(crate) fn judge(&self, op: &Op) -> Verdict {
        match (self.live.refuse(op), self.restored().refuse(op)) {
            (true, true) => Verdict::Refused,
            (false, false) => Verdict::Passes,
            _ => Verdict::Unknown,
        }
    }

    /// Raises one, or takes one back.
    pub(crate) fn apply(&mut self, request: &AlarmRequest) {
        let kind = AlarmType::try_from(request.alarm).unwrap_or(AlarmType::None);
        if kind == AlarmType::None {
            return;
        }
        let had = self.has(kind);
        let alarm = (request.alarm, request.member_id);
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Activate) => self.raised.insert(alarm),
            Ok(AlarmAction::Deactivate) => self.raised.remove(&alarm),
            Ok(AlarmAction::Get) | Err(_) => return,
        };
        let has = self.has(kind);
        if self.is_3_6 {
            self.live = self.restored();
        } else if has != had {
            self.live = Rules {
                no_space: has && kind == AlarmType::Nospace,
                corrupt: has && kind == AlarmType::Corrupt,
            };
        }
    }
}

/// Whether the alarm `NOSPACE` is against it.
#[allow(clippy::wildcard_enum_match_arm, reason = "the others take none")]
fn takes_room(op: &Op) -> bool {
    match op {
        Op::Put(_) | Op::LeaseGrant(_) => true,
        Op::Txn(TxnRequest { success, failure, .. }) => {
            let is_put = |op: &RequestOp| matches!(op.request, Some(Request::RequestPut(_)));
            success.iter().chain(failure).any(is_put)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::{DeleteRangeRequest, PutRequest};

    use super::*;

    fn change(alarms: &mut Alarms, action: AlarmAction, alarm: AlarmType, member_id: u64) {
        let (action, alarm) = (action.into(), alarm.into());
        alarms.apply(&AlarmRequest { action, member_id, alarm });
    }

    fn put() -> Op {
        Op::Put(PutRequest::default())
    }

    fn txn(request: Request) -> Op {
        let success = vec![RequestOp { request: Some(request) }];
        Op::Txn(TxnRequest { success, ..TxnRequest::default() })
    }

    #[test]
    fn without_space_nested_puts_and_deletions_pass() {
        let mut alarms = Alarms::default();
        assert_eq!(alarms.judge(&put()), Verdict::Passes);
        change(&mut alarms, AlarmAction::Activate, AlarmType::Nospace, 1);
        change(&mut alarms, AlarmAction::Activate, AlarmType::Nospace, 2);
        let Op::Txn(nested) = txn(Request::RequestPut(PutRequest::default())) else { return };
        let passing = [
            Op::DeleteRange(DeleteRangeRequest::default()),
            txn(Request::RequestTxn(nested.clone())),
        ];
        for op in &passing {
            assert_eq!(alarms.judge(op), Verdict::Passes, "{op:?}");
        }
        for op in [put(), Op::Txn(nested)] {
            assert_eq!(alarms.judge(&op), Verdict::Refused, "{op:?}");
        }
        // Another member has none still.
        change(&mut alarms, AlarmAction::Deactivate, AlarmType::Nospace, 1);
        assert_eq!(alarms.judge(&put()), Verdict::Refused);
        change(&mut alarms, AlarmAction::Deactivate, AlarmType::Nospace, 2);
        assert_eq!(alarms.judge(&put()), Verdict::Passes);
    }

    /// With both, what is in force depends on which came last, and on whether the member has been
    /// started since; from 3.6 on it does not.
    #[test]
    fn of_two_kinds_of_alarms_nobody_knows_what_they_refused_before_3_6() {
        for is_3_6 in [false, true] {
            let mut alarms = Alarms::of(Vec::new(), is_3_6);
            change(&mut alarms, AlarmAction::Activate, AlarmType::Corrupt, 1);
            change(&mut alarms, AlarmAction::Activate, AlarmType::Nospace, 1);
            let delete = Op::DeleteRange(DeleteRangeRequest::default());
            let expected = if is_3_6 { Verdict::Refused } else { Verdict::Unknown };
            assert_eq!(alarms.judge(&delete), expected);
            assert_eq!(alarms.judge(&put()), Verdict::Refused);
            change(&mut alarms, AlarmAction::Deactivate, AlarmType::Corrupt, 1);
            assert_eq!(alarms.judge(&delete), Verdict::Passes);
            assert_eq!(alarms.judge(&put()), expected);
            change(&mut alarms, AlarmAction::Deactivate, AlarmType::Nospace, 1);
            assert_eq!(alarms.judge(&put()), Verdict::Passes);
        }
    }
}
