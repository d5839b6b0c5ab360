//! Reading a segment from its beginning to its end, a piece at a time.

use std::{io, sync::Arc};

use base::File;

/// What is read at once, unless a record is longer.
const PIECE_BYTES: usize = 256 << 10;

/// A file that is read forwards.
#[derive(Debug)]
pub(crate) struct Reader {
    file: Arc<dyn File>,
    len: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer's first byte stands.
    start: u64,
    /// How much of the buffer has been read.
    filled: usize,
}

impl Reader {
    pub(crate) fn new(file: Arc<dyn File>) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self { file, len, buffer: Vec::new(), start: 0, filled: 0 })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `at` on; `None` if the file ends before they do.
    pub(crate) fn bytes(&mut self, at: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let left = self.len.saturating_sub(at);
        if left < length as u64 {
            return Ok(None);
        }
        if self.buffered(at, length).is_none() {
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let wanted = length.max(PIECE_BYTES).min(left);
            if self.buffer.len() < wanted {
                self.buffer = vec![0; wanted];
            }
            (self.start, self.filled) = (at, wanted);
            let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
            self.file.read_exact_at(buffer, at)?;
        }
        Ok(self.buffered(at, length))
    }

    /// As much as can be had at once from `at` on; empty at the end.
    pub(crate) fn piece(&mut self, at: u64) -> io::Result<&[u8]> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        Ok(self.bytes(at, left.min(PIECE_BYTES))?.unwrap_or_default())
    }

    fn buffered(&self, at: u64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.buffer.get(..self.filled)?.get(from..from.checked_add(length)?)
    }
}
