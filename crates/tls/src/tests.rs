//! Handshakes over loopback, with authorities made on the spot.
#![expect(clippy::disallowed_methods, reason = "tests write the files that operators do")]

use std::{fs, path::PathBuf, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{Acceptor, ClientStream, Connector, ServerStream, Settings, self_signed};

/// An authority that writes certificates into a directory.
struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a certificate says.
#[derive(Clone, Copy)]
struct Says<'a> {
    name: &'a str,
    hosts: &'a [&'a str],
    serial: u64,
    is_for: &'a [ExtendedKeyUsagePurpose],
    until: i32,
}

const BOTH: &[ExtendedKeyUsagePurpose] =
    &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];

const USUAL: Says<'static> =
    Says { name: "m1", hosts: &["127.0.0.1", "localhost"], serial: 7, is_for: BOTH, until: 4000 };

impl Authority {
    fn new() -> Self {
        Self::named("the authority")
    }

    fn named(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { dir: TempDir::new().unwrap(), issuer: Issuer::new(params, key), pem }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file in its place at once, as those do who exchange it in a running system.
    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path("new"), bytes).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
        self.path(name)
    }

    fn ca(&self) -> PathBuf {
        self.put("ca.pem", &self.pem)
    }

    fn issue(&self, says: Says<'_>) -> (String, String) {
        let hosts: Vec<String> = says.hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, says.name);
        params.serial_number = Some(SerialNumber::from(says.serial));
        params.extended_key_usages = says.is_for.to_vec();
        params.not_after = date_time_ymd(says.until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Settings with a certificate that says this, and this authority as the trusted one.
    fn settings(&self, says: Says<'_>) -> Settings {
        let (cert, key) = self.issue(says);
        let name = says.serial;
        Settings {
            cert_file: Some(self.put(&format!("{name}.pem"), cert)),
            key_file: Some(self.put(&format!("{name}.key"), key)),
            trusted_ca_file: Some(self.ca()),
            ..Settings::default()
        }
    }

    fn revoke(&self, serials: &[u64]) -> rcgen::CertificateRevocationList {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2021, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap()
    }
}

/// One handshake and a byte each way; what each side says went wrong.
async fn meet(server: &Acceptor, client: &Connector, host: &str) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Box::pin(async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = server.accept(tcp.into()).await.map_err(|why| format!("server: {why}"))?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await.map_err(|error| format!("server: {error}"))?;
        stream.write_all(&byte).await.map_err(|error| format!("server: {error}"))
    });
    let ask = Box::pin(async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let mut stream =
            client.connect(host, tcp.into()).await.map_err(|error| format!("client: {error}"))?;
        let mut byte = [1];
        stream.write_all(&byte).await.map_err(|error| format!("client: {error}"))?;
        let read = stream.read_exact(&mut byte).await;
        read.map(drop).map_err(|error| format!("client: {error}"))
    });
    match tokio::join!(serve, ask) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(server), Err(client)) => Err(format!("{server}; {client}")),
        (Err(one), Ok(())) | (Ok(()), Err(one)) => Err(one),
    }
}

fn server(settings: Settings) -> Acceptor {
    Acceptor::new(settings, &["http/1.1"]).unwrap()
}

fn client(settings: Settings) -> Connector {
    Connector::new(settings, &["http/1.1"]).unwrap()
}

async fn refused(server: &Acceptor, client: &Connector, why: &str) {
    let error = meet(server, client, "127.0.0.1").await.unwrap_err();
    assert!(error.contains(why), "{why:?} is not in {error:?}");
}

/// Longer than the pause between two looks at the files.
async fn pass_a_look() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn both_sides_show_who_they_are() {
    let authority = Authority::new();
    let usual = authority.settings(USUAL);
    let (server, client) = (server(usual.clone()), client(usual));
    for host in ["127.0.0.1", "localhost"] {
        meet(&server, &client, host).await.unwrap();
    }
    let error = meet(&server, &client, "other.example").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn who_cannot_show_a_good_certificate_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::named("a stranger"));
    let usual = authority.settings(USUAL);
    let server = server(usual.clone());
    let trusts = |mut settings: Settings| {
        settings.trusted_ca_file = Some(authority.path("ca.pem"));
        client(settings)
    };
    let none = trusts(Settings::default());
    refused(&server, &none, "peer sent no certificates").await;
    refused(&server, &trusts(stranger.settings(USUAL)), "UnknownIssuer").await;
    let old = authority.settings(Says { serial: 8, until: 2001, ..USUAL });
    refused(&server, &client(old), "expired").await;
    let is_for = &[ExtendedKeyUsagePurpose::ServerAuth];
    let wrong = authority.settings(Says { serial: 9, is_for, ..USUAL });
    refused(&server, &client(wrong), "does not allow extended key usage for client").await;
    let mut other = usual.clone();
    other.trusted_ca_file = Some(stranger.ca());
    refused(&server, &client(other), "UnknownIssuer").await;
}

