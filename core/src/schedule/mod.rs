//! What leaves next (draft 18 § Priorities): the most urgent of the streams and datagrams that have something to send.
//!
//! The draft orders by subscriber priority, then publisher priority, then, within a request, by group, and within a group
//! by subgroup or object. Between requests of equal priority it leaves the order open but expects all to progress: here
//! they take turns. Nothing in here knows messages, and a key that is ready, served and ready again allocates nothing.

mod order;
#[cfg(test)]
mod tests;

pub use order::{Class, Place};

/// Keys of things that have something to send, ordered by urgency.
///
/// `R` names a request, `K` a stream or datagram of it. Both are ordered only to make ties come out the same every time.
#[derive(Clone, Debug)]
pub struct Schedule<R, K> {
    /// Sorted by class, then key: few enough that moving them costs less than a tree would.
    slots: Vec<Slot<R, K>>,
    /// Grows by one whenever a request goes to the back of the queue.
    turns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot<R, K> {
    class: Class,
    request: R,
    place: Place,
    key: K,
    /// Among requests of one class, the one with the smallest value is next.
    turn: u64,
}

impl<R, K> Default for Schedule<R, K> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            turns: 0,
        }
    }
}

impl<R: Copy + Ord, K: Copy + Ord> Schedule<R, K> {
    /// `key` has something to send. If it was there already it moves to where it belongs now.
    pub fn insert(&mut self, key: K, request: R, class: Class, place: Place) {
        self.remove(key);
        let turn = match self.slots.iter().find(|slot| slot.request == request) {
            Some(slot) => slot.turn,
            None => self.next_turn(),
        };
        let at = self
            .slots
            .partition_point(|slot| (slot.class, slot.key) < (class, key));
        self.slots.insert(
            at,
            Slot {
                class,
                request,
                place,
                key,
                turn,
            },
        );
    }

    /// `key` has nothing to send any more. Whether it had.
    pub fn remove(&mut self, key: K) -> bool {
        let found = self.slots.iter().position(|slot| slot.key == key);
        if let Some(at) = found {
            self.slots.remove(at);
        }
        found.is_some()
    }

    /// Whether `key` has something to send.
    pub fn contains(&self, key: K) -> bool {
        self.slots.iter().any(|slot| slot.key == key)
    }

    /// The most urgent key of those that `may` leave now.
    pub fn first(&self, mut may: impl FnMut(K) -> bool) -> Option<K> {
        let mut best: Option<&Slot<R, K>> = None;
        for slot in &self.slots {
            match best {
                // the slots of a class are together
                Some(found) if found.class < slot.class => break,
                Some(found) if found.rank() < slot.rank() => {}
                _ if may(slot.key) => best = Some(slot),
                _ => {}
            }
        }
        best.map(|slot| slot.key)
    }

    /// Something of `key` left: requests of equal priority come before its request now.
    pub fn served(&mut self, key: K) {
        let request = self.slots.iter().find(|slot| slot.key == key);
        let Some(request) = request.map(|slot| slot.request) else {
            return;
        };
        let turn = self.next_turn();
        for slot in &mut self.slots {
            if slot.request == request {
                slot.turn = turn;
            }
        }
    }

    const fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }
}

impl<R: Copy + Ord, K: Copy + Ord> Slot<R, K> {
    const fn rank(&self) -> (u64, R, Place, K) {
        (self.turn, self.request, self.place, self.key)
    }
}
