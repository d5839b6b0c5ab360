//! Users, roles and tokens through v3. Texts are those of etcd 3.5 and 3.6.

use std::time::Duration;

use proto::{
    authpb::{Permission, UserAddOptions, permission::Type},
    etcdserverpb::{
        AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
        AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
        AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
        AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
        AuthStatusRequest, AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse,
        AuthUserChangePasswordRequest, AuthUserChangePasswordResponse, AuthUserDeleteRequest,
        AuthUserDeleteResponse, AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest,
        AuthUserGrantRoleResponse, AuthUserListRequest, AuthUserListResponse, AuthenticateRequest,
        AuthenticateResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    },
};

use crate::{
    client::{Client, Failed, refused},
    member::Member,
};

/// A call of the service, by its method's and its messages' names.
macro_rules! call {
    ($client:expr, $method:literal, $answer:ty, $request:expr) => {
        $client.call::<_, $answer>(concat!("/etcdserverpb.Auth/", $method), &$request)
    };
    ($client:expr, $token:expr, $method:literal, $answer:ty, $request:expr) => {
        $client.call_with::<_, $answer>(
            &[("token", $token.as_bytes())],
            concat!("/etcdserverpb.Auth/", $method),
            &$request,
        )
    };
}

/// A member whose passwords take no time.
pub(crate) fn member() -> Member {
    let auth = api::AuthConfig { bcrypt_cost: 4, ..api::AuthConfig::default() };
    Member::start_with(api::Config { auth, ..api::Config::default() })
}

pub(crate) fn add_user(client: &Client, token: &str, name: &str) {
    let (name, password) = (name.to_owned(), format!("{name}pw"));
    let add = AuthUserAddRequest { name, password, ..AuthUserAddRequest::default() };
    call!(client, token, "UserAdd", AuthUserAddResponse, add).unwrap();
}

pub(crate) fn grant_role(client: &Client, token: &str, user: &str, role: &str) {
    let grant = AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
    call!(client, token, "UserGrantRole", AuthUserGrantRoleResponse, grant).unwrap();
}

pub(crate) fn grant(client: &Client, token: &str, role: &str, kind: Type, keys: (&str, &str)) {
    let perm = Permission {
        perm_type: kind.into(),
        key: keys.0.to_owned().into(),
        range_end: keys.1.to_owned().into(),
    };
    let name = role.to_owned();
    let add = AuthRoleAddRequest { name: name.clone() };
    drop(call!(client, token, "RoleAdd", AuthRoleAddResponse, add));
    let grant = AuthRoleGrantPermissionRequest { name, perm: Some(perm) };
    call!(client, token, "RoleGrantPermission", AuthRoleGrantPermissionResponse, grant).unwrap();
}

/// Makes the root user, enables, and gives its token.
pub(crate) fn enable(client: &Client) -> String {
    add_user(client, "", "root");
    grant_role(client, "", "root", "root");
    call!(client, "AuthEnable", AuthEnableResponse, AuthEnableRequest {}).unwrap();
    log_in(client, "root").unwrap()
}

pub(crate) fn log_in(client: &Client, name: &str) -> Result<String, Failed> {
    log_in_with(client, name, &format!("{name}pw"))
}

fn log_in_with(client: &Client, name: &str, password: &str) -> Result<String, Failed> {
    let asked = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
    let answer = call!(client, "Authenticate", AuthenticateResponse, asked)?;
    Ok(answer.token)
}

