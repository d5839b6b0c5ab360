//! Configuration changes.

use backend::{Applied, Export, Table};
use base::ClusterId;
use bytes::Bytes;
use mvcc::ReadError;

use super::{Fatal, State, damaged, membership_change::Change, meta};

/// The kinds of configuration change.
pub mod membership_change {
    use base::MemberId;
    use proto::command::Member;

    /// A change of the members.
    #[derive(Clone, Debug, PartialEq)]
    pub enum Change {
        Add(Member),
        /// A learner, if there are at most so many then.
        AddLearner(Member, u32),
        /// Other peer URLs; whether it votes stays as it is.
        Update(Member),
        /// A learner becomes a voter.
        Promote(MemberId),
        Remove(MemberId),
    }
}

impl State {
    /// Applies an entry that changes the configuration: the members table, whose cluster it is, and
    /// raft's `ConfState` (opaque bytes) as it is afterwards, in the same write.
    ///
    /// `change` is one that [`Members::check`](crate::membership::Members::check) allows; `None`
    /// where it was refused.
    pub fn apply_conf_change(
        &mut self,
        at: Applied,
        cluster: ClusterId,
        change: Option<Change>,
        conf_state: Bytes,
    ) -> Result<(), Fatal> {
        self.check_is_new(at)?;
        let cluster = Bytes::copy_from_slice(&cluster.0.to_be_bytes());
        self.writer.set_meta(meta::CLUSTER, Some(cluster));
        if let Some(change) = change {
            let mut members = (*self.reader.members()).clone();
            members.change(change);
            self.set_members(members);
        }
        self.writer.set_meta(meta::CONF_STATE, Some(conf_state));
        self.writer.finish_entry(at);
        Ok(())
    }

    /// Leaves the cluster, as an entry of its own: all who belong to it are removed, and nobody votes
    /// any more. For a copy, which is to begin a cluster of its own.
    pub fn leave_cluster(&mut self, at: Applied) -> Result<(), Fatal> {
        self.check_is_new(at)?;
        let mut members = (*self.reader.members()).clone();
        let removed = std::mem::take(&mut members.members);
        members.removed.extend(removed.into_keys());
        self.set_members(members);
        self.writer.set_meta(meta::CLUSTER, None);
        self.writer.set_meta(meta::CONF_STATE, None);
        self.writer.finish_entry(at);
        Ok(())
    }

    /// Whose cluster it is; `None` before the first change of the configuration.
    pub fn cluster(&self) -> Result<Option<ClusterId>, Fatal> {
        let Some(row) = self.writer.meta(meta::CLUSTER.as_bytes())? else { return Ok(None) };
        let id = row.as_ref().try_into().map(u64::from_be_bytes);
        id.map(|id| Some(ClusterId(id))).map_err(|_| damaged(meta::CLUSTER, "it is no number"))
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
