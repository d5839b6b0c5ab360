//! From the global flags to a client.

use std::time::Duration;

use client::v3::{Client, Config, Credentials, Notice};
use tls::Settings;

use super::{bad_args, cli::Globals, failed, refuse};
use crate::{
    connect::Domain,
    failure::{Exit, Failure},
    output, password,
};

/// A client whose calls end with `--command-timeout`.
pub(crate) async fn connect(globals: &Globals) -> Result<Client, Failure> {
    let client = client_of(globals, &endpoints(globals).await?, Waiting::Briefly)?;
    let client = client.within(globals.command_timeout);
    log_in(&client).await?;
    Ok(client)
}

/// A client whose calls go on until they are carried out. That an endpoint cannot be reached is
/// told, since nothing else would.
pub(crate) async fn connect_for_long(globals: &Globals) -> Result<Client, Failure> {
    let client = client_of(globals, &endpoints(globals).await?, Waiting::ForLong)?;
    log_in(&client.within(globals.command_timeout)).await?;
    Ok(client)
}

/// A client of one endpoint, whose calls end with `--command-timeout`.
pub(crate) async fn connect_to(globals: &Globals, endpoint: &str) -> Result<Client, Failure> {
    let client = client_of(globals, &[endpoint.to_owned()], Waiting::Briefly)?;
    let client = client.within(globals.command_timeout);
    log_in(&client).await?;
    Ok(client)
}

async fn log_in(client: &Client) -> Result<(), Failure> {
    client.log_in().await.map_err(failed(Exit::BadConnection))
}

/// Those that the domain of `--discovery-srv` has, or `--endpoints`, one by one.
pub(crate) async fn endpoints(globals: &Globals) -> Result<Vec<String>, Failure> {
    if let Some(domain) = domain(globals) {
        let found = domain.endpoints().await;
        return found.map_err(|why| Failure::v3(Exit::Error, why));
    }
    let all = globals.endpoints.iter().flat_map(|list| list.split(',')).map(str::trim);
    Ok(all.filter(|endpoint| !endpoint.is_empty()).map(str::to_owned).collect())
}

fn domain(globals: &Globals) -> Option<Domain> {
    let name = globals.discovery_srv.clone().filter(|name| !name.is_empty())?;
    let service_name = globals.discovery_srv_name.clone().unwrap_or_default();
    Some(Domain { name, service_name, insecure: globals.insecure_discovery })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    Briefly,
    ForLong,
}

/// A client of some endpoints, without a limit, that is not logged in.
pub(crate) fn client_of(
    globals: &Globals,
    endpoints: &[String],
    waiting: Waiting,
) -> Result<Client, Failure> {
    let config = Config {
        tls: tls(globals)?,
        credentials: credentials(globals)?,
        token: globals.auth_jwt_token.clone().filter(|token| !token.is_empty()),
        ..config(globals, waiting)?
    };
    make(endpoints, config)
}

/// All but who we are and how we are to be sure of the server.
pub(crate) fn config(globals: &Globals, waiting: Waiting) -> Result<Config, Failure> {
    let default = Config::default();
    let bytes = |flag: i64, default: usize| match usize::try_from(flag) {
        Ok(bytes) if bytes > 0 => bytes,
        _ => default,
    };
    let request_bytes_max = bytes(globals.max_request_bytes, default.request_bytes_max);
    let answer_bytes_max = bytes(globals.max_recv_bytes, default.answer_bytes_max);
    if globals.max_recv_bytes > 0 && globals.max_request_bytes > globals.max_recv_bytes {
        return refuse(
            Exit::BadConnection,
            format!(
                "gRPC message recv limit ({answer_bytes_max} bytes) must be greater than send \
                 limit ({request_bytes_max} bytes)"
            ),
        );
    }
    let tells = globals.debug || waiting == Waiting::ForLong;
    let tell = |line: &str| output::note(format_args!("etcdctl: {line}; trying again"));
    Ok(Config {
        dial_timeout: Some(globals.dial_timeout)
            .filter(|limit| !limit.is_zero())
            .unwrap_or(NO_LIMIT),
        keepalive_time: globals.keepalive_time,
        keepalive_timeout: globals.keepalive_timeout,
        request_bytes_max,
        answer_bytes_max,
        notice: tells.then(|| Notice::new(tell)),
        ..default
    })
}

