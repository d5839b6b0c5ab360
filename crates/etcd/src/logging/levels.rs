//! Levels by the original's names, for the original's packages.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// Our crates, and the names under which the lines stand that supervisors wait for.
const OURS: &[&str] = &[
    "etcd",
    "etcdmain",
    "etcdserver",
    "embed",
    "discovery",
    "proxy",
    "tcpproxy",
    "api",
    "server",
    "peer",
    "client",
    "tls",
    "member",
    "state",
    "mvcc",
    "wal",
    "backend",
    "base",
    "raft",
];

/// Which of our parts do what a package of the original does.
const PACKAGES: &[(&str, &[&str])] = &[
    ("etcdmain", &["etcd", "etcdmain", "embed"]),
    ("embed", &["embed"]),
    ("etcdserver", &["etcdserver", "server", "member"]),
    ("etcdserver/membership", &["state"]),
    ("etcdserver/auth", &["state"]),
    ("etcdserver/api", &["api"]),
    ("etcdserver/api/v2http", &["api"]),
    ("etcdserver/etcdhttp", &["api"]),
    ("etcdhttp", &["api"]),
    ("security", &["api"]),
    ("httptypes", &["api"]),
    ("raft", &["raft"]),
    ("rafthttp", &["peer", "server"]),
    ("discovery", &["discovery"]),
    ("proxy", &["proxy"]),
    ("proxy/httpproxy", &["proxy"]),
    ("pkg/transport", &["tls"]),
    ("store", &["mvcc", "state"]),
    ("storage", &["mvcc"]),
    ("mvcc", &["mvcc"]),
    ("mvcc/backend", &["backend"]),
    ("backend", &["backend"]),
    ("snap", &["backend"]),
    ("wal", &["wal"]),
    ("pkg", &["base"]),
    ("*", OURS),
];

/// The level of each part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    base: LevelFilter,
    parts: Vec<(&'static str, LevelFilter)>,
}

impl Levels {
    /// `packages` is `package=LEVEL,…`. Comes with the packages that nobody knows.
    pub(super) fn new(base: &str, packages: &str) -> Result<(Self, Vec<String>), String> {
        let mut levels = Self::all(base)?;
        let mut unknown = Vec::new();
        for row in packages.split(',').map(str::trim).filter(|row| !row.is_empty()) {
            let Some((package, level)) = row.split_once('=') else {
                return Err(format!("\"{row}\" is no package=LEVEL"));
            };
            let level = parse(level)?;
            let parts = parts_of(package);
            if parts.is_empty() {
                unknown.push(package.to_owned());
            }
            levels.parts.extend(parts.iter().map(|part| (*part, level)));
        }
        Ok((levels, unknown))
    }

    /// One level for all.
    pub(super) fn all(level: &str) -> Result<Self, String> {
        Ok(Self { base: parse(level)?, parts: Vec::new() })
    }

    /// What others' crates say is told only from WARN on, or at level TRACE.
    pub(super) fn targets(&self) -> Targets {
        let foreign = match self.base {
            LevelFilter::TRACE => LevelFilter::TRACE,
            base => base.min(LevelFilter::WARN),
        };
        // The raft library tells much, and dumps whole configurations: what matters of it the
        // server says in a line of its own.
        let raft = if self.base == LevelFilter::INFO { LevelFilter::WARN } else { self.base };
        let ours = OURS.iter().map(|part| (*part, if *part == "raft" { raft } else { self.base }));
        // Of two levels for one part, the later one counts.
        Targets::new().with_default(foreign).with_targets(ours).with_targets(self.parts.clone())
    }
}

fn parts_of(package: &str) -> &'static [&'static str] {
    if let Some((_, parts)) = PACKAGES.iter().find(|(known, _)| *known == package) {
        return parts;
    }
    OURS.iter().position(|part| *part == package).map_or(&[], |at| OURS.get(at..=at).unwrap_or(&[]))
}

/// The names of etcd 2 (in capitals, also by letter or number), those of 3 (zap's), in any case.
fn parse(level: &str) -> Result<LevelFilter, String> {
    match level.to_ascii_uppercase().as_str() {
        "CRITICAL" | "C" | "ERROR" | "0" | "E" | "PANIC" | "DPANIC" | "FATAL" => {
            Ok(LevelFilter::ERROR)
        }
        "WARNING" | "WARN" | "1" | "W" => Ok(LevelFilter::WARN),
        "NOTICE" | "2" | "N" | "INFO" | "3" | "I" => Ok(LevelFilter::INFO),
        "DEBUG" | "4" | "D" => Ok(LevelFilter::DEBUG),
        "TRACE" | "5" | "T" => Ok(LevelFilter::TRACE),
        _ => Err(format!("\"{level}\" is no level: give CRITICAL, ERROR, WARNING, INFO or DEBUG")),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn levels_go_by_the_names_of_etcd_2_and_3() {
        let check = |name: &str, expected| assert_eq!(parse(name).ok(), expected, "{name}");
        check("DEBUG", Some(LevelFilter::DEBUG));
        check("debug", Some(LevelFilter::DEBUG));
        check("WARNING", Some(LevelFilter::WARN));
        check("CRITICAL", Some(LevelFilter::ERROR));
        check("N", Some(LevelFilter::INFO));
        check("5", Some(LevelFilter::TRACE));
        check("", None);
        check("loud", None);
    }

    #[test]
    fn a_package_of_the_original_sets_the_level_of_our_parts() {
        let (levels, unknown) = Levels::new("info", "etcdserver=DEBUG,raft=ERROR,x=INFO").unwrap();
        assert_eq!(unknown, ["x"]);
        let targets = levels.targets();
        assert!(targets.would_enable("server::start", &Level::DEBUG));
        assert!(targets.would_enable("etcdserver", &Level::DEBUG));
        assert!(!targets.would_enable("mvcc", &Level::DEBUG));
        assert!(targets.would_enable("mvcc", &Level::INFO));
        assert!(!targets.would_enable("raft", &Level::WARN));
        assert!(!targets.would_enable("hyper", &Level::INFO));
        assert!(targets.would_enable("hyper", &Level::WARN));
    }

    #[test]
    fn raft_says_little_unless_it_is_asked() {
        let says = |base, packages, level| {
            Levels::new(base, packages).unwrap().0.targets().would_enable("raft", &level)
        };
        assert!(!says("info", "", Level::INFO));
        assert!(says("info", "", Level::WARN));
        assert!(says("info", "raft=INFO", Level::INFO));
        assert!(says("debug", "", Level::DEBUG));
    }

    #[test]
    fn the_level_below_warn_holds_for_others_crates_too() {
        let targets = Levels::all("ERROR").unwrap().targets();
        assert!(!targets.would_enable("hyper", &Level::WARN));
        assert!(targets.would_enable("hyper", &Level::ERROR));
        assert!(Levels::all("TRACE").unwrap().targets().would_enable("hyper", &Level::TRACE));
    }

    #[test]
    fn what_is_no_level_of_a_package_is_refused() {
        assert!(Levels::new("info", "etcdserver").unwrap_err().contains("no package=LEVEL"));
        assert!(Levels::new("info", "etcdserver=LOUD").unwrap_err().contains("is no level"));
    }
}
