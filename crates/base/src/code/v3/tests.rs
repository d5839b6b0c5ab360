//! The table against the list of the original, error by error.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The errors of etcd 3.6.0 (`api/v3rpc/rpctypes`) by their codes, without the "etcdserver: " before each. Three have
/// no row, since no server ever sends them:
///
/// - "watch canceled" (1) goes to a client that has canceled, and so is gone
/// - "cluster ID mismatch" (9): nothing in the original raises it any more
/// - "etcdserver: context deadline exceeded" (4): it sends what its runtime says, without "etcdserver: "
const ORIGINAL: &[(u8, &[&str])] = &[
    (1, &["request canceled"]),
    (
        3,
        &[
            "key is not provided",
            "key not found",
            "value is provided",
            "lease is provided",
            "too many operations in txn request",
            "duplicate key given in txn request",
            "invalid client api version",
            "invalid sort option",
            "given member URLs are invalid",
            "request is too large",
            "user name is empty",
            "role name is empty",
            "authentication failed, invalid user ID or password",
            "permission not given",
            "invalid auth management",
            "revision of auth store is old",
            "wrong downgrade target version format",
            "invalid downgrade target version",
        ],
    ),
    (5, &["requested lease not found", "member not found"]),
    (7, &["permission denied"]),
    (8, &["mvcc: database space exceeded", "too many requests"]),
    (
        9,
        &[
            "lease already exists",
            "member ID already exist",
            "Peer URLs already exists",
            "re-configuration failed due to not enough started members",
            "can only promote a learner member",
            "can only promote a learner member which is in sync with leader",
            "too many learner members in cluster",
            "root user does not exist",
            "root user does not have root role",
            "user name already exists",
            "user name not found",
            "role name already exists",
            "role name not found",
            "role is not granted to the user",
            "permission is not granted to the role",
            "authentication is not enabled",
            "not leader",
            "not capable",
            "rpc not supported for learner",
            "bad leader transferee",
            "cluster version not found during downgrade",
            "cluster has a downgrade job in progress",
            "no inflight downgrade job",
        ],
    ),
    (
        11,
        &[
            "mvcc: required revision has been compacted",
            "mvcc: required revision is a future revision",
            "too large lease TTL",
        ],
    ),
    (
        14,
        &[
            "no leader",
            "leader changed",
            "server stopped",
            "request timed out",
            "request timed out, possibly due to previous leader failure",
            "request timed out, possibly due to connection lost",
            "request timed out, waiting for the applied index took too long",
            "unhealthy cluster",
        ],
    ),
    (15, &["corrupt cluster"]),
    (16, &["invalid auth token"]),
];

/// Clients look errors up by their texts.
#[test]
fn no_two_errors_have_one_text() {
    let texts: BTreeSet<_> = Refused::ALL.iter().map(|refused| refused.text()).collect();
    assert_eq!(texts.len(), Refused::ALL.len());
}

#[test]
fn a_gateway_answers_with_the_status_of_the_code() {
    let cases = [
        (Refused::EmptyKey, 3, 400),
        (Refused::LeaseNotFound, 5, 404),
        (Refused::NoSpace, 8, 429),
        (Refused::Compacted, 11, 400),
        (Refused::NoLeader, 14, 503),
        (Refused::Corrupt, 15, 500),
        (Refused::InvalidAuthToken, 16, 401),
    ];
    for (refused, number, status) in cases {
        let code = refused.grpc();
        assert_eq!((code.number(), code.http_status()), (number, status), "{refused}");
    }
}

#[test]
fn every_error_of_the_original_has_its_row_with_its_code_and_its_text() {
    let ours: BTreeMap<_, _> =
        Refused::ALL.iter().map(|refused| (refused.text(), refused.grpc().number())).collect();
    let mut originals = 0;
    for (code, texts) in ORIGINAL {
        for text in *texts {
            let text = format!("etcdserver: {text}");
            assert_eq!(ours.get(text.as_str()), Some(code), "{text}");
            originals += 1;
        }
    }
    assert_eq!(originals, 60, "of 63 in all");
}

/// What has a row and is not the original's, or not in its list, is named here: a typo in a text would be one more.
#[test]
fn what_the_original_does_not_list_is_known_by_name() {
    let is_original = |refused: &Refused| {
        let text = refused.text().strip_prefix("etcdserver: ");
        ORIGINAL.iter().any(|(_, texts)| texts.iter().any(|listed| Some(*listed) == text))
    };
    let others: Vec<_> = Refused::ALL.iter().copied().filter(|one| !is_original(one)).collect();
    let expected = [
        // Of 3.7.
        Refused::StreamSorted,
        Refused::StreamFiltered,
        // Texts that a server of the original sends without listing them.
        Refused::NotPrimary,
        Refused::TimeoutLeaderTransfer,
        Refused::DeadlineExceeded,
        // Ours.
        Refused::AnswerTooLarge,
        Refused::TooManyAnswers,
    ];
    assert_eq!(BTreeSet::from_iter(others), BTreeSet::from(expected));
}
