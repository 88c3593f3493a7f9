//! HTTP/3 and WebTransport below MoQT: requests that never end, capsules, settings and frames by the megabyte.

use bytes::Bytes;
use oxymoq_core::transport::{ConnectionId, Dir, StreamId};

use crate::case::Case;
use crate::cases;
use crate::wire::{Over, Turns, Wire};

cases! {
    connects_that_never_end
    capsules_without_end
    settings_and_frames_without_end
    streams_of_no_session
}

// RFC 9114 § HTTP/3 Error Codes.
const H3_STREAM_CREATION_ERROR: u64 = 0x103;
const H3_FRAME_UNEXPECTED: u64 = 0x105;
const H3_ID_ERROR: u64 = 0x108;
const H3_EXCESSIVE_LOAD: u64 = 0x107;
const H3_REQUEST_REJECTED: u64 = 0x10b;
const H3_MESSAGE_ERROR: u64 = 0x10e;

/// A stream that names a session which is not there.
const WT_BUFFERED_STREAM_REJECTED: u64 = 0x3994_bd84;

const H3: [&str; 1] = ["h3"];
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
/// A frame and a capsule that nobody knows.
const UNKNOWN: u8 = 0x21;

/// A frame, or a capsule, whose length says what is told, whatever follows.
fn frame(kind: u8, length: usize, payload: &[u8]) -> Bytes {
    let length = u32::try_from(length).unwrap() | 0x8000_0000;
    [&[kind], &length.to_be_bytes()[..], payload]
        .concat()
        .into()
}

fn whole(kind: u8, payload: &[u8]) -> Bytes {
    frame(kind, payload.len(), payload)
}

/// The client's control stream, with the settings that WebTransport asks for.
fn settings(wire: &mut Wire, connection: ConnectionId) -> StreamId {
    let control = wire.open(connection, Dir::Uni);
    let settings = b"\x08\x01\x33\x01\xab\x60\x37\x42\x01\xc0\x00\x00\x00\xc6\x71\x70\x6a\x01";
    let payload = [&b"\x00"[..], &whole(SETTINGS, settings)].concat();
    wire.write(connection, control, payload.into());
    control
}

/// Header fields of a CONNECT, by hand: QPACK without a dynamic table and without Huffman.
fn connect() -> Bytes {
    let mut fields = vec![0, 0, 0xc0 | 15, 0xc0 | 23];
    fields.extend(b"\x51\x04/moq");
    fields.extend(b"\x50\x09localhost");
    fields.extend(b"\x27\x02:protocol\x0cwebtransport");
    whole(HEADERS, &fields)
}

/// Requests whose headers are announced and never complete: more than may be open at once, and then nothing.
fn connects_that_never_end(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "CONNECT that never ends",
        runtime,
        over,
        flags: "--h3_handshake_timeout 3s --max_h3_requests 2",
        tables: 0,
    };
    let turns = Turns::new(
        &H3,
        |wire: &mut Wire, connection, _, turn| {
            if turn == 0 {
                settings(wire, connection);
            }
            let stream = wire.open(connection, Dir::Bi);
            wire.write(connection, stream, frame(HEADERS, 16_000, &[0; 15_000]));
            turn < 20 * scale
        },
        |wire: &Wire| wire.open_connections() == 0,
    );
    let (_, seen) = case.withstand(turns);
    assert!(seen.resets.contains_key(&H3_REQUEST_REJECTED), "{seen:?}");
    assert_eq!(seen.closed.values().sum::<u64>(), 1, "{seen:?}");
}

/// A session whose CONNECT stream carries capsules that nobody knows, one that is longer than anything, and at last the end of
/// the session with more words than are allowed.
fn capsules_without_end(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "capsule flood",
        runtime,
        over,
        // Nobody sends a SETUP.
        flags: "--setup_timeout 100s",
        tables: 0,
    };
    let mut tunnel = None;
    let turns = Turns::new(
        &H3,
        |wire: &mut Wire, connection, _, turn| {
            let stream = *tunnel.get_or_insert_with(|| {
                settings(wire, connection);
                let stream = wire.open(connection, Dir::Bi);
                wire.write(connection, stream, connect());
                stream
            });
            let is_last = turn >= 100 * scale;
            let capsules = if is_last {
                // CLOSE_WEBTRANSPORT_SESSION
                [&b"\x68\x43"[..], &b"\x80\x00\x10\x00"[..], &[b'x'; 4096]].concat()
            } else {
                whole(UNKNOWN, &[0; 100]).repeat(300)
            };
            wire.write(connection, stream, whole(DATA, &capsules));
            !is_last
        },
        |wire: &Wire| wire.open_connections() == 0,
    );
    let (_, seen) = case.withstand(turns);
    assert_eq!(seen.closed.get(&H3_MESSAGE_ERROR), Some(&1), "{seen:?}");
}