/// A client of one endpoint for what is not gRPC.
pub(crate) fn http_client(
    globals: &Globals,
    endpoint: &str,
) -> Result<(client::Client, client::Endpoint), Failure> {
    let tls = tls(globals)?;
    let url = match (endpoint.contains("://"), &tls) {
        (false, Some(_)) => format!("https://{endpoint}"),
        _ => endpoint.to_owned(),
    };
    let config = client::Config { tls: tls.unwrap_or_default(), ..client::Config::default() };
    let made = client::Client::new(&[url], config);
    let made = made.map_err(|error| Failure::v3(Exit::BadArgs, error))?;
    let endpoint = made.endpoints().into_iter().next();
    let endpoint = endpoint.ok_or_else(|| Failure::v3(Exit::BadArgs, "no endpoint"))?;
    Ok((made, endpoint))
}

fn tls(globals: &Globals) -> Result<Option<Settings>, Failure> {
    let files = Files {
        cert: globals.cert.as_deref(),
        key: globals.key.as_deref(),
        cacert: globals.cacert.as_deref(),
    };
    let settings =
        files.settings("--", globals.insecure_transport, globals.insecure_skip_tls_verify)?;
    let server_name = domain(globals).and_then(Domain::server_name);
    Ok(match (settings, &server_name) {
        (None, None) => None,
        (settings, _) => Some(Settings { server_name, ..settings.unwrap_or_default() }),
    })
}

/// What `--dial-timeout=0` means: the kernel gives up before.
const NO_LIMIT: Duration = Duration::from_hours(1);

pub(crate) fn make(endpoints: &[String], config: Config) -> Result<Client, Failure> {
    Client::new(endpoints, config).map_err(failed(Exit::BadArgs))
}

/// Files that a connection is made secure with.
pub(crate) struct Files<'a> {
    pub(crate) cert: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) cacert: Option<&'a str>,
}

impl Files<'_> {
    /// What the connector is to be made of, if anything asks for TLS. `flags`: what stands before
    /// the names of the flags.
    pub(crate) fn settings(
        &self,
        flags: &str,
        insecure: bool,
        skip_verify: bool,
    ) -> Result<Option<Settings>, Failure> {
        let files = [("cert", self.cert), ("key", self.key), ("cacert", self.cacert)];
        for (name, file) in files {
            if file.is_some_and(str::is_empty) {
                return bad_args(format!("empty string is passed to {flags}{name} option"));
            }
        }
        if files.iter().all(|(_, file)| file.is_none()) && insecure && !skip_verify {
            return Ok(None);
        }
        Ok(Some(Settings {
            cert_file: self.cert.map(Into::into),
            key_file: self.key.map(Into::into),
            trusted_ca_file: self.cacert.map(Into::into),
            insecure_skip_verify: skip_verify,
            ..Settings::default()
        }))
    }
}

fn credentials(globals: &Globals) -> Result<Option<Credentials>, Failure> {
    if globals.auth_jwt_token.as_ref().is_some_and(|token| !token.is_empty()) {
        return Ok(None);
    }
    credentials_of(globals.user.as_deref(), globals.password.as_deref(), "Password: ")
}

/// A user and password by two flags, asked for at the terminal if there is none.
pub(crate) fn credentials_of(
    user: Option<&str>,
    password: Option<&str>,
    prompt: &str,
) -> Result<Option<Credentials>, Failure> {
    let Some(user) = user.filter(|user| !user.is_empty()) else { return Ok(None) };
    let (username, password) =
        match (password.filter(|given| !given.is_empty()), user.split_once(':')) {
            (Some(password), _) => (user, password.to_owned()),
            (None, Some((username, password))) => (username, password.to_owned()),
            (None, None) => match password::ask(prompt) {
                Ok(password) => (user, password),
                Err(problem) => {
                    return refuse(
                        Exit::Error,
                        format!("cannot ask for the password ({problem}); give it with --password"),
                    );
                }
            },
        };
    if username.is_empty() || password.is_empty() {
        return Ok(None);
    }
    Ok(Some(Credentials { username: username.to_owned(), password }))
}
