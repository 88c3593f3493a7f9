//! H.264: its decoder configuration record, where a group can start, and what its sequence parameter set tells.

use bytes::{Buf as _, Bytes, BytesMut};

use super::Malformed;
use super::bits::Bits;
use super::nal::{self, LengthSize};

/// NAL unit types (H.264 table 7-1).
mod unit_type {
    pub(super) const IDR: u8 = 5;
    pub(super) const SPS: u8 = 7;
}

const NO_RECORD: Malformed = Malformed("no AVCDecoderConfigurationRecord");

/// An `AVCDecoderConfigurationRecord`, the body of an `avcC` box (ISO/IEC 14496-15 § 5.3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecoderConfiguration {
    /// `AVCProfileIndication`.
    pub profile: u8,
    /// `profile_compatibility`, the constraint flags.
    pub compatibility: u8,
    /// `AVCLevelIndication`: ten times the level.
    pub level: u8,
    /// What precedes each NAL unit of a frame.
    pub length_size: LengthSize,
    /// Sequence parameter sets.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets.
    pub pps: Vec<Bytes>,
}

impl DecoderConfiguration {
    /// Reads a record. What follows the picture parameter sets is left to decoders.
    ///
    /// # Errors
    /// If its version is not 1, or a parameter set is not whole.
    pub fn parse(record: &Bytes) -> Result<Self, Malformed> {
        let [1, profile, compatibility, level, lengths, count, ..] = record[..] else {
            return Err(NO_RECORD);
        };
        let mut rest = record.slice(6..);
        let sps = parameter_sets(&mut rest, count & 0x1f)?;
        let count = rest.try_get_u8().map_err(|_| NO_RECORD)?;
        let pps = parameter_sets(&mut rest, count)?;
        Ok(Self {
            profile,
            compatibility,
            level,
            length_size: LengthSize::from_bits(lengths),
            sps,
            pps,
        })
    }

    /// What the first sequence parameter set tells; `None` if there is none that can be read.
    pub fn sequence(&self) -> Option<Sps> {
        self.sps.iter().find_map(|unit| Sps::parse(unit).ok())
    }
}

/// Takes parameter sets, each with its length in front.
fn parameter_sets(rest: &mut Bytes, count: u8) -> Result<Vec<Bytes>, Malformed> {
    let mut sets = Vec::new();
    for _ in 0..count {
        let length = rest.first_chunk::<2>().ok_or(NO_RECORD)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if rest.len() < 2 + length {
            return Err(Malformed("a parameter set that is cut off"));
        }
        sets.push(rest.split_to(2 + length).split_off(2));
    }
    Ok(sets)
}

/// The same record for frames whose NAL units have lengths of 4 bytes.
pub fn widen_record(record: &Bytes) -> Bytes {
    const LENGTHS: usize = 4;
    match record.get(LENGTHS) {
        Some(byte) if byte & 3 != 3 => {
            let mut wide = BytesMut::from(&record[..]);
            if let Some(byte) = wide.get_mut(LENGTHS) {
                *byte |= 3;
            }
            wide.freeze()
        }
        Some(_) | None => record.clone(),
    }
}

/// Whether a frame, with lengths of 4 bytes, is an IDR picture: nothing after it needs anything before it.
///
/// Whoever muxes may call other pictures key frames too, such as an I picture that later pictures reach behind.
pub fn is_idr(payload: &[u8]) -> bool {
    nal::units(payload, LengthSize::Four)
        .map_while(Result::ok)
        .any(|unit| {
            unit.first()
                .is_some_and(|first| first & 0x1f == unit_type::IDR)
        })
}

/// What a sequence parameter set tells (H.264 § 7.3.2.1.1 and Annex E).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// Pixels in a row, after cropping.
    pub width: u32,
    /// Rows, after cropping.
    pub height: u32,
    /// Frames per second as a numerator and a denominator, where it is told; neither is 0.
    pub frame_rate: Option<(u64, u64)>,
    /// How many frames at most come earlier in the order of decoding than in the order of showing: as told, or as the
    /// profile and the level allow.
    pub reorder_depth: u8,
    /// Whether the depth is told, or follows from how the stream is encoded, rather than only being what the level allows.
    pub reorder_is_told: bool,
}

