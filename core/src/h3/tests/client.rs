//! The handshake as a client, and what a server must not do.

use super::super::error::*;
use super::*;

/// A control stream with these settings.
fn control(settings: &[(u64, u64)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for &(id, value) in settings {
        varint::put(&mut payload, id);
        varint::put(&mut payload, value);
    }
    [vec![0], frame::encode(frame::SETTINGS, &payload)].concat()
}

/// What a server of drafts 02 and 07 sends.
fn server_control() -> Vec<u8> {
    control(&[(0x8, 1), (0x33, 1), (0x2b603742, 1), (0xc671706a, 1)])
}

/// A client whose request is out.
fn asking_client() -> Wire {
    let mut wire = new_client();
    wire.open(Dir::Uni, &server_control());
    assert_eq!(
        wire.opened,
        [(CONTROL_STREAM, Dir::Uni), (CONNECT_STREAM, Dir::Bi)]
    );
    wire
}

fn failure(wire: &Wire) -> &str {
    match wire.closed_input() {
        Some(Closed::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

const ACCEPTED: [(&str, &str); 2] = [(":status", "200"), ("wt-protocol", "\"moqt-16\"")];

#[test]
fn the_request_waits_for_the_settings_and_says_it_all() {
    let mut wire = new_client();
    let whole = [vec![0], settings::encode(false)].concat();
    assert_eq!(wire.sent(CONTROL_STREAM).bytes, whole);
    assert!(!wire.outgoing.contains_key(&CONNECT_STREAM));
    wire.read_chunk = 1;
    wire.open(Dir::Uni, &server_control());
    let golden = headers(&[
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", "localhost:4433"),
        (":path", "/moq?x=1"),
        (":protocol", "webtransport"),
        ("sec-webtransport-http3-draft02", "1"),
        ("wt-available-protocols", r#""moqt-18", "moqt-16""#),
    ]);
    let sent = wire.sent(CONNECT_STREAM);
    assert_eq!((&sent.bytes, sent.fin), (&golden, false));
    assert_eq!(wire.inputs, []);
}

#[test]
fn the_servers_answer_establishes_the_session_however_it_is_cut() {
    for chunk in [1, 2, 5, 1000] {
        let mut wire = asking_client();
        wire.read_chunk = chunk;
        let early = [(":status", "103"), ("link", "x")];
        let bytes = [
            frame::encode(0x21, b"x"),
            headers(&early),
            headers(&ACCEPTED),
        ]
        .concat();
        let (last, first) = bytes.split_last().unwrap();
        wire.send(CONNECT_STREAM, first);
        assert_eq!(wire.established(), None);
        wire.send(CONNECT_STREAM, &[*last]);
        assert_eq!(wire.established(), Some((&b"moqt-16"[..], 1199)));
        let request = wire.layer.established().unwrap();
        assert_eq!(
            (request.path.as_str(), &request.protocol),
            ("/moq?x=1", &Some(MOQT_16))
        );
        assert_eq!(wire.layer.poll_timeout(), None);
    }
}

#[test]
fn servers_of_draft_15_are_asked_with_its_token() {
    let mut wire = new_client();
    wire.open(Dir::Uni, &control(&[(0x8, 1), (0x33, 1), (0x2c7cf000, 1)]));
    let sent = &wire.sent(CONNECT_STREAM).bytes;
    let fields = qpack::decode(&sent[3..]).unwrap();
    assert!(
        fields
            .iter()
            .any(|field| &*field.value == b"webtransport-h3")
    );
    assert!(!fields.iter().any(|field| field.name.starts_with(b"sec-")));
}

#[test]
fn a_server_without_webtransport_is_left() {
    for settings in [
        &[][..],
        &[(0x8, 1), (0x33, 1)],
        &[(0x33, 1), (0x2b603742, 1)],
    ] {
        let mut wire = new_client();
        wire.open(Dir::Uni, &control(settings));
        assert_eq!(wire.close_code(), Some(WT_REQUIREMENTS_NOT_MET));
        assert!(failure(&wire).contains("do not offer WebTransport"));
        assert!(!wire.outgoing.contains_key(&CONNECT_STREAM));
    }
}

#[test]
fn a_refusal_is_told_with_its_status() {
    for status in ["404", "400", "302", "500"] {
        let mut wire = asking_client();
        wire.send(CONNECT_STREAM, &headers(&[(":status", status)]));
        assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
        let why = failure(&wire);
        assert!(why.contains(&format!("answered {status}")), "{why}");
        assert!(why.contains("https://localhost:4433/moq?x=1"), "{why}");
        assert!(why.contains("moqt-18, moqt-16"), "{why}");
    }
}

#[test]
fn an_answer_without_an_offered_protocol_is_refused() {
    for protocol in ["\"moqt-14\"", "moqt-18", "\"moqt-18\", \"moqt-16\""] {
        let mut wire = asking_client();
        wire.send(
            CONNECT_STREAM,
            &headers(&[(":status", "200"), ("wt-protocol", protocol)]),
        );
        assert_eq!(wire.close_code(), Some(WT_ALPN_ERROR));
        assert!(failure(&wire).contains("not offered"));
    }
}

#[test]
fn a_server_that_does_not_choose_gets_the_default() {
    let mut wire = Wire::new(WebTransport::client(Client {
        authority: "h".to_owned(),
        path: "/".to_owned(),
        protocols: vec![MOQT_18],
        default_protocol: Some(MOQT_18),
        origin: Some("https://page".to_owned()),
    }));
    wire.open(Dir::Uni, &server_control());
    wire.send(CONNECT_STREAM, &headers(&[(":status", "200")]));
    assert_eq!(wire.established(), Some((&b"moqt-18"[..], 1199)));
    assert_eq!(wire.layer.established().unwrap().protocol, None);
    let fields = qpack::decode(&wire.sent(CONNECT_STREAM).bytes[3..]).unwrap();
    assert!(fields.iter().any(|field| &*field.value == b"https://page"));
}

#[test]
fn a_malformed_answer_ends_the_connection() {
    for fields in [
        &[("x", "y")][..],
        &[(":status", "2x0")],
        &[(":path", "/"), (":status", "200")],
    ] {
        let mut wire = asking_client();
        wire.send(CONNECT_STREAM, &headers(fields));
        assert_eq!(wire.close_code(), Some(H3_MESSAGE_ERROR));
        assert!(failure(&wire).contains("malformed"));
    }
    let mut wire = asking_client();
    let long = "x".repeat(17_000);
    wire.send(
        CONNECT_STREAM,
        &headers(&[(":status", "200"), ("x", &long)]),
    );
    assert_eq!(wire.close_code(), Some(H3_EXCESSIVE_LOAD));
}

#[test]
fn an_answer_that_never_comes_ends_in_time() {
    let mut wire = asking_client();
    wire.after(Limits::default().handshake_timeout);
    assert_eq!(wire.close_code(), Some(H3_REQUEST_CANCELLED));
    assert!(failure(&wire).contains("did not answer"));
}

#[test]
fn a_request_that_the_server_drops_fails() {
    for (end, word) in [
        (Answer::Fin, "without an answer"),
        (Answer::Reset(H3_REQUEST_REJECTED), "H3_REQUEST_REJECTED"),
    ] {
        let mut wire = asking_client();
        wire.send_end(CONNECT_STREAM, end);
        assert_eq!(wire.close_code(), Some(H3_NO_ERROR));
        assert!(failure(&wire).contains(word));
    }
}

#[test]
fn a_refusal_counts_although_the_server_stopped_the_request_first() {
    let mut wire = asking_client();
    let stream = CONNECT_STREAM;
    let code = H3_NO_ERROR;
    wire.input(Input::Stopped { stream, code });
    assert_eq!(wire.sent(stream).reset, Some(H3_REQUEST_CANCELLED));
    assert_eq!((wire.closed_input(), wire.close_code()), (None, None));
    wire.send(stream, &headers(&[(":status", "404")]));
    assert!(failure(&wire).contains("answered 404"));
    // It cannot accept, though.
    let mut wire = asking_client();
    wire.input(Input::Stopped { stream, code });
    wire.send(stream, &headers(&ACCEPTED));
    assert!(failure(&wire).contains("reads no more"));
    assert_eq!(wire.established(), None);
}

#[test]
fn a_refusal_counts_although_the_server_dropped_its_other_streams_first() {
    let drop_all = |wire: &mut Wire, control: StreamId| {
        wire.send_end(control, Answer::Fin);
        let stream = CONTROL_STREAM;
        wire.input(Input::Stopped { stream, code: 0 });
        assert_eq!((wire.closed_input(), wire.close_code()), (None, None));
    };
    let asking = || {
        let mut wire = new_client();
        let control = wire.open(Dir::Uni, &server_control());
        (wire, control)
    };
    let (mut wire, control) = asking();
    drop_all(&mut wire, control);
    wire.send(CONNECT_STREAM, &headers(&[(":status", "404")]));
    assert!(failure(&wire).contains("answered 404"));
    // It cannot accept, though.
    let (mut wire, control) = asking();
    drop_all(&mut wire, control);
    wire.send(CONNECT_STREAM, &headers(&ACCEPTED));
    assert!(failure(&wire).contains("reads no more"));
    // It may also say nothing.
    let (mut wire, control) = asking();
    drop_all(&mut wire, control);
    wire.send_end(CONNECT_STREAM, Answer::Fin);
    assert!(failure(&wire).contains("without an answer"));
    // A session does not outlive its control streams.
    let (mut wire, control) = asking();
    wire.send(CONNECT_STREAM, &headers(&ACCEPTED));
    wire.send_end(control, Answer::Fin);
    assert_eq!(wire.close_code(), Some(H3_CLOSED_CRITICAL_STREAM));
}

#[test]
fn goaway_before_the_session_fails_it_and_later_only_asks() {
    let goaway = |id| frame::encode(frame::GOAWAY, &[id]);
    let mut wire = new_client();
    wire.open(
        Dir::Uni,
        &[control(&[(0x8, 1), (0x2b603742, 1)]), goaway(4)].concat(),
    );
    assert!(failure(&wire).contains("going away"));
    let mut wire = new_client();
    let stream = wire.open(Dir::Uni, &server_control());
    // The request was sent and is below the id, so it is still answered.
    wire.send(stream, &goaway(4));
    assert!(wire.layer.is_draining());
    wire.send(CONNECT_STREAM, &headers(&ACCEPTED));
    assert!(wire.established().is_some());
    wire.send(stream, &goaway(0));
    assert_eq!(wire.closed_input(), None);
}

#[test]
fn streams_of_the_server_may_come_before_its_answer() {
    let mut wire = asking_client();
    let uni = wire.open(Dir::Uni, b"\x40\x54\x00early");
    let bidi = wire.open(Dir::Bi, b"\x40\x41\x00");
    assert_eq!(wire.inputs, []);
    wire.send(CONNECT_STREAM, &headers(&ACCEPTED));
    let opened = |input: &Input| {
        let Input::Opened { stream, dir } = input else {
            return None;
        };
        Some((*stream, *dir))
    };
    let dirs: Vec<_> = wire.inputs.iter().filter_map(opened).collect();
    assert_eq!(dirs, [(uni, Dir::Uni), (bidi, Dir::Bi)]);
    assert_eq!(wire.read_all(uni), b"early");
}

#[test]
fn what_a_server_must_not_send_closes_the_connection() {
    let code = |dir, bytes: &[u8]| {
        let mut wire = asking_client();
        wire.open(dir, bytes);
        wire.close_code()
    };
    assert_eq!(code(Dir::Uni, b"\x01\x00"), Some(H3_ID_ERROR));
    assert_eq!(code(Dir::Bi, b"\x01\x00"), Some(H3_STREAM_CREATION_ERROR));
    assert_eq!(code(Dir::Uni, b"\x00"), Some(H3_STREAM_CREATION_ERROR));
    assert_eq!(code(Dir::Uni, b"\x21"), None);
    let mut wire = new_client();
    wire.open(Dir::Uni, &[server_control(), vec![0x0d, 1, 0]].concat());
    assert_eq!(wire.close_code(), Some(H3_FRAME_UNEXPECTED));
}

#[test]
fn a_connection_that_the_server_closes_early_says_why() {
    let mut wire = asking_client();
    wire.input(Input::Closed(Closed::ByPeer {
        code: 0x10b,
        reason: Bytes::from_static(b"full"),
    }));
    let why = failure(&wire);
    assert!(
        why.contains("H3_REQUEST_REJECTED") && why.contains("full"),
        "{why}"
    );
    assert!(wire.layer.is_over());
    // What the transport itself says is passed on.
    let mut wire = asking_client();
    wire.input(Input::Closed(Closed::TimedOut));
    assert_eq!(wire.closed_input(), Some(&Closed::TimedOut));
}
