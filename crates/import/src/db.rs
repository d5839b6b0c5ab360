//! What etcd 3 keeps in its bbolt file: keys by revision, leases, users and roles, and small numbers.

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

use base::{Disk, Open, Revision};
use mvcc::{Action, Kind, Record};
use prost::Message as _;
use proto::{authpb, etcdserverpb::AlarmMember, mvccpb::KeyValue};
use sha2::{Digest as _, Sha256};
use state::{
    apply::Standing,
    auth::{Auth, Parts, Role, User},
};

use crate::{
    Damage, Note,
    bolt::{Bolt, BoltError, Row, Rows},
    messages::Lease,
};

/// A snapshot's pages are a multiple of this; a checksum behind them shows by the length.
const ALIGNMENT: u64 = 512;
const SHA256_BYTES: u64 = 32;
/// No revision of the original is higher; behind it there is room for whatever may come.
const REVISION_MAX: i64 = i64::MAX / 2;
/// What is read at once for the checksum.
const READ_BYTES: usize = 1 << 20;

/// The rows of its own that are read.
const NUMBERS: [&[u8]; 7] = [
    b"consistent_index",
    b"scheduledCompactRev",
    b"finishedCompactRev",
    b"authEnabled",
    b"authRevision",
    b"term",
    b"storageVersion",
];

/// The file, open.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "what a file says of itself")]
pub(crate) struct Db {
    bolt: Bolt,
    path: PathBuf,
    /// The last entry that is in it for certain; 0: it does not say.
    pub(crate) consistent_index: u64,
    /// History up to here is compacted, or to be; -1: none.
    pub(crate) compacted: i64,
    /// That has been removed up to here.
    swept: i64,
    auth_enabled: bool,
    /// That of users and roles; 0: it does not say.
    auth_revision: u64,
    /// It is of a member, and not of a backup that etcdctl made up to 3.4.
    pub(crate) has_members: bool,
    /// It was written by 3.5 or later.
    pub(crate) has_term: bool,
    /// It was written by 3.6 or later.
    pub(crate) has_version: bool,
}

impl Db {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, Damage> {
        let damage = |error: BoltError| Damage::bolt(path, error);
        let bolt = Bolt::open(disk, path).map_err(damage)?;
        let mut db = Self {
            bolt,
            path: path.to_path_buf(),
            consistent_index: 0,
            compacted: -1,
            swept: -1,
            auth_enabled: false,
            auth_revision: 0,
            has_members: false,
            has_term: false,
            has_version: false,
        };
        db.read_numbers()?;
        db.has_members = db.bolt.bucket(b"members").map_err(damage)?.is_some();
        Ok(db)
    }

    fn read_numbers(&mut self) -> Result<(), Damage> {
        let mut scheduled = -1;
        let mut finished = -1;
        let mut rows = Vec::new();
        for bucket in [b"meta".as_slice(), b"auth"] {
            self.each(bucket, &mut |row| {
                if NUMBERS.contains(&&row.key[..]) {
                    rows.push(row);
                }
                Ok(())
            })?;
        }
        for row in rows {
            let number = row.value.get(..8).and_then(|bytes| bytes.try_into().ok());
            let number = number.map(u64::from_be_bytes);
            // A revision is 8 bytes, `_`, and 8 bytes more.
            let revision = number.filter(|_| row.value.len() >= 17).map(u64::cast_signed);
            let named = |number: Option<u64>| {
                number.ok_or_else(|| self.damage(&row, "a number of its own is too short"))
            };
            match &row.key[..] {
                b"consistent_index" => self.consistent_index = named(number)?,
                b"term" => self.has_term = true,
                b"storageVersion" => self.has_version = true,
                b"scheduledCompactRev" => scheduled = revision.unwrap_or(scheduled),
                b"finishedCompactRev" => finished = revision.unwrap_or(finished),
                b"authRevision" => self.auth_revision = named(number)?,
                b"authEnabled" => self.auth_enabled = row.value.first() == Some(&1),
                _ => {}
            }
        }
        self.compacted = scheduled.max(finished);
        self.swept = finished;
        if self.compacted > REVISION_MAX {
            let what = format!("it was compacted at {}, which cannot be", self.compacted);
            return Err(Damage::new(self.path.clone(), what));
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many pages it has.
    pub(crate) fn pages(&self) -> u64 {
        self.bolt.pages()
    }

    fn damage(&self, row: &Row, what: &'static str) -> Damage {
        Damage::bolt(&self.path, BoltError::Page { page: row.page, what })
    }

    fn each(
        &self,
        bucket: &[u8],
        take: &mut dyn FnMut(Row) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let Some(mut rows) = self.rows(bucket)? else { return Ok(()) };
        while let Some(row) = rows.next_row().map_err(|error| Damage::bolt(&self.path, error))? {
            take(row)?;
        }
        Ok(())
    }

    fn rows(&self, bucket: &[u8]) -> Result<Option<Rows<'_>>, Damage> {
        let damage = |error| Damage::bolt(&self.path, error);
        let Some(bucket) = self.bolt.bucket(bucket).map_err(damage)? else { return Ok(None) };
        Ok(Some(self.bolt.rows(bucket).map_err(damage)?))
    }

    /// All history, in order of revision.
    pub(crate) fn history(&self) -> Result<History<'_>, Damage> {
        Ok(History { db: self, rows: self.rows(b"key")?, ahead: None, last: 1 })
    }

