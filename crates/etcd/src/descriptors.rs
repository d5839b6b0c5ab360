//! How many files and connections this process may have open.

/// Kept for the log, the keyspace and what else a member opens for itself; the original's number.
const RESERVED: u64 = 150;

/// Raises the limit as far as the system lets us; returns how many client connections fit.
pub(crate) fn connections_max() -> usize {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => connections(limit),
        Err(error) => {
            tracing::warn!(target: "etcdmain", %error, "cannot raise the limit on open files");
            connections(1024)
        }
    }
}

fn connections(limit: u64) -> usize {
    let fit = limit.saturating_sub(RESERVED).max(1);
    // What a semaphore can count; no system has more descriptors.
    usize::try_from(fit).unwrap_or(usize::MAX).min(1 << 28)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_and_one_connection_always_fits() {
        assert_eq!(connections(1024), 874);
        assert_eq!(connections(100), 1);
        assert!(connections(u64::MAX) <= usize::MAX >> 3);
    }
}
