//! FLV files, whole and damaged.

use oxymoq_core::media::flv::{Demuxer, Item, Limits, Metadata, Muxer};
use oxymoq_core::media::{Frame, Kind};

/// The largest tag that is read.
const MAX_TAG: u32 = 2000;

/// The first byte is the size of the pieces that the rest arrives in, of which nothing may depend. What can be read is
/// written again, and must then be read as the same.
///
/// # Panics
/// If it does, is not, or more is kept than the limit says.
pub fn flv(input: &[u8]) {
    let Some((first, file)) = input.split_first() else {
        return;
    };
    let whole = read(file, file.len().max(1), MAX_TAG);
    assert_eq!(read(file, usize::from(*first) + 1, MAX_TAG), whole);
    let mut muxer = Muxer::new(Metadata::default());
    let mut written = muxer.start().to_vec();
    let mut frames = Vec::new();
    for item in &whole {
        match item {
            Item::Configuration(configuration) => {
                let tag = muxer.configuration(0, configuration);
                written.extend(tag.unwrap_or_default());
            }
            Item::Frame(frame) => {
                // times below zero, and those that are clocks of their own once the frames before are missing
                let Ok(tag) = muxer.frame(frame) else {
                    return;
                };
                written.extend(tag);
                frames.push(content(frame));
            }
            Item::Metadata(_) | Item::EndOfSequence(_) | Item::Warning(_) => {}
        }
    }
    // a frame may be longer than it was, with longer lengths of NAL units
    let again = read(&written, written.len(), Limits::default().max_tag);
    let read = again.iter().filter_map(|item| match item {
        Item::Frame(frame) => Some(content(frame)),
        Item::Metadata(_) | Item::Configuration(_) | Item::EndOfSequence(_) | Item::Warning(_) => {
            None
        }
    });
    assert_eq!(read.collect::<Vec<_>>(), frames);
}

/// What of a frame does not depend on the frames before it.
fn content(frame: &Frame) -> (Kind, bool, &[u8]) {
    (frame.kind, frame.is_key, &frame.payload)
}

fn read(file: &[u8], piece: usize, max_tag: u32) -> Vec<Item> {
    let limits = Limits {
        max_tag,
        ..Limits::default()
    };
    let mut demuxer = Demuxer::with_limits(limits);
    let mut items = Vec::new();
    for piece in file.chunks(piece) {
        demuxer.push(piece);
        items.extend(std::iter::from_fn(|| demuxer.poll()));
        // a tag, its header and size, and the header behind it
        assert!(demuxer.buffered() < usize::try_from(max_tag).unwrap_or(0) + 11 + 4 + 11);
    }
    demuxer.finish();
    items.extend(std::iter::from_fn(|| demuxer.poll()));
    items
}