fn put(client: &Client, token: &str, key: &str) -> Result<PutResponse, Failed> {
    let put = PutRequest { key: key.to_owned().into(), ..PutRequest::default() };
    client.call_with(&[("token", token.as_bytes())], "/etcdserverpb.KV/Put", &put)
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
    let deleted = call!(client, "UserDelete", AuthUserDeleteResponse, asked);
    refused(deleted, 9, "etcdserver: user name not found");
    let role = call!(client, "RoleGet", AuthRoleGetResponse, AuthRoleGetRequest { role: name() });
    refused(role, 9, "etcdserver: role name not found");
    let asked = AuthRoleDeleteRequest { role: name() };
    let deleted = call!(client, "RoleDelete", AuthRoleDeleteResponse, asked);
    refused(deleted, 9, "etcdserver: role name not found");
    let asked = AuthRoleGrantPermissionRequest { name: name(), perm: None };
    refused(
        call!(client, "RoleGrantPermission", AuthRoleGrantPermissionResponse, asked),
        3,
        "etcdserver: permission not given",
    );
    let nobody = AuthUserAddRequest::default();
    let empty = "etcdserver: user name is empty";
    refused(call!(client, "UserAdd", AuthUserAddResponse, nobody), 3, empty);
    let empty = "etcdserver: role name is empty";
    let nothing = AuthRoleAddRequest::default();
    refused(call!(client, "RoleAdd", AuthRoleAddResponse, nothing), 3, empty);
}

#[test]
fn who_has_logged_in_may_do_what_its_roles_say() {
    let member = member();
    let client = Client::connect(&member);
    add_user(&client, "", "alice");
    grant(&client, "", "pears", Type::Readwrite, ("pear", "peas"));
    grant_role(&client, "", "alice", "pears");
    let root = enable(&client);
    let status = call!(client, root, "AuthStatus", AuthStatusResponse, AuthStatusRequest {});
    assert!(status.unwrap().enabled);
    let alice = log_in(&client, "alice").unwrap();
    let (secret, index) = alice.split_once('.').unwrap();
    assert!(secret.len() == 16 && secret.bytes().all(|byte| byte.is_ascii_alphabetic()));
    assert!(index.parse::<u64>().is_ok());
    put(&client, &alice, "pear").unwrap();
    put(&client, &format!("Bearer {alice}"), "pear").unwrap();
    refused(put(&client, &alice, "apple"), 7, "etcdserver: permission denied");
    put(&client, &root, "apple").unwrap();
    let none = client.call::<_, PutResponse>(
        "/etcdserverpb.KV/Put",
        &PutRequest { key: "pear".into(), ..PutRequest::default() },
    );
    refused(none, 3, "etcdserver: user name is empty");
    for token in ["", "x", "x.1", "aaaaaaaaaaaaaaaa.3", "x.18446744073709551615", &root[1..]] {
        refused(put(&client, token, "pear"), 16, "etcdserver: invalid auth token");
    }
    // Under the other name that etcd takes.
    let asked = RangeRequest { key: "pear".into(), ..RangeRequest::default() };
    let metadata = [("authorization", alice.as_bytes())];
    let found = client.call_with::<_, RangeResponse>(&metadata, "/etcdserverpb.KV/Range", &asked);
    assert_eq!(found.unwrap().count, 1);
    // A permission that is taken back counts at once.
    let delete = AuthRoleDeleteRequest { role: "pears".to_owned() };
    call!(client, root, "RoleDelete", AuthRoleDeleteResponse, delete).unwrap();
    refused(put(&client, &alice, "pear"), 7, "etcdserver: permission denied");
}

