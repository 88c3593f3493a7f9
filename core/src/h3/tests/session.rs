//! An established session: streams, datagrams, codes, and its end.

use super::super::error::*;
use super::*;

const FIRST: u64 = 0x52e4_a40f_a8db;
const LOCAL: StreamId = StreamId::local(0);

fn open(wire: &mut Wire, stream: StreamId, dir: Dir) {
    assert_eq!(wire.want(Output::Open { stream, dir }), Some(Answer::Done));
}

fn write(stream: StreamId, bytes: &'static [u8], fin: bool) -> Output {
    Output::Write {
        stream,
        bytes: Bytes::from_static(bytes),
        fin,
        urgent: false,
    }
}

const fn wrote(taken: usize, room: Room) -> Answer {
    Answer::Wrote { taken, room }
}

#[test]
fn streams_of_the_inner_machine_begin_with_their_prefix() {
    let (mut wire, _) = established_server();
    let other = StreamId::local(1);
    open(&mut wire, LOCAL, Dir::Uni);
    assert_eq!(
        wire.want(write(LOCAL, b"uni", false)),
        Some(wrote(3, Room::More))
    );
    open(&mut wire, other, Dir::Bi);
    assert_eq!(
        wire.want(write(other, b"bidi", true)),
        Some(wrote(4, Room::More))
    );
    assert_eq!(wire.sent(LOCAL).bytes, b"\x40\x54\x00uni");
    assert_eq!(wire.sent(other).bytes, b"\x40\x41\x00bidi");
    assert!(wire.sent(other).fin);
    // Nothing of this stays.
    assert!(wire.layer.writes.is_empty() && wire.layer.writable.is_empty());
}

#[test]
fn a_prefix_that_finds_no_room_holds_the_stream_back() {
    let (mut wire, _) = established_server();
    wire.write_room = 1;
    open(&mut wire, LOCAL, Dir::Uni);
    assert_eq!(
        wire.want(write(LOCAL, b"abc", false)),
        Some(wrote(0, Room::StreamFull))
    );
    wire.input(Input::Writable(LOCAL));
    assert_eq!(
        (&wire.sent(LOCAL).bytes[..], wire.inputs.len()),
        (&b"\x40\x54"[..], 0)
    );
    wire.write_room = 100;
    wire.input(Input::Writable(LOCAL));
    assert_eq!(wire.sent(LOCAL).bytes, b"\x40\x54\x00");
    assert_eq!(wire.inputs, [Input::Writable(LOCAL)]);
    assert_eq!(
        wire.want(write(LOCAL, b"abc", false)),
        Some(wrote(3, Room::More))
    );
    // From here on room is the inner machine's own business.
    wire.input(Input::Writable(LOCAL));
    assert_eq!(wire.inputs.len(), 2);
}

#[test]
fn an_end_behind_a_prefix_without_room_is_not_lost() {
    let (mut wire, _) = established_server();
    wire.write_room = 2;
    open(&mut wire, LOCAL, Dir::Uni);
    assert_eq!(
        wire.want(write(LOCAL, b"", true)),
        Some(wrote(0, Room::More))
    );
    assert!(!wire.sent(LOCAL).fin);
    wire.input(Input::Writable(LOCAL));
    let sent = wire.sent(LOCAL);
    assert_eq!((&sent.bytes[..], sent.fin), (&b"\x40\x54\x00"[..], true));
}

#[test]
fn a_full_connection_holds_prefixes_back_until_something_happens() {
    let (mut wire, _) = established_server();
    let answer = |wire: &mut Wire, answer| wire.layer.handle_answer(Time::ZERO, answer);
    let asked = wire.layer.translate(
        Time::ZERO,
        Output::Open {
            stream: LOCAL,
            dir: Dir::Uni,
        },
    );
    assert!(matches!(asked, Translated::Ask(Output::Open { .. })));
    assert_eq!(answer(&mut wire, Answer::Done), Some(Answer::Done));
    let prefix = Some(Output::Write {
        stream: LOCAL,
        bytes: Bytes::from_static(b"\x40\x54\x00"),
        fin: false,
        urgent: true,
    });
    assert_eq!(wire.layer.poll_output(), prefix);
    let full = Answer::Wrote {
        taken: 0,
        room: Room::ConnectionFull,
    };
    assert_eq!(answer(&mut wire, full.clone()), None);
    assert_eq!(wire.layer.poll_output(), None);
    let answered = wire.layer.translate(Time::ZERO, write(LOCAL, b"x", false));
    assert_eq!(answered, Translated::Answered(full));
    // Any news of the transport is a reason to try again.
    wire.layer
        .handle_input(Time::ZERO, Input::Acked(StreamId::local(9)));
    assert_eq!(wire.layer.poll_output(), prefix);
}

