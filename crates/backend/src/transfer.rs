//! Tables on their way to another member: the file after some commit, as chunks of rows.
//!
//! A chunk is a list of rows: the table (one byte), the lengths of key and value (four bytes each,
//! big-endian), key and value. Rows come table by table, in order of their keys.

use std::{path::Path, sync::Arc};

use base::{Disk, limits};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::{
    Applied, Backend, Change, Error, Options, Table,
    engine::{self, Engine, Snapshot},
    tail::Tail,
};

/// What a row costs in a chunk besides key and value.
pub(crate) const ROW_HEAD_BYTES: usize = 9;
/// More than any row has: a name is no longer than a request.
const ROW_BYTES_MAX: usize = limits::REQUEST_BYTES_CEILING + (1 << 20);
/// What is gathered before it is committed.
const COMMIT_BYTES: usize = 1 << 20;

/// The tables as some commit left them, read out piece by piece. Others go on writing meanwhile; the
/// space of what they delete is used again once this is gone.
#[derive(Debug)]
pub struct Export {
    pub(crate) file: Arc<Snapshot>,
    pub(crate) applied: Applied,
    /// The tables that are left; of the first one, the rows from this key on.
    pub(crate) tables: &'static [Table],
    pub(crate) from: Vec<u8>,
}

/// Tables that are being taken over from another member, in a file beside the keyspace.
///
/// Invariant: the file knows of an applied entry only once it is whole.
#[derive(Debug)]
pub struct Incoming {
    engine: Engine,
    tail: Tail,
}

impl Backend {
    /// The tables as they are durable now.
    pub fn export(&self) -> Export {
        let state = self.state.read();
        let (file, applied) = (Arc::clone(&state.file), state.durable);
        Export { file, applied, tables: &Table::ALL, from: Vec::new() }
    }
}

impl Export {
    /// The last entry whose changes are included.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.file.get(table, key)
    }

    /// The bytes of all keys and values.
    pub fn row_bytes(&self) -> u64 {
        self.file.used()
    }

    /// How many rows there are, and the bytes of their keys and values.
    pub(crate) fn size(&self) -> Result<(u64, u64), Error> {
        let mut rows = 0;
        for table in Table::ALL {
            rows += self.file.rows(table)?;
        }
        let own = self.file.range(Table::Meta, &[], Some(&[1]))?.count() as u64;
        Ok((rows.saturating_sub(own), self.file.used()))
    }

    /// A CRC-32C over all rows as they travel.
    pub fn crc32c(mut self) -> Result<u32, Error> {
        let mut crc = 0;
        while let Some(rows) = self.next_chunk(COMMIT_BYTES)? {
            crc = crc32c::crc32c_append(crc, &rows);
        }
        Ok(crc)
    }

    /// The next rows, about so many bytes of them or one; `None` at the end.
    pub fn next_chunk(&mut self, bytes: usize) -> Result<Option<Bytes>, Error> {
        let mut chunk = BytesMut::with_capacity(bytes + (64 << 10));
        while let Some((table, rest)) = self.tables.split_first() {
            let from = std::mem::take(&mut self.from);
            for row in self.file.range(*table, &from, None)? {
                let (key, value) = row?;
                if chunk.len() >= bytes {
                    self.from = key.to_vec();
                    return Ok(Some(chunk.freeze()));
                }
                if !is_own(*table, &key) {
                    write_row(&mut chunk, *table, &key, &value);
                }
            }
            self.tables = rest;
        }
        Ok((!chunk.is_empty()).then(|| chunk.freeze()))
    }
}

/// Whether a row is the file's own, and not for another one.
fn is_own(table: Table, key: &[u8]) -> bool {
    table == Table::Meta && key.first() == Some(&0)
}

fn write_row(chunk: &mut BytesMut, table: Table, key: &[u8], value: &[u8]) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    chunk.reserve(ROW_HEAD_BYTES + key.len() + value.len());
    chunk.put_u8(table as u8);
    chunk.put_u32(length(key));
    chunk.put_u32(length(value));
    chunk.put_slice(key);
    chunk.put_slice(value);
}

/// The length of the row that these bytes begin with; `None` if they are no row's.
pub(crate) fn row_length(mut bytes: &[u8]) -> Option<usize> {
    if bytes.len() < ROW_HEAD_BYTES || Table::ALL.get(usize::from(bytes.get_u8())).is_none() {
        return None;
    }
    let (key, value) = (bytes.get_u32() as usize, bytes.get_u32() as usize);
    (key <= ROW_BYTES_MAX && value <= ROW_BYTES_MAX).then_some(ROW_HEAD_BYTES + key + value)
}

/// The rows of a chunk.
pub fn rows(mut chunk: Bytes) -> Result<Vec<Change>, Error> {
    let mut rows = Vec::new();
    while !chunk.is_empty() {
        rows.push(read_row(&mut chunk)?);
    }
    Ok(rows)
}

