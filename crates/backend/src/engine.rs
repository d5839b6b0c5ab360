//! The file, through `redb`: opening, committing, snapshots.

use std::{collections::BTreeMap, ffi::OsString, io, ops::Bound, path::Path, sync::Arc};

use base::{Disk, File, Index, Open, Term};
use bytes::Bytes;
use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable,
    ReadableTableMetadata as _, TableDefinition, WriteTransaction,
};

use crate::{Applied, Error, Options, Table, look::Untouched, row, tail::Generation};

/// The newest format of the file that this build writes, and knows.
const FORMAT: u32 = 1;
/// What is appended through one cursor.
const APPEND_BYTES_MAX: u64 = 256 << 10;
/// Rows of `Meta` that are the backend's own.
const FORMAT_KEY: &[u8] = b"\0format";
const APPLIED_KEY: &[u8] = b"\0applied";
const USED_KEY: &[u8] = b"\0used";

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type FileTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

const fn definition(table: Table) -> Definition {
    TableDefinition::new(table.name())
}

/// The storage engine with its file open.
#[derive(Debug)]
pub(crate) struct Engine {
    database: Database,
    file: Arc<dyn File>,
    path: String,
}

impl Engine {
    pub(crate) fn open(disk: &dyn Disk, path: &Path, options: &Options) -> Result<Self, Error> {
        let io = |verb| move |error: io::Error| failed(verb, &path.display().to_string(), error);
        if !disk.exists(path).map_err(io("look for"))? {
            Self::create(disk, path, options)?;
        }
        // The process may have died, with the power on, between a change of names and its sync.
        sync_parent(disk, path).map_err(io("sync the directory of"))?;
        let file = disk.open(path, Open::Write).map_err(io("open"))?;
        Self::open_found(file, path, &builder(options))
    }

    /// Opens a file that must be there, and leaves it as it is: see [`Untouched`].
    pub(crate) fn look(disk: &dyn Disk, path: &Path, options: &Options) -> Result<Self, Error> {
        Self::open_found(untouched(disk, path)?, path, &builder(options))
    }

    /// The same, after the checksum of every page was verified.
    pub(crate) fn look_verified(
        disk: &dyn Disk,
        path: &Path,
        options: &Options,
    ) -> Result<Self, Error> {
        let mut builder = builder(options);
        builder.set_check_integrity_on_open(true);
        Self::open_found(untouched(disk, path)?, path, &builder)
    }

    /// Opens a file that must be there, after the checksum of every page was verified.
    pub(crate) fn open_verified(
        disk: &dyn Disk,
        path: &Path,
        options: &Options,
    ) -> Result<Self, Error> {
        let opened = disk.open(path, Open::Write);
        let file = opened.map_err(|error| failed("open", &path.display().to_string(), error))?;
        let mut builder = builder(options);
        builder.set_check_integrity_on_open(true);
        Self::open_found(file, path, &builder)
    }

    fn open_found(file: Arc<dyn File>, path: &Path, builder: &Builder) -> Result<Self, Error> {
        check_is_database(file.as_ref(), path)?;
        let cut = cut_to_pages(file.as_ref());
        cut.map_err(|error| failed("cut", &path.display().to_string(), error))?;
        let engine = Self::open_file(file, path, builder)?;
        engine.check_format()?;
        Ok(engine)
    }

    /// Makes the file under another name, and gives it its own once it is whole and synced.
    fn create(disk: &dyn Disk, path: &Path, options: &Options) -> Result<(), Error> {
        let io = |verb| move |error: io::Error| failed(verb, &path.display().to_string(), error);
        let unfinished = unfinished(path);
        if disk.exists(&unfinished).map_err(io("look for"))? {
            disk.remove(&unfinished).map_err(io("remove the unfinished"))?;
        }
        let file = disk.open(&unfinished, Open::Create).map_err(io("create"))?;
        let opened = Self::open_file(Arc::clone(&file), &unfinished, &builder(options));
        let filled = opened.and_then(|engine| {
            engine.make_tables()?;
            engine.close()?;
            file.sync().map_err(io("sync"))
        });
        if filled.is_err() {
            // Of a disk that is full not even the rest is taken.
            disk.remove(&unfinished).ok();
        }
        filled?;
        disk.rename(&unfinished, path).map_err(io("name"))?;
        sync_parent(disk, path).map_err(io("sync the directory of"))
    }

