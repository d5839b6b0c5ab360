//! Merging the tail's rows with the file's, in order of keys.

use std::{cmp::Ordering, collections::BTreeMap, iter::Peekable};

use bytes::Bytes;

use crate::{Error, Table, engine::Snapshot};

type Row = (Bytes, Bytes);

impl Snapshot {
    /// At most `limit` rows with `from <= key < to`, those of `overlay` in place of the file's.
    pub(crate) fn merge(
        &self,
        table: Table,
        (from, to): (&[u8], Option<&[u8]>),
        overlay: &BTreeMap<Bytes, Option<Bytes>>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        let mut file = self.range(table, from, to)?.peekable();
        for (key, value) in overlay {
            while rows.len() < limit
                && let Some(row) = next_before(&mut file, key)?
            {
                rows.push(row);
            }
            if rows.len() >= limit {
                return Ok(rows);
            }
            if let Some(value) = value {
                rows.push((key.clone(), value.clone()));
            }
        }
        while rows.len() < limit
            && let Some(row) = file.next()
        {
            rows.push(row?);
        }
        Ok(rows)
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
