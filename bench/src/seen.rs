//! Which objects of a track have arrived: a bit for each.

/// A set of sequence numbers from a first one on.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    base: u64,
    words: Vec<u64>,
    count: u64,
}

/// What became of a number that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It was not there.
    New,
    /// It was there.
    Again,
    /// It lies before the first one, or absurdly far behind it: it cannot be told.
    Outside,
}

/// Numbers that one set may span: a day at 3000 a second, 32 MB. What lies further ahead was never published.
const MAX_SPAN: u64 = 1 << 28;

impl Seen {
    /// Empties the set; from now on it holds numbers from `base` on, with room for `room` of them.
    pub fn restart(&mut self, base: u64, room: u64) {
        self.base = base;
        self.count = 0;
        self.words.clear();
        let words = usize::try_from(room.min(MAX_SPAN).div_ceil(64)).unwrap_or(0);
        self.words.resize(words, 0);
    }

    /// Adds a number.
    pub fn mark(&mut self, sequence: u64) -> Mark {
        let Some(offset) = sequence.checked_sub(self.base).filter(|n| *n < MAX_SPAN) else {
            return Mark::Outside;
        };
        let index = usize::try_from(offset / 64).unwrap_or(usize::MAX);
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let Some(word) = self.words.get_mut(index) else {
            return Mark::Outside;
        };
        let bit = 1 << (offset % 64);
        if *word & bit != 0 {
            return Mark::Again;
        }
        *word |= bit;
        self.count += 1;
        Mark::New
    }

    /// Whether a number is there.
    pub fn contains(&self, sequence: u64) -> bool {
        sequence.checked_sub(self.base).is_some_and(|offset| {
            let index = usize::try_from(offset / 64).unwrap_or(usize::MAX);
            self.words
                .get(index)
                .is_some_and(|word| word & 1 << (offset % 64) != 0)
        })
    }

    /// Whether all numbers from `first` on and before `end` are there.
    pub fn has_all(&self, first: u64, end: u64) -> bool {
        (first..end).all(|sequence| self.contains(sequence))
    }

    /// How many numbers are there.
    pub const fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_new_once() {
        let mut seen = Seen::default();
        seen.restart(100, 10);
        assert_eq!(seen.mark(100), Mark::New);
        assert_eq!(seen.mark(100), Mark::Again);
        assert_eq!(seen.mark(163), Mark::New);
        assert_eq!(seen.mark(164), Mark::New, "it grows");
        assert_eq!(seen.mark(99), Mark::Outside);
        assert_eq!(seen.count(), 3);
        assert!(seen.contains(163) && !seen.contains(162) && !seen.contains(99));
    }

    #[test]
    fn a_number_out_of_all_reason_takes_no_memory() {
        let mut seen = Seen::default();
        assert_eq!(seen.mark(u64::MAX), Mark::Outside);
        assert_eq!(seen.mark(MAX_SPAN), Mark::Outside);
        assert_eq!(seen.words.len(), 0);
        seen.restart(0, u64::MAX);
        assert_eq!(seen.words.len(), 1 << 22);
        assert_eq!(seen.mark(MAX_SPAN - 1), Mark::New);
    }

    #[test]
    fn a_group_is_complete_when_nothing_of_it_is_missing() {
        let mut seen = Seen::default();
        seen.restart(60, 64);
        for sequence in [60, 61, 63, 64] {
            seen.mark(sequence);
        }
        assert!(!seen.has_all(60, 65));
        seen.mark(62);
        assert!(seen.has_all(60, 65));
        assert!(!seen.has_all(59, 62), "what came before is not known");
        seen.restart(65, 1);
        assert_eq!((seen.count(), seen.contains(65)), (0, false));
    }
}
