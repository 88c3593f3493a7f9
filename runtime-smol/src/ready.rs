//! The queue of things to look at, filled by the wakers that are handed to s2n-quic.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};

use oxymoq_core::transport::{ConnectionId, Dir, StreamId};

/// Locks a mutex; what it guards stays usable even if another holder panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that a waker was registered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A client wants in, or its handshake ended; or a socket failed.
    Incoming,
    /// Another thread rang the endpoint's bell.
    Rung,
    /// An outgoing connection got somewhere.
    Connecting(ConnectionId),
    /// A new stream, news of the path, a datagram, or the end of the connection.
    Connection(ConnectionId),
    /// There may be credit for a stream.
    Opening(ConnectionId, Dir),
    /// Bytes, the end or a reset.
    Readable(ConnectionId, StreamId),
    /// Room, or all is acknowledged.
    Writable(ConnectionId, StreamId),
}

/// Events that were woken and not yet looked at, each at most once, in order of waking; and who is to look at them.
///
/// Bounded by the number of live wakers.
#[derive(Debug, Default)]
pub(crate) struct Ready(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    tokens: Vec<Arc<Token>>,
    task: Option<Waker>,
}

/// What a waker is made of.
#[derive(Debug)]
struct Token {
    event: Event,
    queued: AtomicBool,
    ready: Weak<Ready>,
}

impl Ready {
    /// A waker that puts this event on the queue.
    pub(crate) fn waker(self: &Arc<Self>, event: Event) -> Waker {
        Waker::from(Arc::new(Token {
            event,
            queued: AtomicBool::new(false),
            ready: Arc::downgrade(self),
        }))
    }

    /// All that happened since the last call.
    pub(crate) fn take(&self) -> Vec<Event> {
        let tokens = mem::take(&mut lock(&self.0).tokens);
        let look = |token: Arc<Token>| {
            // Before anyone acts on it, so that a wake during the action counts again.
            token.queued.store(false, Ordering::Release);
            token.event
        };
        tokens.into_iter().map(look).collect()
    }

    /// Whether [`Ready::take`] would return nothing.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).tokens.is_empty()
    }

    /// Names the task to wake for each new event.
    pub(crate) fn listen(&self, task: &Waker) {
        let mut queue = lock(&self.0);
        match &mut queue.task {
            Some(known) => known.clone_from(task),
            unknown @ None => *unknown = Some(task.clone()),
        }
    }
}

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(ready) = self.ready.upgrade() else {
            return;
        };
        let task = {
            let mut queue = lock(&ready.0);
            queue.tokens.push(self);
            queue.task.clone()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_is_queued_once_until_taken() {
        let ready = Arc::new(Ready::default());
        let waker = ready.waker(Event::Incoming);
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!(ready.take(), [Event::Incoming]);
        assert!(ready.is_empty());
        waker.wake_by_ref();
        assert_eq!(ready.take(), [Event::Incoming]);
    }

    #[test]
    fn events_come_in_order_of_waking() {
        let ready = Arc::new(Ready::default());
        let one = ready.waker(Event::Connection(ConnectionId(1)));
        let two = ready.waker(Event::Connection(ConnectionId(2)));
        two.wake_by_ref();
        one.wake_by_ref();
        two.wake();
        let ids = [2, 1].map(|n| Event::Connection(ConnectionId(n)));
        assert_eq!(ready.take(), ids);
    }
}
