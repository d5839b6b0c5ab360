//! From a path to a service. What has no meaning to a proxy goes on byte by byte.

use std::{convert::Infallible, sync::Arc};

use api::Later;
use bytes::Bytes;
use client::v3::{AsItIs, Client, Passed};
use http::{Request, Response};
use tokio::sync::watch;
use tonic::{
    Status, body::Body, codec::CompressionEncoding::Gzip, server::Grpc as Server,
    server::ServerStreamingService, server::UnaryService,
};
use tower_service::Service;

use crate::{
    behalf,
    cache::Cache,
    cluster::Cluster,
    failure::status,
    generated::etcdserverpb::{
        cluster_server::ClusterServer, kv_server::KvServer, lease_server::LeaseServer,
        watch_server::WatchServer,
    },
    kv::Kv,
    lease::Lease,
    pump::{Pumped, Source, pump},
    watch::Watch,
};

/// A method that is passed on.
#[derive(Clone, Copy, Debug)]
struct Method {
    path: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It may be carried out twice.
    Repeatable,
    Once,
    /// It answers in many messages.
    Stream,
}

/// All that are passed on. A lock and a campaign wait in a queue, where nobody should stand twice.
const PASSED: &[(&str, Kind)] = &[
    ("/etcdserverpb.Maintenance/Alarm", Kind::Repeatable),
    ("/etcdserverpb.Maintenance/Status", Kind::Repeatable),
    ("/etcdserverpb.Maintenance/Defragment", Kind::Once),
    ("/etcdserverpb.Maintenance/Hash", Kind::Repeatable),
    ("/etcdserverpb.Maintenance/HashKV", Kind::Repeatable),
    ("/etcdserverpb.Maintenance/Snapshot", Kind::Stream),
    ("/etcdserverpb.Maintenance/MoveLeader", Kind::Repeatable),
    ("/etcdserverpb.Maintenance/Downgrade", Kind::Once),
    ("/etcdserverpb.Auth/AuthEnable", Kind::Once),
    ("/etcdserverpb.Auth/AuthDisable", Kind::Once),
    ("/etcdserverpb.Auth/AuthStatus", Kind::Repeatable),
    ("/etcdserverpb.Auth/Authenticate", Kind::Repeatable),
    ("/etcdserverpb.Auth/UserAdd", Kind::Once),
    ("/etcdserverpb.Auth/UserGet", Kind::Repeatable),
    ("/etcdserverpb.Auth/UserList", Kind::Repeatable),
    ("/etcdserverpb.Auth/UserDelete", Kind::Once),
    ("/etcdserverpb.Auth/UserChangePassword", Kind::Once),
    ("/etcdserverpb.Auth/UserGrantRole", Kind::Once),
    ("/etcdserverpb.Auth/UserRevokeRole", Kind::Once),
    ("/etcdserverpb.Auth/RoleAdd", Kind::Once),
    ("/etcdserverpb.Auth/RoleGet", Kind::Repeatable),
    ("/etcdserverpb.Auth/RoleList", Kind::Repeatable),
    ("/etcdserverpb.Auth/RoleDelete", Kind::Once),
    ("/etcdserverpb.Auth/RoleGrantPermission", Kind::Once),
    ("/etcdserverpb.Auth/RoleRevokePermission", Kind::Once),
    ("/v3lockpb.Lock/Lock", Kind::Once),
    ("/v3lockpb.Lock/Unlock", Kind::Once),
    ("/v3electionpb.Election/Campaign", Kind::Once),
    ("/v3electionpb.Election/Proclaim", Kind::Once),
    ("/v3electionpb.Election/Leader", Kind::Repeatable),
    ("/v3electionpb.Election/Observe", Kind::Stream),
    ("/v3electionpb.Election/Resign", Kind::Once),
];

impl Method {
    fn find(path: &str) -> Option<Self> {
        let found = PASSED.iter().find(|(one, _)| *one == path);
        found.map(|&(path, kind)| Self { path, kind })
    }
}

/// All services of a proxy.
pub(crate) struct Services {
    client: Client,
    cache: Arc<Cache>,
    /// The largest message that is taken from a client.
    message_bytes_max: usize,
    stop: watch::Receiver<bool>,
    cluster: ClusterServer<Cluster>,
    kv: KvServer<Kv>,
    lease: LeaseServer<Lease>,
    watch: WatchServer<Watch>,
}

