//! `etcdserverpb.Auth`: users, roles, permissions, and logging in.
//!
//! What only asks is answered from this member, once it has applied all that was acknowledged.

use std::sync::Arc;

use base::Refused;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use proto::{
    authpb::{Permission, permission::Type},
    command::{
        Auth as Command, AuthChange, By, Named, Nothing, Op, RoleGrant, RoleRevoke, UserAdd,
        UserPassword, UserRole,
    },
    etcdserverpb::{
        AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
        AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
        AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
        AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
        AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest,
        AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
        AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse,
        AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest,
        AuthUserGrantRoleResponse, AuthUserListRequest, AuthUserListResponse,
        AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse, AuthenticateRequest,
        AuthenticateResponse, ResponseHeader,
    },
};
use state::auth::{self, ROOT};
use tonic::{Request, Response, Status};

use super::{
    failure::{status, unserved},
    generated::etcdserverpb::auth_server,
    header,
    kv::write,
};
use crate::{
    auth::{Asker, password_error},
    context::Context,
};

pub(crate) struct Auth(pub(crate) Arc<Context>);

/// An answer, or its absence.
type Answer<T> = Result<Response<T>, Status>;

impl Auth {
    fn header(&self) -> ResponseHeader {
        header::now(&self.0.handle)
    }

    /// Carries a change out on all members.
    async fn change(&self, asker: &Asker, change: AuthChange) -> Result<ResponseHeader, Status> {
        write(&self.0, asker, Op::Auth(Command { change: Some(change) })).await?;
        Ok(self.header())
    }

    /// What somebody may look at who may do everything, or who fits.
    async fn look(
        &self,
        asker: &Asker,
        fits: impl Fn(&auth::Auth, &str) -> bool,
    ) -> Result<Arc<auth::Auth>, Status> {
        self.0.handle.read_barrier().await.map_err(unserved)?;
        let fits = |auth: &auth::Auth, by: Option<&By>| {
            let admin = auth.is_admin(by);
            let is_known = auth.identified(by).is_ok();
            if is_known && by.is_some_and(|by| fits(auth, &by.user)) { Ok(()) } else { admin }
        };
        asker.may(&self.0, fits).await?;
        Ok(self.0.handle.reader().auth())
    }

    async fn hash(&self, user: &str, password: &str) -> Result<Bytes, Status> {
        self.0.auth.passwords.hash(user, password).await.map_err(password_error)
    }
}

#[tonic::async_trait]
impl auth_server::Auth for Auth {
    async fn auth_enable(&self, request: Request<AuthEnableRequest>) -> Answer<AuthEnableResponse> {
        let header = self.change(&Asker::of(&request), AuthChange::Enable(Nothing {})).await?;
        Ok(Response::new(AuthEnableResponse { header: Some(header) }))
    }

    async fn auth_disable(
        &self,
        request: Request<AuthDisableRequest>,
    ) -> Answer<AuthDisableResponse> {
        let header = self.change(&Asker::of(&request), AuthChange::Disable(Nothing {})).await?;
        Ok(Response::new(AuthDisableResponse { header: Some(header) }))
    }

