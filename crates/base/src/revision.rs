//! A point in the store's history.

/// A point in the store's history: the transaction, then the step inside it.
///
/// Clients see only `main`. `sub` orders the writes of one transaction, so that three puts take
/// three slots yet move the store by one revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    pub main: i64,
    pub sub: u32,
}

impl Revision {
    /// The length of [`Revision::to_bytes`].
    pub const BYTES: usize = 12;

    pub const fn new(main: i64, sub: u32) -> Self {
        Self { main, sub }
    }

    /// Big-endian `main`, then `sub`, so that byte order is history's order. `main` is never
    /// negative.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (main, sub) = bytes.split_at_mut(8);
        main.copy_from_slice(&self.main.to_be_bytes());
        sub.copy_from_slice(&self.sub.to_be_bytes());
        bytes
    }

    /// The reverse of [`Revision::to_bytes`]; `None` if the length is another.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (main, sub) = bytes.split_at_checked(8)?;
        Some(Self {
            main: i64::from_be_bytes(main.try_into().ok()?),
            sub: u32::from_be_bytes(sub.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_is_the_order_of_history() {
        let all = [(1, 0), (1, 1), (1, u32::MAX), (2, 0), (255, 9), (256, 0), (i64::MAX, 0)];
        let revisions = all.map(|(main, sub)| Revision::new(main, sub));
        assert!(revisions.is_sorted());
        assert!(revisions.map(Revision::to_bytes).is_sorted());
        for revision in revisions {
            assert_eq!(Revision::from_bytes(&revision.to_bytes()), Some(revision));
        }
        assert_eq!(Revision::from_bytes(b"short"), None);
    }
}
