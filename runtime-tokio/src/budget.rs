//! How much of streams is handed to quinn-proto: so little that what is more urgent can still overtake the rest.
//!
//! quinn-proto sends the streams of a higher priority first, but takes no more once its send window is full: of what, it
//! does not care. The window also counts what was acknowledged behind a gap, so that a little more than what is in flight
//! must fit, or one lost packet would stop everything.

use oxymoq_core::runtime::TransportSettings;

/// The bound of one connection.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Un-acknowledged bytes, whatever the congestion window would allow.
    max_unacked: u64,
    /// Whether the congestion window counts at all.
    write_late: bool,
    /// Bytes of data that may be un-acknowledged.
    bytes: u64,
    /// Set when it was used up: how many ACK frames had arrived then.
    full_since: Option<u64>,
}

impl Budget {
    /// Of a connection whose congestion window is not known yet: nothing.
    pub(crate) const fn new(transport: &TransportSettings) -> Self {
        Self {
            max_unacked: transport.max_unacked,
            write_late: transport.write_late,
            bytes: 0,
            full_since: None,
        }
    }

    /// Bytes of data that may be un-acknowledged.
    pub(crate) const fn data(&self) -> u64 {
        self.bytes
    }

    /// Bytes that may be un-acknowledged when something urgent is written.
    pub(crate) const fn urgent(&self) -> u64 {
        self.bytes.saturating_mul(2)
    }

    /// Follows the congestion window; `acks`: how many ACK frames have arrived so far.
    pub(crate) fn measured(&mut self, window: u64, acks: u64) {
        let bytes = if self.write_late {
            // A window and a half keeps the path full while the next acknowledgement is under way.
            self.max_unacked.min(window.saturating_add(window / 2))
        } else {
            self.max_unacked
        };
        // Only an acknowledgement or a wider window makes room.
        if bytes > self.bytes || self.full_since.is_some_and(|then| then != acks) {
            self.full_since = None;
        }
        self.bytes = bytes;
    }

    /// It is used up, as far as data goes.
    pub(crate) const fn is_full(&self) -> bool {
        self.full_since.is_some()
    }

    /// It was found to be used up when so many ACK frames had arrived.
    pub(crate) const fn used_up(&mut self, acks: u64) {
        self.full_since = Some(acks);
    }

    /// There may be room again.
    pub(crate) const fn freed(&mut self) {
        self.full_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(max_unacked: u64, write_late: bool) -> Budget {
        Budget::new(&TransportSettings {
            max_unacked,
            write_late,
            ..TransportSettings::default()
        })
    }

    #[test]
    fn follows_the_window_up_to_the_limit_and_urgent_data_may_use_twice_that() {
        let mut budget = budget(100_000, true);
        assert_eq!((budget.data(), budget.urgent()), (0, 0));
        budget.measured(20_000, 0);
        assert_eq!((budget.data(), budget.urgent()), (30_000, 60_000));
        budget.measured(90_000, 1);
        assert_eq!((budget.data(), budget.urgent()), (100_000, 200_000));
        budget.measured(2_000, 2);
        assert_eq!(budget.data(), 3_000);
    }

    #[test]
    fn without_late_writes_only_the_limit_holds() {
        let mut budget = budget(100_000, false);
        budget.measured(2_000, 0);
        assert_eq!(budget.data(), 100_000);
    }

    #[test]
    fn stays_full_until_an_acknowledgement_or_a_wider_window_comes() {
        let mut budget = budget(100_000, true);
        budget.measured(20_000, 7);
        budget.used_up(7);
        budget.measured(20_000, 7);
        assert!(budget.is_full());
        budget.measured(10_000, 7);
        assert!(budget.is_full());
        budget.measured(12_000, 7);
        assert!(!budget.is_full());
        budget.used_up(7);
        budget.measured(12_000, 8);
        assert!(!budget.is_full());
        budget.used_up(8);
        budget.freed();
        assert!(!budget.is_full());
    }
}