#[tokio::test]
async fn whoever_is_on_the_crl_is_refused_from_the_moment_it_is_there() {
    let authority = Authority::new();
    let mut settings = authority.settings(USUAL);
    settings.crl_file = Some(authority.put("crl", authority.revoke(&[99]).der()));
    let revoked = authority.settings(Says { serial: 0x0123, ..USUAL });
    let (server, client) = (server(settings), client(revoked));
    meet(&server, &client, "127.0.0.1").await.unwrap();
    // etcd takes DER alone.
    for list in [
        authority.revoke(&[99, 0x0123]).der().to_vec(),
        authority.revoke(&[0x0123]).pem().unwrap().into_bytes(),
    ] {
        authority.put("crl", list);
        pass_a_look().await;
        refused(&server, &client, "certificate serial 0123 revoked (CN=m1)").await;
    }
    authority.put("crl", authority.revoke(&[]).der());
    pass_a_look().await;
    meet(&server, &client, "127.0.0.1").await.unwrap();
}

#[tokio::test]
async fn a_server_on_the_crl_is_refused_too() {
    let authority = Authority::new();
    let server = server(authority.settings(USUAL));
    let mut settings = authority.settings(Says { serial: 8, ..USUAL });
    settings.crl_file = Some(authority.put("crl", authority.revoke(&[7]).der()));
    refused(&server, &client(settings), "serial 07 revoked").await;
}

#[tokio::test]
async fn an_exchanged_authority_counts_at_the_next_handshake() {
    let (old, new) = (Authority::new(), Authority::named("the next"));
    let (old_server, old_client) = (old.settings(USUAL), old.settings(Says { serial: 8, ..USUAL }));
    let (server, client) = (server(old_server.clone()), client(old_client.clone()));
    meet(&server, &client, "127.0.0.1").await.unwrap();
    // The new authority's certificates on the client's side alone: nobody trusts the other.
    let (cert, key) = new.issue(USUAL);
    old.put("8.pem", cert);
    old.put("8.key", key);
    pass_a_look().await;
    refused(&server, &client, "UnknownIssuer").await;
    // Then a bundle of both.
    old.put("ca.pem", format!("{}{}", old.pem, new.pem));
    pass_a_look().await;
    meet(&server, &client, "127.0.0.1").await.unwrap();
}

/// Two ends of a connection that stands.
async fn stand(server: &Acceptor, client: &Connector) -> (ServerStream, ClientStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async { server.accept(listener.accept().await.unwrap().0.into()).await.unwrap() };
    let ask = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        client.connect("127.0.0.1", tcp.into()).await.unwrap()
    };
    tokio::join!(serve, ask)
}

/// Sends a byte and reads it.
async fn goes(
    from: &mut (impl AsyncWrite + Unpin),
    to: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<()> {
    from.write_all(&[1]).await?;
    from.flush().await?;
    to.read_exact(&mut [0]).await.map(drop)
}

fn ended(result: std::io::Result<()>, why: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains(why), "{why:?} is not in {error}");
}

#[tokio::test]
async fn a_connection_ends_once_a_crl_names_the_certificate_of_either_side() {
    let authority = Authority::new();
    let settings = |serial, crl: &str| {
        let crl_file = Some(authority.put(crl, authority.revoke(&[99]).der()));
        Settings { crl_file, ..authority.settings(Says { serial, ..USUAL }) }
    };
    let server = server(settings(7, "crl of the server"));
    let client = client(settings(8, "crl of the client"));
    for (list, revoked) in [("crl of the server", 8), ("crl of the client", 7)] {
        let (mut one, mut other) = stand(&server, &client).await;
        authority.put(list, authority.revoke(&[98]).der());
        pass_a_look().await;
        goes(&mut one, &mut other).await.unwrap();
        goes(&mut other, &mut one).await.unwrap();
        authority.put(list, authority.revoke(&[revoked]).der());
        pass_a_look().await;
        let why = format!("serial 0{revoked} revoked");
        // What was sent after the change is not read, nor is anything sent.
        if revoked == 8 {
            ended(goes(&mut other, &mut one).await, &why);
            ended(goes(&mut one, &mut other).await, &why);
        } else {
            ended(goes(&mut one, &mut other).await, &why);
            ended(goes(&mut other, &mut one).await, &why);
        }
        authority.put(list, authority.revoke(&[]).der());
        pass_a_look().await;
    }
}

