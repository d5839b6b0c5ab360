//! Cutting an answer that is too large.

use proto::{Message as _, etcdserverpb::WatchResponse};

/// Cuts an answer into several of at most so many bytes each, unless a single event is larger. All
/// but the last say that more follows; that one says what the whole has said.
pub fn cut(mut answer: WatchResponse, bytes_max: usize) -> Vec<WatchResponse> {
    if answer.encoded_len() < bytes_max || answer.events.len() < 2 {
        return vec![answer];
    }
    let events = std::mem::take(&mut answer.events);
    let is_part = answer.fragment;
    let head = answer.encoded_len();
    let mut cut: Vec<WatchResponse> = Vec::new();
    let mut bytes = usize::MAX;
    for event in events {
        // Tag and length stand before each.
        let length = event.encoded_len() + 6;
        match cut.last_mut() {
            Some(last) if bytes + length < bytes_max => {
                bytes += length;
                last.events.push(event);
            }
            _ => {
                bytes = head + length;
                let events = vec![event];
                cut.push(WatchResponse { fragment: true, events, ..answer.clone() });
            }
        }
    }
    if let Some(last) = cut.last_mut() {
        last.fragment = is_part;
    }
    cut
}

#[cfg(test)]
mod tests {
    use proto::mvccpb::{Event, KeyValue};

    use super::*;

    fn answer(sizes: &[usize]) -> WatchResponse {
        let event = |size: &usize| {
            let value = vec![b'x'; *size].into();
            Event { kv: Some(KeyValue { value, ..KeyValue::default() }), ..Event::default() }
        };
        WatchResponse {
            watch_id: 7,
            events: sizes.iter().map(event).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn pieces_keep_order_and_bound_and_all_but_the_last_announce_more() {
        let check_as = |is_part, sizes: &[usize], expected: &[usize]| {
            let whole = WatchResponse { fragment: is_part, ..answer(sizes) };
            let cut = cut(whole.clone(), 1_000);
            let counts: Vec<_> = cut.iter().map(|piece| piece.events.len()).collect();
            assert_eq!(counts, expected, "{sizes:?}");
            let events: Vec<_> = cut.iter().flat_map(|piece| piece.events.clone()).collect();
            assert_eq!(events, whole.events);
            for (at, piece) in cut.iter().enumerate() {
                assert_eq!(piece.fragment, is_part || at + 1 < cut.len());
                assert_eq!(piece.watch_id, 7);
                assert!(piece.encoded_len() < 1_000 || piece.events.len() == 1);
            }
        };
        let check = |sizes: &[usize], expected: &[usize]| {
            check_as(false, sizes, expected);
            check_as(true, sizes, expected);
        };
        check(&[], &[0]);
        check(&[5_000], &[1]);
        check(&[100, 100], &[2]);
        check(&[400, 400, 400, 400, 10], &[2, 3]);
        check(&[5_000, 10, 5_000], &[1, 1, 1]);
    }
}
