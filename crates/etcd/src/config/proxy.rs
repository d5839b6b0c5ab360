//! What the flags say about proxy mode.

use std::time::Duration;

use super::{Refusal, given::Given};

/// What the flags say about proxy mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) mode: Mode,
    /// Who finds the token of its cluster full becomes a proxy.
    pub(crate) falls_back: bool,
    pub(crate) failure_wait: Duration,
    pub(crate) refresh_interval: Duration,
    /// `None`: no bound.
    pub(crate) dial_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) read_timeout: Option<Duration>,
}

/// `--proxy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Off,
    Readonly,
    On,
}

pub(super) fn read(given: &Given) -> Result<Proxy, Refusal> {
    let time = |name| Duration::from_millis(given.count(name));
    let bound = |name| Some(time(name)).filter(|time| !time.is_zero());
    let refresh_interval = time("proxy-refresh-interval");
    if refresh_interval.is_zero() {
        let shown = given.show("proxy-refresh-interval");
        return Err(Refusal::Conflict(format!("{shown} must be above 0")));
    }
    Ok(Proxy {
        mode: match given.text("proxy") {
            "on" => Mode::On,
            "readonly" => Mode::Readonly,
            _ => Mode::Off,
        },
        falls_back: given.text("discovery-fallback") == "proxy",
        failure_wait: time("proxy-failure-wait"),
        refresh_interval,
        dial_timeout: bound("proxy-dial-timeout"),
        write_timeout: bound("proxy-write-timeout"),
        read_timeout: bound("proxy-read-timeout"),
    })
}
