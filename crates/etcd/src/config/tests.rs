//! Claims about whole configurations: what the three sources say together.

use std::{io::Write as _, os::unix::ffi::OsStringExt as _, time::Duration};

use super::*;

fn gathered(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Command, Refusal> {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let pair = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    gather(&arguments, &super::environment(environment.iter().map(pair))?)
}

fn configured(arguments: &[&str], environment: &[(&str, &str)]) -> Config {
    match gathered(arguments, environment) {
        Ok(Command::Start(config)) => *config,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
    let refusal = gathered(arguments, environment).unwrap_err();
    let text = refusal.to_string();
    assert!(!text.contains('\n'), "more than a line: {text}");
    (matches!(refusal, Refusal::Usage(_)), text)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn urls(listens: &[Listen]) -> Vec<&str> {
    listens.iter().map(|listen| listen.url.as_str()).collect()
}

#[test]
fn without_flags_the_defaults_are_those_of_etcd_2() {
    let config = configured(&[], &[]);
    let member = &config.member;
    assert_eq!(member.name, "default");
    assert_eq!(member.data_dir.to_str(), Some("default.etcd"));
    assert_eq!(member.wal_dir, None);
    assert_eq!(member.snapshot_count, 10_000);
    assert_eq!(member.heartbeat, Duration::from_millis(100));
    assert_eq!(member.election, Duration::from_secs(1));
    assert_eq!(member.quota_bytes, 2 << 30);
    assert!(member.new_cluster && !member.force_new_cluster);
    assert_eq!(member.initial_cluster_token, "etcd-cluster");
    let peers = ["http://localhost:2380", "http://localhost:7001"];
    let clients = ["http://localhost:2379", "http://localhost:4001"];
    assert_eq!(urls(&config.listen_peers), peers);
    assert_eq!(urls(&config.listen_clients), clients);
    assert_eq!(member.peer_urls, peers);
    assert_eq!(member.client_urls, clients);
    let all = ("default".to_owned(), peers.map(str::to_owned).to_vec());
    assert_eq!(member.initial_cluster, [all]);
    assert!(config.is_default_data_dir && config.warnings.is_empty());
}

#[test]
fn the_guides_command_line_is_understood() {
    let line = "-name etcd0 -advertise-client-urls http://10.0.0.1:2379,http://10.0.0.1:4001 \
                -listen-client-urls http://0.0.0.0:2379,http://0.0.0.0:4001 \
                -initial-advertise-peer-urls http://10.0.0.1:2380 \
                -listen-peer-urls http://0.0.0.0:2380 -initial-cluster-token etcd-cluster-1 \
                -initial-cluster etcd0=http://10.0.0.1:2380 -initial-cluster-state new";
    let config = configured(&line.split_whitespace().collect::<Vec<_>>(), &[]);
    assert_eq!(config.member.name, "etcd0");
    assert_eq!(config.member.data_dir.to_str(), Some("etcd0.etcd"));
    let expected = ("etcd0".to_owned(), vec!["http://10.0.0.1:2380".to_owned()]);
    assert_eq!(config.member.initial_cluster, [expected]);
    assert!(config.listen_clients.iter().all(|listen| !listen.is_legacy_default));
}

#[test]
fn a_flag_is_written_with_one_dash_or_two_and_with_a_blank_or_an_equals_sign() {
    for line in [&["-name", "x"][..], &["--name", "x"], &["-name=x"], &["--name=x"]] {
        assert_eq!(configured(line, &[]).member.name, "x", "{line:?}");
    }
    // The last one counts, and a value may look like a flag.
    assert_eq!(configured(&["--name=x", "--name=y"], &[]).member.name, "y");
    assert_eq!(configured(&["--name", "-x"], &[]).member.name, "-x");
    for line in
        [&["--force-new-cluster"][..], &["-force-new-cluster=T"], &["--force-new-cluster=1"]]
    {
        assert!(configured(line, &[]).member.force_new_cluster, "{line:?}");
    }
    assert!(!configured(&["--force-new-cluster=false"], &[]).member.force_new_cluster);
}

#[test]
fn a_wrong_command_line_is_refused_with_advice() {
    let check = |line: &[&str], is_usage: bool, part: &str| {
        let (usage, text) = refused(line, &[]);
        assert!(text.contains(part), "{line:?}: {text}");
        assert_eq!(usage, is_usage, "{line:?}: {text}");
    };
    check(&["--nam=x"], true, "unknown flag --nam: did you mean --name?");
    check(&["--frobnicate"], true, "unknown flag --frobnicate; see 'etcd --help'");
    check(&["--name"], true, "--name needs a value");
    let url = "http://me:pa/s,s@h:1";
    for (argument, is_usage) in
        [("", false), ("--listen-client-urls=", true), ("--discovery=", false)]
    {
        let argument = format!("{argument}{url}");
        check(&[&argument], is_usage, "http://me:xxxxx@h:1");
        let (_, text) = refused(&[&argument], &[]);
        assert!(!text.contains("pa/") && !text.contains("s@"), "{text}");
    }
    check(&["stray"], false, "\"stray\" is not a valid flag");
    check(&["--debug", "true"], false, "\"true\" is not a valid flag");
    check(&["--", "--name=x"], false, "\"--name=x\" is not a valid flag");
    check(&["grpc-proxy", "stop"], false, "unknown command \"stop\" for \"etcd grpc-proxy\"");
    check(&["gateway", "stop"], false, "unknown command \"stop\" for \"etcd gateway\"");
    check(&["---name"], false, "not a valid flag");
    check(&["--snapshot-count=-1"], true, "invalid value \"-1\" for --snapshot-count");
    check(&["--debug=2"], true, "give true or false");
    check(&["--initial-cluster-state=old"], true, "give one of new, existing");
    check(&["--listen-peer-urls=localhost:2380"], true, "write http://localhost:2380");
    check(&["--addr=localhost:4001"], true, "give IP:port");
    check(&["--peers=10.0.0.1:7001"], false, "no longer supported: use --initial-cluster");
}

#[test]
fn flags_that_do_not_go_together_are_refused_with_advice() {
    let check = |line: &[&str], part: &str| {
        let (usage, text) = refused(line, &[]);
        assert!(!usage && text.contains(part), "{line:?}: {text}");
    };
    let clients = "--listen-client-urls=http://127.0.0.1:1";
    check(&[clients], "--advertise-client-urls is required when --listen-client-urls is set");
    check(&["--election-timeout=499"], "at least 5 times --heartbeat-interval [100ms]");
    check(&["--election-timeout=50001"], "is too long: give 50000 or less");
    check(&["--heartbeat-interval=0"], "must be above 0");
    check(&["--proxy-refresh-interval=0"], "--proxy-refresh-interval must be above 0");
    check(&[clients, "--discovery=http://a:1/x", "--discovery-fallback=exit"], "is required");
    check(&["--listen-peer-urls=http://infra0:2380"], "expected IP in URL for binding");
    check(
        &["--listen-peer-urls=https://127.0.0.1:2380"],
        "TLS key/cert (--peer-cert-file, --peer-key-file) must be",
    );
    check(&["--listen-peer-urls=http://localhost:2379"], "are the same address");
    check(&["--initial-cluster=x"], "is no name=URL");
    check(&["--name="], "give a name");
    check(&["--name=a,b"], "give a name");
    check(&["--addr=10.0.0.1:1", "--advertise-client-urls=http://x:1"], "set only one of --addr");
    check(&["--discovery=http://a:1"], "names no token: give one like https://");
    let both = ["--discovery=http://a:1/x", "--initial-cluster=default=http://localhost:2380"];
    check(&both, "multiple discovery or bootstrap flags are set. Choose one of");
    let both = ["--discovery-srv=a.test", "--initial-cluster=default=http://localhost:2380"];
    check(&both, "multiple discovery or bootstrap flags are set. Choose one of");
    let both = ["--discovery=http://a:1/x", "--discovery-srv=a.test"];
    check(&both, "multiple discovery or bootstrap flags are set. Choose one of");
    for domain in ["http://a.test", "a b", ".", "a,b"] {
        check(&[&format!("--discovery-srv={domain}")], "is no domain: give one like example.com");
    }
    let proxied = |proxy| ["--discovery=http://a:1/x", proxy];
    check(&proxied("--discovery-proxy=a:port"), "is no address of an HTTP proxy");
    check(&proxied("--discovery-proxy=https://a"), "a proxy is spoken to without TLS");
    let v3 = ["--discovery-token=t", "--discovery-endpoints=a:1"];
    let halves = "both --discovery-token and --discovery-endpoints must be set";
    check(&v3[..1], halves);
    check(&v3[1..], halves);
    check(&[v3[0], "--discovery-endpoints=a:1,,b:1"], "must not contain empty endpoints");
    check(&[v3[0], v3[1], "--discovery-srv=a.test"], "multiple discovery or bootstrap flags");
    check(&[v3[0], v3[1], "--discovery-cert=c"], "--discovery-cert: KeyFile and CertFile must");
    let rotation = ["--enable-log-rotation", "--log-outputs=a.log", "--log-rotation-config-json={"];
    check(&rotation[..1], "requires a single file path");
    check(&[rotation[0], "--log-outputs=a.log,stderr"], "requires a single file path");
    check(&rotation, "--log-rotation-config-json: invalid log rotation config: ");
    check(&["--feature-gates=LeaseCheckpointPersist=true"], "requires enabling feature gate");
    check(&["--cert-file=c"], "KeyFile and CertFile must both be present[key: , cert: c]");
    check(&["--tls-min-version=TLS1.1"], "unexpected TLS version \"TLS1.1\"");
    check(&["--cipher-suites=X"], "unexpected TLS cipher suite \"X\"");
    check(&["--cipher-suites=TLS_RSA_WITH_RC4_128_SHA"], "none of the TLS cipher suites");
    check(&["--log-package-levels=x"], "is no package=LEVEL");
}

#[test]
fn flags_on_users_are_taken_and_wrong_ones_named() {
    let check = |flag: &str, expected: &str| {
        let (usage, text) = refused(&[flag], &[]);
        assert!(!usage && text.contains(expected), "{text}");
    };
    check(
        "--auth-token=jwt,pub-key=x",
        "--auth-token \"jwt,pub-key=x\": auth: invalid auth options",
    );
    check("--auth-token=other", "tokens are simple or jwt");
    for flag in ["--cert-file=", "--client-cert-auth=false", "--proxy=off", "--auth-token=simple"] {
        configured(&[flag], &[]);
    }
    let default = configured(&[], &[]).auth;
    assert_eq!(configured(&["--bcrypt-cost=10", "--auth-token-ttl=0"], &[]).auth, default);
    assert_ne!(configured(&["--bcrypt-cost=5"], &[]).auth, default);
    assert_ne!(configured(&["--auth-token-ttl=60"], &[]).auth, default);
    let wrong = configured(&["--bcrypt-cost=32"], &[]);
    assert_eq!(wrong.auth, default);
    let warned = wrong.warnings.iter().any(|text| text.contains("--bcrypt-cost 32 is not between"));
    assert!(warned, "{:?}", wrong.warnings);
}

#[test]
fn a_proxy_is_asked_for_on_the_line_in_the_environment_and_in_a_file() {
    let file = file("proxy: on\nproxy-read-timeout: 7\n");
    let named = format!("--config-file={}", file.path().display());
    // It advertises nothing, and opens no port for peers.
    let listens = "--listen-client-urls=http://127.0.0.1:2380";
    for (line, environment, mode) in [
        (&[][..], &[][..], Mode::Off),
        (&["--proxy=on", listens], &[], Mode::On),
        (&["-proxy", "readonly"], &[], Mode::Readonly),
        (&[], &[("ETCD_PROXY", "on")], Mode::On),
        (&[&named], &[], Mode::On),
    ] {
        assert_eq!(configured(line, environment).proxy.mode, mode, "{line:?} {environment:?}");
    }
    let proxy = configured(&[&named], &[]).proxy;
    assert_eq!(proxy.read_timeout, Some(Duration::from_millis(7)));
    let defaults = configured(&[], &[]).proxy;
    let expected = Proxy {
        mode: Mode::Off,
        falls_back: true,
        failure_wait: Duration::from_secs(5),
        refresh_interval: Duration::from_secs(30),
        dial_timeout: Some(Duration::from_secs(1)),
        write_timeout: Some(Duration::from_secs(5)),
        read_timeout: None,
    };
    assert_eq!(defaults, expected);
}

#[test]
fn whoever_may_become_a_proxy_need_not_advertise_himself() {
    let line = ["--listen-client-urls=http://127.0.0.1:1", "--discovery=http://a:1/x"];
    let warnings = configured(&line, &[]).warnings;
    let told = |warning: &String| warning.contains("should this become a member, it tells clients");
    assert!(warnings.iter().any(told), "{warnings:?}");
}

#[test]
fn what_has_no_effect_is_told() {
    let check = |flag: &str, expected: &str| {
        let warnings = configured(&["--data-dir=d", flag], &[]).warnings;
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{flag}: {warnings:?}");
    };
    check("--max-wals=9", "--max-wals has no effect: the raft log is cut by");
    check("--enable-v2=false", "the v2 API is always served");
    let suites =
        "--cipher-suites=TLS_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    check(suites, "TLS_RSA_WITH_AES_256_GCM_SHA384 is not offered to clients, since it is weak");
    check("--experimental-max-learners=2", "--max-learners");
    check("--client-crl-file=x", "--client-crl-file has no effect: no client url has the HTTPS");
    check("--peer-cert-allowed-cn=x", "--peer-cert-allowed-cn has no effect: no peer url has");
    check("--tls-min-version=TLS1.2", "--tls-min-version has no effect: no client or peer url");
    check("--experimental-wait-cluster-ready-timeout=9s", "no longer supported: ignored");
    check("--cluster-active-size=9", "no longer supported: ignored");
    check("-vv", "no longer supported: ignored");
    check("--log-package-levels=nobody=DEBUG", "there is no package \"nobody\"");
    check("--discovery-proxy=p:1", "--discovery-proxy has no effect without --discovery");
    check("--discovery-srv-name=x", "--discovery-srv-name has no effect without --discovery-srv");
    check("--discovery-dial-timeout=9s", "has no effect without --discovery-endpoints");
    check("--experimental-enable-v2v3=/v2", "always share one keyspace");
    check("--log-rotation-config-json={}", "has no effect without --enable-log-rotation");
    let gates = "--feature-gates=CompactHashCheck=true,LeaseCheckpoint=false";
    check(gates, "LeaseCheckpoint has no effect: what is left of a lease is always kept");
    let on = "--feature-gates=LeaseCheckpoint=true,LeaseCheckpointPersist=true";
    let silent = ["--max-wals=5", "--enable-v2", "--enable-v2=1", "--corrupt-check-time=0", on];
    for flag in silent {
        assert!(configured(&["--data-dir=d", flag], &[]).warnings.is_empty(), "{flag}");
    }
}

#[test]
fn members_wait_for_each_other_as_long_as_the_flags_say_and_five_seconds_at_least() {
    let seconds = |read, write| server::Timeouts {
        read: Duration::from_secs(read),
        write: Duration::from_secs(write),
    };
    for (line, expected, warned) in [
        (&["--data-dir=d"][..], seconds(5, 5), None),
        (&["--data-dir=d", "--raft-read-timeout=1m"], seconds(60, 5), None),
        (&["--data-dir=d", "--raft-write-timeout=7s"], seconds(5, 7), None),
        (
            &["--data-dir=d", "--raft-read-timeout=1s", "--raft-write-timeout=9s"],
            seconds(5, 9),
            Some("--raft-read-timeout 1s is increased to the minimum: 5s"),
        ),
        (
            &["--data-dir=d", "--raft-write-timeout=0"],
            seconds(5, 5),
            Some("--raft-write-timeout 0 is increased to the minimum: 5s"),
        ),
    ] {
        let config = configured(line, &[]);
        assert_eq!(config.member.timeouts, expected, "{line:?}");
        assert_eq!(config.warnings, Vec::from_iter(warned), "{line:?}");
    }
}

/// Unit files and charts of any age start the binary, and are told what takes the place of what they say.
#[test]
fn every_flag_of_the_original_that_has_no_meaning_here_or_another_name_says_so() {
    let rows = include_str!("../flags/tests/original.txt").lines();
    let mut told = 0;
    for row in rows.filter(|row| !row.starts_with('#')) {
        let mut fields = row.splitn(3, ' ');
        let flag = flags::find(fields.next().unwrap()).unwrap();
        let value = fields.nth(1).unwrap_or_default();
        let place = match flag.fate {
            Fate::Idle(reason) if !value::same(flag, value) => format!("has no effect: {reason}"),
            Fate::Renamed(to) => format!("use --{to}"),
            Fate::Past => "no longer supported: ignored".to_owned(),
            Fate::Idle(_) | Fate::Used(_) | Fate::Later(_) | Fate::Gone(_) => continue,
        };
        let given = format!("--{}={value}", flag.name);
        let given = if value.is_empty() { given.trim_end_matches('=') } else { &given };
        // Without which the other one is refused.
        let advertises = "--advertise-client-urls=http://127.0.0.1:1";
        let line = ["--data-dir=d", advertises, given];
        let line = if place == "use --listen-client-urls" { &line[..] } else { &[line[0], given] };
        let warnings = configured(line, &[]).warnings;
        let is_it = |warning: &&String| {
            warning.starts_with(&format!("--{} ", flag.name)) && warning.ends_with(&place)
        };
        assert_eq!(warnings.iter().filter(is_it).count(), 1, "{given}: {place}: {warnings:?}");
        told += 1;
    }
    assert_eq!(told, 56);
}

#[test]
fn a_new_member_finds_its_cluster_as_the_flags_say() {
    assert_eq!(configured(&[], &[]).bootstrap, None);
    let config = configured(&["--discovery=http://a:1/x/", "--discovery-proxy=p:3128"], &[]);
    let Some(Bootstrap::Token(url, Some(proxy))) = config.bootstrap else { panic!() };
    assert_eq!((url.path.as_str(), proxy.to_string().as_str()), ("/x", "p:3128"));
    // Members that came by different tokens are strangers; those of a domain have the usual one.
    assert_eq!(config.member.initial_cluster_token, "http://a:1/x");
    let line = ["--discovery-srv=a.test.", "--initial-cluster-state=existing"];
    let config = configured(&line, &[("ETCD_DISCOVERY_SRV_NAME", "prod")]);
    let domain = Domain { name: "a.test.".to_owned(), service_name: "prod".to_owned() };
    assert_eq!(config.bootstrap, Some(Bootstrap::Records(domain)));
    assert_eq!(config.member.initial_cluster_token, "etcd-cluster");
    let given = ["--initial-cluster-state", "--discovery-srv", "ETCD_DISCOVERY_SRV_NAME"];
    assert_eq!(config.first_start, given);
}

#[test]
fn a_registry_is_asked_as_the_flags_say() {
    let line = [
        "--discovery-token=t",
        "--discovery-endpoints=a:1, https://b:2",
        "--discovery-request-timeout=9s",
        "--discovery-user=u:p",
    ];
    let config = configured(&line, &[]);
    assert_eq!(config.member.initial_cluster_token, "t");
    let Some(Bootstrap::Registry(registry)) = config.bootstrap else { panic!() };
    assert_eq!(registry.endpoints, ["a:1", "https://b:2"]);
    assert_eq!(registry.request_timeout, Duration::from_secs(9));
    let shown = format!("{registry:?}");
    assert!(shown.contains("username: \"u\"") && !shown.contains("\"p\""), "{shown}");
    assert!(shown.contains("tls: None"), "{shown}");
    // In a file of the original they are sections of a section.
    let file = file(
        "discovery-config:\n  token: t\n  client:\n    endpoints: [a:1, 'https://b:2']\n    \
         request-timeout: 9000000000\n    auth:\n      username: u\n      password: p\n",
    );
    let named = format!("--config-file={}", file.path().display());
    let of_file = configured(&[&named], &[]);
    assert_eq!(of_file.bootstrap, Some(Bootstrap::Registry(registry)));
    assert_eq!(of_file.warnings.iter().find(|text| text.contains("unrecognized")), None);
}

#[test]
fn ports_of_their_own_are_opened_for_http_and_metrics() {
    let line = [
        "--listen-client-http-urls=http://127.0.0.1:1",
        "--listen-metrics-urls=http://127.0.0.1:2,http://127.0.0.1:3",
        "--host-whitelist=a.test,b.test",
    ];
    let config = configured(&line, &[]);
    assert_eq!(urls(&config.listen_http), ["http://127.0.0.1:1"]);
    assert_eq!(urls(&config.listen_metrics), ["http://127.0.0.1:2", "http://127.0.0.1:3"]);
    assert_eq!(config.hosts, ["a.test", "b.test"]);
    assert_eq!(configured(&["--host-whitelist=*,a"], &[]).hosts, [""; 0]);
    let (_, text) = refused(&[line[0], "--listen-metrics-urls=http://127.0.0.1:1"], &[]);
    assert!(text.contains("are the same address: give each its own port"), "{text}");
}

#[test]
fn names_of_etcd_0_4_lead_to_those_of_today() {
    let config = configured(&["-addr=10.0.0.1:4001", "-peer-addr", "10.0.0.1:7001"], &[]);
    assert_eq!(config.member.client_urls, ["http://10.0.0.1:4001"]);
    assert_eq!(config.member.peer_urls, ["http://10.0.0.1:7001"]);
    assert_eq!(urls(&config.listen_clients), ["http://[::]:4001"]);
    assert_eq!(urls(&config.listen_peers), ["http://[::]:7001"]);
    let deprecated = "--addr is deprecated: use --advertise-client-urls".to_owned();
    assert!(config.warnings.contains(&deprecated), "{:?}", config.warnings);
    let both = configured(&["-addr=10.0.0.1:4001", "-bind-addr=127.0.0.1:4001"], &[]);
    assert_eq!(urls(&both.listen_clients), ["http://127.0.0.1:4001"]);
}

#[test]
fn the_environment_counts_where_the_command_line_says_nothing() {
    let environment = [
        ("ETCD_NAME", "of-environment"),
        ("ETCD_SNAPSHOT_COUNT", "7"),
        ("ETCD_DEBUG", "1"),
        ("ETCD_CORS", ""),
        ("ETCDCTL_ENDPOINTS", "http://x:1"),
        ("HOME", "/root"),
    ];
    let config = configured(&["--name=of-line", "--data-dir=d"], &environment);
    assert_eq!(config.member.name, "of-line");
    assert_eq!(config.member.snapshot_count, 7);
    let expected = "recognized environment variable ETCD_NAME, but unused: --name is given";
    assert_eq!(config.warnings, [expected]);
    assert_eq!(configured(&[], &environment).member.name, "of-environment");
}

#[test]
fn a_variable_of_ours_that_is_no_text_is_refused() {
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let check = |name: &[u8], value: &[u8]| environment([(bytes(name), bytes(value))].into_iter());
    assert_eq!(check(b"OTHER", b"\xff").unwrap().len(), 0);
    assert_eq!(check(b"ETCD\xff", b"x").unwrap().len(), 0);
    let refusal = check(b"ETCD_DATA_DIR", b"\xff").unwrap_err().to_string();
    assert_eq!(refusal, "environment variable ETCD_DATA_DIR=\u{fffd} is no UTF-8 text");
}

#[test]
fn what_no_browser_sends_is_no_origin() {
    let cors = |value: &str| gathered(&["--data-dir=d", "--cors", value], &[]);
    let Ok(Command::Start(config)) = cors("*, http://a.example,https://b:8443,,null,app+x://id")
    else {
        panic!("these are origins");
    };
    let origins = ["*", "http://a.example", "https://b:8443", "null", "app+x://id"];
    assert_eq!(config.cors, origins);
    for wrong in ["nonsense url", "a.example", "http://", "http://a/", "http://a/x", "http://a b"] {
        let (_, text) = refused(&["--cors", wrong], &[]);
        assert!(text.contains("--cors") && text.contains("is no origin: write *"), "{text}");
    }
}

#[test]
fn an_unknown_variable_is_told_and_a_wrong_value_refused() {
    let check = |variable: (&str, &str), expected: &str| {
        let warnings = configured(&["--data-dir=d"], &[variable]).warnings;
        assert_eq!(warnings, [expected]);
    };
    check(
        ("ETCD_SERVICE_HOST", "10.0.0.1"),
        "unrecognized environment variable ETCD_SERVICE_HOST=10.0.0.1",
    );
    // The value is a secret.
    for name in ["ETCD_ROOT_PASSWORD", "ETCD_CLIENT_SECRET", "ETCD_API_TOKEN"] {
        check((name, "x"), &format!("unrecognized environment variable {name}"));
    }
    check(("ETCD_VERSION", "v2.3.8"), "environment variable ETCD_VERSION is not used");
    let (_, text) = refused(&[], &[("ETCD_ELECTION_TIMEOUT", "1s")]);
    assert_eq!(text, "invalid value \"1s\" for ETCD_ELECTION_TIMEOUT: give a number");
    let (_, text) = refused(&[], &[("ETCD_CERT_FILE", "x")]);
    assert_eq!(text, "KeyFile and CertFile must both be present[key: , cert: x]");
}

#[test]
fn a_file_stands_alone() {
    let file = file("name: of-file\nheartbeat-interval: 50\nelection-timeout: 250\n");
    let path = file.path().to_str().unwrap();
    let config = configured(&["--config-file", path, "--name=x"], &[("ETCD_DATA_DIR", "y")]);
    assert_eq!(config.member.name, "of-file");
    assert_eq!(config.member.data_dir.to_str(), Some("of-file.etcd"));
    assert_eq!(config.member.election, Duration::from_millis(250));
    let ignored = "alone: ignored --name, ETCD_DATA_DIR";
    assert!(config.warnings[0].ends_with(ignored), "{:?}", config.warnings);
    let by_variable = configured(&[], &[("ETCD_CONFIG_FILE", path)]);
    assert_eq!(by_variable.member.name, "of-file");
    let (_, text) = refused(&["--config-file=/no/such/file"], &[]);
    assert!(text.starts_with("read --config-file /no/such/file: "), "{text}");
}

#[test]
fn help_and_version_come_before_all_else() {
    for line in [&["--help"][..], &["-h"], &["--name=x", "-help", "stray"]] {
        assert!(matches!(gathered(line, &[]), Ok(Command::Help)), "{line:?}");
    }
    assert!(matches!(gathered(&["--version"], &[]), Ok(Command::Version)));
    assert!(matches!(gathered(&["-version", "--cert-file=x"], &[]), Ok(Command::Version)));
}

#[test]
fn a_legacy_port_that_is_left_out_is_not_advertised_unless_the_user_says_so() {
    let mut config = configured(&[], &[]);
    for listen in config.listen_clients.clone().iter().chain(&config.listen_peers.clone()) {
        if listen.is_legacy_default {
            config.leave_out(&listen.url);
        }
    }
    assert_eq!(config.member.client_urls, ["http://localhost:2379"]);
    assert_eq!(config.member.peer_urls, ["http://localhost:2380"]);
    assert_eq!(config.member.initial_cluster[0].1, ["http://localhost:2380"]);

    let mut config = configured(&["--advertise-client-urls=http://localhost:4001"], &[]);
    let legacy = config.listen_clients.iter().find(|listen| listen.is_legacy_default).cloned();
    config.leave_out(&legacy.unwrap().url);
    assert_eq!(config.member.client_urls, ["http://localhost:4001"]);
}

#[test]
fn zero_means_the_default_where_it_does_in_etcd() {
    assert_eq!(configured(&["--snapshot-count=0"], &[]).member.snapshot_count, 10_000);
    assert_eq!(configured(&["--quota-backend-bytes=-1"], &[]).member.quota_bytes, u64::MAX);
    assert_eq!(configured(&["--quota-backend-bytes=9"], &[]).member.quota_bytes, 9);
}

#[test]
fn limits_of_the_v3_api_are_taken_from_the_flags() {
    let config = configured(&[], &[]);
    let default = api::Grpc::default();
    assert_eq!(config.grpc, default);
    assert!(config.gateway);
    assert!(!configured(&["--enable-grpc-gateway=false"], &[]).gateway);
    assert_eq!(config.member.request_bytes_max, 1_572_864);
    let config = configured(
        &[
            "--max-request-bytes=9000",
            "--max-txn-ops=7",
            "--max-concurrent-streams=3",
            "--grpc-keepalive-min-time=4s",
            "--grpc-keepalive-interval=1m30s",
            "--grpc-keepalive-timeout=1500ms",
            "--watch-progress-notify-interval=5s",
            "--warning-unary-request-duration=6s",
            "--warning-apply-duration=7s",
            "--metrics=extensive",
        ],
        &[],
    );
    let expected = api::Grpc {
        request_bytes_max: 9_000,
        txn_ops_max: 7,
        streams_max: 3,
        keepalive_min_time: Duration::from_secs(4),
        keepalive_interval: Duration::from_secs(90),
        keepalive_timeout: Duration::from_millis(1_500),
        progress_interval: Duration::from_secs(5),
        request_expected: Duration::from_secs(6),
    };
    assert_eq!(config.grpc, expected);
    assert_eq!(config.member.apply_expected, Duration::from_secs(7));
    assert!(config.extensive_metrics);
    assert_eq!(config.member.request_bytes_max, 9_000);
    let config = configured(&["--max-request-bytes=33554432"], &[]);
    assert_eq!(config.member.request_bytes_max, 16 << 20);
    assert!(
        config.warnings[0].contains("requests of up to 16777216 bytes"),
        "{:?}",
        config.warnings
    );
    let config = configured(&["--experimental-watch-progress-notify-interval=3s"], &[]);
    assert_eq!(config.grpc.progress_interval, Duration::from_secs(3));
}

#[test]
fn what_history_is_kept_is_read_as_etcd_reads_it() {
    use server::AutoCompaction::{Never, Periodic, Revision};
    let check = |flags: &[&str], expected| {
        let compaction = configured(flags, &[]).member.auto_compaction;
        assert_eq!(compaction, expected, "{flags:?}");
    };
    let of = |text: &str| format!("--auto-compaction-retention={text}");
    check(&[], None);
    check(&[&of("0")], Some(Never));
    check(&["--auto-compaction-mode=revision"], Some(Never));
    check(&[&of("1")], Some(Periodic(Duration::from_hours(1))));
    check(&[&of("30m")], Some(Periodic(Duration::from_mins(30))));
    check(
        &["--auto-compaction-mode=periodic", &of("72h")],
        Some(Periodic(Duration::from_hours(72))),
    );
    check(&["--auto-compaction-mode=revision", &of("1000")], Some(Revision(1_000)));
    check(&["--experimental-auto-compaction-retention=2"], Some(Periodic(Duration::from_hours(2))));
    let refuse = |flags: &[&str], expected: &str| {
        let (_, refusal) = refused(flags, &[]);
        assert!(refusal.contains(expected), "{refusal}");
    };
    refuse(&[&of("x")], "error parsing CompactionRetention: --auto-compaction-retention \"x\"");
    refuse(&[&of("-5")], "a number of hours");
    refuse(&["--auto-compaction-mode=revision", &of("5m")], "a number of revisions is needed");
    refuse(&["--auto-compaction-mode=often"], "give one of periodic, revision");
}
