//! `--enable-log-rotation`: a file that is set aside when it has become too large, as lumberjack does it
//! for the original.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use base::{Clock as _, OsClock, UnixNanos};
use parking_lot::Mutex;
use serde::Deserialize;
use time::OffsetDateTime;

const DAY: Duration = Duration::from_hours(24);

/// What `--log-rotation-config-json` says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Rotation {
    /// In MB.
    maxsize: u64,
    /// In days; 0: for ever.
    maxage: u64,
    /// 0: all.
    maxbackups: usize,
    localtime: bool,
    compress: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { maxsize: 100, maxage: 0, maxbackups: 0, localtime: false, compress: false }
    }
}

impl Rotation {
    /// The error is in etcd's words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let read: Result<Self, _> = serde_json::from_str(text);
        let read = read.map_err(|error| format!("invalid log rotation config: {error}"))?;
        // As in the original, 0 is the default.
        let maxsize = if read.maxsize == 0 { 100 } else { read.maxsize };
        Ok(Self { maxsize, ..read })
    }

    /// What it asks for and does not get.
    pub(super) fn idle(&self) -> Vec<&'static str> {
        let asked = [
            (self.localtime, "localtime has no effect: names are in UTC, as lines are"),
            (self.compress, "compress has no effect: files stay as they are"),
        ];
        asked.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, why)| why).collect()
    }
}

/// A file of lines that is set aside when it has become too large.
#[derive(Debug)]
pub(super) struct Rotated {
    path: PathBuf,
    rotation: Rotation,
    bytes_max: u64,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl Rotated {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let bytes_max = rotation.maxsize.saturating_mul(1 << 20);
        Self::open_up_to(path, rotation, bytes_max)
    }

    fn open_up_to(path: &Path, rotation: Rotation, bytes_max: u64) -> io::Result<Self> {
        let open = Mutex::new(Open::begin(path)?);
        Ok(Self { path: path.to_owned(), rotation, bytes_max, open })
    }

    /// Writes a whole line, into a new file if there is no room in this one.
    pub(super) fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock();
        if open.bytes > 0 && open.bytes + line.len() as u64 > self.bytes_max {
            // Where that fails, a file that is too long is better than none.
            drop(self.rotate(&mut open, OsClock::new().wall()));
        }
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        Ok(())
    }

    fn rotate(&self, open: &mut Open, now: UnixNanos) -> io::Result<()> {
        fs::rename(&self.path, self.backup(now))?;
        *open = Open::begin(&self.path)?;
        self.remove_old(now)
    }

    /// `etcd-2026-11-26T10-05-00.000.log` for `etcd.log`.
    fn backup(&self, now: UnixNanos) -> PathBuf {
        let (front, end) = self.parts();
        self.path.with_file_name(format!("{front}{}{end}", stamp(now)))
    }

    /// What stands in front of a backup's time, and behind it.
    fn parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| {
            part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let extension = self.path.extension().map(|_| format!(".{}", text(self.path.extension())));
        (format!("{}-", text(self.path.file_stem())), extension.unwrap_or_default())
    }

    fn remove_old(&self, now: UnixNanos) -> io::Result<()> {
        let Rotation { maxage, maxbackups, .. } = self.rotation;
        let (front, end) = self.parts();
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let mut stamps = Vec::new();
        for entry in fs::read_dir(dir.unwrap_or(Path::new(".")))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let inner = name.strip_prefix(&front).and_then(|rest| rest.strip_suffix(&end));
            stamps.extend(inner.filter(|inner| is_stamp(inner)).map(str::to_owned));
        }
        // They sort as times do; the newest first.
        stamps.sort_unstable_by(|one, other| other.cmp(one));
        let age = DAY.saturating_mul(u32::try_from(maxage).unwrap_or(u32::MAX));
        let nanos = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        let oldest = stamp(UnixNanos(now.0.saturating_sub(nanos)));
        for (at, found) in stamps.iter().enumerate() {
            let is_too_many = maxbackups > 0 && at >= maxbackups;
            if is_too_many || maxage > 0 && *found < oldest {
                fs::remove_file(self.path.with_file_name(format!("{front}{found}{end}")))?;
            }
        }
        Ok(())
    }
}

impl Open {
    fn begin(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

/// `2026-11-26T10-05-00.000`, in UTC.
fn stamp(at: UnixNanos) -> String {
    // All that fit into nanoseconds are within its years.
    let at = OffsetDateTime::from_unix_timestamp_nanos(at.0.into());
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second, milli)) = (at.date(), at.time().as_hms_milli());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{milli:03}")
}

fn is_stamp(text: &str) -> bool {
    const FORM: &str = "dddd-dd-ddTdd-dd-dd.ddd";
    let fits = |(is, form): (u8, u8)| if form == b'd' { is.is_ascii_digit() } else { is == form };
    text.len() == FORM.len() && text.bytes().zip(FORM.bytes()).all(fits)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests own a clock and files")]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn settings_are_read_as_the_original_reads_them() {
        assert_eq!(Rotation::parse("{}"), Ok(Rotation::default()));
        let text = r#"{"maxsize": 0, "maxage": 7, "maxbackups": 3, "compress": true, "other": 1}"#;
        let read = Rotation::parse(text).unwrap();
        assert_eq!((read.maxsize, read.maxage, read.maxbackups), (100, 7, 3));
        assert_eq!(read.idle().len(), 1);
        for wrong in ["", "{", r#"{"maxsize":"1"}"#, r#"{"maxage":-1}"#] {
            let why = Rotation::parse(wrong).unwrap_err();
            assert!(why.starts_with("invalid log rotation config: "), "{why}");
        }
    }

    #[test]
    fn a_file_that_is_full_is_set_aside_and_no_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        fs::write(dir.path().join("etcd-notes.log"), "somebody else's").unwrap();
        let rotation = Rotation { maxbackups: 2, ..Rotation::default() };
        let rotated = Rotated::open_up_to(&path, rotation, 10).unwrap();
        for line in ["one\n", "two\n", "three\n", "a longer one than fits\n", "five\n"] {
            rotated.write(line.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(3));
        }
        let found = names(dir.path());
        // Two that were set aside, the one that is written, and what is not ours.
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(is_stamp(&found[0]["etcd-".len()..found[0].len() - ".log".len()]), "{found:?}");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let texts = found.iter().map(|name| read(name)).collect::<Vec<_>>();
        assert_eq!(texts[..2], ["three\n", "a longer one than fits\n"]);
        assert_eq!(read("etcd.log"), "five\n");
        // What was there before counts.
        drop(rotated);
        let again = Rotated::open_up_to(&path, Rotation::default(), 10).unwrap();
        again.write(b"six, too long\n").unwrap();
        assert_eq!((names(dir.path()).len(), read("etcd.log").as_str()), (5, "six, too long\n"));
    }

    #[test]
    fn what_is_older_than_it_may_be_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        for name in ["etcd-2026-11-20T00-00-00.000.log", "etcd-2026-11-25T00-00-00.000.log"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let rotation = Rotation { maxage: 3, ..Rotation::default() };
        let rotated = Rotated::open_up_to(&path, rotation, 10).unwrap();
        // 2026-11-26T10:05:00.25Z.
        let now = UnixNanos(1_795_687_500_250_000_000);
        rotated.rotate(&mut rotated.open.lock(), now).unwrap();
        let expected =
            ["etcd-2026-11-25T00-00-00.000.log", "etcd-2026-11-26T10-05-00.250.log", "etcd.log"];
        assert_eq!(names(dir.path()), expected);
    }
}
