//! What a watch was permitted when it began, and whether it still is.

use base::Refused;
use bytes::Bytes;
use proto::command::By;
use state::{
    apply::Reader,
    auth::{Auth, Path, Readable},
};

/// Who watches, as far as was known when the watch began.
#[derive(Debug)]
pub(crate) enum Watches {
    /// Whoever said no name.
    Guest,
    /// Whoever said a name and a password, which nobody has looked at.
    Unknown,
    User(By),
}

impl Watches {
    /// Who it was found to be, and whether a name and a password came along.
    pub(crate) fn of(by: Option<By>, has_claim: bool) -> Self {
        match by {
            Some(by) => Self::User(by),
            None if has_claim => Self::Unknown,
            None => Self::Guest,
        }
    }
}

/// What somebody may watch.
#[derive(Debug)]
pub(crate) struct Permitted {
    pub(crate) path: Bytes,
    /// There was a slash behind the path.
    pub(crate) slash: bool,
    pub(crate) recursive: bool,
    pub(crate) watches: Watches,
    /// He is told of what is below the path, and not of a key of that very name.
    pub(crate) below_only: bool,
    /// The auth revision at which it was looked at last; `None`: nobody was asked.
    pub(crate) revision: Option<u64>,
}

impl Permitted {
    /// While nobody is asked who he is.
    pub(crate) fn by_nobody(path: Bytes, recursive: bool, has_claim: bool) -> Self {
        let (slash, below_only, revision) = (false, false, None);
        let watches = Watches::of(None, has_claim);
        Self { path, slash, recursive, watches, below_only, revision }
    }

    /// Whether it still is permitted, before anything is told. Costs nothing unless users have changed.
    pub(super) fn holds(&mut self, reader: &Reader) -> bool {
        if !reader.auth_is_enabled() {
            return true;
        }
        let auth = reader.auth();
        // Enabling does not move the revision: one at which nobody was asked is none.
        if !auth.is_enabled() || self.revision == Some(auth.revision()) {
            return true;
        }
        let holds = self.look(&auth).is_ok_and(|readable| self.covers(readable));
        self.revision = Some(auth.revision());
        holds
    }

    fn look(&self, auth: &Auth) -> Result<Readable, Refused> {
        let now = match &self.watches {
            Watches::Guest => None,
            // It takes too long to look at a password here.
            Watches::Unknown => return Err(Refused::AuthFailed),
            Watches::User(by) => {
                // Deleted, or with another password.
                auth.identified(Some(by))?;
                Some(By { user: by.user.clone(), auth_revision: auth.revision() })
            }
        };
        let Self { path, slash, recursive, .. } = self;
        auth.v2_reads(now.as_ref(), Path { path, slash: *slash, recursive: *recursive })
    }

    fn covers(&self, readable: Readable) -> bool {
        self.below_only || readable != Readable::Below
    }
}
