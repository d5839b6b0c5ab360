//! Dependencies point down, and outside crates have owners.

use super::manifest::Crate;

/// Top first. A crate sees only rows below its own.
const ROWS: &[&[&str]] = &[
    &["etcd", "etcdctl", "etcdutl"],
    &["commandline", "grpc-proxy"],
    &["api"],
    &["server"],
    &["peer", "client", "import"],
    &["tls", "member"],
    &["state"],
    &["mvcc"],
    &["wal", "backend"],
    // The last two replace crates from outside: see `[patch.crates-io]`.
    &["base", "proto", "profiler", "raft-proto", "protobuf"],
];

/// Crates beside the rows, which nobody may use, and those of ours that they may.
const BESIDE: &[(&str, &[&str])] = &[
    ("sim", &["member", "state", "mvcc", "wal", "backend", "base", "proto", "linearizable"]),
    // These know the product only from outside: by what goes over the wire; and `e2e`, to damage it, by
    // what lies on disk.
    ("e2e", &["client", "proto", "linearizable", "backend", "base"]),
    ("bench", &["client", "proto"]),
    // A judge of histories, which knows nothing of the product.
    ("linearizable", &[]),
];

/// Outside crates that only these of ours may name. Tests are free.
const OWNED: &[(&str, &[&str])] = &[
    ("arc-swap", &["tls"]),
    ("backtrace", &["profiler"]),
    ("bcrypt", &["server", "import"]),
    ("clap", &["commandline", "etcdctl", "etcdutl", "bench"]),
    ("clap_complete", &["commandline"]),
    ("clap_mangen", &["commandline"]),
    ("crc32c", &["peer", "wal", "member", "backend", "mvcc", "import"]),
    ("dns-lookup", &["tls"]),
    ("framehop", &["profiler"]),
    ("futures-util", &["api"]),
    ("hickory-resolver", &["client"]),
    ("hyper", &["api", "peer", "client", "bench"]),
    ("hyper-util", &["api", "peer", "client", "bench"]),
    ("indicatif", &["etcdctl", "etcdutl"]),
    ("libc", &["profiler"]),
    ("object", &["profiler"]),
    ("opentelemetry", &["etcd"]),
    ("opentelemetry-otlp", &["etcd"]),
    ("opentelemetry_sdk", &["etcd"]),
    ("p521", &["tls"]),
    ("percent-encoding", &["api", "client"]),
    ("prometheus-client", &["api"]),
    ("prost-reflect", &["etcdctl"]),
    ("raft", &["member"]),
    ("raft-proto", &["member"]),
    ("rcgen", &["tls", "e2e"]),
    ("redb", &["backend"]),
    ("ring", &["tls", "api"]),
    ("rlimit", &["etcd"]),
    ("rustls", &["tls"]),
    ("rustls-native-certs", &["tls"]),
    ("sd-notify", &["etcd"]),
    ("serde-saphyr", &["etcd"]),
    ("sha1", &["state"]),
    ("sha2", &["backend", "etcdctl", "import"]),
    ("signal-hook", &["etcd"]),
    ("slog", &["member"]),
    ("tokio-rustls", &["tls"]),
    ("tokio-tungstenite", &["api"]),
    ("tower-service", &["api", "client", "grpc-proxy"]),
    ("tracing-subscriber", &["etcd"]),
    ("x509-parser", &["tls"]),
];

/// From the row of `member` down there is no network, no clock and no thread.
const ONLY_ABOVE_MEMBER: &[&str] = &["tokio", "hyper", "async-trait", "futures"];

pub(super) fn check(crates: &[Crate]) -> Vec<String> {
    let mut untidy = Vec::new();
    for one in crates {
        let Some(may_see) = may_see(&one.name) else {
            untidy.push(format!(
                "crates/{}: has no row: give it one in xtask/src/tidy/layers.rs and in \
                 ARCHITECTURE.md",
                one.name
            ));
            continue;
        };
        let all = one.dependencies.iter().chain(&one.dev_dependencies);
        for dependency in all.filter(|name| is_ours(name) && !may_see.contains(&name.as_str())) {
            untidy.push(format!("crates/{}: may not depend on {dependency}", one.name));
        }
        untidy.extend(one.dependencies.iter().filter_map(|name| foreign(&one.name, name)));
    }
    untidy
}

fn foreign(of: &str, dependency: &str) -> Option<String> {
    let owners = OWNED.iter().find(|(name, _)| *name == dependency).map(|(_, owners)| *owners);
    if let Some(owners) = owners.filter(|owners| !owners.contains(&of)) {
        let owners = owners.join(", ");
        return Some(format!("crates/{of}: only {owners} may depend on {dependency}"));
    }
    let is_low = row(of).is_some_and(|at| Some(at) >= row("member")) || of == "sim";
    (is_low && of != "tls" && ONLY_ABOVE_MEMBER.contains(&dependency))
        .then(|| format!("crates/{of}: from member down nothing may depend on {dependency}"))
}

fn row(name: &str) -> Option<usize> {
    ROWS.iter().position(|names| names.contains(&name))
}

fn is_ours(name: &str) -> bool {
    row(name).is_some() || BESIDE.iter().any(|(beside, _)| *beside == name)
}

/// The crates of ours that `name` may use; none if it has no place.
fn may_see(name: &str) -> Option<Vec<&'static str>> {
    if let Some((_, below)) = BESIDE.iter().find(|(beside, _)| *beside == name) {
        return Some(below.to_vec());
    }
    let at = row(name)?;
    Some(ROWS.iter().skip(at + 1).copied().flatten().copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is untidy about a crate with these dependencies.
    fn untidy(name: &str, dependencies: &[&str], dev: &[&str]) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        check(&[Crate {
            name: name.to_owned(),
            dependencies: owned(dependencies),
            dev_dependencies: owned(dev),
        }])
    }

    #[test]
    fn a_crate_sees_rows_below_only() {
        assert_eq!(untidy("server", &["member", "wal", "tokio"], &[]), [""; 0]);
        let expected = ["crates/mvcc: may not depend on state"];
        assert_eq!(untidy("mvcc", &["state", "backend"], &[]), expected);
        assert_eq!(untidy("mvcc", &[], &["state"]), expected);
        let expected = ["crates/wal: may not depend on backend"];
        assert_eq!(untidy("wal", &["backend"], &[]), expected);
    }

    #[test]
    fn nobody_uses_what_stands_beside() {
        assert_eq!(untidy("etcd", &[], &["e2e"]), ["crates/etcd: may not depend on e2e"]);
        assert_eq!(untidy("sim", &["server"], &[]), ["crates/sim: may not depend on server"]);
        assert_eq!(untidy("sim", &["member"], &[]), [""; 0]);
    }

    #[test]
    fn an_outside_crate_has_its_owners_except_in_tests() {
        assert_eq!(
            untidy("state", &["redb"], &[]),
            ["crates/state: only backend may depend on redb"]
        );
        assert_eq!(untidy("state", &[], &["redb"]), [""; 0]);
    }

    #[test]
    fn there_is_no_runtime_from_member_down() {
        let expected = ["crates/member: from member down nothing may depend on tokio"];
        assert_eq!(untidy("member", &["tokio"], &[]), expected);
        assert_eq!(untidy("base", &["tokio"], &[]).len(), 1);
        assert_eq!(untidy("client", &["tokio"], &[]), [""; 0]);
    }

    #[test]
    fn a_crate_without_a_row_is_told() {
        assert!(untidy("utils", &[], &[])[0].contains("has no row"));
    }
}
