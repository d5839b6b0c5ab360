//! Which API a run is about: `ETCDCTL_API`, or the command's name.

use std::ffi::OsStr;

use crate::failure::Failure;

/// Commands that only API 3 has.
const V3_ONLY: &[&str] = &[
    "alarm",
    "check",
    "compaction",
    "completion",
    "defrag",
    "del",
    "downgrade",
    "elect",
    "endpoint",
    "hashkv",
    "lease",
    "lock",
    "make-mirror",
    "move-leader",
    "put",
    "snapshot",
    "txn",
];

/// Refuses what belongs to API 3, which this version does not speak yet.
pub(crate) fn check(version: Option<&OsStr>, command: Option<&OsStr>) -> Result<(), Failure> {
    let v3_comes_later = |what: &str| {
        Failure::plain(format!(
            "etcdctl: {what} needs etcd's v3 API, which this version does not support yet"
        ))
    };
    match version.map(OsStr::as_encoded_bytes) {
        None | Some(b"" | b"2") => {}
        Some(b"3") => return Err(v3_comes_later("ETCDCTL_API=3")),
        Some(_) => return Err(Failure::plain("etcdctl: ETCDCTL_API must be 2 or 3")),
    }
    match command.and_then(OsStr::to_str).filter(|name| V3_ONLY.contains(name)) {
        Some(name) => Err(v3_comes_later(&format!("the command {name:?}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_belongs_to_v3_is_refused() {
        let ok = |version: Option<&str>, command: Option<&str>| {
            check(version.map(OsStr::new), command.map(OsStr::new)).is_ok()
        };
        assert!(ok(None, None) && ok(None, Some("get")) && ok(Some("2"), Some("watch")));
        assert!(ok(Some(""), Some("set")) && ok(None, Some("no-such-command")));
        assert!(!ok(None, Some("put")) && !ok(Some("3"), Some("get")) && !ok(Some("4"), None));
    }
}
