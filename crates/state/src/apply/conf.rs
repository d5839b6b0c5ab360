//! Configuration changes.

use backend::{Applied, Export, Table};
use base::{ClusterId, MemberId};
use bytes::Bytes;
use mvcc::ReadError;
use proto::command::Member;

use super::{Fatal, State, damaged, membership_change::Change, meta};
use crate::{alarm::Alarms, membership::Members};

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

/// A cluster that is to begin with a keyspace of another one: see [`State::begin_cluster`].
#[derive(Clone, Debug)]
pub struct NewCluster {
    pub id: ClusterId,
    pub members: Vec<Member>,
    /// As for [`State::apply_conf_change`].
    pub conf_state: Bytes,
    /// By how much the revision is raised; then all before is compacted.
    pub bump: i64,
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
            if let Change::Remove(member) = change {
                self.forget_corrupt(member);
            }
            members.change(change);
            self.set_members(members);
        }
        self.writer.set_meta(meta::CONF_STATE, Some(conf_state));
        self.writer.finish_entry(at);
        Ok(())
    }

    /// What was wrong with the data of a member has gone with it.
    fn forget_corrupt(&mut self, member: MemberId) {
        let mut alarms = (*self.reader.alarms()).clone();
        if alarms.forget_corrupt(member) {
            self.set_alarms(alarms);
        }
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
        self.writer.forget_digest();
        Ok(())
    }

    /// Begins a cluster, as an entry of its own: what there was of another one is forgotten, those
    /// who were removed too, since the new members may well have the old ones' ids; so are alarms,
    /// and a lowering of the version that was going on.
    pub fn begin_cluster(&mut self, at: Applied, new: NewCluster) -> Result<(), Fatal> {
        self.check_is_new(at)?;
        let NewCluster { id, members, conf_state, bump } = new;
        if bump > 0 {
            self.writer.raise(self.reader.store().revision() + bump)?;
        }
        let members = members.into_iter().map(|member| (MemberId(member.id), member.into()));
        self.set_members(Members { members: members.collect(), ..Members::default() });
        let id = Bytes::copy_from_slice(&id.0.to_be_bytes());
        self.writer.set_meta(meta::CLUSTER, Some(id));
        self.writer.set_meta(meta::CONF_STATE, Some(conf_state));
        self.writer.set_meta(meta::ALARMS, None);
        self.reader.set_alarms(Alarms::default());
        self.forget_lowering(at)?;
        self.writer.finish_entry(at);
        self.writer.forget_digest();
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
