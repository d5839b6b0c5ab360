//! The APIs on their ports: peers at once, clients when the member is ready.

use api::Port;
use server::Handle;
use tokio::{sync::watch, task::JoinSet};

use crate::secure::Ports;

/// One task for each port that is served.
pub(crate) struct Apis {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    /// Until the member is ready the kernel keeps clients' connections: whoever came now would
    /// read what the keyspace was before the log is applied again.
    waiting: Vec<Port>,
    config: api::Config,
    set_log_level: api::SetLogLevel,
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
        Self { tasks, stop, waiting: ports.clients, config, set_log_level }
    }

    /// To be called once the member is ready.
    pub(crate) fn serve_clients(&mut self, handle: &Handle) {
        for port in self.waiting.drain(..) {
            let set_log_level = api::SetLogLevel::clone(&self.set_log_level);
            let (handle, config) = (handle.clone(), self.config.clone());
            let stopping = self.stop.subscribe();
            self.tasks.spawn(api::serve_clients(port, handle, config, set_log_level, stopping));
        }
    }

    /// Returns when all running requests have ended, as the APIs bound it.
    pub(crate) async fn stop(self) {
        drop(self.waiting);
        self.stop.send_replace(true);
        self.tasks.join_all().await;
    }
}
