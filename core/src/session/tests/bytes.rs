//! Rows of the violation table that the codec finds: they close the session, with their code.

use super::script::Scripted;
use crate::code::SessionCode::{self, KeyValueFormattingError, ProtocolViolation};
use crate::draft::Draft;
use crate::session::Role;
use crate::transport::Dir;

/// A message of a client: its type and body, and in which drafts it closes the session with which code.
struct Row {
    rule: &'static str,
    number: u8,
    body: &'static [u8],
    in_18: Option<SessionCode>,
    in_16: Option<SessionCode>,
}

const fn row(
    rule: &'static str,
    number: u8,
    body: &'static [u8],
    in_18: Option<SessionCode>,
    in_16: Option<SessionCode>,
) -> Row {
    Row {
        rule,
        number,
        body,
        in_18,
        in_16,
    }
}

const PV: Option<SessionCode> = Some(ProtocolViolation);
const KV: Option<SessionCode> = Some(KeyValueFormattingError);

/// Requests with id 0 for namespace ("a"), name "v", and then parameters.
const ROWS: &[Row] = &[
    row("good", 0x03, &[0, 1, 1, b'a', 1, b'v', 0], None, None),
    row("V2: too short", 0x03, &[0, 1, 1, b'a', 1, b'v'], PV, PV),
    row(
        "V2: too long",
        0x03,
        &[0, 1, 1, b'a', 1, b'v', 0, 0],
        PV,
        PV,
    ),
    row(
        "V13: FORWARD twice",
        0x03,
        &[0, 1, 1, b'a', 1, b'v', 2, 0x10, 1, 0, 1],
        PV,
        PV,
    ),
    row(
        "V14: unknown parameter",
        0x03,
        &[0, 1, 1, b'a', 1, b'v', 1, 0x3e, 1],
        PV,
        PV,
    ),
    row(
        "V15: EXPIRES in SUBSCRIBE",
        0x03,
        &[0, 1, 1, b'a', 1, b'v', 1, 0x08, 1],
        PV,
        None,
    ),
    row("V21: no namespace", 0x03, &[0, 0, 1, b'v', 0], None, PV),
    row("V23: empty field", 0x03, &[0, 1, 0, 1, b'v', 0], PV, PV),
    row(
        "V41: filter type 5",
        0x03,
        &[0, 1, 1, b'a', 1, b'v', 1, 0x21, 1, 5],
        PV,
        PV,
    ),
    row(
        "V19: filter too long",
        0x03,
        &[0, 1, 1, b'a', 1, b'v', 1, 0x21, 2, 2, 0],
        PV,
        PV,
    ),
    row(
        "V43: FORWARD 2",
        0x03,
        &[0, 1, 1, b'a', 1, b'v', 1, 0x10, 2],
        PV,
        PV,
    ),
    row(
        "V44: GROUP_ORDER 0",
        0x03,
        &[0, 1, 1, b'a', 1, b'v', 1, 0x22, 0],
        PV,
        PV,
    ),
    row(
        "V47: DELIVERY_TIMEOUT 0",
        0x03,
        &[0, 1, 1, b'a', 1, b'v', 1, 0x02, 0],
        None,
        PV,
    ),
    row(
        "V48: DYNAMIC_GROUPS 2",
        0x1d,
        &[0, 1, 1, b'a', 1, b'v', 7, 0, 0x30, 2],
        PV,
        PV,
    ),
    row(
        "V49: group order 3",
        0x1d,
        &[0, 1, 1, b'a', 1, b'v', 7, 0, 0x22, 3],
        PV,
        PV,
    ),
    row(
        "V60: token of type 4",
        0x03,
        &[0, 1, 1, b'a', 1, b'v', 1, 0x03, 1, 4],
        KV,
        KV,
    ),
    row("V80: fetch type 4", 0x16, &[0, 4, 0, 0, 0], PV, PV),
];

// Rules: B012, B072, B091, B100, B101, B103, B104, B105, B107, B108, B109, B119, B120, B133
#[test]
fn rows_of_the_table_close_with_their_code() {
    for row in ROWS {
        for (draft, expected) in [(Draft::D18, row.in_18), (Draft::D16, row.in_16)] {
            let mut peer = Scripted::new(draft, Role::Server);
            let stream = match draft {
                Draft::D18 => peer.open(Dir::Bi),
                Draft::D16 => peer.control(),
            };
            let mut bytes = vec![row.number];
            let length = u16::try_from(row.body.len()).unwrap();
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(row.body);
            peer.send(stream, &bytes);
            let found = peer.session.failure().map(|(code, _)| code);
            assert_eq!(found, expected, "{} in {draft:?}", row.rule);
            if expected.is_none() {
                assert_eq!(peer.events.len(), 1, "{} in {draft:?}", row.rule);
            }
        }
    }
}

// Rules: B013, B014
#[test]
fn v22_v24_names_that_are_too_long_close() {
    let many = [vec![0_u8, 33], [1, b'a'].repeat(33), vec![1, b'v', 0]].concat();
    let mut long = vec![0_u8, 1];
    long.extend_from_slice(&[0x90, 0x01]);
    long.extend_from_slice(&[b'a'; 4097]);
    long.extend_from_slice(&[0, 0]);
    for draft in [Draft::D18, Draft::D16] {
        if draft == Draft::D16 {
            // The same length as a QUIC integer.
            long.splice(2..4, [0x50, 0x01]);
        }
        for body in [&many, &long] {
            let mut peer = Scripted::new(draft, Role::Server);
            let stream = match draft {
                Draft::D18 => peer.open(Dir::Bi),
                Draft::D16 => peer.control(),
            };
            let mut bytes = vec![0x03];
            bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(body);
            peer.send(stream, &bytes);
            peer.assert_closed(ProtocolViolation, "V2");
        }
    }
}
