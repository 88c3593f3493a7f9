//! One connection: carries out what the core wants on s2n-quic, and tells the core what happened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use oxymoq_core::runtime::TransportSettings;
use oxymoq_core::transport::{Answer, Closed, ConnectionId, Dir, Input, Output, Room, StreamId};
use s2n_quic::application;
use s2n_quic::connection::{Handle, StreamAcceptor};
use s2n_quic::provider::event::query;
use s2n_quic::stream::{PeerStream, ReceiveStream, SendStream, Type};

use crate::datagram::{Queues, SendQueue};
use crate::observe::Shared;
use crate::ready::{Event, Ready, lock};
use crate::reason;

/// One connection of an endpoint.
///
/// Dropping it closes the connection first, so that no stream ends with a FIN that the core did not ask for: s2n-quic
/// finishes a send stream that is dropped while the connection is open.
#[derive(Debug)]
pub(crate) struct Connection {
    id: ConnectionId,
    handle: Handle,
    acceptor: StreamAcceptor,
    ready: Arc<Ready>,
    waker: Waker,
    seen: Shared,
    datagrams: Arc<Mutex<Queues>>,
    opening: [Waker; 2],
    opened_by_peer: u64,
    // Each half apart: most connections have a few, and a map sets aside room for eleven.
    sending: BTreeMap<StreamId, Box<Sending>>,
    receiving: BTreeMap<StreamId, Box<Receiving>>,
    /// Streams with a sending half, by s2n-quic's id.
    numbers: BTreeMap<u64, StreamId>,
    /// Streams whose last write found no room in the budget, and whether it was urgent.
    refused: BTreeMap<StreamId, bool>,
    /// The core was told to stop writing.
    full: bool,
    closing: bool,
    /// Why the connection is over, until the core has read what had arrived before.
    over: Option<Closed>,
}

/// The sending half of a stream.
#[derive(Debug)]
struct Sending {
    stream: SendStream,
    waker: Waker,
    written: u64,
    /// How many bytes the peer takes, from the beginning of the stream.
    credit: u64,
    /// A write was cut short because the credit was used up.
    starved: bool,
    finished: bool,
    stopped: bool,
}

/// The receiving half of a stream.
#[derive(Debug)]
struct Receiving {
    stream: ReceiveStream,
    waker: Waker,
    /// What the last read did not ask for of the chunk that s2n-quic handed over.
    rest: Bytes,
}

impl Connection {
    /// Takes over an established connection. The first inputs are those of [`Connection::start`].
    pub(crate) fn new(
        id: ConnectionId,
        connection: s2n_quic::Connection,
        ready: &Arc<Ready>,
        transport: &TransportSettings,
    ) -> Result<Self, query::Error> {
        let (handle, acceptor) = connection.split();
        let seen = handle.query_event_context(|seen: &Shared| Arc::clone(seen))?;
        let datagrams = handle.datagram_mut(|queue: &mut SendQueue| queue.queues())?;
        let waker = ready.waker(Event::Connection(id));
        {
            let mut seen = lock(&seen);
            seen.listen(waker.clone());
            seen.budget.set_up(transport);
        }
        lock(&datagrams).listen(waker.clone());
        Ok(Self {
            id,
            handle,
            acceptor,
            ready: Arc::clone(ready),
            waker,
            seen,
            datagrams,
            opening: [Dir::Uni, Dir::Bi].map(|dir| ready.waker(Event::Opening(id, dir))),
            opened_by_peer: 0,
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            numbers: BTreeMap::new(),
            refused: BTreeMap::new(),
            full: false,
            closing: false,
            over: None,
        })
    }

    /// What the core is told first. Streams that are already there follow with the first [`Connection::news`].
    pub(crate) fn start(&mut self, keep_alive: bool) -> Input {
        // Fails only on a connection that is closed already, which `news` will tell.
        if let Err(error) = self.handle.keep_alive(keep_alive) {
            log::debug!("{}: no keep-alive: {error}", self.id);
        }
        let alpn = self.handle.application_protocol().unwrap_or_default();
        let max_datagram = self.max_datagram();
        let mut seen = lock(&self.seen);
        seen.told_datagram = seen.datagram_room();
        Input::Connected { alpn, max_datagram }
    }

