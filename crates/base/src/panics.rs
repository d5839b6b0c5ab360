//! Panics of others' code that reads what may be damaged: there they are no bugs of ours.
//!
//! They cannot be caught, since a release aborts; but the panic hook can say what they mean.

use std::cell::RefCell;

thread_local! {
    static MEANING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `f`, in which a panic means this.
pub fn mean<T>(meaning: String, f: impl FnOnce() -> T) -> T {
    let before = MEANING.replace(Some(meaning));
    let result = f();
    MEANING.set(before);
    result
}

/// What a panic of this thread means now; for the panic hook.
pub fn meaning() -> Option<String> {
    MEANING.with_borrow(Option::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_has_a_meaning_only_inside() {
        assert_eq!(meaning(), None);
        let inside = mean("outer".to_owned(), || {
            let inner = mean("inner".to_owned(), meaning);
            (meaning(), inner)
        });
        assert_eq!(inside, (Some("outer".to_owned()), Some("inner".to_owned())));
        assert_eq!(meaning(), None);
    }
}
