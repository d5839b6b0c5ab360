//! What requests of v2 need, which name paths and not keys.
//!
//! A permission on a path is one on the key of that name, and on a directory of that name with what
//! lies right in it. What is recursive needs all that lies below as well.

use base::Refused;
use proto::command::{By, KeysMethod, KeysWrite};

use super::{
    Account, Auth,
    check::{Known, Want},
    ranges::Keys,
};

/// A path as a request names it.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    /// A clean one.
    pub path: &'a [u8],
    /// There was a slash at its end: see [`Auth::v2_reads`].
    pub slash: bool,
    pub recursive: bool,
}

impl Auth {
    /// Whether somebody may read what a request names; without a name, by the role `guest`.
    ///
    /// `Ok(true)`: only what lies below, and no key of that very name. A pattern `/a/*` does not cover
    /// `/a`; but whoever writes `/a/` may look at that directory, as in 2.3.8.
    pub fn v2_reads(&self, by: Option<&By>, asked: Path<'_>) -> Result<bool, Refused> {
        let Some(account) = self.v2_account(by)? else { return Ok(false) };
        if self.covers(account, asked, Want::Read) {
            return Ok(false);
        }
        if asked.slash && self.covers_below(account, asked.path, Want::Read) {
            return Ok(true);
        }
        Err(Refused::PermissionDenied)
    }

    /// Whether somebody may read the key of this name, whatever else he may do.
    pub(crate) fn v2_reads_key(&self, by: Option<&By>, path: &[u8]) -> bool {
        self.v2_reads(by, Path { path, slash: false, recursive: false }).is_ok()
    }

    pub(super) fn v2_writes(
        &self,
        by: Option<&By>,
        write: &KeysWrite,
        known: &impl Known,
    ) -> Result<(), Refused> {
        let KeysWrite { path, dir, recursive, slash, expiry, .. } = write;
        let Some(account) = self.v2_account(by)? else { return Ok(()) };
        let method = write.method();
        // A directory whose time is over takes all along that lies in it.
        let may_end_a_tree =
            expiry.is_some() && (*dir || method == KeysMethod::Update && !known.has_key(path));
        let recursive = *recursive || may_end_a_tree;
        let names_a_directory = *slash
            && (*dir || recursive || method == KeysMethod::CreateInOrder)
            && !known.has_key(path);
        let asked = Path { path, slash: *slash, recursive };
        let permitted = self.covers(account, asked, Want::Write)
            || names_a_directory && self.covers_below(account, path, Want::Write);
        if permitted { Ok(()) } else { Err(Refused::PermissionDenied) }
    }

    /// As [`Auth::account`]; whoever says no name is a guest, if that is open.
    fn v2_account(&self, by: Option<&By>) -> Result<Option<&Account>, Refused> {
        match by {
            None if self.enabled && !self.is_open_to_guests() => Err(Refused::PermissionDenied),
            None if self.enabled => Ok(Some(&self.guest)),
            by => self.account(by),
        }
    }

    fn covers(&self, account: &Account, asked: Path<'_>, want: Want) -> bool {
        account.user.is_root()
            || self.allows(account, Keys::one(asked.path), want)
                && (!asked.recursive || self.covers_below(account, asked.path, want))
    }

    fn covers_below(&self, account: &Account, path: &[u8], want: Want) -> bool {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let (from, to) = ([path, b"/"].concat(), [path, b"0"].concat());
        account.user.is_root() || self.allows(account, Keys::new(&from, &to), want)
    }
}