    /// All that happened outside of single streams' halves.
    ///
    /// Once the connection [is over](Self::is_over) nothing follows, but what had arrived before can still be read.
    pub(crate) fn news(&mut self, inputs: &mut Vec<Input>) {
        if self.over.is_some() {
            return;
        }
        self.over = self.accept(inputs);
        self.receive_datagrams(inputs);
        if self.over.is_none() {
            let close = lock(&self.seen).take_close();
            self.over = close.map(|(code, reason)| Closed::ByPeer { code, reason });
        }
        if self.over.is_some() {
            self.closing = true;
            return;
        }
        self.look(inputs);
        if lock(&self.datagrams).take_room() {
            inputs.push(Input::DatagramRoom);
        }
        self.offer_room(inputs);
    }

    /// Whether the connection has ended. The application must be told [why](Self::into_closed) when it has read the rest.
    pub(crate) const fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Why it is over.
    pub(crate) fn into_closed(mut self) -> Option<Closed> {
        self.over.take()
    }

    /// Accepts the peer's new streams; the answer is set if the connection is over.
    fn accept(&mut self, inputs: &mut Vec<Input>) -> Option<Closed> {
        loop {
            let mut cx = Context::from_waker(&self.waker);
            let peer = match self.acceptor.poll_accept(&mut cx) {
                Poll::Pending => return None,
                Poll::Ready(Ok(Some(peer))) => peer,
                // An ordinary end hides its reason here; any other call tells it.
                Poll::Ready(Ok(None)) => return Some(reason::closed(self.handle.ping().err())),
                Poll::Ready(Err(error)) => return Some(reason::closed(Some(error))),
            };
            let stream = StreamId::peer(self.opened_by_peer);
            self.opened_by_peer = self.opened_by_peer.saturating_add(1);
            let dir = match peer {
                PeerStream::Receive(receive) => {
                    self.add_receiving(stream, receive);
                    Dir::Uni
                }
                PeerStream::Bidirectional(both) => {
                    let credit = lock(&self.seen).initial_credit.peer_bidi;
                    let (receive, send) = both.split();
                    self.add_receiving(stream, receive);
                    self.add_sending(stream, send, credit);
                    Dir::Bi
                }
            };
            inputs.push(Input::Opened { stream, dir });
        }
    }

    fn add_receiving(&mut self, id: StreamId, stream: ReceiveStream) {
        let waker = self.ready.waker(Event::Readable(self.id, id));
        let receiving = Receiving {
            stream,
            waker,
            rest: Bytes::new(),
        };
        self.receiving.insert(id, Box::new(receiving));
    }

    fn add_sending(&mut self, id: StreamId, stream: SendStream, credit: u64) {
        self.numbers.insert(stream.id(), id);
        lock(&self.seen).budget.watch(stream.id());
        let sending = Sending {
            waker: self.ready.waker(Event::Writable(self.id, id)),
            stream,
            written: 0,
            credit,
            starved: false,
            finished: false,
            stopped: false,
        };
        self.sending.insert(id, Box::new(sending));
    }

    fn receive_datagrams(&self, inputs: &mut Vec<Input>) {
        let mut datagrams = lock(&self.datagrams);
        while let Some(datagram) = datagrams.receive() {
            inputs.push(Input::Datagram(datagram));
        }
    }

    /// Passes on what the observer saw: credit, stops, and changes of the path.
    fn look(&mut self, inputs: &mut Vec<Input>) {
        let (credit, stopped, path) = {
            let mut seen = lock(&self.seen);
            let path = seen.path_news().then(|| {
                seen.told_rtt = seen.rtt;
                seen.told_datagram = seen.datagram_room();
                seen.rtt
            });
            let credit = std::mem::take(&mut seen.credit);
            (credit, std::mem::take(&mut seen.stopped), path)
        };
        for (number, credit) in credit {
            if let Some(&id) = self.numbers.get(&number)
                && let Some(half) = self.sending.get_mut(&id)
            {
                half.credit = half.credit.max(credit);
                if half.starved && half.credit > half.written {
                    half.starved = false;
                    inputs.push(Input::Writable(id));
                }
            }
        }
        for (number, code) in stopped {
            if let Some(&stream) = self.numbers.get(&number)
                && let Some(half) = self.sending.get_mut(&stream)
                && !half.stopped
            {
                // s2n-quic has reset the stream by itself; nothing of it will be acknowledged.
                half.stopped = true;
                lock(&self.seen).budget.forget(number);
                inputs.push(Input::Stopped { stream, code });
            }
        }
        if let Some(rtt) = path {
            let max_datagram = self.max_datagram();
            inputs.push(Input::Path { rtt, max_datagram });
        }
    }

    /// Largest datagram payload that both the path and the peer take, in bytes.
    fn max_datagram(&self) -> usize {
        let path = lock(&self.seen).datagram_room();
        path.min(lock(&self.datagrams).max_payload())
    }

