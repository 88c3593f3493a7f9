//! Our side of a session as a script sees it: what it wants and what it was told, kept for the loop that drives it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use oxymoq_core::transport::{Answer, Closed, Dir, Input, Output, StreamId};

/// How many bytes are read at a time.
const READ_CHUNK: usize = 10_000;

/// The machine inside the WebTransport layer.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// The protocol agreed on.
    pub(crate) protocol: Option<Bytes>,
    pub(crate) closed: Option<Closed>,
    pub(crate) accepted: BTreeMap<Dir, VecDeque<StreamId>>,
    pub(crate) datagrams: VecDeque<Bytes>,
    /// Outputs but reads and writes, in order.
    outputs: VecDeque<Output>,
    /// The first of them must wait for the next input.
    held: bool,
    next_stream: u64,
    opened: BTreeSet<StreamId>,
    writes: BTreeMap<StreamId, Writing>,
    reads: BTreeMap<StreamId, Reading>,
    stopped: BTreeMap<StreamId, u64>,
    asked: Option<Output>,
}

#[derive(Debug)]
struct Writing {
    bytes: Bytes,
    fin: bool,
    /// There was no room; the next input may bring some.
    full: bool,
}

/// Present while a script waits for it.
#[derive(Debug, Default)]
struct Reading {
    answer: Option<Answer>,
    /// There was nothing.
    blocked: bool,
}

impl Machine {
    // What scripts do.

    pub(crate) fn open(&mut self, dir: Dir) -> StreamId {
        let stream = StreamId::local(self.next_stream);
        self.next_stream += 1;
        self.outputs.push_back(Output::Open { stream, dir });
        stream
    }

    pub(crate) fn is_open(&self, stream: StreamId) -> bool {
        self.opened.contains(&stream)
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) {
        let full = false;
        let earlier = self.writes.insert(stream, Writing { bytes, fin, full });
        assert!(earlier.is_none(), "the script did not wait");
    }

    /// Whether everything was handed over.
    pub(crate) fn is_written(&self, stream: StreamId) -> bool {
        !self.writes.contains_key(&stream)
    }

    /// Asks for bytes, or gives the answer.
    pub(crate) fn read(&mut self, stream: StreamId) -> Option<Answer> {
        let answer = self.reads.entry(stream).or_default().answer.take()?;
        self.reads.remove(&stream);
        Some(answer)
    }

    /// The code of the peer's STOP_SENDING.
    pub(crate) fn stop_code(&self, stream: StreamId) -> Option<u64> {
        self.stopped.get(&stream).copied()
    }

    // What drives it.

    pub(crate) fn handle_input(&mut self, input: Input) {
        self.held = false;
        for writing in self.writes.values_mut() {
            writing.full = false;
        }
        match input {
            Input::Connected { alpn, max_datagram } => {
                assert!(max_datagram > 1000, "datagrams of {max_datagram} bytes");
                self.protocol = Some(alpn);
            }
            Input::Opened { stream, dir } => {
                self.accepted.entry(dir).or_default().push_back(stream);
            }
            Input::Readable(stream) => {
                if let Some(reading) = self.reads.get_mut(&stream) {
                    reading.blocked = false;
                }
            }
            Input::Stopped { stream, code } => {
                self.stopped.insert(stream, code);
                self.writes.remove(&stream);
                self.outputs.push_back(Output::Reset { stream, code });
            }
            Input::Datagram(bytes) => self.datagrams.push_back(bytes),
            Input::Closed(closed) => self.closed = Some(closed),
            Input::Writable(_)
            | Input::Acked(_)
            | Input::CanOpen(_)
            | Input::DatagramRoom
            | Input::Path { .. } => {}
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        if self.closed.is_some() {
            return None;
        }
        let output = self.next_output()?;
        self.asked = Some(output.clone());
        Some(output)
    }

    fn next_output(&mut self) -> Option<Output> {
        if !self.held
            && let Some(output) = self.outputs.pop_front()
        {
            return Some(output);
        }
        let waiting = self.reads.iter();
        let mut waiting =
            waiting.filter(|(_, reading)| !reading.blocked && reading.answer.is_none());
        if let Some((&stream, _)) = waiting.next() {
            let max = READ_CHUNK;
            return Some(Output::Read { stream, max });
        }
        let (&stream, writing) = self.writes.iter().find(|(_, writing)| !writing.full)?;
        Some(Output::Write {
            stream,
            bytes: writing.bytes.clone(),
            fin: writing.fin,
            urgent: false,
        })
    }

    pub(crate) fn handle_answer(&mut self, answer: Answer) {
        match (self.asked.take().unwrap(), answer) {
            (Output::Open { stream, .. }, Answer::Done) => {
                self.opened.insert(stream);
            }
            (Output::Datagram(_), Answer::Done) => {}
            (again @ (Output::Open { .. } | Output::Datagram(_)), Answer::Blocked) => {
                self.outputs.push_front(again);
                self.held = true;
            }
            (Output::Write { stream, bytes, .. }, Answer::Wrote { taken, .. }) => {
                if taken == bytes.len() {
                    self.writes.remove(&stream);
                } else if let Some(writing) = self.writes.get_mut(&stream) {
                    writing.bytes = bytes.slice(taken..);
                    writing.full = true;
                }
            }
            // The news of its end comes as an input.
            (Output::Write { stream, .. }, Answer::Gone) => {
                self.writes.remove(&stream);
            }
            (Output::Read { stream, .. }, answer) => {
                let reading = self.reads.get_mut(&stream).unwrap();
                if answer == Answer::Blocked {
                    reading.blocked = true;
                } else {
                    reading.answer = Some(answer);
                }
            }
            (asked, answer) => panic!("{answer:?} to {asked:?}"),
        }
    }
}
