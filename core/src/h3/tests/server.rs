//! The handshake as a server, and what a client must not do.

use super::super::error::*;
use super::*;

/// The header section of a response at the beginning of a stream.
fn response(sent: &Outgoing) -> Vec<(String, String)> {
    let (len, taken) = varint::read(&sent.bytes[1..]).unwrap();
    let len = usize::try_from(len).unwrap();
    let fields = qpack::decode(&sent.bytes[1 + taken..1 + taken + len]).unwrap();
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    fields
        .iter()
        .map(|field| (text(&field.name), text(&field.value)))
        .collect()
}

fn status(wire: &Wire, stream: StreamId) -> String {
    response(wire.sent(stream))[0].1.clone()
}

#[test]
fn chromium_gets_a_session_however_its_bytes_are_cut() {
    for chunk in [1, 2, 3, 7, 1000] {
        let mut wire = new_server();
        wire.read_chunk = chunk;
        wire.open(Dir::Uni, &chromium_control());
        let connect = wire.open(Dir::Bi, &[]);
        for byte in chromium_request(&[]) {
            assert_eq!(wire.established(), None);
            wire.send(connect, &[byte]);
        }
        assert_eq!(wire.established(), Some((&b"moqt-18"[..], 1199)));
        let fields = response(wire.sent(connect));
        let fields: Vec<_> = fields
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            fields,
            [
                (":status", "200"),
                ("wt-protocol", "\"moqt-18\""),
                ("sec-webtransport-http3-draft", "draft02"),
            ]
        );
        assert!(!wire.sent(connect).fin);
        let request = wire.layer.established().unwrap();
        assert_eq!(
            (request.authority.as_str(), request.path.as_str()),
            ("127.0.0.1:4433", "/moq")
        );
        assert_eq!(request.origin.as_deref(), Some("http://localhost:8080"));
        assert_eq!(request.protocol, Some(MOQT_18));
        assert_eq!(wire.layer.poll_timeout(), None);
    }
}

#[test]
fn the_control_stream_is_all_that_is_opened() {
    let wire = new_server();
    assert_eq!(wire.opened, [(CONTROL_STREAM, Dir::Uni)]);
    let sent = wire.sent(CONTROL_STREAM);
    assert_eq!(sent.bytes, [vec![0], settings::encode(true)].concat());
    assert!(!sent.fin);
}

#[test]
fn the_control_stream_waits_for_credit_and_room() {
    let layer = WebTransport::server(Server::default());
    let mut wire = Wire::new(layer);
    let whole = wire.sent(CONTROL_STREAM).bytes.clone();
    // The same with nothing allowed at first, then a byte at a time.
    let mut layer = WebTransport::server(Server::default());
    layer.handle_input(
        Time::ZERO,
        Input::Connected {
            alpn: Bytes::new(),
            max_datagram: 0,
        },
    );
    wire = Wire { layer, ..wire };
    (wire.credit, wire.write_room) = (0, 1);
    wire.outgoing.clear();
    wire.pump();
    assert!(wire.outgoing.is_empty());
    wire.input(Input::CanOpen(Dir::Bi));
    assert!(wire.outgoing.is_empty());
    wire.credit = 1;
    wire.input(Input::CanOpen(Dir::Uni));
    for len in 1..=whole.len() {
        assert_eq!(wire.sent(CONTROL_STREAM).bytes, whole[..len]);
        wire.input(Input::Writable(CONTROL_STREAM));
    }
    assert_eq!(wire.sent(CONTROL_STREAM).bytes, whole);
}

#[test]
fn a_request_waits_for_the_settings() {
    let mut wire = new_server();
    let close = capsule::close_frame(3, b"early");
    let connect = wire.open(Dir::Bi, &[chromium_request(&[]), close].concat());
    assert_eq!(wire.established(), None);
    assert!(!wire.outgoing.contains_key(&connect));
    wire.open(Dir::Uni, &chromium_control());
    assert!(wire.established().is_some());
    // Capsules that came with it count from then on.
    let reason = Bytes::from_static(b"early");
    assert_eq!(
        wire.closed_input(),
        Some(&Closed::ByPeer { code: 3, reason })
    );
}

