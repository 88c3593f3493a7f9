//! A thread that wakes the endpoint when an object is due: runtimes sleep in steps of a millisecond.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::task::Waker;
use std::thread;

use crate::clock::{self, Moment};

/// Rings a bell at the moments that it is told, each once.
#[derive(Debug)]
pub(super) struct Metronome {
    /// `None` without a thread: then the runtime's timers alone keep the time.
    moments: Option<Sender<Moment>>,
    told: Option<Moment>,
}

impl Metronome {
    /// Starts the thread; it ends with this value.
    pub(super) fn start(bell: Waker) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new().name("metronome".to_owned());
        let started = thread.spawn(move || keep_time(&receiver, &bell));
        if let Err(error) = &started {
            log::warn!("no thread to keep time with: {error}; objects leave up to 1 ms late");
        }
        Self {
            moments: started.is_ok().then_some(sender),
            told: None,
        }
    }

    /// Rings at this moment, instead of the one told before.
    pub(super) fn ring_at(&mut self, moment: Option<Moment>) {
        if self.told == moment {
            return;
        }
        self.told = moment;
        if let (Some(moments), Some(moment)) = (&self.moments, moment)
            && moments.send(moment).is_err()
        {
            self.moments = None;
        }
    }
}

fn keep_time(moments: &Receiver<Moment>, bell: &Waker) {
    while let Ok(mut moment) = moments.recv() {
        loop {
            let wait = moment.since(clock::now());
            match moments.recv_timeout(wait) {
                Ok(other) => moment = other,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        bell.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    struct Bell(Sender<Moment>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.send(clock::now()).unwrap();
        }
    }

    #[test]
    fn it_rings_when_it_was_told_and_not_before() {
        let (sender, rings) = mpsc::channel();
        let mut metronome = Metronome::start(Waker::from(Arc::new(Bell(sender))));
        let never = clock::now() + Duration::from_secs(3600);
        let soon = clock::now() + Duration::from_millis(2);
        metronome.ring_at(Some(never));
        metronome.ring_at(Some(soon));
        metronome.ring_at(Some(soon));
        let rang = rings.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(rang >= soon);
        metronome.ring_at(None);
        drop(metronome);
        assert!(rings.recv().is_err(), "it rang once, and the thread ended");
    }
}
