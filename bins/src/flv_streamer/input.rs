//! Reading the input, in a thread of its own since that may block.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::task::Waker;
use std::thread;

use bytes::Bytes;

use super::limits::Limits;

/// Where FLV comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A regular file: all of it is there already.
    File(PathBuf),
    /// A named pipe, or a device: what comes has to be taken when it comes.
    Pipe(PathBuf),
    /// Standard input.
    Stdin,
}

/// What the reading thread tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// The next bytes, not empty.
    Data(Bytes),
    /// The input is over, and begins again.
    Again,
    /// The writer of a pipe is gone; another one may come.
    Another,
    /// The input is over.
    End,
    /// It cannot be read, or not any further: a sentence.
    Failed(String),
}

impl Input {
    /// The input that a path means: `-` is standard input.
    ///
    /// # Errors
    ///
    /// A sentence, if there is nothing at that path that could be read.
    pub fn at(path: &str) -> Result<Self, String> {
        match path {
            "" => {
                Err("--input_flv_file is missing: a file, a fifo, or - for standard input".into())
            }
            "-" => Ok(Self::Stdin),
            path => {
                let wrong = |why: &dyn std::fmt::Display| {
                    format!("--input_flv_file: cannot read '{path}': {why}")
                };
                let kind = fs::metadata(path).map_err(|error| wrong(&error))?;
                if kind.is_dir() {
                    return Err(wrong(&"it is a folder"));
                }
                if kind.is_file() {
                    // Tells now what is not allowed. A pipe may have no writer yet, which would have to be waited for.
                    File::open(path).map_err(|error| wrong(&error))?;
                    return Ok(Self::File(path.into()));
                }
                Ok(Self::Pipe(path.into()))
            }
        }
    }

    /// Whether all of it is there already.
    pub const fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Begins to read. `bell` is rung for whatever comes. With `again` the input is read for ever: a file from its start, a
    /// pipe from its next writer.
    pub fn read(self, again: bool, limits: &Limits, bell: Waker) -> Receiver<Chunk> {
        let (sender, receiver) = mpsc::sync_channel(limits.max_chunks);
        let mut reader = Reader {
            sender,
            bell,
            buffer: vec![0; limits.chunk.max(1)],
        };
        // It is not joined: it may wait for a writer that never comes, when the program is over.
        thread::spawn(move || {
            if let Err(Stop::Failed(why)) = reader.run(&self, again) {
                let _nobody_listens = reader.tell(Chunk::Failed(why));
            }
        });
        receiver
    }
}

/// The reading thread.
struct Reader {
    sender: SyncSender<Chunk>,
    bell: Waker,
    buffer: Vec<u8>,
}

enum Stop {
    /// Nobody wants any more.
    Unwanted,
    Failed(String),
}

impl Reader {
    fn run(&mut self, input: &Input, again: bool) -> Result<(), Stop> {
        let failed = |path: &PathBuf| {
            let path = path.display().to_string();
            move |error: io::Error| Stop::Failed(format!("cannot read '{path}': {error}"))
        };
        match input {
            Input::Stdin => {
                let name = PathBuf::from("standard input");
                self.pass(&mut io::stdin().lock(), failed(&name))?;
            }
            Input::File(path) => {
                let mut file = File::open(path).map_err(failed(path))?;
                loop {
                    self.pass(&mut file, failed(path))?;
                    if !again {
                        break;
                    }
                    file.rewind().map_err(failed(path))?;
                    self.tell(Chunk::Again)?;
                }
            }
            Input::Pipe(path) => loop {
                // Opening waits for a writer.
                let mut pipe = File::open(path).map_err(failed(path))?;
                self.pass(&mut pipe, failed(path))?;
                if !again {
                    break;
                }
                // Not before the pipe is closed: whoever opens it now waits until it is opened here again.
                drop(pipe);
                self.tell(Chunk::Another)?;
            },
        }
        self.tell(Chunk::End)
    }

    /// Reads up to the end.
    fn pass(
        &mut self,
        from: &mut dyn Read,
        failed: impl FnOnce(io::Error) -> Stop,
    ) -> Result<(), Stop> {
        loop {
            match from.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let bytes = self.buffer.get(..count).unwrap_or_default();
                    self.tell(Chunk::Data(Bytes::copy_from_slice(bytes)))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Waits for room.
    fn tell(&self, chunk: Chunk) -> Result<(), Stop> {
        self.sender.send(chunk).map_err(|_| Stop::Unwanted)?;
        self.bell.wake_by_ref();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn limits() -> Limits {
        Limits {
            chunk: 4,
            max_chunks: 2,
            ..Limits::default()
        }
    }

    /// A file with this content, beside the test's own.
    fn file(name: &str, content: &[u8]) -> PathBuf {
        let path = std::env::current_exe().unwrap();
        let path = path.with_file_name(format!("input-{}-{name}", std::process::id()));
        File::create(&path).unwrap().write_all(content).unwrap();
        path
    }

    #[test]
    fn a_file_is_read_in_chunks_of_which_few_wait_and_the_bell_rings_for_each() {
        let path = file("chunks", b"0123456789");
        let input = Input::at(path.to_str().unwrap()).unwrap();
        assert!(input.is_file());
        let bell = Arc::new(Bell::default());
        let chunks = input.read(false, &limits(), Waker::from(Arc::clone(&bell)));
        let data = |text: &'static str| Chunk::Data(Bytes::from(text));
        let all: Vec<Chunk> = chunks.iter().collect();
        assert_eq!(all, [data("0123"), data("4567"), data("89"), Chunk::End]);
        assert_eq!(bell.0.load(Ordering::Relaxed), 4);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_can_be_read_again_and_again_until_nobody_wants_it_any_more() {
        let path = file("again", b"abc");
        let chunks = Input::File(path.clone()).read(true, &limits(), Waker::noop().clone());
        let pass = [Chunk::Data(Bytes::from("abc")), Chunk::Again];
        for _ in 0..10 {
            assert_eq!([chunks.recv().unwrap(), chunks.recv().unwrap()], pass);
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = Input::at("no/such/file.flv").unwrap_err();
        assert!(error.contains("no/such/file.flv"), "{error}");
        assert!(Input::at(".").unwrap_err().contains("folder"));
        assert!(Input::at("").unwrap_err().contains("missing"));
        assert_eq!(Input::at("-"), Ok(Input::Stdin));
        assert!(!Input::at("/dev/null").unwrap().is_file());
        let gone = Input::File("no/such/file.flv".into());
        let chunks = gone.read(false, &limits(), Waker::noop().clone());
        let [Chunk::Failed(why)] = &chunks.iter().collect::<Vec<_>>()[..] else {
            panic!("it was read");
        };
        assert!(why.contains("no/such/file.flv"), "{why}");
    }
}
