//! What was read lately, for who is content with that.
//!
//! *Invariant: after a write through this proxy was answered, nothing is told from here that was read
//! before it.*

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use proto::{
    Message as _,
    etcdserverpb::{RangeRequest, RangeResponse},
};
use tokio::time::Instant;

use crate::behalf::Who;

/// As many answers as in the original, and so many bytes of them.
const ANSWERS_MAX: usize = 2_048;
const BYTES_MAX: usize = 64 << 20;
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Who writes elsewhere is heard of after so long at most.
const AGE_MAX: Duration = Duration::from_secs(2);
/// Writes that are remembered for the sake of reads that are under way.
const WRITES_KEPT: usize = 512;

/// The end of a range that has none.
const TO_THE_END: &[u8] = &[0];

/// Answers by what was asked, and by whom: what one client may read, another may not.
#[derive(Debug)]
pub(crate) struct Cache {
    answers: Mutex<Answers>,
    /// How old an answer may be.
    age: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(AGE_MAX)
    }
}

#[derive(Debug, Default)]
struct Answers {
    /// Of single keys, and of ranges.
    points: BTreeMap<Asked, Answer>,
    ranges: BTreeMap<Asked, Answer>,
    /// Which was used when: the least is forgotten first.
    used: BTreeMap<u64, Asked>,
    now: u64,
    bytes: usize,
    compacted: i64,
    /// The last writes with their numbers.
    writes: VecDeque<(u64, Bytes, Bytes)>,
    writes_count: u64,
    /// What was read before this is told nobody.
    cleared: u64,
}

/// Ordered by the first key of the range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    key: Bytes,
    /// The whole request, serializable.
    request: Vec<u8>,
    who: Who,
}

#[derive(Debug)]
struct Answer {
    end: Bytes,
    revision: i64,
    told: RangeResponse,
    bytes: usize,
    used: u64,
    since: Instant,
}

/// When a read began, for [`Cache::add`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began(u64);

impl Cache {
    fn new(age: Duration) -> Self {
        Self { answers: Mutex::default(), age }
    }

    /// Before the members are asked.
    pub(crate) fn begin(&self) -> Began {
        Began(self.answers.lock().writes_count)
    }

    /// What is known; `Err`: history does not go back so far. An answer of before revision `since`
    /// is none.
    pub(crate) fn get(
        &self,
        request: &RangeRequest,
        who: &Who,
        since: i64,
    ) -> Result<Option<RangeResponse>, Compacted> {
        let mut answers = self.answers.lock();
        if request.revision > 0 && request.revision < answers.compacted {
            return Err(Compacted);
        }
        Ok(answers.get(&asked(request, who), since, self.age))
    }

    /// Remembers an answer, unless it may be older than a write that has been answered.
    pub(crate) fn add(
        &self,
        began: Began,
        request: &RangeRequest,
        who: &Who,
        answer: &RangeResponse,
    ) {
        let bytes = answer.encoded_len();
        if bytes > ANSWER_BYTES_MAX {
            return;
        }
        let mut answers = self.answers.lock();
        if began.0 < answers.cleared {
            return;
        }
        if request.revision > 0 && request.revision < answers.compacted {
            return;
        }
        if request.revision <= 0 && !answers.is_unwritten(began, &request.key, &request.range_end) {
            return;
        }
        answers.now += 1;
        let used = answers.now;
        let answer = Answer {
            end: request.range_end.clone(),
            revision: request.revision,
            told: answer.clone(),
            bytes,
            used,
            since: Instant::now(),
        };
        answers.insert(asked(request, who), answer);
    }

    /// These keys are being written, or have just been: both times this is to be told.
    pub(crate) fn invalidate(&self, key: &Bytes, end: &Bytes) {
        self.answers.lock().invalidate(key, end);
    }

    /// Who may read what is being changed, or has just been: nothing that was read before counts.
    pub(crate) fn clear(&self) {
        let mut answers = self.answers.lock();
        answers.writes_count += 1;
        answers.cleared = answers.writes_count;
        answers.writes.clear();
        answers.points.clear();
        answers.ranges.clear();
        answers.used.clear();
        answers.bytes = 0;
    }

    /// History begins there.
    pub(crate) fn compact(&self, revision: i64) {
        let mut answers = self.answers.lock();
        answers.compacted = answers.compacted.max(revision);
        let is_gone = |answer: &Answer| answer.revision > 0 && answer.revision < revision;
        answers.remove_if(|_, answer| is_gone(answer));
    }

    pub(crate) fn len(&self) -> usize {
        self.answers.lock().used.len()
    }
}

/// History does not go back so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted;

fn asked(request: &RangeRequest, who: &Who) -> Asked {
    let request = RangeRequest { serializable: true, ..request.clone() };
    Asked { key: request.key.clone(), request: request.encode_to_vec(), who: who.clone() }
}