#[tokio::test]
async fn a_connection_ends_once_the_authority_of_either_side_is_trusted_no_more() {
    let (authority, next) = (Authority::new(), Authority::named("the next"));
    let settings = |serial, ca: &str| Settings {
        trusted_ca_file: Some(authority.put(ca, &authority.pem)),
        ..authority.settings(Says { serial, ..USUAL })
    };
    let server = server(settings(7, "ca of the server"));
    let client = client(settings(8, "ca of the client"));
    for at_server in [true, false] {
        let ca = if at_server { "ca of the server" } else { "ca of the client" };
        let (mut one, mut other) = stand(&server, &client).await;
        authority.put(ca, format!("{}{}", authority.pem, next.pem));
        pass_a_look().await;
        goes(&mut one, &mut other).await.unwrap();
        goes(&mut other, &mut one).await.unwrap();
        authority.put(ca, &next.pem);
        pass_a_look().await;
        if at_server {
            ended(goes(&mut one, &mut other).await, "UnknownIssuer");
        } else {
            ended(goes(&mut other, &mut one).await, "UnknownIssuer");
        }
        authority.put(ca, &authority.pem);
        pass_a_look().await;
    }
}

#[tokio::test]
async fn a_connection_outlives_a_new_certificate_of_either_side() {
    let authority = Authority::new();
    let (server, client) = (
        server(authority.settings(USUAL)),
        client(authority.settings(Says { serial: 8, ..USUAL })),
    );
    let (mut one, mut other) = stand(&server, &client).await;
    authority.settings(USUAL);
    authority.settings(Says { serial: 8, ..USUAL });
    pass_a_look().await;
    goes(&mut one, &mut other).await.unwrap();
    goes(&mut other, &mut one).await.unwrap();
}

#[tokio::test]
async fn a_certificate_and_its_key_may_be_exchanged_one_after_the_other() {
    let authority = Authority::new();
    let settings = authority.settings(USUAL);
    let mut by_name = settings.clone();
    by_name.allowed_cns = vec!["renewed".to_owned()];
    let (server, client) = (server(settings), client(by_name));
    refused(&server, &client, "\"m1\"").await;
    let (cert, key) = authority.issue(Says { name: "renewed", ..USUAL });
    authority.put("7.pem", cert);
    pass_a_look().await;
    refused(&server, &client, "\"m1\"").await;
    authority.put("7.key", key);
    pass_a_look().await;
    meet(&server, &client, "127.0.0.1").await.unwrap();
}

#[tokio::test]
async fn links_may_be_turned_as_kubernetes_does() {
    let authority = Authority::new();
    let mut settings = authority.settings(USUAL);
    let of = |says: Says<'_>| {
        let made = authority.settings(says);
        let dir = authority.path(says.name);
        fs::create_dir(&dir).unwrap();
        fs::rename(made.cert_file.unwrap(), dir.join("cert")).unwrap();
        fs::rename(made.key_file.unwrap(), dir.join("key")).unwrap();
        dir
    };
    let (first, second) = (
        of(Says { name: "first", serial: 20, ..USUAL }),
        of(Says { name: "second", serial: 21, ..USUAL }),
    );
    let data = authority.path("..data");
    std::os::unix::fs::symlink(&first, &data).unwrap();
    let by_name = Settings { allowed_cns: vec!["second".to_owned()], ..settings.clone() };
    settings.cert_file = Some(data.join("cert"));
    settings.key_file = Some(data.join("key"));
    let (server, client) = (server(settings), client(by_name));
    refused(&server, &client, "\"first\"").await;
    std::os::unix::fs::symlink(&second, authority.path("turned")).unwrap();
    fs::rename(authority.path("turned"), &data).unwrap();
    pass_a_look().await;
    meet(&server, &client, "127.0.0.1").await.unwrap();
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_one_in_force() {
    let authority = Authority::new();
    let settings = authority.settings(USUAL);
    let (server, client) = (server(settings.clone()), client(settings));
    for broken in ["7.pem", "7.key", "ca.pem"] {
        let good = fs::read(authority.path(broken)).unwrap();
        authority.put(broken, "-----BEGIN CERTIF");
        pass_a_look().await;
        meet(&server, &client, "127.0.0.1").await.unwrap();
        authority.put(broken, good);
    }
}

