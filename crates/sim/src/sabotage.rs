//! Faults that are built in on purpose, to see that each invariant can fail.

use base::MemberId;
use member::PeerMessage;
use proto::{
    Message as _,
    command::{Command, Op},
};
use wal::Entry;

/// A fault in how effects are carried out, which some invariant must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Tell the core that a batch is on disk before it is.
    AcknowledgeBeforeSync,
    /// Tell clients that a write is done when it stands in the leader's log.
    AnswerEarly,
    /// Hand other entries out to be applied, on one member, than the log has.
    HandOutAltered,
    /// Apply other values, on one member, than the entries have that were handed out.
    ApplyAltered,
    /// One member passes over what the others tell of themselves.
    ForgetNames,
    /// Change entries on their way to a follower.
    AlterEntries,
    /// Carry refusals of votes as votes.
    TurnVotes,
    /// Carry proposals twice.
    RepeatProposals,
    /// Cut the log up to what is applied, before that is durable.
    CutBeforeFlush,
    /// Say that the keyspace is durable, and do not flush it.
    ForgetFlushes,
    /// Lose the hard state: it is not written.
    ForgetHardState,
    /// Write the hard state without the vote.
    ForgetVotes,
    /// Take a failed sync of the log for a good one.
    IgnoreFailedSyncs,
    /// Answer reads from what this member has, whoever leads.
    ReadAnything,
    /// Answer reads from what this member has, if it believes that it leads.
    ReadAsDeposed,
    /// Take a read index for lower than it is.
    ReadBehind,
    /// Take the time for later than it is.
    ExpireEarly,
    /// Take the time for long past.
    ExpireNever,
    /// Let the clock by which leases end run too fast.
    EndLeasesEarly,
    /// Give leases more time than is due to them when the leader changes.
    KeepLeasesLong,
    /// Publish what was applied together in the wrong order.
    PublishBackwards,
    /// Tell the events of an answer to a watch of v3 in the wrong order.
    TellBackwards,
    /// Tell one of them twice.
    TellTwice,
    /// Tell one of several events of a revision in an answer of its own.
    TellInParts,
    /// Leave out the first of several revisions.
    TellLess,
    /// Let a watch go on one revision too late.
    ResumeLate,
    /// Lose all fragments of an answer but the last.
    LoseParts,
    /// Tell progress further than it is.
    BookmarkAhead,
    /// Do not tell what was there before.
    ForgetBefore,
    /// Tell that keys are older than they are.
    ForgetCreation,
    /// Tell what was not to be told.
    ForgetFilters,
    /// Use what is new before all members have it.
    UseNewEarly,
    /// Do not hear that one was removed.
    StayRemoved,
    /// Do not tell the leader that a snapshot broke off.
    ForgetBrokenSnapshots,
    /// Put a snapshot's keyspace in place before the log begins behind it.
    SwitchBeforeLog,
}

impl Sabotage {
    pub const ALL: [Self; 35] = [
        Self::AcknowledgeBeforeSync,
        Self::AnswerEarly,
        Self::HandOutAltered,
        Self::ApplyAltered,
        Self::ForgetNames,
        Self::AlterEntries,
        Self::TurnVotes,
        Self::RepeatProposals,
        Self::CutBeforeFlush,
        Self::ForgetFlushes,
        Self::ForgetHardState,
        Self::ForgetVotes,
        Self::IgnoreFailedSyncs,
        Self::ReadAnything,
        Self::ReadAsDeposed,
        Self::ReadBehind,
        Self::ExpireEarly,
        Self::ExpireNever,
        Self::EndLeasesEarly,
        Self::KeepLeasesLong,
        Self::PublishBackwards,
        Self::TellBackwards,
        Self::TellTwice,
        Self::TellInParts,
        Self::TellLess,
        Self::ResumeLate,
        Self::LoseParts,
        Self::BookmarkAhead,
        Self::ForgetBefore,
        Self::ForgetCreation,
        Self::ForgetFilters,
        Self::UseNewEarly,
        Self::StayRemoved,
        Self::ForgetBrokenSnapshots,
        Self::SwitchBeforeLog,
    ];
}

/// Alters entries on their way to be handed out, or to be applied then.
pub(crate) fn alter_entries(sabotage: Option<Sabotage>, entries: &mut [Entry], member: MemberId) {
    let alter: fn(&mut Command) = match sabotage {
        Some(Sabotage::HandOutAltered | Sabotage::ApplyAltered) => |command| {
            if let Some(Op::Keys(write)) = &mut command.op
                && !write.value.is_empty()
            {
                write.value = "altered".into();
            }
        },
        Some(Sabotage::ForgetNames) => |command| {
            if let Some(Op::Publish(publish)) = &mut command.op {
                publish.name.clear();
            }
        },
        _ => return,
    };
    if member != MemberId(1) {
        return;
    }
    for entry in entries.iter_mut().filter(|entry| entry.kind == 0 && !entry.data.is_empty()) {
        if let Ok(mut command) = Command::decode(&*entry.data) {
            alter(&mut command);
            entry.data = command.encode_to_vec().into();
        }
    }
}

/// Alters a message on its way.
pub(crate) fn alter_message(
    sabotage: Option<Sabotage>,
    message: &PeerMessage,
    bytes: &mut [u8],
    rng: &mut fastrand::Rng,
) {
    match sabotage {
        Some(Sabotage::AlterEntries) if message.is_append() && rng.u8(..8) == 0 => {
            // All values that clients send are `v` and a number.
            let digit = second_of(bytes, |pair| matches!(pair, [b'v', b'0'..=b'9']));
            if let Some(digit) = digit {
                *digit = if *digit == b'9' { b'1' } else { *digit + 1 };
            }
        }
        Some(Sabotage::TurnVotes) if message.show().starts_with("MsgRequestVoteResponse") => {
            // Field 10 says that a message refuses.
            if let Some(refuses) = second_of(bytes, |pair| *pair == [10 << 3, 1]) {
                *refuses = 0;
            }
        }
        _ => {}
    }
}

fn second_of(bytes: &mut [u8], is_pair: impl Fn(&[u8]) -> bool) -> Option<&mut u8> {
    let at = bytes.windows(2).position(is_pair)?;
    bytes.get_mut(at + 1)
}
