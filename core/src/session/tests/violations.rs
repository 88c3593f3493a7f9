//! Rows of the table of violations that are found in what the peer writes: bytes that break each rule, where they stand,
//! and what it costs. The session closes for that rule and no other, and what is just allowed goes through.

use bytes::BytesMut;

use super::script::Scripted;
use super::support::{DRAFTS, at, discover, fetch, range, settings, subscribe, subscribe_ok};
use super::updates::update;
use crate::code::SessionCode::{self, InvalidRequestId, KeyValueFormattingError};
use crate::code::{RequestCode, ResetCode};
use crate::draft::Draft;
use crate::session::{Event, Refusal, Request, Response, Role};
use crate::transport::{Dir, Input};
use crate::wire::id::RequestId;
use crate::wire::message::{Message, PublishDone, RequestOk, Subscribe, SubscribeOk};
use crate::wire::param::{Filter, Parameters};
use crate::wire::varint;

const PV: SessionCode = SessionCode::ProtocolViolation;

const BOTH: &[Draft] = &DRAFTS;
const IN_16: &[Draft] = &[Draft::D16];
const IN_18: &[Draft] = &[Draft::D18];

/// Where bytes of the peer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A client's SETUP or CLIENT_SETUP.
    ClientSetup,
    /// A message on the control stream of a client.
    ClientControl,
    /// A message on the control stream of a server.
    ServerControl,
    /// A request of a client, on a stream of its own from draft 18.
    Request,
    /// The first message on a bidirectional stream of a client, in each draft.
    Stream,
    /// A further message on the stream of a client's SUBSCRIBE.
    AfterSubscribe,
    /// The answer to our SUBSCRIBE, whose id is 0.
    Answer,
    /// A message that follows the REQUEST_OK to our SUBSCRIBE_NAMESPACE of ("a"), whose id is 0.
    Discovery,
    /// A unidirectional stream: the track with alias 7 is subscribed, and the FETCH with id 2 is accepted.
    Uni,
    /// The same, and the stream ends.
    UniAndFin,
    /// A datagram, to the same session.
    Datagram,
}

use Place::{
    AfterSubscribe, Answer, ClientControl, ClientSetup, Datagram, Discovery, ServerControl, Stream,
    Uni, UniAndFin,
};

/// In these drafts, at this place, the type of a message, stream or datagram, and its body in hexadecimal digits.
type Case<'a> = (&'a [Draft], Place, u64, &'a str);