    /// Where the history stands whose last revision is this.
    pub(crate) fn standing(&self, last: i64) -> Standing {
        let Self { compacted, swept, .. } = *self;
        // All that happened last can be deletions that were compacted.
        Standing { revision: last.max(compacted), compacted, swept }
    }

    pub(crate) fn leases(&self) -> Result<Vec<Lease>, Damage> {
        let mut leases = Vec::new();
        self.each(b"lease", &mut |row| {
            let lease = Lease::decode(row.value.clone())
                .map_err(|_| self.damage(&row, "a lease of it cannot be decoded"))?;
            leases.push(lease);
            Ok(())
        })?;
        Ok(leases)
    }

    pub(crate) fn alarms(&self) -> Result<Vec<AlarmMember>, Damage> {
        let mut alarms = Vec::new();
        self.each(b"alarm", &mut |row| {
            let alarm = AlarmMember::decode(row.key.clone())
                .map_err(|_| self.damage(&row, "an alarm of it cannot be decoded"))?;
            alarms.push(alarm);
            Ok(())
        })?;
        Ok(alarms)
    }
}

impl Db {
    /// Users and roles of v3, and what of them cannot be taken over.
    pub(crate) fn auth(&self, notes: &mut Vec<Note>) -> Result<Auth, Damage> {
        let mut auth = Parts {
            enabled: self.auth_enabled,
            // As a member of the original begins.
            revision: self.auth_revision.max(1),
            ..Parts::default()
        };
        self.each(b"authUsers", &mut |row| {
            let authpb::User { password, roles, options, .. } =
                authpb::User::decode(row.value.clone())
                    .map_err(|_| self.damage(&row, "a user of it cannot be decoded"))?;
            if let Some(name) = text(&row, "user", notes) {
                let has_password = !options.is_some_and(|options| options.no_password);
                let password_hash = has_password.then_some(password);
                // A token of before, which the original refuses now, is refused still.
                let since = auth.revision;
                let roles = roles.into_iter().collect();
                auth.users.insert(name, User { password_hash, roles, since });
            }
            Ok(())
        })?;
        self.each(b"authRoles", &mut |row| {
            let authpb::Role { key_permission, .. } = authpb::Role::decode(row.value.clone())
                .map_err(|_| self.damage(&row, "a role of it cannot be decoded"))?;
            if let Some(name) = text(&row, "role", notes) {
                let mut role = Role::default();
                for permission in key_permission {
                    if !role.permit(permission) {
                        notes.push(Note::NoPermission { role: name.clone() });
                    }
                }
                auth.roles.insert(name, role);
            }
            Ok(())
        })?;
        Ok(auth.into())
    }
}

/// The name of a user or role: the original does not ask whether it is UTF-8.
fn text(row: &Row, what: &'static str, notes: &mut Vec<Note>) -> Option<String> {
    let name = str::from_utf8(&row.key).map(str::to_owned);
    if name.is_err() {
        let name = row.key.escape_ascii().to_string();
        notes.push(Note::Unreadable { what, name });
    }
    name.ok()
}

