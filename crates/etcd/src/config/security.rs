//! What the flags say about TLS.

use std::path::PathBuf;

use tls::Settings;

use super::{Listen, Refusal, given::Given};

/// TLS for clients and for peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) clients: Side,
    pub(crate) peers: Side,
    /// Years that certificates made here are good for.
    pub(crate) validity_years: u64,
}

/// TLS for one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) settings: Settings,
    /// A certificate is to be made.
    pub(crate) auto: bool,
}

impl Side {
    /// Whether any flag was given.
    pub(crate) fn is_set(&self) -> bool {
        let own = Settings { check_client_san: false, ..self.settings.clone() };
        let rules = Settings {
            cipher_suites: own.cipher_suites.clone(),
            min_version: own.min_version.clone(),
            max_version: own.max_version.clone(),
            ..Settings::default()
        };
        self.auto || own != rules
    }
}

/// The names of one side's flags.
struct Names {
    prefix: &'static str,
    crl: &'static str,
    hostnames: &'static str,
    cns: Option<&'static str>,
    what: &'static str,
}

const CLIENTS: Names = Names {
    prefix: "",
    crl: "client-crl-file",
    hostnames: "client-cert-allowed-hostname",
    cns: None,
    what: "client",
};
const PEERS: Names = Names {
    prefix: "peer-",
    crl: "peer-crl-file",
    hostnames: "peer-cert-allowed-hostname",
    cns: Some("peer-cert-allowed-cn"),
    what: "peer",
};

pub(super) fn read(given: &mut Given) -> Result<Security, Refusal> {
    let clients = side(given, &CLIENTS)?;
    let mut peers = side(given, &PEERS)?;
    peers.settings.check_client_san = !given.switch("peer-skip-client-san-verification");
    Ok(Security { clients, peers, validity_years: given.count("self-signed-cert-validity") })
}

fn side(given: &mut Given, names: &Names) -> Result<Side, Refusal> {
    let Names { prefix, .. } = names;
    let flag = |name: &str| format!("{prefix}{name}");
    let file =
        |name: &str| Some(given.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from);
    let list = |name: &str| -> Vec<String> {
        let items = given.text(name).split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(str::to_owned).collect()
    };
    let (trusted, old) = (file(&flag("trusted-ca-file")), file(&flag("ca-file")));
    let settings = Settings {
        cert_file: file(&flag("cert-file")),
        key_file: file(&flag("key-file")),
        client_cert_file: file(&flag("client-cert-file")),
        client_key_file: file(&flag("client-key-file")),
        client_cert_auth: given.switch(&flag("client-cert-auth")) || old.is_some(),
        trusted_ca_file: trusted.or(old),
        crl_file: file(names.crl),
        allowed_cns: names.cns.map(list).unwrap_or_default(),
        allowed_hostnames: list(names.hostnames),
        check_client_san: false,
        cipher_suites: list("cipher-suites"),
        min_version: given.text("tls-min-version").to_owned(),
        max_version: given.text("tls-max-version").to_owned(),
        insecure_skip_verify: false,
        server_name: None,
    };
    settings.check().map_err(|error| Refusal::Conflict(error.to_string()))?;
    for name in settings.cipher_suites.iter().filter(|name| tls::is_weak(name)) {
        given.warn(format!(
            "TLS cipher suite {name} is not offered to {}s, since it is weak or has no forward \
             secrecy: take it out of --cipher-suites",
            names.what
        ));
    }
    let mut auto = given.switch(&flag("auto-tls"));
    if auto && settings.has_identity() {
        given.warn(format!("ignoring {} auto TLS since certs given", names.what));
        auto = false;
    }
    Ok(Side { settings, auto })
}

/// Whether each URL has what its scheme asks for.
pub(super) fn fits(
    given: &mut Given,
    security: &Security,
    clients: &[Listen],
    peers: &[Listen],
) -> Result<(), Refusal> {
    let is_secure = |listens: &[Listen]| listens.iter().any(|listen| listen.url.is_secure());
    let idle = |given: &mut Given, what: &str, names: &[&str]| {
        for name in names.iter().filter(|name| given.is_set(name)).collect::<Vec<_>>() {
            given.warn(format!("--{name} has no effect: no {what} url has the HTTPS scheme"));
        }
    };
    if !is_secure(clients) && !is_secure(peers) {
        idle(given, "client or peer", &["cipher-suites", "tls-min-version", "tls-max-version"]);
    }
    for (names, side, listens) in
        [(CLIENTS, &security.clients, clients), (PEERS, &security.peers, peers)]
    {
        // A proxy, which has no url for peers, talks to them by the same flags.
        if !listens.is_empty() && !is_secure(listens) {
            idle(given, names.what, &[names.crl, names.hostnames]);
            idle(given, names.what, names.cns.as_slice());
        }
        let (prefix, what) = (names.prefix, names.what);
        for listen in listens {
            let has_identity = side.auto || side.settings.has_identity();
            if listen.url.is_secure() && !has_identity {
                return Err(Refusal::Conflict(format!(
                    "TLS key/cert (--{prefix}cert-file, --{prefix}key-file) must be provided for \
                     {what} url {} with HTTPS scheme",
                    listen.url
                )));
            }
            if listen.url.is_secure() {
                continue;
            }
            let url = &listen.url;
            if has_identity {
                given.warn(format!(
                    "The scheme of {what} url {url} is HTTP while {prefix}key/cert files are \
                     presented. Ignored {prefix}key/cert files."
                ));
            }
            if side.settings.client_cert_auth {
                given.warn(format!(
                    "The scheme of {what} url {url} is HTTP while client cert auth \
                     (--{prefix}client-cert-auth) is enabled. Ignored client cert auth for this url."
                ));
            }
        }
    }
    Ok(())
}