#[test]
fn a_stream_without_credit_is_not_opened() {
    let (mut wire, _) = established_server();
    wire.credit = 0;
    let wanted = Output::Open {
        stream: LOCAL,
        dir: Dir::Bi,
    };
    assert_eq!(wire.want(wanted), Some(Answer::Blocked));
    assert!(wire.layer.writes.is_empty());
    wire.input(Input::CanOpen(Dir::Bi));
    assert_eq!(wire.inputs, [Input::CanOpen(Dir::Bi)]);
}

#[test]
fn streams_of_the_peer_lose_their_prefix_however_it_is_cut() {
    for chunk in [1, 2, 3, 4, 100] {
        let (mut wire, _) = established_server();
        wire.read_chunk = chunk;
        let stream = wire.open(Dir::Bi, &[]);
        for byte in b"\x40\x41\x00payload" {
            wire.send(stream, &[*byte]);
        }
        wire.send_end(stream, Answer::Fin);
        let dir = Dir::Bi;
        assert_eq!(
            wire.inputs[..2],
            [Input::Opened { stream, dir }, Input::Readable(stream)]
        );
        assert_eq!(wire.read_all(stream), b"payload");
        assert_eq!(wire.answers, []);
        // Nothing is kept of a stream that was handed over.
        assert!(wire.layer.beginning.is_empty() && wire.layer.readable.is_empty());
    }
}

#[test]
fn the_answers_to_reads_pass_through() {
    let (mut wire, _) = established_server();
    let stream = wire.open(Dir::Uni, b"\x40\x54\x00");
    let read = Output::Read { stream, max: 5 };
    assert_eq!(wire.want(read.clone()), Some(Answer::Blocked));
    wire.send(stream, b"abc");
    assert_eq!(wire.inputs.last(), Some(&Input::Readable(stream)));
    assert_eq!(
        wire.want(read.clone()),
        Some(Answer::Data(Bytes::from_static(b"abc")))
    );
    wire.send_end(stream, Answer::Fin);
    assert_eq!(wire.want(read.clone()), Some(Answer::Fin));
    assert_eq!(wire.want(read), Some(Answer::Gone));
}

#[test]
fn codes_of_streams_travel_in_the_range_of_webtransport() {
    let (mut wire, _) = established_server();
    open(&mut wire, LOCAL, Dir::Uni);
    let stream = wire.open(Dir::Bi, b"\x40\x41\x00");
    let (reset, stop) = (
        |stream, code| Output::Reset { stream, code },
        |stream, code| Output::Stop { stream, code },
    );
    assert_eq!(wire.want(reset(LOCAL, 42)), None);
    assert_eq!(wire.want(stop(stream, 0x1e)), None);
    assert_eq!(wire.want(reset(stream, 1 << 40)), None);
    assert_eq!(wire.sent(LOCAL).reset, Some(FIRST + 42 + 1));
    assert_eq!(wire.sent(stream).stop, Some(FIRST + 0x1f));
    assert_eq!(wire.sent(stream).reset, Some(FIRST));
    // The other way, with codes that stand for nothing.
    wire.inputs.clear();
    for (code, told) in [(FIRST + 7, 7), (0x10c, 0), (WT_SESSION_GONE, 0), (5, 5)] {
        wire.input(Input::Stopped {
            stream: LOCAL,
            code,
        });
        let expected = Input::Stopped {
            stream: LOCAL,
            code: told,
        };
        assert_eq!(wire.inputs.pop(), Some(expected));
        let stream = wire.open(Dir::Uni, b"\x40\x54\x00");
        wire.send_end(stream, Answer::Reset(code));
        let read = Output::Read { stream, max: 1 };
        assert_eq!(wire.want(read), Some(Answer::Reset(told)));
    }
}

#[test]
fn a_reset_before_the_prefix_left_drops_the_prefix() {
    let (mut wire, _) = established_server();
    wire.write_room = 1;
    open(&mut wire, LOCAL, Dir::Uni);
    let code = 1;
    assert_eq!(
        wire.want(Output::Reset {
            stream: LOCAL,
            code
        }),
        None
    );
    wire.input(Input::Writable(LOCAL));
    assert_eq!(wire.sent(LOCAL).bytes, b"\x40");
    assert_eq!(wire.sent(LOCAL).reset, Some(FIRST + 1));
}

