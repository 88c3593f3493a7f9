//! How much of streams is handed to s2n-quic: so little that what is more urgent can still overtake the rest.
//!
//! s2n-quic knows no priorities: it sends what its streams hold in turns, and what was lost before all else. So next to
//! nothing may wait there. It neither bounds what a connection holds nor tells how much that is, but its events tell what
//! leaves.

use std::collections::BTreeMap;

use oxymoq_core::runtime::TransportSettings;

/// A packet, in bytes; no more than the largest that s2n-quic sends.
const PACKET: u64 = 1500;
/// What may wait to leave though the congestion window is full, at least: it leaves with the next acknowledgements,
/// before anybody could refill.
const LEAST_AHEAD: u64 = 4 * PACKET;
/// The same as a part of the congestion window.
const AHEAD: u64 = 32;
/// Un-acknowledged bytes that are allowed at least.
const LEAST_UNACKED: u64 = 16 << 10;
/// The congestion window until it is known: that of RFC 9002, section 7.2.
const FIRST_WINDOW: u64 = 14_720;

/// The books on the streams of one connection.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Un-acknowledged bytes, whatever the congestion window would allow.
    max_unacked: u64,
    /// Whether little may wait to leave.
    write_late: bool,
    /// Bytes that may be in flight.
    window: u64,
    /// Bytes in flight, streams' and others, as last told, and what left of streams since then.
    in_flight: u64,
    /// Bytes that were lost and did not leave again. Some more, as not all that is lost is of streams; but new bytes
    /// leave only after all of these.
    lost: u64,
    /// Those that were lost since the last word on what is in flight.
    lost_lately: u64,
    /// Bytes of streams that never left.
    waiting: u64,
    /// By s2n-quic's stream id.
    streams: BTreeMap<u64, Stream>,
}

/// Bytes of one stream.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    written: u64,
    /// Those that left at least once.
    left: u64,
}

impl Budget {
    /// For a connection on which nothing happened yet.
    pub(crate) const fn new() -> Self {
        Self {
            max_unacked: u64::MAX,
            write_late: true,
            window: FIRST_WINDOW,
            in_flight: 0,
            lost: 0,
            lost_lately: 0,
            waiting: 0,
            streams: BTreeMap::new(),
        }
    }

    /// Tells what the connection is allowed.
    pub(crate) fn set_up(&mut self, transport: &TransportSettings) {
        self.max_unacked = transport.max_unacked.max(LEAST_UNACKED);
        self.write_late = transport.write_late;
    }

    /// Counts a stream from now on, of which nothing was written.
    pub(crate) fn watch(&mut self, stream: u64) {
        self.streams.insert(stream, Stream::default());
    }

    /// So many bytes of a stream were handed to s2n-quic.
    pub(crate) fn wrote(&mut self, stream: u64, bytes: u64) {
        self.change(stream, |stream| {
            stream.written = stream.written.saturating_add(bytes);
        });
    }

    /// Bytes of a stream left, up to `end` of it.
    pub(crate) fn left(&mut self, stream: u64, bytes: u64, end: u64) {
        self.in_flight = self.in_flight.saturating_add(bytes);
        let known = self
            .streams
            .get(&stream)
            .map_or(u64::MAX, |stream| stream.left);
        if end > known {
            self.lost = 0;
            self.change(stream, |stream| stream.left = end);
        } else {
            self.lost = self.lost.saturating_sub(bytes);
        }
    }

    /// A packet of so many bytes was lost; [`Budget::measured`] follows.
    pub(crate) const fn lost(&mut self, bytes: u64) {
        self.lost_lately = self.lost_lately.saturating_add(bytes);
    }

    /// What s2n-quic knows of the path after something was acknowledged or lost.
    pub(crate) const fn measured(&mut self, window: u64, in_flight: u64) {
        if self.in_flight.saturating_add(PACKET) <= self.window {
            // There was room for what had been lost before.
            self.lost = 0;
        }
        self.lost = self.lost.saturating_add(self.lost_lately);
        self.lost_lately = 0;
        self.window = window;
        self.in_flight = in_flight;
    }

    /// Nothing of a stream will leave any more: it was reset, or all of it has arrived. Harmless if it is not counted.
    pub(crate) fn forget(&mut self, stream: u64) {
        self.change(stream, |stream| stream.written = stream.left);
        self.streams.remove(&stream);
    }

