//! § Session initialization, § SETUP, § PATH, § AUTHORITY.

use std::time::Duration;

use bytes::Bytes;

use super::script::Scripted;
use super::support::{DRAFTS, discover, settings, subscribe};
use crate::code::SessionCode;
use crate::draft::Draft;
use crate::session::{Event, Misuse, Request, Role, Underlay};
use crate::time::Time;
use crate::transport::{Closed, Dir, Input, StreamId};
use crate::wire::message::{Channel, Message, Setup};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn with_path(path: &str) -> Setup {
    Setup {
        path: Some(Bytes::copy_from_slice(path.as_bytes())),
        ..Setup::default()
    }
}

fn with_authority(authority: &str) -> Setup {
    Setup {
        authority: Some(Bytes::copy_from_slice(authority.as_bytes())),
        ..Setup::default()
    }
}

/// Bytes of a SETUP from this side with one option, though it should not send it.
fn forged(draft: Draft, sender: Role, number: u8, value: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    if draft == Draft::D16 {
        body.push(1);
    }
    body.push(number);
    body.push(u8::try_from(value.len()).unwrap());
    body.extend_from_slice(value);
    let mut bytes = match (draft, sender) {
        (Draft::D18, _) => vec![0xaf, 0x00],
        (Draft::D16, Role::Client) => vec![0x20],
        (Draft::D16, Role::Server) => vec![0x21],
    };
    bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

// Rules: B153 (18), B156 (18)
#[test]
fn client_and_server_of_draft_18_speak_first_on_their_own_control_streams() {
    for role in ROLES {
        let mut peer = Scripted::connected(Draft::D18, settings(role));
        let Some(Message::Setup(setup)) = peer.message(StreamId::local(0)) else {
            panic!("no SETUP");
        };
        if role == Role::Server {
            assert_eq!((setup.path, setup.authority), (None, None));
        }
        assert_eq!(peer.heard[&StreamId::local(0)].dir, Dir::Uni);
    }
}

// Rules: B062 (16), B153 (16), B156 (16)
#[test]
fn server_of_draft_16_answers_on_the_clients_control_stream() {
    let mut peer = Scripted::connected(Draft::D16, settings(Role::Server));
    assert!(peer.heard.is_empty());
    peer.set_up(&Setup::default());
    let Some(Message::Setup(setup)) = peer.message(StreamId::peer(0)) else {
        panic!("no SERVER_SETUP");
    };
    assert_eq!(setup.max_request_id, Some(2048));
    assert_eq!((setup.path, setup.authority), (None, None));
}

// Rules: B062, B153, B154, B156, B157
#[test]
fn client_on_raw_quic_tells_path_and_authority_b154_b157() {
    for draft in DRAFTS {
        for underlay in [Underlay::RawQuic, Underlay::WebTransport] {
            let mut mine = settings(Role::Client);
            mine.underlay = underlay;
            mine.path = Bytes::from_static(b"/a?b=c");
            mine.authority = Bytes::from_static(b"h:1");
            let mut peer = Scripted::connected(draft, mine);
            let Some(Message::Setup(setup)) = peer.message(StreamId::local(0)) else {
                panic!("no SETUP");
            };
            let tells = underlay == Underlay::RawQuic;
            assert_eq!(setup.path, tells.then(|| Bytes::from_static(b"/a?b=c")));
            assert_eq!(setup.authority, tells.then(|| Bytes::from_static(b"h:1")));
            // Draft 16 counts requests, and none may be made of whom it does not tell how many.
            assert_eq!(setup.max_request_id.is_some(), draft == Draft::D16);
        }
    }
}

// Rules: B066, V3
#[test]
fn v3_closing_the_control_stream_closes_with_protocol_violation_in_16_and_18() {
    for draft in DRAFTS {
        for role in ROLES {
            for how in ["fin", "reset", "stop"] {
                let mut peer = Scripted::new(draft, role);
                let theirs = peer.control();
                let ours = match draft {
                    Draft::D18 => StreamId::local(0),
                    Draft::D16 => theirs,
                };
                match how {
                    "fin" => peer.send_fin(theirs),
                    "reset" => peer.send_reset(theirs, 0),
                    _ => peer.send_stop(ours, 0),
                }
                peer.assert_closed(SessionCode::ProtocolViolation, "V3");
            }
        }
    }
}

#[test]
fn what_arrived_before_the_end_of_the_control_stream_is_read_first() {
    for draft in DRAFTS {
        for is_stopped in [false, true] {
            let mut peer = Scripted::new(draft, Role::Server);
            let control = peer.control();
            let stream = peer.open(Dir::Bi);
            let request = Message::SubscribeNamespace(discover(0, &["a"]));
            let bytes = peer.encode(&request, Channel::Request);
            peer.hold(stream, &bytes);
            let end = if is_stopped {
                let (stream, code) = (StreamId::local(0), 0);
                match draft {
                    Draft::D18 => Input::Stopped { stream, code },
                    Draft::D16 => Input::Stopped {
                        stream: control,
                        code,
                    },
                }
            } else {
                peer.hold_fin(control);
                Input::Readable(control)
            };
            for input in [end, Input::Readable(stream)] {
                peer.session.handle_input(peer.now, input);
            }
            peer.pump();
            let told = peer.event();
            assert!(matches!(told, Some(Event::Request { .. })), "{told:?}");
            peer.assert_closed(SessionCode::ProtocolViolation, "V3");
        }
    }
}

// Rules: V4
#[test]
fn v4_second_control_stream_closes() {
    for (draft, dir) in [(Draft::D18, Dir::Uni), (Draft::D16, Dir::Bi)] {
        let mut peer = Scripted::new(draft, Role::Server);
        let second = peer.open(dir);
        let setup = peer.encode(&Message::Setup(Setup::default()), Channel::Control);
        peer.send(second, &setup);
        peer.assert_closed(SessionCode::ProtocolViolation, "V4");
    }
}

// Rules: B064, V4
#[test]
fn v4_bidirectional_stream_that_begins_with_no_request_closes() {
    // REQUEST_OK without parameters in 18; in 16 PUBLISH_NAMESPACE, which belongs on the control stream.
    for (draft, bytes) in [
        (Draft::D18, &[0x07, 0, 1, 0][..]),
        (Draft::D16, &[0x06, 0, 5, 0, 1, 1, b'a', 0][..]),
    ] {
        let mut peer = Scripted::new(draft, Role::Server);
        let stream = peer.open(Dir::Bi);
        peer.send(stream, bytes);
        peer.assert_closed(SessionCode::ProtocolViolation, "V4");
    }
}

// Rules: V5
#[test]
fn v5_message_before_setup_closes() {
    for draft in DRAFTS {
        let mut peer = Scripted::connected(draft, settings(Role::Client));
        let control = peer.open_control();
        let (bytes, rule): (&[u8], _) = match draft {
            // REQUEST_OK on a stream that did not say that it is for control: no stream has that type.
            Draft::D18 => (&[0x07, 0, 1, 0], "V67"),
            Draft::D16 => (&[0x10, 0, 1, 0], "V5"),
        };
        peer.send(control, bytes);
        peer.assert_closed(SessionCode::ProtocolViolation, rule);
    }
}

// Rules: V5 (16)
#[test]
fn v5_set_up_message_of_the_other_side_closes_in_16() {
    let mut peer = Scripted::connected(Draft::D16, settings(Role::Client));
    let control = peer.open_control();
    peer.send(control, &[0x20, 0, 1, 0]);
    peer.assert_closed(SessionCode::ProtocolViolation, "V5");
}

// Rules: V6
#[test]
fn v6_second_setup_closes() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        peer.say(&Message::Setup(Setup::default()));
        peer.assert_closed(SessionCode::ProtocolViolation, "V6");
    }
}

