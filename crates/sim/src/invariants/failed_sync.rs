//! Failed sync: a member whose disk has failed to sync stops there; what it wrote may be lost.

use base::MemberId;

use crate::Violation;

/// A step in which a sync has failed (or none has) has failed itself.
pub(crate) fn stops(member: MemberId, sync_failed: bool, stopped: bool) -> Result<(), Violation> {
    if stopped || !sync_failed {
        return Ok(());
    }
    Err(Violation::new("failed sync", format!("{member} goes on after a sync that failed")))
}
