//! The command line of `etcd grpc-proxy`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use tls::Settings;

use super::{
    Command, Discovery, Refusal, Url, gateway::host_and_port, limits::KEEPALIVE_MIN, own,
    own::Flags, value,
};
use crate::flags::{self as all, Fate, grpc_proxy as flags};

/// All that is needed to start a gRPC proxy.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct GrpcProxy {
    /// Host and port.
    pub(crate) listen: (String, u16),
    pub(crate) metrics: Option<Url>,
    /// `--endpoints`, or its default.
    pub(crate) endpoints: Vec<String>,
    pub(crate) has_endpoints: bool,
    pub(crate) discovery: Option<Discovery>,
    /// How members are asked.
    pub(crate) client: client::v3::Config,
    pub(crate) sync_interval: Option<Duration>,
    pub(crate) namespace: String,
    pub(crate) advertise: String,
    pub(crate) registration: Option<grpc_proxy::Registration>,
    pub(crate) is_ordered: bool,
    pub(crate) logs_calls: bool,
    pub(crate) debug: bool,
    /// How clients are served; certificates may have to be made first.
    pub(crate) listen_tls: Option<Listening>,
    pub(crate) limits: api::Grpc,
    /// What the user should know about the flags that were given; for the log.
    pub(crate) warnings: Vec<String>,
}

/// TLS for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listening {
    pub(crate) settings: Settings,
    /// A certificate is to be made in this directory, good for so many years.
    pub(crate) auto: Option<(PathBuf, u64)>,
}

/// `arguments`: what follows `etcd grpc-proxy`.
pub(super) fn gather(arguments: &[OsString]) -> Result<Command, Refusal> {
    match own::gather("grpc-proxy", arguments, flags::GROUPS)? {
        None => Ok(Command::GrpcProxyHelp),
        Some(given) => read(&Flags { given: &given, groups: flags::GROUPS })
            .map(|proxy| Command::GrpcProxy(Box::new(proxy))),
    }
}

fn read(given: &Flags<'_>) -> Result<GrpcProxy, Refusal> {
    let warnings = judge(given)?;
    let registration = registration(given)?;
    let listen_text = given.text("listen-addr");
    let listen = host_and_port(listen_text).filter(|(host, _)| !host.is_empty());
    let listen = listen.ok_or_else(|| {
        Refusal::Conflict(format!(
            "--listen-addr {listen_text}: give host:port, such as 127.0.0.1:23790 or 0.0.0.0:23790"
        ))
    })?;
    let listen_tls = listening(given)?;
    let metrics = metrics(given, listen_tls.is_some())?;
    let endpoints = given.list("endpoints");
    if endpoints.is_empty() {
        return Err(Refusal::Conflict("no endpoints found: give some with --endpoints".to_owned()));
    }
    let interval = given.duration("endpoints-auto-sync-interval");
    Ok(GrpcProxy {
        listen,
        metrics,
        endpoints,
        has_endpoints: given.given.is_set("endpoints"),
        discovery: given.discovery("cacert")?,
        client: client(given)?,
        sync_interval: Some(interval).filter(|interval| !interval.is_zero()),
        namespace: given.text("namespace").to_owned(),
        advertise: given.text("advertise-client-url").to_owned(),
        registration,
        is_ordered: given.switch("experimental-serializable-ordering"),
        logs_calls: given.switch("experimental-enable-grpc-logging"),
        debug: given.switch("debug"),
        listen_tls,
        limits: limits(given),
        warnings,
    })
}

/// What there is to say about flags that do nothing, or not yet.
fn judge(given: &Flags<'_>) -> Result<Vec<String>, Refusal> {
    let mut warnings = Vec::new();
    for (name, value, _) in given.given.all() {
        let Some(flag) = all::find_in(flags::GROUPS, name) else { continue };
        match flag.fate {
            Fate::Idle(reason) if !value::same(flag, &value) => {
                warnings.push(format!("--{name} has no effect: {reason}"));
            }
            Fate::Later(feature) if !value::same(flag, &value) => {
                return Err(Refusal::Conflict(format!(
                    "--{name}: {feature} is not supported yet: leave it out"
                )));
            }
            Fate::Used(_)
            | Fate::Idle(_)
            | Fate::Later(_)
            | Fate::Renamed(_)
            | Fate::Gone(_)
            | Fate::Past => {}
        }
    }
    Ok(warnings)
}

