//! How many files this process and those that it starts may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit to `wanted` if it may be, and gives what it is now. Children inherit it.
pub fn raise_open_files(wanted: u64) -> u64 {
    let limits = || getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be asked");
    let (soft, hard) = limits();
    if soft < wanted {
        // Only root may raise the hard limit: then the soft one goes as far as the hard one does.
        let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted));
        let raised = raised.or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
        raised.expect("the soft limit can be raised to the hard one");
    }
    limits().0
}
