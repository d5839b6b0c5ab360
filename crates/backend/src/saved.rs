//! Tables as a file of their own, to be kept: what some commit left, from first to last row.
//!
//! A head (magic, format, applied entry, and what its maker notes down), then rows as they travel to
//! another member (`transfer`), a byte that no row begins with, and zeros up to a multiple of 512
//! bytes. Behind it stands the SHA-256 of all that, so that a length tells whether a file has one:
//! etcd's clients look at that. All is written from front to back, and read so.

use std::path::Path;

use base::{Disk, Index, Term};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use crate::{
    Applied, Backend, Error, Export, Incoming, Options, discard,
    transfer::{ROW_HEAD_BYTES, row_length},
};

const MAGIC: &[u8; 8] = b"retcdsnp";
/// The newest format that this build writes, and knows.
const FORMAT: u32 = 1;
/// Magic, format, applied entry, and the length of the note.
const HEAD_BYTES: usize = MAGIC.len() + 4 + 16 + 4;
/// More than any maker has to say.
const NOTE_BYTES_MAX: usize = 64 << 10;
/// Behind the last row.
const END: u8 = 0xff;
/// What the length of all but the checksum is a multiple of.
const ALIGNMENT: usize = 512;
pub const SHA256_BYTES: usize = 32;

/// Tables on their way into a file.
#[derive(Debug)]
pub struct Saving {
    export: Export,
    stage: Stage,
    /// For all that has been given out.
    sum: Sha256,
    given: u64,
    /// What all but the checksum will be.
    total: u64,
}

#[derive(Debug)]
enum Stage {
    Head(Bytes),
    Rows,
    Sum,
    Done,
}

/// A piece of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub bytes: Bytes,
    /// What is still to come, without the checksum.
    pub remaining: u64,
}

impl Backend {
    /// The tables as they are durable now, with a note at the head.
    pub fn save(&self, note: &[u8]) -> Result<Saving, Error> {
        let export = self.export();
        let applied = export.applied();
        let mut head = BytesMut::with_capacity(HEAD_BYTES + note.len());
        head.put_slice(MAGIC);
        head.put_u32(FORMAT);
        head.put_u64(applied.index.0);
        head.put_u64(applied.term.0);
        // It is short.
        head.put_u32(u32::try_from(note.len()).unwrap_or(u32::MAX));
        head.put_slice(note);
        let (rows, bytes) = export.size()?;
        let length = head.len() as u64 + bytes + rows * ROW_HEAD_BYTES as u64 + 1;
        Ok(Saving {
            export,
            stage: Stage::Head(head.freeze()),
            sum: Sha256::new(),
            given: 0,
            total: length.next_multiple_of(ALIGNMENT as u64),
        })
    }
}

impl Saving {
    /// The entry whose changes are the last that are included.
    pub fn applied(&self) -> Applied {
        self.export.applied()
    }

    /// Bytes of the file, without the checksum.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next piece, of about so many bytes; `None` at the end.
    pub fn next_blob(&mut self, bytes: usize) -> Result<Option<Blob>, Error> {
        let piece = match &mut self.stage {
            Stage::Head(head) => {
                let head = std::mem::take(head);
                self.stage = Stage::Rows;
                head
            }
            Stage::Rows => {
                if let Some(rows) = self.export.next_chunk(bytes)? {
                    rows
                } else {
                    self.stage = Stage::Sum;
                    self.padding()
                }
            }
            Stage::Sum => {
                self.stage = Stage::Done;
                let sum = std::mem::take(&mut self.sum).finalize();
                let bytes = Bytes::copy_from_slice(&sum);
                return Ok(Some(Blob { bytes, remaining: 0 }));
            }
            Stage::Done => return Ok(None),
        };
        self.sum.update(&piece);
        self.given += piece.len() as u64;
        let remaining = match self.stage {
            Stage::Sum => 0,
            Stage::Head(_) | Stage::Rows | Stage::Done => self.total.saturating_sub(self.given),
        };
        Ok(Some(Blob { bytes: piece, remaining }))
    }

    fn padding(&self) -> Bytes {
        let length = (self.given + 1).next_multiple_of(ALIGNMENT as u64) - self.given;
        let mut padding = BytesMut::zeroed(usize::try_from(length).unwrap_or(1));
        if let Some(end) = padding.first_mut() {
            *end = END;
        }
        padding.freeze()
    }
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last entry whose changes are included.
    pub applied: Applied,
    /// As it was given to [`Backend::save`].
    pub note: Bytes,
}

/// Why a file is not taken. Each text says what is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum Unloadable {
    #[error("it is no snapshot of a keyspace")]
    Foreign,
    #[error("it has format {found}, newer than this build knows ({known})")]
    Format { found: u32, known: u32 },
    #[error("it ends too soon: it was not saved to the end")]
    Cut,
    #[error("it is damaged")]
    Damaged,
    /// In the original's words.
    #[error("expected sha256 {}, got {}: it is damaged", List(.stored), List(.found))]
    Sum { stored: [u8; SHA256_BYTES], found: [u8; SHA256_BYTES] },
    #[error("it has no checksum")]
    NoSum,
    #[error("read it: {0}")]
    Read(#[source] std::io::Error),
    #[error(transparent)]
    Backend(#[from] Error),
}

/// Bytes as Go prints them.
struct List<'a>(&'a [u8]);

impl std::fmt::Display for List<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte}", if at == 0 { "[" } else { " " })?;
        }
        f.write_str("]")
    }
}