    async fn auth_status(&self, request: Request<AuthStatusRequest>) -> Answer<AuthStatusResponse> {
        let auth = self.look(&Asker::of(&request), |_, _| false).await?;
        let (enabled, auth_revision) = (auth.is_enabled(), auth.revision());
        let header = Some(self.header());
        Ok(Response::new(AuthStatusResponse { header, enabled, auth_revision }))
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Answer<AuthenticateResponse> {
        let asker = Asker::of(&request);
        let AuthenticateRequest { name, password } = request.into_inner();
        asker.note(|trail| trail.claims(&name));
        let token = self.0.auth.log_in(&self.0, (&name, &asker.applicant()), &password).await;
        asker.note(|trail| match &token {
            Ok(_) => trail.is_by(Some(&By { user: name, auth_revision: 0 })),
            Err(status) => trail.refuses(status.message()),
        });
        let token = token?;
        Ok(Response::new(AuthenticateResponse { header: Some(self.header()), token }))
    }

    async fn user_add(&self, request: Request<AuthUserAddRequest>) -> Answer<AuthUserAddResponse> {
        let asker = Asker::of(&request);
        asker.note(|trail| trail.user(&request.get_ref().name));
        // Hashing costs as much as a hundred writes.
        asker.may_change_users(&self.0).await?;
        let AuthUserAddRequest { name, password, options, .. } = request.into_inner();
        let password_hash = if options.is_some_and(|options| options.no_password) {
            None
        } else {
            Some(self.hash(&name, &password).await?)
        };
        let add = AuthChange::UserAdd(UserAdd { name, password_hash });
        let header = self.change(&asker, add).await?;
        Ok(Response::new(AuthUserAddResponse { header: Some(header) }))
    }

    /// Everybody may look at himself.
    async fn user_get(&self, request: Request<AuthUserGetRequest>) -> Answer<AuthUserGetResponse> {
        let name = &request.get_ref().name;
        let asker = Asker::of(&request);
        asker.note(|trail| trail.user(name));
        let auth = self.look(&asker, |_, own| own == name).await?;
        let user = auth.user(name).ok_or_else(|| status(Refused::UserNotFound))?;
        let (header, roles) = (Some(self.header()), user.roles.iter().cloned().collect());
        Ok(Response::new(AuthUserGetResponse { header, roles }))
    }

    async fn user_list(
        &self,
        request: Request<AuthUserListRequest>,
    ) -> Answer<AuthUserListResponse> {
        let auth = self.look(&Asker::of(&request), |_, _| false).await?;
        let (header, users) = (Some(self.header()), auth.users().map(str::to_owned).collect());
        Ok(Response::new(AuthUserListResponse { header, users }))
    }

    async fn user_delete(
        &self,
        request: Request<AuthUserDeleteRequest>,
    ) -> Answer<AuthUserDeleteResponse> {
        let asker = Asker::of(&request);
        let AuthUserDeleteRequest { name } = request.into_inner();
        let header = self.change(&asker, AuthChange::UserDelete(Named { name })).await?;
        Ok(Response::new(AuthUserDeleteResponse { header: Some(header) }))
    }

    async fn user_change_password(
        &self,
        request: Request<AuthUserChangePasswordRequest>,
    ) -> Answer<AuthUserChangePasswordResponse> {
        let asker = Asker::of(&request);
        asker.note(|trail| trail.user(&request.get_ref().name));
        asker.may_change_users(&self.0).await?;
        let AuthUserChangePasswordRequest { name, password, hashed_password } =
            request.into_inner();
        // As in the original, a client may bring the hash itself.
        let password_hash = if password.is_empty() {
            let given = BASE64_STANDARD.decode(hashed_password);
            let given = given.map_err(|_| status(Refused::NoPasswordUser))?;
            self.0.auth.passwords.accepts(&given).map_err(password_error)?;
            given.into()
        } else {
            self.hash(&name, &password).await?
        };
        let change = AuthChange::UserPassword(UserPassword { name, password_hash });
        let header = self.change(&asker, change).await?;
        Ok(Response::new(AuthUserChangePasswordResponse { header: Some(header) }))
    }

    async fn user_grant_role(
        &self,
        request: Request<AuthUserGrantRoleRequest>,
    ) -> Answer<AuthUserGrantRoleResponse> {
        let asker = Asker::of(&request);
        let AuthUserGrantRoleRequest { user, role } = request.into_inner();
        let header = self.change(&asker, AuthChange::UserGrant(UserRole { user, role })).await?;
        Ok(Response::new(AuthUserGrantRoleResponse { header: Some(header) }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<AuthUserRevokeRoleRequest>,
    ) -> Answer<AuthUserRevokeRoleResponse> {
        let asker = Asker::of(&request);
        let AuthUserRevokeRoleRequest { name, role } = request.into_inner();
        let revoke = AuthChange::UserRevoke(UserRole { user: name, role });
        let header = self.change(&asker, revoke).await?;
        Ok(Response::new(AuthUserRevokeRoleResponse { header: Some(header) }))
    }

    async fn role_add(&self, request: Request<AuthRoleAddRequest>) -> Answer<AuthRoleAddResponse> {
        let asker = Asker::of(&request);
        let AuthRoleAddRequest { name } = request.into_inner();
        let header = self.change(&asker, AuthChange::RoleAdd(Named { name })).await?;
        Ok(Response::new(AuthRoleAddResponse { header: Some(header) }))
    }

    /// Everybody may look at the roles that he has.
    async fn role_get(&self, request: Request<AuthRoleGetRequest>) -> Answer<AuthRoleGetResponse> {
        let name = &request.get_ref().role;
        let has_it = |auth: &auth::Auth, own: &str| {
            auth.user(own).is_some_and(|user| user.roles.contains(name))
        };
        let asker = Asker::of(&request);
        asker.note(|trail| trail.role(name));
        let auth = self.look(&asker, has_it).await?;
        let role = auth.role(name).ok_or_else(|| status(Refused::RoleNotFound))?;
        let perm = if name == ROOT { vec![all()] } else { role.permissions() };
        Ok(Response::new(AuthRoleGetResponse { header: Some(self.header()), perm }))
    }

    async fn role_list(
        &self,
        request: Request<AuthRoleListRequest>,
    ) -> Answer<AuthRoleListResponse> {
        let auth = self.look(&Asker::of(&request), |_, _| false).await?;
        let (header, roles) = (Some(self.header()), auth.roles().map(str::to_owned).collect());
        Ok(Response::new(AuthRoleListResponse { header, roles }))
    }

    async fn role_delete(
        &self,
        request: Request<AuthRoleDeleteRequest>,
    ) -> Answer<AuthRoleDeleteResponse> {
        let asker = Asker::of(&request);
        let AuthRoleDeleteRequest { role } = request.into_inner();
        let header = self.change(&asker, AuthChange::RoleDelete(Named { name: role })).await?;
        Ok(Response::new(AuthRoleDeleteResponse { header: Some(header) }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<AuthRoleGrantPermissionRequest>,
    ) -> Answer<AuthRoleGrantPermissionResponse> {
        let asker = Asker::of(&request);
        let AuthRoleGrantPermissionRequest { name, perm } = request.into_inner();
        let grant = AuthChange::RoleGrant(RoleGrant { role: name, permission: perm });
        let header = self.change(&asker, grant).await?;
        Ok(Response::new(AuthRoleGrantPermissionResponse { header: Some(header) }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<AuthRoleRevokePermissionRequest>,
    ) -> Answer<AuthRoleRevokePermissionResponse> {
        let asker = Asker::of(&request);
        let AuthRoleRevokePermissionRequest { role, key, range_end } = request.into_inner();
        let revoke = AuthChange::RoleRevoke(RoleRevoke { role, key, range_end });
        let header = self.change(&asker, revoke).await?;
        Ok(Response::new(AuthRoleRevokePermissionResponse { header: Some(header) }))
    }
}

/// What the role `root` permits, whatever stands in it.
fn all() -> Permission {
    let (key, range_end) = (Bytes::new(), Bytes::from_static(b"\0"));
    Permission { perm_type: Type::Readwrite.into(), key, range_end }
}