impl Answers {
    fn get(&mut self, asked: &Asked, since: i64, age: Duration) -> Option<RangeResponse> {
        self.now += 1;
        let now = self.now;
        let kind =
            if self.points.contains_key(asked) { &mut self.points } else { &mut self.ranges };
        let found = kind.get_mut(asked)?;
        if found.since.elapsed() > age {
            self.remove(asked);
            return None;
        }
        let is_old = found.told.header.as_ref().is_none_or(|header| header.revision < since);
        if is_old {
            return None;
        }
        self.used.remove(&found.used);
        self.used.insert(now, asked.clone());
        found.used = now;
        Some(found.told.clone())
    }

    fn insert(&mut self, asked: Asked, answer: Answer) {
        self.remove(&asked);
        self.bytes += answer.bytes;
        self.used.insert(answer.used, asked.clone());
        let kind = if answer.end.is_empty() { &mut self.points } else { &mut self.ranges };
        kind.insert(asked, answer);
        while self.used.len() > ANSWERS_MAX || self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.used.pop_first() else { return };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, asked: &Asked) {
        let found = self.points.remove(asked).or_else(|| self.ranges.remove(asked));
        if let Some(found) = found {
            self.used.remove(&found.used);
            self.bytes -= found.bytes;
        }
    }

    fn remove_if(&mut self, is_gone: impl Fn(&Asked, &Answer) -> bool) {
        let all = self.points.iter().chain(&self.ranges);
        let gone: Vec<_> = all
            .filter(|(asked, answer)| is_gone(asked, answer))
            .map(|(asked, _)| asked.clone())
            .collect();
        for asked in &gone {
            self.remove(asked);
        }
    }

    fn invalidate(&mut self, key: &Bytes, end: &Bytes) {
        self.writes_count += 1;
        self.writes.push_back((self.writes_count, key.clone(), end.clone()));
        if self.writes.len() > WRITES_KEPT {
            self.writes.pop_front();
        }
        let first = Asked { key: key.clone(), request: Vec::new(), who: Who::default() };
        let concerned = |asked: &Asked| overlap((&asked.key, &Bytes::new()), (key, end));
        let points = self.points.range((Bound::Included(first), Bound::Unbounded));
        let points = points.take_while(|(asked, _)| concerned(asked));
        let ranges = self.ranges.iter();
        let ranges =
            ranges.filter(|(asked, answer)| overlap((&asked.key, &answer.end), (key, end)));
        // What happened at a revision stays as it was.
        let gone: Vec<_> = points
            .chain(ranges)
            .filter(|(_, answer)| answer.revision <= 0)
            .map(|(asked, _)| asked.clone())
            .collect();
        for asked in &gone {
            self.remove(asked);
        }
    }

    /// Whether nobody has written to these keys since. What is not known is no.
    fn is_unwritten(&self, began: Began, key: &Bytes, end: &Bytes) -> bool {
        let since = self.writes_count - began.0;
        let since = usize::try_from(since).unwrap_or(usize::MAX);
        since <= self.writes.len()
            && self
                .writes
                .iter()
                .rev()
                .take(since)
                .all(|(_, first, last)| !overlap((first, last), (key, end)))
    }
}

/// Whether two ranges, each of which may be a key alone or go to the end, have a key in common.
fn overlap(one: (&Bytes, &Bytes), other: (&Bytes, &Bytes)) -> bool {
    reaches(one, other.0) && reaches(other, one.0)
}