// Rules: V7
#[test]
fn v7_protocol_that_was_not_offered_closes() {
    let mut session = crate::session::Session::new(settings(Role::Client));
    session.handle_input(
        Time::ZERO,
        Input::Connected {
            alpn: Bytes::from_static(b"moqt-17"),
            max_datagram: 0,
        },
    );
    let (code, rule) = session.failure().unwrap();
    assert_eq!(code, SessionCode::VersionNegotiationFailed);
    assert!(rule.starts_with("V7:"), "{rule}");
}

// Rules: B156, V8
#[test]
fn v8_path_from_a_server_or_over_webtransport_closes_with_invalid_path() {
    for draft in DRAFTS {
        let mut peer = Scripted::connected(draft, settings(Role::Client));
        let control = peer.open_control();
        peer.send(control, &forged(draft, Role::Server, 1, b"/"));
        peer.assert_closed(SessionCode::InvalidPath, "V8");

        let mut mine = settings(Role::Server);
        mine.underlay = Underlay::WebTransport;
        let mut peer = Scripted::connected(draft, mine);
        let control = peer.open_control();
        peer.send(control, &forged(draft, Role::Client, 1, b"/moq"));
        peer.assert_closed(SessionCode::InvalidPath, "V8");
    }
}

// Rules: B156, V8
#[test]
fn v8_path_that_is_not_served_closes_with_invalid_path_and_the_root_never_does() {
    for draft in DRAFTS {
        let mut peer = Scripted::connected(draft, settings(Role::Server));
        peer.set_up(&with_path("/other"));
        peer.assert_closed(SessionCode::InvalidPath, "V8");
        for path in ["", "/", "/moq", "/moq?token=1", "/?x"] {
            let mut peer = Scripted::connected(draft, settings(Role::Server));
            peer.set_up(&with_path(path));
            peer.assert_alive();
            assert!(peer.session.is_established(), "{path}");
        }
    }
}