fn from_hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    assert_eq!(digits.len() % 2, 0);
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// The type, and the body with its length in front.
fn framed(draft: Draft, number: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = typed(draft, number, &[]);
    bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The type, and the body.
fn typed(draft: Draft, number: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    varint::encode(draft.profile().integers, number, &mut bytes).unwrap();
    bytes.extend_from_slice(body);
    bytes.to_vec()
}

/// A client whose SUBSCRIBE is answered with alias 7, and whose FETCH, number 2, is accepted.
fn receiver(draft: Draft) -> Scripted {
    let mut peer = Scripted::new(draft, Role::Client);
    let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
    let ok = SubscribeOk {
        request_id: Some(id),
        ..subscribe_ok(7, None)
    };
    peer.say_on(stream, &Message::SubscribeOk(ok));
    let range = range("w", (0, 0), (u64::from(u32::MAX), 0));
    let (id, _) = peer.accepted_quietly(Request::Fetch(fetch(0, range)));
    assert_eq!(id, RequestId(2));
    peer
}

impl Scripted {
    fn accepted_quietly(&mut self, request: Request) -> (RequestId, crate::transport::StreamId) {
        self.events.clear();
        let accepted = self.accepted(request);
        self.events.clear();
        accepted
    }
}

fn server(draft: Draft) -> Scripted {
    Scripted::new(draft, Role::Server)
}

/// A session that heard this.
fn heard(draft: Draft, place: Place, number: u64, body: &str) -> Scripted {
    let body = from_hex(body);
    let message = framed(draft, number, &body);
    let bytes = typed(draft, number, &body);
    match place {
        ClientSetup => {
            let mut peer = Scripted::connected(draft, settings(Role::Server));
            let control = peer.open_control();
            peer.send(control, &message);
            peer
        }
        ClientControl | ServerControl => {
            let role = if place == ClientControl {
                Role::Server
            } else {
                Role::Client
            };
            let mut peer = Scripted::new(draft, role);
            let control = peer.control();
            peer.send(control, &message);
            peer
        }
        Place::Request | Stream => {
            let mut peer = server(draft);
            let stream = match draft {
                Draft::D16 if place == Place::Request => peer.control(),
                Draft::D16 | Draft::D18 => peer.open(Dir::Bi),
            };
            peer.send(stream, &message);
            peer
        }
        AfterSubscribe => {
            let mut peer = server(draft);
            let (_, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
            peer.send(stream, &message);
            peer
        }
        Answer => {
            let mut peer = Scripted::new(draft, Role::Client);
            let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
            assert_eq!(id, RequestId(0));
            peer.send(stream, &message);
            peer
        }
        Discovery => {
            let mut peer = Scripted::new(draft, Role::Client);
            let request = Request::SubscribeNamespace(discover(0, &["a"]));
            let id = peer.session.request(peer.now, request).unwrap();
            peer.pump();
            let stream = peer.last_request_stream();
            let ok = RequestOk {
                request_id: Some(id),
                ..RequestOk::default()
            };
            peer.say_on(stream, &Message::RequestOk(ok));
            peer.events.clear();
            peer.send(stream, &message);
            peer
        }
        Uni | UniAndFin => {
            let mut peer = receiver(draft);
            let stream = peer.open(Dir::Uni);
            peer.send(stream, &bytes);
            if place == UniAndFin && !peer.session.is_closed() {
                peer.send_fin(stream);
            }
            peer
        }
        Datagram => {
            let mut peer = receiver(draft);
            peer.input(Input::Datagram(bytes.into()));
            peer
        }
    }
}

/// Each case closes the session with this code, because of this rule.
#[track_caller]
fn closes(code: SessionCode, rule: &str, cases: &[Case<'_>]) {
    for (drafts, place, number, body) in cases {
        for draft in *drafts {
            let mut peer = heard(*draft, *place, *number, body);
            let failure = peer.session.failure();
            let failure = failure.map(|(code, rule)| (code, rule.split(':').next()));
            let case = format!("{number:#x} {body:.80} in {draft:?}, {place:?}");
            assert_eq!(failure, Some((code, Some(rule))), "{case}");
            peer.assert_closed(code, rule);
        }
    }
}

/// Each case is heard of, and the session goes on.
#[track_caller]
fn passes(cases: &[Case<'_>]) {
    for (drafts, place, number, body) in cases {
        for draft in *drafts {
            let mut peer = heard(*draft, *place, *number, body);
            let case = format!("{number:#x} {body:.80} in {draft:?}, {place:?}");
            assert_eq!(peer.session.failure(), None, "{case}");
            assert!(peer.event().is_some(), "{case}");
            peer.assert_alive();
        }
    }
}

const SUBSCRIBE: u64 = 0x03;
const PUBLISH: u64 = 0x1d;

/// Cases of a message of a client that asks for or publishes the track ("a") "v".
#[track_caller]
fn request_closes(code: SessionCode, rule: &str, cases: &[(&[Draft], u64, &str)]) {
    for (drafts, number, rest) in cases {
        let body = about_track(*number, rest);
        closes(code, rule, &[(drafts, Place::Request, *number, &body)]);
    }
}

#[track_caller]
fn request_passes(cases: &[(&[Draft], u64, &str)]) {
    for (drafts, number, rest) in cases {
        let body = about_track(*number, rest);
        passes(&[(drafts, Place::Request, *number, &body)]);
    }
}

/// Request 0 for the track ("a") "v", in a PUBLISH with alias 7 and without parameters, and then the rest.
fn about_track(number: u64, rest: &str) -> String {
    let between = if number == PUBLISH { "07 00" } else { "" };
    format!("00 01 01 61 01 76 {between} {rest}")
}

fn repeated(what: &str, count: usize) -> String {
    what.repeat(count)
}

// Rules: B090, V1
#[test]
fn v1_message_of_no_type_of_the_draft_closes() {
    closes(
        PV,
        "V1",
        &[
            (BOTH, ClientControl, 0x3f, ""),
            (BOTH, ServerControl, 0x3f, ""),
            (BOTH, Stream, 0x3f, ""),
            (BOTH, ClientControl, 0x1234, "00"),
            // What only the other draft has.
            (IN_18, ClientControl, 0x20, "00"),
            (IN_18, ClientControl, 0x15, "05"),
            (IN_18, Stream, 0x11, "00 01 01 61 00"),
            (IN_18, AfterSubscribe, 0x0a, "00"),
            (IN_16, ClientControl, 0x2f00, ""),
            (IN_16, Stream, 0x50, "00 01 01 61 00"),
        ],
    );
}

// Rules: B091, V2
#[test]
fn v2_body_of_another_length_than_its_frame_closes() {
    request_closes(
        PV,
        "V2",
        &[
            (BOTH, SUBSCRIBE, ""),
            (BOTH, SUBSCRIBE, "00 00"),
            (BOTH, SUBSCRIBE, "01"),
            // More parameters than any message can hold.
            (IN_18, SUBSCRIBE, "ffffffffffffffffff"),
            (IN_16, SUBSCRIBE, "ffffffffffffffff"),
            // A property that is cut short.
            (BOTH, PUBLISH, "0e"),
        ],
    );
    closes(
        PV,
        "V2",
        &[
            (BOTH, Discovery, 0x08, "01 04 6c6976"),
            (BOTH, Discovery, 0x08, "01 04 6c69766500"),
            // 18's GOAWAY has a request id on the control stream, and only there.
            (IN_18, ServerControl, 0x10, "00 00"),
            (IN_18, Answer, 0x10, "00 00 00"),
            (IN_16, ServerControl, 0x10, "00 00"),
            // REDIRECT without the redirect.
            (IN_18, Answer, 0x05, "34 00 00"),
        ],
    );
    request_passes(&[(BOTH, SUBSCRIBE, "00"), (BOTH, PUBLISH, "")]);
}

// Rules: B101, V13
#[test]
fn v13_what_may_stand_once_stands_twice_closes() {
    closes(
        PV,
        "V13",
        &[
            (IN_18, ClientSetup, 0x2f00, "01 01 2f 00 01 2f"),
            (IN_18, ClientSetup, 0x2f00, "04 05 00 05"),
            (IN_16, ClientSetup, 0x20, "02 02 05 00 05"),
        ],
    );
    request_closes(PV, "V13", &[(BOTH, SUBSCRIBE, "02 10 01 00 01")]);
    // Tokens may be many.
    request_passes(&[(BOTH, SUBSCRIBE, "02 03 02 0300 00 02 0301")]);
}

// Rules: B100, V14
#[test]
fn v14_unknown_message_parameter_closes() {
    request_closes(
        PV,
        "V14",
        &[
            (BOTH, SUBSCRIBE, "01 3e 01"),
            (BOTH, SUBSCRIBE, "01 07 01 00"),
            // RENDEZVOUS_TIMEOUT came later.
            (IN_16, SUBSCRIBE, "01 04 05"),
        ],
    );
    request_passes(&[(IN_18, SUBSCRIBE, "01 04 05")]);
}

// Rules: B103, V15
#[test]
fn v15_parameter_in_the_wrong_message_closes_in_18_and_is_passed_over_in_16() {
    let cases: &[(u64, &str)] = &[
        // EXPIRES
        (SUBSCRIBE, "01 08 01"),
        // SUBSCRIPTION_FILTER in a TRACK_STATUS
        (0x0d, "01 21 01 02"),
    ];
    for (number, rest) in cases {
        request_closes(PV, "V15", &[(IN_18, *number, rest)]);
        request_passes(&[(IN_16, *number, rest)]);
    }
    // Whatever its value: this is no LARGEST_OBJECT.
    request_passes(&[(IN_16, SUBSCRIBE, "02 08 05 01 01 ff")]);
}

// Rules: B004, V16
#[test]
fn v16_value_of_more_than_65535_bytes_closes() {
    closes(
        PV,
        "V16",
        &[
            (IN_18, ClientSetup, 0x2f00, "01 c10000"),
            (IN_16, ClientSetup, 0x20, "01 01 80010000"),
        ],
    );
    request_closes(
        PV,
        "V16",
        &[
            (IN_18, PUBLISH, "0d c10000"),
            (IN_16, PUBLISH, "0d 80010000"),
        ],
    );
}

// Rules: B003, B099, V17
#[test]
fn v17_type_above_the_largest_integer_closes() {
    // The largest step that an integer of draft 16 can make, five times.
    let steps = repeated("ffffffffffffffff 00", 5);
    closes(
        PV,
        "V17",
        &[
            (IN_18, ClientSetup, 0x2f00, "02 00 ffffffffffffffffff"),
            (IN_16, ClientSetup, 0x20, &format!("05 {steps}")),
        ],
    );
    request_closes(
        PV,
        "V17",
        &[
            (IN_18, SUBSCRIBE, "02 02 05 ffffffffffffffffff"),
            (IN_18, PUBLISH, "02 05 ffffffffffffffffff"),
            (IN_16, PUBLISH, &steps),
        ],
    );
}

// Rules: B005, B133, V18, V60
#[test]
fn v18_v60_value_that_is_not_what_its_type_says_closes_with_key_value_formatting_error() {
    closes(
        KeyValueFormattingError,
        "V18",
        &[
            // A LARGEST_OBJECT that is cut, and one that goes on.
            (IN_16, Answer, 0x04, "00 01 01 09 01 05"),
            (IN_16, Answer, 0x04, "00 01 01 09 03 050505"),
        ],
    );
    // In 18 tokens are the only values with a form of their own that no other rule speaks of.
    for token in ["00", "01 04", "01 00", "03 000000", "02 0105", "01 03"] {
        let parameter = format!("01 03 {token}");
        let closes_with = KeyValueFormattingError;
        request_closes(closes_with, "V60", &[(BOTH, SUBSCRIBE, &parameter)]);
        let setup = format!("03 {token}");
        closes(
            closes_with,
            "V60",
            &[
                (IN_18, ClientSetup, 0x2f00, &setup),
                (IN_16, ClientSetup, 0x20, &parameter),
            ],
        );
    }
}

// Rules: B104, B109, B110 (18), V19, V41, V42 (18)
#[test]
fn v19_v41_v42_filter_of_bad_length_type_or_end_closes() {
    for filter in ["02 0200", "02 0301", "00"] {
        let parameter = format!("01 21 {filter}");
        request_closes(PV, "V19", &[(BOTH, SUBSCRIBE, &parameter)]);
    }
    for filter in ["01 05", "01 00", "02 0500"] {
        let parameter = format!("01 21 {filter}");
        request_closes(PV, "V41", &[(BOTH, SUBSCRIBE, &parameter)]);
    }
    let beyond = "01 21 0c 04 02 00 ffffffffffffffffff";
    request_closes(PV, "V42", &[(IN_18, SUBSCRIBE, beyond)]);
    request_passes(&[(IN_18, SUBSCRIBE, "01 21 0c 04 02 00 fffffffffffffffffd")]);
}

// Rules: B006, V20
#[test]
fn v20_reason_of_more_than_1024_bytes_closes() {
    // REQUEST_ERROR: what is not there may be asked for again.
    let refusal = |length| repeated("61", length);
    closes(
        PV,
        "V20",
        &[
            (
                IN_18,
                Answer,
                0x05,
                &format!("10 00 8401 {}", refusal(1025)),
            ),
            (
                IN_16,
                Answer,
                0x05,
                &format!("00 10 00 4401 {}", refusal(1025)),
            ),
            (
                IN_18,
                AfterSubscribe,
                0x0b,
                &format!("02 00 8401 {}", refusal(1025)),
            ),
            (
                IN_16,
                ClientControl,
                0x0b,
                &format!("00 02 00 4401 {}", refusal(1025)),
            ),
        ],
    );
    passes(&[
        (
            IN_18,
            Answer,
            0x05,
            &format!("10 00 8400 {}", refusal(1024)),
        ),
        (
            IN_16,
            Answer,
            0x05,
            &format!("00 10 00 4400 {}", refusal(1024)),
        ),
    ]);
}

// Rules: B012, B013, B015, V21, V22, V23
#[test]
fn v21_v22_v23_namespace_without_fields_with_too_many_or_an_empty_one_closes() {
    let none: &[(u64, &str)] = &[(SUBSCRIBE, "00 00 01 76 00"), (0x06, "00 00 00")];
    for (number, body) in none {
        closes(PV, "V21", &[(IN_16, Place::Request, *number, body)]);
        passes(&[(IN_18, Place::Request, *number, body)]);
    }
    // Prefixes and suffixes may be empty in both drafts.
    passes(&[
        (IN_18, Stream, 0x50, "00 00 00"),
        (IN_16, Stream, 0x11, "00 00 00 00"),
        (BOTH, Discovery, 0x08, "00"),
    ]);

    let many = |count| repeated("01 61", count);
    closes(
        PV,
        "V22",
        &[
            (
                BOTH,
                Place::Request,
                SUBSCRIBE,
                &format!("00 21 {} 01 76 00", many(33)),
            ),
            (IN_18, Stream, 0x50, &format!("00 21 {} 00", many(33))),
            (IN_16, Stream, 0x11, &format!("00 21 {} 00 00", many(33))),
            (BOTH, Discovery, 0x08, &format!("21 {}", many(33))),
        ],
    );
    passes(&[
        (
            BOTH,
            Place::Request,
            SUBSCRIBE,
            &format!("00 20 {} 01 76 00", many(32)),
        ),
        (BOTH, Discovery, 0x08, &format!("1f {}", many(31))),
    ]);

    closes(
        PV,
        "V23",
        &[
            (BOTH, Place::Request, SUBSCRIBE, "00 01 00 01 76 00"),
            (BOTH, Place::Request, SUBSCRIBE, "00 02 01 61 00 01 76 00"),
            (BOTH, Discovery, 0x08, "01 00"),
        ],
    );
}

// Rules: B014, V24
#[test]
fn v24_name_of_more_than_4096_bytes_closes() {
    for (drafts, length, one_more) in [(IN_18, "9000", "9001"), (IN_16, "5000", "5001")] {
        let field = repeated("61", 4096);
        closes(
            PV,
            "V24",
            &[
                (
                    drafts,
                    Place::Request,
                    0x06,
                    &format!("00 01 {one_more} {field} 61 00"),
                ),
                (
                    drafts,
                    Place::Request,
                    SUBSCRIBE,
                    &format!("00 01 {length} {field} 01 76 00"),
                ),
                // Together with the prefix that was asked for.
                (drafts, Discovery, 0x08, &format!("01 {length} {field}")),
            ],
        );
        passes(&[
            (
                drafts,
                Place::Request,
                0x06,
                &format!("00 01 {length} {field} 00"),
            ),
            (
                drafts,
                Place::Request,
                SUBSCRIBE,
                &format!("00 01 {length} {field} 00 00"),
            ),
        ]);
    }
}

// Rules: B105, B106 (16), B107, B108 (16), B119, B120, V43, V44, V46 (16), V47, V48, V49
#[test]
fn v43_to_v49_numbers_out_of_their_range_close() {
    request_closes(PV, "V43", &[(BOTH, SUBSCRIBE, "01 10 02")]);
    request_closes(PV, "V44", &[(BOTH, SUBSCRIBE, "01 22 00")]);
    request_closes(PV, "V44", &[(BOTH, SUBSCRIBE, "01 22 03")]);
    request_closes(PV, "V46", &[(IN_16, SUBSCRIBE, "01 20 4100")]);
    request_passes(&[
        (BOTH, SUBSCRIBE, "01 10 00"),
        (BOTH, SUBSCRIBE, "01 22 02"),
        (IN_16, SUBSCRIBE, "01 20 40ff"),
    ]);
    for (number, zero) in [(SUBSCRIBE, "01 02 00"), (PUBLISH, "02 00")] {
        request_closes(PV, "V47", &[(IN_16, number, zero)]);
        request_passes(&[(IN_18, number, zero)]);
    }
    request_closes(PV, "V48", &[(BOTH, PUBLISH, "30 02")]);
    // Among the immutable ones.
    request_closes(PV, "V48", &[(BOTH, PUBLISH, "0b 02 30 02")]);
    request_closes(PV, "V49", &[(BOTH, PUBLISH, "22 00")]);
    request_closes(PV, "V49", &[(BOTH, PUBLISH, "22 03")]);
    request_passes(&[(BOTH, PUBLISH, "30 01"), (BOTH, PUBLISH, "22 02")]);
}

// Rules: B072, B160 (18), B168, B169, B172 (18), V53, V54, V55 (18)
#[test]
fn v53_v54_v55_goaway_with_a_uri_too_long_or_of_a_client_or_the_wrong_request_closes() {
    let uri = |length| repeated("61", length);
    closes(
        PV,
        "V53",
        &[
            (
                IN_18,
                ServerControl,
                0x10,
                &format!("c02001 {} 00 00", uri(8193)),
            ),
            (IN_18, Answer, 0x10, &format!("c02001 {} 00", uri(8193))),
            (IN_16, ServerControl, 0x10, &format!("6001 {}", uri(8193))),
        ],
    );
    closes(
        PV,
        "V54",
        &[
            (IN_18, ClientControl, 0x10, "01 61 00 01"),
            (IN_18, AfterSubscribe, 0x10, "01 61 00"),
            (IN_16, ClientControl, 0x10, "01 61"),
        ],
    );
    closes(
        InvalidRequestId,
        "V55",
        &[
            (IN_18, ServerControl, 0x10, "00 00 01"),
            (IN_18, ClientControl, 0x10, "00 00 02"),
        ],
    );
    passes(&[
        (
            IN_18,
            ServerControl,
            0x10,
            &format!("c02000 {} 00 00", uri(8192)),
        ),
        (IN_16, ServerControl, 0x10, &format!("6000 {}", uri(8192))),
        (IN_18, ClientControl, 0x10, "00 00 01"),
        (IN_16, ClientControl, 0x10, "00"),
    ]);
}

// Rules: B244, V80
#[test]
fn v80_unknown_fetch_type_closes() {
    closes(
        PV,
        "V80",
        &[
            (BOTH, Place::Request, 0x16, "00 00 00 00 00"),
            (BOTH, Place::Request, 0x16, "00 04 00 00 00"),
        ],
    );
}

// Rules: B071, V67, V68
#[test]
fn v67_v68_stream_of_no_type_or_a_reserved_one_closes() {
    closes(
        PV,
        "V67",
        &[
            (BOTH, Uni, 0x00, ""),
            (BOTH, Uni, 0x2a, "07 00 80"),
            (BOTH, Uni, 0x80, "07 00 80"),
            // FIRST_OBJECT, control and padding came later.
            (IN_16, Uni, 0x50, "07 00 80"),
            (IN_16, Uni, 0x2f00, "00"),
            (IN_16, Uni, 0x132b_3e28, ""),
        ],
    );
    closes(
        PV,
        "V68",
        &[
            (BOTH, Uni, 0x16, "07 00 80"),
            (BOTH, Uni, 0x3f, "07 00 80"),
            (IN_18, Uni, 0x56, "07 00 80"),
        ],
    );
    passes(&[
        (BOTH, Uni, 0x10, "07 00 80"),
        (IN_18, Uni, 0x50, "07 00 80"),
    ]);
}

// Rules: V69, V70, V71, V73, V74
#[test]
fn v69_to_v74_datagram_that_is_not_well_formed_closes() {
    closes(
        PV,
        "V69",
        &[
            (BOTH, Datagram, 0x10, "07 00 00 80"),
            (BOTH, Datagram, 0x40, "07 00 00 80"),
            // A status, and the end of the group.
            (BOTH, Datagram, 0x22, "07 00 00 80 03"),
        ],
    );
    closes(PV, "V70", &[(BOTH, Datagram, 0x01, "07 00 00 80 00 70")]);
    closes(
        PV,
        "V71",
        &[(BOTH, Datagram, 0x21, "07 00 00 80 02 0201 03")],
    );
    closes(PV, "V73", &[(BOTH, Datagram, 0x20, "07 00 00 80 01")]);
    closes(PV, "V74", &[(BOTH, Datagram, 0x20, "07 00 00 80 03 00")]);
    closes(PV, "V74", &[(BOTH, Datagram, 0x20, "07 00 00 80 00 00")]);
    passes(&[
        (BOTH, Datagram, 0x01, "07 00 00 80 02 0201 70"),
        (BOTH, Datagram, 0x21, "07 00 00 80 02 0201 00"),
        (BOTH, Datagram, 0x20, "07 00 00 80 03"),
    ]);
}

// Rules: V72, V73, V75, V76 (18)
#[test]
fn v72_to_v76_subgroup_that_is_not_well_formed_closes() {
    closes(PV, "V72", &[(BOTH, Uni, 0x11, "07 00 80 00 02 0201 00 03")]);
    for status in ["01", "02", "05", "3f"] {
        let body = format!("07 00 80 00 00 {status}");
        closes(PV, "V73", &[(BOTH, Uni, 0x10, &body)]);
    }
    closes(
        PV,
        "V75",
        &[
            (BOTH, UniAndFin, 0x10, "07 00"),
            (BOTH, UniAndFin, 0x10, "07 00 80 00 05 61"),
            (BOTH, UniAndFin, 0x10, "07 00 80 00"),
            (BOTH, UniAndFin, 0x05, ""),
            (BOTH, UniAndFin, 0x05, "02 1c 00 00 07"),
            (BOTH, UniAndFin, 0x05, "02 1c 00 00 07 02 61"),
        ],
    );
    let beyond = "07 00 80 ffffffffffffffffff 00 00 00 00 00";
    closes(PV, "V76", &[(IN_18, Uni, 0x10, beyond)]);
    passes(&[
        (BOTH, Uni, 0x11, "07 00 80 00 02 0201 00 00"),
        (BOTH, UniAndFin, 0x10, "07 00 80 00 01 61"),
        (BOTH, UniAndFin, 0x05, "02 1c 00 00 07 01 61"),
        (
            IN_18,
            Uni,
            0x10,
            "07 00 80 fffffffffffffffffe 00 00 00 00 00",
        ),
    ]);
}

// Rules: V77, V78, V79 (18)
#[test]
fn v77_v78_v79_fetch_that_is_not_well_formed_closes() {
    closes(
        PV,
        "V77",
        &[
            (IN_18, Uni, 0x05, "02 8080"),
            (IN_18, Uni, 0x05, "02 810d"),
            (IN_16, Uni, 0x05, "02 4080"),
            (IN_16, Uni, 0x05, "02 410d"),
        ],
    );
    for flags in ["14", "18", "0c", "1d", "1e", "00"] {
        let body = format!("02 {flags} 01 01 01 01 01");
        closes(PV, "V78", &[(BOTH, Uni, 0x05, &body)]);
    }
    closes(
        PV,
        "V79",
        &[
            // A group, an object and a subgroup beyond the last.
            (
                IN_18,
                Uni,
                0x05,
                "02 1c ffffffffffffffffff 00 07 00  08 00 00",
            ),
            (IN_18, Uni, 0x05, "02 1c 00 ffffffffffffffffff 07 00  00 00"),
            (
                IN_18,
                Uni,
                0x05,
                "02 1f 00 ffffffffffffffffff 00 07 00  02 00",
            ),
        ],
    );
}

// Rules: V51 (18)
#[test]
fn v51_mandatory_track_property_on_an_object_makes_the_track_malformed_in_18() {
    // 0x4002 as a property of an object with one byte.
    let mut peer = heard(Draft::D18, Uni, 0x11, "07 00 80 00 04 c0400201 01 78");
    peer.assert_alive();
    let told: Vec<Event> = std::iter::from_fn(|| peer.event()).collect();
    let is_malformed = |event: &Event| {
        matches!(event, Event::MalformedTrack { id, rule }
            if *id == RequestId(0) && rule.starts_with("V51:"))
    };
    assert!(told.iter().any(is_malformed), "{told:?}");
    assert!(
        !told
            .iter()
            .any(|event| matches!(event, Event::Object { .. }))
    );
    let stop = peer.heard.values().find_map(|heard| heard.stop);
    let code = ResetCode::MalformedTrack.to_wire(Draft::D18);
    assert_eq!(stop, Some(code));
    // The subscription is over; the FETCH of another track is not.
    assert_eq!(peer.session.open_requests(), 1);

    // 16 has no such properties.
    passes(&[(IN_16, Uni, 0x11, "07 00 80 00 05 8000400201 01 78")]);
}

// Rules: V94
#[test]
fn v94_integers_may_begin_with_any_byte() {
    // Absolute Start at group 0, written with more bytes than it needs, or at a group that needs them.
    for first in ["fc", "fd"] {
        let start = format!("03 {first}000000000000 00");
        request_passes(&[(IN_18, SUBSCRIBE, &format!("01 21 09 {start}"))]);
        let start = format!("03 {first}00000000000000 00");
        request_passes(&[(IN_16, SUBSCRIBE, &format!("01 21 0a {start}"))]);
    }
}

// Rules: V36
#[test]
fn v36_update_that_widens_a_subscription_is_passed_on() {
    for draft in DRAFTS {
        let mut peer = server(draft);
        let from = |group| Parameters {
            filter: Some(Filter::AbsoluteStart(at(group, 0))),
            ..Parameters::default()
        };
        let (id, stream) = peer.asked(&Message::Subscribe(Subscribe {
            parameters: from(5),
            ..subscribe(0, "v")
        }));
        let ok = Response::SubscribeOk(subscribe_ok(1, None));
        peer.session.respond(peer.now, id, ok).unwrap();
        peer.say_on(stream, &update(2, id, from(2)));
        let told = peer.event();
        assert!(
            matches!(&told, Some(Event::Update { parameters, .. }) if *parameters == from(2)),
            "{told:?}"
        );
        peer.assert_alive();
    }
}

// Rules: V66
#[test]
fn v66_token_that_the_application_finds_expired_or_invalid_is_refused_with_that_code() {
    for draft in DRAFTS {
        for code in [
            RequestCode::ExpiredAuthToken,
            RequestCode::MalformedAuthToken,
        ] {
            let mut peer = server(draft);
            let (id, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
            while peer.message(stream).is_some() {}
            let refusal = Response::Error(Refusal::new(code, "the token"));
            peer.session.respond(peer.now, id, refusal).unwrap();
            let Some(Message::RequestError(error)) = peer.message(stream) else {
                panic!("not refused");
            };
            assert_eq!(error.code, code);
            peer.assert_alive();
        }
    }
}

// Rules: V88
#[test]
fn v88_more_streams_than_publish_done_says_are_taken() {
    for draft in DRAFTS {
        let mut peer = receiver(draft);
        let stream = match draft {
            Draft::D16 => peer.control(),
            Draft::D18 => crate::transport::StreamId::local(1),
        };
        let groups = |peer: &mut Scripted| {
            let opened = peer.events.drain(..);
            opened
                .filter(|event| matches!(event, Event::SubgroupOpened { .. }))
                .count()
        };
        for group in 0..2_u8 {
            let data = peer.open(Dir::Uni);
            peer.send(data, &[0x10, 7, group, 0x80]);
        }
        let done = PublishDone {
            request_id: Some(RequestId(0)),
            ..super::support::done(1)
        };
        peer.say_on(stream, &Message::PublishDone(done));
        assert_eq!(groups(&mut peer), 2);
        let data = peer.open(Dir::Uni);
        peer.send(data, &[0x10, 7, 2, 0x80]);
        assert_eq!(groups(&mut peer), 1);
        peer.assert_alive();
    }
}
