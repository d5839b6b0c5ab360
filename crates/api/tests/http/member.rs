//! A member on a disk in memory, with the API before it on real sockets.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base::{Clock, Disk, OsClock, disk::MemDisk, limits};
use server::Handle;
use tokio::{net::TcpListener, runtime::Runtime, sync::watch, task::JoinHandle};

use crate::wire::{Answer, Wire};

/// A member that serves.
pub(crate) struct Member {
    pub(crate) address: SocketAddr,
    pub(crate) peers: SocketAddr,
    pub(crate) handle: Handle,
    /// The log levels that were asked for.
    pub(crate) levels: Arc<Mutex<Vec<String>>>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) served: Vec<JoinHandle<()>>,
    pub(crate) runtime: Runtime,
}

pub(crate) fn start_member() -> Handle {
    start_by(config())
}

pub(crate) fn start_by(config: server::Config) -> Handle {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1));
    let clock: Arc<dyn Clock> = Arc::new(OsClock::new());
    server::start(config, disk, clock).expect("a member starts on an empty disk")
}

pub(crate) fn config() -> server::Config {
    let urls = |port: u16| vec![format!("http://localhost:{port}")];
    server::Config {
        name: "default".to_owned(),
        data_dir: Path::new("/data").to_owned(),
        wal_dir: None,
        initial_cluster: vec![("default".to_owned(), urls(2380))],
        initial_cluster_token: "etcd-cluster".to_owned(),
        new_cluster: true,
        force_new_cluster: false,
        forcing: watch::Sender::default(),
        strict_reconfig_check: true,
        peer_urls: urls(2380),
        client_urls: urls(2379),
        heartbeat: Duration::from_millis(100),
        election: Duration::from_secs(1),
        snapshot_count: 10_000,
        quota_bytes: limits::QUOTA_BYTES_DEFAULT,
        request_bytes_max: limits::REQUEST_BYTES_MAX,
        auto_compaction: None,
        apply_expected: Duration::from_millis(100),
        corruption: server::CorruptionChecks::default(),
        learners_max: 1,
        catch_up_entries: 5_000,
        dialer: server::Dialer::default(),
        timeouts: server::Timeouts::default(),
    }
}

impl Member {
    pub(crate) fn start() -> Self {
        Self::start_with(api::Config::default())
    }

    pub(crate) fn start_with(config: api::Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let handle = start_member();
        let (stop, stopped) = watch::channel(false);
        let levels = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&levels);
        let set_log_level: api::SetLogLevel = Arc::new(move |level| {
            asked.lock().unwrap().push(level.to_owned());
            matches!(level, "DEBUG" | "INFO")
        });
        let (clients, peers) = runtime.block_on(async {
            handle.ready().await;
            let bind = || TcpListener::bind("127.0.0.1:0");
            (bind().await.unwrap(), bind().await.unwrap())
        });
        let (address, peer_address) = (clients.local_addr().unwrap(), peers.local_addr().unwrap());
        let api = api::Clients::new(handle.clone(), config, set_log_level, stopped.clone());
        let serve_clients = api.serve(api::Port::plain(clients), api::Offer::All);
        let served = vec![
            runtime.spawn(serve_clients),
            runtime.spawn(api::serve_peers(api::Port::plain(peers), handle.clone(), stopped)),
        ];
        Self { address, peers: peer_address, handle, levels, stop, served, runtime }
    }

    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// Asks over a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Answer {
        self.connect().ask(method, target, body)
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, None)
    }

    /// Writes a value and returns its index.
    #[track_caller]
    pub(crate) fn put(&self, key: &str, value: &str) -> u64 {
        let form = format!("value={value}");
        let answer = self.ask("PUT", &format!("/v2/keys{key}"), Some(&form));
        assert!(answer.status < 300, "{}", answer.text());
        answer.json()["node"]["modifiedIndex"].as_u64().unwrap()
    }

    pub(crate) fn index(&self) -> u64 {
        self.get("/v2/keys").header("X-Etcd-Index").unwrap().parse().unwrap()
    }

    pub(crate) fn watchers(&self) -> u64 {
        self.get("/v2/stats/store").json()["watchers"].as_u64().unwrap()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Both listeners may have returned.
        self.stop.send_replace(true);
        let handle = self.handle.clone();
        let stopped =
            async move { tokio::time::timeout(Duration::from_secs(5), handle.stop()).await };
        let stopped = self.runtime.block_on(stopped);
        if !std::thread::panicking() {
            stopped.expect("a member stops");
        }
    }
}

#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
