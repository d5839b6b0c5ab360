//! Whether a command is done in a moment, before it is carried out.

use mvcc::Store;
use proto::{
    command::{KeysMethod, KeysWrite, Op},
    etcdserverpb::{
        Compare, DeleteRangeRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
    },
};

use super::range::{At, Keys, Source as _};

/// Names that a command may have to look at: some milliseconds.
const NAMES_MAX: usize = 1_000;

/// Whether a command finds so little that whoever waits for other things can carry it out on the way.
pub(crate) fn is_brief(store: &Store, op: &Op) -> bool {
    let mut effort = Effort { source: At::new(store, store.revision(), NAMES_MAX) };
    match op {
        Op::DeleteRange(DeleteRangeRequest { key, range_end, .. }) => effort.fits(key, range_end),
        Op::Txn(txn) => effort.txn(txn),
        Op::LeaseRevoke(revoke) => store.leased_up_to(revoke.id, NAMES_MAX) < NAMES_MAX,
        Op::Keys(KeysWrite { method, recursive, .. }) => {
            let method = KeysMethod::try_from(*method);
            !(*recursive && matches!(method, Ok(KeysMethod::Delete)))
        }
        // Directories go with all that is in them.
        Op::Expire(_) => false,
        Op::Put(_)
        | Op::LeaseGrant(_)
        | Op::LeaseCheckpoint(_)
        | Op::Compact(_)
        | Op::Publish(_)
        | Op::ClusterVersion(_)
        | Op::Downgrade(_)
        | Op::Alarm(_)
        | Op::Auth(_) => true,
        #[cfg(feature = "next-version")]
        Op::Note(_) => true,
    }
}

struct Effort<'a> {
    source: At<'a>,
}

impl Effort<'_> {
    fn txn(&mut self, txn: &TxnRequest) -> bool {
        let TxnRequest { compare, success, failure } = txn;
        compare.iter().all(|Compare { key, range_end, .. }| self.fits(key, range_end))
            && success.iter().chain(failure).all(|op| self.operation(op))
    }

    fn operation(&mut self, op: &RequestOp) -> bool {
        match &op.request {
            Some(
                Request::RequestRange(RangeRequest { key, range_end, .. })
                | Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, .. }),
            ) => self.fits(key, range_end),
            Some(Request::RequestTxn(nested)) => self.txn(nested),
            Some(Request::RequestPut(_)) | None => true,
        }
    }

    /// Whether there are names left for these keys.
    fn fits(&mut self, key: &[u8], range_end: &[u8]) -> bool {
        match Keys::new(key, range_end) {
            Keys::One(_) => true,
            keys @ Keys::Range(..) => self.source.places(keys, 0, true).is_ok(),
        }
    }
}
