//! The last frame of a connection, with what s2n-quic leaves out: a peer's is put off until what came before is read, and
//! the words in it arrive, both ways.
//!
//! As soon as s2n-quic sees the CONNECTION_CLOSE frame of a peer's application it throws away whatever was not read of
//! unfinished streams, and all streams that nobody accepted yet. So the frame is taken out of its packet before s2n-quic
//! looks, and the adapter closes the connection itself when the application has read what there was. An own frame gets its
//! words when its packet is made. Both happen between encryption and frames, where s2n-quic lets a packet be changed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use s2n_codec::encoder::scatter;
use s2n_codec::{DecoderBufferMut, Encoder as _, EncoderBuffer};
use s2n_quic::provider::event::events::Subject;
use s2n_quic::provider::packet_interceptor::PacketInterceptor;
use s2n_quic_core::frame::{ConnectionClose, Frame, FrameMut};
use s2n_quic_core::packet::interceptor::Packet;

use crate::observe::Observed;
use crate::ready::lock;

/// Bytes of a CONNECTION_CLOSE frame of an application besides its words, at most: type, code and length (RFC 9000 § 19.19).
const FRAME: usize = 1 + 8 + 8;

/// The closes of one s2n-quic endpoint's connections, which it numbers.
#[derive(Debug, Default)]
pub(crate) struct Closes {
    /// Who wants to know of a peer's close; as many as there are connections.
    connections: Mutex<BTreeMap<u64, Weak<Mutex<Observed>>>>,
    /// What is to be said when a connection is closed; as many as are being closed.
    words: Mutex<BTreeMap<u64, Bytes>>,
    /// Whether there are words, so that not every packet has to ask for them.
    has_words: AtomicBool,
}

/// A connection's place in [`Closes`], until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    closes: Arc<Closes>,
    number: u64,
}

impl Closes {
    /// Has a connection hear of its peer's close.
    pub(crate) fn watch(self: &Arc<Self>, number: u64, seen: &Arc<Mutex<Observed>>) -> Place {
        lock(&self.connections).insert(number, Arc::downgrade(seen));
        Place {
            closes: Arc::clone(self),
            number,
        }
    }

    fn arrived(&self, number: u64, code: u64, words: &[u8]) {
        let seen = lock(&self.connections).get(&number).and_then(Weak::upgrade);
        if let Some(seen) = seen {
            lock(&seen).closed(code, Bytes::copy_from_slice(words));
        }
    }

    fn words(&self, number: u64) -> Option<Bytes> {
        if !self.has_words.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.words).get(&number).cloned()
    }
}

impl Place {
    /// What to say when the connection is closed, which must follow.
    pub(crate) fn say(&self, words: Bytes) {
        lock(&self.closes.words).insert(self.number, words);
        self.closes.has_words.store(true, Ordering::Release);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.closes.connections).remove(&self.number);
        let mut words = lock(&self.closes.words);
        words.remove(&self.number);
        self.closes
            .has_words
            .store(!words.is_empty(), Ordering::Release);
    }
}

/// Looks into packets for closes.
#[derive(Debug)]
pub(crate) struct Interceptor(pub(crate) Arc<Closes>);

impl PacketInterceptor for Interceptor {
    fn intercept_rx_payload<'a>(
        &mut self,
        subject: &Subject,
        packet: &Packet,
        payload: DecoderBufferMut<'a>,
    ) -> DecoderBufferMut<'a> {
        let payload = payload.into_less_safe_slice();
        if let Subject::Connection { id, .. } = *subject
            && packet.number.space().is_application_data()
            && let Some((code, words)) = take_close(payload)
        {
            self.0.arrived(id, code, &words);
        }
        DecoderBufferMut::new(payload)
    }

    fn intercept_tx_payload(
        &mut self,
        subject: &Subject,
        packet: &Packet,
        payload: &mut scatter::Buffer<'_>,
    ) {
        if let Subject::Connection { id, .. } = *subject
            && packet.number.space().is_application_data()
            && let Some(words) = self.0.words(id)
        {
            add_words(payload.flatten(), &words);
        }
    }
}

/// Code and words of an application's CONNECTION_CLOSE, which becomes padding with all behind it; that does not count any
/// more (RFC 9000 § 10.2).
fn take_close(payload: &mut [u8]) -> Option<(u64, Vec<u8>)> {
    let total = payload.len();
    let mut rest = DecoderBufferMut::new(payload);
    let (start, code, words) = loop {
        let start = total - rest.len();
        // What is no frame is for s2n-quic to complain about.
        let (frame, behind) = rest.decode::<FrameMut<'_>>().ok()?;
        if let Frame::ConnectionClose(close) = frame
            && close.frame_type.is_none()
        {
            let words = close.reason.unwrap_or_default().to_vec();
            break (start, close.error_code.as_u64(), words);
        }
        if behind.is_empty() {
            return None;
        }
        rest = behind;
    };
    payload.get_mut(start..)?.fill(0);
    Some((code, words))
}

