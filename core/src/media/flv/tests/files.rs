//! Small files of an encoder.

use super::builder::read;
use crate::media::Codec::{self, Aac, Av1, Flac, H264, H265, Mp3, Opus, Vp9};
use crate::media::Kind;
use crate::media::flv::{Fault, Item, Metadata};

/// A file, and what ffmpeg tells of it.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) codecs: (Codec, Codec),
    strings: [&'static str; 2],
    /// DTS and PTS of the first and the last of that many frames.
    video: (usize, [(i64, i64); 2]),
    audio: (usize, [i64; 2]),
    /// Which pictures groups start with.
    groups: &'static [usize],
}

pub(super) const SAMPLES: [Sample; 8] = [
    Sample {
        name: "base",
        bytes: include_bytes!("../samples/base.flv"),
        codecs: (H264, Aac),
        strings: ["avc1.42C00A", "mp4a.40.2"],
        video: (10, [(21, 21), (381, 381)]),
        audio: (20, [0, 405]),
        groups: &[0, 5],
    },
    Sample {
        name: "high",
        bytes: include_bytes!("../samples/high.flv"),
        codecs: (H264, Aac),
        strings: ["avc1.64000A", "mp4a.40.2"],
        video: (10, [(0, 80), (360, 440)]),
        audio: (19, [57, 475]),
        groups: &[0],
    },
    Sample {
        name: "hevc_aac",
        bytes: include_bytes!("../samples/hevc_aac.flv"),
        codecs: (H265, Aac),
        strings: ["hvc1.1.6.L30.90", "mp4a.40.2"],
        video: (10, [(0, 80), (360, 400)]),
        audio: (20, [59, 464]),
        groups: &[0, 1],
    },
    Sample {
        name: "av1_opus",
        bytes: include_bytes!("../samples/av1_opus.flv"),
        codecs: (Av1, Opus),
        strings: ["av01.0.00M.08", "opus"],
        video: (10, [(7, 7), (367, 367)]),
        audio: (21, [0, 401]),
        groups: &[0, 5],
    },
    Sample {
        name: "vp9_flac",
        bytes: include_bytes!("../samples/vp9_flac.flv"),
        codecs: (Vp9, Flac),
        strings: ["vp09.00.10.08", "flac"],
        video: (10, [(0, 0), (360, 360)]),
        audio: (19, [0, 384]),
        groups: &[0, 5],
    },
    Sample {
        name: "avc_opus",
        bytes: include_bytes!("../samples/avc_opus.flv"),
        codecs: (H264, Opus),
        strings: ["avc1.42C00A", "opus"],
        video: (10, [(28, 28), (388, 388)]),
        audio: (22, [0, 420]),
        groups: &[0, 5],
    },
    Sample {
        name: "avc_mp3",
        bytes: include_bytes!("../samples/avc_mp3.flv"),
        codecs: (H264, Mp3),
        strings: ["avc1.64000A", "mp3"],
        video: (10, [(0, 80), (360, 400)]),
        audio: (18, [57, 465]),
        groups: &[0, 5],
    },
    Sample {
        name: "multitrack",
        bytes: include_bytes!("../samples/multitrack.flv"),
        codecs: (H264, Aac),
        strings: ["avc1.64000A", "mp4a.40.2"],
        video: (10, [(0, 80), (360, 400)]),
        audio: (20, [59, 464]),
        groups: &[0, 5],
    },
];

#[test]
fn what_an_encoder_wrote() {
    for sample in &SAMPLES {
        let (name, read) = (sample.name, read(sample.bytes));
        let (pictures, sounds): (Vec<_>, Vec<_>) = read
            .frames()
            .into_iter()
            .partition(|frame| frame.kind == Kind::Video);
        let ends = |frames: &[crate::media::Frame]| {
            [&frames[0], &frames[frames.len() - 1]].map(|frame| (frame.dts, frame.pts))
        };
        assert_eq!((pictures.len(), ends(&pictures)), sample.video, "{name}");
        let sound = sample.audio.1.map(|time| (time, time));
        assert_eq!(
            (sounds.len(), ends(&sounds)),
            (sample.audio.0, sound),
            "{name}"
        );
        let mut groups = (0..pictures.len()).filter(|at| pictures[*at].is_key);
        assert_eq!(groups.by_ref().collect::<Vec<_>>(), sample.groups, "{name}");
        assert!(pictures.iter().all(|frame| frame.duration == 40), "{name}");
        assert!(
            sounds
                .iter()
                .skip(1)
                .all(|frame| (20..=26).contains(&frame.duration)),
            "{name}"
        );
        let mut configurations = read.configurations();
        configurations.sort_by_key(|configuration| configuration.codec.kind());
        // FLAC ends with another record, which knows how long it was
        configurations.dedup_by_key(|configuration| configuration.codec);
        let codecs: Vec<_> = configurations.iter().map(|it| it.codec).collect();
        assert_eq!(codecs, [sample.codecs.0, sample.codecs.1], "{name}");
        let strings: Vec<_> = configurations.iter().map(|it| it.codec_string()).collect();
        assert_eq!(strings, sample.strings, "{name}");
        let expected: &[Fault] = if name == "multitrack" {
            &[Fault::OtherTrack(1)]
        } else {
            &[]
        };
        assert_eq!(read.faults(), expected, "{name}");
    }
}

#[test]
fn what_an_encoder_says_of_its_files() {
    for sample in &SAMPLES {
        let (name, read) = (sample.name, read(sample.bytes));
        let Some(Item::Metadata(metadata)) = read.items.first() else {
            panic!("{name}: {:?}", read.items.first());
        };
        assert_eq!(
            (metadata.width, metadata.height),
            (Some(64), Some(48)),
            "{name}"
        );
        assert_eq!(metadata.frame_rate, Some(25.0), "{name}");
        assert_eq!(metadata.video_codec, Some(sample.codecs.0), "{name}");
        assert_eq!(metadata.audio_codec, Some(sample.codecs.1), "{name}");
        let rate = if name == "high" { 44_100 } else { 48_000 };
        assert_eq!(metadata.audio_sample_rate, Some(rate), "{name}");
        assert_eq!(metadata.stereo, Some(name == "high"), "{name}");
        assert!(
            metadata
                .duration
                .is_some_and(|it| (0.39..0.5).contains(&it)),
            "{name}"
        );
        // the configurations tell the same
        let configurations = read.configurations();
        let of = |kind| configurations.iter().find(|it| it.codec.kind() == kind);
        let told = Metadata::of(of(Kind::Video), of(Kind::Audio));
        assert_eq!(
            (told.video_codec, told.audio_codec),
            (metadata.video_codec, metadata.audio_codec)
        );
        if sample.codecs.0 == H264 {
            assert_eq!((told.width, told.height), (Some(64), Some(48)), "{name}");
            assert_eq!(told.frame_rate, Some(25.0), "{name}");
        }
        if matches!(sample.codecs.1, Aac | Opus) {
            assert_eq!(told.audio_sample_rate, Some(rate), "{name}");
            assert_eq!(told.stereo, Some(name == "high"), "{name}");
        }
    }
}