/// In the original's words.
fn registration(given: &Flags<'_>) -> Result<Option<grpc_proxy::Registration>, Refusal> {
    let prefix = given.text("resolver-prefix");
    let ttl: i64 = given.text("resolver-ttl").parse().unwrap_or(0);
    let wrong = |what: &str| {
        Err(Refusal::Conflict(format!(
            "{what}: --resolver-prefix, --resolver-ttl (in seconds) and --advertise-client-url go \
             together"
        )))
    };
    match (prefix.is_empty(), ttl) {
        (true, ..=0) => Ok(None),
        (true, _) => wrong(&format!("invalid resolver-prefix {prefix:?}")),
        (false, ..=0) => wrong(&format!("invalid resolver-ttl {ttl}")),
        (false, _) if given.text("advertise-client-url").is_empty() => {
            wrong("invalid advertise-client-url \"\"")
        }
        (false, _) => Ok(Some(grpc_proxy::Registration { prefix: prefix.to_owned(), ttl })),
    }
}

fn client(given: &Flags<'_>) -> Result<client::v3::Config, Refusal> {
    let settings = Settings {
        cert_file: given.file("cert"),
        key_file: given.file("key"),
        trusted_ca_file: given.file("cacert"),
        insecure_skip_verify: given.switch("insecure-skip-tls-verify"),
        ..Settings::default()
    };
    settings.check().map_err(|error| Refusal::Conflict(format!("--cert, --key: {error}")))?;
    let bytes = |name: &str, default: usize| match given.count(name) {
        0 => default,
        bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
    };
    let default = client::v3::Config::default();
    Ok(client::v3::Config {
        dial_timeout: Duration::from_secs(5),
        keepalive_time: given.duration("dial-keepalive-time"),
        keepalive_timeout: given.duration("dial-keepalive-timeout"),
        keepalive_while_idle: given.switch("permit-without-stream"),
        request_bytes_max: bytes("max-send-bytes", default.request_bytes_max),
        answer_bytes_max: bytes("max-recv-bytes", default.answer_bytes_max),
        tls: Some(settings).filter(|settings| *settings != Settings::default()),
        ..default
    })
}

fn listening(given: &Flags<'_>) -> Result<Option<Listening>, Refusal> {
    let settings = Settings {
        cert_file: given.file("cert-file"),
        key_file: given.file("key-file"),
        trusted_ca_file: given.file("trusted-ca-file"),
        crl_file: given.file("client-crl-file"),
        cipher_suites: given.list("listen-cipher-suites"),
        min_version: given.text("tls-min-version").to_owned(),
        max_version: given.text("tls-max-version").to_owned(),
        ..Settings::default()
    };
    settings.check().map_err(|error| Refusal::Conflict(error.to_string()))?;
    let (years, auto) = (given.count("self-signed-cert-validity"), given.switch("auto-tls"));
    if auto && years == 0 {
        return Err(Refusal::Conflict(
            "selfSignedCertValidity is invalid,it should be greater than 0".to_owned(),
        ));
    }
    if settings.has_identity() {
        return Ok(Some(Listening { settings, auto: None }));
    }
    if settings.trusted_ca_file.is_some() {
        return Err(Refusal::Conflict(
            "--trusted-ca-file: give a certificate to serve with too, with --cert-file and --key-file"
                .to_owned(),
        ));
    }
    let dir = PathBuf::from(given.text("data-dir")).join("fixtures/proxy");
    Ok(auto.then_some(Listening { settings, auto: Some((dir, years)) }))
}

fn metrics(given: &Flags<'_>, with_tls: bool) -> Result<Option<Url>, Refusal> {
    let text = given.text("metrics-addr");
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |reason: &str| Refusal::Conflict(format!("--metrics-addr {text}: {reason}"));
    let url = Url::parse(text).map_err(|reason| wrong(&reason))?;
    if url.is_secure() && !with_tls {
        return Err(wrong("https needs --cert-file and --key-file, or --auto-tls"));
    }
    Ok(Some(url))
}

