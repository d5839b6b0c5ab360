//! Carries committed entries into the replicated state.

use std::{path::Path, sync::Arc};

use backend::Applied;
use base::{ClusterId, Index, Term};
use mvcc::Commit;
use prost::Message as _;
use proto::command::{Command, Member};
use state::{
    Response, State,
    apply::{Fatal, NewCluster, Outcome},
};
use wal::Entry;

use crate::conf::{self, ConfError, Configuration, Switched};

/// Why entries cannot be applied: the member must stop.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    State(#[from] Fatal),
    #[error(transparent)]
    Configuration(#[from] ConfError),
    #[error("entry {got} is to be applied, but {expected} is the next one")]
    Gap { expected: Index, got: Index },
}

/// How far the state is, for [`crate::Core::applied`].
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    pub applied: Applied,
    /// Configuration changes on the way there, by their index.
    pub(crate) switched: Vec<(Index, Switched)>,
}

impl Progress {
    /// Whether raft must hear of it at once.
    pub fn is_urgent(&self) -> bool {
        !self.switched.is_empty()
    }

    /// Takes in what came right after.
    pub fn extend(&mut self, later: Self) {
        debug_assert!(self.applied.index <= later.applied.index, "progress goes back");
        self.applied = later.applied;
        self.switched.extend(later.switched);
    }
}

/// The answer to a proposal.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The command's id.
    pub id: u64,
    pub response: Response,
    pub index: Index,
    pub term: Term,
}

impl Answer {
    /// The id of the answer that there is once this entry is applied; 0 if nobody waits for it.
    pub fn id_to(entry: &Entry) -> u64 {
        if entry.kind == 0 {
            return Command::id_in(&entry.data);
        }
        conf::decode(entry).map_or(0, |change| change.id)
    }
}

/// What applying a batch gave.
#[derive(Debug)]
pub struct Batch {
    /// To be given first.
    pub answers: Vec<Answer>,
    /// To be published to the watchers then.
    pub commits: Vec<Arc<Commit>>,
    pub progress: Progress,
}

/// The replicated state and who votes in it; the apply thread's.
pub struct Applier {
    state: State,
    configuration: Configuration,
    cluster: ClusterId,
}

impl Applier {
    pub(crate) fn new(state: State, cluster: ClusterId) -> Result<Self, ApplyError> {
        let configuration = Configuration::decode(state.conf_state()?.as_ref())?;
        Ok(Self { state, configuration, cluster })
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Applies entries in order, the first being the one after [`State::applied`].
    pub fn apply(&mut self, entries: &[Entry]) -> Result<Batch, ApplyError> {
        self.apply_seen(entries, |_, _| {})
    }

    /// The same, seen by somebody who is told after each entry what came of it. It changes nothing.
    pub fn apply_seen(
        &mut self,
        entries: &[Entry],
        mut see: impl FnMut(&Entry, &Response),
    ) -> Result<Batch, ApplyError> {
        let mut batch = Batch {
            answers: Vec::with_capacity(entries.len()),
            commits: Vec::with_capacity(entries.len()),
            progress: Progress { applied: self.state.applied(), switched: Vec::new() },
        };
        for entry in entries {
            self.apply_entry(entry, &mut batch, &mut see)?;
        }
        Ok(batch)
    }

    /// Goes on with the state of a snapshot, a whole file at this path.
    pub fn replace(&mut self, incoming: &Path) -> Result<(), ApplyError> {
        self.state.replace(incoming)?;
        self.configuration = Configuration::decode(self.state.conf_state()?.as_ref())?;
        Ok(())
    }

    /// See [`State::hash_compactions`].
    pub fn hash_compactions(&mut self, hashes: bool) {
        self.state.hash_compactions(hashes);
    }

    /// Leaves the cluster: see [`State::leave_cluster`].
    pub(crate) fn leave_cluster(&mut self, at: Applied) -> Result<(), ApplyError> {
        self.state.leave_cluster(at)?;
        self.configuration = Configuration::decode(None)?;
        Ok(())
    }

    /// Begins a cluster of these members, all of whom vote: see [`State::begin_cluster`].
    pub(crate) fn begin_cluster(
        &mut self,
        at: Applied,
        members: Vec<Member>,
        bump: i64,
    ) -> Result<(), ApplyError> {
        let ids = members.iter().map(|member| member.id);
        self.configuration = Configuration::of_voters(ids)?;
        let conf_state = self.configuration.state().encode_to_vec().into();
        let new = NewCluster { id: self.cluster, members, conf_state, bump };
        Ok(self.state.begin_cluster(at, new)?)
    }

    /// One small step of compaction, in time that nobody needs; true if there is more to do.
    pub fn compact_step(&mut self, rows: usize) -> Result<bool, ApplyError> {
        Ok(self.state.compact_step(rows)?)
    }

    fn apply_entry(
        &mut self,
        entry: &Entry,
        batch: &mut Batch,
        see: &mut impl FnMut(&Entry, &Response),
    ) -> Result<(), ApplyError> {
        let expected = Index(batch.progress.applied.index.0 + 1);
        if entry.index != expected {
            return Err(ApplyError::Gap { expected, got: entry.index });
        }
        let at = Applied { index: entry.index, term: entry.term };
        let outcome = if entry.kind == 0 {
            self.state.apply(at, &entry.data)?
        } else {
            self.apply_change(entry, at, batch)?
        };
        batch.progress.applied = at;
        see(entry, &outcome.response);
        if outcome.id != 0 {
            let (id, response) = (outcome.id, outcome.response);
            batch.answers.push(Answer { id, response, index: at.index, term: at.term });
        }
        batch.commits.extend(outcome.commits);
        Ok(())
    }

    fn apply_change(
        &mut self,
        entry: &Entry,
        at: Applied,
        batch: &mut Batch,
    ) -> Result<Outcome, ApplyError> {
        let change = conf::decode(entry)?;
        let id = change.id;
        let members = self.state.reader().members();
        let decided = conf::decide(entry.index.0, change, &members, &mut self.configuration)?;
        let (response, meant) = match decided {
            Ok((meant, switched)) => {
                batch.progress.switched.push((entry.index, switched));
                (Response::Done, Some(meant))
            }
            Err(text) => (Response::Refused(text), None),
        };
        let stored = self.configuration.state().encode_to_vec().into();
        self.state.apply_conf_change(at, self.cluster, meant, stored)?;
        Ok(Outcome { id, response, commits: Vec::new() })
    }
}