impl Sps {
    /// Reads a NAL unit of type 7.
    ///
    /// # Errors
    /// If it is another unit, is cut off, or has a size that no level allows.
    pub fn parse(unit: &[u8]) -> Result<Self, Malformed> {
        let plain = nal::without_emulation_prevention(unit);
        let Some((first, body)) = plain.split_first() else {
            return Err(NO_SPS);
        };
        if first & 0x1f != unit_type::SPS {
            return Err(NO_SPS);
        }
        let mut bits = Bits::new(body);
        let fields = Fields::read(&mut bits).ok_or(NO_SPS)?;
        let (width, height) = fields.size().ok_or(NO_SPS)?;
        let usability = match bits.flag() {
            Some(true) => Usability::read(&mut bits),
            Some(false) | None => Usability::default(),
        };
        let (reorder_depth, reorder_is_told) = match usability.reorder_depth {
            _ if fields.keeps_order() => (0, true),
            Some(told) => (told, true),
            None => (fields.max_dpb_frames(), false),
        };
        Ok(Self {
            width,
            height,
            frame_rate: usability.frame_rate,
            reorder_depth,
            reorder_is_told,
        })
    }
}

const NO_SPS: Malformed = Malformed("no sequence parameter set");

/// The fields in front of the usability information that matter here.
struct Fields {
    profile: u8,
    constraints: u8,
    level: u8,
    chroma_format: u32,
    order_count_type: u32,
    /// In macroblocks.
    width: u32,
    /// In rows of macroblocks of a field or a frame.
    map_units: u32,
    frames_only: bool,
    /// Left, right, top, bottom.
    cropping: [u32; 4],
}

impl Fields {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let (profile, constraints, level) = (bits.small(8)?, bits.small(8)?, bits.small(8)?);
        bits.unsigned()?; // seq_parameter_set_id
        let chroma_format = chroma_format(bits, profile)?;
        bits.unsigned()?; // log2_max_frame_num_minus4
        let order_count_type = bits.unsigned()?;
        match order_count_type {
            0 => {
                bits.unsigned()?;
            }
            1 => {
                bits.flag()?;
                bits.signed()?;
                bits.signed()?;
                for _ in 0..bits.unsigned().filter(|count| *count < 256)? {
                    bits.signed()?;
                }
            }
            _ => {}
        }
        bits.unsigned()?; // max_num_ref_frames
        bits.flag()?;
        let (width, map_units) = (bits.unsigned()?, bits.unsigned()?);
        let frames_only = bits.flag()?;
        if !frames_only {
            bits.flag()?;
        }
        bits.flag()?; // direct_8x8_inference_flag
        let mut cropping = [0; 4];
        if bits.flag()? {
            for side in &mut cropping {
                *side = bits.unsigned()?;
            }
        }
        Some(Self {
            profile,
            constraints,
            level,
            chroma_format,
            order_count_type,
            width: width.checked_add(1)?,
            map_units: map_units.checked_add(1)?,
            frames_only,
            cropping,
        })
    }

    /// Rows of macroblocks of a frame.
    fn rows(&self) -> Option<u32> {
        self.map_units
            .checked_mul(if self.frames_only { 1 } else { 2 })
    }

    /// In pixels (H.264 § 7.4.2.1.1).
    fn size(&self) -> Option<(u32, u32)> {
        let (across, down) = match self.chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let down = if self.frames_only { down } else { down * 2 };
        let [left, right, top, bottom] = self.cropping;
        let size = |blocks: u32, unit: u32, before: u32, after: u32| {
            let cropped = before.checked_add(after)?.checked_mul(unit)?;
            blocks
                .checked_mul(16)?
                .checked_sub(cropped)
                .filter(|pixels| matches!(pixels, 1..=0xffff))
        };
        Some((
            size(self.width, across, left, right)?,
            size(self.rows()?, down, top, bottom)?,
        ))
    }

    /// Whether pictures are shown in the order they are decoded in.
    const fn keeps_order(&self) -> bool {
        const BASELINE: u8 = 66;
        let only_intra =
            matches!(self.profile, 44 | 86 | 100 | 110 | 122 | 244) && self.constraints & 0x10 != 0;
        self.order_count_type == 2 || self.profile == BASELINE || only_intra
    }

    /// `MaxDpbFrames` (H.264 § A.3.1 and table A-1).
    fn max_dpb_frames(&self) -> u8 {
        let level_1b = matches!(self.profile, 66 | 77 | 88)
            && self.level == 11
            && self.constraints & 0x10 != 0;
        let blocks: u32 = match self.level {
            _ if level_1b => 396,
            ..=10 => 396,
            11 => 900,
            12 | 13 | 20 => 2376,
            21 => 4752,
            22 | 30 => 8100,
            31 => 18_000,
            32 => 20_480,
            40 | 41 => 32_768,
            42 => 34_816,
            50 => 110_400,
            51 | 52 => 184_320,
            _ => 696_320,
        };
        let frame = self.rows().and_then(|rows| rows.checked_mul(self.width));
        let frames = frame.and_then(|frame| blocks.checked_div(frame));
        frames.map_or(0, |frames| u8::try_from(frames.min(16)).unwrap_or(16))
    }
}

