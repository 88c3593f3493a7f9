//! Post between the threads of a program: each has one box, into which all others put what they have for it.
//!
//! What is sent in one turn of a thread's loop goes in one batch, and wakes the receiver once, if it was not awake anyway.
//! No lock is taken. A box has no bound of its own: what may be under way is for the sender to know.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::Waker;

/// One thread's place: its own box, and how to reach the others'.
#[derive(Debug)]
pub struct Post<T> {
    here: usize,
    inbox: Receiver<Batch<T>>,
    /// Those of all threads, in their order; of this one's own only the bell is used.
    boxes: Vec<Outbox<T>>,
}

/// What a thread sent to another in one turn, and which thread.
#[derive(Debug)]
struct Batch<T> {
    from: usize,
    all: Vec<T>,
}

#[derive(Debug)]
struct Outbox<T> {
    sender: Sender<Batch<T>>,
    bell: Bell,
    /// Put there in this turn.
    unsent: Vec<T>,
}

/// Rings until it is heard.
#[derive(Clone, Debug)]
struct Bell {
    rung: Arc<AtomicBool>,
    waker: Waker,
}

impl Bell {
    fn ring(&self) {
        // Whoever did not hear the last ring yet will find what is new as well.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake_by_ref();
        }
    }
}

impl<T> Post<T> {
    /// A place for each of the threads that these wake, in their order.
    pub fn among(wakers: &[Waker]) -> Vec<Self> {
        let (senders, inboxes): (Vec<_>, Vec<_>) = wakers.iter().map(|_| mpsc::channel()).unzip();
        let bell = |waker: &Waker| Bell {
            rung: Arc::default(),
            waker: waker.clone(),
        };
        let bells: Vec<Bell> = wakers.iter().map(bell).collect();
        let boxes = || {
            let pairs = senders.iter().zip(&bells);
            pairs.map(|(sender, bell): (&Sender<_>, &Bell)| Outbox {
                sender: sender.clone(),
                bell: bell.clone(),
                unsent: Vec::new(),
            })
        };
        let inboxes = inboxes.into_iter().enumerate();
        inboxes
            .map(|(here, inbox)| Self {
                here,
                inbox,
                boxes: boxes().collect(),
            })
            .collect()
    }

    /// How many threads there are, this one included.
    pub const fn threads(&self) -> usize {
        self.boxes.len()
    }

    /// The number of this thread.
    pub const fn here(&self) -> usize {
        self.here
    }

    /// Puts something into the box of another thread, which gets it with the next [`Post::send`].
    pub fn put(&mut self, to: usize, what: T) {
        if let Some(other) = self.boxes.get_mut(to) {
            other.unsent.push(what);
        }
    }

    /// Sends all that was put, and wakes those that it is for.
    pub fn send(&mut self) {
        for other in &mut self.boxes {
            if other.unsent.is_empty() {
                continue;
            }
            let batch = Batch {
                from: self.here,
                all: mem::take(&mut other.unsent),
            };
            // It fails if the other has ended, and then wants nothing any more.
            if other.sender.send(batch).is_ok() {
                other.bell.ring();
            }
        }
    }

    /// Wakes all others.
    pub fn wake_others(&self) {
        let others = self.boxes.iter().enumerate();
        for (_, other) in others.filter(|(index, _)| *index != self.here) {
            other.bell.ring();
        }
    }

    /// All that has come since the last time, in the order of each sender, with the sender's number.
    pub fn take(&self) -> Vec<(usize, T)> {
        if let Some(mine) = self.boxes.get(self.here) {
            // Before the box is looked at, so that what comes later rings again.
            mine.bell.rung.swap(false, Ordering::AcqRel);
        }
        let batches = self.inbox.try_iter();
        batches
            .flat_map(|batch| batch.all.into_iter().map(move |it| (batch.from, it)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;
    use std::thread;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Debug, Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn places(count: usize) -> (Vec<Arc<Count>>, Vec<Post<u32>>) {
        let counts: Vec<Arc<Count>> = (0..count).map(|_| Arc::default()).collect();
        let wakers: Vec<Waker> = counts
            .iter()
            .map(|it| Waker::from(Arc::clone(it)))
            .collect();
        (counts, Post::among(&wakers))
    }

    fn woken(counts: &[Arc<Count>]) -> Vec<usize> {
        counts
            .iter()
            .map(|it| it.0.load(Ordering::SeqCst))
            .collect()
    }

    #[test]
    fn one_turn_is_one_batch_and_wakes_only_whom_it_is_for() {
        let (counts, mut posts) = places(3);
        for what in 0..100 {
            posts[0].put(2, what);
        }
        assert!(posts[2].take().is_empty(), "nothing was sent");
        posts[0].send();
        posts[0].send();
        assert_eq!(woken(&counts), [0, 0, 1]);
        let expected: Vec<(usize, u32)> = (0..100).map(|what| (0, what)).collect();
        assert_eq!(posts[2].take(), expected);
        assert!(posts[1].take().is_empty());
    }

    #[test]
    fn who_is_awake_is_not_woken_again_but_after_it_looked() {
        let (counts, mut posts) = places(3);
        posts[0].put(2, 1);
        posts[0].send();
        posts[1].put(2, 2);
        posts[1].send();
        assert_eq!(woken(&counts), [0, 0, 1]);
        assert_eq!(posts[2].take(), [(0, 1), (1, 2)]);
        posts[1].put(2, 3);
        posts[1].send();
        assert_eq!(woken(&counts), [0, 0, 2]);
    }

    #[test]
    fn who_has_ended_gets_nothing_and_all_others_can_be_woken() {
        let (counts, mut posts) = places(3);
        drop(posts.pop());
        posts[0].put(2, 1);
        posts[0].send();
        assert_eq!(woken(&counts), [0, 0, 0]);
        posts[0].wake_others();
        assert_eq!(woken(&counts), [0, 1, 1]);
    }

    #[test]
    fn nothing_is_lost_between_threads_that_sleep_until_they_are_woken() {
        /// Wakes a thread.
        #[derive(Debug)]
        struct Unpark(thread::Thread);

        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }

        const ALL: u32 = 10_000;
        let wakers = [
            Waker::noop().clone(),
            Waker::from(Arc::new(Unpark(thread::current()))),
        ];
        let mut posts: Vec<Post<u32>> = Post::among(&wakers);
        let (mine, mut other) = (posts.pop().unwrap(), posts.pop().unwrap());
        let sender = thread::spawn(move || {
            for what in 0..ALL {
                other.put(1, what);
                other.send();
            }
        });
        let mut next = 0;
        while next < ALL {
            let all = mine.take();
            if all.is_empty() {
                thread::park();
            }
            for (from, what) in all {
                assert_eq!((from, what), (0, next));
                next += 1;
            }
        }
        sender.join().unwrap();
    }
}