#[tokio::test]
async fn names_that_are_not_allowed_are_refused() {
    let authority = Authority::new();
    let usual = authority.settings(USUAL);
    let client = client(usual.clone());
    let allow = |cns: &[&str], hosts: &[&str]| {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (allowed_cns, allowed_hostnames) = (list(cns), list(hosts));
        server(Settings { allowed_cns, allowed_hostnames, ..usual.clone() })
    };
    for good in [allow(&["x", "m1"], &[]), allow(&[], &["localhost"]), allow(&[], &["127.0.0.1"])] {
        meet(&good, &client, "127.0.0.1").await.unwrap();
    }
    for bad in [allow(&["m"], &[]), allow(&[], &["m1"]), allow(&[], &["10.0.0.1"])] {
        refused(&bad, &client, "client certificate authentication failed").await;
    }
}

#[tokio::test]
async fn a_server_may_have_to_be_good_for_a_domain_and_not_for_its_own_name() {
    let authority = Authority::new();
    let named = |server_name: &str| {
        let trusted_ca_file = Some(authority.ca());
        let server_name = Some(server_name.to_owned());
        client(Settings { trusted_ca_file, server_name, ..Settings::default() })
    };
    let hosts = &["127.0.0.1", "etcd.test"][..];
    let settings = authority.settings(Says { hosts, ..USUAL });
    let server = server(Settings { trusted_ca_file: None, ..settings });
    assert_eq!(meet(&server, &named("etcd.test"), "127.0.0.1").await, Ok(()));
    // Whoever forges records leads to a host with a good certificate, of his own.
    refused(&server, &named("other.test"), "not valid for name").await;
}

#[tokio::test]
async fn a_peer_must_come_from_where_its_certificate_says() {
    let authority = Authority::new();
    let mut asks = authority.settings(USUAL);
    asks.check_client_san = true;
    let server = server(asks);
    let from = |hosts, serial| client(authority.settings(Says { hosts, serial, ..USUAL }));
    for good in [from(&["127.0.0.1"], 30), from(&["localhost"], 31), from(&[], 32)] {
        meet(&server, &good, "127.0.0.1").await.unwrap();
    }
    refused(&server, &from(&["10.1.2.3"], 33), "not 127.0.0.1").await;
    refused(&server, &from(&["nowhere.invalid"], 34), "does not match any of DNSNames").await;
}

