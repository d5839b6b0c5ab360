//! How long commands take to be applied, by what they are; and what is said of those that take long.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use base::{Histogram, Pace, Refused};
use proto::{
    Glance, Loggable, Message as _,
    command::{Command, KeysMethod},
    glance,
};
use state::{Response, apply::Reply};
use wal::Entry;

use crate::shared::Shared;

/// Kinds of commands as etcd names them: version of the API, and operation.
const OPS: [(&str, &str); 28] = [
    ("v2", "PUT"),
    ("v2", "POST"),
    ("v2", "DELETE"),
    ("v2", "SYNC"),
    ("v3", "Put"),
    ("v3", "DeleteRange"),
    ("v3", "Txn"),
    ("v3", "Compaction"),
    ("v3", "LeaseGrant"),
    ("v3", "LeaseRevoke"),
    ("v3", "LeaseCheckpoint"),
    ("v3", "Alarm"),
    ("v3", "ClusterMemberAttrSet"),
    ("v3", "ClusterVersionSet"),
    ("v3", "DowngradeInfoSet"),
    ("v3", "AuthEnable"),
    ("v3", "AuthDisable"),
    ("v3", "AuthUserAdd"),
    ("v3", "AuthUserDelete"),
    ("v3", "AuthUserChangePassword"),
    ("v3", "AuthUserGrantRole"),
    ("v3", "AuthUserRevokeRole"),
    ("v3", "AuthRoleAdd"),
    ("v3", "AuthRoleDelete"),
    ("v3", "AuthRoleGrantPermission"),
    ("v3", "AuthRoleRevokePermission"),
    ("v3", "Authenticate"),
    ("v3", "unknown"),
];

/// How long commands took to be applied.
#[derive(Debug)]
pub struct Applies {
    /// As [`OPS`]; those that failed, and those that did not.
    durations: [[Histogram; 2]; OPS.len()],
    /// What is said of those that are slow.
    slow: [Pace; OPS.len()],
}

impl Default for Applies {
    fn default() -> Self {
        let durations = || Histogram::doubling(Duration::from_micros(100), 20);
        let slow = std::array::from_fn(|_| Pace::default());
        Self { durations: std::array::from_fn(|_| [durations(), durations()]), slow }
    }
}

impl Applies {
    /// Version of the API, operation, whether it succeeded, and how long it took; of those that there
    /// were.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, bool, &Histogram)> {
        OPS.iter().zip(&self.durations).flat_map(|((version, op), [failed, succeeded])| {
            let all = [(*version, *op, false, failed), (*version, *op, true, succeeded)];
            all.into_iter().filter(|(_, _, _, durations)| durations.count() > 0)
        })
    }

    fn record(&self, command: &[u8], succeeded: bool, took: Duration) {
        let place = self.durations.get(place(command));
        if let Some(durations) = place.and_then(|both| both.get(usize::from(succeeded))) {
            durations.record(took);
        }
    }
}

impl Applies {
    /// A command like this was slow, at this time: how often since that was last said, if it is to be.
    fn slow(&self, command: &[u8], now: Duration) -> Option<u64> {
        self.slow.get(place(command))?.note(now)
    }
}

/// The place in [`OPS`].
fn place(command: &[u8]) -> usize {
    match glance(command) {
        Some(Glance::Keys(method)) => match method {
            KeysMethod::CreateInOrder => 1,
            KeysMethod::Delete | KeysMethod::CompareAndDelete => 2,
            KeysMethod::Set
            | KeysMethod::Create
            | KeysMethod::Update
            | KeysMethod::CompareAndSwap => 0,
        },
        Some(Glance::Op(11)) => 3,
        Some(Glance::Op(12)) => 12,
        Some(Glance::Op(13)) => 13,
        Some(Glance::Op(14)) => 7,
        Some(Glance::Op(15)) => 14,
        Some(Glance::Op(op @ 20..=22)) => op as usize - 16,
        Some(Glance::Op(op @ 23..=26)) => op as usize - 15,
        Some(Glance::Auth(change @ 1..=12)) => change as usize + 14,
        // Those of v2, which etcd writes as keys of its own.
        Some(Glance::Auth(20..=22 | 24)) => 0,
        Some(Glance::Auth(23 | 25)) => 2,
        Some(Glance::Op(_) | Glance::Auth(_)) | None => OPS.len() - 1,
    }
}

/// Etcd counts it as a success, too, that what is asked for is compacted already.
fn has_succeeded(response: &Response) -> bool {
    match response {
        Response::V3(Err(Refused::Compacted)) | Response::Expired(_) | Response::Done => true,
        Response::Keys(answer) => answer.is_ok(),
        Response::V3(answer) => answer.is_ok(),
        Response::Downgrade(answer) => answer.is_ok(),
        Response::V2Auth(answer) => answer.is_ok(),
        Response::Refused(_) => false,
    }
}

/// Looks at the clock after each entry that is applied.
pub(crate) struct Stopwatch<'a> {
    shared: &'a Shared,
    last: Duration,
}