// Rules: B158, V9
#[test]
fn v9_path_of_bad_syntax_closes_with_malformed_path() {
    for draft in DRAFTS {
        let mut peer = Scripted::connected(draft, settings(Role::Server));
        peer.set_up(&with_path("no-slash\0"));
        peer.assert_closed(SessionCode::MalformedPath, "V9");
    }
}

// Rules: B153, V10
#[test]
fn v10_authority_from_a_server_or_over_webtransport_closes_with_invalid_authority() {
    for draft in DRAFTS {
        let mut peer = Scripted::connected(draft, settings(Role::Client));
        let control = peer.open_control();
        peer.send(control, &forged(draft, Role::Server, 5, b"h"));
        peer.assert_closed(SessionCode::InvalidAuthority, "V10");

        let mut mine = settings(Role::Server);
        mine.underlay = Underlay::WebTransport;
        let mut peer = Scripted::connected(draft, mine);
        let control = peer.open_control();
        peer.send(control, &forged(draft, Role::Client, 5, b"h"));
        peer.assert_closed(SessionCode::InvalidAuthority, "V10");
    }
}

// Rules: B155, V11
#[test]
fn v11_authority_of_bad_syntax_closes_with_malformed_authority() {
    for draft in DRAFTS {
        let mut peer = Scripted::connected(draft, settings(Role::Server));
        peer.set_up(&with_authority("a b"));
        peer.assert_closed(SessionCode::MalformedAuthority, "V11");
        let mut peer = Scripted::connected(draft, settings(Role::Server));
        peer.set_up(&with_authority("localhost:4433"));
        peer.assert_alive();
    }
}

