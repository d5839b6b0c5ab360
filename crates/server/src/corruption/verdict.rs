//! Who is right when members say different things.

use std::collections::BTreeMap;

use base::MemberId;

/// What a member has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Voice {
    pub(super) member: MemberId,
    pub(super) votes: bool,
    /// `None`: nothing that can be compared.
    pub(super) said: Option<u64>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All say the same who say anything.
    Same,
    /// A majority of all voters say the same, and these something else.
    Differ(Vec<MemberId>),
    /// They differ, and no majority says the same.
    Undecided,
}

/// Decides by a majority of all voters, whether they have said something or not: less can be wrong
/// together, or on the other side of a network that is cut.
pub(super) fn decide(voices: &[Voice]) -> Verdict {
    let mut groups = BTreeMap::<u64, usize>::new();
    for voice in voices {
        if let Some(said) = voice.said {
            *groups.entry(said).or_default() += usize::from(voice.votes);
        }
    }
    if groups.len() <= 1 {
        return Verdict::Same;
    }
    let voters = voices.iter().filter(|voice| voice.votes).count();
    let Some((right, _)) = groups.into_iter().find(|(_, votes)| *votes > voters / 2) else {
        return Verdict::Undecided;
    };
    let differs = |voice: &&Voice| voice.said.is_some_and(|said| said != right);
    Verdict::Differ(voices.iter().filter(differs).map(|voice| voice.member).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_all_voters_is_right() {
        let check = |said: &[(bool, Option<u64>)], expected: Verdict| {
            let voices: Vec<_> = (1..)
                .zip(said)
                .map(|(id, &(votes, said))| Voice { member: MemberId(id), votes, said })
                .collect();
            assert_eq!(decide(&voices), expected, "{said:?}");
        };
        let differ = |ids: &[u64]| Verdict::Differ(ids.iter().copied().map(MemberId).collect());
        let (voter, learner) = (true, false);
        check(&[], Verdict::Same);
        check(&[(voter, Some(7))], Verdict::Same);
        check(&[(voter, Some(7)), (voter, None), (voter, Some(7))], Verdict::Same);
        check(&[(voter, Some(7)), (voter, Some(8)), (voter, Some(7))], differ(&[2]));
        // Whoever leads.
        check(&[(voter, Some(8)), (voter, Some(7)), (voter, Some(7))], differ(&[1]));
        check(&[(voter, Some(7)), (voter, Some(8)), (voter, None)], Verdict::Undecided);
        check(&[(voter, Some(7)), (voter, Some(8))], Verdict::Undecided);
        check(&[(voter, Some(6)), (voter, Some(7)), (voter, Some(8))], Verdict::Undecided);
        // A learner is looked at and does not count.
        check(&[(voter, Some(7)), (learner, Some(8))], differ(&[2]));
        check(&[(voter, Some(7)), (voter, Some(8)), (learner, Some(7))], Verdict::Undecided);
        check(
            &[
                (voter, Some(7)),
                (voter, Some(7)),
                (voter, Some(8)),
                (voter, Some(9)),
                (voter, None),
            ],
            Verdict::Undecided,
        );
        check(
            &[
                (voter, Some(7)),
                (voter, Some(8)),
                (voter, Some(7)),
                (voter, Some(9)),
                (voter, Some(7)),
            ],
            differ(&[2, 4]),
        );
    }
}
