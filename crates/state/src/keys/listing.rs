//! Walking a directory.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use mvcc::{Child, Kind, ReadError, Store, store::Pin};

use super::Node;

/// Children that are looked up at once, in each directory on the way down.
const PAGE: usize = 128;

/// Walks a directory depth first, children in order of their names, all at one revision, reading
/// a page at a time: the memory it takes does not grow with the directory. (So `sorted` needs
/// nothing more.)
///
/// It holds back physical compaction while it lives: finish it, or drop it, soon.
#[derive(Debug)]
pub struct Listing {
    store: Arc<Store>,
    revision: i64,
    recursive: bool,
    /// The directories on the way down.
    open: Vec<Dir>,
    _pin: Pin,
}

/// A step of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file, or a directory whose children are not asked for.
    Leaf(Node),
    /// A directory whose children follow; ended by `Leave`. (Only with `recursive`.)
    Enter(Node),
    Leave,
}

/// A directory whose children are being told.
#[derive(Debug)]
struct Dir {
    path: Bytes,
    /// The rest of the page.
    page: VecDeque<Child>,
    /// The last child of the page; `None` before the first page.
    after: Option<Bytes>,
    /// No page follows.
    is_last: bool,
}

impl Dir {
    fn new(path: Bytes) -> Self {
        Self { path, page: VecDeque::new(), after: None, is_last: false }
    }

    fn next_child(&mut self, store: &Store, revision: i64) -> Result<Option<Child>, ReadError> {
        if self.page.is_empty() && !self.is_last {
            let after = self.after.as_deref();
            self.page = store.children(&self.path, revision, after, PAGE)?.into();
            self.is_last = self.page.len() < PAGE;
            self.after = self.page.back().map(|child| child.name.clone());
        }
        Ok(self.page.pop_front())
    }
}

impl Listing {
    /// `revision` was the current one while `pin` was there.
    pub(super) fn new(
        pin: Pin,
        store: &Arc<Store>,
        path: &Bytes,
        revision: i64,
        recursive: bool,
    ) -> Self {
        let open = vec![Dir::new(path.clone())];
        Self { store: Arc::clone(store), revision, recursive, open, _pin: pin }
    }

    /// The next step; `None` at the end. An error if the revision was compacted meanwhile.
    pub fn next_step(&mut self) -> Result<Option<Step>, ReadError> {
        let Some(dir) = self.open.last_mut() else { return Ok(None) };
        let Some(child) = dir.next_child(&self.store, self.revision)? else {
            self.open.pop();
            return Ok((!self.open.is_empty()).then_some(Step::Leave));
        };
        let node = match child.revision {
            Some(revision) => Node::of(&*self.store.record(revision)?.ok_or(ReadError::Compacted)?),
            None => Node::implied_dir(child.name.clone()),
        };
        if child.kind == Kind::Dir && self.recursive {
            self.open.push(Dir::new(child.name));
            return Ok(Some(Step::Enter(node)));
        }
        Ok(Some(Step::Leaf(node)))
    }
}
