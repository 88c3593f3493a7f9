//! Puts the objects of one track into order: waits a while for what is missing, and no longer.
//!
//! Objects of a track come on many streams, which the network may reorder. [`Jitter`] releases what follows on what was
//! released last at once, and lets what comes too early wait for what is missing, up to [`Limits::wait`]. So a network
//! that keeps the order costs no time.
//!
//! What follows on what is told by the location, by the counter that some formats have ([`Arrival::sequence`]), and by what
//! the publisher says of the ends of groups ([`Jitter::end_of_group`]). Where none of them decides, the time does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::time::Time;
use crate::wire::id::{GroupId, Location, ObjectId};

/// The bounds of a [`Jitter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long an object waits for those before it. Default: 300 ms, as users of moxygen's `--dejitter_buffer_size_ms`
    /// expect: a retransmission or two on a far path.
    pub wait: Duration,
    /// Objects that wait; beyond it the first gap is given up. Default: 4096, of audio more than a minute.
    pub max_objects: usize,
    /// Bytes that wait; beyond it the first gap is given up. Default: 16 MiB, four seconds at 32 Mbit/s.
    pub max_bytes: usize,
    /// Gaps that are remembered, to tell an object that is late from one that came twice. Default: 64.
    pub max_gaps: usize,
    /// Groups whose end is remembered while it may matter. Default: 4096, as many as objects wait where each has a group of
    /// its own.
    pub max_group_ends: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wait: Duration::from_millis(300),
            max_objects: 4096,
            max_bytes: 16 << 20,
            max_gaps: 64,
            max_group_ends: 4096,
        }
    }
}

/// An object that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where it is.
    pub location: Location,
    /// Its number in the track, if its format counts: one more than that of the object before.
    pub sequence: Option<u64>,
    /// Whether nothing before it will come that is not released yet: the first object of a FETCH.
    pub is_start: bool,
    /// How much of [`Limits::max_bytes`] it takes.
    pub bytes: usize,
}

/// An object in its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// Where it is.
    pub location: Location,
    /// Whether something before it is missing.
    pub after_gap: bool,
    /// What was pushed.
    pub item: T,
}

/// Why an object is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// It was not waited for any longer, or is from before the start.
    Late,
    /// It came before.
    Duplicate,
}

/// What became of a track's objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Objects released.
    pub released: u64,
    /// Objects that were late.
    pub late: u64,
    /// Objects that came again.
    pub duplicates: u64,
    /// Gaps that were given up.
    pub gaps: u64,
}

/// The objects of one track that wait for their turn. See the [module](self).
#[derive(Debug)]
pub struct Jitter<T> {
    limits: Limits,
    waiting: BTreeMap<Location, Waiting<T>>,
    /// Those that wait, oldest first.
    arrivals: BTreeSet<(Time, Location)>,
    bytes: usize,
    /// Nothing up to here is released any more.
    last: Option<Last>,
    /// The lowest id of each group that does not exist.
    ends: BTreeMap<GroupId, ObjectId>,
    /// Gaps that were given up: from after the first to before the second location.
    gaps: VecDeque<(Location, Location)>,
    /// Set while somebody brings what is missing, however long it takes.
    is_holding: bool,
    /// When that was over; what arrived earlier has waited since then only.
    held_until: Time,
    is_flushing: bool,
    counts: Counts,
}

#[derive(Debug)]
struct Waiting<T> {
    arrived: Time,
    arrival: Arrival,
    item: T,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    location: Location,
    sequence: Option<u64>,
}

/// What is between the object released last and another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Next,
    /// Perhaps the end of a group, which does not change what the next group means.
    Unknown,
    /// Objects are missing.
    Gap,
}

