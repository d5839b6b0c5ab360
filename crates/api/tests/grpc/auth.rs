//! What a cluster without users answers. Recorded from etcd 3.5.

use proto::etcdserverpb::{
    AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
    AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
    AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
    AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse, AuthStatusRequest,
    AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserDeleteRequest,
    AuthUserDeleteResponse, AuthUserGetRequest, AuthUserGetResponse, AuthUserListRequest,
    AuthUserListResponse, AuthenticateRequest, AuthenticateResponse,
};

use crate::{
    client::{Client, refused},
    member::Member,
};

/// A call of the service, by its method's and its messages' names.
macro_rules! call {
    ($client:expr, $method:literal, $answer:ty, $request:expr) => {
        $client.call::<_, $answer>(concat!("/etcdserverpb.Auth/", $method), &$request)
    };
}

#[test]
fn without_users_there_is_nobody_and_nothing_to_enable() {
    let member = Member::start();
    let client = Client::connect(&member);
    let status = call!(client, "AuthStatus", AuthStatusResponse, AuthStatusRequest {}).unwrap();
    assert_eq!((status.enabled, status.auth_revision), (false, 1));
    assert_eq!(status.header.unwrap().revision, 1);
    call!(client, "AuthDisable", AuthDisableResponse, AuthDisableRequest {}).unwrap();
    let users = call!(client, "UserList", AuthUserListResponse, AuthUserListRequest {}).unwrap();
    let roles = call!(client, "RoleList", AuthRoleListResponse, AuthRoleListRequest {}).unwrap();
    assert!(users.users.is_empty() && roles.roles.is_empty());
    let name = || "a".to_owned();
    let enabled = call!(client, "AuthEnable", AuthEnableResponse, AuthEnableRequest {});
    refused(enabled, 9, "etcdserver: root user does not exist");
    let asked = AuthenticateRequest { name: name(), password: name() };
    let authenticated = call!(client, "Authenticate", AuthenticateResponse, asked);
    refused(authenticated, 9, "etcdserver: authentication is not enabled");
    let user = call!(client, "UserGet", AuthUserGetResponse, AuthUserGetRequest { name: name() });
    refused(user, 9, "etcdserver: user name not found");
    let asked = AuthUserDeleteRequest { name: name() };
    refused(
        call!(client, "UserDelete", AuthUserDeleteResponse, asked),
        9,
        "etcdserver: user name not found",
    );
    let role = call!(client, "RoleGet", AuthRoleGetResponse, AuthRoleGetRequest { role: name() });
    refused(role, 9, "etcdserver: role name not found");
    let asked = AuthRoleDeleteRequest { role: name() };
    refused(
        call!(client, "RoleDelete", AuthRoleDeleteResponse, asked),
        9,
        "etcdserver: role name not found",
    );
    let asked = AuthRoleGrantPermissionRequest { name: name(), perm: None };
    refused(
        call!(client, "RoleGrantPermission", AuthRoleGrantPermissionResponse, asked),
        3,
        "etcdserver: permission not given",
    );
}

#[test]
fn users_and_roles_that_cannot_be_made_yet_are_refused_by_name() {
    let member = Member::start();
    let client = Client::connect(&member);
    let user = |name: &str| AuthUserAddRequest { name: name.to_owned(), ..Default::default() };
    let role = |name: &str| AuthRoleAddRequest { name: name.to_owned() };
    let yet = "etcdserver: users and roles are not supported yet: they come with a later version";
    refused(call!(client, "UserAdd", AuthUserAddResponse, user("a")), 12, yet);
    refused(call!(client, "RoleAdd", AuthRoleAddResponse, role("a")), 12, yet);
    let empty = "etcdserver: user name is empty";
    refused(call!(client, "UserAdd", AuthUserAddResponse, user("")), 3, empty);
    let empty = "etcdserver: role name is empty";
    refused(call!(client, "RoleAdd", AuthRoleAddResponse, role("")), 3, empty);
}