/// What becomes of the checksum at a file's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// It must be there, and match.
    Needed,
    /// It must match if it is there.
    Matching,
    Ignored,
}

/// Reads a file from front to back into a keyspace of its own at `to`; whole and durable when this
/// returns, and not there if it fails.
pub fn load(
    from: &mut dyn std::io::Read,
    sum: Sum,
    disk: &dyn Disk,
    to: &Path,
    options: &Options,
) -> Result<Head, Unloadable> {
    let mut incoming = Incoming::create(disk, to, options)?;
    let read = read(from, sum, &mut |rows| Ok(incoming.add(rows)?));
    let loaded = read.and_then(|head| {
        incoming.finish(head.applied)?;
        Ok(head)
    });
    if loaded.is_err() {
        discard(disk, to)?;
    }
    loaded
}

/// Reads a file from front to back, and gives away its rows, some at a time: see
/// [`rows`](crate::rows). They are worth nothing if this fails.
pub fn read(
    from: &mut dyn std::io::Read,
    sum: Sum,
    each: &mut dyn FnMut(Bytes) -> Result<(), Unloadable>,
) -> Result<Head, Unloadable> {
    let (mut loading, head) = Loading::begin(from)?;
    while let Some(rows) = loading.rows()? {
        each(rows)?;
    }
    loading.check_sum(sum)?;
    Ok(head)
}

/// The length of a file without the checksum, if it has one.
pub fn without_sum(length: u64) -> u64 {
    let sum = SHA256_BYTES as u64;
    if length % ALIGNMENT as u64 == sum { length - sum } else { length }
}

/// What is read at once.
const READ_BYTES: usize = 256 << 10;

struct Loading<'a> {
    from: &'a mut dyn std::io::Read,
    /// Read, and not taken yet.
    ahead: BytesMut,
    sum: Sha256,
    taken: u64,
}

impl<'a> Loading<'a> {
    fn begin(from: &'a mut dyn std::io::Read) -> Result<(Self, Head), Unloadable> {
        let ahead = BytesMut::with_capacity(READ_BYTES);
        let mut loading = Self { from, ahead, sum: Sha256::new(), taken: 0 };
        let mut head = loading.take(HEAD_BYTES).map_err(|error| {
            if matches!(error, Unloadable::Cut) { Unloadable::Foreign } else { error }
        })?;
        if head.split_to(MAGIC.len()) != MAGIC[..] {
            return Err(Unloadable::Foreign);
        }
        let found = head.get_u32();
        if found != FORMAT {
            return Err(Unloadable::Format { found, known: FORMAT });
        }
        let (index, term) = (Index(head.get_u64()), Term(head.get_u64()));
        let length = head.get_u32() as usize;
        if length > NOTE_BYTES_MAX {
            return Err(Unloadable::Damaged);
        }
        let note = loading.take(length)?;
        Ok((loading, Head { applied: Applied { index, term }, note }))
    }

    /// Some whole rows; `None` once the last has been given.
    fn rows(&mut self) -> Result<Option<Bytes>, Unloadable> {
        let mut length = 0;
        while length < READ_BYTES {
            self.read_ahead(length + ROW_HEAD_BYTES)?;
            let rest = self.ahead.get(length..).unwrap_or_default();
            match rest.first() {
                None => return Err(Unloadable::Cut),
                Some(&END) if length == 0 => return Ok(None),
                Some(&END) => break,
                Some(_) if rest.len() < ROW_HEAD_BYTES => return Err(Unloadable::Cut),
                Some(_) => length += row_length(rest).ok_or(Unloadable::Damaged)?,
            }
        }
        self.take(length).map(Some)
    }

    /// What follows the last row.
    fn check_sum(mut self, sum: Sum) -> Result<(), Unloadable> {
        let padding = (self.taken + 1).next_multiple_of(ALIGNMENT as u64) - self.taken;
        self.take(usize::try_from(padding).unwrap_or(ALIGNMENT))?;
        let found: [u8; SHA256_BYTES] = std::mem::take(&mut self.sum).finalize().into();
        self.read_ahead(SHA256_BYTES + 1)?;
        let stored: Result<[u8; SHA256_BYTES], _> = self.ahead[..].try_into();
        match (sum, stored) {
            (Sum::Needed, _) if self.ahead.is_empty() => Err(Unloadable::NoSum),
            (Sum::Matching, _) if self.ahead.is_empty() => Ok(()),
            (Sum::Ignored, _) => Ok(()),
            (_, Ok(stored)) if stored == found => Ok(()),
            (_, Ok(stored)) => Err(Unloadable::Sum { stored, found }),
            (_, Err(_)) if self.ahead.len() < SHA256_BYTES => Err(Unloadable::Cut),
            (_, Err(_)) => Err(Unloadable::Damaged),
        }
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Unloadable> {
        self.read_ahead(length)?;
        if self.ahead.len() < length {
            return Err(Unloadable::Cut);
        }
        let taken = self.ahead.split_to(length).freeze();
        self.sum.update(&taken);
        self.taken += length as u64;
        Ok(taken)
    }

    /// Reads until so much is there, or nothing more comes.
    fn read_ahead(&mut self, length: usize) -> Result<(), Unloadable> {
        while self.ahead.len() < length {
            let had = self.ahead.len();
            self.ahead.resize(had + READ_BYTES, 0);
            let read = self.from.read(self.ahead.get_mut(had..).unwrap_or_default());
            self.ahead.truncate(had + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Unloadable::Read(error)),
            }
        }
        Ok(())
    }
}
