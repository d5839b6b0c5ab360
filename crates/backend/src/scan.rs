//! Merging the tail's rows with the file's, in order of keys.

use std::{cmp::Ordering, collections::BTreeMap, iter::Peekable};

use bytes::Bytes;

use crate::{Error, Table, engine::Snapshot};

type Row = (Bytes, Bytes);

impl Snapshot {
    /// Appends to `into` at most `limit` rows with `from <= key < to`, those of `overlay` in place
    /// of the file's.
    pub(crate) fn merge(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        overlay: &BTreeMap<Bytes, Option<Bytes>>,
        limit: usize,
        into: &mut Vec<Row>,
    ) -> Result<(), Error> {
        let end = into.len().saturating_add(limit);
        let mut file = self.range(table, from, to)?.peekable();
        for (key, value) in overlay {
            while into.len() < end
                && let Some(row) = next_before(&mut file, key)?
            {
                into.push(row);
            }
            if into.len() >= end {
                return Ok(());
            }
            if let Some(value) = value {
                into.push((key.clone(), value.clone()));
            }
        }
        while into.len() < end
            && let Some(row) = file.next()
        {
            into.push(row?);
        }
        Ok(())
    }
}

/// The file's next row before `key`; a row of that very key is passed over.
fn next_before(
    file: &mut Peekable<impl Iterator<Item = Result<Row, Error>>>,
    key: &[u8],
) -> Result<Option<Row>, Error> {
    let order = match file.peek() {
        None => return Ok(None),
        Some(Ok((found, _))) => found.as_ref().cmp(key),
        Some(Err(_)) => Ordering::Less,
    };
    match order {
        Ordering::Less => file.next().transpose(),
        Ordering::Equal => {
            file.next();
            Ok(None)
        }
        Ordering::Greater => Ok(None),
    }
}
