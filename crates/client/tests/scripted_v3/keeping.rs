//! Leases that are kept.

use std::time::{Duration, Instant};

use base::Refused;
use proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};

use super::server::{End, Reply, Server, client, tell};

const LEASE: i64 = 7;

fn kept(ttl: i64) -> LeaseKeepAliveResponse {
    LeaseKeepAliveResponse { id: LEASE, ttl, ..LeaseKeepAliveResponse::default() }
}

#[tokio::test]
async fn a_lease_is_renewed_in_time_and_over_lost_connections() {
    let script = vec![tell(&[kept(3)], End::Break), Reply::Break, tell(&[kept(3)], End::Open)];
    let server = Server::start(script).await;
    let mut keeping = client(&[&server]).keep_alive(LEASE);
    assert_eq!(keeping.next().await.unwrap(), Some(kept(3)));
    let began = Instant::now();
    assert_eq!(keeping.next().await.unwrap(), Some(kept(3)));
    // A third of its time, and not all of it.
    assert!(began.elapsed() > Duration::from_millis(700), "{:?}", began.elapsed());
    let asked: Vec<_> =
        server.seen().iter().map(|call| call.message::<LeaseKeepAliveRequest>().id).collect();
    assert_eq!(asked, [LEASE; 3]);
}

#[tokio::test]
async fn a_lease_that_is_gone_ends_its_keeping() {
    let server = Server::start(vec![tell(&[kept(0)], End::Open)]).await;
    assert_eq!(client(&[&server]).keep_alive(LEASE).next().await.unwrap(), None);
    let server = Server::start(vec![tell(&[kept(0)], End::Open)]).await;
    let error = client(&[&server]).keep_alive_once(LEASE).await.unwrap_err();
    assert!(error.is(Refused::LeaseNotFound), "{error:?}");
}

#[tokio::test]
async fn a_lease_whose_time_passes_while_nobody_answers_is_gone() {
    let server = Server::start(vec![tell(&[kept(1)], End::Break)]).await;
    let mut keeping = client(&[&server]).keep_alive(LEASE);
    assert_eq!(keeping.next().await.unwrap(), Some(kept(1)));
    assert_eq!(keeping.next().await.unwrap(), None);
}