// Rules: B150, B152, B400, B402, V12
#[test]
fn v12_unknown_setup_options_are_ignored_even_twice() {
    for (draft, bytes) in [
        (
            Draft::D18,
            &[0xaf, 0x00, 0, 6, 0x3e, 1, 0x00, 2, 0x01, 0][..],
        ),
        (Draft::D16, &[0x20, 0, 7, 3, 0x3e, 1, 0x00, 2, 0x01, 0][..]),
    ] {
        let mut peer = Scripted::connected(draft, settings(Role::Server));
        let control = peer.open_control();
        peer.send(control, bytes);
        peer.assert_alive();
        assert!(peer.session.is_established());
    }
}

// Rules: V96
#[test]
fn v96_peer_that_does_not_set_up_in_time_is_closed_with_control_message_timeout() {
    for draft in DRAFTS {
        for role in ROLES {
            let mut peer = Scripted::connected(draft, settings(role));
            peer.pass(Duration::from_secs(4));
            peer.assert_alive();
            peer.pass(Duration::from_secs(2));
            peer.assert_closed(SessionCode::ControlMessageTimeout, "V96");
        }
    }
}

#[test]
fn set_up_may_come_byte_by_byte() {
    for draft in DRAFTS {
        for role in ROLES {
            let mut peer = Scripted::connected(draft, settings(role));
            let control = peer.open_control();
            let bytes = peer.encode(&Message::Setup(Setup::default()), Channel::Control);
            for byte in &bytes {
                assert!(!peer.session.is_established());
                peer.send(control, &[*byte]);
            }
            assert!(
                peer.session.is_established(),
                "{:?}",
                peer.session.failure()
            );
        }
    }
}

// Rules: B065
#[test]
fn requests_that_arrive_before_setup_wait_for_it_b065() {
    for draft in DRAFTS {
        let mut peer = Scripted::connected(draft, settings(Role::Server));
        let request = Message::SubscribeNamespace(discover(0, &["a"]));
        let stream = peer.open(Dir::Bi);
        let bytes = peer.encode(&request, Channel::Request);
        peer.send(stream, &bytes);
        assert_eq!(peer.event(), None);
        peer.set_up(&Setup::default());
        assert!(matches!(peer.event(), Some(Event::Established { .. })));
        assert!(matches!(peer.event(), Some(Event::Request { .. })));
    }
}

// Rules: B067
#[test]
fn no_verb_works_before_the_set_up_or_after_the_end() {
    for draft in DRAFTS {
        let mut peer = Scripted::connected(draft, settings(Role::Client));
        let request = Request::Subscribe(subscribe(0, "v"));
        let early = peer.session.request(peer.now, request.clone());
        assert_eq!(early, Err(Misuse::NotEstablished));
        peer.input(Input::Closed(Closed::TimedOut));
        assert_eq!(peer.event(), Some(Event::Closed(Closed::TimedOut)));
        assert_eq!(peer.event(), None);
        let late = peer.session.request(peer.now, request);
        assert_eq!(late, Err(Misuse::Closed));
    }
}

#[test]
fn control_stream_that_is_lost_with_the_connection_breaks_no_rule() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let control = peer.control();
        peer.lose(control);
        peer.assert_alive();
        let why = Closed::ByPeer {
            code: 0,
            reason: Bytes::new(),
        };
        peer.input(Input::Closed(why.clone()));
        assert_eq!(peer.event(), Some(Event::Closed(why)));
        assert_eq!((peer.session.failure(), &peer.close), (None, &None));
    }
}

#[test]
fn what_happens_after_the_end_changes_nothing() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        peer.session.close(peer.now, SessionCode::NoError, "bye");
        peer.pump();
        assert_eq!(peer.close, Some((0, Bytes::from_static(b"bye"))));
        let control = peer.control();
        peer.send_reset(control, 0x170d_7b68);
        peer.input(Input::Closed(Closed::ByUs));
        assert_eq!(peer.event(), Some(Event::Closed(Closed::ByUs)));
        assert_eq!(peer.event(), None);
        assert_eq!(peer.session.failure(), None);
    }
}
