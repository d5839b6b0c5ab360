//! Keys as directories: what lies right below a prefix.

use bytes::Bytes;
use client::v3::{Client, Error, after, prefix_end};
use proto::etcdserverpb::RangeRequest;

/// Keys that are asked for at a time.
const PAGE: i64 = 1000;

/// How keys are read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) client: Client,
    /// What separates names, as `/`.
    pub(super) separator: Bytes,
    /// As it was then: all that is read is of one time. 0 until the first answer has said which.
    pub(super) revision: i64,
    pub(super) serializable: bool,
}

/// What lies right below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Child {
    /// A key.
    Key(Bytes),
    /// Keys that go on with a separator, which is the prefix's end.
    Directory(Bytes),
}

impl Reading {
    /// The children of a prefix, in order. Without a prefix those of the separator alone are among
    /// them: `/a` is as far up as `a`.
    pub(super) async fn children(&mut self, prefix: &Bytes) -> Result<Vec<Child>, Error> {
        let children = self.right_below(prefix).await?;
        if !prefix.is_empty() {
            return Ok(children);
        }
        let root = Child::Directory(self.separator.clone());
        let mut all = Vec::new();
        for child in children {
            if child == root {
                all.extend(self.right_below(&self.separator.clone()).await?);
            } else {
                all.push(child);
            }
        }
        Ok(all)
    }

    /// What lies below a directory is passed over: it costs nothing, however much it is.
    async fn right_below(&mut self, prefix: &Bytes) -> Result<Vec<Child>, Error> {
        let mut children = Vec::new();
        let all = Bytes::from_static(b"\0");
        let mut from = if prefix.is_empty() { all } else { prefix.clone() };
        let end = prefix_end(prefix);
        loop {
            let page = self.page(from, end.clone()).await?;
            let Some(last) = page.last() else { return Ok(children) };
            let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            let mut next = after(last);
            for key in &page {
                let child = child(key, prefix, &self.separator);
                if let Child::Directory(name) = &child
                    && key == last
                {
                    next = prefix_end(name);
                }
                if children.last() != Some(&child) {
                    children.push(child);
                }
            }
            if is_last || next == b"\0"[..] || (end != b"\0"[..] && next >= end) {
                return Ok(children);
            }
            from = next;
        }
    }

    /// Whether there is such a key.
    pub(super) async fn has(&mut self, key: &Bytes) -> Result<bool, Error> {
        if key.is_empty() {
            return Ok(false);
        }
        Ok(!self.page(key.clone(), Bytes::new()).await?.is_empty())
    }

    async fn page(&mut self, key: Bytes, range_end: Bytes) -> Result<Vec<Bytes>, Error> {
        let request = RangeRequest {
            key,
            range_end,
            limit: PAGE,
            revision: self.revision,
            serializable: self.serializable,
            keys_only: true,
            ..RangeRequest::default()
        };
        let answer = self.client.range(request).await?;
        if self.revision == 0 {
            self.revision = answer.header.map_or(0, |header| header.revision);
        }
        Ok(answer.kvs.into_iter().map(|kv| kv.key).collect())
    }
}

/// What stands for a key right below a prefix that it begins with.
fn child(key: &Bytes, prefix: &Bytes, separator: &[u8]) -> Child {
    let rest = key.get(prefix.len()..).unwrap_or_default();
    // A name is never empty: `//a` lies in `//`.
    let found = rest.windows(separator.len()).position(|part| part == separator);
    match found {
        Some(at) => Child::Directory(key.slice(..prefix.len() + at + separator.len())),
        None => Child::Key(key.clone()),
    }
}

/// The prefix that an argument means: a directory may be written without its separator.
pub(super) fn prefix_of(argument: &Bytes, separator: &[u8]) -> Bytes {
    if argument.is_empty() || argument.ends_with(separator) {
        return argument.clone();
    }
    argument.iter().chain(separator).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_the_directory_that_its_next_separator_ends() {
        let of = |key: &'static str, prefix: &'static str| child(&key.into(), &prefix.into(), b"/");
        assert_eq!(of("/a/b/c", ""), Child::Directory("/".into()));
        assert_eq!(of("/a/b/c", "/a/"), Child::Directory("/a/b/".into()));
        assert_eq!(of("/a/b", "/a/"), Child::Key("/a/b".into()));
        assert_eq!(of("/a/", "/a/"), Child::Key("/a/".into()));
        assert_eq!(of("//x", "/"), Child::Directory("//".into()));
        assert_eq!(of("plain", ""), Child::Key("plain".into()));
    }

    #[test]
    fn a_directory_may_be_written_without_its_separator() {
        let prefix = |argument: &'static str| prefix_of(&argument.into(), b"/");
        assert_eq!([prefix(""), prefix("/a"), prefix("/a/")], ["", "/a/", "/a/"].map(Bytes::from));
    }
}
