//! Ids that must not be mixed up: members, clusters, and Raft's index and term.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

id!(
    /// A member of a cluster; never 0. Shown in lower-case hex without padding, as etcd does.
    MemberId, "{:x}"
);
id!(
    /// A cluster. Shown in lower-case hex without padding, as etcd does.
    ClusterId, "{:x}"
);
id!(
    /// The position of an entry in the raft log; 0 is "before the first".
    Index, "{}"
);
id!(
    /// A term of the raft log; 0 is "before the first election".
    Term, "{}"
);
