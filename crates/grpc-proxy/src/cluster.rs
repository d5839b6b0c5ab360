//! `etcdserverpb.Cluster`: clients that look for the members find the proxies.

use std::sync::Arc;

use client::v3::Client;
use proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};
use tonic::{Request, Response, Status};

use crate::{
    behalf,
    failure::status,
    generated::etcdserverpb::cluster_server,
    registry::{Registry, hostname},
};

pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// `--advertise-client-url`; empty: clients are told of the members.
    pub(crate) address: String,
    /// With `--resolver-prefix`.
    pub(crate) registry: Option<Arc<Registry>>,
}

impl Cluster {
    /// Who serves instead of the members; `None`: nobody.
    fn proxies(&self) -> Option<Vec<Member>> {
        if self.address.is_empty() {
            return None;
        }
        let registered = self.registry.as_ref().map(|registry| registry.members());
        Some(registered.filter(|members| !members.is_empty()).unwrap_or_else(|| {
            let (name, client_ur_ls) = (hostname(), vec![self.address.clone()]);
            vec![Member { name, client_ur_ls, ..Member::default() }]
        }))
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let answer = client.member_add(request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let answer = client.member_remove(request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let answer = client.member_update(request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if let Some(members) = self.proxies() {
            return Ok(Response::new(MemberListResponse { members, ..Default::default() }));
        }
        let client = behalf::client(&self.client, request.metadata());
        let answer = client.member_list(request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let answer = client.member_promote(request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }
}
