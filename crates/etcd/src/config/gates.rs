//! `--feature-gates`: what was asked for and is otherwise here.

use super::{Refusal, given::Given};
use crate::flags::gates::{self, GATES};

/// Whether a feature is asked for that is off by itself, and alpha.
pub(super) fn is_asked_for(given: &Given, name: &str) -> bool {
    let asked = gates::parse(given.text("feature-gates")).unwrap_or_default();
    let wants = |name: &str| asked.iter().rev().find(|(one, _)| *one == name).map(|(_, on)| *on);
    wants(name).or_else(|| wants("AllAlpha")).unwrap_or_default()
}

pub(super) fn read(given: &mut Given) -> Result<(), Refusal> {
    let (text, shown) = (given.text("feature-gates").to_owned(), given.show("feature-gates"));
    // Checked when it was given.
    let asked = gates::parse(&text).unwrap_or_default();
    let wants = |name: &str| asked.iter().rev().find(|(one, _)| *one == name).map(|(_, on)| *on);
    // `AllAlpha` opens both.
    let alone = wants("LeaseCheckpointPersist") == Some(true)
        && wants("LeaseCheckpoint").or_else(|| wants("AllAlpha")) != Some(true);
    if alone {
        return Err(Refusal::Conflict(
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
             LeaseCheckpoint"
                .to_owned(),
        ));
    }
    for gate in GATES {
        if let Some((is_on, reason)) = gate.always
            && wants(gate.name).is_some_and(|wanted| wanted != is_on)
        {
            let name = gate.name;
            given.warn(format!("{shown}: {name} has no effect: {reason}"));
        }
    }
    Ok(())
}
