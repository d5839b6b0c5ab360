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

/// What of a path somebody may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// All that is asked for.
    All,
    /// What that is itself; of what lies right in a directory, only what [is shown](Auth::v2_shows).
    Itself,
    /// Only what lies below, and no key of that very name.
    Below,
}

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
    /// A pattern `/a/*` does not cover `/a`; but whoever writes `/a/` may look at that directory, as in
    /// 2.3.8. And one on `/a` alone does not open what lies in it.
    pub fn v2_reads(&self, by: Option<&By>, asked: Path<'_>) -> Result<Readable, Refused> {
        let Some(account) = self.v2_account(by)? else { return Ok(Readable::All) };
        let covers_below = || self.covers_below(account, asked.path, Want::Read);
        if self.covers(account, asked, Want::Read) {
            return Ok(if covers_below() { Readable::All } else { Readable::Itself });
        }
        if asked.slash && covers_below() {
            return Ok(Readable::Below);
        }
        Err(Refused::PermissionDenied)
    }

    /// Whether a node is shown to somebody who lists the directory in which it lies: if he may read it,
    /// or what lies in it.
    pub fn v2_shows(&self, by: Option<&By>, path: &[u8], is_dir: bool) -> bool {
        let asked = Path { path, slash: is_dir, recursive: false };
        self.v2_reads(by, asked).is_ok()
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

    /// Whether users are enabled, and yet v2 lets who says no name read and write every key: as etcd 2.3
    /// leaves it when it enables them.
    pub fn lets_guests_do_everything(&self) -> bool {
        let covers = |want| self.covers_below(&self.guest, b"/", want);
        self.enabled && self.is_open_to_guests() && covers(Want::Read) && covers(Want::Write)
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
