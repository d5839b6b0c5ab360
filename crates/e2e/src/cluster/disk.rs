//! A small disk of its own for one member, which tests can fill and stop.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{load::Load, network::run};

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

    /// Fills it, but for so many MiB.
    pub fn fill_but(&self, mebibytes: u64) {
        self.fill();
        let filler = OpenOptions::new().write(true).open(self.filler());
        let filler = filler.expect("it was filled");
        let length = filler.metadata().expect("it is open").len();
        let less = length.checked_sub(mebibytes << 20).expect("there was more room");
        filler.set_len(less).and_then(|()| filler.sync_all()).expect("a file can be cut");
    }

    /// Makes room again.
    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.mount().join("filler")
    }

    /// Stops the disk now: every write waits until the value that is returned goes, but for
    /// moments in between. Counts what of this load is acknowledged meanwhile.
    pub fn stutter(&self, stop: Duration, load: &Load) -> Stutter {
        let (shared, mount) = (Arc::new(Shared::default()), self.mount());
        let (told, acknowledged) = (Arc::clone(&shared), load.counter());
        set(&mount, true);
        let thread = std::thread::spawn(move || {
            loop {
                let probe = probe(mount.join("probe"));
                let (began, mut before) = (Instant::now(), None);
                while began.elapsed() < stop && !told.ends.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                    if began.elapsed() > stop / 2 {
                        before.get_or_insert_with(&acknowledged);
                    }
                }
                if probe.is_finished() {
                    told.leaks.store(true, SeqCst);
                }
                let since = before.map_or(0, |before| acknowledged() - before);
                told.acknowledged.fetch_add(since, SeqCst);
                told.stops.fetch_add(1, SeqCst);
                set(&mount, false);
                probe.join().expect("a disk that goes on takes what has waited");
                if told.ends.load(SeqCst) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
                set(&mount, true);
            }
        });
        Stutter { shared, thread: Some(thread) }
    }
}

/// Stops a file system, or lets it go on.
fn set(mount: &Path, stopped: bool) {
    let option = if stopped { "-f" } else { "-u" };
    run("fsfreeze", &[option, path(mount)], "").expect("a mounted disk can be stopped");
}

/// Writes a few bytes and syncs them, as a member does: a disk that is stopped takes them once it goes
/// on.
fn probe(at: PathBuf) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let written = File::create(at).and_then(|mut file| {
            file.write_all(b"x")?;
            file.sync_all()
        });
        written.expect("there is room");
    })
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Not mounted, if `new` did not come so far.
        drop(run("umount", &[path(&self.mount())], ""));
    }
}

/// A disk that stops again and again.
pub struct Stutter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    /// Stops that are over.
    stops: AtomicU64,
    /// Something was written while it was stopped.
    leaks: AtomicBool,
    /// Changes acknowledged in the second halves of stops that are over.
    acknowledged: AtomicU64,
}

impl Stutter {
    /// How often it has stopped, and gone on; it must have taken nothing meanwhile.
    pub fn stops(&self) -> u64 {
        assert!(!self.shared.leaks.load(SeqCst), "a disk that was stopped took a write");
        self.shared.stops.load(SeqCst)
    }

    /// How many changes were acknowledged when it had stood still for a while already, so that none of
    /// them is one that it had taken before.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(SeqCst)
    }
}

impl Drop for Stutter {
    fn drop(&mut self) {
        self.shared.ends.store(true, SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "a disk stays stopped");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}
