//! Data streams and datagrams of any draft.

use bytes::{Bytes, BytesMut};
use oxymoq_core::draft::{Draft, Profile};
use oxymoq_core::wire::id::TrackAlias;
use oxymoq_core::wire::object::{
    Datagram, FetchDecoder, FetchEncoder, FetchPiece, StreamError, StreamType, SubgroupDecoder,
    SubgroupItem, decode_datagram, decode_stream_type, encode_datagram, encode_object_header,
    encode_subgroup_header,
};
use oxymoq_core::wire::param::GroupOrder;

/// The first byte chooses how to read what follows: bit 0 as a datagram or a stream, bit 1 the group order of a FETCH,
/// bits 2 to 4 in how large pieces, the rest the draft. What can be read must not depend on the pieces, and is written
/// again and must then be read as the same.
///
/// # Panics
/// If it does, or is not.
pub fn objects(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let mut drafts = Draft::ALL.iter().rev().cycle();
    let Some(draft) = drafts.nth(usize::from(first >> 5)) else {
        return;
    };
    let profile = draft.profile();
    let bytes = Bytes::copy_from_slice(rest);
    if first & 1 != 0 {
        datagram(profile, &bytes);
        return;
    }
    let Ok(Some((kind, length))) = decode_stream_type(profile, &bytes) else {
        return;
    };
    let stream = bytes.slice(length..);
    let piece = usize::from(first >> 2 & 7) + 1;
    match kind {
        StreamType::Subgroup(_) => subgroup(profile, kind, &stream, piece),
        StreamType::Fetch => {
            let order = if first & 2 == 0 {
                GroupOrder::Ascending
            } else {
                GroupOrder::Descending
            };
            fetch(profile, order, &stream, piece);
        }
        StreamType::Control | StreamType::Padding => {}
    }
}

fn datagram(profile: &Profile, bytes: &Bytes) {
    let Ok(Datagram::Object(alias, object)) = decode_datagram(profile, bytes) else {
        return;
    };
    // refused only for properties that are too long for other receivers
    if let Ok(again) = encode_datagram(profile, alias, &object) {
        let read = decode_datagram(profile, &again);
        assert_eq!(read, Ok(Datagram::Object(alias, object)));
    }
}

/// What a stream yields in pieces of this size, with payload in one, and how it fails or ends.
type Reading<T> = (Vec<T>, Result<bool, StreamError>);

fn read_subgroup(
    profile: &Profile,
    kind: StreamType,
    stream: &Bytes,
    piece: usize,
) -> Reading<SubgroupItem> {
    let StreamType::Subgroup(kind) = kind else {
        return (Vec::new(), Ok(true));
    };
    let mut decoder = SubgroupDecoder::new(profile, kind);
    let mut items: Vec<SubgroupItem> = Vec::new();
    let mut rest = stream.clone();
    loop {
        let item = match decoder.next_item() {
            Ok(Some(item)) => item,
            Ok(None) if rest.is_empty() => return (items, Ok(decoder.finish().is_ok())),
            Ok(None) => {
                decoder.push(rest.split_to(piece.min(rest.len())));
                continue;
            }
            Err(error) => return (items, Err(error)),
        };
        match (items.last_mut(), item) {
            (Some(SubgroupItem::Payload(sum)), SubgroupItem::Payload(more)) => {
                *sum = [&sum[..], &more[..]].concat().into();
            }
            (_, item) => items.push(item),
        }
    }
}

fn subgroup(profile: &Profile, kind: StreamType, stream: &Bytes, piece: usize) {
    let (items, end) = read_subgroup(profile, kind, stream, usize::MAX);
    assert_eq!(
        read_subgroup(profile, kind, stream, piece),
        (items.clone(), end)
    );
    let mut to = BytesMut::new();
    let mut alias = TrackAlias(0);
    let mut previous = None;
    for item in &items {
        let written = match item {
            SubgroupItem::Track(track) => {
                alias = *track;
                Ok(())
            }
            SubgroupItem::Opened(header) => {
                encode_subgroup_header(profile, alias, header, true, &mut to)
            }
            SubgroupItem::Object(object) => {
                let before = previous.replace(object.id);
                encode_object_header(profile, true, before, object, &mut to)
            }
            SubgroupItem::Payload(bytes) => {
                to.extend_from_slice(bytes);
                Ok(())
            }
        };
        assert_eq!(written, Ok(()), "{items:?}");
    }
    if items.len() < 2 {
        return;
    }
    let again = to.freeze();
    let kind = decode_stream_type(profile, &again);
    let Ok(Some((kind, length))) = kind else {
        unreachable!("{kind:?}")
    };
    let (read, _) = read_subgroup(profile, kind, &again.slice(length..), piece);
    assert_eq!(read, items);
}

fn read_fetch(
    profile: &Profile,
    order: GroupOrder,
    stream: &Bytes,
    piece: usize,
) -> Reading<FetchPiece> {
    let mut decoder = FetchDecoder::new(profile);
    decoder.set_order(order);
    let mut pieces: Vec<FetchPiece> = Vec::new();
    let mut rest = stream.clone();
    loop {
        let next = match decoder.next_piece() {
            Ok(Some(next)) => next,
            Ok(None) if rest.is_empty() => return (pieces, Ok(decoder.finish().is_ok())),
            Ok(None) => {
                decoder.push(rest.split_to(piece.min(rest.len())));
                continue;
            }
            Err(error) => return (pieces, Err(error)),
        };
        match (pieces.last_mut(), next) {
            (Some(FetchPiece::Payload(sum)), FetchPiece::Payload(more)) => {
                *sum = [&sum[..], &more[..]].concat().into();
            }
            (_, next) => pieces.push(next),
        }
    }
}

fn fetch(profile: &Profile, order: GroupOrder, stream: &Bytes, piece: usize) {
    let (pieces, end) = read_fetch(profile, order, stream, usize::MAX);
    assert_eq!(
        read_fetch(profile, order, stream, piece),
        (pieces.clone(), end)
    );
    let mut to = BytesMut::new();
    let mut encoder = None;
    for piece in &pieces {
        let written = match (piece, &mut encoder) {
            (FetchPiece::Request(request), _) => {
                match FetchEncoder::new(profile, *request, order, &mut to) {
                    Ok(new) => {
                        encoder = Some(new);
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
            (FetchPiece::Entry(entry), Some(encoder)) => encoder.entry(entry, &mut to),
            (FetchPiece::Entry(_), None) => unreachable!("the request comes first"),
            (FetchPiece::Payload(bytes), _) => {
                to.extend_from_slice(bytes);
                Ok(())
            }
        };
        if written.is_err() {
            // entries out of order can be read but not written
            return;
        }
    }
    let again = to.freeze();
    if let Ok(Some((_, length))) = decode_stream_type(profile, &again) {
        let (read, _) = read_fetch(profile, order, &again.slice(length..), piece);
        assert_eq!(read, pieces);
    }
}