    /// Bytes that may be handed over now.
    pub(crate) fn room(&self, urgent: bool) -> u64 {
        let times = if urgent { 2 } else { 1 };
        let under_way = self.in_flight.saturating_add(self.lost);
        let mut room = self
            .max_unacked
            .saturating_mul(times)
            .saturating_sub(if self.is_quiet() { 0 } else { under_way });
        if self.write_late {
            let leaves = self.window.saturating_sub(under_way);
            room = room.min(leaves.saturating_add(self.ahead()).saturating_mul(times));
        }
        room.saturating_sub(self.waiting)
    }

    /// Whether so much may be handed over that it is worth a round of the executor.
    pub(crate) fn has_room(&self, urgent: bool) -> bool {
        self.room(urgent) >= LEAST_AHEAD / 2
    }

    /// Bytes that may wait to leave while the congestion window is full.
    fn ahead(&self) -> u64 {
        (self.window / AHEAD).max(LEAST_AHEAD)
    }

    /// Nothing is under way: what counts as lost leaves at once, if it was of a stream.
    const fn is_quiet(&self) -> bool {
        self.in_flight == 0 && self.waiting == 0
    }

    fn change(&mut self, stream: u64, change: impl FnOnce(&mut Stream)) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            let before = stream.waiting();
            change(stream);
            let others = self.waiting.saturating_sub(before);
            self.waiting = others.saturating_add(stream.waiting());
        }
    }
}

/// Bytes of a stream's send buffer: as much as the budget ever allows, so that the budget is what limits.
pub(crate) fn send_buffer(max_unacked: u64) -> u32 {
    let both = max_unacked.max(LEAST_UNACKED).saturating_mul(2);
    u32::try_from(both.saturating_add(1)).unwrap_or(u32::MAX)
}

