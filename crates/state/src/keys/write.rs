//! What a write does, by the rules of etcd 2.3.8.
//!
//! Each rule checks in the order in which the original does, since more than one error can apply.

use std::sync::Arc;

use base::{Code, UnixNanos};
use bytes::Bytes;
use mvcc::{
    Action, Commit, Kind, ReadError, Record, Txn, Writer,
    path::{ancestors, is_path},
    store::Put,
};
use proto::command::{KeysMethod, KeysWrite};

use super::{
    Error, Event, Failure, Node, Stats,
    expire::delete_tree,
    lookup::{Nothing, Place, look_up},
    path::{join, text},
    tell,
};

/// 2000-01-01T00:00:00Z. What is set or created to expire before that stays for ever.
const EXPIRY_MIN: UnixNanos = UnixNanos(946_684_800 * 1_000_000_000);

/// What a write gave: an event, or a refusal that changed nothing.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) answer: Result<Event, Failure>,
    pub(crate) commit: Option<Arc<Commit>>,
}

/// Carries out a write in a transaction of its own.
pub(crate) fn write(
    writer: &mut Writer,
    stats: &Stats,
    method: KeysMethod,
    request: &KeysWrite,
) -> Result<Written, ReadError> {
    let written = match writer.transact(|txn| Write { txn, request }.run(method)) {
        Ok((prev_node, commit)) => {
            // Every rule writes what it is about last.
            let answer = commit
                .as_ref()
                .and_then(|commit| {
                    Some(tell::event(commit.records.last()?, commit.main, prev_node))
                })
                .ok_or(Failure { code: Code::RaftInternal, cause: String::new(), index: 0 });
            Written { answer, commit }
        }
        Err(Error::Refused(failure)) => Written { answer: Err(failure), commit: None },
        Err(Error::Read(error)) => return Err(error),
    };
    stats.count_write(method, written.answer.is_ok());
    Ok(written)
}

struct Write<'a, 'w> {
    txn: &'a mut Txn<'w>,
    request: &'a KeysWrite,
}

impl Write<'_, '_> {
    /// Writes, or refuses. Gives the node that was there before.
    fn run(&mut self, method: KeysMethod) -> Result<Option<Node>, Error> {
        let path = &self.request.path;
        if !is_path(path) {
            // The API cleans them: it is a bug there.
            return Err(self.refuse(Code::InvalidForm, "the path is not a clean one"));
        }
        if path == "/" && method != KeysMethod::CreateInOrder {
            return Err(self.refuse_root(method));
        }
        match method {
            KeysMethod::Set => self.set(path),
            KeysMethod::Create => self.create(path),
            KeysMethod::CreateInOrder => {
                let next = self.txn.revision() + 1;
                self.create(&join(path, format!("{next:020}").as_bytes()))
            }
            KeysMethod::Update => self.update(path),
            KeysMethod::CompareAndSwap => self.compare_and_swap(path),
            KeysMethod::Delete => self.delete(path),
            KeysMethod::CompareAndDelete => self.compare_and_delete(path),
        }
    }

    fn set(&mut self, path: &Bytes) -> Result<Option<Node>, Error> {
        let prev = match look_up(self.txn, path) {
            Ok(Place::File(())) => Some(self.record(Kind::Key, path)?),
            Ok(Place::Dir(_)) => return Err(self.refuse_at(Code::NotFile, path)),
            Err(Nothing::Missing(_)) if !self.request.refresh => None,
            Err(nothing) => return Err(nothing.refuse(self.txn.revision())),
        };
        let value = match &prev {
            Some(prev) if self.request.refresh => prev.value.clone(),
            _ => self.request.value.clone(),
        };
        if prev.is_some() && self.request.dir {
            // The file gives way to the directory.
            self.txn.delete(Kind::Key, path, Action::Set, false);
        }
        self.make(path, value, Action::Set);
        Ok(prev.map(|prev| Node::of(&prev)))
    }

    fn create(&mut self, path: &Bytes) -> Result<Option<Node>, Error> {
        match look_up(self.txn, path) {
            Ok(_) => return Err(self.refuse_at(Code::NodeExist, path)),
            Err(Nothing::Missing(_)) => {}
            Err(nothing) => return Err(nothing.refuse(self.txn.revision())),
        }
        self.make(path, self.request.value.clone(), Action::Create);
        Ok(None)
    }

    /// Makes a new node, and the directories above it that have no record: what v2 has written
    /// into stays when all in it is gone.
    fn make(&mut self, path: &Bytes, value: Bytes, action: Action) {
        for dir in ancestors(path) {
            if !self.txn.exists(Kind::Dir, dir) {
                let name = path.slice(..dir.len());
                self.txn
                    .put(Put { told: false, ..put(Kind::Dir, name, Bytes::new(), None, action) });
            }
        }
        let (kind, value) =
            if self.request.dir { (Kind::Dir, Bytes::new()) } else { (Kind::Key, value) };
        let expiry = self.expiry().filter(|expiry| *expiry >= EXPIRY_MIN);
        self.txn.put(Put {
            new_node: true,
            told: action == Action::Create || !self.request.refresh,
            ..put(kind, path.clone(), value, expiry, action)
        });
    }