/// Gives an application's CONNECTION_CLOSE its words, as many of them as there is room for.
fn add_words(packet: &mut EncoderBuffer<'_>, words: &[u8]) {
    let room = packet.remaining_capacity();
    let (written, _) = packet.split_mut();
    let length = written.len();
    let Ok((Frame::ConnectionClose(close), _)) =
        DecoderBufferMut::new(written).decode::<FrameMut<'_>>()
    else {
        return;
    };
    let error_code = close.error_code;
    if close.frame_type.is_some() || close.reason.is_some() {
        return;
    }
    let room = (length + room).saturating_sub(FRAME);
    let Some(reason) = words
        .get(..words.len().min(room))
        .filter(|it| !it.is_empty())
    else {
        return;
    };
    packet.set_position(0);
    packet.encode(&ConnectionClose {
        error_code,
        frame_type: None,
        reason: Some(reason),
    });
    // It must not get shorter: its length was chosen so that nobody can tell it from a stateless reset.
    packet.write_repeated(length.saturating_sub(packet.len()), 0);
}

#[cfg(test)]
mod tests {
    use s2n_quic_core::frame::Ping;
    use s2n_quic_core::varint::VarInt;

    use super::*;

    fn close(frame_type: Option<u32>, reason: &'static [u8]) -> ConnectionClose<'static> {
        ConnectionClose {
            error_code: VarInt::from_u32(0x1234),
            frame_type: frame_type.map(VarInt::from_u32),
            reason: Some(reason).filter(|reason| !reason.is_empty()),
        }
    }

    /// A packet with a PING and this frame.
    fn packet(close: &ConnectionClose<'_>) -> Vec<u8> {
        let mut bytes = vec![0; 100];
        let mut buffer = EncoderBuffer::new(&mut bytes);
        buffer.encode(&Ping);
        buffer.encode(close);
        let length = buffer.len();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn close_of_an_application_is_taken_out_with_all_behind_it() {
        let mut bytes = packet(&close(None, b"enough"));
        bytes.push(1);
        let length = bytes.len();
        let taken = take_close(&mut bytes);
        assert_eq!(taken, Some((0x1234, b"enough".to_vec())));
        let mut padded = vec![0; length];
        padded[0] = 1;
        assert_eq!(bytes, padded, "the PING is still there");
    }

    #[test]
    fn closes_of_the_transport_and_nonsense_stay_as_they_are() {
        for mut bytes in [
            packet(&close(Some(6), b"bad")),
            vec![1, 0xff, 0x1d, 0],
            vec![],
        ] {
            let before = bytes.clone();
            assert_eq!(take_close(&mut bytes), None);
            assert_eq!(bytes, before);
        }
    }

    /// What becomes of a close in a packet with room for so many bytes.
    fn spoken(frame: &ConnectionClose<'_>, room: usize, words: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; room];
        let mut buffer = EncoderBuffer::new(&mut bytes);
        buffer.encode(frame);
        add_words(&mut buffer, words);
        let length = buffer.len();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn words_are_added_as_far_as_there_is_room() {
        let whole = spoken(&close(None, b""), 100, b"enough of this");
        assert_eq!(
            whole,
            [&[0x1d, 0x52, 0x34, 14][..], b"enough of this"].concat()
        );
        let part = spoken(&close(None, b""), FRAME + 6, b"enough of this");
        assert_eq!(part, [&[0x1d, 0x52, 0x34, 6][..], b"enough"].concat());
        let none = spoken(&close(None, b""), 5, b"enough of this");
        assert_eq!(none, [0x1d, 0x52, 0x34, 0]);
        let other = spoken(&close(Some(6), b""), 100, b"enough of this");
        assert_eq!(other, [0x1c, 0x52, 0x34, 6, 0]);
    }

    #[test]
    fn places_are_given_up() {
        let closes = Arc::new(Closes::default());
        let seen = Arc::new(Mutex::new(Observed::default()));
        let place = closes.watch(7, &seen);
        place.say(Bytes::from_static(b"x"));
        closes.arrived(7, 5, b"bye");
        closes.arrived(8, 6, b"nobody");
        assert_eq!(
            lock(&seen).take_close(),
            Some((5, Bytes::from_static(b"bye")))
        );
        assert_eq!(closes.words(7), Some(Bytes::from_static(b"x")));
        drop(place);
        assert_eq!(closes.words(7), None);
        assert!(lock(&closes.connections).is_empty());
    }
}