    fn open_file(file: Arc<dyn File>, path: &Path, builder: &Builder) -> Result<Self, Error> {
        let path = path.display().to_string();
        let database = builder
            .create_with_backend(EngineFile(Arc::clone(&file)))
            .map_err(|error| failed("open", &path, error))?;
        Ok(Self { database, file, path })
    }

    /// After a failure of the disk there is nothing to close in order: that it failed has been told.
    pub(crate) fn close(self) -> Result<(), Error> {
        match self.database.close().map_err(redb::Error::from) {
            Err(redb::Error::PreviousIo) => Ok(()),
            closed => closed.map_err(|error| failed("close", &self.path, error)),
        }
    }

    fn make_tables(&self) -> Result<(), Error> {
        let transaction = self.begin()?;
        let made = (|| {
            for table in Table::ALL {
                transaction.open_table(definition(table))?;
            }
            let mut meta = transaction.open_table(definition(Table::Meta))?;
            let mut row = Vec::new();
            row::seal(FORMAT_KEY, &FORMAT.to_be_bytes(), &mut row);
            meta.insert(FORMAT_KEY, row.as_slice())?;
            Ok(())
        })();
        made.map_err(|error: redb::Error| failed("make tables in", &self.path, error))?;
        transaction.commit().map_err(|error| failed("commit to", &self.path, error))
    }

    fn check_format(&self) -> Result<(), Error> {
        let found = self.snapshot()?.get(Table::Meta, FORMAT_KEY)?;
        let found =
            found.and_then(|bytes| Some(u32::from_be_bytes(bytes.as_ref().try_into().ok()?)));
        match found {
            Some(FORMAT) => Ok(()),
            Some(found) => Err(Error::Format { path: self.path.clone(), found, known: FORMAT }),
            None => Err(Error::damaged(Table::Meta, FORMAT_KEY, "no format")),
        }
    }

    fn begin(&self) -> Result<WriteTransaction, Error> {
        let mut transaction = self
            .database
            .begin_write()
            .map_err(|error| failed("begin to write", &self.path, error))?;
        transaction
            .set_durability(Durability::Immediate)
            .map_err(|error| failed("begin to write", &self.path, error))?;
        // Opening after a kill then takes milliseconds, whatever the file's size.
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    /// Writes a generation durably, all or none.
    pub(crate) fn commit(&self, generation: &Generation) -> Result<(), Error> {
        let transaction = self.begin()?;
        write(&transaction, generation).map_err(|error| failed("write to", &self.path, error))?;
        transaction.commit().map_err(|error| failed("commit to", &self.path, error))
    }

    /// The tables as the last commit left them.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Error> {
        let open = |table| -> Result<FileTable, redb::Error> {
            Ok(self.database.begin_read()?.open_table(definition(table))?)
        };
        let open = |table| open(table).map_err(|error| failed("read", &self.path, error));
        Ok(Snapshot {
            records: open(Table::Records)?,
            values: open(Table::Values)?,
            meta: open(Table::Meta)?,
            file: Arc::clone(&self.file),
            path: self.path.clone(),
        })
    }
}

fn builder(options: &Options) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    builder
}

