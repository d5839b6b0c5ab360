//! What `fuzz/` reaches: data of the original as somebody else may have written it.
//!
//! The writers of the tests make it, so that all is as it should be but what the input says. What is
//! taken becomes a keyspace that opens; what is refused leaves nothing.

mod directory;
mod file;
mod input;

use std::{path::Path, sync::Arc};

use base::Disk;

use self::input::Input;
pub use self::{directory::directory, file::file};
use crate::{
    ImportError, Imported, Prefer,
    samples::{imported_as, opened},
};

/// Where the log is, if it is not in the directory.
const LOG: &str = "/log";
const WITHOUT_AUTH: u8 = 1;
const LOG_ELSEWHERE: u8 = 2;

/// Imports what is at `/from`, as a byte says.
fn imported(disk: &Arc<dyn Disk>, how: u8) -> Result<Imported, ImportError> {
    let done = imported_as(disk, "/from", |what| {
        what.without_auth = how & WITHOUT_AUTH != 0;
        what.from_wal = (how & LOG_ELSEWHERE != 0).then_some(Path::new(LOG));
        what.prefer = [None, Some(Prefer::V2), Some(Prefer::V3)][usize::from(how >> 6) % 3];
    });
    if done.is_ok() {
        drop(opened(disk));
    } else {
        for left in ["keyspace", "keyspace.copy", "nodes.copy"] {
            assert!(!disk.exists(&Path::new("/to/member").join(left)).unwrap(), "{left}");
        }
    }
    done
}
