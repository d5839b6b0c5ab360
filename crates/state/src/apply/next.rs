//! What is new in a build that says to be a version on, for tests of upgrades.
//!
//! - A count of the writes of clients since the cluster's version permits it: behaviour of apply that must begin
//!   at one entry on all members. A lowering removes it.
//! - A note, by a command that older builds do not know. It hinders a lowering as long as it is there.

use base::version::{Minor, NEXT};
use bytes::Bytes;
use mvcc::Writer;
use proto::command::Note;

use super::{Fatal, Response, State};

pub(super) const SINCE: Minor = NEXT.cluster;
pub(super) const COUNT: &str = "state.next.count";
pub(super) const NOTE: &str = "state.next.note";

/// What is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// The revision at which counting began; `None`: it has not.
    pub since: Option<u64>,
    /// Writes since then.
    pub writes: u64,
    pub note: String,
}

impl Next {
    pub(super) fn read(writer: &Writer) -> Result<Self, Fatal> {
        let mut next = Self::default();
        if let Some(row) = writer.meta(COUNT.as_bytes())? {
            let text = String::from_utf8_lossy(&row);
            if let Some((since, writes)) = text.split_once(' ') {
                (next.since, next.writes) = (since.parse().ok(), writes.parse().unwrap_or(0));
            }
        }
        if let Some(row) = writer.meta(NOTE.as_bytes())? {
            next.note = String::from_utf8_lossy(&row).into_owned();
        }
        Ok(next)
    }
}

impl State {
    pub(super) fn begin_next(&mut self, version: Minor) {
        if SINCE <= version {
            let since = self.reader.store().revision().unsigned_abs();
            self.set_count(Next { since: Some(since), ..self.reader.next() });
        }
    }

    pub(super) fn count_next(&mut self, written: bool) {
        let next = self.reader.next();
        if written && next.since.is_some() {
            self.set_count(Next { writes: next.writes + 1, ..next });
        }
    }

    fn set_count(&mut self, next: Next) {
        let row = next.since.map(|since| Bytes::from(format!("{since} {}", next.writes)));
        self.writer.set_meta(COUNT, row);
        self.reader.set_next(next);
    }

    /// The rows have been removed.
    pub(super) fn end_next(&mut self) {
        self.reader.set_next(Next::default());
    }

    pub(super) fn apply_note(&mut self, note: Note) -> Response {
        let row = (!note.text.is_empty()).then(|| Bytes::from(note.text.clone()));
        self.writer.set_meta(NOTE, row);
        self.reader.set_next(Next { note: note.text, ..self.reader.next() });
        Response::Done
    }
}
