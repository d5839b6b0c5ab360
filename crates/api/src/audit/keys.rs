//! Which keys a command names, and whom or what it is about.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proto::{
    authpb::{Permission, permission::Type},
    command::{AuthChange, KeysMethod, KeysWrite, Op, Patterns},
    etcdserverpb::{
        AlarmRequest, AlarmType, DowngradeRequest, RequestOp, TxnRequest,
        alarm_request::AlarmAction, downgrade_request::DowngradeAction, request_op::Request,
    },
};

use super::{About, Keys, Record};

/// What is shown of a key, or of another text that clients choose.
const TEXT_BYTES_MAX: usize = 512;
/// Ranges that a record names.
const KEYS_MAX: usize = 16;

/// What a request does with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Read,
    Compare,
    Write,
    Delete,
    Watch,
    Permit,
    /// Permits no more.
    Revoke,
}

impl Does {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Compare => "compare",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Watch => "watch",
            Self::Permit => "permit",
            Self::Revoke => "revoke",
        }
    }
}

impl Keys {
    fn new(does: Does, key: &[u8], range_end: &[u8]) -> Self {
        let ((key, key_base64), cuts_key) = shown(key);
        let ((end, end_base64), cuts_end) = shown(range_end);
        Self {
            does: does.name(),
            kind: None,
            key,
            key_base64,
            range_end: end.filter(|_| !range_end.is_empty()),
            range_end_base64: end_base64,
            recursive: false,
            cut: cuts_key || cuts_end,
        }
    }
}

/// Bytes as text, or else in base64; and whether that is not all of them.
fn shown(bytes: &[u8]) -> ((Option<String>, Option<String>), bool) {
    let front = bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes);
    let cuts = front.len() < bytes.len();
    let pair = match str::from_utf8(front) {
        Ok(text) => (Some(text.to_owned()), None),
        // Cut within a letter.
        Err(error) if cuts && error.error_len().is_none() => {
            let front = front.get(..error.valid_up_to()).unwrap_or_default();
            (Some(String::from_utf8_lossy(front).into_owned()), None)
        }
        Err(_) => (None, Some(BASE64_STANDARD.encode(front))),
    };
    (pair, cuts)
}

/// A text that a client chose, as far as it is shown.
pub(super) fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().to_owned()
}

impl Record {
    pub(super) fn add_keys(&mut self, does: Does, key: &[u8], range_end: &[u8]) {
        self.add(Keys::new(does, key, range_end));
    }

    pub(super) fn add_path(&mut self, does: Does, path: &[u8], recursive: bool) {
        self.add(Keys { recursive, ..Keys::new(does, path, b"") });
    }

    /// A permission of v2, which has a list of them for each kind.
    fn add_pattern(&mut self, does: Does, kind: &'static str, pattern: &str) {
        self.add(Keys { kind: Some(kind), ..Keys::new(does, pattern.as_bytes(), b"") });
    }

    pub(super) fn add_peer_urls(&mut self, urls: &[String]) {
        self.about.peer_urls = urls.iter().take(KEYS_MAX).map(|url| cut(url)).collect();
    }

    pub(super) fn add_alarm(&mut self, alarm: &AlarmRequest) {
        let action = AlarmAction::try_from(alarm.action).map_or("?", |action| action.as_str_name());
        let kind = AlarmType::try_from(alarm.alarm).map_or("?", |kind| kind.as_str_name());
        self.about.alarm = Some(format!("{action} {kind}"));
        self.about.member = Some(format!("{:x}", alarm.member_id));
    }

    pub(super) fn add_downgrade(&mut self, asked: &DowngradeRequest) {
        let action = DowngradeAction::try_from(asked.action);
        let action = action.map_or("?", |action| action.as_str_name());
        let downgrade = format!("{action} {}", cut(&asked.version));
        self.about.downgrade = Some(downgrade.trim_end().to_owned());
    }

    /// What is asked several times stands once.
    fn add(&mut self, keys: Keys) {
        if self.keys.contains(&keys) {
            return;
        }
        if self.keys.len() < KEYS_MAX {
            self.keys.push(keys);
        } else {
            self.more_keys += 1;
        }
    }

    /// Names what a command is about. Asked again about the same command, it changes nothing.
    pub(super) fn add_op(&mut self, op: &Op) {
        if self.more_keys > 0 {
            return;
        }
        match op {
            Op::Put(put) => self.add_keys(Does::Write, &put.key, b""),
            Op::DeleteRange(range) => self.add_keys(Does::Delete, &range.key, &range.range_end),
            Op::Txn(txn) => self.add_txn(txn),
            Op::LeaseGrant(grant) => self.about.lease = Some(grant.id),
            Op::LeaseRevoke(revoke) => self.about.lease = Some(revoke.id),
            Op::Keys(write) => self.add_write(write),
            Op::Auth(auth) => {
                if let Some(change) = &auth.change {
                    self.add_change(change);
                }
            }
            Op::Compact(compact) => self.about.revision = Some(compact.revision),
            Op::Alarm(alarm) => self.add_alarm(alarm),
            Op::Expire(_)
            | Op::Publish(_)
            | Op::ClusterVersion(_)
            | Op::LeaseCheckpoint(_)
            | Op::Downgrade(_) => {}
            #[cfg(feature = "next-version")]
            Op::Note(_) => {}
        }
    }

