//! An input as a row of choices, and what may be spent on it.

use bytes::Bytes;
use oxymoq_core::draft::Draft;
use oxymoq_core::wire::id::Location;

/// Choices that come from the input, and are all zero once it is used up.
#[derive(Debug)]
pub(crate) struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    pub(crate) const fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        *first
    }

    /// A number below this one, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// Small mostly, and now and then anything.
    pub(crate) fn number(&mut self) -> u64 {
        let byte = self.byte();
        match byte {
            0..0xF8 => u64::from(byte & 0xF),
            0xF8..0xFB => u64::from(byte) << 6 | u64::from(self.byte()),
            0xFB => (1 << 62) - 1,
            0xFC => 1 << 62,
            0xFD => u64::MAX,
            0xFE..=0xFF => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    pub(crate) fn chance(&mut self, of: u8) -> bool {
        self.byte() % of.max(1) == 1 % of.max(1)
    }

    /// One of a list.
    pub(crate) fn one<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        let at = self.below(list.len());
        list.get(at).copied()
    }

    pub(crate) fn location(&mut self) -> Location {
        Location::new(self.number(), self.number())
    }

    /// Bytes of the input, as many as its next byte says.
    pub(crate) fn bytes(&mut self) -> Bytes {
        let length = usize::from(self.byte()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        Bytes::copy_from_slice(bytes)
    }
}

/// The draft that a byte stands for, of which only the lowest bits may be set by other choices: the newest for zero.
pub(crate) fn draft(byte: u8) -> Draft {
    let mut drafts = Draft::ALL.iter().rev().cycle();
    drafts.nth(usize::from(byte)).copied().unwrap_or(Draft::D18)
}

/// How many steps an input may cost.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
}

impl Budget {
    /// So many steps, and so many for every byte of the input.
    pub(crate) fn new(fixed: u64, per_byte: u64, input: &[u8]) -> Self {
        let length = u64::try_from(input.len()).unwrap_or(u64::MAX);
        Self {
            left: fixed.saturating_add(length.saturating_mul(per_byte)),
        }
    }

    /// One output, event or deadline.
    ///
    /// # Panics
    /// If that is one too many.
    pub(crate) fn step(&mut self) {
        assert!(self.left > 0, "more steps than such an input may cost");
        self.left -= 1;
    }
}