#[test]
fn datagrams_carry_the_quarter_stream_id() {
    let (mut wire, _) = established_server();
    let payload = Bytes::from_static(b"payload");
    assert_eq!(
        wire.want(Output::Datagram(payload.clone())),
        Some(Answer::Done)
    );
    assert_eq!(wire.datagrams, [&b"\x00payload"[..]]);
    wire.input(Input::Datagram(Bytes::from_static(b"\x00payload")));
    wire.input(Input::Datagram(Bytes::from_static(b"\x40\x00payload")));
    wire.input(Input::Datagram(Bytes::from_static(b"\x01another session")));
    assert_eq!(
        wire.inputs,
        [Input::Datagram(payload.clone()), Input::Datagram(payload)]
    );
}

#[test]
fn the_largest_datagram_is_what_the_prefix_leaves() {
    let (mut wire, _) = established_server();
    let largest = Bytes::from(vec![1; 1199]);
    assert_eq!(wire.want(Output::Datagram(largest)), Some(Answer::Done));
    let larger = Bytes::from(vec![1; 1200]);
    assert_eq!(
        wire.want(Output::Datagram(larger.clone())),
        Some(Answer::TooLarge)
    );
    let rtt = Duration::from_millis(5);
    let path = |max_datagram| Input::Path { rtt, max_datagram };
    wire.input(path(1300));
    wire.input(path(0));
    assert_eq!(wire.inputs, [path(1299), path(0)]);
    wire.input(path(1300));
    assert_eq!(wire.want(Output::Datagram(larger)), Some(Answer::Done));
}

#[test]
fn a_peer_that_does_not_announce_datagrams_gets_none() {
    let mut wire = new_server();
    wire.open(Dir::Uni, b"\x00\x04\x00");
    wire.open(Dir::Bi, &chromium_request(&[]));
    assert_eq!(wire.established(), Some((&b"moqt-18"[..], 0)));
    let datagram = Output::Datagram(Bytes::from_static(b"x"));
    assert_eq!(wire.want(datagram), Some(Answer::TooLarge));
    assert!(wire.datagrams.is_empty());
}

#[test]
fn stream_limits_leave_room_for_http3() {
    let mut wire = new_server();
    let allow = |dir, count| Output::AllowStreams { dir, count };
    assert_eq!(wire.want(allow(Dir::Uni, 100)), None);
    assert_eq!(wire.want(allow(Dir::Bi, 10)), None);
    assert_eq!(wire.want(allow(Dir::Bi, u64::MAX)), None);
    assert_eq!(
        wire.allowed,
        [(Dir::Uni, 103), (Dir::Bi, 11), (Dir::Bi, u64::MAX)]
    );
}

#[test]
fn other_news_and_wishes_pass_through() {
    let (mut wire, connect) = established_server();
    wire.input(Input::Acked(LOCAL));
    wire.input(Input::DatagramRoom);
    assert_eq!(wire.inputs, [Input::Acked(LOCAL), Input::DatagramRoom]);
    // News of this layer's own streams stay inside.
    wire.input(Input::Acked(CONTROL_STREAM));
    wire.input(Input::Acked(connect));
    wire.input(Input::Readable(connect));
    assert_eq!(wire.inputs.len(), 2);
    let priority = Output::Priority {
        stream: LOCAL,
        priority: 3,
    };
    let asked = wire.layer.translate(Time::ZERO, priority.clone());
    assert_eq!(asked, Translated::Ask(priority));
}

#[test]
fn a_stream_that_is_gone_is_no_breach() {
    // A transport may answer so for every stream when the connection was closed, before it tells why.
    let (mut wire, connect) = established_server();
    let silent = wire.open(Dir::Uni, b"\x40");
    for stream in [StreamId::peer(0), connect, silent] {
        wire.incoming.remove(&stream);
        wire.input(Input::Readable(stream));
    }
    assert!(wire.layer.beginning.is_empty());
    assert_eq!((wire.closed_input(), wire.close_code()), (None, None));
    let (code, reason) = (7, Bytes::from_static(b"why"));
    let closed = Closed::ByPeer { code, reason };
    wire.input(Input::Closed(closed.clone()));
    assert_eq!(wire.closed_input(), Some(&closed));
}

