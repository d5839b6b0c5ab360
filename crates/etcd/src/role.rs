//! Whether this process is a member or a proxy: the data directory says so, and else the flags.

use base::Disk;

use crate::config::{Config, Mode};

/// What this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Member,
    Proxy,
}

/// Looks into the data directory and touches nothing. The error is one line.
pub(crate) fn decide(config: &Config, disk: &dyn Disk) -> Result<Role, String> {
    let dir = &config.member.data_dir;
    let has = |name: &str| {
        disk.exists(&dir.join(name)).map_err(|error| {
            let advice = base::disk::advice(error.kind());
            format!("look into {}: {error}{advice}; check --data-dir", dir.display())
        })
    };
    match (has("member")?, has("proxy")?) {
        (true, true) => Err(format!(
            "invalid datadir. Both member and proxy directories exist in {}: remove proxy there if \
             this is to be a member, or move member away if its data is not needed",
            dir.display()
        )),
        (true, false) => Ok(Role::Member),
        (false, false) if config.proxy.mode == Mode::Off => Ok(Role::Member),
        (false, _) => Ok(Role::Proxy),
    }
}

/// What there is to say where the data directory has decided otherwise than the flags would.
pub(crate) fn tell(config: &Config, role: Role) {
    let by_flags = if config.proxy.mode == Mode::Off { Role::Member } else { Role::Proxy };
    if role != by_flags {
        let role = match role {
            Role::Member => "member",
            Role::Proxy => "proxy",
        };
        tracing::warn!(
            target: "etcdmain",
            "the server is already initialized as {role} before, starting as etcd {role}..."
        );
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use base::OsDisk;

    use super::*;
    use crate::config::{self, Command};

    fn decided(has: &[&str], flags: &[&str]) -> Result<Role, String> {
        let dir = tempfile::tempdir().unwrap();
        for name in has {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let data_dir = format!("--data-dir={}", dir.path().display());
        let flags: Vec<_> =
            flags.iter().copied().chain([data_dir.as_str()]).map(Into::into).collect();
        match config::gather(&flags, &BTreeMap::new()) {
            Ok(Command::Start(config)) => decide(&config, &OsDisk),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_data_directory_goes_before_the_flags() {
        for (has, flags, expected) in [
            (&[][..], &[][..], Role::Member),
            (&[], &["--proxy=on"], Role::Proxy),
            (&[], &["--proxy=readonly"], Role::Proxy),
            (&["member"], &["--proxy=on"], Role::Member),
            (&["member", "fixtures"], &[], Role::Member),
            (&["proxy"], &[], Role::Proxy),
        ] {
            assert_eq!(decided(has, flags), Ok(expected), "{has:?} {flags:?}");
        }
        let both = decided(&["member", "proxy"], &[]).unwrap_err();
        assert!(both.starts_with("invalid datadir. Both member and proxy directories exist in /"));
    }
}
