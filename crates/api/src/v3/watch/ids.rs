//! The ids of a stream's watches.

/// Which ids the watches of a stream get, at a member and through a proxy alike (etcd 3.4 on).
#[derive(Debug, Default)]
pub struct WatchIds {
    next: i64,
}

impl WatchIds {
    /// The id of a new watch: the one that its client has chosen, or, for zero, the next one that no
    /// watch has. What it gives is used up, also if nothing comes of the watch.
    ///
    /// `Err`: another watch has it, in etcd's words.
    pub fn choose(&mut self, asked: i64, is_taken: impl Fn(i64) -> bool) -> Result<i64, String> {
        if asked != 0 {
            let text = "mvcc: duplicate watch ID provided on the WatchStream";
            return if is_taken(asked) { Err(text.to_owned()) } else { Ok(asked) };
        }
        while is_taken(self.next) {
            self.next += 1;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Takes back what was given last: nothing has come of the watch.
    pub fn take_back(&mut self, id: i64) {
        if id + 1 == self.next {
            self.next = id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_clients_choose_or_the_next_that_is_free() {
        let mut ids = WatchIds::default();
        let taken = |id| [1, 2, 7].contains(&id);
        assert_eq!(ids.choose(0, taken), Ok(0));
        assert_eq!(ids.choose(0, taken), Ok(3));
        assert_eq!(ids.choose(9, taken), Ok(9));
        let text = "mvcc: duplicate watch ID provided on the WatchStream";
        assert_eq!(ids.choose(7, taken), Err(text.to_owned()));
        assert_eq!(ids.choose(0, taken), Ok(4));
        ids.take_back(4);
        assert_eq!(ids.choose(0, taken), Ok(4));
        // One that was chosen by a client has no place among them.
        ids.take_back(9);
        assert_eq!(ids.choose(0, taken), Ok(5));
    }
}