#[tokio::test]
async fn versions_and_ciphers_are_those_of_the_settings() {
    let authority = Authority::new();
    let usual = authority.settings(USUAL);
    let with = |min: &str, max: &str, suites: &[&str]| Settings {
        min_version: min.to_owned(),
        max_version: max.to_owned(),
        cipher_suites: suites.iter().map(|name| (*name).to_owned()).collect(),
        ..usual.clone()
    };
    let old = with("", "TLS1.2", &[]);
    meet(&server(with("TLS1.2", "", &[])), &client(old.clone()), "127.0.0.1").await.unwrap();
    refused(&server(with("TLS1.3", "", &[])), &client(old.clone()), "Tls12NotOfferedOrEnabled")
        .await;
    let chacha = server(with("", "TLS1.2", &["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"]));
    meet(&chacha, &client(old), "127.0.0.1").await.unwrap();
    let aes = with("", "TLS1.2", &["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]);
    refused(&chacha, &client(aes), "handshake").await;
    let error = |settings: Settings| settings.check().unwrap_err().to_string();
    assert_eq!(
        error(with("TLS1.1", "", &[])),
        "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)"
    );
    assert_eq!(
        error(with("TLS1.3", "TLS1.2", &[])),
        "min version (TLS1.3) is greater than max version (TLS1.2)"
    );
    assert_eq!(error(with("", "", &["TLS_X"])), "unexpected TLS cipher suite \"TLS_X\"");
    // Beside a good one what is weak is merely not offered.
    let (weak, good) = ("TLS_RSA_WITH_RC4_128_SHA", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305");
    assert!(error(with("", "", &[weak])).contains("leave them out"));
    meet(
        &server(with("", "TLS1.2", &[weak, good])),
        &client(with("", "TLS1.2", &[good])),
        "127.0.0.1",
    )
    .await
    .unwrap();
    assert_eq!(error(with("", "", &[good, "TLS_X"])), "unexpected TLS cipher suite \"TLS_X\"");
    let only = error(with("TLS1.3", "", &["TLS_AES_128_GCM_SHA256"]));
    assert_eq!(only, "cipher suites cannot be configured when only TLS1.3 is enabled");
    with("", "", &["TLS_AES_128_GCM_SHA256"]).check().unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_can_be_trusted() {
    let dir = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = BOTH.to_vec();
    let [cert, key_file] = ["cert", "key"].map(|name| dir.path().join(name));
    fs::write(&cert, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let settings = Settings {
        cert_file: Some(cert.clone()),
        key_file: Some(key_file),
        trusted_ca_file: Some(cert),
        ..Settings::default()
    };
    let (server, client) = (server(settings.clone()), client(settings));
    meet(&server, &client, "127.0.0.1").await.unwrap();
    let error = meet(&server, &client, "localhost").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn certificates_of_our_own_are_kept_and_can_be_trusted() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("fixtures/client");
    let now = base::UnixNanos(1_700_000_000_000_000_000);
    let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let own = self_signed(&dir, &hosts, 30, now).unwrap();
    let key = fs::read(dir.join("key.pem")).unwrap();
    let server = server(self_signed(&dir, &hosts, 30, now).unwrap());
    assert_eq!(fs::read(dir.join("key.pem")).unwrap(), key);
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(dir.join("key.pem")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let trusting = Settings { trusted_ca_file: own.cert_file.clone(), ..Settings::default() };
    meet(&server, &client(trusting), "localhost").await.unwrap();
    let blind = Settings { insecure_skip_verify: true, ..Settings::default() };
    meet(&server, &client(blind), "some.where").await.unwrap();
    assert!(self_signed(&dir, &hosts, 0, now).is_err());
}

/// Made by `openssl x509 -req -signkey` without extensions, for a hundred years.
#[tokio::test]
async fn a_certificate_of_version_1_can_be_shown_with_its_key_alone() {
    let authority = Authority::new();
    let settings = |key: &str| Settings {
        cert_file: Some(authority.put("v1.pem", include_str!("../testdata/version-1.pem"))),
        key_file: Some(authority.put("v1.key", key)),
        ..Settings::default()
    };
    Acceptor::new(settings(include_str!("../testdata/version-1.key")), &[]).unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let error = Acceptor::new(settings(&other), &[]).unwrap_err().to_string();
    assert!(error.contains("v1.key: is not the key of the certificate"), "{error}");
}

#[tokio::test]
async fn files_that_are_no_use_are_named_with_the_reason() {
    let authority = Authority::new();
    let usual = authority.settings(USUAL);
    let fails = |change: &dyn Fn(&mut Settings)| {
        let mut settings = usual.clone();
        change(&mut settings);
        Acceptor::new(settings, &[]).unwrap_err().to_string()
    };
    let empty = authority.put("empty", "");
    let plain = KeyPair::generate().unwrap().serialize_pem();
    let other = authority.put("other", &plain);
    let locked = authority.put("locked", plain.replace("PRIVATE", "ENCRYPTED PRIVATE"));
    let check = |error: String, words: &str| assert!(error.contains(words), "{words}: {error}");
    check(fails(&|s| s.cert_file = Some("/none/cert".into())), "cannot read /none/cert: No such");
    check(fails(&|s| s.cert_file = Some(empty.clone())), "empty: has no certificate in it");
    check(fails(&|s| s.key_file = Some(empty.clone())), "empty: has no private key in it");
    check(fails(&|s| s.key_file = Some(other.clone())), "other: is not the key of the certificate");
    check(fails(&|s| s.key_file = Some(locked.clone())), "locked: is an encrypted key");
    check(fails(&|s| s.crl_file = Some(other.clone())), "other: has no CRL in it");
    check(fails(&|s| s.crl_file = Some(empty.clone())), "empty: is no CRL");
    check(
        fails(&|s| s.key_file = None),
        "KeyFile and CertFile must both be present[key: , cert: /",
    );
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_is_cut_off() {
    let authority = Authority::new();
    let server = server(authority.settings(USUAL));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    silent.write_all(&[22, 3]).await.unwrap();
    let error = server.accept(tcp.into()).await.unwrap_err();
    assert!(error.contains("took longer than 10 s"), "{error}");
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn whoever_speaks_plain_http_is_told() {
    let authority = Authority::new();
    let server = server(authority.settings(USUAL));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plain = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    server.accept(tcp.into()).await.unwrap_err();
    let mut answer = vec![0; 25];
    plain.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.0 400 Bad Request\r");
}
