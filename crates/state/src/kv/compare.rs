//! The conditions of a transaction.

use std::cmp::Ordering;

use base::Revision;
use proto::etcdserverpb::{
    Compare,
    compare::{CompareResult, CompareTarget, TargetUnion},
};

use super::{
    Error,
    range::{Keys, Source},
};

/// Whether all of them hold.
pub(super) fn hold(source: &impl Source, compares: &[Compare]) -> Result<bool, Error> {
    for compare in compares {
        if !holds(source, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether it holds for every key; where there is none, for one whose numbers are 0. But such a key
/// has no value, and no comparison with it holds.
fn holds(source: &impl Source, compare: &Compare) -> Result<bool, Error> {
    let keys = Keys::new(&compare.key, &compare.range_end);
    let (places, _) = source.places(keys, usize::MAX, true)?;
    let target = CompareTarget::try_from(compare.target).ok();
    if places.is_empty() {
        let is_value = target == Some(CompareTarget::Value);
        return Ok(!is_value && fits(compare, 0.cmp(&number(compare, target))));
    }
    for place in places {
        if !fits(compare, order(source, compare, target, place)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How a key compares with what is asked. What the original does not know is equal to it.
fn order(
    source: &impl Source,
    compare: &Compare,
    target: Option<CompareTarget>,
    place: Revision,
) -> Result<Ordering, Error> {
    let asked = number(compare, target);
    Ok(match target {
        None => Ordering::Equal,
        Some(CompareTarget::Value) => {
            let asked = match &compare.target_union {
                Some(TargetUnion::Value(value)) => value.as_ref(),
                _ => b"",
            };
            source.record(place)?.value.as_ref().cmp(asked)
        }
        Some(CompareTarget::Mod) => place.main.cmp(&asked),
        Some(CompareTarget::Version) => source.head(place)?.version.cmp(&asked),
        Some(CompareTarget::Create) => source.head(place)?.create_revision.cmp(&asked),
        Some(CompareTarget::Lease) => source.head(place)?.lease.cmp(&asked),
    })
}

/// The number that is asked for; 0 if it is one for another target.
fn number(compare: &Compare, target: Option<CompareTarget>) -> i64 {
    match (target, &compare.target_union) {
        (Some(CompareTarget::Version), Some(TargetUnion::Version(number)))
        | (Some(CompareTarget::Create), Some(TargetUnion::CreateRevision(number)))
        | (Some(CompareTarget::Mod), Some(TargetUnion::ModRevision(number)))
        | (Some(CompareTarget::Lease), Some(TargetUnion::Lease(number))) => *number,
        _ => 0,
    }
}

fn fits(compare: &Compare, order: Ordering) -> bool {
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order.is_eq(),
        Ok(CompareResult::NotEqual) => order.is_ne(),
        Ok(CompareResult::Greater) => order.is_gt(),
        Ok(CompareResult::Less) => order.is_lt(),
        // As in the original.
        Err(_) => true,
    }
}