fn read_row(chunk: &mut Bytes) -> Result<Change, Error> {
    let bad = |text: &str| Error::damaged(Table::Records, &[], text);
    if chunk.len() < ROW_HEAD_BYTES {
        return Err(bad("a chunk ends in the middle of a row"));
    }
    let table = Table::ALL.get(usize::from(chunk.get_u8())).copied();
    let table = table.ok_or_else(|| bad("a chunk has a row of an unknown table"))?;
    let (key, value) = (chunk.get_u32() as usize, chunk.get_u32() as usize);
    if key > ROW_BYTES_MAX || value > ROW_BYTES_MAX || key + value > chunk.len() {
        return Err(bad("a chunk has a row that is longer than it"));
    }
    let key = chunk.split_to(key);
    // Small ones would keep the whole chunk.
    let value = Bytes::copy_from_slice(&chunk.split_to(value));
    if is_own(table, &key) {
        return Err(bad("a chunk has a row that is the file's own"));
    }
    Ok(Change { table, key: Bytes::copy_from_slice(&key), value: Some(value) })
}

impl Incoming {
    /// Begins a new file at this path, in place of one that was left there.
    pub fn create(disk: &dyn Disk, path: &Path, options: &Options) -> Result<Self, Error> {
        discard(disk, path)?;
        let engine = Engine::open(disk, path, options)?;
        Ok(Self { engine, tail: Tail::new(Applied::default()) })
    }

    /// Adds the rows of a chunk, after those of the chunks before.
    pub fn add(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.tail.write(None, rows(chunk)?);
        while self.tail.bytes() >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Error> {
        let Some(generation) = self.tail.oldest(Applied::default()) else { return Ok(()) };
        self.engine.commit(&generation)?;
        self.tail.retire();
        Ok(())
    }

    /// All rows have been added: the tables are those after this entry. Durable when this returns.
    pub fn finish(mut self, applied: Applied) -> Result<(), Error> {
        while self.tail.bytes() > 0 {
            self.commit()?;
        }
        self.tail.write(Some(applied), Vec::new());
        self.commit()?;
        self.engine.close()
    }
}

/// Removes what is left at the path of an [`Incoming`], whole or not.
pub fn discard(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    for path in [engine::unfinished(path), path.to_path_buf()] {
        let io = |verb| {
            let path = path.display().to_string();
            move |error: std::io::Error| engine::failed(verb, &path, error)
        };
        if disk.exists(&path).map_err(io("look for"))? {
            disk.remove(&path).map_err(io("remove"))?;
        }
    }
    Ok(())
}

/// Gives a whole [`Incoming`] file the keyspace's name, in place of the file that had it. Durable
/// when this returns.
pub fn put_in_place(disk: &dyn Disk, incoming: &Path, keyspace: &Path) -> Result<(), Error> {
    let path = keyspace.display().to_string();
    let io = |verb| move |error: std::io::Error| engine::failed(verb, &path, error);
    disk.rename(incoming, keyspace).map_err(io.clone()("replace"))?;
    engine::sync_parent(disk, keyspace).map_err(io("sync the directory of"))
}

impl Backend {
    /// Looks into a whole [`Incoming`] file, aside.
    pub fn look_aside(&self, incoming: &Path) -> Result<Self, Error> {
        Self::look(Arc::clone(&self.disk), incoming, self.options.clone())
    }

    /// Goes on with a whole [`Incoming`] file, which takes the place of this one's: see
    /// [`put_in_place`]. What is in memory is dropped.
    ///
    /// Whoever reads meanwhile reads the one or the other; `switch` is called in between, and what
    /// it locks is locked for both.
    pub fn replace<L>(&self, incoming: &Path, switch: impl FnOnce() -> L) -> Result<L, Error> {
        let mut access = self.engine.lock();
        put_in_place(self.disk.as_ref(), incoming, &self.path)?;
        let engine = Engine::open(self.disk.as_ref(), &self.path, &self.options)?;
        let file = Arc::new(engine.snapshot()?);
        let durable = file.applied()?;
        let held = switch();
        let before = {
            let mut state = self.state.write();
            let next = crate::State { tail: Tail::new(durable), file, durable };
            std::mem::replace(&mut *state, next)
        };
        // Readers may still have the file that was: its engine lives as long as they do.
        let retired = std::mem::replace(&mut *access, crate::Access::Writing(engine));
        let crate::State { file, .. } = before;
        let mut all = self.retired.lock();
        all.retain(|(_, file)| file.strong_count() > 0);
        if Arc::strong_count(&file) > 1 {
            all.push((retired, Arc::downgrade(&file)));
        } else {
            drop(file);
            drop(retired);
        }
        Ok(held)
    }
}
