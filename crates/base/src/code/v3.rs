//! The errors of the v3 API (etcd 3.6): text and gRPC code of each.

/// A status code of gRPC, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Grpc {
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Grpc {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The HTTP status that the JSON gateway answers with.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::ResourceExhausted => 429,
            Self::Canceled => 499,
            Self::Unknown | Self::Internal | Self::DataLoss => 500,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }
}

/// The table: the name of each row, its gRPC code, and its text to the letter.
macro_rules! table {
    ($($name:ident $grpc:ident $text:literal)*) => {
        /// Why a request through v3 is refused, as clients see it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the texts say it")]
        pub enum Refused {
            $($name,)*
        }

        impl Refused {
            /// All rows.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The message on the wire.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The status code on the wire.
            pub const fn grpc(self) -> Grpc {
                match self {
                    $(Self::$name => Grpc::$grpc,)*
                }
            }
        }
    };
}

table! {
    // Keys.
    EmptyKey InvalidArgument "etcdserver: key is not provided"
    KeyNotFound InvalidArgument "etcdserver: key not found"
    ValueProvided InvalidArgument "etcdserver: value is provided"
    LeaseProvided InvalidArgument "etcdserver: lease is provided"
    TooManyOps InvalidArgument "etcdserver: too many operations in txn request"
    DuplicateKey InvalidArgument "etcdserver: duplicate key given in txn request"
    InvalidClientApiVersion InvalidArgument "etcdserver: invalid client api version"
    InvalidSortOption InvalidArgument "etcdserver: invalid sort option"
    Compacted OutOfRange "etcdserver: mvcc: required revision has been compacted"
    FutureRevision OutOfRange "etcdserver: mvcc: required revision is a future revision"
    NoSpace ResourceExhausted "etcdserver: mvcc: database space exceeded"
    StreamSorted Unimplemented "RangeStream does not support custom sort orders"
    StreamFiltered Unimplemented "RangeStream does not support revision filters"

    // Leases.
    LeaseNotFound NotFound "etcdserver: requested lease not found"
    LeaseExists FailedPrecondition "etcdserver: lease already exists"
    LeaseTtlTooLarge OutOfRange "etcdserver: too large lease TTL"
    NotPrimary Unknown "not a primary lessor"

    // Members.
    MemberExists FailedPrecondition "etcdserver: member ID already exist"
    PeerUrlExists FailedPrecondition "etcdserver: Peer URLs already exists"
    MemberNotEnoughStarted FailedPrecondition
        "etcdserver: re-configuration failed due to not enough started members"
    MemberBadUrls InvalidArgument "etcdserver: given member URLs are invalid"
    MemberNotFound NotFound "etcdserver: member not found"
    MemberNotLearner FailedPrecondition "etcdserver: can only promote a learner member"
    LearnerNotReady FailedPrecondition
        "etcdserver: can only promote a learner member which is in sync with leader"
    TooManyLearners FailedPrecondition "etcdserver: too many learner members in cluster"

    // Overload.
    RequestTooLarge InvalidArgument "etcdserver: request is too large"
    // Ours: the original would need the memory.
    AnswerTooLarge ResourceExhausted "etcdserver: answer is too large"
    TooManyAnswers ResourceExhausted
        "etcdserver: too many large answers are under way: read those that were asked for, ask for less \
         at once (limit), or ask again later"
    TooManyRequests ResourceExhausted "etcdserver: too many requests"

    // Users and roles.
    RootUserNotExist FailedPrecondition "etcdserver: root user does not exist"
    RootRoleNotExist FailedPrecondition "etcdserver: root user does not have root role"
    UserAlreadyExist FailedPrecondition "etcdserver: user name already exists"
    UserEmpty InvalidArgument "etcdserver: user name is empty"
    UserNotFound FailedPrecondition "etcdserver: user name not found"
    RoleAlreadyExist FailedPrecondition "etcdserver: role name already exists"
    RoleNotFound FailedPrecondition "etcdserver: role name not found"
    RoleEmpty InvalidArgument "etcdserver: role name is empty"
    AuthFailed InvalidArgument
        "etcdserver: authentication failed, invalid user ID or password"
    NoPasswordUser Unknown
        "auth: authentication failed, password was given for no password user"
    PermissionNotGiven InvalidArgument "etcdserver: permission not given"
    PermissionDenied PermissionDenied "etcdserver: permission denied"
    RoleNotGranted FailedPrecondition "etcdserver: role is not granted to the user"
    PermissionNotGranted FailedPrecondition
        "etcdserver: permission is not granted to the role"
    AuthNotEnabled FailedPrecondition "etcdserver: authentication is not enabled"
    InvalidAuthToken Unauthenticated "etcdserver: invalid auth token"
    InvalidAuthMgmt InvalidArgument "etcdserver: invalid auth management"
    AuthOldRevision InvalidArgument "etcdserver: revision of auth store is old"

    // The cluster.
    NoLeader Unavailable "etcdserver: no leader"
    LeaderChanged Unavailable "etcdserver: leader changed"
    NotLeader FailedPrecondition "etcdserver: not leader"
    NotCapable FailedPrecondition "etcdserver: not capable"
    Stopped Unavailable "etcdserver: server stopped"
    Timeout Unavailable "etcdserver: request timed out"
    TimeoutLeaderFail Unavailable
        "etcdserver: request timed out, possibly due to previous leader failure"
    TimeoutConnectionLost Unavailable
        "etcdserver: request timed out, possibly due to connection lost"
    TimeoutWaitAppliedIndex Unavailable
        "etcdserver: request timed out, waiting for the applied index took too long"
    TimeoutLeaderTransfer Unknown
        "etcdserver: request timed out, leader transfer took too long"
    Unhealthy Unavailable "etcdserver: unhealthy cluster"
    Corrupt DataLoss "etcdserver: corrupt cluster"
    NotSupportedForLearner FailedPrecondition "etcdserver: rpc not supported for learner"
    BadLeaderTransferee FailedPrecondition "etcdserver: bad leader transferee"

    // Downgrades.
    WrongDowngradeVersionFormat InvalidArgument
        "etcdserver: wrong downgrade target version format"
    InvalidDowngradeTargetVersion InvalidArgument
        "etcdserver: invalid downgrade target version"
    ClusterVersionUnavailable FailedPrecondition
        "etcdserver: cluster version not found during downgrade"
    DowngradeInProcess FailedPrecondition
        "etcdserver: cluster has a downgrade job in progress"
    NoInflightDowngrade FailedPrecondition "etcdserver: no inflight downgrade job"

    // The client's own end.
    Canceled Canceled "etcdserver: request canceled"
    // Not in etcd's table: a server of etcd hands on what its runtime says.
    DeadlineExceeded DeadlineExceeded "context deadline exceeded"
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests;
