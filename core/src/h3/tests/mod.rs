//! The layer as a whole, against scripted peers and against itself.

mod client;
mod pair;
mod random;
mod server;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::transport::{Answer, Room};

use super::*;

/// An adapter that plays the wire: the test is the peer.
#[derive(Debug)]
struct Wire {
    layer: WebTransport,
    now: Time,
    /// What the peer sent, per stream.
    incoming: BTreeMap<StreamId, Incoming>,
    /// What the layer sent, per stream.
    outgoing: BTreeMap<StreamId, Outgoing>,
    opened: Vec<(StreamId, Dir)>,
    datagrams: Vec<Bytes>,
    closed: Option<(u64, Bytes)>,
    allowed: Vec<(Dir, u64)>,
    /// How many streams the peer opened.
    peer_streams: u64,
    /// At most this many bytes in one read, and in one write.
    read_chunk: usize,
    /// How much each write takes; then the stream is full.
    write_room: usize,
    /// How many streams may still be opened.
    credit: usize,

    /// What the inner machine was told and answered, and what it wants.
    inputs: Vec<Input>,
    wants: VecDeque<Output>,
    answers: Vec<Answer>,
    reset_by_inner: BTreeSet<StreamId>,
    /// By the peer.
    stopped: BTreeSet<StreamId>,
}

#[derive(Debug, Default)]
struct Incoming {
    bytes: VecDeque<u8>,
    end: Option<Answer>,
    /// The last read found nothing.
    blocked: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outgoing {
    bytes: Vec<u8>,
    fin: bool,
    reset: Option<u64>,
    stop: Option<u64>,
}

impl Wire {
    fn new(layer: WebTransport) -> Self {
        let mut wire = Self {
            layer,
            now: Time::ZERO,
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            opened: Vec::new(),
            datagrams: Vec::new(),
            closed: None,
            allowed: Vec::new(),
            peer_streams: 0,
            read_chunk: usize::MAX,
            write_room: usize::MAX,
            credit: usize::MAX,
            inputs: Vec::new(),
            wants: VecDeque::new(),
            answers: Vec::new(),
            reset_by_inner: BTreeSet::new(),
            stopped: BTreeSet::new(),
        };
        wire.input(Input::Connected {
            alpn: Bytes::from_static(b"h3"),
            max_datagram: 1200,
        });
        wire
    }

    fn input(&mut self, input: Input) {
        self.layer.handle_input(self.now, input);
        self.pump();
    }

    fn take_inputs(&mut self) {
        while let Some(input) = self.layer.poll_input() {
            self.inputs.push(input);
        }
    }

