//! Reads: a read sees all that was acknowledged before it began.

use base::Index;
use member::{Applier, Read};

use crate::{Violation, history::History, node::Asked};

/// A member that serves reads at once has applied all that was acknowledged.
pub(crate) fn may_be_at_once(history: &History, applier: &Applier) -> Result<(), Violation> {
    let (acknowledged, applied) = (history.last_acknowledged(), applier.state().applied().index);
    if applied >= acknowledged {
        return Ok(());
    }
    let text = format!("served at once at {applied}, {acknowledged} was acknowledged");
    Err(Violation::new("reads", text))
}

/// The index that a read was given is not below what had been acknowledged.
/// Returns what was asked.
pub(crate) fn is_current(
    waiting: &mut Vec<Asked>,
    read: Read,
    given: Index,
) -> Result<Asked, Violation> {
    let Some(at) = waiting.iter().position(|one| one.read == read) else {
        return Err(Violation::new("reads", format!("{read:?} was answered twice")));
    };
    let asked = waiting.swap_remove(at);
    let least = asked.least;
    if given >= least {
        return Ok(asked);
    }
    Err(Violation::new("reads", format!("{read:?} was given {given}, {least} was acknowledged")))
}