/// Whether a range does not end before `key`.
fn reaches((first, end): (&Bytes, &Bytes), key: &Bytes) -> bool {
    match &end[..] {
        [] => first >= key,
        end if end == TO_THE_END => true,
        end => end > &key[..],
    }
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::ResponseHeader;

    use super::*;

    /// However slow the machine is.
    fn cache() -> Cache {
        Cache::new(Duration::from_hours(1))
    }

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn range(key: &str, end: &str) -> RangeRequest {
        RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
    }

    fn at(revision: i64) -> RangeResponse {
        let header = Some(ResponseHeader { revision, ..Default::default() });
        RangeResponse { header, ..Default::default() }
    }

    fn add(cache: &Cache, request: &RangeRequest) {
        cache.add(cache.begin(), request, &Who::default(), &at(5));
    }

    fn has(cache: &Cache, request: &RangeRequest) -> bool {
        cache.get(request, &Who::default(), 0).is_ok_and(|found| found.is_some())
    }

    #[test]
    fn a_write_removes_what_it_concerns_and_nothing_else() {
        let check = |written: (&str, &str), gone: &[(&str, &str)]| {
            let cache = cache();
            let all = [("a", ""), ("b", ""), ("c", ""), ("a", "c"), ("b", "\0"), ("c", "d")];
            for (key, end) in all {
                add(&cache, &range(key, end));
            }
            cache.invalidate(&bytes(written.0), &bytes(written.1));
            for (key, end) in all {
                let expected = !gone.contains(&(key, end));
                assert_eq!(has(&cache, &range(key, end)), expected, "{written:?} {key} {end}");
            }
            assert_eq!(cache.len(), all.len() - gone.len());
        };
        check(("a", ""), &[("a", ""), ("a", "c")]);
        check(("b", ""), &[("b", ""), ("a", "c"), ("b", "\0")]);
        check(("c", ""), &[("c", ""), ("b", "\0"), ("c", "d")]);
        check(("0", ""), &[]);
        check(("d", ""), &[("b", "\0")]);
        check(("b", "c"), &[("b", ""), ("a", "c"), ("b", "\0")]);
        check(("c", "\0"), &[("c", ""), ("b", "\0"), ("c", "d")]);
        check(("a", "b"), &[("a", ""), ("a", "c")]);
    }

    #[test]
    fn what_was_read_before_a_write_is_not_kept_after_it() {
        let (cache, who) = (cache(), Who::default());
        let began = cache.begin();
        cache.invalidate(&bytes("a"), &Bytes::new());
        cache.add(began, &range("a", ""), &who, &at(5));
        cache.add(began, &range("0", "b"), &who, &at(5));
        cache.add(began, &range("b", ""), &who, &at(5));
        assert!(!has(&cache, &range("a", "")) && !has(&cache, &range("0", "b")));
        assert!(has(&cache, &range("b", "")));
        // There are more writes than anybody remembers.
        (0..=WRITES_KEPT).for_each(|_| cache.invalidate(&bytes("z"), &Bytes::new()));
        cache.add(began, &range("c", ""), &who, &at(5));
        assert!(!has(&cache, &range("c", "")));
    }

    #[test]
    fn when_rights_change_nothing_is_kept() {
        let (cache, who) = (cache(), Who::default());
        let past = RangeRequest { revision: 3, ..range("a", "") };
        let began = cache.begin();
        for request in [&range("a", ""), &range("a", "b"), &past] {
            cache.add(began, request, &who, &at(5));
        }
        cache.clear();
        assert_eq!(cache.len(), 0);
        for request in [&range("a", ""), &range("a", "b"), &past] {
            cache.add(began, request, &who, &at(5));
            assert!(!has(&cache, request));
            add(&cache, request);
            assert!(has(&cache, request));
        }
    }

    #[test]
    fn one_client_is_not_told_what_another_has_read() {
        let cache = cache();
        let mut metadata = tonic::metadata::MetadataMap::new();
        metadata.insert("token", "one".parse().unwrap());
        let one = Who::of(metadata.as_ref());
        cache.add(cache.begin(), &range("a", ""), &one, &at(5));
        assert!(cache.get(&range("a", ""), &one, 0).unwrap().is_some());
        assert!(!has(&cache, &range("a", "")));
    }

    #[test]
    fn an_answer_that_is_older_than_wanted_is_none() {
        let cache = cache();
        add(&cache, &range("a", ""));
        let since = |revision| cache.get(&range("a", ""), &Who::default(), revision).unwrap();
        assert!(since(5).is_some());
        assert!(since(6).is_none());
    }

    #[test]
    fn compaction_is_known_and_the_past_is_not_written() {
        let cache = cache();
        let of = |revision| RangeRequest { revision, ..range("a", "") };
        add(&cache, &of(3));
        add(&cache, &of(7));
        cache.invalidate(&bytes("a"), &Bytes::new());
        assert!(has(&cache, &of(3)) && has(&cache, &of(7)));
        cache.compact(5);
        assert_eq!(cache.get(&of(3), &Who::default(), 0), Err(Compacted));
        assert!(has(&cache, &of(7)));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn there_are_only_so_many_and_the_one_used_last_stays() {
        let cache = cache();
        add(&cache, &range("first", ""));
        for at in 0..ANSWERS_MAX + 10 {
            add(&cache, &range(&format!("k{at}"), ""));
            assert!(has(&cache, &range("first", "")));
        }
        assert_eq!(cache.len(), ANSWERS_MAX);
        assert!(!has(&cache, &range("k0", "")));
    }

    #[test]
    fn what_is_too_old_is_forgotten() {
        let cache = Cache::new(Duration::ZERO);
        add(&cache, &range("a", ""));
        assert_eq!(cache.len(), 1);
        // A clock may stand still for a moment.
        assert!((0..10_000_000).any(|_| !has(&cache, &range("a", ""))));
        assert_eq!(cache.len(), 0);
    }
}
