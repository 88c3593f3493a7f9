//! A relay on several threads: each has a socket, a QUIC endpoint, its connections and a relay core, and links to the others.
//!
//! The threads share the accounts of memory, names and connections; what else is limited for all of them together is divided.
//! What one has for another are frames of the link between them, which it hands over at the end of each turn of its loop.

pub mod post;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::Waker;
use std::thread;

use oxymoq_core::link::{Frame, Link, Shard};
use oxymoq_core::relay::{Relay, Settings, Shared};
use oxymoq_core::time::{Time, WallTime};
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
};

use post::Post;

/// The relay of one shard, with its links to those of the others.
///
/// Outwards it is an application like any other. [`Application::poll_exit`] is the end of a turn of every adapter's loop:
/// what there is for other shards leaves then.
#[derive(Debug)]
pub struct Member {
    relay: Relay,
    /// In the order of the other shards; made when the time is first told.
    links: Vec<Link>,
    post: Post<Frame>,
    now: Time,
    /// Whether any shard was told to end: not every thread needs to notice a signal.
    ending: Arc<AtomicBool>,
    told_to_end: bool,
}

impl Member {
    /// A relay for each of the threads that these wake, in their order, each with its [`share`] of what `settings` allow.
    pub fn all(settings: &Settings, wakers: &[Waker]) -> Vec<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let places = Post::among(wakers).into_iter();
        places
            .zip(Shared::new(settings, wakers.len()))
            .map(|(post, shared)| Self {
                relay: Relay::sharded(share(settings, post.here(), post.threads()), shared),
                links: Vec::new(),
                post,
                now: Time::ZERO,
                ending: Arc::clone(&ending),
                told_to_end: false,
            })
            .collect()
    }

    /// Takes in what other threads have sent.
    fn receive(&mut self, now: Time) {
        self.now = now;
        if self.ending.load(Ordering::Acquire) && !self.told_to_end {
            self.end(now);
        }
        for (from, frame) in self.post.take() {
            let link = self
                .links
                .iter_mut()
                .find(|link| shard(from) == link.there());
            if let Some(link) = link {
                link.handle_frame(&mut self.relay, now, frame);
            }
        }
    }

    fn end(&mut self, now: Time) {
        self.told_to_end = true;
        self.relay.handle_shutdown(now);
    }

    fn connect(&mut self, now: Time) {
        if self.links.is_empty() {
            let here = self.post.here();
            let others = (0..self.post.threads()).filter(|there| *there != here);
            self.links = others
                .map(|there| Link::new(&mut self.relay, now, shard(here), shard(there)))
                .collect();
        }
    }
}

/// What one of so many threads may use of what a relay may use in all: cache and log lines are divided, so that the
/// threads together stay within the limits. Clients come to threads by chance, evenly.
///
/// Memory, names and connections have one account for all ([`Shared`]). Limits of one track or one peer are as they are for
/// each, and so are those of tables whose size memory and connections bound.
#[must_use]
pub fn share(settings: &Settings, thread: usize, threads: usize) -> Settings {
    let mut mine = settings.clone();
    let limits = &mut mine.limits;
    limits.max_log_lines = part(limits.max_log_lines, thread, threads);
    mine.cache.max_bytes = part(mine.cache.max_bytes, thread, threads);
    mine
}

/// Parts differ by one at most, and are the whole together.
fn part<N>(whole: N, thread: usize, threads: usize) -> N
where
    N: TryFrom<usize> + TryInto<usize> + Copy,
{
    let Ok(all) = whole.try_into() else {
        return whole;
    };
    let threads = threads.max(1);
    let rest = usize::from(thread < all % threads);
    N::try_from(all / threads + rest).unwrap_or(whole)
}

/// The number of a thread, as its link knows it.
fn shard(thread: usize) -> Shard {
    Shard(u16::try_from(thread).unwrap_or(u16::MAX))
}

impl Application for Member {
    fn handle_wall_clock(&mut self, now: Time, wall: WallTime) {
        self.relay.handle_wall_clock(now, wall);
        self.connect(now);
        self.receive(now);
    }

    fn handle_incoming(&mut self, now: Time, incoming: &Incoming) -> Admission {
        self.relay.handle_incoming(now, incoming)
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.relay.handle_input(now, connection, input);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.relay.handle_answer(now, connection, answer);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.relay.handle_timeout(now);
    }

