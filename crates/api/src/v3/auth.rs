//! `etcdserverpb.Auth`: the answers of a cluster without users, until they come.

use std::sync::Arc;

use base::Refused;
use proto::etcdserverpb::{
    AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
    AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
    AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
    AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
    AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest,
    AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
    AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse,
    AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest, AuthUserGrantRoleResponse,
    AuthUserListRequest, AuthUserListResponse, AuthUserRevokeRoleRequest,
    AuthUserRevokeRoleResponse, AuthenticateRequest, AuthenticateResponse,
};
use tonic::{Request, Response, Status};

use super::{
    failure::{status, unserved},
    generated::etcdserverpb::auth_server,
    header,
};
use crate::context::Context;

/// Where the original begins.
const REVISION: u64 = 1;

pub(crate) struct Auth(pub(crate) Arc<Context>);

impl Auth {
    /// What is not there is asked of the cluster, not of one member.
    async fn barrier(&self) -> Result<(), Status> {
        self.0.handle.read_barrier().await.map_err(unserved)
    }
}

/// What each call is refused with where there are no users and no roles. Those that would make the
/// first one are not there yet.
macro_rules! refused {
    ($($method:ident($request:ty) -> $response:ty: $why:expr;)*) => {
        /// An answer, or its absence.
        type Answer<T> = Result<Response<T>, Status>;

        #[tonic::async_trait]
        impl auth_server::Auth for Auth {
            async fn auth_status(
                &self,
                _: Request<AuthStatusRequest>,
            ) -> Answer<AuthStatusResponse> {
                self.barrier().await?;
                let header = Some(header::now(&self.0.handle));
                let answer =
                    AuthStatusResponse { header, enabled: false, auth_revision: REVISION };
                Ok(Response::new(answer))
            }

            /// As in etcd, it may be off already.
            async fn auth_disable(
                &self,
                _: Request<AuthDisableRequest>,
            ) -> Answer<AuthDisableResponse> {
                self.barrier().await?;
                let header = Some(header::now(&self.0.handle));
                Ok(Response::new(AuthDisableResponse { header }))
            }

            async fn user_list(
                &self,
                _: Request<AuthUserListRequest>,
            ) -> Answer<AuthUserListResponse> {
                self.barrier().await?;
                let header = Some(header::now(&self.0.handle));
                Ok(Response::new(AuthUserListResponse { header, users: Vec::new() }))
            }

            async fn role_list(
                &self,
                _: Request<AuthRoleListRequest>,
            ) -> Answer<AuthRoleListResponse> {
                self.barrier().await?;
                let header = Some(header::now(&self.0.handle));
                Ok(Response::new(AuthRoleListResponse { header, roles: Vec::new() }))
            }

            $(async fn $method(&self, request: Request<$request>) -> Answer<$response> {
                let why: fn(&$request) -> Status = $why;
                let why = why(request.get_ref());
                self.barrier().await?;
                Err(why)
            })*
        }
    };
}

refused! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse: |_| status(Refused::RootUserNotExist);
    authenticate(AuthenticateRequest) -> AuthenticateResponse: |_| status(Refused::AuthNotEnabled);
    user_add(AuthUserAddRequest) -> AuthUserAddResponse:
        |request| none_yet(request.name.is_empty().then_some(Refused::UserEmpty));
    user_get(AuthUserGetRequest) -> AuthUserGetResponse: |_| status(Refused::UserNotFound);
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse:
        |_| status(Refused::UserNotFound);
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse:
        |_| status(Refused::UserNotFound);
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse:
        |_| status(Refused::UserNotFound);
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse:
        |_| status(Refused::UserNotFound);
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse:
        |request| none_yet(request.name.is_empty().then_some(Refused::RoleEmpty));
    role_get(AuthRoleGetRequest) -> AuthRoleGetResponse: |_| status(Refused::RoleNotFound);
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse:
        |_| status(Refused::RoleNotFound);
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse:
        |request| status(match request.perm {
            None => Refused::PermissionNotGiven,
            Some(_) => Refused::RoleNotFound,
        });
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse:
        |_| status(Refused::RoleNotFound);
}

fn none_yet(wrong: Option<Refused>) -> Status {
    let text = "etcdserver: users and roles are not supported yet: they come with a later version";
    wrong.map_or_else(|| Status::unimplemented(text), status)
}