// The end.

#[test]
fn the_peers_close_capsule_ends_the_session() {
    for chunk in [1, 1000] {
        let (mut wire, connect) = established_server();
        wire.read_chunk = chunk;
        // Chromium's reserved capsule comes first.
        let grease = b"\xcf\x68\x09\xf2\xcc\x3e\x34\xe1\x03abc";
        wire.send(connect, &frame::encode(frame::DATA, grease));
        wire.send(
            connect,
            &frame::encode(frame::DATA, b"\x68\x43\x07\x00\x00"),
        );
        assert_eq!(wire.inputs, []);
        wire.send(connect, &frame::encode(frame::DATA, b"\x00\x07bye"));
        let reason = Bytes::from_static(b"bye");
        assert_eq!(
            wire.inputs,
            [Input::Closed(Closed::ByPeer { code: 7, reason })]
        );
        // Its stream is answered with its end; the connection follows when the peer knows.
        assert!(wire.sent(connect).fin);
        wire.send_end(connect, Answer::Fin);
        assert_eq!(wire.close_code(), None);
        wire.input(Input::Acked(connect));
        assert_eq!(wire.closed, Some((H3_NO_ERROR, Bytes::from_static(b"bye"))));
        wire.input(Input::Closed(Closed::ByUs));
        assert!(wire.layer.is_over());
        assert_eq!(wire.inputs.len(), 1);
    }
}

#[test]
fn the_end_of_the_connect_stream_ends_the_session() {
    let (mut wire, connect) = established_server();
    wire.send_end(connect, Answer::Fin);
    let reason = Bytes::new();
    assert_eq!(
        wire.closed_input(),
        Some(&Closed::ByPeer { code: 0, reason })
    );
    assert!(wire.sent(connect).fin);
    // If the peer never acknowledges, the connection is closed all the same.
    assert_eq!(
        wire.layer.poll_timeout(),
        Some((
            Time::ZERO + Limits::default().close_timeout,
            "WebTransport session end"
        ))
    );
    wire.after(Limits::default().close_timeout);
    assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
}

#[test]
fn an_abandoned_connect_stream_loses_the_session() {
    let (mut wire, connect) = established_server();
    wire.send_end(connect, Answer::Reset(0x10c));
    assert!(
        matches!(wire.closed_input(), Some(Closed::Lost(why)) if why.contains("H3_REQUEST_CANCELLED"))
    );
    assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
}

#[test]
fn a_stopped_connect_stream_is_read_to_its_end() {
    let stop = |wire: &mut Wire, stream| {
        let code = WT_SESSION_GONE;
        wire.input(Input::Stopped { stream, code });
        assert_eq!(wire.sent(stream).reset, Some(WT_SESSION_GONE));
        assert_eq!((wire.closed_input(), wire.close_code()), (None, None));
    };
    // The capsule comes after the word that no answer is wanted.
    let (mut wire, connect) = established_server();
    stop(&mut wire, connect);
    wire.send(connect, &capsule::close_frame(7, b"bye"));
    let reason = Bytes::from_static(b"bye");
    assert_eq!(
        wire.closed_input(),
        Some(&Closed::ByPeer { code: 7, reason })
    );
    assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
    // It never comes.
    let (mut wire, connect) = established_server();
    stop(&mut wire, connect);
    wire.after(Limits::default().close_timeout);
    assert!(matches!(wire.closed_input(), Some(Closed::Lost(_))));
    assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
    // This side ends the session meanwhile, and can only close the connection.
    let (mut wire, connect) = established_server();
    stop(&mut wire, connect);
    let reason = Bytes::from_static(b"enough");
    assert_eq!(wire.want(Output::Close { code: 1, reason }), None);
    assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
    // After the end of the session it means that the peer knows.
    let (mut wire, stream) = established_server();
    let reason = Bytes::new();
    assert_eq!(wire.want(Output::Close { code: 1, reason }), None);
    let code = WT_SESSION_GONE;
    wire.input(Input::Stopped { stream, code });
    assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
}