impl<'a> Stopwatch<'a> {
    pub(crate) fn start(shared: &'a Shared) -> Self {
        Self { shared, last: shared.now() }
    }

    pub(crate) fn applied(&mut self, entry: &Entry, response: &Response) {
        let now = self.shared.now();
        let took = now.saturating_sub(std::mem::replace(&mut self.last, now));
        // The others change members, or nothing.
        if entry.kind == 0 && !entry.data.is_empty() {
            self.shared.counters.applies.record(&entry.data, has_succeeded(response), took);
            if took > self.shared.config.apply_expected {
                self.tell(entry, response, took);
            }
        }
    }

    /// In etcd's words.
    #[cold]
    fn tell(&self, entry: &Entry, response: &Response, took: Duration) {
        self.shared.counters.applies_slow.fetch_add(1, Relaxed);
        // The slower, the fewer lines are good for anything.
        let Some(times) = self.shared.counters.applies.slow(&entry.data, self.last) else { return };
        let request = Command::decode(entry.data.clone());
        let request = request.map(|request| Loggable(&request).to_string()).unwrap_or_default();
        tracing::warn!(
            target: "etcdserver",
            ?took,
            "expected-duration" = ?self.shared.config.apply_expected,
            prefix = "",
            request,
            response = size(response).map(|size| format!("size:{size}")).unwrap_or_default(),
            index = entry.index.0,
            times,
            "apply request took too long"
        );
    }
}

/// Of an answer of v3.
fn size(response: &Response) -> Option<usize> {
    let Response::V3(Ok(reply)) = response else { return None };
    // Others are small.
    if let Reply::Put(answer) = reply {
        return Some(answer.encoded_len());
    }
    if let Reply::DeleteRange(answer) = reply {
        return Some(answer.encoded_len());
    }
    if let Reply::Txn(answer) = reply { Some(answer.encoded_len()) } else { None }
}

#[cfg(test)]
mod tests {
    use proto::{
        command::{
            Auth, AuthChange, Authenticate, By, Compact, Expire, KeysWrite, LeaseRevoke, Named,
            Nothing, Op, PutUser,
        },
        etcdserverpb::{AlarmRequest, PutRequest, TxnRequest},
    };

    use super::*;

    #[test]
    fn a_flood_of_slow_commands_is_a_line_for_each_kind() {
        let applies = Applies::default();
        let of = |op| Command::new(1, op).encode_to_vec();
        let (put, txn) = (of(Op::Put(PutRequest::default())), of(Op::Txn(TxnRequest::default())));
        let millis = Duration::from_millis;
        let said: Vec<_> = (0..100).filter_map(|at| applies.slow(&put, millis(at))).collect();
        assert_eq!(said, [1]);
        assert_eq!(applies.slow(&txn, millis(100)), Some(1));
        assert_eq!(applies.slow(&put, millis(1_000)), Some(100));
    }

    #[test]
    fn commands_are_counted_under_etcd_s_names() {
        let keys = |method: KeysMethod| {
            Op::Keys(KeysWrite { method: method.into(), ..KeysWrite::default() })
        };
        let auth = |change: AuthChange| Op::Auth(Auth { change: Some(change) });
        for (op, expected) in [
            (keys(KeysMethod::CompareAndSwap), ("v2", "PUT")),
            (keys(KeysMethod::CreateInOrder), ("v2", "POST")),
            (keys(KeysMethod::CompareAndDelete), ("v2", "DELETE")),
            (Op::Expire(Expire::default()), ("v2", "SYNC")),
            (Op::Put(PutRequest::default()), ("v3", "Put")),
            (Op::Txn(TxnRequest::default()), ("v3", "Txn")),
            (Op::Compact(Compact { revision: 1 }), ("v3", "Compaction")),
            (Op::LeaseRevoke(LeaseRevoke::default()), ("v3", "LeaseRevoke")),
            (Op::Alarm(AlarmRequest::default()), ("v3", "Alarm")),
            (auth(AuthChange::Enable(Nothing {})), ("v3", "AuthEnable")),
            (auth(AuthChange::RoleAdd(Named::default())), ("v3", "AuthRoleAdd")),
            (auth(AuthChange::Authenticate(Authenticate::default())), ("v3", "Authenticate")),
            (auth(AuthChange::V2PutUser(PutUser::default())), ("v2", "PUT")),
            (auth(AuthChange::V2DeleteRole(Named::default())), ("v2", "DELETE")),
            (Op::Auth(Auth::default()), ("v3", "unknown")),
        ] {
            // Whoever asked stands before what was asked.
            let by = Some(By { user: "root".to_owned(), auth_revision: 7 });
            let command = Command { by, ..Command::new(1, op) }.encode_to_vec();
            let applies = Applies::default();
            applies.record(&command, true, Duration::from_micros(1));
            let all: Vec<_> = applies.all().map(|(version, op, ok, _)| (version, op, ok)).collect();
            assert_eq!(all, [(expected.0, expected.1, true)]);
        }
    }
}
