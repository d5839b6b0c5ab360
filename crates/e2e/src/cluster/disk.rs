//! A small disk of its own for one member, which tests can fill and stop.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::network::run;

/// A file system in a file. It is unmounted and removed with this value.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// A disk of so many MiB; or why this machine has none.
    pub fn new(mebibytes: u64) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|problem| problem.to_string())?;
        let disk = Self { dir };
        let (image, mount) = (disk.dir.path().join("image"), disk.mount());
        let sized = File::create(&image).and_then(|file| file.set_len(mebibytes << 20));
        sized.and_then(|()| std::fs::create_dir(&mount)).map_err(|problem| problem.to_string())?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", path(&image)], "")?;
        run("mount", &["-o", "loop", path(&image), path(&mount)], "")?;
        Ok(disk)
    }

    fn mount(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// For a member's data.
    pub fn data_dir(&self) -> PathBuf {
        self.mount().join("data")
    }

    /// Fills it to the last block.
    pub fn fill(&self) {
        let filler = OpenOptions::new().create(true).append(true).open(self.filler());
        let mut filler = filler.expect("a disk with room takes a file");
        let chunk = vec![0; 1 << 20];
        for size in [chunk.len(), 4096] {
            while filler.write_all(&chunk[..size]).is_ok() {}
        }
        drop(filler.sync_all());
    }

    /// Makes room again.
    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.mount().join("filler")
    }

    /// Stops the disk now: every write waits until the value that is returned goes, but for
    /// moments in between.
    pub fn stutter(&self, stop: Duration) -> Stutter {
        let stopped = run("fsfreeze", &["-f", path(&self.mount())], "");
        stopped.expect("a mounted disk can be stopped");
        let (ends, mount) = (Arc::new(AtomicBool::new(false)), self.mount());
        let ended = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            loop {
                let until = Instant::now() + stop;
                while Instant::now() < until && !ended.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                run("fsfreeze", &["-u", path(&mount)], "").expect("it was stopped");
                if ended.load(SeqCst) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
                run("fsfreeze", &["-f", path(&mount)], "").expect("a mounted disk can be stopped");
            }
        });
        Stutter { ends, thread: Some(thread) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Not mounted, if `new` did not come so far.
        drop(run("umount", &[path(&self.mount())], ""));
    }
}

/// A disk that stops again and again.
pub struct Stutter {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Stutter {
    fn drop(&mut self) {
        self.ends.store(true, SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "a disk stays stopped");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}