/// A stream of the peer may be stopped before its first byte tells whose it is: the answering half is reset then, once, and
/// whoever it turns out to belong to knows of the stop and may reset it too.
#[test]
fn a_stream_that_was_stopped_before_it_was_known_is_reset_once() {
    let code = stream_code_to_h3(5);
    let stop = |wire: &mut Wire| {
        let stream = wire.open(Dir::Bi, b"");
        wire.input(Input::Stopped { stream, code });
        assert!(wire.sent(stream).reset.is_some());
        wire.inputs.clear();
        stream
    };
    // One of the session's.
    let (mut wire, _) = established_server();
    let stream = stop(&mut wire);
    wire.send(stream, b"\x40\x41\x00hello");
    let told = [
        Input::Opened {
            stream,
            dir: Dir::Bi,
        },
        Input::Stopped { stream, code: 5 },
        Input::Readable(stream),
    ];
    assert_eq!(wire.inputs, told);
    // An answer to what came before the stop was read.
    let answer = Output::Write {
        stream,
        bytes: Bytes::from_static(b"answer"),
        fin: true,
        urgent: true,
    };
    assert_eq!(wire.want(answer), Some(Answer::Gone));
    assert_eq!(wire.want(Output::Reset { stream, code: 9 }), None);
    assert_eq!(wire.read_all(stream), b"hello");
    assert!(wire.layer.halted.is_empty());
    // One of a session that there is not; a request; one that ends, or is reset, without a word.
    for first in [&b"\x40\x41\x04x"[..], b"\x01\x00"] {
        let (mut wire, _) = established_server();
        let stream = stop(&mut wire);
        wire.send(stream, first);
        assert!(wire.sent(stream).stop.is_some(), "{first:x?}");
        assert!(wire.layer.halted.is_empty());
    }
    for end in [Answer::Fin, Answer::Reset(7)] {
        let (mut wire, _) = established_server();
        let stream = stop(&mut wire);
        wire.send_end(stream, end);
        assert!(wire.layer.halted.is_empty());
        assert_eq!(wire.close_code(), None);
    }
}

#[test]
fn what_breaks_the_capsule_protocol_is_a_message_error() {
    let long = frame::encode(0x2843, &[b'a'; 2000]);
    for capsule in [
        &b"\x68\x43\x03\x00\x00\x00"[..],
        b"\x68\x43\x06\x00\x00\x00\x00\xff\xfe",
        &long,
    ] {
        let (mut wire, connect) = established_server();
        wire.send(connect, &frame::encode(frame::DATA, capsule));
        assert_eq!(wire.close_code(), Some(H3_MESSAGE_ERROR));
        assert!(matches!(wire.closed_input(), Some(Closed::Lost(_))));
    }
    // An end inside a capsule, and inside a frame.
    let (mut wire, connect) = established_server();
    wire.send(connect, &frame::encode(frame::DATA, b"\x68\x43\x07\x00"));
    wire.send_end(connect, Answer::Fin);
    assert_eq!(wire.close_code(), Some(H3_MESSAGE_ERROR));
    let (mut wire, connect) = established_server();
    wire.send(connect, b"\x00\x05\x21");
    wire.send_end(connect, Answer::Fin);
    assert_eq!(wire.close_code(), Some(H3_FRAME_ERROR));
}

#[test]
fn bytes_after_the_close_capsule_reset_the_stream() {
    let (mut wire, connect) = established_server();
    let close = capsule::close_frame(0, b"");
    wire.send(connect, &[close, frame::encode(frame::DATA, b"x")].concat());
    assert_eq!(wire.sent(connect).reset, Some(H3_MESSAGE_ERROR));
    wire.after(Limits::default().close_timeout);
    assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
}

#[test]
fn frames_that_a_tunnel_must_not_have_close_the_connection() {
    for (bytes, code) in [
        (&b"\x01\x00"[..], H3_FRAME_UNEXPECTED),
        (b"\x04\x00", H3_FRAME_UNEXPECTED),
        (b"\x40\x41\x00", H3_FRAME_ERROR),
    ] {
        let (mut wire, connect) = established_server();
        wire.send(connect, bytes);
        assert_eq!(wire.close_code(), Some(code));
        assert!(matches!(wire.closed_input(), Some(Closed::Lost(_))));
    }
}