    /// A waker of the sending half was woken: all is acknowledged, or there is room in its buffer.
    pub(crate) fn writable(&mut self, stream: StreamId, inputs: &mut Vec<Input>) {
        let Some(half) = self.sending.get_mut(&stream) else {
            return;
        };
        if !half.finished {
            inputs.push(Input::Writable(stream));
            return;
        }
        let mut cx = Context::from_waker(&half.waker);
        if let Poll::Ready(Ok(())) = half.stream.poll_close(&mut cx) {
            self.remove_sending(stream);
            inputs.push(Input::Acked(stream));
            self.offer_room(inputs);
        }
        // Otherwise it was reset or the connection is over; both are told elsewhere.
    }

    /// A waker of the receiving half was woken.
    pub(crate) fn readable(&self, stream: StreamId, inputs: &mut Vec<Input>) {
        if self.receiving.contains_key(&stream) {
            inputs.push(Input::Readable(stream));
        }
    }

    /// Carries out one output; set is the answer, for outputs that have one.
    pub(crate) fn perform(&mut self, output: Output) -> Option<Answer> {
        match output {
            Output::Open { stream, dir } => Some(self.open(stream, dir)),
            Output::Write {
                stream,
                bytes,
                fin,
                urgent,
            } => Some(self.write(stream, bytes, fin, urgent)),
            Output::Read { stream, max } => Some(self.read(stream, max)),
            Output::Datagram(datagram) => Some(self.datagram(datagram)),
            Output::Reset { stream, code } => {
                self.reset(stream, code);
                None
            }
            Output::Stop { stream, code } => {
                self.stop(stream, code);
                None
            }
            // s2n-quic has no priorities: what counts is the order in which the core offers writes, kept by the budget.
            Output::Priority { .. } => None,
            // s2n-quic cannot raise a limit later; it started with the most.
            Output::AllowStreams { .. } | Output::ReceiveWindow(_) => None,
            Output::Close { code, reason } => {
                self.close(code, reason);
                None
            }
        }
    }

