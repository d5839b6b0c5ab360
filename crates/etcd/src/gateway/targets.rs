//! Which member the next connection goes to.

use std::{
    fmt, io,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{net::TcpStream, task::JoinSet, time};

use crate::config::Target;

/// A member that does not answer to a connection (etcd: as long as the system waits).
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

/// All targets, and which of them are believed to answer.
#[derive(Debug)]
pub(super) struct Targets {
    all: Vec<Arc<Place>>,
    retry_delay: Duration,
    turn: Mutex<usize>,
}

#[derive(Debug)]
struct Place {
    target: Target,
    active: AtomicBool,
}

impl Targets {
    pub(super) fn new(targets: Vec<Target>, retry_delay: Duration) -> Self {
        let place = |target| Arc::new(Place { target, active: AtomicBool::new(true) });
        Self { all: targets.into_iter().map(place).collect(), retry_delay, turn: Mutex::new(0) }
    }

    /// A connection to whoever's turn it is; if he does not answer, to the next. Those who did not
    /// answer lately are asked only when nobody else does, but then at once.
    pub(super) async fn connect(&self) -> Option<TcpStream> {
        while let Some(place) = self.pick() {
            match dial(&place.target).await {
                Ok(stream) => return Some(stream),
                Err(error) => self.deactivate(&place, &error),
            }
        }
        let mut asked = JoinSet::new();
        for place in &self.all {
            let place = Arc::clone(place);
            asked.spawn(async move {
                let stream = dial(&place.target).await;
                (place, stream)
            });
        }
        while let Some(answer) = asked.join_next().await {
            if let Ok((place, Ok(stream))) = answer {
                place.activate();
                return Some(stream);
            }
        }
        None
    }

    /// Tries those who did not answer, now and then. Does not end.
    pub(super) async fn watch_over(self: Arc<Self>) {
        loop {
            time::sleep(self.retry_delay).await;
            let mut tried = JoinSet::new();
            for place in self.all.iter().filter(|place| !place.is_active()) {
                tried.spawn(retry(Arc::clone(place), self.retry_delay));
            }
            tried.join_all().await;
        }
    }

    /// Whose turn it is among the active ones of the best class.
    fn pick(&self) -> Option<Arc<Place>> {
        let active = || self.all.iter().filter(|place| place.is_active());
        let best = active().map(|place| place.target.priority).min()?;
        let class: Vec<_> = active().filter(|place| place.target.priority == best).collect();
        let weight = |place: &Arc<Place>| u32::from(place.target.weight);
        let sum: u32 = class.iter().map(|place| weight(place)).sum();
        // Beside those with a weight, those without should hardly ever be chosen (RFC 2782).
        let turns: Vec<_> = match sum {
            0 => class,
            _ if fastrand::u8(..100) == 0 && class.iter().any(|place| weight(place) == 0) => {
                class.into_iter().filter(|place| weight(place) == 0).collect()
            }
            _ => return by_weight(&class, fastrand::u32(..sum)),
        };
        let mut turn = self.turn.lock();
        let at = *turn % turns.len().max(1);
        *turn = turn.wrapping_add(1);
        turns.get(at).map(|place| Arc::clone(place))
    }

    fn deactivate(&self, place: &Place, error: &io::Error) {
        if place.active.swap(false, Relaxed) {
            tracing::warn!(
                target: "tcpproxy",
                address = %place.target,
                interval = self.retry_delay.as_secs_f64(),
                %error,
                "deactivated endpoint"
            );
        }
    }
}

/// The one in whose share `number` lies.
fn by_weight(class: &[&Arc<Place>], mut number: u32) -> Option<Arc<Place>> {
    for place in class {
        let weight = u32::from(place.target.weight);
        if number < weight {
            return Some(Arc::clone(place));
        }
        number -= weight;
    }
    None
}

impl Place {
    fn is_active(&self) -> bool {
        self.active.load(Relaxed)
    }

    fn activate(&self) {
        if !self.active.swap(true, Relaxed) {
            tracing::info!(target: "tcpproxy", address = %self.target, "activated");
        }
    }
}

async fn retry(place: Arc<Place>, interval: Duration) {
    match dial(&place.target).await {
        Ok(_) => place.activate(),
        Err(error) => tracing::warn!(
            target: "tcpproxy",
            address = %place.target,
            interval = interval.as_secs_f64(),
            %error,
            "failed to activate endpoint (stay inactive for another interval)"
        ),
    }
}

async fn dial(target: &Target) -> io::Result<TcpStream> {
    let connect = TcpStream::connect((target.host.as_str(), target.port));
    time::timeout(DIAL_TIMEOUT, connect).await.unwrap_or_else(|_| {
        let limit = DIAL_TIMEOUT.as_secs();
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit} s")))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn targets(rows: &[(&str, u16, u16)]) -> Targets {
        let target = |(host, priority, weight): &(&str, u16, u16)| Target {
            host: (*host).to_owned(),
            port: 1,
            priority: *priority,
            weight: *weight,
        };
        Targets::new(rows.iter().map(target).collect(), Duration::from_secs(1))
    }

    fn picked(targets: &Targets, times: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..times {
            let host = targets.pick().map_or_else(String::new, |place| place.target.host.clone());
            *counts.entry(host).or_default() += 1;
        }
        counts
    }

    fn counts(rows: &[(&str, usize)]) -> BTreeMap<String, usize> {
        rows.iter().map(|(host, count)| ((*host).to_owned(), *count)).collect()
    }

    #[test]
    fn all_take_turns_and_who_is_inactive_is_left_out() {
        let targets = targets(&[("a", 0, 0), ("b", 0, 0), ("c", 0, 0)]);
        assert_eq!(picked(&targets, 6), counts(&[("a", 2), ("b", 2), ("c", 2)]));
        targets.deactivate(&targets.all[1], &io::Error::other("gone"));
        assert_eq!(picked(&targets, 6), counts(&[("a", 3), ("c", 3)]));
        targets.all[1].activate();
        assert_eq!(picked(&targets, 6), counts(&[("a", 2), ("b", 2), ("c", 2)]));
        targets.all.iter().for_each(|place| place.active.store(false, Relaxed));
        assert_eq!(picked(&targets, 1), counts(&[("", 1)]));
    }

    #[test]
    fn the_least_priority_goes_first() {
        let targets = targets(&[("a", 2, 0), ("b", 1, 0), ("c", 2, 0)]);
        assert_eq!(picked(&targets, 4), counts(&[("b", 4)]));
        targets.deactivate(&targets.all[1], &io::Error::other("gone"));
        assert_eq!(picked(&targets, 4), counts(&[("a", 2), ("c", 2)]));
    }

    #[test]
    fn weights_share_out_connections() {
        fastrand::seed(7);
        let targets = targets(&[("a", 0, 30), ("b", 0, 10), ("c", 0, 0)]);
        let picked = picked(&targets, 10_000);
        let share = |host: &str| picked.get(host).copied().unwrap_or(0);
        assert!((7_000..7_900).contains(&share("a")), "{picked:?}");
        assert!((2_200..2_800).contains(&share("b")), "{picked:?}");
        assert!((20..300).contains(&share("c")), "{picked:?}");
    }

    #[test]
    fn an_address_of_the_newer_kind_stands_in_brackets() {
        let shown = |host: &str| targets(&[(host, 0, 0)]).all[0].target.to_string();
        assert_eq!(shown("::1"), "[::1]:1");
        assert_eq!(shown("a.example"), "a.example:1");
    }
}