/// Frames that nobody knows after the settings, and then settings again; settings that are too long; and streams of types
/// that nobody knows.
fn settings_and_frames_without_end(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "SETTINGS and frames",
        runtime,
        over,
        // Nobody sends a SETUP.
        flags: "--setup_timeout 100s",
        tables: 0,
    };
    let mut control = None;
    let turns = Turns::new(
        &["h3", "h3", "h3"],
        |wire: &mut Wire, connection: ConnectionId, _, turn| match connection.0 {
            0 => {
                let stream = *control.get_or_insert_with(|| {
                    let request = wire.open(connection, Dir::Bi);
                    wire.write(connection, request, connect());
                    settings(wire, connection)
                });
                let is_last = turn >= 100 * scale;
                let frames = if is_last {
                    whole(SETTINGS, b"")
                } else {
                    whole(UNKNOWN, &[0; 100]).repeat(300).into()
                };
                wire.write(connection, stream, frames);
                !is_last
            }
            1 => {
                let stream = wire.open(connection, Dir::Uni);
                let bytes = [&b"\x00"[..], &frame(SETTINGS, 1 << 20, &[0; 5000])].concat();
                wire.write(connection, stream, bytes.into());
                false
            }
            _ => {
                let stream = wire.open(connection, Dir::Uni);
                wire.write(connection, stream, Bytes::from_static(b"\x21 anything"));
                turn < 300 * scale
            }
        },
        |wire: &Wire| {
            let closed = &wire.seen.closed;
            closed.contains_key(&H3_FRAME_UNEXPECTED) && closed.contains_key(&H3_EXCESSIVE_LOAD)
        },
    );
    let (_, seen) = case.withstand(turns);
    assert!(
        seen.stops.contains_key(&H3_STREAM_CREATION_ERROR),
        "{seen:?}"
    );
}

/// What a stream of a session begins with (draft-ietf-webtrans-http3 § Creating a New Stream), and a byte.
fn beginning(dir: Dir, session: u8) -> Bytes {
    let kind = match dir {
        Dir::Uni => 0x54,
        Dir::Bi => 0x41,
    };
    Bytes::copy_from_slice(&[0x40, kind, session, 0xff])
}

/// Streams and datagrams of a session that is never asked for, more than may wait for it, before there is any session and
/// after; and at last of one whose id cannot be that of a session.
fn streams_of_no_session(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "streams of no session",
        runtime,
        over,
        // Nobody sends a SETUP.
        flags: "--setup_timeout 100s --max_h3_waiting_streams 8 --max_h3_waiting_datagrams 4",
        tables: 0,
    };
    let (early, late) = (60 * scale, 60 * scale);
    let mut tunnel = None;
    let turns = Turns::new(
        &H3,
        |wire: &mut Wire, connection, _, turn| {
            let request = *tunnel.get_or_insert_with(|| wire.open(connection, Dir::Bi));
            if turn == early {
                settings(wire, connection);
                wire.write(connection, request, connect());
            }
            for _ in 0..20 {
                wire.datagram(connection, Bytes::from_static(&[10, 1, 2, 3]));
            }
            if turn < early + late {
                for dir in [Dir::Uni, Dir::Bi] {
                    let stream = wire.open(connection, dir);
                    wire.write(connection, stream, beginning(dir, 40));
                }
                return true;
            }
            let is_refused = wire.seen.stops.contains_key(&WT_BUFFERED_STREAM_REJECTED);
            if is_refused {
                let stream = wire.open(connection, Dir::Uni);
                wire.write(connection, stream, beginning(Dir::Uni, 3));
            }
            !is_refused
        },
        |wire: &Wire| wire.open_connections() == 0,
    );
    let (_, seen) = case.withstand(turns);
    assert_eq!(seen.closed.get(&H3_ID_ERROR), Some(&1), "{seen:?}");
}
