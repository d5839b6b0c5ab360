//! What goes to the other members and comes from them, under etcd 3's names.

use std::sync::atomic::Ordering::Relaxed;

use peer::{PeerStatus, Peers, RoundTrips, Transfers};
use server::Handle;

use super::Page;

/// A counter or gauge of each peer: name, help, kind, its label for the peer, and its value.
type Series = (&'static str, &'static str, &'static str, &'static str, fn(&PeerStatus) -> u64);

const SERIES: [Series; 7] = [
    ("peer_sent_bytes_total", "Bytes sent to a peer.", "counter", "To", |peer| peer.sent_bytes),
    ("peer_received_bytes_total", "Bytes received from a peer.", "counter", "From", |peer| {
        peer.received_bytes
    }),
    ("peer_sent_failures_total", "Messages to a peer that were lost.", "counter", "To", |peer| {
        peer.failed
    }),
    (
        "peer_received_failures_total",
        "Streams of a peer that ended otherwise than in order.",
        "counter",
        "From",
        |peer| peer.received_failures,
    ),
    ("active_peers", "1 while both streams to a peer are open.", "gauge", "Remote", |peer| {
        u64::from(peer.active_since.is_some())
    }),
    ("known_peers", "The other members.", "gauge", "Remote", |_| 1),
    (
        "disconnected_peers_total",
        "Times that a peer became inactive.",
        "counter",
        "Remote",
        |peer| peer.disconnected,
    ),
];

pub(super) fn of_network(page: &mut Page, handle: &Handle) {
    let peers = handle.peers().map(Peers::status).unwrap_or_default();
    if peers.is_empty() {
        return;
    }
    let local = handle.member_id().to_string();
    for (name, help, kind, label, value) in SERIES {
        let name = format!("etcd_network_{name}");
        page.begin(&name, help, kind);
        for peer in &peers {
            let remote = peer.id.to_string();
            let own = ("Local", local.as_str());
            let labels = [own, (label, remote.as_str())];
            // Only what has two ends names both.
            match labels.split_first() {
                Some((_, one)) if label != "Remote" => page.sample(&name, one, value(peer)),
                _ => page.sample(&name, &labels, value(peer)),
            }
        }
    }
    let name = "etcd_network_peer_round_trip_time_seconds";
    page.begin(name, "How long a message to a peer and back takes.", "histogram");
    for peer in &peers {
        round_trips(page, name, &peer.id.to_string(), &peer.round_trips);
    }
    snapshots(page, &peers, ("send", "To"), |peer| &peer.snapshots_sent);
    snapshots(page, &peers, ("receive", "From"), |peer| &peer.snapshots_received);
}

/// Snapshots that go one way.
fn snapshots(
    page: &mut Page,
    peers: &[PeerStatus],
    (way, label): (&str, &str),
    of: impl Fn(&PeerStatus) -> &Transfers,
) {
    let mut all = |what: &str, help: &str, kind: &str, value: fn(&Transfers) -> u64| {
        let name = format!("etcd_network_snapshot_{way}_{what}");
        page.begin(&name, help, kind);
        for peer in peers {
            page.sample(&name, &[(label, &peer.id.to_string())], value(of(peer)));
        }
    };
    let help = "Snapshots that arrived.";
    all("success", help, "counter", |snapshots| snapshots.succeeded.load(Relaxed));
    let help = "Snapshots that did not arrive.";
    all("failures", help, "counter", |snapshots| snapshots.failed.load(Relaxed));
    let help = "Snapshots that are under way.";
    all("inflights_total", help, "gauge", |snapshots| snapshots.under_way.load(Relaxed));
    let name = format!("etcd_network_snapshot_{way}_total_duration_seconds");
    page.begin(&name, "Time that a snapshot takes.", "histogram");
    for peer in peers {
        page.durations(&name, &[(label, &peer.id.to_string())], &of(peer).durations);
    }
}

fn round_trips(page: &mut Page, name: &str, to: &str, trips: &RoundTrips) {
    let bucket = format!("{name}_bucket");
    let mut count = 0;
    for (at, taken) in trips.buckets.iter().enumerate() {
        count += taken;
        page.sample(&bucket, &[("To", to), ("le", &RoundTrips::bound(at).to_string())], count);
    }
    page.sample(&bucket, &[("To", to), ("le", "+Inf")], trips.count);
    page.sample(&format!("{name}_sum"), &[("To", to)], trips.sum.as_secs_f64());
    page.sample(&format!("{name}_count"), &[("To", to)], trips.count);
}
