//! What a member leaves in its data directory before it registers at a token: so it can be stopped
//! and started while it waits for the others.
//!
//! Without the note, whoever finds himself registered is another with the same name and URLs, or
//! has lost his data: neither may found the cluster. With the first batch of the log the note has
//! done its duty.

use std::{
    io,
    path::{Path, PathBuf},
};

use base::{Disk, MemberId, Open};

const NAME: &str = "discovery";
/// A URL and an id.
const BYTES_MAX: u64 = 64 << 10;

/// The note of a member at a token.
#[derive(Debug)]
pub(super) struct Note<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) data_dir: &'a Path,
    pub(super) token: &'a str,
    pub(super) member: MemberId,
}

impl Note<'_> {
    /// Whether it is there, word for word.
    pub(super) fn is_there(&self) -> io::Result<bool> {
        let path = path(self.data_dir);
        if !self.disk.exists(&path)? {
            return Ok(false);
        }
        let file = self.disk.open(&path, Open::Read)?;
        let length = usize::try_from(file.len()?.min(BYTES_MAX)).unwrap_or_default();
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes == self.text().as_bytes())
    }

    /// Leaves it, for good.
    pub(super) fn leave(&self) -> io::Result<()> {
        let path = path(self.data_dir);
        let new = path.with_extension("new");
        self.disk.create_dir_all(self.data_dir)?;
        if self.disk.exists(&new)? {
            self.disk.remove(&new)?;
        }
        let file = self.disk.open(&new, Open::Create)?;
        file.write_at(self.text().as_bytes(), 0)?;
        file.sync()?;
        self.disk.rename(&new, &path)?;
        self.disk.sync_dir(self.data_dir)
    }

    fn text(&self) -> String {
        format!("member {} registers at {}\n", self.member, self.token)
    }
}

/// Removes it, whoever's it is: the member is there.
pub(crate) fn remove(disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
    let path = path(data_dir);
    if disk.exists(&path)? {
        disk.remove(&path)?;
        disk.sync_dir(data_dir)?;
    }
    Ok(())
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

#[cfg(test)]
mod tests {
    use base::disk::MemDisk;

    use super::*;

    #[test]
    fn a_note_is_of_one_member_at_one_token_until_it_is_removed() {
        let disk = MemDisk::new(1);
        let data_dir = Path::new("/data");
        let note = |member, token| Note { disk: &disk, data_dir, token, member: MemberId(member) };
        assert!(!note(1, "http://a/t").is_there().unwrap());
        note(1, "http://a/t").leave().unwrap();
        assert!(note(1, "http://a/t").is_there().unwrap());
        assert!(!note(2, "http://a/t").is_there().unwrap());
        assert!(!note(1, "http://a/u").is_there().unwrap());
        note(1, "http://a/u").leave().unwrap();
        assert!(note(1, "http://a/u").is_there().unwrap());
        remove(&disk, data_dir).unwrap();
        remove(&disk, data_dir).unwrap();
        assert!(!note(1, "http://a/u").is_there().unwrap());
        assert_eq!(disk.list(data_dir).unwrap(), [""; 0]);
    }
}