/// `chroma_format_idc` and what comes with it in the profiles that have it; 1 in the others.
fn chroma_format(bits: &mut Bits<'_>, profile: u8) -> Option<u32> {
    if !matches!(
        profile,
        44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244
    ) {
        return Some(1);
    }
    let mut format = bits.unsigned()?;
    let lists = if format == 3 { 12 } else { 8 };
    if format == 3 && bits.flag()? {
        format = 0; // three planes, each like one without colours
    }
    bits.unsigned()?;
    bits.unsigned()?;
    bits.flag()?;
    if bits.flag()? {
        for list in 0..lists {
            if bits.flag()? {
                scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(format)
}

/// Passes over a list (H.264 § 7.3.2.1.1.1).
fn scaling_list(bits: &mut Bits<'_>, length: usize) -> Option<()> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..length {
        if next != 0 {
            next = (last + bits.signed()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// What the usability information tells, as far as it can be read.
#[derive(Default)]
struct Usability {
    frame_rate: Option<(u64, u64)>,
    reorder_depth: Option<u8>,
}

impl Usability {
    fn read(bits: &mut Bits<'_>) -> Self {
        let mut usability = Self::default();
        // what was read before it is cut off holds
        let _whole = usability.fill(bits);
        usability
    }

    /// `vui_parameters` (H.264 § E.1.1).
    fn fill(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        const EXTENDED_SAR: u8 = 255;
        if bits.flag()? && bits.small(8)? == EXTENDED_SAR {
            bits.skip(32)?;
        }
        if bits.flag()? {
            bits.flag()?; // overscan
        }
        if bits.flag()? {
            bits.skip(4)?; // video signal
            if bits.flag()? {
                bits.skip(24)?;
            }
        }
        if bits.flag()? {
            bits.unsigned()?; // location of chroma samples
            bits.unsigned()?;
        }
        if bits.flag()? {
            let (units, scale) = (bits.read(32)?, bits.read(32)?);
            bits.flag()?;
            if units != 0 && scale != 0 {
                // a frame is two ticks
                self.frame_rate = Some((u64::from(scale), u64::from(units) * 2));
            }
        }
        let nal = reference_decoder(bits)?;
        let vcl = reference_decoder(bits)?;
        if nal || vcl {
            bits.flag()?;
        }
        bits.flag()?; // pic_struct_present_flag
        if bits.flag()? {
            bits.flag()?;
            for _ in 0..4 {
                bits.unsigned()?;
            }
            let depth = bits.unsigned()?;
            self.reorder_depth = Some(u8::try_from(depth.min(16)).unwrap_or(16));
        }
        Some(())
    }
}

/// Passes over `hrd_parameters` (H.264 § E.1.2), if they are there.
fn reference_decoder(bits: &mut Bits<'_>) -> Option<bool> {
    if !bits.flag()? {
        return Some(false);
    }
    let count = bits.unsigned().filter(|count| *count < 32)?;
    bits.skip(8)?;
    for _ in 0..=count {
        bits.unsigned()?;
        bits.unsigned()?;
        bits.flag()?;
    }
    bits.skip(20)?;
    Some(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What x264 wrote for 64x48 at 25 frames a second: High profile with 3 B frames, and Baseline.
    const HIGH: &[u8] = &[
        0x01, 0x64, 0x00, 0x0a, 0xff, 0xe1, 0x00, 0x18, 0x67, 0x64, 0x00, 0x0a, 0xac, 0xd9, 0x44,
        0x7b, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x22,
        0x59, 0x60, 0x01, 0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00,
    ];

    fn high() -> DecoderConfiguration {
        DecoderConfiguration::parse(&Bytes::from_static(HIGH)).unwrap()
    }

    #[test]
    fn a_record_of_an_encoder() {
        let config = high();
        assert_eq!(
            (config.profile, config.compatibility, config.level),
            (100, 0, 10)
        );
        assert_eq!(config.length_size, LengthSize::Four);
        assert_eq!((config.sps.len(), config.pps.len()), (1, 1));
        assert_eq!(config.pps[0][..], [0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0]);
        let sequence = Sps {
            width: 64,
            height: 48,
            frame_rate: Some((50, 2)),
            reorder_depth: 2,
            reorder_is_told: true,
        };
        assert_eq!(config.sequence(), Some(sequence));
    }

    #[test]
    fn cropping_and_the_depth_that_a_level_allows() {
        // Main profile, level 4.0, 120 by 68 macroblocks, 8 rows cropped, no usability information
        let main = [
            0x67, 0x4d, 0x40, 0x28, 0xf2, 0x80, 0xf0, 0x04, 0x4f, 0xca, 0x80,
        ];
        let sps = Sps::parse(&main).unwrap();
        assert_eq!((sps.width, sps.height), (1920, 1080));
        assert_eq!((sps.reorder_depth, sps.frame_rate), (4, None));
        assert!(!sps.reorder_is_told);
        // Baseline never reorders
        let mut baseline = main;
        baseline[1] = 66;
        let sps = Sps::parse(&baseline).unwrap();
        assert_eq!((sps.reorder_depth, sps.reorder_is_told), (0, true));
    }

    #[test]
    fn odd_parameter_sets_leave_the_record_readable() {
        for odd in [
            &[][..],
            &[0x67],
            &[0x67, 0xff, 0xff],
            &[0x68, 1, 2],
            &[0x67, 0, 0, 0, 0, 0],
        ] {
            let mut record = vec![1, 0x42, 0xc0, 0x1e, 0xff, 0xe1];
            record.extend(u16::try_from(odd.len()).unwrap().to_be_bytes());
            record.extend_from_slice(odd);
            record.push(0);
            let config = DecoderConfiguration::parse(&record.into()).unwrap();
            assert_eq!(config.sps[..], [odd]);
            assert_eq!(config.sequence(), None);
        }
        // no parameter set at all
        let none = Bytes::from_static(&[1, 0x42, 0xc0, 0x1e, 0xff, 0xe0, 0]);
        assert_eq!(DecoderConfiguration::parse(&none).unwrap().sequence(), None);
    }

    #[test]
    fn a_record_is_cut_off_or_of_another_version() {
        let whole = HIGH.len() - 4; // without the extension of the High profile
        for cut in 0..whole {
            let record = Bytes::from_static(&HIGH[..cut]);
            assert!(DecoderConfiguration::parse(&record).is_err(), "{cut}");
        }
        assert!(DecoderConfiguration::parse(&Bytes::from_static(&HIGH[..whole])).is_ok());
        let mut other = HIGH.to_vec();
        other[0] = 0;
        assert!(DecoderConfiguration::parse(&other.into()).is_err());
    }

    #[test]
    fn a_record_for_short_lengths_is_widened() {
        let mut short = HIGH.to_vec();
        short[4] = 0xfd;
        let config = DecoderConfiguration::parse(&short.clone().into()).unwrap();
        assert_eq!(config.length_size, LengthSize::Two);
        assert_eq!(widen_record(&short.into())[..], *HIGH);
        assert_eq!(widen_record(&Bytes::from_static(HIGH))[..], *HIGH);
        assert_eq!(
            widen_record(&Bytes::from_static(&[1])),
            Bytes::from_static(&[1])
        );
    }

    #[test]
    fn an_idr_picture_is_known_by_its_units() {
        let idr = [0, 0, 0, 2, 6, 5, 0, 0, 0, 1, 0x65];
        assert!(is_idr(&idr));
        let recovery_point = [0, 0, 0, 2, 6, 5, 0, 0, 0, 1, 0x41];
        assert!(!is_idr(&recovery_point));
        assert!(!is_idr(&[]));
        assert!(!is_idr(&[0, 0, 0, 9, 0x65]), "a unit that is not there");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            profile in prop::sample::select(vec![66_u8, 77, 100, 244]),
        ) {
            let mut sps = vec![0x67, profile, 0, 30];
            sps.extend_from_slice(&bytes);
            if let Ok(sps) = Sps::parse(&sps) {
                prop_assert!(sps.width > 0 && sps.height > 0 && sps.reorder_depth <= 16);
            }
            is_idr(&bytes);
            let mut record = vec![1, profile, 0, 30, 0xff];
            record.extend_from_slice(&bytes);
            if let Ok(config) = DecoderConfiguration::parse(&record.into()) {
                config.sequence();
            }
        }
    }
}