    fn open(&mut self, stream: StreamId, dir: Dir) -> Answer {
        let [uni, bidi] = &self.opening;
        let (kind, waker) = match dir {
            Dir::Uni => (Type::Unidirectional, uni),
            Dir::Bi => (Type::Bidirectional, bidi),
        };
        let mut cx = Context::from_waker(waker);
        let opened = match self.handle.poll_open_stream(kind, &mut cx) {
            Poll::Pending => return Answer::Blocked,
            // Over, which is told elsewhere.
            Poll::Ready(Err(_closed)) => return Answer::Blocked,
            Poll::Ready(Ok(opened)) => opened,
        };
        let credit = lock(&self.seen).initial_credit;
        match opened {
            s2n_quic::stream::LocalStream::Send(send) => {
                self.add_sending(stream, send, credit.uni);
            }
            s2n_quic::stream::LocalStream::Bidirectional(both) => {
                let (receive, send) = both.split();
                self.add_receiving(stream, receive);
                self.add_sending(stream, send, credit.local_bidi);
            }
        }
        Answer::Done
    }

    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool, urgent: bool) -> Answer {
        let Some(half) = self.sending.get(&stream) else {
            return Answer::Gone;
        };
        if half.finished || half.stopped || self.closing {
            return Answer::Gone;
        }
        let len = bytes.len();
        let credit = size(half.credit.saturating_sub(half.written));
        let room = size(lock(&self.seen).budget.room(urgent));
        let Some(half) = self.sending.get_mut(&stream) else {
            return Answer::Gone;
        };
        let mut taken = len.min(credit).min(room);
        if taken > 0 {
            let mut chunk = bytes.slice(..taken);
            let mut cx = Context::from_waker(&half.waker);
            match half.stream.poll_send(&mut chunk, &mut cx) {
                Poll::Ready(Ok(())) => {}
                // Full of what was acknowledged behind a gap; the waker tells of room.
                Poll::Pending => taken = 0,
                Poll::Ready(Err(error)) if reason::is_of_connection(&error) => taken = 0,
                Poll::Ready(Err(_reset)) => return Answer::Gone,
            }
            half.written = half.written.saturating_add(wide(taken));
            lock(&self.seen).budget.wrote(half.stream.id(), wide(taken));
        }
        let room = if taken == len {
            if fin {
                Self::finish(half);
            }
            Room::More
        } else if taken == room {
            self.refused.insert(stream, urgent);
            self.full = true;
            let mut seen = lock(&self.seen);
            seen.data_waits = true;
            seen.urgent_waits |= urgent;
            Room::ConnectionFull
        } else {
            half.starved = true;
            Room::StreamFull
        };
        Answer::Wrote { taken, room }
    }

    /// Ends the stream; its waker will be woken once everything is acknowledged.
    fn finish(half: &mut Sending) {
        half.finished = true;
        let mut cx = Context::from_waker(&half.waker);
        if half.stream.poll_close(&mut cx).is_ready() {
            half.waker.wake_by_ref();
        }
    }

    /// Tells the core of room that it was refused before.
    fn offer_room(&mut self, inputs: &mut Vec<Input>) {
        if !self.full {
            return;
        }
        let [normal, urgent] = {
            let seen = lock(&self.seen);
            [false, true].map(|urgent| seen.budget.has_room(urgent))
        };
        let sending = &self.sending;
        let mut told = false;
        self.refused.retain(|stream, is_urgent| {
            let room = if *is_urgent { urgent } else { normal };
            let alive = sending.get(stream).is_some_and(|half| !half.stopped);
            if room && alive {
                inputs.push(Input::Writable(*stream));
                told = true;
            }
            !room && alive
        });
        self.full = !normal;
        let rtt = {
            let mut seen = lock(&self.seen);
            seen.data_waits = self.full;
            seen.urgent_waits = self.refused.values().any(|is_urgent| *is_urgent);
            seen.rtt
        };
        if !told && !self.full {
            // All streams that waited are gone, but others may have something to write.
            let max_datagram = self.max_datagram();
            inputs.push(Input::Path { rtt, max_datagram });
        }
    }

    fn read(&mut self, stream: StreamId, max: usize) -> Answer {
        let Some(half) = self.receiving.get_mut(&stream) else {
            return Answer::Gone;
        };
        while half.rest.is_empty() {
            let mut cx = Context::from_waker(&half.waker);
            let end = match half.stream.poll_receive(&mut cx) {
                Poll::Pending => return Answer::Blocked,
                Poll::Ready(Ok(Some(chunk))) => {
                    half.rest = chunk;
                    continue;
                }
                Poll::Ready(Ok(None)) => Answer::Fin,
                // The end of a connection must not look like that of each of its streams.
                Poll::Ready(Err(error)) if reason::is_of_connection(&error) => {
                    return Answer::Blocked;
                }
                Poll::Ready(Err(error)) => {
                    reason::reset_code(&error).map_or(Answer::Gone, Answer::Reset)
                }
            };
            self.receiving.remove(&stream);
            return end;
        }
        let max = max.clamp(1, half.rest.len());
        Answer::Data(half.rest.split_to(max))
    }

    fn datagram(&self, datagram: Bytes) -> Answer {
        if self.closing {
            return Answer::Gone;
        }
        if datagram.len() > self.max_datagram() {
            return Answer::TooLarge;
        }
        if lock(&self.datagrams).send(datagram) {
            Answer::Done
        } else {
            Answer::Blocked
        }
    }

    fn reset(&mut self, stream: StreamId, code: u64) {
        if let Some(half) = self.sending.get_mut(&stream) {
            // Fails only on a stream or connection that is gone already.
            if let Err(error) = half.stream.reset(application_error(code)) {
                log::trace!("{} {stream}: reset came too late: {error}", self.id);
            }
        }
        self.remove_sending(stream);
        if self.full {
            // Its bytes do not count any more: look for room once the core is done.
            self.waker.wake_by_ref();
        }
    }

    fn remove_sending(&mut self, stream: StreamId) {
        if let Some(half) = self.sending.remove(&stream) {
            lock(&self.seen).budget.forget(half.stream.id());
            self.numbers.remove(&half.stream.id());
        }
    }

    fn stop(&mut self, stream: StreamId, code: u64) {
        if let Some(mut half) = self.receiving.remove(&stream)
            && let Err(error) = half.stream.stop_sending(application_error(code))
        {
            log::trace!("{} {stream}: stop came too late: {error}", self.id);
        }
    }

    fn close(&mut self, code: u64, reason: Bytes) {
        if !self.closing {
            lock(&self.seen).say(reason);
        }
        self.closing = true;
        self.handle.close(application_error(code));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.handle.close(application::Error::UNKNOWN);
    }
}

/// A code of the application's error space; QUIC has no larger ones than the one taken for codes that are too large.
pub(crate) fn application_error(code: u64) -> application::Error {
    application::Error::new(code).unwrap_or(application::Error::UNKNOWN)
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