fn limits(given: &Flags<'_>) -> api::Grpc {
    let default = api::Grpc::default();
    let streams = u32::try_from(given.count("max-concurrent-streams")).unwrap_or(u32::MAX);
    let is_given = given.given.is_set("max-concurrent-streams");
    // Go takes none for no bound.
    let streams = if streams == 0 { u32::MAX } else { streams };
    let interval = given.duration("grpc-keepalive-interval");
    api::Grpc {
        streams_max: if is_given { streams } else { default.streams_max },
        keepalive_min_time: given.duration("grpc-keepalive-min-time"),
        keepalive_interval: if interval.is_zero() { interval } else { interval.max(KEEPALIVE_MIN) },
        keepalive_timeout: given.duration("grpc-keepalive-timeout"),
        ..default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(line: &str) -> Result<Command, String> {
        let arguments: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        gather(&arguments).map_err(|refusal| refusal.to_string())
    }

    fn proxy(line: &str) -> GrpcProxy {
        match gathered(line) {
            Ok(Command::GrpcProxy(proxy)) => *proxy,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn without_flags_it_leads_from_its_port_to_a_local_member() {
        let proxy = proxy("start");
        assert_eq!(proxy.listen, ("127.0.0.1".to_owned(), 23_790));
        assert_eq!(proxy.endpoints, ["127.0.0.1:2379"]);
        assert_eq!(proxy.advertise, "127.0.0.1:23790");
        assert_eq!((proxy.client.request_bytes_max, proxy.limits.streams_max), (1_572_864, 10_000));
        assert_eq!(proxy.client.keepalive_time, Duration::ZERO);
        assert!(proxy.client.tls.is_none() && proxy.listen_tls.is_none());
        assert!(proxy.registration.is_none() && proxy.warnings.is_empty());
    }

    #[test]
    fn flags_are_taken() {
        let proxy = proxy(
            "start --endpoints a:1 --endpoints=b:2,c:3 --listen-addr [::1]:9 --namespace ns/ \
             --resolver-prefix p --resolver-ttl 60 --advertise-client-url x:9 --cert c --key k \
             --cacert ca --cert-file f --key-file g --trusted-ca-file h --client-crl-file i \
             --metrics-addr https://127.0.0.1:7 --max-send-bytes 5 --dial-keepalive-time 3s \
             --endpoints-auto-sync-interval 1m --experimental-serializable-ordering --enable-pprof \
             --max-concurrent-streams 0",
        );
        assert_eq!(proxy.endpoints, ["a:1", "b:2", "c:3"]);
        assert_eq!(proxy.listen, ("::1".to_owned(), 9));
        let registration = proxy.registration.unwrap();
        assert_eq!((registration.prefix.as_str(), registration.ttl), ("p", 60));
        let upstream = proxy.client.tls.unwrap();
        assert_eq!(upstream.trusted_ca_file, Some(PathBuf::from("ca")));
        let listening = proxy.listen_tls.unwrap();
        assert_eq!(listening.settings.crl_file, Some(PathBuf::from("i")));
        assert!(listening.settings.asks_clients() && listening.auto.is_none());
        assert_eq!(proxy.sync_interval, Some(Duration::from_mins(1)));
        assert_eq!(proxy.client.request_bytes_max, 5);
        assert_eq!(proxy.limits.streams_max, u32::MAX);
        assert!(proxy.is_ordered && proxy.metrics.is_some());
        assert_eq!(proxy.warnings.len(), 1);
        assert!(proxy.warnings[0].starts_with("--enable-pprof has no effect"));
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        let check = |line: &str, part: &str| {
            let error = gathered(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
            assert!(!error.contains('\n'), "{line}: {error}");
        };
        check("run", "unknown command \"run\"");
        check("start --resolver-prefix p", "invalid resolver-ttl 0");
        check("start --resolver-ttl 3", "invalid resolver-prefix \"\"");
        check(
            "start --resolver-prefix p --resolver-ttl 3 --advertise-client-url=",
            "invalid advertise-client-url",
        );
        check(
            "start --auto-tls --self-signed-cert-validity 0",
            "selfSignedCertValidity is invalid",
        );
        check("start --experimental-leasing-prefix l", "is not supported yet");
        check("start --cert c", "KeyFile and CertFile must both be present");
        check("start --trusted-ca-file c", "--cert-file and --key-file");
        check("start --metrics-addr https://127.0.0.1:1", "https needs --cert-file");
        check("start --metrics-addr nonsense", "--metrics-addr nonsense");
        check("start --listen-addr :1", "--listen-addr :1");
        check("start --tls-min-version TLS1.3 --tls-max-version TLS1.2", "min version");
        check("start --tls-min-version TLS1.3 --listen-cipher-suites x", "cipher suites cannot");
        check("start --endpoint x", "did you mean --endpoints?");
    }

    #[test]
    fn help_names_every_flag() {
        let help = flags::help();
        for flag in flags::GROUPS.iter().flat_map(|group| group.flags) {
            let is_named = help.contains(&format!("--{}", flag.name));
            assert_eq!(is_named, matches!(flag.fate, Fate::Used(_)), "{}", flag.name);
        }
    }
}