impl Stream {
    const fn waiting(&self) -> u64 {
        self.written.saturating_sub(self.left)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use oxymoq_core::sim::Random;

    use super::*;

    /// Of a connection with this much in flight of this window.
    fn budget(window: u64, in_flight: u64) -> Budget {
        let mut budget = Budget::new();
        budget.set_up(&TransportSettings::default());
        budget.measured(window, in_flight);
        budget.watch(0);
        budget
    }

    #[test]
    fn what_the_window_lets_leave_may_be_written_and_a_little_more() {
        let mut budget = budget(640_000, 600_000);
        assert_eq!((budget.room(false), budget.room(true)), (60_000, 120_000));
        budget.wrote(0, 60_000);
        assert_eq!((budget.room(false), budget.room(true)), (0, 60_000));
        budget.wrote(0, 60_000);
        assert_eq!((budget.room(false), budget.room(true)), (0, 0));
        // What leaves fills the window as it empties the queue.
        budget.left(0, 40_000, 40_000);
        assert_eq!((budget.room(false), budget.room(true)), (0, 0));
        budget.measured(640_000, 540_000);
        assert_eq!(budget.room(false), 40_000);
    }

    #[test]
    fn some_packets_may_wait_on_any_path() {
        assert_eq!(Budget::new().room(false), FIRST_WINDOW + LEAST_AHEAD);
        assert_eq!(budget(0, 0).room(false), LEAST_AHEAD);
        assert_eq!(budget(3_000, 9_000).room(false), LEAST_AHEAD);
    }

    #[test]
    fn what_was_lost_leaves_first() {
        let mut budget = budget(64_000, 64_000);
        budget.wrote(0, 6_000);
        budget.lost(20_000);
        budget.measured(64_000, 44_000);
        assert_eq!(budget.room(false), 0);
        budget.left(0, 15_000, 0);
        assert_eq!((budget.lost, budget.room(false)), (5_000, 0));
        // Not all of it was of streams: what is new tells that no more of it leaves.
        budget.left(0, 2_000, 2_000);
        assert_eq!((budget.lost, budget.room(false)), (0, 5_000));
    }

    #[test]
    fn what_was_lost_and_cannot_leave_again_does_not_count_for_ever() {
        let mut budget = budget(64_000, 64_000);
        budget.lost(64_000);
        budget.measured(32_000, 0);
        assert_eq!(budget.room(false), LEAST_AHEAD);
        budget.measured(32_000, 0);
        assert_eq!(budget.room(false), 32_000 + LEAST_AHEAD);
    }

    #[test]
    fn un_acknowledged_bytes_are_bounded_whatever_the_window() {
        let mut budget = budget(10_000_000, 95_000);
        budget.set_up(&TransportSettings {
            max_unacked: 100_000,
            ..TransportSettings::default()
        });
        assert_eq!((budget.room(false), budget.room(true)), (5_000, 105_000));
        budget.wrote(0, 5_000);
        budget.left(0, 5_000, 5_000);
        assert_eq!(budget.room(false), 0);
        budget.measured(10_000_000, 0);
        assert_eq!(budget.room(false), 100_000);
    }

    #[test]
    fn without_late_writes_only_the_limit_holds() {
        let mut budget = budget(15_000, 0);
        budget.set_up(&TransportSettings {
            max_unacked: 100_000,
            write_late: false,
            ..TransportSettings::default()
        });
        budget.wrote(0, 99_000);
        assert_eq!(budget.room(false), 1_000);
        budget.left(0, 15_000, 15_000);
        assert_eq!(budget.room(false), 1_000);
        budget.measured(30_000, 0);
        assert_eq!(budget.room(false), 16_000);
    }

    /// One stream as it really is.
    #[derive(Default)]
    struct Real {
        written: u64,
        left: u64,
        /// Bytes in flight, by where they end.
        flying: Vec<(u64, u64)>,
        lost: Vec<(u64, u64)>,
    }

    type Streams = BTreeMap<u64, Real>;

    fn sum(streams: &Streams, bytes: impl Fn(&Real) -> u64) -> u64 {
        streams.values().map(bytes).sum()
    }

    /// Sends as s2n-quic does: what was lost first, then what is new of one stream.
    fn send(streams: &mut Streams, pick: u64, most: u64) -> Option<(u64, u64, u64)> {
        for (number, real) in &mut *streams {
            if let Some((bytes, end)) = real.lost.pop() {
                real.flying.push((bytes, end));
                return Some((*number, bytes, end));
            }
        }
        let real = streams.get_mut(&pick)?;
        let bytes = most.min(real.written - real.left);
        real.left += bytes;
        real.flying.push((bytes, real.left));
        (bytes > 0).then_some((pick, bytes, real.left))
    }

    /// Streams are written to, sent, lost, acknowledged and reset at random.
    fn random_traffic(seed: u64) {
        let mut random = Random::new(seed);
        let mut window = 1 + random.below(200_000);
        let mut budget = budget(window, 0);
        let mut streams = Streams::from([(0, Real::default())]);
        for step in 0..1_000 {
            let pick = random.below(8);
            let real = streams.entry(pick).or_insert_with(|| {
                budget.watch(pick);
                Real::default()
            });
            let mut news = false;
            match random.below(16) {
                0..=4 => {
                    let bytes = random.below(30_000).min(budget.room(random.chance(300)));
                    real.written += bytes;
                    budget.wrote(pick, bytes);
                }
                5..=10 => {
                    let sent = send(&mut streams, pick, random.below(1_500));
                    if let Some((stream, bytes, end)) = sent {
                        budget.left(stream, bytes, end);
                    }
                }
                11 => {
                    if let Some(packet) = real.flying.pop() {
                        budget.lost(packet.0);
                        real.lost.push(packet);
                        news = true;
                    }
                }
                12..=14 => news = real.flying.pop().is_some(),
                _ => {
                    budget.forget(pick);
                    streams.remove(&pick);
                }
            }
            let flying = |real: &Real| real.flying.iter().map(|(bytes, _)| bytes).sum();
            let in_flight = sum(&streams, flying);
            if news {
                window = 1 + random.below(200_000);
                budget.measured(window, in_flight);
            }
            let waiting = sum(&streams, |real| real.written - real.left);
            let at = (seed, step);
            assert_eq!(budget.waiting, waiting, "{at:?} {budget:?}");
            let ahead = budget.ahead();
            let free = window.saturating_sub(in_flight);
            assert!(
                budget.room(false) + waiting <= waiting.max(free + ahead),
                "{at:?} {budget:?}"
            );
            assert!(
                budget.room(false) >= ahead.saturating_sub(waiting),
                "{at:?} {budget:?}"
            );
            assert!(budget.room(true) >= budget.room(false), "{at:?} {budget:?}");
        }
        // Whatever happened: once nothing waits and all has arrived, all may be written that the window lets leave.
        while let Some((stream, bytes, end)) =
            (0..8).find_map(|pick| send(&mut streams, pick, 1_500))
        {
            budget.left(stream, bytes, end);
        }
        budget.measured(window, 0);
        budget.measured(window, 0);
        assert_eq!(budget.room(false), window + budget.ahead(), "seed {seed}");
    }

    #[test]
    fn books_agree_with_random_traffic() {
        for seed in 0..50 {
            random_traffic(seed);
        }
    }
}
