//! Datagrams between the application and s2n-quic: two bounded queues per connection.
//!
//! s2n-quic's own sender waits for as long as any stream has data, and drops in silence what does not fit. This one sends
//! before the streams, and keeps a datagram that found too little room beside an acknowledgement for the next packet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use bytes::Bytes;
use oxymoq_core::runtime::TransportSettings;
use s2n_quic::connection::Error;
use s2n_quic::provider::datagram::{
    ConnectionInfo, Endpoint, Packet, PreConnectionInfo, ReceiveContext, Receiver, Sender,
};

use crate::ready::lock;

/// Largest DATAGRAM frame that this side takes; a packet is smaller anyway.
const MAX_FRAME: u64 = 65535;
/// Packets in which a datagram may fail to find room before it counts as too large for the path.
const MAX_TRIES: u8 = 3;
/// What a datagram costs a queue beside its bytes: its entry.
const ENTRY: usize = 40;

/// Makes the queues of each new connection.
#[derive(Debug)]
pub(crate) struct Datagrams {
    send_buffer: usize,
    receive_buffer: usize,
}

impl Datagrams {
    pub(crate) const fn new(settings: &TransportSettings) -> Self {
        Self {
            send_buffer: settings.datagram_send_buffer,
            receive_buffer: settings.datagram_receive_buffer,
        }
    }
}

/// The queues of one connection.
#[derive(Debug)]
pub(crate) struct Queues {
    outgoing: VecDeque<(Bytes, u8)>,
    outgoing_bytes: usize,
    send_buffer: usize,
    incoming: VecDeque<Bytes>,
    incoming_bytes: usize,
    receive_buffer: usize,
    dropped: u64,
    wants_room: bool,
    max_payload: usize,
    transport: Waker,
    application: Option<Waker>,
}

impl Queues {
    /// Largest datagram that the peer takes, in bytes; 0: none.
    pub(crate) const fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// Names who is to be woken for received datagrams and for room.
    pub(crate) fn listen(&mut self, application: Waker) {
        application.wake_by_ref();
        self.application = Some(application);
    }

    /// Queues a datagram to be sent; false if there is no room now.
    pub(crate) fn send(&mut self, datagram: Bytes) -> bool {
        let cost = datagram.len().saturating_add(ENTRY);
        let full = self.outgoing_bytes.saturating_add(cost) > self.send_buffer;
        // A buffer that is smaller than one datagram still lets one through at a time.
        if full && !self.outgoing.is_empty() {
            self.wants_room = true;
            return false;
        }
        self.outgoing_bytes = self.outgoing_bytes.saturating_add(cost);
        self.outgoing.push_back((datagram, 0));
        self.transport.wake_by_ref();
        true
    }

    /// The oldest received datagram.
    pub(crate) fn receive(&mut self) -> Option<Bytes> {
        let datagram = self.incoming.pop_front()?;
        let cost = datagram.len().saturating_add(ENTRY);
        self.incoming_bytes = self.incoming_bytes.saturating_sub(cost);
        Some(datagram)
    }

    /// Whether room appeared that [`Queues::send`] had missed; tells it once.
    pub(crate) fn take_room(&mut self) -> bool {
        let room = self.wants_room && self.outgoing_bytes <= self.send_buffer / 2;
        if room {
            self.wants_room = false;
        }
        room
    }

    fn sent(&mut self, len: usize) {
        let cost = len.saturating_add(ENTRY);
        self.outgoing_bytes = self.outgoing_bytes.saturating_sub(cost);
    }

