//! Configuration changes.

use backend::Applied;
use bytes::Bytes;

use super::{Fatal, Outcome, Response, State, membership_change::Change, meta};

/// The kinds of configuration change.
pub mod membership_change {
    use base::MemberId;
    use proto::command::Member;

    #[derive(Clone, Debug)]
    pub enum Change {
        Add(Member),
        Update(Member),
        Remove(MemberId),
    }
}

impl State {
    /// Applies a configuration change: the members table, and raft's `ConfState` (opaque bytes) as it
    /// is afterwards, in the same write.
    ///
    /// A change that [`Members::check`](crate::membership::Members::check) refuses leaves the
    /// members as they are; ask that before raft carries the change out, since `conf_state` is
    /// stored in any case.
    pub fn apply_conf_change(
        &mut self,
        at: Applied,
        change: Change,
        conf_state: Bytes,
    ) -> Result<Outcome, Fatal> {
        self.check_is_new(at)?;
        let mut members = (*self.reader.members()).clone();
        let response = match members.check(&change) {
            Ok(()) => {
                members.change(change);
                self.set_members(members);
                Response::Done
            }
            Err(refusal) => Response::Refused(refusal.to_string()),
        };
        self.writer.set_meta(meta::CONF_STATE, Some(conf_state));
        self.writer.finish_entry(at);
        Ok(Outcome { id: 0, response, commits: Vec::new() })
    }

    /// Raft's `ConfState` (opaque bytes) at [`State::applied`]; `None` in a fresh store.
    pub fn conf_state(&self) -> Result<Option<Bytes>, Fatal> {
        Ok(self.writer.meta(meta::CONF_STATE)?)
    }
}
