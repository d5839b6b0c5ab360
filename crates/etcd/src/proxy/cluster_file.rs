//! `<data-dir>/proxy/cluster`: where the members are, as a former run has found out; in the
//! original's form.

use std::{
    io,
    path::{Path, PathBuf},
};

use base::{Disk, Open, disk};
use serde_json::{Value, json};

/// Peer URLs of a cluster are few.
const BYTES_MAX: u64 = 4 << 20;

/// The file, which need not be there.
#[derive(Clone, Debug)]
pub(super) struct ClusterFile {
    dir: PathBuf,
    path: PathBuf,
}

impl ClusterFile {
    pub(super) fn new(data_dir: &Path) -> Self {
        let dir = data_dir.join("proxy");
        Self { path: dir.join("cluster"), dir }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The peer URLs, if the file is there. The error is one line.
    pub(super) fn read(&self, disk: &dyn Disk) -> Result<Option<Vec<String>>, String> {
        let path = self.path.display();
        let bytes = match self.bytes(disk) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(format!("read {path}: {error}{}", disk::advice(error.kind())));
            }
        };
        let urls = parse(&bytes).ok_or_else(|| {
            format!(
                "{path} does not say where the members are: remove it, and give --initial-cluster or \
                 --discovery"
            )
        })?;
        Ok(Some(urls))
    }

    fn bytes(&self, disk: &dyn Disk) -> io::Result<Vec<u8>> {
        let file = disk.open(&self.path, Open::Read)?;
        let length = file.len()?.min(BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Makes the directory, by which a later start knows that this is a proxy.
    pub(super) fn prepare(&self, disk: &dyn Disk) -> Result<(), String> {
        disk.create_dir_all(&self.dir).map_err(|error| {
            let (dir, advice) = (self.dir.display(), disk::advice(error.kind()));
            format!("create {dir}: {error}{advice}; check --data-dir")
        })
    }

    /// Replaces what the file says, all at once.
    pub(super) fn write(&self, disk: &dyn Disk, urls: &[String]) -> io::Result<()> {
        let new = self.dir.join("cluster.bak");
        match disk.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = disk.open(&new, Open::Create)?;
        file.write_at(json!({ "PeerURLs": urls }).to_string().as_bytes(), 0)?;
        file.sync()?;
        disk.rename(&new, &self.path)?;
        disk.sync_dir(&self.dir)
    }
}

fn parse(bytes: &[u8]) -> Option<Vec<String>> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let urls = value.get("PeerURLs")?.as_array()?.iter();
    let urls: Option<Vec<_>> = urls.map(|url| url.as_str().map(str::to_owned)).collect();
    urls.filter(|urls| !urls.is_empty())
}

#[cfg(test)]
mod tests {
    use base::disk::MemDisk;

    use super::*;

    fn put(disk: &dyn Disk, text: &str) {
        disk.create_dir_all(Path::new("/data/proxy")).unwrap();
        let file = disk.open(Path::new("/data/proxy/cluster"), Open::Create).unwrap();
        file.write_at(text.as_bytes(), 0).unwrap();
    }

    #[test]
    fn what_is_written_is_read_and_replaces_what_was_there() {
        let (disk, file) = (MemDisk::new(1), ClusterFile::new(Path::new("/data")));
        assert_eq!(file.read(&disk), Ok(None));
        file.prepare(&disk).unwrap();
        assert_eq!(file.read(&disk), Ok(None));
        for urls in [vec!["http://a:1".to_owned()], vec!["http://b:2".into(), "http://c:3".into()]]
        {
            file.write(&disk, &urls).unwrap();
            assert_eq!(file.read(&disk), Ok(Some(urls)));
        }
        let names = disk.list(Path::new("/data/proxy")).unwrap();
        assert_eq!(names, ["cluster"]);
    }

    #[test]
    fn the_originals_file_is_understood_and_its_form_kept() {
        let (disk, file) = (MemDisk::new(1), ClusterFile::new(Path::new("/data")));
        let text = r#"{"PeerURLs":["http://a:1","http://b:2"]}"#;
        put(&disk, text);
        let urls = file.read(&disk).unwrap().unwrap();
        assert_eq!(urls, ["http://a:1", "http://b:2"]);
        file.write(&disk, &urls).unwrap();
        assert_eq!(file.bytes(&disk).unwrap(), text.as_bytes());
    }

    #[test]
    fn a_file_that_says_nothing_is_named() {
        for text in ["", "{", "[]", "{}", r#"{"PeerURLs":null}"#, r#"{"PeerURLs":[]}"#] {
            let (disk, file) = (MemDisk::new(1), ClusterFile::new(Path::new("/data")));
            put(&disk, text);
            let error = file.read(&disk).unwrap_err();
            assert!(error.starts_with("/data/proxy/cluster does not say where"), "{text}: {error}");
        }
    }
}
