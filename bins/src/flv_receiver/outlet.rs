//! Where the bytes go: a file, a fifo or stdout, written by a thread of its own, since any of them may block.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::task::Waker;
use std::thread;

use bytes::Bytes;

/// The name that stands for stdout.
pub const STDOUT: &str = "-";

/// How an output is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being opened: a fifo waits for its reader.
    Opening,
    /// It takes bytes.
    Open,
    /// Everything is written and it is closed.
    Closed,
    /// Whoever read it has seen enough.
    Deserted,
    /// It does not work: a sentence.
    Broken(String),
}

/// Something to write to that never blocks. Its owner is woken when its state changes, and when there is room again.
pub trait Outlet {
    /// How it is doing.
    fn state(&mut self) -> State;

    /// Takes these bytes, or gives them back if there is no room now.
    ///
    /// # Errors
    ///
    /// The bytes.
    fn offer(&mut self, bytes: Bytes) -> Result<(), Bytes>;

    /// Nothing more will be offered: [`State::Closed`] once everything is written.
    fn finish(&mut self);
}

/// A file, a fifo or stdout with its thread.
#[derive(Debug)]
pub struct Pipe {
    /// One chunk may wait while another is being written.
    chunks: Option<SyncSender<Bytes>>,
    news: Receiver<State>,
    state: State,
}

impl Pipe {
    /// Begins to open what is at `path`, or stdout for [`STDOUT`]. `bell` is rung when there is something new.
    pub fn open(path: &str, bell: Waker) -> Self {
        let (chunks, waiting) = sync_channel(1);
        // What changes a state: opened and closed.
        let (tell, news) = sync_channel(2);
        let path = path.to_owned();
        let write = move || {
            let end = match open(&path) {
                Ok(file) => {
                    tell_and_ring(&tell, State::Open, &bell);
                    ending(&path, write_all(file, &waiting, &bell))
                }
                Err(error) => State::Broken(format!("cannot open '{path}': {error}")),
            };
            tell_and_ring(&tell, end, &bell);
        };
        let thread = thread::Builder::new()
            .name("output".to_owned())
            .spawn(write);
        let state = match thread {
            Ok(_detached) => State::Opening,
            Err(error) => State::Broken(format!("cannot start a thread for the output: {error}")),
        };
        Self {
            chunks: Some(chunks),
            news,
            state,
        }
    }
}

fn tell_and_ring(tell: &SyncSender<State>, state: State, bell: &Waker) {
    // Nobody listens any more if the program is over.
    let _heard = tell.send(state);
    bell.wake_by_ref();
}

fn open(path: &str) -> io::Result<File> {
    if path == STDOUT {
        return Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(Path::new(path))
}

fn write_all(mut file: File, chunks: &Receiver<Bytes>, bell: &Waker) -> io::Result<()> {
    while let Ok(chunk) = chunks.recv() {
        // There is room for another one.
        bell.wake_by_ref();
        file.write_all(&chunk)?;
    }
    file.flush()
}

fn ending(path: &str, result: io::Result<()>) -> State {
    match result {
        Ok(()) => State::Closed,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => State::Deserted,
        Err(error) => State::Broken(format!("cannot write to '{path}': {error}")),
    }
}

impl Outlet for Pipe {
    fn state(&mut self) -> State {
        loop {
            match self.news.try_recv() {
                Ok(state) => self.state = state,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    return self.state.clone();
                }
            }
        }
    }

    fn offer(&mut self, bytes: Bytes) -> Result<(), Bytes> {
        let Some(chunks) = &self.chunks else {
            return Err(bytes);
        };
        chunks.try_send(bytes).map_err(|error| match error {
            TrySendError::Full(bytes) | TrySendError::Disconnected(bytes) => bytes,
        })
    }

    fn finish(&mut self) {
        self.chunks = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::task::Wake;

    use super::*;

    struct Bell(Sender<()>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _heard = self.0.send(());
        }
    }

    /// Waits until the state is another one.
    fn after(pipe: &mut Pipe, state: &State, bell: &Receiver<()>) -> State {
        loop {
            let now = pipe.state();
            if now != *state {
                return now;
            }
            bell.recv().unwrap();
        }
    }

    fn pipe(path: &str) -> (Pipe, Receiver<()>) {
        let (ring, bell) = channel();
        let pipe = Pipe::open(path, Waker::from(Arc::new(Bell(ring))));
        (pipe, bell)
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_named() {
        let (mut pipe, bell) = pipe("/no/such/folder/out.flv");
        let State::Broken(sentence) = after(&mut pipe, &State::Opening, &bell) else {
            panic!("it was opened");
        };
        assert!(sentence.contains("/no/such/folder/out.flv"), "{sentence}");
    }

    #[test]
    fn a_device_that_is_full_breaks_the_output() {
        let (mut pipe, bell) = pipe("/dev/full");
        assert_eq!(after(&mut pipe, &State::Opening, &bell), State::Open);
        pipe.offer(Bytes::from_static(b"x")).unwrap();
        let end = after(&mut pipe, &State::Open, &bell);
        assert!(matches!(end, State::Broken(_)), "{end:?}");
    }
}
