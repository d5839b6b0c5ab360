//! The table of errors that clients see: one row each, with its exact text.
//!
//! Clients compare these texts: never reword one. v3's part grows with its API.

/// An error code of the v2 API (etcd 2.3.8), shown as `errorCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Code {
    KeyNotFound = 100,
    CompareFailed = 101,
    NotFile = 102,
    NotDir = 104,
    NodeExist = 105,
    RootReadOnly = 107,
    DirNotEmpty = 108,
    Unauthorized = 110,
    PrevValueRequired = 201,
    TtlNaN = 202,
    IndexNaN = 203,
    InvalidField = 209,
    InvalidForm = 210,
    RefreshValue = 211,
    RefreshTtlRequired = 212,
    RaftInternal = 300,
    LeaderElect = 301,
    WatcherCleared = 400,
    EventIndexCleared = 401,
}

impl Code {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The `message` on the wire.
    pub const fn message(self) -> &'static str {
        match self {
            Self::KeyNotFound => "Key not found",
            Self::CompareFailed => "Compare failed",
            Self::NotFile => "Not a file",
            Self::NotDir => "Not a directory",
            Self::NodeExist => "Key already exists",
            Self::RootReadOnly => "Root is read only",
            Self::DirNotEmpty => "Directory not empty",
            Self::Unauthorized => "The request requires user authentication",
            Self::PrevValueRequired => "PrevValue is Required in POST form",
            Self::TtlNaN => "The given TTL in POST form is not a number",
            Self::IndexNaN => "The given index in POST form is not a number",
            Self::InvalidField => "Invalid field",
            Self::InvalidForm => "Invalid POST form",
            Self::RefreshValue => "Value provided on refresh",
            Self::RefreshTtlRequired => "A TTL must be provided on refresh",
            Self::RaftInternal => "Raft Internal Error",
            Self::LeaderElect => "During Leader Election",
            Self::WatcherCleared => "watcher is cleared due to etcd recovery",
            Self::EventIndexCleared => "The event in requested index is outdated and cleared",
        }
    }

    /// The HTTP status that goes with it, unless the occasion says otherwise (overload answers
    /// 300 with 503).
    pub const fn http_status(self) -> u16 {
        match self {
            Self::KeyNotFound => 404,
            Self::CompareFailed | Self::NodeExist => 412,
            Self::NotFile | Self::DirNotEmpty => 403,
            Self::Unauthorized => 401,
            Self::RaftInternal | Self::LeaderElect => 500,
            Self::NotDir
            | Self::RootReadOnly
            | Self::PrevValueRequired
            | Self::TtlNaN
            | Self::IndexNaN
            | Self::InvalidField
            | Self::InvalidForm
            | Self::RefreshValue
            | Self::RefreshTtlRequired
            | Self::WatcherCleared
            | Self::EventIndexCleared => 400,
        }
    }
}

/// An error of the v3 API (etcd 3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rpc {
    WrongDowngradeFormat,
    InvalidDowngradeTarget,
    ClusterVersionUnavailable,
    DowngradeInProgress,
    UnknownMethod,
}

impl Rpc {
    /// The text on the wire.
    pub const fn message(self) -> &'static str {
        match self {
            Self::WrongDowngradeFormat => "etcdserver: wrong downgrade target version format",
            Self::InvalidDowngradeTarget => "etcdserver: invalid downgrade target version",
            Self::ClusterVersionUnavailable => {
                "etcdserver: cluster version not found during downgrade"
            }
            Self::DowngradeInProgress => "etcdserver: cluster has a downgrade job in progress",
            Self::UnknownMethod => "etcdserver: unknown method",
        }
    }

    pub const fn grpc(self) -> Grpc {
        match self {
            Self::WrongDowngradeFormat | Self::InvalidDowngradeTarget => Grpc::InvalidArgument,
            Self::ClusterVersionUnavailable | Self::DowngradeInProgress => Grpc::FailedPrecondition,
            Self::UnknownMethod => Grpc::Unknown,
        }
    }
}

/// A status code of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Grpc {
    Unknown = 2,
    InvalidArgument = 3,
    NotFound = 5,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Unavailable = 14,
}

impl Grpc {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The status with which the JSON gateway answers.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Unknown => 500,
            Self::InvalidArgument | Self::FailedPrecondition => 400,
            Self::NotFound => 404,
            Self::ResourceExhausted => 429,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
        }
    }
}
