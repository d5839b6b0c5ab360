//! A disk in memory that forgets what was not synced: for tests and simulation.
#[derive(Clone, Debug, Default)]
pub struct MemDisk;
