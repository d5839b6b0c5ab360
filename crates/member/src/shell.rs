//! Carries out what a core wants: in this order, whoever does it. `server` does it with threads, files
//! and sockets, `sim` one step at a time.

use std::{ops::DerefMut, path::Path};

use backend::Applied;
use base::Index;
use wal::{Entry, Wal};

use crate::{
    Append, Applier, ApplyError, Core, CoreError, Effects, Install, Lost, PeerMessage, Progress,
    Proposal, Read, Role,
};

/// How each thing is done that a core wants. When is said by [`carry_out`].
pub trait Shell {
    type Error: From<CoreError>;

    fn core(&mut self) -> &mut Core;

    /// To other members, as soon as possible.
    fn send(&mut self, messages: Vec<PeerMessage>);

    /// Followers that need the keyspace, each with the message that stands for it: see
    /// [`Effects::snapshots`].
    fn send_snapshots(&mut self, wanted: Vec<PeerMessage>);

    /// The snapshot that has come takes the place of all that is here, by [`install`]. What waits to be
    /// applied is older, and so is what was applied and the core has not heard of. Returns whether this
    /// member was removed, as the snapshot says.
    fn install(&mut self, install: &Install) -> Result<bool, Self::Error>;

    /// So much is committed; and who leads, if that changed.
    fn stands(&mut self, committed: Index, role: Option<Role>);

    /// This member does not belong to the cluster any more.
    fn leave(&mut self, why: &'static str);

    /// Nobody will answer the proposals of these ids.
    fn refuse(&mut self, dropped: Vec<(u64, Lost)>);

    /// These are to be proposed again as soon as there is a leader, if anybody still waits for them.
    fn again(&mut self, proposals: Vec<Proposal>);

    /// These reads may be served once so much is applied.
    fn serve_reads(&mut self, index: Index, reads: Vec<Read>);

    /// To be applied, now or later. `is_idle`: whoever does it holds up no write to the log.
    fn apply(&mut self, entries: Vec<Entry>, is_idle: bool) -> Result<(), Self::Error>;

    /// Whether somebody else writes to the log, so that [`append`](Self::append) does not wait.
    fn appends_beside(&self) -> bool;

    /// To be written to the log and synced, now or later; true if it is synced.
    fn append(&mut self, append: Append) -> Result<bool, Self::Error>;

    /// What was applied just now, and the core has not heard of.
    fn progress(&mut self) -> Option<Progress>;

    /// The members are other ones now, or are found elsewhere.
    fn members_changed(&mut self);
}

/// Why a snapshot could not be installed: the member must stop. Opening finishes it, or goes on without.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Wal(#[from] wal::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("the snapshot's keyspace is of entry {found}, and was said to be of entry {said}")]
    OtherEntry { found: Index, said: Index },
}

/// Carries out all that the core wants, after any event. Returns whether something was applied on the
/// way.
pub fn carry_out<S: Shell>(shell: &mut S) -> Result<bool, S::Error> {
    let mut has_applied = false;
    loop {
        shell.core().farewell()?;
        while let Some(effects) = shell.core().step() {
            carry_out_step(shell, effects)?;
        }
        let Some(progress) = shell.progress() else { return Ok(has_applied) };
        has_applied = true;
        applied(shell, progress)?;
    }
}

fn carry_out_step<S: Shell>(shell: &mut S, effects: Effects) -> Result<(), S::Error> {
    let Effects { send, append, apply, reads, dropped, again, role, removed, snapshots, install } =
        effects;
    // First of all: the others write while this member does.
    shell.send(send);
    shell.send_snapshots(snapshots);
    if let Some(install) = install {
        let is_removed = shell.install(&install)?;
        shell.core().installed(install)?;
        shell.members_changed();
        if is_removed {
            shell.leave("as the snapshot says");
        }
    }
    let committed = shell.core().committed();
    shell.stands(committed, role);
    if removed {
        shell.leave("as agreed");
    }
    shell.refuse(dropped);
    shell.again(again);
    for (index, reads) in reads {
        shell.serve_reads(index, reads);
    }
    // Whoever writes beside may begin while this thread applies; unless it has to wait for the disk itself.
    let mut append = append;
    if let Some(append) = append.take_if(|_| shell.appends_beside()) {
        write(shell, append)?;
    }
    if !apply.is_empty() {
        shell.apply(apply, append.is_none())?;
    }
    append.map_or(Ok(()), |append| write(shell, append))
}

fn write<S: Shell>(shell: &mut S, append: Append) -> Result<(), S::Error> {
    let ticket = append.ticket;
    if shell.append(append)? {
        shell.core().persisted(ticket)?;
    }
    Ok(())
}

/// Entries were applied; then [`carry_out`].
pub fn applied<S: Shell>(shell: &mut S, progress: Progress) -> Result<(), S::Error> {
    let has_changed = progress.is_urgent();
    shell.core().applied(progress)?;
    if has_changed {
        shell.members_changed();
    }
    Ok(())
}

/// A whole snapshot has come, and nothing is on its way to the log: takes it over, if raft wants it.
/// Returns whether it did; else it is to be thrown away.
pub fn restore<S: Shell>(shell: &mut S, message: PeerMessage) -> Result<bool, S::Error> {
    let is_wanted = shell.core().restore(message);
    if is_wanted {
        carry_out(shell)?;
    }
    Ok(is_wanted)
}

/// Puts a snapshot, a whole file at `incoming`, in the place of all that is here: first the log starts
/// anew behind it, then its keyspace takes the place of ours. Opening finishes what a crash interrupts
/// in between; in the other order it would find a keyspace ahead of its log.
pub fn install(
    mut wal: impl DerefMut<Target = Wal>,
    applier: &mut Applier,
    incoming: &Path,
    install: &Install,
) -> Result<(), InstallError> {
    let Applied { index, term } = install.applied;
    wal.restart((index, term), install.hard_state)?;
    // Whoever else wants the log need not wait for the keyspace.
    drop(wal);
    applier.replace(incoming)?;
    let found = applier.state().applied();
    if found != install.applied {
        return Err(InstallError::OtherEntry { found: found.index, said: index });
    }
    Ok(())
}
