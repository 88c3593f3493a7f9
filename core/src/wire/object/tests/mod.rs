//! Objects on the wire, in every draft: examples, tables over all types, cuts, random splits, an independent decoder.

mod datagram;
mod fetch;
mod random;
mod subgroup;

use bytes::BytesMut;

use super::*;
use crate::code::SessionCode;
use crate::draft::{Draft, Profile};
use crate::wire::id::TrackAlias;
use crate::wire::param::GroupOrder;

const D16: &Profile = Draft::D16.profile();

const D18: &Profile = Draft::D18.profile();

/// Bytes from hex digits; blanks are for the reader.
fn hex(digits: &str) -> Bytes {
    let digits = digits
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap())
        .collect::<Vec<_>>();
    assert_eq!(digits.len() % 2, 0);
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn at(group: u64, object: u64) -> Location {
    Location {
        group: GroupId(group),
        object: ObjectId(object),
    }
}

fn kvps(profile: &Profile, digits: &str) -> Properties {
    Properties::from_bytes(hex(digits), profile.integers)
}

/// What a subgroup's stream yields, payload joined, when it comes in pieces of the given sizes (repeated).
fn subgroup(
    profile: &Profile,
    stream: &Bytes,
    sizes: &[usize],
) -> Result<(Vec<SubgroupItem>, Result<(), Error>), StreamError> {
    let (kind, length) = decode_stream_type(profile, stream)?.expect("a stream type");
    let StreamType::Subgroup(kind) = kind else {
        panic!("not a subgroup: {kind:?}");
    };
    let mut decoder = SubgroupDecoder::new(profile, kind);
    let mut items = Vec::new();
    let mut rest = stream.slice(length..);
    for size in sizes.iter().cycle() {
        while let Some(item) = decoder.next_item()? {
            match (items.last_mut(), item) {
                (Some(SubgroupItem::Payload(sum)), SubgroupItem::Payload(more)) => {
                    *sum = [&sum[..], &more[..]].concat().into();
                }
                (_, item) => items.push(item),
            }
        }
        if rest.is_empty() {
            break;
        }
        decoder.push(rest.split_to((*size).clamp(1, rest.len())));
    }
    Ok((items, decoder.finish()))
}

fn fetch(
    profile: &Profile,
    order: GroupOrder,
    stream: &Bytes,
    sizes: &[usize],
) -> Result<(Vec<FetchPiece>, Result<(), Error>), StreamError> {
    let (kind, length) = decode_stream_type(profile, stream)?.expect("a stream type");
    assert_eq!(kind, StreamType::Fetch);
    let mut decoder = FetchDecoder::new(profile);
    decoder.set_order(order);
    let mut pieces = Vec::new();
    let mut rest = stream.slice(length..);
    for size in sizes.iter().cycle() {
        while let Some(piece) = decoder.next_piece()? {
            match (pieces.last_mut(), piece) {
                (Some(FetchPiece::Payload(sum)), FetchPiece::Payload(more)) => {
                    *sum = [&sum[..], &more[..]].concat().into();
                }
                (_, piece) => pieces.push(piece),
            }
        }
        if rest.is_empty() {
            break;
        }
        decoder.push(rest.split_to((*size).clamp(1, rest.len())));
    }
    Ok((pieces, decoder.finish()))
}

/// Writes what [`subgroup`] read.
fn encode_subgroup(
    profile: &Profile,
    properties: bool,
    items: &[SubgroupItem],
) -> Result<Bytes, NotExpressible> {
    let mut to = BytesMut::new();
    let mut alias = TrackAlias(0);
    let mut previous = None;
    for item in items {
        match item {
            SubgroupItem::Track(track) => alias = *track,
            SubgroupItem::Opened(header) => {
                encode_subgroup_header(profile, alias, header, properties, &mut to)?;
            }
            SubgroupItem::Object(object) => {
                encode_object_header(profile, properties, previous, object, &mut to)?;
                previous = Some(object.id);
            }
            SubgroupItem::Payload(bytes) => to.extend_from_slice(bytes),
        }
    }
    Ok(to.freeze())
}

fn encode_fetch(
    profile: &Profile,
    order: GroupOrder,
    pieces: &[FetchPiece],
) -> Result<Bytes, NotExpressible> {
    let mut to = BytesMut::new();
    let mut encoder = None;
    for piece in pieces {
        match piece {
            FetchPiece::Request(id) => {
                encoder = Some(FetchEncoder::new(profile, *id, order, &mut to)?);
            }
            FetchPiece::Entry(entry) => encoder
                .as_mut()
                .expect("the request comes first")
                .entry(entry, &mut to)?,
            FetchPiece::Payload(bytes) => to.extend_from_slice(bytes),
        }
    }
    Ok(to.freeze())
}

/// The outcome at each place where the stream may be cut: never an error but for the end.
fn cut_everywhere(length: usize, read: impl Fn(usize) -> Result<(), Error>, whole: &[usize]) {
    for cut in 0..length {
        match read(cut) {
            Ok(()) => assert!(whole.contains(&cut), "cut at {cut} went unnoticed"),
            Err(error) => {
                assert!(!whole.contains(&cut), "cut at {cut}: {error}");
                assert_eq!(error.code, SessionCode::ProtocolViolation);
                assert!(error.rule.starts_with("V75"), "cut at {cut}: {error}");
            }
        }
    }
}

fn rule(error: StreamError) -> &'static str {
    match error {
        StreamError::Violation(error) => {
            assert_eq!(error.code, SessionCode::ProtocolViolation);
            error.rule
        }
        StreamError::TooLarge => "too large",
    }
}