impl<T> Jitter<T> {
    /// Of a track of which nothing has arrived.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: BTreeMap::new(),
            arrivals: BTreeSet::new(),
            bytes: 0,
            last: None,
            ends: BTreeMap::new(),
            gaps: VecDeque::new(),
            is_holding: false,
            held_until: Time::ZERO,
            is_flushing: false,
            counts: Counts {
                released: 0,
                late: 0,
                duplicates: 0,
                gaps: 0,
            },
        }
    }

    /// The track was subscribed to, and objects after this location are to come: `None` if none was published yet.
    ///
    /// If that is before what was released last, the track has begun anew, and so does this.
    pub fn subscribed(&mut self, largest: Option<Location>) {
        let has_begun_anew = self.last.is_some_and(|last| largest < Some(last.location));
        if has_begun_anew {
            self.forget();
        }
        if self.last.is_none()
            && let Some(location) = largest
        {
            self.last = Some(Last {
                location,
                sequence: None,
            });
        }
    }

    /// As [`subscribed`](Self::subscribed), with a FETCH on its way that brings what is before: until
    /// [`fetched`](Self::fetched) nothing that is missing is given up.
    pub fn joining(&mut self, largest: Option<Location>) {
        if self.last.is_some_and(|last| largest < Some(last.location)) {
            self.forget();
        }
        self.is_holding = true;
    }

    /// The FETCH is over: what is missing now is waited for as long as anything else.
    pub fn fetched(&mut self, now: Time) {
        self.is_holding = false;
        self.held_until = now;
    }

    /// Whether a FETCH is awaited.
    pub const fn is_holding(&self) -> bool {
        self.is_holding
    }

    /// An object arrived.
    ///
    /// # Errors
    /// If it is late or was there before; it is counted and dropped.
    pub fn push(&mut self, now: Time, arrival: Arrival, item: T) -> Result<(), Unwanted> {
        let location = arrival.location;
        if self.last.is_some_and(|last| location <= last.location) {
            let within = |gap: &(Location, Location)| gap.0 < location && location < gap.1;
            let is_first = self.counts.released == 0;
            let unwanted = if is_first || self.gaps.iter().any(within) {
                Unwanted::Late
            } else {
                Unwanted::Duplicate
            };
            return Err(self.refuse(unwanted));
        }
        if self.waiting.contains_key(&location) {
            return Err(self.refuse(Unwanted::Duplicate));
        }
        self.is_flushing = false;
        self.bytes = self.bytes.saturating_add(arrival.bytes);
        self.arrivals.insert((now, location));
        let arrived = now;
        self.waiting.insert(
            location,
            Waiting {
                arrived,
                arrival,
                item,
            },
        );
        Ok(())
    }

    /// No object of the group has this or a larger id.
    pub fn end_of_group(&mut self, group: GroupId, end: ObjectId) {
        if self.last.is_some_and(|last| group < last.location.group) {
            return;
        }
        let known = self.ends.entry(group).or_insert(end);
        *known = end.min(*known);
        if self.ends.len() > self.limits.max_group_ends {
            self.ends.pop_first();
        }
    }

    /// The next object, if it is its turn.
    pub fn poll(&mut self, now: Time) -> Option<Released<T>> {
        let head = self.waiting.first_entry()?;
        let arrival = head.get().arrival;
        let step = step(self.last, &self.ends, &arrival);
        let may_leave = step == Step::Next
            || arrival.is_start
            || self.is_flushing
            || self.bytes > self.limits.max_bytes
            || self.arrivals.len() > self.limits.max_objects
            || self.deadline().is_some_and(|deadline| deadline <= now);
        if !may_leave {
            return None;
        }
        let (location, waiting) = self.waiting.pop_first()?;
        self.arrivals.remove(&(waiting.arrived, location));
        self.bytes = self.bytes.saturating_sub(arrival.bytes);
        let after_gap = step == Step::Gap;
        if after_gap {
            self.skipped_to(location);
        }
        self.last = Some(Last {
            location,
            sequence: arrival.sequence,
        });
        while let Some(first) = self.ends.first_entry()
            && *first.key() < location.group
        {
            first.remove();
        }
        self.counts.released += 1;
        Some(Released {
            location,
            after_gap,
            item: waiting.item,
        })
    }

    /// When to call [`poll`](Self::poll) even if nothing arrives.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadline()
    }

    /// Nothing more will come: everything that waits may leave.
    pub const fn flush(&mut self) {
        self.is_flushing = true;
        self.is_holding = false;
    }

    /// How many objects wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many bytes wait.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What became of the objects so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// When the oldest object has waited long enough.
    fn deadline(&self) -> Option<Time> {
        if self.is_holding {
            return None;
        }
        let (arrived, _) = self.arrivals.first()?;
        Some((*arrived).max(self.held_until) + self.limits.wait)
    }

    fn refuse(&mut self, unwanted: Unwanted) -> Unwanted {
        match unwanted {
            Unwanted::Late => self.counts.late += 1,
            Unwanted::Duplicate => self.counts.duplicates += 1,
        }
        unwanted
    }

    fn skipped_to(&mut self, location: Location) {
        self.counts.gaps += 1;
        if let Some(last) = self.last {
            if self.gaps.len() == self.limits.max_gaps {
                self.gaps.pop_front();
            }
            self.gaps.push_back((last.location, location));
        }
    }

    /// The track begins anew: its locations say nothing of those from before.
    fn forget(&mut self) {
        self.last = None;
        self.ends.clear();
        self.gaps.clear();
        self.waiting.clear();
        self.arrivals.clear();
        self.bytes = 0;
    }
}

/// What is between the object released last and this one, which is after it.
fn step(last: Option<Last>, ends: &BTreeMap<GroupId, ObjectId>, arrival: &Arrival) -> Step {
    let Some(last) = last else {
        // Whether there was something before is known only where objects are counted.
        return if arrival.sequence == Some(0) {
            Step::Next
        } else {
            Step::Unknown
        };
    };
    if let (Some(before), Some(sequence)) = (last.sequence, arrival.sequence)
        && before.checked_add(1) == Some(sequence)
    {
        return Step::Next;
    }
    let (from, to) = (last.location, arrival.location);
    let follows = from.object.0.checked_add(1).map(ObjectId);
    if from.group == to.group {
        return if follows == Some(to.object) {
            Step::Next
        } else {
            Step::Gap
        };
    }
    let is_next_group = from.group.0.checked_add(1) == Some(to.group.0);
    if !is_next_group || to.object != ObjectId(0) {
        return Step::Gap;
    }
    match ends.get(&from.group) {
        Some(end) if follows >= Some(*end) => Step::Next,
        Some(_) => Step::Gap,
        None if last.sequence.is_some() && arrival.sequence.is_some() => Step::Gap,
        None => Step::Unknown,
    }
}

#[cfg(test)]
mod tests;