    fn pump(&mut self) {
        loop {
            self.take_inputs();
            let output = match self.layer.poll_output() {
                Some(output) => output,
                None => {
                    let Some(wanted) = self.wants.pop_front() else {
                        return;
                    };
                    match self.layer.translate(self.now, wanted) {
                        Translated::Ask(output) => output,
                        Translated::Answered(answer) => {
                            self.answers.push(answer);
                            continue;
                        }
                        Translated::Done => continue,
                    }
                }
            };
            if let Some(answer) = self.carry_out(output)
                && let Some(answer) = self.layer.handle_answer(self.now, answer)
            {
                self.answers.push(answer);
            }
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Answer> {
        match output {
            Output::Open { stream, dir } => {
                if self.credit == 0 {
                    return Some(Answer::Blocked);
                }
                self.credit -= 1;
                self.opened.push((stream, dir));
                self.outgoing.insert(stream, Outgoing::default());
                if dir == Dir::Bi {
                    self.incoming.insert(stream, Incoming::default());
                }
                Some(Answer::Done)
            }
            Output::Write {
                stream, bytes, fin, ..
            } => {
                assert!(fin || !bytes.is_empty());
                let out = self.outgoing.entry(stream).or_default();
                assert!(!out.fin && out.reset.is_none(), "write after the end");
                let taken = bytes.len().min(self.write_room);
                out.bytes.extend_from_slice(&bytes[..taken]);
                out.fin |= fin && taken == bytes.len();
                let room = if taken == bytes.len() {
                    Room::More
                } else {
                    Room::StreamFull
                };
                Some(Answer::Wrote { taken, room })
            }
            Output::Read { stream, max } => Some(self.read(stream, max)),
            Output::Datagram(bytes) => {
                self.datagrams.push(bytes);
                Some(Answer::Done)
            }
            Output::Reset { stream, code } => {
                let out = self.outgoing.entry(stream).or_default();
                assert_eq!(out.reset.replace(code), None, "{stream} is reset twice");
                None
            }
            Output::Stop { stream, code } => {
                self.outgoing.entry(stream).or_default().stop = Some(code);
                self.incoming.remove(&stream);
                None
            }
            Output::Priority { .. } | Output::ReceiveWindow(_) => None,
            Output::AllowStreams { dir, count } => {
                self.allowed.push((dir, count));
                None
            }
            Output::Close { code, reason } => {
                assert_eq!(self.closed, None, "closed twice");
                self.closed = Some((code, reason));
                None
            }
        }
    }

    fn read(&mut self, stream: StreamId, max: usize) -> Answer {
        let Some(incoming) = self.incoming.get_mut(&stream) else {
            return Answer::Gone;
        };
        let len = incoming.bytes.len().min(max).min(self.read_chunk);
        if len > 0 {
            return Answer::Data(incoming.bytes.drain(..len).collect());
        }
        match incoming.end.take() {
            Some(end) => {
                self.incoming.remove(&stream);
                end
            }
            None => {
                incoming.blocked = true;
                Answer::Blocked
            }
        }
    }

    // The peer.

    /// Opens a stream and sends this.
    fn open(&mut self, dir: Dir, bytes: &[u8]) -> StreamId {
        let stream = StreamId::peer(self.peer_streams);
        self.peer_streams += 1;
        self.incoming.insert(stream, Incoming::default());
        self.incoming.get_mut(&stream).unwrap().bytes.extend(bytes);
        self.input(Input::Opened { stream, dir });
        stream
    }

    fn send(&mut self, stream: StreamId, bytes: &[u8]) {
        let incoming = self.incoming.entry(stream).or_default();
        incoming.bytes.extend(bytes);
        self.wake(stream);
    }

    fn send_end(&mut self, stream: StreamId, end: Answer) {
        let incoming = self.incoming.entry(stream).or_default();
        incoming.end = Some(end);
        self.wake(stream);
    }

    fn wake(&mut self, stream: StreamId) {
        let incoming = self.incoming.get_mut(&stream).unwrap();
        if mem::take(&mut incoming.blocked) {
            self.input(Input::Readable(stream));
        }
    }

    fn after(&mut self, time: Duration) {
        self.now = self.now + time;
        self.layer.handle_timeout(self.now);
        self.pump();
    }

    // The inner machine.

    /// Wants one thing; the answer if there is one.
    fn want(&mut self, output: Output) -> Option<Answer> {
        self.answers.clear();
        self.wants.push_back(output);
        self.pump();
        self.answers.pop()
    }

    fn read_all(&mut self, stream: StreamId) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(Answer::Data(bytes)) = self.want(Output::Read { stream, max: 100 }) {
            out.extend_from_slice(&bytes);
        }
        out
    }

    fn sent(&self, stream: StreamId) -> &Outgoing {
        &self.outgoing[&stream]
    }

    fn close_code(&self) -> Option<u64> {
        self.closed.as_ref().map(|(code, _)| *code)
    }

    fn closed_input(&self) -> Option<&Closed> {
        self.inputs.iter().find_map(|input| {
            let Input::Closed(closed) = input else {
                return None;
            };
            Some(closed)
        })
    }

    /// The protocol and datagram size that the inner machine started with.
    fn established(&self) -> Option<(&[u8], usize)> {
        self.inputs.iter().find_map(|input| {
            let Input::Connected { alpn, max_datagram } = input else {
                return None;
            };
            Some((&**alpn, *max_datagram))
        })
    }
}

const MOQT_16: Bytes = Bytes::from_static(b"moqt-16");
const MOQT_18: Bytes = Bytes::from_static(b"moqt-18");

fn new_server() -> Wire {
    Wire::new(WebTransport::server(Server {
        paths: vec!["/moq".to_owned(), "/".to_owned()],
        protocols: vec![MOQT_18, MOQT_16],
        default_protocol: Some(MOQT_18),
    }))
}

fn new_client() -> Wire {
    Wire::new(WebTransport::client(Client {
        authority: "localhost:4433".to_owned(),
        path: "/moq?x=1".to_owned(),
        protocols: vec![MOQT_18, MOQT_16],
        default_protocol: None,
        origin: None,
    }))
}

/// Chromium's control stream: type, SETTINGS, a reserved frame.
fn chromium_control() -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in [
        (0x1, 65536),
        (0x6, 16384),
        (0x7, 100),
        (0x33, 1),
        (0xffd277, 1),
        (0x2b603742, 1),
        (0x1f * 987_654 + 0x21, 4242),
    ] {
        varint::put(&mut payload, id);
        varint::put(&mut payload, value);
    }
    [
        vec![0x00],
        frame::encode(frame::SETTINGS, &payload),
        frame::encode(0x1f * 77 + 0x21, b"grease"),
    ]
    .concat()
}

/// A HEADERS frame.
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
    frame::encode(frame::HEADERS, &qpack::encode(fields))
}

/// Chromium's request, with other values for some fields and without those that are "-".
fn chromium_request(other: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":scheme", "https"),
        (":method", "CONNECT"),
        (":authority", "127.0.0.1:4433"),
        (":path", "/moq"),
        (":protocol", "webtransport"),
        ("sec-webtransport-http3-draft02", "1"),
        ("origin", "http://localhost:8080"),
        ("wt-available-protocols", r#""moqt-18", "moqt-16""#),
    ];
    for (name, value) in other {
        fields
            .iter_mut()
            .filter(|field| field.0 == *name)
            .for_each(|field| field.1 = value);
    }
    fields.retain(|field| field.1 != "-");
    headers(&fields)
}

/// A server with a session that Chromium asked for; the CONNECT stream.
fn established_server() -> (Wire, StreamId) {
    let mut wire = new_server();
    wire.open(Dir::Uni, &chromium_control());
    let connect = wire.open(Dir::Bi, &chromium_request(&[]));
    assert_eq!(wire.established(), Some((&b"moqt-18"[..], 1199)));
    wire.inputs.clear();
    (wire, connect)
}
