//! The ground that every crate stands on: ids, revisions, limits, the table of wire errors, and
//! the three things that a simulation must own: the clock, the disk and chance.
//!
//! Nothing here knows Raft, HTTP or the keyspace.

pub mod chance;
pub mod clock;
pub mod code;
pub mod complaints;
pub mod disk;
pub mod duration;
pub mod histogram;
pub mod ids;
pub mod limits;
pub mod pace;
pub mod panics;
pub mod revision;
pub mod room;
pub mod url;
pub mod version;

pub use chance::mix;
pub use clock::{Clock, Now, OsClock, UnixNanos};
pub use code::{Code, Grpc, Refused};
pub use complaints::Complaints;
pub use disk::{Disk, File, Open, OsDisk, UnsyncedDisk};
pub use histogram::Histogram;
pub use ids::{ClusterId, Index, MemberId, Term};
pub use pace::Pace;
pub use revision::Revision;
pub use room::Room;