impl Services {
    pub(crate) fn new(
        (client, cache): (Client, Arc<Cache>),
        (message_bytes_max, stop): (usize, watch::Receiver<bool>),
        (cluster, kv, lease, watch): (Cluster, Kv, Lease, Watch),
    ) -> Self {
        /// A service that clients speak to: what it takes, and in which form.
        macro_rules! service {
            ($server:ident($service:expr)) => {
                $server::new($service)
                    .max_decoding_message_size(message_bytes_max)
                    .accept_compressed(Gzip)
            };
        }
        Self {
            client,
            cache,
            message_bytes_max,
            stop,
            cluster: service!(ClusterServer(cluster)),
            kv: service!(KvServer(kv)),
            lease: service!(LeaseServer(lease)),
            watch: service!(WatchServer(watch)),
        }
    }

    /// Answers one request, which may be a stream of them.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let service = path.rsplit_once('/').map_or("", |(service, _)| service);
        match service {
            "/etcdserverpb.KV" => call(&self.kv, request).await,
            "/etcdserverpb.Watch" => call(&self.watch, request).await,
            "/etcdserverpb.Lease" => call(&self.lease, request).await,
            "/etcdserverpb.Cluster" => call(&self.cluster, request).await,
            _ => {
                if let Some(method) = Method::find(path) {
                    return self.pass(method, request).await;
                }
                let service = service.trim_start_matches('/');
                Status::unimplemented(format!("unknown service {service}")).into_http()
            }
        }
    }

    async fn pass(&self, method: Method, request: Request<Body>) -> Response<Body> {
        let mut server = Server::new(AsItIs)
            .apply_max_message_size_config(Some(self.message_bytes_max), None)
            .accept_compressed(Gzip);
        let (client, cache) = (self.client.clone(), Arc::clone(&self.cache));
        let pass = Pass { client, cache, method, stop: self.stop.clone() };
        match method.kind {
            Kind::Repeatable | Kind::Once => server.unary(pass, request).await,
            Kind::Stream => server.server_streaming(pass, request).await,
        }
    }
}

async fn call<S>(service: &S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    match service.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A call that is passed on.
struct Pass {
    client: Client,
    cache: Arc<Cache>,
    method: Method,
    stop: watch::Receiver<bool>,
}

impl UnaryService<Bytes> for Pass {
    type Response = Bytes;
    type Future = Later<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let client = behalf::client(&self.client, request.metadata());
        let Method { path, kind } = self.method;
        let cache = Arc::clone(&self.cache);
        // Users and what they may do.
        let changes_rights = path.starts_with("/etcdserverpb.Auth/") && kind == Kind::Once;
        Box::pin(async move {
            if changes_rights {
                cache.clear();
            }
            let answer = client.pass(path, request.into_inner(), kind == Kind::Repeatable).await;
            if changes_rights {
                cache.clear();
            }
            answer.map(tonic::Response::new).map_err(|error| status(&error))
        })
    }
}

impl ServerStreamingService<Bytes> for Pass {
    type Response = Bytes;
    type ResponseStream = Pumped<Bytes>;
    type Future = Later<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let client = behalf::client(&self.client, request.metadata());
        let (path, stop) = (self.method.path, self.stop.clone());
        Box::pin(async move {
            let passed = client.pass_stream(path, request.into_inner()).await;
            let passed = passed.map_err(|error| status(&error))?;
            // One at a time: members send no faster than the client reads.
            Ok(tonic::Response::new(pump(passed, 1, stop)))
        })
    }
}

impl Source for Passed {
    type Message = Bytes;

    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        Self::next(self).await.map_err(|error| status(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    /// What the descriptors have and nobody answers would be missed by a client only.
    #[test]
    fn every_method_of_etcd_has_somebody_who_answers() {
        let descriptors = tonic_prost_build::FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
        let own = ["KV", "Watch", "Lease", "Cluster"];
        let mut expected = BTreeSet::new();
        for file in &descriptors.file {
            for service in &file.service {
                let is_passed = ["v3lockpb", "v3electionpb"].contains(&file.package())
                    || file.package() == "etcdserverpb" && !own.contains(&service.name());
                for method in service.method.iter().filter(|_| is_passed) {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    expected.insert((path, method.server_streaming()));
                }
            }
        }
        let found = PASSED.iter().map(|(path, kind)| ((*path).to_owned(), *kind == Kind::Stream));
        assert_eq!(found.collect::<BTreeSet<_>>(), expected);
    }
}
