//! What v2 sees at a path.

use base::{Code, Revision};
use mvcc::{Kind, Txn, View, path::ancestors};

use super::{Error, path::text};

/// Where names are looked up: the store as it stands, or a transaction over it.
pub(super) trait Names {
    /// What is known of a live record without reading it.
    type Head;

    fn head(&self, kind: Kind, name: &[u8]) -> Option<Self::Head>;

    fn has_children(&self, dir: &[u8]) -> bool;
}

impl Names for View<'_> {
    type Head = Revision;

    fn head(&self, kind: Kind, name: &[u8]) -> Option<Revision> {
        self.head(kind, name)
    }

    fn has_children(&self, dir: &[u8]) -> bool {
        self.has_children(dir)
    }
}

impl Names for Txn<'_> {
    type Head = ();

    fn head(&self, kind: Kind, name: &[u8]) -> Option<()> {
        self.exists(kind, name).then_some(())
    }

    fn has_children(&self, dir: &[u8]) -> bool {
        self.has_children(dir)
    }
}

/// What v2 sees at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<H> {
    File(H),
    /// Without a head: the root, or a directory that exists only because a v3 key lies below it.
    Dir(Option<H>),
}

/// Why v2 sees nothing at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nothing<'p> {
    /// The topmost name on the way that does not exist.
    Missing(&'p [u8]),
    /// A file on the way. What v3 has put below it is out of reach.
    BelowFile(&'p [u8]),
}

impl Nothing<'_> {
    /// As 2.3.8 answers it.
    pub(super) fn refuse(self, revision: i64) -> Error {
        match self {
            Self::Missing(path) => Error::refused(Code::KeyNotFound, text(path), revision),
            Self::BelowFile(path) => Error::refused(Code::NotDir, text(path), revision),
        }
    }
}

/// Looks a path up, as 2.3.8 walks down to it.
pub(super) fn look_up<'p, N: Names>(
    names: &N,
    path: &'p [u8],
) -> Result<Place<N::Head>, Nothing<'p>> {
    if path == b"/" {
        return Ok(Place::Dir(None));
    }
    if let Some(file) = ancestors(path).find(|name| names.head(Kind::Key, name).is_some()) {
        return Err(Nothing::BelowFile(file));
    }
    if let Some(head) = names.head(Kind::Key, path) {
        return Ok(Place::File(head));
    }
    if let Some(head) = names.head(Kind::Dir, path) {
        return Ok(Place::Dir(Some(head)));
    }
    if names.has_children(path) {
        return Ok(Place::Dir(None));
    }
    let exists = |name: &[u8]| names.head(Kind::Dir, name).is_some() || names.has_children(name);
    Err(Nothing::Missing(ancestors(path).find(|name| !exists(name)).unwrap_or(path)))
}
