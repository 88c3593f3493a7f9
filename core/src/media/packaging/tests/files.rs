//! What encoders wrote, through every packaging.

use std::collections::BTreeMap;

use super::*;
use crate::media::flv::{Demuxer, Item};

/// The frames of a file, each with its configuration.
fn frames(file: &[u8]) -> Vec<(Frame, Configuration)> {
    let mut demuxer = Demuxer::new();
    demuxer.push(file);
    demuxer.finish();
    let mut configurations = BTreeMap::new();
    let mut frames = Vec::new();
    while let Some(item) = demuxer.poll() {
        match item {
            Item::Configuration(config) => {
                configurations.insert(config.codec.kind(), config);
            }
            Item::Frame(frame) => {
                let config = configurations[&frame.kind].clone();
                frames.push((frame, config));
            }
            Item::Metadata(_) | Item::EndOfSequence(_) | Item::Warning(_) => {}
        }
    }
    frames
}

/// How many frames of each kind had another DTS when they came out; everything else must be as it was.
fn different(file: &[u8], packager: Packager) -> BTreeMap<Kind, usize> {
    let mut different = BTreeMap::new();
    for kind in [Kind::Video, Kind::Audio] {
        let mut frames = frames(file);
        frames.retain(|(frame, _)| frame.kind == kind);
        assert!(frames.len() > 9);
        let mut packer = packer(packager, frames[0].1.codec);
        let mut unpacker = Unpacker::new(kind);
        let mut before = i64::MIN;
        for (frame, config) in frames {
            let (properties, payload) = pack(&mut packer, &frame, &config);
            let unpacked = unpacker.unpack(&properties, payload).unwrap().frame;
            assert_eq!((unpacked.pts, unpacked.is_key), (frame.pts, frame.is_key));
            assert_eq!(unpacked.payload, frame.payload);
            assert!(unpacked.dts > before && unpacked.dts <= unpacked.pts);
            before = unpacked.dts;
            *different.entry(kind).or_default() += usize::from(unpacked.dts != frame.dts);
        }
    }
    different
}

#[test]
fn files_come_out_as_they_were() {
    let high = include_bytes!("../../flv/samples/high.flv");
    let hevc = include_bytes!("../../flv/samples/hevc_aac.flv");
    let av1 = include_bytes!("../../flv/samples/av1_opus.flv");
    let exact = BTreeMap::from([(Kind::Video, 0), (Kind::Audio, 0)]);
    assert_eq!(different(high, Packager::MoqMi), exact);
    assert_eq!(different(high, Packager::Dual), exact);
    assert_eq!(different(av1, Packager::Dual), exact);
    // LOC does not tell the DTS; it is found again but for the first frames, as many as are reordered
    let found = BTreeMap::from([(Kind::Video, 2), (Kind::Audio, 0)]);
    assert_eq!(different(high, Packager::Loc), found);
    assert_eq!(different(hevc, Packager::Loc), found);
}
