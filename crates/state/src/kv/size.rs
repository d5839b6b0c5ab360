//! How large the answer to a command becomes, before it is carried out.

use std::sync::Arc;

use base::limits::ANSWER_BYTES_MAX;
use bytes::Bytes;
use mvcc::Store;
use proto::{
    command::{KeysWrite, Op},
    etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest, request_op::Request},
};

use super::{
    Error,
    answer::PAIR_BYTES,
    range::{At, Held, Keys, Source as _},
};

/// About how many bytes of keys and values the answer holds, if the keyspace stays as it is: no more
/// than [`ANSWER_BYTES_MAX`], as with the answer itself. Of a transaction, the larger branch.
pub(crate) fn of_answer(store: &Arc<Store>, op: &Op, names_max: usize) -> Result<usize, Error> {
    if let Op::Keys(write) = op {
        return of_write(store, write);
    }
    let may_be_large = matches!(op, Op::Put(PutRequest { prev_kv: true, .. }))
        || matches!(op, Op::DeleteRange(DeleteRangeRequest { prev_kv: true, .. }))
        || matches!(op, Op::Txn(_));
    if !may_be_large {
        return Ok(0);
    }
    let held = Held::new(store, 0)?;
    let mut size = Size { source: held.source_up_to(names_max), bytes: 0 };
    if let Op::Put(put) = op {
        size.put(put)?;
    } else if let Op::DeleteRange(deletion) = op {
        size.deletion(deletion)?;
    } else if let Op::Txn(txn) = op {
        size.txn(txn)?;
    }
    Ok(size.bytes.min(ANSWER_BYTES_MAX))
}

/// The value that is written, and the one before.
fn of_write(store: &Store, write: &KeysWrite) -> Result<usize, Error> {
    let before = match store.place(&write.path, 0)? {
        Some(place) => store.head(place)?.map_or(0, |(_, value_len)| value_len),
        None => 0,
    };
    Ok(write.value.len() + before)
}

struct Size<'a> {
    source: At<'a>,
    bytes: usize,
}

impl Size<'_> {
    fn txn(&mut self, request: &TxnRequest) -> Result<(), Error> {
        let before = self.bytes;
        let mut most = before;
        for branch in [&request.success, &request.failure] {
            self.bytes = before;
            for op in branch {
                match &op.request {
                    Some(Request::RequestRange(range)) => self.range(range)?,
                    Some(Request::RequestPut(put)) => self.put(put)?,
                    Some(Request::RequestDeleteRange(deletion)) => self.deletion(deletion)?,
                    Some(Request::RequestTxn(nested)) => self.txn(nested)?,
                    None => {}
                }
            }
            most = most.max(self.bytes);
        }
        self.bytes = most;
        Ok(())
    }

    fn put(&mut self, request: &PutRequest) -> Result<(), Error> {
        if request.prev_kv { self.keys(&request.key, &Bytes::new(), 0, false) } else { Ok(()) }
    }

    fn deletion(&mut self, request: &DeleteRangeRequest) -> Result<(), Error> {
        let DeleteRangeRequest { key, range_end, prev_kv } = request;
        if *prev_kv { self.keys(key, range_end, 0, false) } else { Ok(()) }
    }

    /// As it is now, whatever revision is asked for; with filters it may be less.
    fn range(&mut self, request: &RangeRequest) -> Result<(), Error> {
        let RangeRequest { key, range_end, limit, keys_only, count_only, .. } = request;
        if *count_only {
            // Nothing is told of them, but they are looked at.
            self.source.places(Keys::new(key, range_end), 0, true)?;
            return Ok(());
        }
        self.keys(key, range_end, *limit, *keys_only)
    }

    fn keys(
        &mut self,
        key: &Bytes,
        range_end: &Bytes,
        limit: i64,
        keys_only: bool,
    ) -> Result<(), Error> {
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
        // A pair takes so much at least.
        let most = ANSWER_BYTES_MAX / PAIR_BYTES;
        let limit = limit.unwrap_or(most).min(most);
        let (places, _) = self.source.places(Keys::new(key, range_end), limit, false)?;
        for place in places {
            if self.bytes >= ANSWER_BYTES_MAX {
                break;
            }
            let Some((head, value_len)) = self.source.store.head(place)? else { continue };
            let value_len = if keys_only { 0 } else { value_len };
            self.bytes += PAIR_BYTES + head.name.len() + value_len;
        }
        Ok(())
    }
}
