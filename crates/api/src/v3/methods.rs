//! The methods of all services, by path.

use std::fmt;

/// A method, as gRPC names it: `/SERVICE/NAME`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ServerStream,
    BidiStream,
}

/// All of them, in order of services and names, made by `build.rs`.
pub(crate) const METHODS: &[Method] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

static NONE: Method = Method { service: "", name: "", kind: Kind::Unary };

impl Method {
    /// The method of this path, and its place in [`METHODS`]. The error is the original's text
    /// (grpc-go's).
    pub(crate) fn find(path: &str) -> Result<(usize, &'static Self), String> {
        let split = path.strip_prefix('/').unwrap_or(path).rsplit_once('/');
        let Some((service, name)) = split else {
            return Err(format!("malformed method name: {path:?}"));
        };
        let found = METHODS.binary_search_by(|one| (one.service, one.name).cmp(&(service, name)));
        let method = found.ok().and_then(|at| Some((at, METHODS.get(at)?)));
        method.ok_or_else(|| {
            if METHODS.iter().any(|one| one.service == service) {
                format!("unknown method {name} for service {service}")
            } else {
                format!("unknown service {service}")
            }
        })
    }

    /// The method that is called so in Rust, of the service of that name in its package. There is
    /// one.
    pub(crate) fn called(service: &str, method: &str) -> (usize, &'static Self) {
        let is_so = |one: &Self| {
            let of = one.service.rsplit_once('.').map_or("", |(_, name)| name);
            let name = method.split('_').collect::<String>();
            of.eq_ignore_ascii_case(service) && one.name.eq_ignore_ascii_case(&name)
        };
        let found = METHODS.iter().enumerate().find(|(_, one)| is_so(one));
        found.unwrap_or((usize::MAX, &NONE))
    }

    /// `/SERVICE/NAME`.
    pub(crate) fn path(&self) -> impl fmt::Display {
        struct Path(&'static str, &'static str);
        impl fmt::Display for Path {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "/{}/{}", self.0, self.1)
            }
        }
        Path(self.service, self.name)
    }

    pub(crate) fn is_unary(&self) -> bool {
        self.kind == Kind::Unary
    }

    /// Whether its calls write, all of them, and none of them ends a lease or makes room.
    pub(crate) fn writes(&self) -> bool {
        match self.service {
            "etcdserverpb.KV" => matches!(self.name, "Put" | "DeleteRange"),
            "etcdserverpb.Lease" => self.name == "LeaseGrant",
            _ => false,
        }
    }

    pub(crate) fn is_of(&self, service: &str) -> bool {
        self.service == service
    }

    pub(crate) fn is(&self, service: &str, name: &str) -> bool {
        self.service == service && self.name == name
    }
}

impl Kind {
    /// As metrics name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_paths() {
        for (at, method) in METHODS.iter().enumerate() {
            let path = format!("/{}/{}", method.service, method.name);
            assert_eq!(Method::find(&path), Ok((at, method)));
        }
        let kind = |path| Method::find(path).map(|(_, method)| method.kind);
        assert_eq!(kind("/etcdserverpb.KV/Put"), Ok(Kind::Unary));
        assert_eq!(kind("/etcdserverpb.Maintenance/Snapshot"), Ok(Kind::ServerStream));
        assert_eq!(kind("/etcdserverpb.Lease/LeaseKeepAlive"), Ok(Kind::BidiStream));
    }

    #[test]
    fn methods_are_found_by_their_names_in_rust() {
        let check = |service, method, expected: &str| {
            let (at, found) = Method::called(service, method);
            assert_eq!(format!("/{}/{}", found.service, found.name), expected);
            assert_eq!(METHODS.get(at), Some(found));
        };
        check("Kv", "range", "/etcdserverpb.KV/Range");
        check("Kv", "delete_range", "/etcdserverpb.KV/DeleteRange");
        check("Lease", "lease_time_to_live", "/etcdserverpb.Lease/LeaseTimeToLive");
        check("Lease", "lease_keep_alive", "/etcdserverpb.Lease/LeaseKeepAlive");
        check("Maintenance", "hash_kv", "/etcdserverpb.Maintenance/HashKV");
        check("Watch", "watch", "/etcdserverpb.Watch/Watch");
        check("Lock", "lock", "/v3lockpb.Lock/Lock");
        check("Election", "observe", "/v3electionpb.Election/Observe");
        check("Auth", "user_change_password", "/etcdserverpb.Auth/UserChangePassword");
    }

    /// Recorded from etcd 3.5 and from grpc-go.
    #[test]
    fn what_is_not_there_is_told_as_grpc_go_does() {
        let check = |path, expected: &str| {
            assert_eq!(Method::find(path).unwrap_err(), expected, "{path}");
        };
        check("/etcdserverpb.KV/Nope", "unknown method Nope for service etcdserverpb.KV");
        check("/nope.X/Y", "unknown service nope.X");
        check("/etcdserverpb.KV/", "unknown method  for service etcdserverpb.KV");
        check("/nope", "malformed method name: \"/nope\"");
        check("/", "malformed method name: \"/\"");
        check("", "malformed method name: \"\"");
        check("/a/b/c", "unknown service a/b");
    }
}
