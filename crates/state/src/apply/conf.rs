//! Configuration changes.

use backend::{Applied, Export, Table};
use bytes::Bytes;
use mvcc::ReadError;

use super::{Fatal, State, membership_change::Change, meta};

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
    /// Applies an entry that changes the configuration: the members table, and raft's `ConfState`
    /// (opaque bytes) as it is afterwards, in the same write.
    ///
    /// `change` is one that [`Members::check`](crate::membership::Members::check) allows; `None`
    /// where it was refused.
    pub fn apply_conf_change(
        &mut self,
        at: Applied,
        change: Option<Change>,
        conf_state: Bytes,
    ) -> Result<(), Fatal> {
        self.check_is_new(at)?;
        if let Some(change) = change {
            let mut members = (*self.reader.members()).clone();
            members.change(change);
            self.set_members(members);
        }
        self.writer.set_meta(meta::CONF_STATE, Some(conf_state));
        self.writer.finish_entry(at);
        Ok(())
    }

    /// Raft's `ConfState` (opaque bytes) in tables that go to another member.
    pub fn exported_conf_state(export: &Export) -> Result<Option<Bytes>, Fatal> {
        let row = export.get(Table::Meta, meta::CONF_STATE.as_bytes());
        Ok(row.map_err(ReadError::from)?)
    }

    /// Raft's `ConfState` (opaque bytes) at [`State::applied`]; `None` in a fresh store.
    pub fn conf_state(&self) -> Result<Option<Bytes>, Fatal> {
        Ok(self.writer.meta(meta::CONF_STATE.as_bytes())?)
    }
}
