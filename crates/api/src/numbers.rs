//! Numbers in headers, remembered: between two writes all answers show the same ones, and making
//! one takes memory from the heap three times.

use std::cell::RefCell;

use http::HeaderValue;

/// Where a number is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    Index,
    RaftIndex,
    RaftTerm,
}

type Remembered = Option<(u64, HeaderValue)>;

thread_local! {
    static LAST: RefCell<[Remembered; 3]> = const { RefCell::new([const { None }; 3]) };
}

/// A number as a header's value.
pub(crate) fn value(shown: Shown, number: u64) -> HeaderValue {
    let remembered = LAST.try_with(|last| {
        let mut last = last.try_borrow_mut().ok()?;
        let last = last.get_mut(shown as usize)?;
        match last {
            Some((known, value)) if *known == number => Some(value.clone()),
            _ => {
                let value = HeaderValue::from(number);
                *last = Some((number, value.clone()));
                Some(value)
            }
        }
    });
    remembered.ok().flatten().unwrap_or_else(|| HeaderValue::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_shown_where_it_belongs() {
        for number in [1, 1, 2, u64::MAX, 2] {
            assert_eq!(value(Shown::Index, number), number.to_string());
            assert_eq!(value(Shown::RaftTerm, number), number.to_string());
            assert_eq!(value(Shown::RaftIndex, number / 2), (number / 2).to_string());
        }
    }
}
