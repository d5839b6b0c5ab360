//! What a flush has made durable stays, and is the state after some entry that was applied.

use base::{Index, MemberId};

use crate::{Violation, history::History};

const NAME: &str = "durable";

/// The keyspace is not older than a flush has reported.
pub(crate) fn stays(
    history: &History,
    member: MemberId,
    opened_at: Index,
) -> Result<(), Violation> {
    let durable = history.durable.get(&member).copied().unwrap_or_default();
    if opened_at >= durable {
        return Ok(());
    }
    let text = format!("{member}: the keyspace opened at {opened_at}, {durable} was durable");
    Err(Violation::new(NAME, text))
}

/// The keyspace does not hold what nobody ever applied.
pub(crate) fn was_applied(known: bool, opened_at: Index) -> Result<(), Violation> {
    if known || opened_at == Index(0) {
        return Ok(());
    }
    Err(Violation::new(NAME, format!("the keyspace opened at {opened_at}, never applied")))
}
