//! What libFuzzer gives, read from its beginning; behind its end there is nothing, and zeros.

pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// So many bytes, or what is left.
    pub(super) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// How many bytes, and these.
    pub(super) fn short(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.take(length.into())
    }

    pub(super) fn long(&mut self) -> &'a [u8] {
        let length = self.u16();
        self.take(length.into())
    }

    /// A number that is small, or as large as can be.
    pub(super) fn number(&mut self) -> i64 {
        match self.byte() {
            0xff => {
                let mut bytes = [0; 8];
                let taken = self.take(8);
                bytes[..taken.len()].copy_from_slice(taken);
                i64::from_le_bytes(bytes)
            }
            small => small.into(),
        }
    }

    /// Changes bytes: where, how many go, and what comes in their place.
    pub(super) fn patch(&mut self, bytes: &mut Vec<u8>) {
        let from = usize::from(self.u16()).min(bytes.len());
        let to = (from + usize::from(self.byte())).min(bytes.len());
        bytes.splice(from..to, self.short().iter().copied());
    }

    /// Writes over bytes until the input ends: where, and what.
    pub(super) fn overwrite(&mut self, bytes: &mut [u8]) {
        while !self.is_over() {
            let from = usize::from(self.u16()).min(bytes.len());
            let new = self.short();
            let room = new.len().min(bytes.len() - from);
            bytes[from..from + room].copy_from_slice(&new[..room]);
        }
    }
}
