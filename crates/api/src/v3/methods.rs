//! The methods of all services, by path.

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

    pub(crate) fn is_unary(&self) -> bool {
        self.kind == Kind::Unary
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