    fn add_write(&mut self, write: &KeysWrite) {
        let deletes = matches!(write.method(), KeysMethod::Delete | KeysMethod::CompareAndDelete);
        let does = if deletes { Does::Delete } else { Does::Write };
        self.add_path(does, &write.path, write.recursive);
    }

    pub(super) fn add_txn(&mut self, txn: &TxnRequest) {
        for compare in &txn.compare {
            self.add_keys(Does::Compare, &compare.key, &compare.range_end);
        }
        for RequestOp { request } in txn.success.iter().chain(&txn.failure) {
            match request {
                Some(Request::RequestRange(range)) => {
                    self.add_keys(Does::Read, &range.key, &range.range_end);
                }
                Some(Request::RequestPut(put)) => self.add_keys(Does::Write, &put.key, b""),
                Some(Request::RequestDeleteRange(range)) => {
                    self.add_keys(Does::Delete, &range.key, &range.range_end);
                }
                Some(Request::RequestTxn(txn)) => self.add_txn(txn),
                None => {}
            }
        }
    }

    fn add_change(&mut self, change: &AuthChange) {
        let (mut user, mut role) = (None, None);
        match change {
            AuthChange::UserAdd(add) => user = Some(&add.name),
            AuthChange::UserDelete(named) | AuthChange::V2DeleteUser(named) => {
                user = Some(&named.name);
            }
            AuthChange::UserPassword(change) => user = Some(&change.name),
            AuthChange::UserGrant(pair) | AuthChange::UserRevoke(pair) => {
                (user, role) = (Some(&pair.user), Some(&pair.role));
            }
            AuthChange::RoleAdd(named)
            | AuthChange::RoleDelete(named)
            | AuthChange::V2DeleteRole(named) => role = Some(&named.name),
            AuthChange::RoleGrant(grant) => {
                role = Some(&grant.role);
                if let Some(Permission { perm_type, key, range_end }) = &grant.permission {
                    let kind = match Type::try_from(*perm_type) {
                        Ok(Type::Read) => "read",
                        Ok(Type::Write) => "write",
                        Ok(Type::Readwrite) => "readwrite",
                        Err(_) => "unknown",
                    };
                    let keys = Keys::new(Does::Permit, key, range_end);
                    self.add(Keys { kind: Some(kind), ..keys });
                }
            }
            AuthChange::RoleRevoke(revoke) => {
                role = Some(&revoke.role);
                self.add_keys(Does::Revoke, &revoke.key, &revoke.range_end);
            }
            AuthChange::V2PutUser(put) => user = Some(&put.name),
            AuthChange::V2PutRole(put) => {
                role = Some(&put.name);
                for (does, list) in [
                    (Does::Permit, &put.permissions),
                    (Does::Permit, &put.grant),
                    (Does::Revoke, &put.revoke),
                ] {
                    let Some(Patterns { read, write }) = list else { continue };
                    for (kind, patterns) in [("read", read), ("write", write)] {
                        for pattern in patterns {
                            self.add_pattern(does, kind, pattern);
                        }
                    }
                }
            }
            AuthChange::Enable(_)
            | AuthChange::Disable(_)
            | AuthChange::V2Enable(_)
            | AuthChange::V2Disable(_)
            | AuthChange::Authenticate(_) => {}
        }
        let About { user: of_user, role: of_role, .. } = &mut self.about;
        *of_user = user.map(|name| cut(name)).or_else(|| of_user.take());
        *of_role = role.map(|name| cut(name)).or_else(|| of_role.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_as_text_if_they_are_one_and_cut_if_they_are_long() {
        let check = |key: &[u8], end: &[u8], expected: &str| {
            let keys = Keys::new(Does::Read, key, end);
            assert_eq!(serde_json::to_string(&keys).unwrap(), expected);
        };
        check(b"/a", b"", r#"{"does":"read","key":"/a"}"#);
        check(b"a", b"\0", r#"{"does":"read","key":"a","range_end":"\u0000"}"#);
        check(b"\xff", b"b", r#"{"does":"read","key_base64":"/w==","range_end":"b"}"#);
        check("ä".as_bytes(), b"", r#"{"does":"read","key":"ä"}"#);
        let long = [b"x".as_slice(), "ä".repeat(TEXT_BYTES_MAX).as_bytes()].concat();
        let keys = Keys::new(Does::Write, &long, b"");
        assert!(keys.cut);
        // Not within a letter.
        assert_eq!(keys.key.unwrap().len(), TEXT_BYTES_MAX - 1);
        assert_eq!(cut(str::from_utf8(&long).unwrap()).len(), TEXT_BYTES_MAX - 1);
    }
}