    fn handle_wake(&mut self, now: Time) {
        self.connect(now);
        self.receive(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.ending.store(true, Ordering::Release);
        self.post.wake_others();
        if !self.told_to_end {
            self.end(now);
        }
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        loop {
            let connection = self.relay.poll_dirty()?;
            let mut links = self.links.iter_mut();
            let Some(link) = links.find(|link| link.connection() == connection) else {
                return Some(connection);
            };
            while let Some(frame) = link.poll_frame(&mut self.relay, self.now) {
                self.post.put(usize::from(link.there().0), frame);
            }
        }
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        self.relay.poll_output(now, connection)
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.relay.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.relay.poll_timeout()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.post.send();
        let failure = self.links.iter().find_map(Link::failure);
        if let Some(words) = failure {
            return Some(Exit::Failure(words.to_owned()));
        }
        self.relay.poll_exit()
    }
}

/// Runs each of these on a thread of its own until all have succeeded or one has not, which is the end of the others as well
/// if the program ends then.
///
/// # Errors
///
/// A sentence of the first that failed.
pub fn run_threads<F>(work: impl IntoIterator<Item = F>) -> Result<Exit, String>
where
    F: FnOnce() -> Result<Exit, String> + Send + 'static,
{
    let (tell, ended) = mpsc::channel();
    for (number, work) in work.into_iter().enumerate() {
        let tell = tell.clone();
        let thread = thread::Builder::new().name(format!("shard {number}"));
        let started = thread.spawn(move || {
            // Nobody looks at what it was working on any more.
            let result = panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
                Err(format!(
                    "shard {number} panicked, which is a mistake of this program: see above"
                ))
            });
            // If nobody listens, another one has failed before.
            let _too_late = tell.send(result);
        });
        started
            .map_err(|error| format!("the thread of shard {number} cannot be started: {error}"))?;
    }
    drop(tell);
    let failed = ended
        .into_iter()
        .find(|result| !matches!(result, Ok(Exit::Success)));
    failed.unwrap_or(Ok(Exit::Success))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Work = Box<dyn FnOnce() -> Result<Exit, String> + Send>;

    fn failure(work: Vec<Work>) -> String {
        match run_threads(work) {
            Ok(Exit::Success) => panic!("nothing failed"),
            Ok(Exit::Failure(words)) | Err(words) => words,
        }
    }

    #[test]
    fn threads_together_have_exactly_what_one_would_have() {
        let whole = Settings::default();
        for threads in [1, 2, 3, 64] {
            let parts: Vec<Settings> = (0..threads).map(|it| share(&whole, it, threads)).collect();
            let sum = |of: fn(&Settings) -> usize| parts.iter().map(of).sum::<usize>();
            let lines = sum(|it| it.limits.max_log_lines);
            assert_eq!(lines, whole.limits.max_log_lines, "{threads} threads");
            let cached: u64 = parts.iter().map(|it| it.cache.max_bytes).sum();
            assert_eq!(cached, whole.cache.max_bytes, "{threads} threads");
        }
    }

    #[test]
    fn all_have_to_succeed() {
        let (sender, receiver) = mpsc::channel();
        let work: [Work; 2] = [
            Box::new(move || {
                receiver.recv().map_err(|error| error.to_string())?;
                Ok(Exit::Success)
            }),
            Box::new(move || {
                sender.send(()).map_err(|error| error.to_string())?;
                Ok(Exit::Success)
            }),
        ];
        assert_eq!(run_threads(work), Ok(Exit::Success));
    }

    #[test]
    fn the_first_failure_ends_it_though_others_never_end() {
        let endless = || -> Work {
            Box::new(|| {
                loop {
                    thread::park();
                }
            })
        };
        let panics: Work = Box::new(|| panic!("as this test wants it"));
        let words = failure(vec![endless(), panics, endless()]);
        assert!(words.contains("shard 1 panicked"), "{words}");
        let fails: Work = Box::new(|| Ok(Exit::Failure("no luck".to_owned())));
        assert_eq!(failure(vec![endless(), fails]), "no luck");
        let cannot: Work = Box::new(|| Err("no socket".to_owned()));
        assert_eq!(failure(vec![cannot, endless()]), "no socket");
    }
}
