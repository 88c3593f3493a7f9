//! Requests and responses, good and bad.

use super::*;

fn fields(lines: &[(&'static str, &'static str)]) -> Vec<Field> {
    lines
        .iter()
        .map(|(name, value)| Field {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        })
        .collect()
}

/// What Chromium sends.
const CHROMIUM: [(&str, &str); 8] = [
    (":scheme", "https"),
    (":method", "CONNECT"),
    (":authority", "127.0.0.1:4433"),
    (":path", "/moq?a=b"),
    (":protocol", "webtransport"),
    ("sec-webtransport-http3-draft02", "1"),
    ("origin", "http://localhost:8080"),
    ("wt-available-protocols", r#""moqt-18", "moqt-16""#),
];

fn chromium_with(name: &'static str, value: Option<&'static str>) -> Vec<Field> {
    let mut lines = CHROMIUM.to_vec();
    lines.retain(|line| line.0 != name);
    if let Some(value) = value {
        if name.starts_with(':') {
            lines.insert(0, (name, value));
        } else {
            lines.push((name, value));
        }
    }
    fields(&lines)
}

fn refused(fields: &[Field]) -> NotAnOffer {
    match Offer::parse(fields) {
        Err(error) => error,
        Ok(offer) => panic!("{offer:?}"),
    }
}

fn is_malformed(fields: &[Field]) -> bool {
    matches!(refused(fields), NotAnOffer::Malformed(_))
}

#[test]
fn the_request_of_chromium_is_understood() {
    let offer = Offer::parse(&fields(&CHROMIUM)).unwrap();
    assert_eq!(
        offer,
        Offer {
            request: Request {
                authority: "127.0.0.1:4433".to_owned(),
                path: "/moq?a=b".to_owned(),
                origin: Some("http://localhost:8080".to_owned()),
                protocol: None,
            },
            protocols: Some(vec![
                Bytes::from_static(b"moqt-18"),
                Bytes::from_static(b"moqt-16")
            ]),
            draft02: true,
        }
    );
    assert_eq!(offer.request.path_only(), "/moq");
}

#[test]
fn a_request_comes_back_from_its_encoding() {
    let mut offer = Offer::parse(&fields(&CHROMIUM)).unwrap();
    for token in ["webtransport", "webtransport-h3"] {
        let frame = offer.encode(token);
        assert_eq!(frame[0], 1);
        let (len, taken) = crate::h3::varint::read(&frame[1..]).unwrap();
        let section = &frame[1 + taken..];
        assert_eq!(len, u64::try_from(section.len()).unwrap());
        assert_eq!(
            Offer::parse(&qpack::decode(section).unwrap()),
            Ok(offer.clone())
        );
        offer.protocols = None;
        offer.request.origin = None;
        offer.draft02 = false;
    }
}

#[test]
fn a_protocol_list_may_be_missing_wrong_or_in_several_lines() {
    let protocols = |fields: &[Field]| Offer::parse(fields).unwrap().protocols;
    assert_eq!(
        protocols(&chromium_with("wt-available-protocols", None)),
        None
    );
    assert_eq!(
        protocols(&chromium_with("wt-available-protocols", Some("moqt-18"))),
        None
    );
    assert_eq!(
        protocols(&chromium_with("wt-available-protocols", Some(""))),
        None
    );
    let mut lines = CHROMIUM.to_vec();
    lines.push(("wt-available-protocols", r#""moqt-14""#));
    assert_eq!(protocols(&fields(&lines)).unwrap().len(), 3);
}

#[test]
fn both_tokens_of_webtransport_are_taken_and_others_answered_501() {
    assert!(Offer::parse(&chromium_with(":protocol", Some("webtransport-h3"))).is_ok());
    assert_eq!(
        refused(&chromium_with(":protocol", Some("connect-udp"))),
        NotAnOffer::Status(501)
    );
}

#[test]
fn what_is_not_a_webtransport_connect_is_refused_politely() {
    assert_eq!(
        refused(&chromium_with(":protocol", None)),
        NotAnOffer::Status(400)
    );
    assert_eq!(
        refused(&chromium_with(":scheme", Some("http"))),
        NotAnOffer::Status(400)
    );
    assert_eq!(
        refused(&chromium_with(":path", Some("*"))),
        NotAnOffer::Status(400)
    );
    let get = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "h"),
        (":path", "/"),
        ("user-agent", "curl"),
    ];
    assert_eq!(refused(&fields(&get)), NotAnOffer::Status(405));
}

#[test]
fn malformed_requests_are_told_apart() {
    assert!(is_malformed(&chromium_with(":method", None)));
    assert!(is_malformed(&chromium_with(":scheme", None)));
    assert!(is_malformed(&chromium_with(":path", None)));
    assert!(is_malformed(&chromium_with(":path", Some(""))));
    assert!(is_malformed(&chromium_with(":authority", None)));
    assert!(is_malformed(&chromium_with(":authority", Some("a b"))));
    assert!(is_malformed(&chromium_with(
        ":authority",
        Some("user@host")
    )));
    assert!(is_malformed(&chromium_with("host", Some("elsewhere"))));
    assert!(is_malformed(&chromium_with(":status", Some("200"))));
    assert!(is_malformed(&chromium_with(":other", Some("x"))));
    assert!(is_malformed(&chromium_with(":method", Some("GET"))));
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        ("Upper", "x"),
        ("sp ace", "x"),
        ("", "x"),
        (":", "x"),
        ("x", "a\nb"),
        ("x", " padded"),
        ("origin", "h\u{e4}"),
    ] {
        assert!(
            is_malformed(&chromium_with(name, Some(value))),
            "{name}: {value}"
        );
    }
    // Order and duplicates.
    let mut late = CHROMIUM.to_vec();
    late.rotate_left(1);
    assert!(is_malformed(&fields(&late)));
    let mut twice = CHROMIUM.to_vec();
    twice.insert(0, (":path", "/other"));
    assert!(is_malformed(&fields(&twice)));
    // What is allowed is allowed.
    assert!(Offer::parse(&chromium_with("te", Some("trailers"))).is_ok());
    assert!(Offer::parse(&chromium_with("host", Some("127.0.0.1:4433"))).is_ok());
}

