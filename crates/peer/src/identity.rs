//! Who speaks, and whom a member listens to.

use std::fmt;

use base::{
    ClusterId, MemberId,
    version::{Minor, SERVER, THIS},
};
use http::{HeaderMap, HeaderValue, StatusCode};

pub(crate) const CLUSTER: &str = "x-etcd-cluster-id";
pub(crate) const FROM: &str = "x-server-from";
const TO: &str = "x-raft-to";
pub(crate) const VERSION: &str = "x-server-version";
pub(crate) const MIN_VERSION: &str = "x-min-cluster-version";

/// With which members of etcd refuse one another, and so what they put into their logs.
const ETCDS_WORD: &str = "incompatible version";
const DO_NOT_MIX: &str = "members of etcd and of retcd do not mix in one cluster (etcdutl import makes a \
                          member of retcd of etcd's data)";

/// Who a member is; told to every peer and checked by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub member: MemberId,
}

/// Why a stream is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// For both logs: what is wrong, and what to do.
    pub(crate) text: String,
    /// What the other one is told instead, if it knows nothing but words of its own.
    pub(crate) word: Option<&'static str>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Identity {
    /// The headers of a stream to `to`.
    pub(crate) fn headers(&self, to: MemberId) -> [(&'static str, String); 5] {
        [
            (CLUSTER, self.cluster.to_string()),
            (FROM, self.member.to_string()),
            (TO, to.to_string()),
            (VERSION, SERVER.to_owned()),
            (MIN_VERSION, THIS.oldest.in_full()),
        ]
    }

    /// The headers of a refusal: it is a word of this cluster. Without a version etcd would not look
    /// at it.
    pub(crate) fn signature(&self) -> [(&'static str, String); 3] {
        [
            (CLUSTER, self.cluster.to_string()),
            (FROM, self.member.to_string()),
            (VERSION, SERVER.to_owned()),
        ]
    }

    /// Whether an answer with these headers is a member's of this cluster, and not of whoever else
    /// listens there.
    pub(crate) fn has_signed(&self, headers: &HeaderMap) -> bool {
        let is_ours = |value: &HeaderValue| value == self.cluster.to_string().as_str();
        headers.contains_key(FROM) && headers.get(CLUSTER).is_some_and(is_ours)
    }

    /// What version whoever speaks says to have.
    pub fn version(headers: &HeaderMap) -> &str {
        headers.get(VERSION).and_then(|version| version.to_str().ok()).unwrap_or_default()
    }

    /// Why a stream of a name that there is not is refused: a member that asks for it is of another
    /// kind.
    pub(crate) fn unknown(headers: &HeaderMap) -> Refusal {
        let Some(from) = headers.get(FROM).and_then(|from| from.to_str().ok()) else {
            return refusal(StatusCode::NOT_FOUND, "there is no such stream".to_owned());
        };
        let text = format!("member {from} is one of etcd {}: {DO_NOT_MIX}", Self::version(headers));
        let word = Some(ETCDS_WORD);
        Refusal { word, ..refusal(StatusCode::PRECONDITION_FAILED, text) }
    }

    /// What is wrong with whoever gave an answer with these headers, if it is a member of another kind:
    /// of etcd's each names its version, and only ours themselves.
    pub(crate) fn foreign(headers: &HeaderMap) -> Option<String> {
        let is_foreign = headers.contains_key(VERSION) && !headers.contains_key(FROM);
        is_foreign
            .then(|| format!("; it is a member of etcd {}: {DO_NOT_MIX}", Self::version(headers)))
    }

    /// Who opens a stream with these headers, if it is meant for this member and may be heard.
    pub(crate) fn check(
        &self,
        headers: &HeaderMap,
        is_removed: impl Fn(MemberId) -> bool,
    ) -> Result<MemberId, Refusal> {
        let text = |name| headers.get(name).map(HeaderValue::to_str).and_then(Result::ok);
        let id = |name| text(name).and_then(|text| u64::from_str_radix(text, 16).ok());
        let Some(from) = id(FROM).map(MemberId).filter(|from| from.0 != 0) else {
            return Err(refusal(StatusCode::BAD_REQUEST, format!("no {FROM}")));
        };
        let theirs = text(CLUSTER).unwrap_or_default();
        if id(CLUSTER) != Some(self.cluster.0) {
            let text = format!(
                "cluster ID mismatch: member {from} is of cluster {theirs}, this one ({}) of \
                 cluster {}: check --initial-cluster, --initial-cluster-token and the data \
                 directories of both",
                self.member, self.cluster
            );
            return Err(refusal(StatusCode::PRECONDITION_FAILED, text));
        }
        check_version(text(VERSION), text(MIN_VERSION), from)?;
        if is_removed(from) {
            let text = "the member has been permanently removed from the cluster".to_owned();
            return Err(refusal(StatusCode::GONE, text));
        }
        if id(TO) != Some(self.member.0) {
            let text = format!(
                "member ID mismatch: member {from} looks for member {} here, this one is {}: \
                 check the peer URLs of both",
                text(TO).unwrap_or_default(),
                self.member
            );
            return Err(refusal(StatusCode::PRECONDITION_FAILED, text));
        }
        if from == self.member {
            let text = format!("member {from} talks to itself: check its peer URLs");
            return Err(refusal(StatusCode::PRECONDITION_FAILED, text));
        }
        Ok(from)
    }
}

/// Both must be new enough for one another, as in etcd.
fn check_version(
    theirs: Option<&str>,
    their_min: Option<&str>,
    from: MemberId,
) -> Result<(), Refusal> {
    let server = theirs.and_then(Minor::parse);
    let min = their_min.and_then(Minor::parse);
    if server >= Some(THIS.oldest) && Some(THIS.cluster) >= min {
        return Ok(());
    }
    let text = format!(
        "server version is incompatible: member {from} has {} and talks to {} and later, this one \
         has {} and talks to {} and later: upgrade the older of the two",
        theirs.unwrap_or("none"),
        their_min.unwrap_or("any"),
        SERVER,
        THIS.oldest.in_full()
    );
    Err(refusal(StatusCode::PRECONDITION_FAILED, text))
}

fn refusal(status: StatusCode, text: String) -> Refusal {
    Refusal { status, text, word: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Identity = Identity { cluster: ClusterId(0xc), member: MemberId(1) };

    fn check(changes: &[(&'static str, &str)]) -> Result<MemberId, Refusal> {
        let them = Identity { member: MemberId(2), ..US };
        let mut headers = HeaderMap::new();
        for (name, value) in them.headers(US.member) {
            headers.insert(name, value.parse().unwrap());
        }
        for (name, value) in changes {
            headers.insert(*name, value.parse().unwrap());
        }
        US.check(&headers, |member| member == MemberId(9))
    }

    #[test]
    fn members_of_the_cluster_are_heard_and_strangers_are_told_why_not() {
        assert_eq!(check(&[]), Ok(MemberId(2)));
        for (changes, status, text) in [
            (&[(CLUSTER, "d")][..], 412, "cluster ID mismatch"),
            (&[(CLUSTER, "")], 412, "cluster ID mismatch"),
            (&[(FROM, "0")], 400, "no x-server-from"),
            (&[(FROM, "9")], 410, "permanently removed"),
            (&[(FROM, "1")], 412, "talks to itself"),
            (&[(TO, "3")], 412, "member ID mismatch"),
            (&[(VERSION, "2.3.8")], 412, "server version is incompatible"),
            (&[(MIN_VERSION, "99.0.0")], 412, "server version is incompatible"),
        ] {
            let refusal = check(changes).unwrap_err();
            assert_eq!(refusal.status.as_u16(), status, "{changes:?}");
            assert!(refusal.text.contains(text), "{refusal}");
        }
        let nobody = Identity::unknown(&HeaderMap::new());
        assert_eq!(nobody.status, StatusCode::NOT_FOUND, "{nobody}");
        // A later minor version may come and look.
        assert_eq!(check(&[(VERSION, "3.99.0")]), Ok(MemberId(2)));
    }
}
