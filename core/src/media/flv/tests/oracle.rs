//! What another reader of FLV finds in the same bytes.

use std::io::Cursor;

use bytes::Bytes;
use scuffle_flv::audio::body::AudioTagBody;
use scuffle_flv::audio::body::enhanced::{AudioPacket, ExAudioTagBody};
use scuffle_flv::audio::body::legacy::LegacyAudioTagBody;
use scuffle_flv::audio::body::legacy::aac::AacAudioData;
use scuffle_flv::file::FlvFile;
use scuffle_flv::tag::FlvTagData;
use scuffle_flv::video::VideoData;
use scuffle_flv::video::body::VideoTagBody;
use scuffle_flv::video::body::enhanced::{ExVideoTagBody, VideoPacket, VideoPacketCodedFrames};
use scuffle_flv::video::body::legacy::LegacyVideoTagBody;
use scuffle_flv::video::header::VideoTagHeaderData;
use scuffle_flv::video::header::legacy::{LegacyVideoTagHeader, LegacyVideoTagHeaderAvcPacket};

use super::builder::read;
use super::files::SAMPLES;
use crate::media::Kind;

/// A frame: its kind, DTS, PTS and bytes.
pub(super) type Seen = (Kind, i64, i64, Bytes);

/// The frames that the other reader finds.
pub(super) fn frames(bytes: &[u8]) -> Vec<Seen> {
    let file = FlvFile::demux(&mut Cursor::new(Bytes::copy_from_slice(bytes))).unwrap();
    let mut frames = Vec::new();
    for tag in file.tags {
        let dts = i64::from(tag.timestamp_ms);
        match tag.data {
            FlvTagData::Audio(audio) => {
                if let Some(payload) = sound(audio.body) {
                    frames.push((Kind::Audio, dts, dts, payload));
                }
            }
            FlvTagData::Video(video) => {
                if let Some((composition, payload)) = picture(video) {
                    frames.push((Kind::Video, dts, dts + composition, payload));
                }
            }
            FlvTagData::ScriptData(_)
            | FlvTagData::Encrypted { .. }
            | FlvTagData::Unknown { .. } => {}
        }
    }
    // FLAC ends with a packet that has nothing but a new record beside it
    frames.retain(|(_, _, _, payload)| !payload.is_empty());
    frames
}

fn sound(body: AudioTagBody) -> Option<Bytes> {
    match body {
        AudioTagBody::Legacy(LegacyAudioTagBody::Aac(AacAudioData::Raw(payload))) => Some(payload),
        AudioTagBody::Legacy(LegacyAudioTagBody::Other { sound_data }) => Some(sound_data),
        AudioTagBody::Enhanced(ExAudioTagBody::NoMultitrack {
            packet: AudioPacket::CodedFrames { data },
            ..
        }) => Some(data),
        AudioTagBody::Legacy(_) | AudioTagBody::Enhanced(_) => None,
    }
}

fn picture(video: VideoData<'_>) -> Option<(i64, Bytes)> {
    match (video.header.data, video.body) {
        (
            VideoTagHeaderData::Legacy(LegacyVideoTagHeader::AvcPacket(
                LegacyVideoTagHeaderAvcPacket::Nalu {
                    composition_time_offset,
                },
            )),
            VideoTagBody::Legacy(LegacyVideoTagBody::Other { data }),
        ) => {
            // it reads 24 bits without their sign
            let unsigned = i64::from(composition_time_offset);
            let composition = if unsigned < 1 << 23 {
                unsigned
            } else {
                unsigned - (1 << 24)
            };
            Some((composition, data))
        }
        (_, VideoTagBody::Enhanced(ExVideoTagBody::NoMultitrack { packet, .. })) => match packet {
            VideoPacket::CodedFramesX { data }
            | VideoPacket::CodedFrames(VideoPacketCodedFrames::Other(data)) => Some((0, data)),
            VideoPacket::CodedFrames(
                VideoPacketCodedFrames::Avc {
                    composition_time_offset,
                    data,
                }
                | VideoPacketCodedFrames::Hevc {
                    composition_time_offset,
                    data,
                },
            ) => Some((composition_time_offset.into(), data)),
            VideoPacket::Metadata(_)
            | VideoPacket::SequenceEnd
            | VideoPacket::SequenceStart(_)
            | VideoPacket::Mpeg2TsSequenceStart(_)
            | VideoPacket::Unknown { .. } => None,
        },
        _ => None,
    }
}

/// The frames that ours finds.
pub(super) fn ours(bytes: &[u8]) -> Vec<Seen> {
    let frames = read(bytes).frames();
    let seen = frames.into_iter();
    seen.map(|frame| (frame.kind, frame.dts, frame.pts, frame.payload))
        .collect()
}

#[test]
fn both_readers_find_the_same_frames_in_an_encoders_files() {
    for sample in &SAMPLES {
        let frames = frames(sample.bytes);
        assert!(frames.len() >= 27, "{}", sample.name);
        assert_eq!(ours(sample.bytes), frames, "{}", sample.name);
    }
}