fn untouched(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn File>, Error> {
    let io = |verb| move |error: io::Error| failed(verb, &path.display().to_string(), error);
    let file = disk.open(path, Open::Write).map_err(io("open"))?;
    Ok(Arc::new(Untouched::new(file).map_err(io("look into"))?))
}

fn write(transaction: &WriteTransaction, generation: &Generation) -> Result<(), redb::Error> {
    let mut bytes = Bytecount::default();
    for table in Table::ALL {
        let mut file = transaction.open_table(definition(table))?;
        write_table(&mut file, generation.rows(table), &mut bytes)?;
    }
    let mut meta = transaction.open_table(definition(Table::Meta))?;
    let used = meta.get(USED_KEY)?;
    let used = used.and_then(|row| number(row::unseal(USED_KEY, row.value())?)).unwrap_or(0);
    let used = (used + bytes.gained).saturating_sub(bytes.lost);
    let mut row = Vec::new();
    row::seal(USED_KEY, &used.to_be_bytes(), &mut row);
    meta.insert(USED_KEY, row.as_slice())?;
    row::seal(APPLIED_KEY, &encode_applied(generation.applied()), &mut row);
    meta.insert(APPLIED_KEY, row.as_slice())?;
    Ok(())
}

/// Bytes of the rows that came and went.
#[derive(Default)]
struct Bytecount {
    gained: u64,
    lost: u64,
}

/// Revisions only grow, so almost all rows go behind the table's last one. Those are appended
/// through a cursor, which fills its pages; inserting them one by one would split page after page
/// in the middle, and leave all of them half empty.
fn write_table(
    file: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    rows: &BTreeMap<Bytes, Option<Bytes>>,
    bytes: &mut Bytecount,
) -> Result<(), redb::Error> {
    let last = file.last()?.map(|(key, _)| key.value().to_vec());
    let split = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let within = last
        .as_deref()
        .map(|last| rows.range::<[u8], _>((Bound::Unbounded, Bound::Included(last))));
    let mut row = Vec::new();
    for (key, value) in within.into_iter().flatten() {
        let before = match value {
            Some(value) => {
                row::seal(key, value, &mut row);
                bytes.gained += row_bytes(key, &row);
                file.insert(key.as_ref(), row.as_slice())?
            }
            None => file.remove(key.as_ref())?,
        };
        bytes.lost += before.map_or(0, |before| row_bytes(key, before.value()));
    }
    let mut behind = rows.range::<[u8], _>((split, Bound::Unbounded)).peekable();
    while behind.peek().is_some() {
        let mut end = file.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
        // The cursor holds copies until it is closed.
        let mut held = 0;
        while held < APPEND_BYTES_MAX
            && let Some((key, value)) = behind.next()
        {
            if let Some(value) = value {
                row::seal(key, value, &mut row);
                end.insert_before(key.as_ref(), row.as_slice())?;
                held += row_bytes(key, &row);
            }
        }
        end.close()?;
        bytes.gained += held;
    }
    Ok(())
}

/// Of key and value, without the checksum.
fn row_bytes(key: &[u8], row: &[u8]) -> u64 {
    (key.len() + row.len().saturating_sub(row::CRC_BYTES)) as u64
}

pub(crate) fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    disk.sync_dir(dir.unwrap_or_else(|| Path::new(".")))
}

pub(crate) fn not_open(path: &str) -> Error {
    failed("write to", path, io::Error::other("it is not open for writing"))
}

/// The engine would found a database in an empty file. Ours has its name once it is whole.
pub(crate) fn check_is_database(file: &dyn File, path: &Path) -> Result<(), Error> {
    const MAGIC: &[u8; 4] = b"redb";
    let mut magic = [0; MAGIC.len()];
    let path = path.display().to_string();
    let read = file.read_at(&mut magic, 0).map_err(|error| failed("read", &path, error))?;
    if read == MAGIC.len() && magic == *MAGIC {
        return Ok(());
    }
    let text = "it does not begin as a keyspace does".to_owned();
    Err(Error::Engine { verb: "open", path, text, kind: None })
}