#[test]
fn passwords_let_in_until_they_are_changed() {
    let member = member();
    let client = Client::connect(&member);
    add_user(&client, "", "alice");
    let no_password = Some(UserAddOptions { no_password: true });
    let add =
        AuthUserAddRequest { name: "cert".to_owned(), options: no_password, ..<_>::default() };
    call!(client, "UserAdd", AuthUserAddResponse, add).unwrap();
    let root = enable(&client);
    let wrong = "etcdserver: authentication failed, invalid user ID or password";
    refused(log_in_with(&client, "alice", "rootpw"), 3, wrong);
    refused(log_in_with(&client, "alice", ""), 3, wrong);
    refused(log_in(&client, "nobody"), 3, wrong);
    let none = "auth: authentication failed, password was given for no password user";
    refused(log_in(&client, "cert"), 2, none);
    let alice = log_in(&client, "alice").unwrap();
    let own = AuthUserGetRequest { name: "alice".to_owned() };
    call!(client, alice, "UserGet", AuthUserGetResponse, own).unwrap();
    let change = AuthUserChangePasswordRequest {
        name: "alice".to_owned(),
        password: "other".to_owned(),
        ..AuthUserChangePasswordRequest::default()
    };
    let denied = call!(client, alice, "UserChangePassword", AuthUserChangePasswordResponse, change);
    refused(denied, 7, "etcdserver: permission denied");
    call!(client, root, "UserChangePassword", AuthUserChangePasswordResponse, change).unwrap();
    let own = AuthUserGetRequest { name: "alice".to_owned() };
    let asked = call!(client, alice, "UserGet", AuthUserGetResponse, own);
    refused(asked, 16, "etcdserver: invalid auth token");
    refused(log_in(&client, "alice"), 3, wrong);
    log_in_with(&client, "alice", "other").unwrap();
    let long = AuthUserAddRequest {
        name: "long".to_owned(),
        password: "x".repeat(73),
        ..AuthUserAddRequest::default()
    };
    let refusal = call!(client, root, "UserAdd", AuthUserAddResponse, long);
    refused(refusal, 2, "bcrypt: password length exceeds 72 bytes");
    call!(client, root, "AuthDisable", AuthDisableResponse, AuthDisableRequest {}).unwrap();
    put(&client, &alice, "any").unwrap();
}

#[test]
fn a_token_that_nobody_uses_ends() {
    let auth = api::AuthConfig {
        bcrypt_cost: 4,
        token_ttl: Duration::from_millis(200),
        ..api::AuthConfig::default()
    };
    let member = Member::start_with(api::Config { auth, ..api::Config::default() });
    let client = Client::connect(&member);
    let root = enable(&client);
    crate::member::eventually("the token ends", || {
        std::thread::sleep(Duration::from_millis(250));
        put(&client, &root, "a").is_err()
    });
    refused(put(&client, &root, "a"), 16, "etcdserver: invalid auth token");
}

#[test]
fn jwts_are_good_until_users_change() {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../tls/testdata/jws");
    let options = |public: Option<&str>, private: Option<&str>| api::JwtOptions {
        sign_method: "ES256".to_owned(),
        public_key: public.map(|name| format!("{keys}/{name}").into()),
        private_key: private.map(|name| format!("{keys}/{name}").into()),
        ttl: Duration::from_mins(5),
    };
    let start = |options| {
        let tokens = api::Tokens::Jwt(api::Jwt::load(&options).unwrap());
        let auth = api::AuthConfig { bcrypt_cost: 4, tokens, ..api::AuthConfig::default() };
        Member::start_with(api::Config { auth, ..api::Config::default() })
    };
    let member = start(options(None, Some("p256.pem")));
    let client = Client::connect(&member);
    let root = enable(&client);
    assert_eq!(root.split('.').count(), 3);
    put(&client, &root, "a").unwrap();
    put(&client, &format!("Bearer {root}"), "a").unwrap();
    add_user(&client, &root, "alice");
    refused(put(&client, &root, "a"), 3, "etcdserver: revision of auth store is old");
    let alice = log_in(&client, "alice").unwrap();
    refused(put(&client, &alice, "a"), 7, "etcdserver: permission denied");
    let root = log_in(&client, "root").unwrap();
    put(&client, &root, "a").unwrap();
    // Whoever was deleted is nobody, though his token is signed and its time not over.
    let delete = AuthUserDeleteRequest { name: "alice".to_owned() };
    call!(client, root, "UserDelete", AuthUserDeleteResponse, delete).unwrap();
    add_user(&client, &root, "alice");
    refused(put(&client, &alice, "a"), 16, "etcdserver: invalid auth token");
    refused(put(&client, "x.3", "a"), 16, "etcdserver: invalid auth token");

    let verifier = start(options(Some("p256.pub.pem"), None));
    let client = Client::connect(&verifier);
    add_user(&client, "", "root");
    grant_role(&client, "", "root", "root");
    call!(client, "AuthEnable", AuthEnableResponse, AuthEnableRequest {}).unwrap();
    let text = "auth: token signing attempted with verify-only key";
    refused(log_in(&client, "root"), 2, text);
    // The other has signed it, at an auth revision that is none of the past here.
    put(&client, &root, "a").unwrap();
}
