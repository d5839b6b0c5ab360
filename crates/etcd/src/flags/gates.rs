//! `--feature-gates`: the original's switches for what is new there, and what has taken the place of
//! each here.

/// A gate of etcd 3.6 or 3.7.
pub(crate) struct Gate {
    pub(crate) name: &'static str,
    /// As etcd has it: `ALPHA` is off there unless asked for, `BETA` is on.
    pub(crate) stage: &'static str,
    /// Whether the feature is there, whatever is asked for, and what there is to say about that; `None`:
    /// as it is asked for.
    pub(crate) always: Option<(bool, &'static str)>,
}

pub(crate) const INITIAL_CORRUPT_CHECK: &str = "InitialCorruptCheck";
pub(crate) const COMPACT_HASH_CHECK: &str = "CompactHashCheck";

pub(crate) const GATES: &[Gate] = &[
    alpha("StopGRPCServiceOnDefrag", false, "there is nothing to defragment"),
    beta("TxnModeWriteWithSharedBuffer", true, "transactions always read what lies in memory"),
    switched(INITIAL_CORRUPT_CHECK),
    switched(COMPACT_HASH_CHECK),
    alpha("LeaseCheckpoint", true, LEASES),
    alpha("LeaseCheckpointPersist", true, LEASES),
    alpha("SetMemberLocalAddr", false, "the system chooses the address that peers are dialed from"),
    beta("FastLeaseKeepAlive", false, "keep-alives wait for a read index, which many share"),
    alpha("PriorityRequest", true, "revoking leases always goes on when others are refused"),
];

pub(super) const LEASES: &str = "what is left of a lease is always kept across changes of leaders";
/// Stand for all gates of their kind.
const ALL: [&str; 2] = ["AllAlpha", "AllBeta"];

const fn alpha(name: &'static str, is_on: bool, reason: &'static str) -> Gate {
    Gate { name, stage: "ALPHA", always: Some((is_on, reason)) }
}

const fn beta(name: &'static str, is_on: bool, reason: &'static str) -> Gate {
    Gate { name, stage: "BETA", always: Some((is_on, reason)) }
}

/// What is there if it is asked for; off by itself, as in etcd.
const fn switched(name: &'static str) -> Gate {
    Gate { name, stage: "ALPHA", always: None }
}

/// Gates and what they are to be. The error is in etcd's words.
pub(crate) fn parse(text: &str) -> Result<Vec<(&str, bool)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let asked = parts.map(|part| {
        let (name, value) =
            part.split_once('=').ok_or_else(|| format!("missing bool value for {part}"))?;
        let (name, value) = (name.trim(), value.trim());
        let value = crate::config::value::switch(value)
            .ok_or_else(|| format!("invalid value of {name}={value}: give true or false"))?;
        let is_known = ALL.contains(&name) || GATES.iter().any(|gate| gate.name == name);
        if is_known { Ok((name, value)) } else { Err(format!("unrecognized feature gate: {name}")) }
    });
    asked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_as_etcd_reads_them() {
        assert_eq!(parse(""), Ok(vec![]));
        let both = parse("LeaseCheckpoint=true, AllBeta=False");
        assert_eq!(both, Ok(vec![("LeaseCheckpoint", true), ("AllBeta", false)]));
        let refused = |text: &str| parse(text).unwrap_err();
        assert_eq!(refused("Foo=true"), "unrecognized feature gate: Foo");
        assert_eq!(refused("LeaseCheckpoint"), "missing bool value for LeaseCheckpoint");
        assert!(refused("LeaseCheckpoint=maybe").starts_with("invalid value of LeaseCheckpoint"));
    }
}