    fn arrived(&mut self, datagram: &[u8]) {
        let cost = datagram.len().saturating_add(ENTRY);
        self.incoming_bytes = self.incoming_bytes.saturating_add(cost);
        self.incoming.push_back(Bytes::copy_from_slice(datagram));
        while self.incoming_bytes > self.receive_buffer && self.incoming.len() > 1 {
            self.receive();
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn wake(&self) {
        if let Some(application) = &self.application {
            application.wake_by_ref();
        }
    }
}

impl Endpoint for Datagrams {
    type Sender = SendQueue;
    type Receiver = ReceiveQueue;

    fn create_connection(&mut self, info: &ConnectionInfo) -> (SendQueue, ReceiveQueue) {
        let queues = Arc::new(Mutex::new(Queues {
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            send_buffer: self.send_buffer,
            incoming: VecDeque::new(),
            incoming_bytes: 0,
            receive_buffer: self.receive_buffer,
            dropped: 0,
            wants_room: false,
            max_payload: usize::try_from(info.max_datagram_payload).unwrap_or(usize::MAX),
            transport: info.waker.clone(),
            application: None,
        }));
        (SendQueue(Arc::clone(&queues)), ReceiveQueue(queues))
    }

    fn max_datagram_frame_size(&self, _info: &PreConnectionInfo) -> u64 {
        MAX_FRAME
    }
}

/// s2n-quic's end of the queue of datagrams to send.
#[derive(Debug)]
pub(crate) struct SendQueue(Arc<Mutex<Queues>>);

impl SendQueue {
    /// The connection's queues, for the application's end.
    pub(crate) fn queues(&self) -> Arc<Mutex<Queues>> {
        Arc::clone(&self.0)
    }
}

impl Sender for SendQueue {
    fn on_transmit<P: Packet>(&mut self, packet: &mut P) {
        let mut queues = lock(&self.0);
        let mut wrote = false;
        while let Some((datagram, tries)) = queues.outgoing.pop_front() {
            let len = datagram.len();
            if len <= packet.remaining_capacity() && packet.write_datagram(&datagram).is_ok() {
                wrote = true;
                queues.sent(len);
            } else if wrote || tries < MAX_TRIES {
                let tries = if wrote {
                    tries
                } else {
                    tries.saturating_add(1)
                };
                queues.outgoing.push_front((datagram, tries));
                break;
            } else {
                log::debug!("a datagram of {len} bytes was dropped: the path takes less by now");
                queues.sent(len);
            }
        }
        if queues.wants_room {
            queues.wake();
        }
    }

    fn has_transmission_interest(&self) -> bool {
        !lock(&self.0).outgoing.is_empty()
    }

    fn on_connection_error(&mut self, _error: Error) {
        lock(&self.0).outgoing.clear();
    }
}

/// s2n-quic's end of the queue of received datagrams.
#[derive(Debug)]
pub(crate) struct ReceiveQueue(Arc<Mutex<Queues>>);

impl Receiver for ReceiveQueue {
    fn on_datagram(&mut self, _context: &ReceiveContext<'_>, datagram: &[u8]) {
        let mut queues = lock(&self.0);
        queues.arrived(datagram);
        queues.wake();
    }

    fn on_connection_error(&mut self, _error: Error) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(buffer: usize) -> Queues {
        Queues {
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            send_buffer: buffer,
            incoming: VecDeque::new(),
            incoming_bytes: 0,
            receive_buffer: buffer,
            dropped: 0,
            wants_room: false,
            max_payload: 1200,
            transport: Waker::noop().clone(),
            application: None,
        }
    }

    #[test]
    fn oldest_received_datagrams_give_way() {
        let mut queues = queues(10 * (1000 + ENTRY));
        for n in 0..25_u8 {
            queues.arrived(&[n; 1000]);
        }
        assert_eq!(queues.dropped, 15);
        let left: Vec<_> = std::iter::from_fn(|| queues.receive()).collect();
        let expected: Vec<_> = (15..25_u8).map(|n| Bytes::from(vec![n; 1000])).collect();
        assert_eq!(left, expected);
        assert_eq!(queues.incoming_bytes, 0);
    }

    #[test]
    fn empty_datagrams_are_bounded_too() {
        let mut queues = queues(100 * ENTRY);
        for _ in 0..1000 {
            queues.arrived(&[]);
        }
        assert_eq!(queues.incoming.len(), 100);
    }

    #[test]
    fn room_is_told_once_half_of_the_queue_is_sent() {
        let mut queues = queues(10 * (1000 + ENTRY));
        let datagram = Bytes::from(vec![0; 1000]);
        while queues.send(datagram.clone()) {}
        assert_eq!(queues.outgoing.len(), 10);
        assert!(!queues.take_room());
        for _ in 0..5 {
            queues.sent(1000);
        }
        assert!(queues.take_room());
        assert!(!queues.take_room(), "told already");
    }
}
