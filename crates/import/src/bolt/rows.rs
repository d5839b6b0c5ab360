//! A walk over the rows of a bucket, from the first to the last.

use bytes::Bytes;

use super::{Bolt, BoltError, Bucket, page::Page};

/// Far more than a tree of any size has levels.
const DEPTH_MAX: usize = 32;

/// A row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: Bytes,
    /// Where `is_bucket`, that bucket.
    pub(crate) value: Bytes,
    #[allow(dead_code, reason = "etcd's buckets have none inside; the tests look")]
    pub(crate) is_bucket: bool,
    /// The page that it is on.
    pub(crate) page: u64,
}

/// A walk over rows. After an error it is over.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    bolt: &'a Bolt,
    /// From the root to where the walk stands: a page, and which of its elements comes next.
    way: Vec<(Page, usize)>,
    visited: u64,
    last: Option<Bytes>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(bolt: &'a Bolt, bucket: Bucket) -> Result<Self, BoltError> {
        let root = match bucket {
            Bucket::Page(id) => bolt.page(id)?,
            Bucket::Inline(at, bytes) => Page::decode(at, bytes)?,
        };
        Ok(Self { bolt, way: vec![(root, 0)], visited: 1, last: None })
    }

    /// How many pages it has seen.
    pub(crate) fn visited(&self) -> u64 {
        self.visited
    }

    /// The next row; `None` behind the last.
    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, BoltError> {
        let next = self.advance();
        if next.is_err() {
            self.way.clear();
        }
        next
    }

    fn advance(&mut self) -> Result<Option<Row>, BoltError> {
        while let Some((page, next)) = self.way.last_mut() {
            if *next == page.count {
                self.way.pop();
                continue;
            }
            let index = *next;
            *next += 1;
            if !page.is_leaf {
                let child = page.child(index)?;
                self.descend(child.page, &child.key)?;
                continue;
            }
            let (at, element) = (page.at(), page.element(index)?);
            if self.last.as_ref().is_some_and(|last| *last >= element.key) {
                return Err(BoltError::Page { page: at, what: "its keys are not in order" });
            }
            self.last = Some(element.key.clone());
            let super::page::Element { key, value, is_bucket } = element;
            return Ok(Some(Row { key, value, is_bucket, page: at }));
        }
        Ok(None)
    }

    fn descend(&mut self, id: u64, least: &[u8]) -> Result<(), BoltError> {
        let damaged = |what| BoltError::Page { page: id, what };
        if self.way.len() == DEPTH_MAX || self.visited >= self.bolt.pages {
            return Err(damaged("the way to it goes in a circle"));
        }
        let page = self.bolt.page(id)?;
        self.visited += 1;
        if page.count == 0 {
            return Err(damaged("it is empty"));
        }
        let first = if page.is_leaf { page.element(0)?.key } else { page.child(0)?.key };
        if first < least {
            return Err(damaged("it begins before the key that leads to it"));
        }
        self.way.push((page, 0));
        Ok(())
    }
}
