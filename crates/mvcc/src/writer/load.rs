//! Taking over another store's history, with its numbers.

use std::sync::atomic::Ordering;

use super::{Writer, encode_number, meta};
use crate::{record::Record, store::ReadError};

/// Why records cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("revision {main}.{sub} does not come behind those before it")]
    NotInOrder { main: i64, sub: u32 },
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Writer {
    /// Takes over all that happened at one revision of another store, which lies behind those that are
    /// here: all numbers as they are, but a tombstone's `created_index`, which follows from what is
    /// here. Nobody is told.
    ///
    /// History may have gaps, as compaction leaves them.
    pub fn load(&mut self, records: Vec<Record>) -> Result<(), LoadError> {
        let mut txn = self.begin();
        let Some(main) = records.first().map(|record| record.revision.main) else { return Ok(()) };
        let mut before = None;
        for record in &records {
            let at = record.revision;
            if at.main != main || main <= txn.revision() || before.is_some_and(|sub| at.sub <= sub)
            {
                return Err(LoadError::NotInOrder { main: at.main, sub: at.sub });
            }
            before = Some(at.sub);
        }
        txn.take_over(main, records);
        txn.commit()?;
        Ok(())
    }

    /// The next write comes behind this revision: numbers up to it were others'.
    pub fn skip_to(&mut self, revision: i64) {
        let mut index = self.store.index.write();
        if index.revision < revision {
            index.revision = revision;
            self.store.revision.store(revision, Ordering::Release);
            self.moved = true;
        }
    }

    /// That history was taken over which is compacted at a revision; up to `swept` what that condemned
    /// is gone already.
    pub fn load_compacted(&mut self, compacted: i64, swept: i64) {
        {
            let mut index = self.store.index.write();
            index.compacted = compacted;
            index.sweeping = compacted;
            index.sweep_runs = swept < compacted;
        }
        self.swept = swept;
        self.sees_all = swept == compacted;
        self.set_meta(meta::COMPACTED, Some(encode_number(compacted)));
        self.set_meta(meta::SWEPT, Some(encode_number(swept)));
    }
}
