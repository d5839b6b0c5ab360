//! A read sees all that was acknowledged before it began.

use base::Index;
use member::Read;

use crate::Violation;

/// The index that a read was given is not below what had been acknowledged.
pub(crate) fn is_current(
    asked: &mut Vec<(Read, Index)>,
    read: Read,
    given: Index,
) -> Result<(), Violation> {
    let Some(at) = asked.iter().position(|(one, _)| *one == read) else {
        return Err(Violation::new("reads", format!("{read:?} was answered twice")));
    };
    let (_, least) = asked.swap_remove(at);
    if given >= least {
        return Ok(());
    }
    Err(Violation::new("reads", format!("{read:?} was given {given}, {least} was acknowledged")))
}