#[test]
fn the_servers_preference_decides() {
    for (offer, chosen) in [
        (r#""moqt-16", "moqt-18""#, "\"moqt-18\""),
        (r#""moqt-14", "moqt-16""#, "\"moqt-16\""),
    ] {
        let mut wire = new_server();
        wire.open(Dir::Uni, &chromium_control());
        let connect = wire.open(
            Dir::Bi,
            &chromium_request(&[("wt-available-protocols", offer)]),
        );
        assert_eq!(response(wire.sent(connect))[1].1, chosen);
    }
}

#[test]
fn a_client_that_offers_nothing_gets_the_default_or_400() {
    let request = chromium_request(&[("wt-available-protocols", "-")]);
    let mut wire = new_server();
    wire.open(Dir::Uni, &chromium_control());
    let connect = wire.open(Dir::Bi, &request);
    assert_eq!(wire.established(), Some((&b"moqt-18"[..], 1199)));
    assert_eq!(wire.layer.established().unwrap().protocol, None);
    assert!(
        response(wire.sent(connect))
            .iter()
            .all(|(name, _)| name != "wt-protocol")
    );

    let mut wire = Wire::new(WebTransport::server(Server {
        paths: vec!["/moq".to_owned()],
        protocols: vec![MOQT_18],
        default_protocol: None,
    }));
    wire.open(Dir::Uni, &chromium_control());
    let connect = wire.open(Dir::Bi, &request);
    assert_eq!(status(&wire, connect), "400");
    assert_eq!(wire.established(), None);
}

#[test]
fn other_requests_are_refused_and_the_connection_lives() {
    let mut wire = new_server();
    wire.open(Dir::Uni, &chromium_control());
    let get = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "h"),
        (":path", "/moq"),
    ];
    let long = "x".repeat(17_000);
    for (request, code) in [
        (chromium_request(&[(":path", "/other")]), "404"),
        (chromium_request(&[(":path", "/moq/")]), "404"),
        (
            chromium_request(&[("wt-available-protocols", r#""moqt-99""#)]),
            "400",
        ),
        (chromium_request(&[(":protocol", "connect-udp")]), "501"),
        (chromium_request(&[(":protocol", "-")]), "400"),
        (headers(&get), "405"),
        (chromium_request(&[("origin", &long)]), "431"),
    ] {
        let stream = wire.open(Dir::Bi, &request);
        assert_eq!(status(&wire, stream), code);
        let sent = wire.sent(stream);
        assert!(sent.fin);
        assert_eq!((sent.stop, sent.reset), (Some(H3_NO_ERROR), None));
    }
    assert_eq!((wire.established(), wire.close_code()), (None, None));
    let accepted = wire.open(Dir::Bi, &chromium_request(&[(":path", "/moq?query")]));
    assert_eq!(status(&wire, accepted), "200");
    // Seven requests came before: the session's id is 4 times 7.
    assert_eq!(
        wire.layer.session.as_ref().map(|session| session.id),
        Some(28)
    );
    let stream = wire.open(Dir::Uni, b"\x40\x54\x1chello");
    assert_eq!(wire.read_all(stream), b"hello");
}

#[test]
fn a_malformed_request_is_a_stream_error() {
    let mut wire = new_server();
    wire.open(Dir::Uni, &chromium_control());
    let stream = wire.open(Dir::Bi, &chromium_request(&[(":method", "-")]));
    let sent = wire.sent(stream);
    assert_eq!(
        (sent.stop, sent.reset),
        (Some(H3_MESSAGE_ERROR), Some(H3_MESSAGE_ERROR))
    );
    assert_eq!(wire.close_code(), None);
}

#[test]
fn a_second_session_is_rejected_and_the_first_lives() {
    let (mut wire, _) = established_server();
    let second = wire.open(Dir::Bi, &chromium_request(&[]));
    let sent = wire.sent(second);
    assert_eq!(
        (sent.stop, sent.reset),
        (Some(H3_REQUEST_REJECTED), Some(H3_REQUEST_REJECTED))
    );
    assert_eq!((wire.closed_input(), wire.close_code()), (None, None));
    // Also when both come before the settings.
    let mut wire = new_server();
    let first = wire.open(Dir::Bi, &chromium_request(&[]));
    let second = wire.open(Dir::Bi, &chromium_request(&[]));
    wire.open(Dir::Uni, &chromium_control());
    assert_eq!(status(&wire, first), "200");
    assert_eq!(wire.sent(second).reset, Some(H3_REQUEST_REJECTED));
}

#[test]
fn more_requests_at_once_than_the_limit_are_rejected() {
    let mut wire = new_server();
    let unfinished = &chromium_request(&[])[..20];
    let streams: Vec<_> = (0..=Limits::default().max_requests)
        .map(|_| wire.open(Dir::Bi, unfinished))
        .collect();
    for (at, stream) in streams.iter().enumerate() {
        let rejected = wire.outgoing.get(stream).and_then(|sent| sent.reset);
        assert_eq!(
            rejected,
            (at == Limits::default().max_requests).then_some(H3_REQUEST_REJECTED)
        );
    }
    // One that goes away makes room.
    wire.send_end(streams[0], Answer::Reset(0x10c));
    assert_eq!(wire.sent(streams[0]).reset, Some(H3_REQUEST_CANCELLED));
    let next = wire.open(Dir::Bi, unfinished);
    assert!(!wire.outgoing.contains_key(&next));
}

#[test]
fn requests_that_end_early_are_given_up() {
    let mut wire = new_server();
    let empty = wire.open(Dir::Bi, &[]);
    wire.send_end(empty, Answer::Fin);
    assert_eq!(wire.sent(empty).reset, Some(H3_REQUEST_INCOMPLETE));
    let grease = wire.open(Dir::Bi, &frame::encode(0x21, b"x"));
    wire.send_end(grease, Answer::Fin);
    assert_eq!(wire.sent(grease).reset, Some(H3_REQUEST_INCOMPLETE));
    assert_eq!(wire.close_code(), None);
    let cut = wire.open(Dir::Bi, &chromium_request(&[])[..50]);
    wire.send_end(cut, Answer::Fin);
    assert_eq!(wire.close_code(), Some(H3_FRAME_ERROR));
}

/// The code that the connection is closed with when a client sends this, before and after it has a session.
fn code_for(act: impl Fn(&mut Wire)) -> Option<u64> {
    let mut wire = new_server();
    act(&mut wire);
    let before = wire.close_code();
    if before.is_some() {
        assert!(
            matches!(wire.closed_input(), Some(Closed::Failed(_))),
            "{wire:?}"
        );
        wire.input(Input::Closed(Closed::ByUs));
        assert!(wire.layer.is_over());
        assert_eq!(wire.inputs.len(), 1);
    }
    before
}

#[test]
fn breaches_of_http3_close_the_connection_with_their_code() {
    let control = |frames: Vec<u8>| {
        move |wire: &mut Wire| {
            wire.open(Dir::Uni, &frames);
        }
    };
    let settings = |settings: &[u64]| {
        let mut payload = Vec::new();
        settings
            .iter()
            .for_each(|&number| varint::put(&mut payload, number));
        [vec![0], frame::encode(frame::SETTINGS, &payload)].concat()
    };
    assert_eq!(code_for(control(chromium_control())), None);
    // The first frame is not SETTINGS.
    assert_eq!(
        code_for(control(b"\x00\x07\x01\x00".to_vec())),
        Some(H3_MISSING_SETTINGS)
    );
    assert_eq!(
        code_for(control(b"\x00\x21\x01\x00".to_vec())),
        Some(H3_MISSING_SETTINGS)
    );
    // Duplicate and forbidden settings, cut off settings.
    assert_eq!(
        code_for(control(settings(&[0x33, 1, 0x33, 1]))),
        Some(H3_SETTINGS_ERROR)
    );
    assert_eq!(
        code_for(control(settings(&[0x2, 0]))),
        Some(H3_SETTINGS_ERROR)
    );
    assert_eq!(
        code_for(control(settings(&[0x8, 2]))),
        Some(H3_SETTINGS_ERROR)
    );
    assert_eq!(code_for(control(settings(&[0x33]))), Some(H3_FRAME_ERROR));
    // Frames out of place.
    let twice = [settings(&[]), settings(&[])[1..].to_vec()].concat();
    assert_eq!(code_for(control(twice)), Some(H3_FRAME_UNEXPECTED));
    let data = [settings(&[]), frame::encode(frame::DATA, b"x")].concat();
    assert_eq!(code_for(control(data)), Some(H3_FRAME_UNEXPECTED));
    let push = [settings(&[]), frame::encode(frame::CANCEL_PUSH, &[0])].concat();
    assert_eq!(code_for(control(push)), Some(H3_ID_ERROR));
}

#[test]
fn streams_and_datagrams_that_a_client_must_not_send_close_the_connection() {
    let control = |frames: Vec<u8>| {
        move |wire: &mut Wire| {
            wire.open(Dir::Uni, &frames);
        }
    };
    assert_eq!(
        code_for(control(b"\x01".to_vec())),
        Some(H3_STREAM_CREATION_ERROR)
    );
    for kind in [b"\x00", b"\x02", b"\x03"] {
        let twice = |wire: &mut Wire| {
            wire.open(Dir::Uni, kind);
            assert_eq!(wire.close_code(), None);
            wire.open(Dir::Uni, kind);
        };
        assert_eq!(code_for(twice), Some(H3_STREAM_CREATION_ERROR));
    }
    // QPACK.
    assert_eq!(
        code_for(control(b"\x02\x3f\xe1\x1f".to_vec())),
        Some(QPACK_ENCODER_STREAM_ERROR)
    );
    assert_eq!(
        code_for(control(b"\x03\x01".to_vec())),
        Some(QPACK_DECODER_STREAM_ERROR)
    );
    assert_eq!(code_for(control(b"\x02\x20".to_vec())), None);
    assert_eq!(code_for(control(b"\x03\x44".to_vec())), None);
    // A session id that cannot be.
    assert_eq!(
        code_for(control(b"\x40\x54\x01".to_vec())),
        Some(H3_ID_ERROR)
    );
    let bidi = |bytes: &'static [u8]| {
        move |wire: &mut Wire| {
            wire.open(Dir::Bi, bytes);
        }
    };
    assert_eq!(code_for(bidi(b"\x40\x41\x02")), Some(H3_ID_ERROR));
    // Requests.
    assert_eq!(code_for(bidi(b"\x00\x01x")), Some(H3_FRAME_UNEXPECTED));
    assert_eq!(code_for(bidi(b"\x04\x00")), Some(H3_FRAME_UNEXPECTED));
    assert_eq!(
        code_for(bidi(b"\x01\x03\x02\x00\x80")),
        Some(QPACK_DECOMPRESSION_FAILED)
    );
    // Datagrams.
    let datagram = |bytes: &'static [u8]| {
        move |wire: &mut Wire| wire.input(Input::Datagram(Bytes::from_static(bytes)))
    };
    assert_eq!(code_for(datagram(b"")), Some(H3_DATAGRAM_ERROR));
    assert_eq!(code_for(datagram(b"\x40")), Some(H3_DATAGRAM_ERROR));
    assert_eq!(
        code_for(datagram(b"\xd0\0\0\0\0\0\0\0")),
        Some(H3_DATAGRAM_ERROR)
    );
    assert_eq!(
        code_for(datagram(b"\xcf\xff\xff\xff\xff\xff\xff\xff")),
        None
    );
}

#[test]
fn the_end_of_a_critical_stream_ends_the_connection() {
    for kind in [&chromium_control()[..], b"\x02", b"\x03"] {
        for end in [Answer::Fin, Answer::Reset(0x100)] {
            let closed = |wire: &mut Wire| {
                let stream = wire.open(Dir::Uni, kind);
                wire.send_end(stream, end.clone());
            };
            assert_eq!(code_for(closed), Some(H3_CLOSED_CRITICAL_STREAM));
        }
    }
    let stopped = |wire: &mut Wire| {
        let stream = CONTROL_STREAM;
        wire.input(Input::Stopped {
            stream,
            code: 0x100,
        });
    };
    assert_eq!(code_for(stopped), Some(H3_CLOSED_CRITICAL_STREAM));
}

#[test]
fn unknown_streams_are_stopped_and_the_connection_lives() {
    let (mut wire, _) = established_server();
    for bytes in [
        &b"\x21reserved"[..],
        b"\x40\x41\x00",
        b"\x3f",
        b"\xc0\0\0\0\0\0\xff\xff",
    ] {
        let stream = wire.open(Dir::Uni, bytes);
        assert_eq!(wire.sent(stream).stop, Some(H3_STREAM_CREATION_ERROR));
    }
    // So are streams that end before they told what they are: nothing happens.
    let short = wire.open(Dir::Uni, b"\x40");
    wire.send_end(short, Answer::Fin);
    let short = wire.open(Dir::Uni, b"\x40\x54");
    wire.send_end(short, Answer::Reset(0x52e4_a40f_a8db));
    assert_eq!((wire.close_code(), wire.inputs.len()), (None, 0));
}

#[test]
fn streams_and_datagrams_before_the_request_wait_for_it() {
    let mut wire = new_server();
    wire.open(Dir::Uni, &chromium_control());
    // The stream that will be the request is the client's first, so its id is 0.
    let connect = wire.open(Dir::Bi, &[]);
    let uni = wire.open(Dir::Uni, b"\x40\x54\x00uni");
    let bidi = wire.open(Dir::Bi, b"\x40\x41\x00bidi");
    let other = wire.open(Dir::Bi, b"\x40\x41\x08other session");
    wire.input(Input::Datagram(Bytes::from_static(b"\x00first")));
    wire.input(Input::Datagram(Bytes::from_static(b"\x02other session")));
    assert_eq!(wire.inputs, []);
    wire.send(connect, &chromium_request(&[]));
    let opened = |stream, dir| [Input::Opened { stream, dir }, Input::Readable(stream)];
    let expected = [
        &opened(uni, Dir::Uni)[..],
        &opened(bidi, Dir::Bi),
        &[Input::Datagram(Bytes::from_static(b"first"))],
    ];
    assert_eq!(wire.inputs[1..], expected.concat());
    assert_eq!(wire.read_all(uni), b"uni");
    assert_eq!(wire.read_all(bidi), b"bidi");
    let sent = wire.sent(other);
    assert_eq!(sent.stop, Some(WT_BUFFERED_STREAM_REJECTED));
    assert_eq!(sent.reset, Some(WT_BUFFERED_STREAM_REJECTED));
}

#[test]
fn no_more_streams_and_datagrams_wait_than_the_limits() {
    let mut wire = new_server();
    let streams: Vec<_> = (0..=Limits::default().max_waiting_streams)
        .map(|_| wire.open(Dir::Uni, b"\x40\x54\x00x"))
        .collect();
    for (at, stream) in streams.iter().enumerate() {
        let stopped = wire.outgoing.get(stream).and_then(|sent| sent.stop);
        let expected =
            (at == Limits::default().max_waiting_streams).then_some(WT_BUFFERED_STREAM_REJECTED);
        assert_eq!(stopped, expected);
    }
    for _ in 0..=Limits::default().max_waiting_datagrams {
        wire.input(Input::Datagram(Bytes::from_static(b"\x00x")));
    }
    wire.open(Dir::Uni, &chromium_control());
    wire.open(Dir::Bi, &chromium_request(&[]));
    let datagrams = wire
        .inputs
        .iter()
        .filter(|input| matches!(input, Input::Datagram(_)));
    assert_eq!(datagrams.count(), Limits::default().max_waiting_datagrams);
    let opened = wire
        .inputs
        .iter()
        .filter(|input| matches!(input, Input::Opened { .. }));
    assert_eq!(opened.count(), Limits::default().max_waiting_streams);
}

#[test]
fn no_more_silent_streams_are_kept_than_the_limit() {
    let (mut wire, _) = established_server();
    let streams: Vec<_> = (0..=Limits::default().max_beginning_streams)
        .map(|_| wire.open(Dir::Uni, b"\x40"))
        .collect();
    let last = wire.sent(streams[Limits::default().max_beginning_streams]);
    assert_eq!(last.stop, Some(WT_BUFFERED_STREAM_REJECTED));
    assert!(
        !wire
            .outgoing
            .contains_key(&streams[Limits::default().max_beginning_streams - 1])
    );
    wire.send(streams[0], b"\x54\x00hello");
    assert_eq!(wire.read_all(streams[0]), b"hello");
}

#[test]
fn a_client_that_never_asks_is_shown_out() {
    let mut wire = new_server();
    wire.open(Dir::Uni, &chromium_control());
    let (deadline, _) = wire.layer.poll_timeout().unwrap();
    assert_eq!(deadline, Time::ZERO + Limits::default().handshake_timeout);
    wire.after(Limits::default().handshake_timeout - Duration::from_micros(1));
    assert_eq!(wire.close_code(), None);
    wire.after(Duration::from_micros(1));
    assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
    assert!(matches!(wire.closed_input(), Some(Closed::Failed(_))));
    assert_eq!(wire.layer.poll_timeout(), None);
}

#[test]
fn lower_limits_are_reached_sooner() {
    let limits = Limits {
        handshake_timeout: Duration::from_secs(1),
        close_timeout: Duration::from_millis(100),
        max_waiting_streams: 1,
        max_waiting_datagrams: 1,
        max_beginning_streams: 1,
        max_requests: 1,
    };
    let mut wire = Wire::new(WebTransport::server(Server::default()).with_limits(limits));
    assert_eq!(
        wire.layer.poll_timeout().map(|(at, _)| at),
        Some(Time::ZERO + limits.handshake_timeout)
    );
    let waiting = wire.open(Dir::Uni, &[0x40, 0x54, 40]);
    let further = wire.open(Dir::Uni, &[0x40, 0x54, 40]);
    assert_eq!(wire.outgoing.get(&waiting).and_then(|sent| sent.stop), None);
    assert_eq!(wire.sent(further).stop, Some(WT_BUFFERED_STREAM_REJECTED));
    let silent = wire.open(Dir::Bi, &[]);
    let further = wire.open(Dir::Bi, &[]);
    assert_eq!(wire.outgoing.get(&silent).and_then(|sent| sent.stop), None);
    assert_eq!(wire.sent(further).stop, Some(WT_BUFFERED_STREAM_REJECTED));
}