    fn update(&mut self, path: &Bytes) -> Result<Option<Node>, Error> {
        let prev = match self.place(path)? {
            Place::File(()) => self.record(Kind::Key, path)?,
            Place::Dir(_) if !self.request.value.is_empty() => {
                return Err(self.refuse_at(Code::NotFile, path));
            }
            Place::Dir(head) => return self.update_dir(path, head.is_some()),
        };
        self.replace(&prev, Action::Update);
        Ok(Some(Node::of(&prev)))
    }

    /// Changes a directory's time to live; one that was only implied gets a record by it.
    fn update_dir(&mut self, path: &Bytes, recorded: bool) -> Result<Option<Node>, Error> {
        let prev = if recorded {
            Node::of(&*self.record(Kind::Dir, path)?)
        } else {
            Node::implied_dir(path.clone())
        };
        self.txn.put(Put {
            told: !self.request.refresh,
            ..put(Kind::Dir, path.clone(), Bytes::new(), self.expiry(), Action::Update)
        });
        Ok(Some(prev))
    }

    fn compare_and_swap(&mut self, path: &Bytes) -> Result<Option<Node>, Error> {
        let prev = self.file(path)?;
        self.compare(&prev)?;
        self.replace(&prev, Action::CompareAndSwap);
        Ok(Some(Node::of(&prev)))
    }

    fn delete(&mut self, path: &Bytes) -> Result<Option<Node>, Error> {
        let head = match self.place(path)? {
            Place::File(()) => return self.delete_file(path, Action::Delete).map(Some),
            Place::Dir(head) => head,
        };
        if !self.request.dir && !self.request.recursive {
            return Err(self.refuse_at(Code::NotFile, path));
        }
        if !self.request.recursive && self.txn.has_children(path) {
            return Err(self.refuse_at(Code::DirNotEmpty, path));
        }
        let prev = match head {
            Some(()) => Node::of(&*self.record(Kind::Dir, path)?),
            None => Node::implied_dir(path.clone()),
        };
        delete_tree(self.txn, path, Action::Delete);
        Ok(Some(prev))
    }

    fn compare_and_delete(&mut self, path: &Bytes) -> Result<Option<Node>, Error> {
        let prev = self.file(path)?;
        self.compare(&prev)?;
        self.delete_file(path, Action::CompareAndDelete).map(Some)
    }

    fn delete_file(&mut self, path: &Bytes, action: Action) -> Result<Node, Error> {
        let prev = self.record(Kind::Key, path)?;
        self.txn.delete(Kind::Key, path, action, true);
        Ok(Node::of(&prev))
    }

    /// Writes a new value, or on a refresh the old one, into the node that is there. A lease that
    /// v3 has put on it is gone.
    fn replace(&mut self, prev: &Record, action: Action) {
        let request = self.request;
        let value = if request.refresh { &prev.value } else { &request.value };
        self.txn.put(Put {
            told: !request.refresh,
            ..put(Kind::Key, request.path.clone(), value.clone(), self.expiry(), action)
        });
    }

    /// 2.3.8 shows of a failed comparison the sides that failed.
    fn compare(&self, found: &Record) -> Result<(), Error> {
        let modified = super::index(found.revision.main);
        let prev_value = self.request.prev_value.as_deref().unwrap_or_default();
        let prev_index = self.request.prev_index;
        let value_differs = !prev_value.is_empty() && *prev_value != *found.value;
        let index_differs = prev_index != 0 && prev_index != modified;
        let values = || format!("[{} != {}]", text(prev_value), text(&found.value));
        let indexes = || format!("[{prev_index} != {modified}]");
        let cause = match (value_differs, index_differs) {
            (false, false) => return Ok(()),
            (true, false) => values(),
            (false, true) => indexes(),
            (true, true) => format!("{} {}", values(), indexes()),
        };
        Err(self.refuse(Code::CompareFailed, cause))
    }

    /// The file that a comparison is about.
    fn file(&self, path: &Bytes) -> Result<Arc<Record>, Error> {
        match self.place(path)? {
            Place::File(()) => Ok(self.record(Kind::Key, path)?),
            Place::Dir(_) => Err(self.refuse_at(Code::NotFile, path)),
        }
    }

    fn place(&self, path: &[u8]) -> Result<Place<()>, Error> {
        look_up(self.txn, path).map_err(|nothing| nothing.refuse(self.txn.revision()))
    }

    /// A record that was found to be there.
    fn record(&self, kind: Kind, path: &[u8]) -> Result<Arc<Record>, ReadError> {
        self.txn.get(kind, path)?.ok_or(ReadError::Compacted)
    }

    fn expiry(&self) -> Option<UnixNanos> {
        // On the wire of 2.3.8, 0 is "none".
        self.request.expiry.filter(|expiry| *expiry != 0).map(UnixNanos)
    }

    fn refuse_root(&self, method: KeysMethod) -> Error {
        // Here alone 2.3.8 forgets to ask for the root, and finds a directory without a name.
        if method == KeysMethod::CompareAndDelete {
            return self.refuse(Code::NotFile, "");
        }
        self.refuse(Code::RootReadOnly, "/")
    }

    fn refuse_at(&self, code: Code, path: &[u8]) -> Error {
        self.refuse(code, text(path))
    }

    fn refuse(&self, code: Code, cause: impl Into<String>) -> Error {
        Error::refused(code, cause, self.txn.revision())
    }
}

fn put(kind: Kind, name: Bytes, value: Bytes, expiry: Option<UnixNanos>, action: Action) -> Put {
    Put { kind, name, value, lease: 0, expiry, new_node: false, action, told: true }
}