/// A power loss while the file grew can leave any length in between, and the engine refuses one
/// that is not of whole pages. Nothing lies there yet: it syncs the new length before it uses it.
fn cut_to_pages(file: &dyn File) -> io::Result<()> {
    const PAGE_BYTES: u64 = 4_096;
    let len = file.len()?;
    if len.is_multiple_of(PAGE_BYTES) {
        return Ok(());
    }
    file.set_len(len - len % PAGE_BYTES)?;
    file.sync()
}

/// The name of the file while it is being made.
pub(crate) fn unfinished(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".unfinished");
    path.with_file_name(name)
}

/// The tables after some commit, for reading. The pages that it needs stay in the file as long as
/// it lives.
pub(crate) struct Snapshot {
    records: FileTable,
    values: FileTable,
    meta: FileTable,
    file: Arc<dyn File>,
    path: String,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Snapshot {
    fn table(&self, table: Table) -> &FileTable {
        match table {
            Table::Records => &self.records,
            Table::Values => &self.values,
            Table::Meta => &self.meta,
        }
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let found = self.table(table).get(key).map_err(|error| self.failed(error))?;
        found.map(|row| value(table, key, row.value())).transpose()
    }

    pub(crate) fn range(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<(Bytes, Bytes), Error>>, Error> {
        let name = table;
        let table = self.table(table);
        let range = match to {
            Some(to) => table.range(from..to.max(from)),
            None => table.range(from..),
        };
        let range = range.map_err(|error| self.failed(error))?;
        Ok(range.map(move |row| {
            let (key, row) = row.map_err(|error| self.failed(error))?;
            let value = value(name, key.value(), row.value())?;
            Ok((Bytes::copy_from_slice(key.value()), value))
        }))
    }

    /// How many rows a table has, our own among them.
    pub(crate) fn rows(&self, table: Table) -> Result<u64, Error> {
        self.table(table).len().map_err(|error| self.failed(error))
    }

    /// The last entry whose changes the file holds.
    pub(crate) fn applied(&self) -> Result<Applied, Error> {
        match self.get(Table::Meta, APPLIED_KEY)? {
            None => Ok(Applied::default()),
            Some(bytes) => decode_applied(&bytes)
                .ok_or_else(|| Error::damaged(Table::Meta, APPLIED_KEY, "not 16 bytes")),
        }
    }

    /// Bytes of all rows.
    pub(crate) fn used(&self) -> u64 {
        let row = self.get(Table::Meta, USED_KEY).ok().flatten();
        row.and_then(|row| number(&row)).unwrap_or(0)
    }

    /// The file's length.
    pub(crate) fn len(&self) -> u64 {
        self.file.len().unwrap_or(0)
    }

    fn failed(&self, error: impl Into<redb::Error>) -> Error {
        failed("read", &self.path, error)
    }
}

fn value(table: Table, key: &[u8], row: &[u8]) -> Result<Bytes, Error> {
    let value = row::unseal(key, row);
    let value = value.ok_or_else(|| Error::damaged(table, key, "its checksum does not match"))?;
    Ok(Bytes::copy_from_slice(value))
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn encode_applied(applied: Applied) -> [u8; 16] {
    (u128::from(applied.index.0) << 64 | u128::from(applied.term.0)).to_be_bytes()
}

fn decode_applied(bytes: &[u8]) -> Option<Applied> {
    let (index, term) = bytes.split_at_checked(8)?;
    Some(Applied { index: Index(number(index)?), term: Term(number(term)?) })
}

pub(crate) fn failed(verb: &'static str, path: &str, error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    let kind = if let redb::Error::Io(error) = &error { Some(error.kind()) } else { None };
    let text = error.to_string();
    Error::Engine { verb, path: path.to_owned(), text, kind }
}

/// A file of [`base::Disk`] as the storage engine wants it. It has no locks: the member's own lock
/// keeps other processes away.
#[derive(Debug)]
struct EngineFile(Arc<dyn File>);

impl redb::StorageBackend for EngineFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}
