//! Every call that is one request and one answer.

use proto::{
    Message as _,
    etcdserverpb::{
        AlarmRequest, AlarmResponse, AuthDisableRequest, AuthDisableResponse, AuthEnableRequest,
        AuthEnableResponse, AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest,
        AuthRoleDeleteResponse, AuthRoleGetRequest, AuthRoleGetResponse,
        AuthRoleGrantPermissionRequest, AuthRoleGrantPermissionResponse, AuthRoleListRequest,
        AuthRoleListResponse, AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse,
        AuthStatusRequest, AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse,
        AuthUserChangePasswordRequest, AuthUserChangePasswordResponse, AuthUserDeleteRequest,
        AuthUserDeleteResponse, AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest,
        AuthUserGrantRoleResponse, AuthUserListRequest, AuthUserListResponse,
        AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse, AuthenticateRequest,
        AuthenticateResponse, CompactionRequest, CompactionResponse, DefragmentRequest,
        DefragmentResponse, DeleteRangeRequest, DeleteRangeResponse, DowngradeRequest,
        DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse,
        LeaseGrantRequest, LeaseGrantResponse, LeaseLeasesRequest, LeaseLeasesResponse,
        LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
        MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse, MoveLeaderRequest, MoveLeaderResponse,
        PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest, StatusResponse,
        TxnRequest, TxnResponse,
    },
};

use super::{
    client::Client,
    error::Error,
    generated::etcdserverpb::{
        auth_client::AuthClient, cluster_client::ClusterClient, kv_client::KvClient,
        lease_client::LeaseClient, maintenance_client::MaintenanceClient,
    },
    round::Policy,
};

/// A service's client on a channel, which takes what the channel may.
macro_rules! service {
    ($service:ident, $channel:ident) => {{
        let (origin, limit) = ($channel.origin.clone(), $channel.answer_bytes_max);
        $service::with_origin($channel, origin)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX)
    }};
}
pub(super) use service;

/// One line for each call: its service, name, request, answer and [`Policy`].
macro_rules! calls {
    ($($service:ident . $name:ident ($request:ident) -> $answer:ident, $policy:ident;)*) => {
        #[allow(missing_docs, reason = "each is documented where it is served")]
        impl Client {
            $(pub async fn $name(&self, request: $request) -> Result<$answer, Error> {
                self.check_size(request.encoded_len())?;
                self.carry_out(Policy::$policy, |channel| {
                    let request = request.clone();
                    async move { service!($service, channel).$name(request).await }
                })
                .await
            })*
        }
    };
}

calls! {
    KvClient.range(RangeRequest) -> RangeResponse, Repeatable;
    KvClient.put(PutRequest) -> PutResponse, Once;
    KvClient.delete_range(DeleteRangeRequest) -> DeleteRangeResponse, Once;
    KvClient.txn(TxnRequest) -> TxnResponse, Once;
    KvClient.compact(CompactionRequest) -> CompactionResponse, Once;

    // clientv3 repeats these two: a grant may then leave a lease behind that nobody knows of, and a
    // revocation say that there is none.
    LeaseClient.lease_grant(LeaseGrantRequest) -> LeaseGrantResponse, Once;
    LeaseClient.lease_revoke(LeaseRevokeRequest) -> LeaseRevokeResponse, Once;
    LeaseClient.lease_time_to_live(LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse, Repeatable;
    LeaseClient.lease_leases(LeaseLeasesRequest) -> LeaseLeasesResponse, Repeatable;

    ClusterClient.member_add(MemberAddRequest) -> MemberAddResponse, Once;
    ClusterClient.member_remove(MemberRemoveRequest) -> MemberRemoveResponse, Once;
    ClusterClient.member_update(MemberUpdateRequest) -> MemberUpdateResponse, Once;
    ClusterClient.member_list(MemberListRequest) -> MemberListResponse, Repeatable;
    ClusterClient.member_promote(MemberPromoteRequest) -> MemberPromoteResponse, Once;

    MaintenanceClient.alarm(AlarmRequest) -> AlarmResponse, Repeatable;
    MaintenanceClient.status(StatusRequest) -> StatusResponse, Repeatable;
    MaintenanceClient.defragment(DefragmentRequest) -> DefragmentResponse, Once;
    MaintenanceClient.hash(HashRequest) -> HashResponse, Repeatable;
    MaintenanceClient.hash_kv(HashKvRequest) -> HashKvResponse, Repeatable;
    MaintenanceClient.move_leader(MoveLeaderRequest) -> MoveLeaderResponse, Repeatable;
    MaintenanceClient.downgrade(DowngradeRequest) -> DowngradeResponse, Once;

    AuthClient.auth_enable(AuthEnableRequest) -> AuthEnableResponse, Once;
    AuthClient.auth_disable(AuthDisableRequest) -> AuthDisableResponse, Once;
    AuthClient.auth_status(AuthStatusRequest) -> AuthStatusResponse, Repeatable;
    AuthClient.authenticate(AuthenticateRequest) -> AuthenticateResponse, WithoutToken;
    AuthClient.user_add(AuthUserAddRequest) -> AuthUserAddResponse, Once;
    AuthClient.user_get(AuthUserGetRequest) -> AuthUserGetResponse, Repeatable;
    AuthClient.user_list(AuthUserListRequest) -> AuthUserListResponse, Repeatable;
    AuthClient.user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse, Once;
    AuthClient.user_change_password(AuthUserChangePasswordRequest)
        -> AuthUserChangePasswordResponse, Once;
    AuthClient.user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse, Once;
    AuthClient.user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse, Once;
    AuthClient.role_add(AuthRoleAddRequest) -> AuthRoleAddResponse, Once;
    AuthClient.role_get(AuthRoleGetRequest) -> AuthRoleGetResponse, Repeatable;
    AuthClient.role_list(AuthRoleListRequest) -> AuthRoleListResponse, Repeatable;
    AuthClient.role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse, Once;
    AuthClient.role_grant_permission(AuthRoleGrantPermissionRequest)
        -> AuthRoleGrantPermissionResponse, Once;
    AuthClient.role_revoke_permission(AuthRoleRevokePermissionRequest)
        -> AuthRoleRevokePermissionResponse, Once;
}

impl Client {
    /// A transaction that may be carried out twice without harm.
    pub async fn txn_repeatable(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        self.check_size(request.encoded_len())?;
        self.carry_out(Policy::Repeatable, |channel| {
            let request = request.clone();
            async move { service!(KvClient, channel).txn(request).await }
        })
        .await
    }
}
