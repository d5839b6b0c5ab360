//! Passwords looked at once for all who bring the same at the same time.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::remembered::Tag;

/// What is being looked at.
#[derive(Debug, Default)]
pub(super) struct Checks(Mutex<BTreeMap<Tag, Told>>);

/// Whether it was right, once that is known.
type Told = watch::Receiver<Option<bool>>;

/// Whose turn it is to look.
pub(super) enum Entered<'a> {
    First(Turn<'a>),
    /// Somebody does; who goes away before he knows tells nothing.
    After(Told),
}

/// Ends when it is dropped.
pub(super) struct Turn<'a> {
    checks: &'a Checks,
    tag: Tag,
    tell: watch::Sender<Option<bool>>,
}

impl Checks {
    pub(super) fn enter(&self, tag: Tag) -> Entered<'_> {
        let mut under_way = self.0.lock();
        if let Some(told) = under_way.get(&tag) {
            return Entered::After(told.clone());
        }
        let (tell, told) = watch::channel(None);
        under_way.insert(tag, told);
        Entered::First(Turn { checks: self, tag, tell })
    }
}

impl Turn<'_> {
    pub(super) fn tell(&self, is_right: bool) {
        self.tell.send_replace(Some(is_right));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.checks.0.lock().remove(&self.tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_looks_and_the_others_hear_of_it() {
        let checks = Checks::default();
        let Entered::First(turn) = checks.enter([1; 32]) else { panic!("nobody looks yet") };
        let Entered::After(mut told) = checks.enter([1; 32]) else { panic!("somebody looks") };
        assert!(matches!(checks.enter([2; 32]), Entered::First(_)), "that is another");
        turn.tell(true);
        drop(turn);
        assert_eq!(*told.wait_for(Option::is_some).await.unwrap(), Some(true));
        let Entered::First(turn) = checks.enter([1; 32]) else { panic!("it is over") };
        let Entered::After(mut told) = checks.enter([1; 32]) else { panic!("somebody looks") };
        drop(turn);
        assert!(told.wait_for(Option::is_some).await.is_err(), "he has gone away");
    }
}
