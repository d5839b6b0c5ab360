//! Which API a run is about: `ETCDCTL_API`, or what the command line can only mean.

use std::ffi::OsStr;

use crate::{argv::Arranged, failure::Failure};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    V2,
    V3,
}

/// What the variable asks for; `None` leaves it to the command line.
pub(crate) fn asked(version: Option<&OsStr>) -> Result<Option<Api>, Failure> {
    match version.map(OsStr::as_encoded_bytes) {
        None | Some(b"") => Ok(None),
        Some(b"2") => Ok(Some(Api::V2)),
        Some(b"3") => Ok(Some(Api::V3)),
        Some(_) => Err(Failure::plain("etcdctl: ETCDCTL_API must be 2 or 3")),
    }
}

/// Takes API 2 for what both have, as the guide does, and API 3 for a command or a flag that only
/// it has.
pub(crate) fn meant(v2: &Arranged, v3: &Arranged) -> Api {
    let fits = |line: &Arranged| line.is_complete && !line.has_strangers;
    if fits(v2) || v2.wants_help {
        return Api::V2;
    }
    // A flag that neither knows is told by the API that has the command.
    if fits(v3) || (v3.is_complete && !v2.is_complete) { Api::V3 } else { Api::V2 }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::argv;

    fn meant_by(line: &str) -> Api {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let v2 = argv::arrange(&crate::cli::grammar(), words.clone());
        meant(&v2, &argv::arrange_v3(&crate::v3::cli::grammar(), words, Vec::new()))
    }

    #[test]
    fn the_variable_decides_where_it_is_set() {
        let asked = |version: &str| asked(Some(OsStr::new(version))).ok();
        assert_eq!([asked(""), asked("2")], [Some(None), Some(Some(Api::V2))]);
        assert_eq!([asked("3"), asked("4")], [Some(Some(Api::V3)), None]);
    }

    #[test]
    fn what_only_one_api_has_is_meant_for_it_and_the_rest_for_2() {
        for line in [
            "etcdctl",
            "etcdctl help",
            "etcdctl --help",
            "etcdctl help get",
            "etcdctl --version",
            "etcdctl get k",
            "etcdctl get k --sort",
            "etcdctl set k v",
            "etcdctl ls /",
            "etcdctl watch k --forever",
            "etcdctl member list",
            "etcdctl nonsense",
            "etcdctl get k --nonsense",
            "etcdctl get k --sort --prefix",
        ] {
            assert_eq!(meant_by(line), Api::V2, "{line}");
        }
        for line in [
            "etcdctl put k v",
            "etcdctl del k",
            "etcdctl get k --prefix",
            "etcdctl get k -w json",
            "etcdctl watch --prefix k",
            "etcdctl watch k --rev 3 -- echo",
            "etcdctl member promote 1",
            "etcdctl endpoint health",
            "etcdctl tree",
            "etcdctl version",
            "etcdctl help put",
            "etcdctl put --nonsense k v",
            "etcdctl member list -w table",
        ] {
            assert_eq!(meant_by(line), Api::V3, "{line}");
        }
    }
}