#[test]
fn the_inner_machines_close_becomes_a_capsule_and_then_the_end() {
    let (mut wire, connect) = established_server();
    let before = wire.sent(connect).bytes.len();
    let reason = Bytes::from_static(b"bye");
    let code = 7;
    assert_eq!(wire.want(Output::Close { code, reason }), None);
    let sent = wire.sent(connect);
    assert_eq!(
        sent.bytes[before..],
        *b"\x00\x0a\x68\x43\x07\x00\x00\x00\x07bye"
    );
    assert!(sent.fin);
    assert_eq!(wire.close_code(), None);
    assert!(wire.layer.poll_timeout().is_some());
    // Nothing of the session happens any more.
    let stream = wire.open(Dir::Bi, b"\x40\x41\x00x");
    assert_eq!(wire.sent(stream).reset, Some(WT_SESSION_GONE));
    assert_eq!(wire.want(write(LOCAL, b"x", false)), Some(Answer::Gone));
    assert_eq!(
        wire.want(Output::Datagram(Bytes::new())),
        Some(Answer::Gone)
    );
    assert_eq!(wire.inputs, []);
    wire.input(Input::Acked(connect));
    assert_eq!(wire.closed, Some((H3_NO_ERROR, Bytes::from_static(b"bye"))));
    wire.input(Input::Closed(Closed::ByUs));
    assert_eq!(wire.inputs, [Input::Closed(Closed::ByUs)]);
}

#[test]
fn a_close_capsule_waits_for_room_and_for_the_peer() {
    let (mut wire, connect) = established_server();
    wire.write_room = 5;
    let before = wire.sent(connect).bytes.len();
    let reason = Bytes::from_static(b"bye");
    assert_eq!(wire.want(Output::Close { code: 1, reason }), None);
    wire.input(Input::Writable(connect));
    assert!(!wire.sent(connect).fin);
    wire.input(Input::Writable(connect));
    assert_eq!(wire.sent(connect).bytes.len() - before, 12);
    assert!(wire.sent(connect).fin);
    // The peer ends its side: it has read the capsule.
    wire.send_end(connect, Answer::Fin);
    assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
}

#[test]
fn a_peer_that_closes_the_connection_in_answer_to_our_close_is_us() {
    let (mut wire, _) = established_server();
    let reason = Bytes::from_static(b"bye");
    assert_eq!(wire.want(Output::Close { code: 1, reason }), None);
    let reason = Bytes::new();
    wire.input(Input::Closed(Closed::ByPeer {
        code: 0x100,
        reason,
    }));
    assert_eq!(wire.inputs, [Input::Closed(Closed::ByUs)]);
    // Also when both close at once.
    let (mut wire, connect) = established_server();
    let reason = Bytes::from_static(b"bye");
    assert_eq!(wire.want(Output::Close { code: 1, reason }), None);
    wire.input(Input::Acked(connect));
    let (code, reason) = (FIRST + 1, Bytes::from_static(b"bye"));
    wire.input(Input::Closed(Closed::ByPeer { code, reason }));
    assert_eq!(wire.inputs, [Input::Closed(Closed::ByUs)]);
}

#[test]
fn a_close_before_the_session_ends_the_connection_at_once() {
    let mut wire = new_server();
    let reason = Bytes::from_static(b"never mind");
    assert_eq!(
        wire.want(Output::Close {
            code: 1,
            reason: reason.clone()
        }),
        None
    );
    assert_eq!(wire.closed, Some((H3_NO_ERROR, reason)));
}

#[test]
fn the_end_of_the_connection_is_told_in_the_inner_machines_terms() {
    let reason = Bytes::from_static(b"why");
    for (code, told) in [
        (0x100, Some(0)),
        (FIRST + 0x1e + 1, Some(0x1e)),
        (0x107, None),
    ] {
        let (mut wire, _) = established_server();
        let reason = reason.clone();
        wire.input(Input::Closed(Closed::ByPeer {
            code,
            reason: reason.clone(),
        }));
        match (wire.closed_input(), told) {
            (Some(closed), Some(code)) => assert_eq!(*closed, Closed::ByPeer { code, reason }),
            (Some(Closed::Lost(why)), None) => {
                assert!(why.contains("H3_EXCESSIVE_LOAD, \"why\""), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
    let (mut wire, _) = established_server();
    wire.input(Input::Closed(Closed::TimedOut));
    assert_eq!(wire.inputs, [Input::Closed(Closed::TimedOut)]);
}

#[test]
fn draining_is_asked_and_noticed() {
    let (mut wire, connect) = established_server();
    let before = wire.sent(connect).bytes.len();
    wire.layer.drain();
    wire.pump();
    assert_eq!(
        wire.sent(connect).bytes[before..],
        [0, 5, 0x80, 0, 0x78, 0xae, 0]
    );
    assert!(!wire.layer.is_draining());
    wire.send(connect, &capsule::drain_frame());
    assert!(wire.layer.is_draining());
    assert_eq!(wire.inputs, []);
}