#[test]
fn the_response_to_chromium_is_what_it_needs() {
    let response = Response {
        status: 200,
        protocol: Some(Bytes::from_static(b"moqt-18")),
        draft02: true,
    };
    // :status 200 is entry 25 of the static table; the others are literals.
    let golden = [
        &[0x01, 0x42 & 0x3f | 0x40, 0x00][..],
        &[0, 0, 0xd9],
        &[0x27, 0x04],
        b"wt-protocol",
        &[9],
        b"\"moqt-18\"",
        &[0x27, 0x15],
        b"sec-webtransport-http3-draft",
        &[7],
        b"draft02",
    ]
    .concat();
    let frame = response.encode();
    assert_eq!(frame[frame.len() - (golden.len() - 3)..], golden[3..]);
    let section = frame.len() - (golden.len() - 3);
    let back = Response::parse(&qpack::decode(&frame[section..]).unwrap()).unwrap();
    assert_eq!((back.status, back.protocol), (200, response.protocol));
}

#[test]
fn a_refusal_of_the_method_says_what_is_allowed() {
    let frame = Response::refusal(405).encode();
    let fields = qpack::decode(&frame[2..]).unwrap();
    assert_eq!(&*fields[0].value, b"405");
    assert_eq!(
        (&*fields[1].name, &*fields[1].value),
        (&b"allow"[..], &b"CONNECT"[..])
    );
    let frame = Response::refusal(404).encode();
    assert_eq!(frame, [1, 3, 0, 0, 0xc0 | 27]);
}

#[test]
fn responses_without_a_proper_status_are_malformed() {
    let status = |lines: &[_]| Response::parse(&fields(lines)).map(|response| response.status);
    assert_eq!(status(&[(":status", "200")]), Ok(200));
    assert_eq!(status(&[(":status", "103"), ("link", "x")]), Ok(103));
    for lines in [
        &[][..],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "abc")],
        &[(":status", "099")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "200"), (":path", "/")],
    ] {
        assert!(status(lines).is_err(), "{lines:?}");
    }
    let bare = Response::parse(&fields(&[(":status", "200"), ("wt-protocol", "moqt-18")]));
    assert_eq!(bare.map(|response| response.protocol), Ok(None));
}
