//! Records read as they were written, and only then.

use base::MemberId;

use super::*;

fn entry(index: u64, term: u64, data: impl Into<Bytes>) -> Entry {
    Entry {
        index: Index(index),
        term: Term(term),
        kind: 0,
        data: data.into(),
        context: Bytes::new(),
    }
}

fn read(batch: &Batch, seed: u32, mut crc: u32, offset: u64) -> Vec<(Head, Record)> {
    let mut records = Vec::new();
    let mut rest = batch.bytes();
    let mut at = offset;
    while !rest.is_empty() {
        let head = Head::decode(rest, seed, at).unwrap();
        let (record, more) = rest.split_at(HEAD_BYTES + head.payload());
        let payload = &record[HEAD_BYTES..];
        crc = crc32c::crc32c_append(crc, payload);
        assert_eq!(crc, head.crc);
        records.push((head, Record::decode(Bytes::copy_from_slice(payload)).unwrap()));
        at += record.len() as u64;
        rest = more;
    }
    records
}

#[test]
fn a_record_reads_as_it_was_written() {
    let hard_state = HardState { term: Term(u64::MAX), vote: MemberId(7), commit: Index(3) };
    let mut entries = [
        entry(5, 1, ""),
        entry(6, 1, "x"),
        entry(7, 300, vec![b'y'; 300]),
        entry(8, u64::MAX, "z"),
    ];
    entries[1].context = Bytes::from_static(b"context");
    entries[2].kind = 2;
    for (hard_state, entries) in
        [(Some(hard_state), &entries[..]), (None, &entries[..]), (Some(hard_state), &[])]
    {
        let mut batch = Batch::default();
        batch.push(hard_state.as_ref(), entries).unwrap();
        let crc = batch.seal(11, 12, 4096, 512);
        let records = read(&batch, 11, 12, 4096);
        let expected = Record { hard_state, entries: entries.to_vec() };
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].1, expected);
        assert_eq!((records[0].0.synced, records[0].0.crc), (512, crc));
    }
}

#[test]
fn a_large_batch_becomes_several_records() {
    let entries: Vec<Entry> = (1..=40).map(|index| entry(index, 1, vec![b'x'; 100_000])).collect();
    let mut batch = Batch::default();
    batch.push(Some(&HardState::default()), &entries).unwrap();
    batch.seal(1, 2, 0, 0);
    let records = read(&batch, 1, 2, 0);
    assert_eq!(records.len(), 4);
    assert!(records[0].1.hard_state.is_some() && records[1].1.hard_state.is_none());
    let all: Vec<Entry> = records.into_iter().flat_map(|(_, record)| record.entries).collect();
    assert_eq!(all, entries);

    batch.clear();
    let whole = vec![b'x'; 3 << 20];
    batch.push(None, &[entry(1, 1, whole.clone()), entry(2, 1, "")]).unwrap();
    batch.seal(1, 2, 0, 0);
    assert_eq!(read(&batch, 1, 2, 0).len(), 2);
    assert_eq!(batch.push(None, &[entry(1, 1, vec![0; ENTRY_BYTES_MAX + 1])]), Err(TooLarge));
}

#[test]
fn a_head_counts_only_where_it_was_written() {
    let mut batch = Batch::default();
    batch.push(None, &[entry(1, 1, "x")]).unwrap();
    batch.seal(1, 2, 4096, 512);
    let head = &batch.bytes()[..HEAD_BYTES];
    assert!(Head::decode(head, 1, 4096).is_some());
    assert_eq!(Head::decode(head, 3, 4096), None, "another segment");
    assert_eq!(Head::decode(head, 1, 4104), None, "another place");
    assert_eq!(Head::decode(&head[..31], 1, 4096), None);
    for at in 0..HEAD_BYTES {
        let mut rotten = head.to_vec();
        rotten[at] ^= 1 << (at % 8);
        assert_eq!(Head::decode(&rotten, 1, 4096), None, "{at}");
    }
    let sealed = |head: Head| Head::decode(&head.encode(1), 1, 4096);
    let good = Head { length: 8, crc: 0, offset: 4096, synced: 4096 };
    assert!(sealed(good).is_some());
    assert_eq!(sealed(Head { length: 9, ..good }), None);
    assert_eq!(sealed(Head { length: u32::MAX - 7, ..good }), None, "it would take 4 GiB to read");
    assert_eq!(sealed(Head { synced: 4097, ..good }), None);
}

/// The checksums keep chance out; but what passes them must not bring the member down.
#[test]
fn no_payload_makes_reading_it_panic() {
    let mut batch = Batch::default();
    let entries = [entry(1, 1, "some data"), entry(2, 3, ""), entry(3, 3, vec![9; 200])];
    batch.push(Some(&HardState::default()), &entries).unwrap();
    let good = &batch.bytes()[HEAD_BYTES..];
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let mut payload = good.to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..payload.len());
            payload[at] = if rng.bool() { rng.u8(..) } else { u8::MAX };
        }
        payload.truncate(rng.usize(..=payload.len()));
        drop(Record::decode(Bytes::from(payload)));
    }
    assert_eq!(Record::decode(Bytes::from_static(&[0; 4])), None);
    assert_eq!(Record::decode(Bytes::from_static(&[0; 13])), None, "no padding is so long");
    let many = Bytes::from_static(&[0, 255, 255, 255, 255, 0, 0, 0]);
    assert_eq!(Record::decode(many), None, "the count is not trusted");
}
