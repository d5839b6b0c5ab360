//! Changes of users and roles, and who may carry out what.

use std::sync::Arc;

use backend::Applied;
use base::{Code, Refused};
use bytes::Bytes;
use mvcc::{Kind, Store, Writer};
use proto::command::{Auth as Command, By, KeysWrite, Op};

use super::{Fatal, Reader, Reply, Response, State, damaged, undecodable};
use crate::{
    auth::{self, Auth, Changed, Draft, Known},
    keys::{Event, Failure},
};

/// The keys that there are.
pub(super) struct Keys<'a>(pub(super) &'a Store);

impl Known for Keys<'_> {
    fn leased(&self, lease: i64) -> Vec<Bytes> {
        self.0.leased(lease)
    }

    fn has_key(&self, name: &[u8]) -> bool {
        self.0.view().head(Kind::Key, name).is_some()
    }
}

impl Reader {
    /// Whether users and roles permit a command, as they are now. Asked before it is proposed; and
    /// again when it is applied.
    pub fn allows(&self, by: Option<&By>, op: &Op) -> Result<(), Refused> {
        if !self.auth_is_enabled() {
            return Ok(());
        }
        auth::check(&self.auth(), by, op, &Keys(self.store()))
    }
}

impl State {
    pub(super) fn apply_auth(
        &mut self,
        at: Applied,
        by: Option<&By>,
        command: Command,
    ) -> Result<Response, Fatal> {
        let change = command.change;
        let change = change.ok_or_else(|| undecodable(at, "no change of users and roles"))?;
        let op = Op::Auth(Command { change: Some(change.clone()) });
        if let Err(refused) = self.reader.allows(by, &op) {
            return Ok(Response::V3(Err(refused)));
        }
        let before = self.reader.auth();
        let mut draft = Draft::of(&before);
        let changed = match auth::carry_out(&mut draft, change) {
            Ok(changed) => changed,
            Err(refused) => return Ok(Response::V3(Err(refused))),
        };
        if let Some((after, rows)) = draft.finish() {
            for (name, row) in rows {
                self.writer.set_meta(name, row);
            }
            tell(&before, &after);
            self.reader.set_auth(after);
        }
        Ok(match changed {
            Changed::Done => Response::V3(Ok(Reply::Auth)),
            Changed::V2(answer) => Response::V2Auth(answer),
            Changed::Token { user, secret } => {
                let token = format!("{secret}.{}", at.index);
                self.reader.tokens().add(token.clone(), user, before.revision());
                Response::V3(Ok(Reply::Token(token)))
            }
        })
    }

    /// What was there before is told only to who may read it: a name in the answer to a write of v2
    /// is its own, a value need not be.
    pub(super) fn conceal(
        &self,
        by: Option<&By>,
        write: &KeysWrite,
        answer: Result<Event, Failure>,
    ) -> Result<Event, Failure> {
        if !self.reader.auth_is_enabled() || self.reader.auth().v2_reads_key(by, &write.path) {
            return answer;
        }
        match answer {
            Ok(mut event) => {
                if let Some(prev) = &mut event.prev_node {
                    prev.value = None;
                }
                if write.refresh {
                    event.node.value = None;
                }
                Ok(event)
            }
            Err(failure) if failure.code == Code::CompareFailed => {
                Err(Failure { cause: String::from_utf8_lossy(&write.path).into_owned(), ..failure })
            }
            Err(failure) => Err(failure),
        }
    }
}

/// In the words of the original.
fn tell(before: &Arc<Auth>, after: &Auth) {
    match (before.is_enabled(), after.is_enabled()) {
        (false, true) => tracing::info!(target: "etcdserver/auth", "enabled authentication"),
        (true, false) => tracing::info!(target: "etcdserver/auth", "disabled authentication"),
        _ => {}
    }
}

pub(super) fn read_auth(writer: &Writer) -> Result<Auth, Fatal> {
    let rows = writer.meta_rows(auth::PREFIX.as_bytes())?;
    auth::read(rows).map_err(|(name, text)| damaged(&name, &text))
}
