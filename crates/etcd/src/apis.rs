//! The APIs on their ports: peers at once, clients when the member is ready.

use api::{Clients, Offer, Port};
use server::Handle;
use tokio::{sync::watch, task::JoinSet};

use crate::secure::Ports;

/// One task for each port that is served.
pub(crate) struct Apis {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    /// Until the member is ready the kernel keeps clients' connections: whoever came now would
    /// read what the keyspace was before the log is applied again.
    waiting: Vec<(Port, Offer)>,
    clients: Clients,
}

impl Apis {
    pub(crate) fn new(
        ports: Ports,
        handle: &Handle,
        config: api::Config,
        set_log_level: api::SetLogLevel,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for port in ports.peers {
            tasks.spawn(api::serve_peers(port, handle.clone(), stopping.clone()));
        }
        let clients = Clients::new(handle.clone(), config, set_log_level, stopping);
        // That it is not ready is one of the things that are asked there.
        for port in ports.metrics {
            tasks.spawn(clients.clone().serve(port, Offer::Metrics));
        }
        Self { tasks, stop, waiting: ports.clients, clients }
    }

    /// To be called once the member is ready.
    pub(crate) fn serve_clients(&mut self) {
        for (port, offer) in self.waiting.drain(..) {
            self.tasks.spawn(self.clients.clone().serve(port, offer));
        }
    }

    /// Returns when all running requests have ended, as the APIs bound it.
    pub(crate) async fn stop(self) {
        drop(self.waiting);
        self.stop.send_replace(true);
        self.tasks.join_all().await;
    }
}
