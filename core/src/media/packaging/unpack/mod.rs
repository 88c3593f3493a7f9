//! Objects to frames.

use bytes::Bytes;

use super::{Codec, Configuration, Kind, Malformed, Packager};
use crate::media::fields::Fields;
use crate::media::loc::{self, DecodeTimes};
use crate::media::nal::LengthSize;
use crate::media::{Frame, avc, hevc, moqmi};
use crate::wire::property::Properties;

mod from_loc;
mod from_moqmi;

const SOUND_AMONG_PICTURES: Malformed = Malformed::Object("sound on a track of video");
const PICTURE_AMONG_SOUND: Malformed = Malformed::Object("a picture on a track of audio");

/// What an object turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// What the decoder must know from this frame on, if that is not what it was before.
    pub configuration: Option<Configuration>,
    /// The frame.
    pub frame: Frame,
    /// The number of the frame in its track, where the packaging has one.
    pub sequence: Option<u64>,
    /// How the object is packaged.
    pub packaging: Packager,
}

/// Turns the objects of one track into frames. They must come in the order of decoding.
///
/// Every object is taken for what it is, so that a track may change from one packaging to another. Of dual objects the times
/// of MoqMi are taken, since they tell when a frame is decoded, and the configuration of LOC. LOC does not tell when frames
/// are decoded: see [`DecodeTimes`] for what is made of that.
///
/// A frame may come before any configuration, for example when a track is joined in the middle of a group. Ask
/// [`configuration`](Self::configuration) whether it can be decoded, and pass over frames until one is key.
#[derive(Clone, Debug)]
pub struct Unpacker {
    kind: Kind,
    /// What properties of the track tell, where an object says nothing.
    timescale: Option<u32>,
    config: Option<Bytes>,
    codec: Option<Codec>,
    configuration: Option<Configuration>,
    /// Whether the configuration was found in a frame rather than in a property.
    is_in_band: bool,
    /// What precedes each NAL unit as it comes in.
    length_size: LengthSize,
    times: DecodeTimes,
}

impl Unpacker {
    /// For a track of this kind, of which nothing else is known.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            timescale: None,
            config: None,
            codec: None,
            configuration: None,
            is_in_band: false,
            length_size: LengthSize::Four,
            times: DecodeTimes::default(),
        }
    }

    /// Takes the codec from a catalog, for LOC objects that do not name theirs.
    pub const fn expect_codec(&mut self, codec: Codec) {
        self.codec = Some(codec);
    }

    /// Takes the decoder configuration from a catalog, for LOC objects that have none.
    pub fn expect_configuration(&mut self, configuration: Configuration) {
        self.codec = Some(configuration.codec);
        self.config = Some(configuration.record);
    }

    /// Takes what properties of the track say, for LOC objects that do not.
    ///
    /// # Errors
    /// As [`loc::Header::read`], without the timestamp.
    pub fn handle_track_properties(&mut self, properties: &Properties) -> Result<(), Malformed> {
        let fields = Fields::read(properties)?;
        self.timescale = loc::timescale(&fields)?.or(self.timescale);
        let config = match self.kind {
            Kind::Video => fields.bytes(loc::VIDEO_CONFIG),
            Kind::Audio => fields.bytes(loc::AUDIO_CONFIG),
        };
        self.config = config.cloned().or_else(|| self.config.take());
        Ok(())
    }

    /// What the decoder must know for the latest frame, if it is known.
    pub const fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// Turns the next object into a frame.
    ///
    /// # Errors
    /// If the object is neither MoqMi nor LOC, breaks their rules, or is not of the kind that the track is. Nothing is
    /// remembered of such an object.
    pub fn unpack(
        &mut self,
        properties: &Properties,
        payload: Bytes,
    ) -> Result<Unpacked, Malformed> {
        let fields = Fields::read(properties)?;
        let timed = fields.has(loc::TIMESTAMP);
        if let Some(list) = moqmi::Header::announced(&fields) {
            let shared = matches!(list, moqmi::OPUS_METADATA | moqmi::TEXT_METADATA);
            match moqmi::Header::from_fields(&fields) {
                Ok(header) => return self.moqmi(header, &fields, payload),
                // what stands under MoqMi's number is LOC's, and the media type somebody else's
                Err(_) if timed && shared => {}
                Err(malformed) => return Err(malformed),
            }
        }
        if timed {
            return self.loc(&loc::Header::from_fields(&fields)?, payload);
        }
        if fields.has(moqmi::MEDIA_TYPE) {
            // tells what is missing
            let header = moqmi::Header::from_fields(&fields)?;
            return self.moqmi(header, &fields, payload);
        }
        if fields.is_empty() {
            return Err(Malformed::Object("neither MoqMi nor LOC"));
        }
        Err(Malformed::Missing(loc::TIMESTAMP, "timestamp"))
    }

    /// Takes a configuration, told by a property, for the frames from here on, which come with NAL units of these lengths.
    /// Gives it back if it is another than before.
    fn configure(&mut self, new: Configuration, length_size: LengthSize) -> Option<Configuration> {
        self.length_size = length_size;
        self.is_in_band = false;
        if self.configuration.as_ref() == Some(&new) {
            return None;
        }
        self.times.set_depth(reorder_depth(&new));
        self.configuration = Some(new.clone());
        Some(new)
    }

    /// The record that is known, if it is of this codec.
    fn known(&self, codec: Codec) -> Option<&Bytes> {
        let known = self.configuration.as_ref()?;
        (known.codec == codec).then_some(&known.record)
    }
}

/// How deeply frames are reordered, if their configuration tells.
fn reorder_depth(configuration: &Configuration) -> Option<usize> {
    match configuration.codec {
        Codec::H264 => {
            let config = avc::DecoderConfiguration::parse(&configuration.record).ok()?;
            let sequence = config.sequence()?;
            sequence
                .reorder_is_told
                .then_some(usize::from(sequence.reorder_depth))
        }
        Codec::H265 => hevc::reorder_depth(&configuration.record).map(usize::from),
        // what is not shown at once is in one temporal unit, or one superframe, with what is
        Codec::Av1 | Codec::Vp8 | Codec::Vp9 => Some(0),
        Codec::Aac | Codec::Opus | Codec::Flac | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => Some(0),
    }
}

/// A time as frames have it.
fn time(property: u64, ticks: u64) -> Result<i64, Malformed> {
    i64::try_from(ticks).map_err(|_| Malformed::Property(property, "a time above 2^63 - 1"))
}
