//! What a watch was permitted when it began, and whether it still is.

use std::cell::RefCell;

use base::Refused;
use bytes::Bytes;
use proto::command::By;
use state::auth::Auth;

use crate::{auth::Asker, context::Context};

/// What somebody may watch. A token may end while its watch goes on, as in etcd: what counts is whose it was.
#[derive(Debug)]
pub(in crate::v3) struct Permitted {
    key: Bytes,
    range_end: Bytes,
    /// As it was when the watch began.
    by: Option<By>,
    /// The auth revision at which it was looked at last; `None`: nobody is asked.
    revision: Option<u64>,
}

impl Permitted {
    /// Asks whether somebody may watch these keys.
    pub(in crate::v3) fn ask(
        context: &Context,
        asker: &Asker,
        (key, range_end): (Bytes, Bytes),
    ) -> Result<Self, Refused> {
        let who = RefCell::new(None);
        asker.may_now(context, |auth, by| {
            *who.borrow_mut() = by.cloned();
            auth.reads(by, &key, &range_end)
        })?;
        let by = who.into_inner();
        let revision = by.as_ref().map(|by| by.auth_revision);
        Ok(Self { key, range_end, by, revision })
    }

    /// Whether it still is permitted, before anything is told. Costs nothing unless users have changed.
    pub(in crate::v3) fn holds(&mut self, context: &Context) -> Result<(), Refused> {
        let reader = context.handle.reader();
        if !reader.auth_is_enabled() {
            return Ok(());
        }
        let auth = reader.auth();
        // Enabling does not move the revision: one at which nobody was asked is none.
        if !auth.is_enabled() || self.revision == Some(auth.revision()) {
            return Ok(());
        }
        self.look(&auth)?;
        self.revision = Some(auth.revision());
        Ok(())
    }

    fn look(&self, auth: &Auth) -> Result<(), Refused> {
        // Deleted, or with another password.
        auth.identified(self.by.as_ref())?;
        let now = self.by.clone().map(|by| By { auth_revision: auth.revision(), ..by });
        auth.reads(now.as_ref(), &self.key, &self.range_end)
    }
}
