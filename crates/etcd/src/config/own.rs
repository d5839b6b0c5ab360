//! Command lines of `etcd NAME start`, whose flags are their own: neither the environment nor a file
//! has them.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::{Discovery, Refusal, argv, bootstrap, given::Given, value};
use crate::flags::{Group, find_in};

/// What was given, or else the defaults of these flags. Values were checked when they were given.
pub(super) struct Flags<'a> {
    pub(super) given: &'a Given,
    pub(super) groups: &'static [Group],
}

/// `arguments`: what follows `etcd NAME`. `None`: its user asks for help.
pub(super) fn gather(
    name: &str,
    arguments: &[OsString],
    groups: &'static [Group],
) -> Result<Option<Given>, Refusal> {
    let refuse = |text: String| Refusal::Conflict(format!("{text}; see 'etcd {name} --help'"));
    let Some((first, rest)) = arguments.split_first() else { return Ok(None) };
    match first.to_str() {
        Some("start") => {}
        Some("help" | "-h" | "-help" | "--help") => return Ok(None),
        _ => {
            let first = first.to_string_lossy();
            return Err(refuse(format!("unknown command \"{first}\" for \"etcd {name}\"")));
        }
    }
    let line = argv::parse(rest, groups).map_err(|refusal| match refusal {
        Refusal::Usage(text) => refuse(text),
        Refusal::Stray(word) => {
            refuse(format!("\"{}\" is not a valid flag", base::url::shown(&word)))
        }
        conflict @ Refusal::Conflict(_) => conflict,
    })?;
    Ok(line.asks.is_none().then_some(line.given))
}

impl Flags<'_> {
    pub(super) fn text(&self, name: &str) -> &str {
        let default = || find_in(self.groups, name).map_or("", |flag| flag.default);
        self.given.get(name).map_or_else(default, |(value, _)| value.as_str())
    }

    pub(super) fn switch(&self, name: &str) -> bool {
        value::switch(self.text(name)).unwrap_or(false)
    }

    pub(super) fn duration(&self, name: &str) -> Duration {
        base::duration::parse(self.text(name)).unwrap_or_default()
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let items = self.text(name).split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(str::to_owned).collect()
    }

    /// `--discovery-srv`. `trusted_ca_flag` names the authorities that found members must show.
    pub(super) fn discovery(
        &self,
        trusted_ca_flag: &'static str,
    ) -> Result<Option<Discovery>, Refusal> {
        let domain = self.text("discovery-srv");
        if domain.is_empty() {
            return Ok(None);
        }
        let domain = bootstrap::parse_domain(domain, self.text("discovery-srv-name"))
            .map_err(|reason| Refusal::Conflict(format!("--discovery-srv {reason}")))?;
        Ok(Some(Discovery {
            domain,
            insecure: self.switch("insecure-discovery"),
            trusted_ca_file: self.file(trusted_ca_flag),
            trusted_ca_flag,
        }))
    }
}