/// A walk over the bucket `key`.
#[derive(Debug)]
pub(crate) struct History<'a> {
    db: &'a Db,
    rows: Option<Rows<'a>>,
    ahead: Option<Record>,
    /// The last revision that it has given.
    pub(crate) last: i64,
}

impl History<'_> {
    /// How many pages it has seen.
    pub(crate) fn visited(&self) -> u64 {
        self.rows.as_ref().map_or(0, Rows::visited)
    }

    /// All that happened at the next revision; `None` behind the last.
    pub(crate) fn next_revision(&mut self) -> Result<Option<Vec<Record>>, Damage> {
        let Some(first) = self.next_record()? else { return Ok(None) };
        let main = first.revision.main;
        let mut records = vec![first];
        while let Some(record) = self.next_record()? {
            if record.revision.main != main {
                self.ahead = Some(record);
                break;
            }
            records.push(record);
        }
        self.last = main;
        Ok(Some(records))
    }

    fn next_record(&mut self) -> Result<Option<Record>, Damage> {
        if let Some(record) = self.ahead.take() {
            return Ok(Some(record));
        }
        let Some(rows) = &mut self.rows else { return Ok(None) };
        let row = rows.next_row().map_err(|error| Damage::bolt(&self.db.path, error))?;
        row.map(|row| record(&row).map_err(|what| self.db.damage(&row, what))).transpose()
    }
}

/// A row's key is the revision: 8 bytes, `_`, 8 bytes, and a `t` if it is a deletion.
fn record(row: &Row) -> Result<Record, &'static str> {
    let (revision, rest) = row.key.split_first_chunk::<17>().ok_or("a revision is too short")?;
    let deleted = match rest {
        [] => false,
        b"t" => true,
        _ => return Err("a revision is too long"),
    };
    let [main @ .., _, _, _, _, _, _, _, _, _] = revision;
    let [_, _, _, _, _, _, _, _, between, sub @ ..] = revision;
    let (main, sub) = (i64::from_be_bytes(*main), i64::from_be_bytes(*sub));
    let sub = u32::try_from(sub).map_err(|_| "a revision cannot be")?;
    if *between != b'_' || !(2..=REVISION_MAX).contains(&main) {
        return Err("a revision cannot be");
    }
    let pair = KeyValue::decode(row.value.clone()).map_err(|_| "a pair cannot be decoded")?;
    if pair.key.is_empty() {
        return Err("a pair has no key");
    }
    let is_sound = deleted
        || (pair.mod_revision == main
            && (1..=main).contains(&pair.create_revision)
            && pair.version >= 1);
    if !is_sound {
        return Err("a pair has numbers that do not fit its revision");
    }
    let number = |of: i64| if deleted { 0 } else { of };
    Ok(Record {
        kind: Kind::Key,
        name: pair.key,
        revision: Revision::new(main, sub),
        deleted,
        value: if deleted { bytes::Bytes::new() } else { pair.value },
        create_revision: number(pair.create_revision),
        version: number(pair.version),
        lease: number(pair.lease),
        created_index: number(pair.create_revision),
        expiry: None,
        action: Action::None,
        told: true,
    })
}

/// Checks the SHA-256 at the end of a snapshot; false if it has none.
///
/// What is copied out of a data directory has none, and then nothing tells whether it is whole.
pub(crate) fn check_sum(
    disk: &dyn Disk,
    path: &Path,
    told: &mut dyn FnMut(u64, u64),
) -> Result<bool, Damage> {
    let io = |error: io::Error| Damage::io("read", path, &error);
    let file = disk.open(path, Open::Read).map_err(io)?;
    let length = file.len().map_err(io)?;
    if length % ALIGNMENT != SHA256_BYTES {
        return Ok(false);
    }
    let end = length - SHA256_BYTES;
    let mut sum = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(READ_BYTES);
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(piece, at).map_err(io)?;
        sum.update(&*piece);
        at += wanted as u64;
        told(at, end);
    }
    let mut stored = [0; 32];
    file.read_exact_at(&mut stored, end).map_err(io)?;
    if sum.finalize()[..] != stored {
        return Err(Damage::new(
            path.to_path_buf(),
            "its SHA-256 does not match: take the snapshot again".to_owned(),
        ));
    }
    Ok(true)
}
