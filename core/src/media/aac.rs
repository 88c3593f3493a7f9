//! `AudioSpecificConfig`, what an AAC decoder must know first (ISO/IEC 14496-3 § 1.6.2.1).

use bytes::{BufMut as _, Bytes, BytesMut};

use super::Malformed;
use super::bits::Bits;

/// Sampling frequencies in Hz by their index (§ 1.6.3.4).
const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// The index that says that the frequency itself follows in 24 bits.
const ESCAPE: u32 = 15;

/// Object types (§ 1.5.1.1).
mod object_type {
    pub(super) const LC: u8 = 2;
    pub(super) const SBR: u8 = 5;
    pub(super) const SCALABLE: u8 = 6;
    pub(super) const ER_SCALABLE: u8 = 20;
    pub(super) const ER_BSAC: u8 = 22;
    pub(super) const PS: u8 = 29;
}

/// The fields of an `AudioSpecificConfig` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// What the frames are coded in without extensions; 2 is AAC-LC.
    pub object_type: u8,
    /// Samples per second of the frames without extensions; not 0.
    pub sample_rate: u32,
    /// Channels without extensions: 1 to 24 by the table of configurations, any number of them by a program config element.
    pub channels: u16,
    /// Samples per second once Spectral Band Replication was applied, where it is signalled.
    pub extension_sample_rate: Option<u32>,
    /// Whether Parametric Stereo, which makes two channels of one, is signalled.
    pub parametric_stereo: bool,
    /// Whether SBR or PS stands in front (hierarchical signalling), rather than behind what an old decoder reads.
    pub hierarchical: bool,
    /// Samples of each channel in a frame, without extensions: 1024 or 960.
    pub samples_per_frame: u16,
}

impl AudioSpecificConfig {
    /// AAC-LC as most encoders write it.
    pub const fn aac_lc(sample_rate: u32, channels: u16) -> Self {
        Self {
            object_type: object_type::LC,
            sample_rate,
            channels,
            extension_sample_rate: None,
            parametric_stereo: false,
            hierarchical: false,
            samples_per_frame: 1024,
        }
    }

    /// Reads a record. What follows it is ignored: zeros may be there to fill up.
    ///
    /// # Errors
    /// If it is cut off, or has a frequency of 0 or a number of channels that nothing is defined for.
    pub fn parse(record: &[u8]) -> Result<Self, Malformed> {
        let mut bits = Bits::new(record);
        let mut config = Self::head(&mut bits)?;
        let mut extension_channels = None;
        if config.hierarchical {
            let rate = sample_rate(&mut bits)?;
            config.extension_sample_rate = Some(rate);
            config.object_type = object_type(&mut bits).ok_or(CUT_OFF)?;
            if config.object_type == object_type::ER_BSAC {
                extension_channels = Some(bits.read(4).ok_or(CUT_OFF)?);
            }
        }
        if !config.has_general_audio() {
            // no table knows how they are laid out: two, as most are
            config.channels = if config.channels == 0 {
                2
            } else {
                config.channels
            };
            return Ok(config);
        }
        config.general_audio(&mut bits)?;
        if !config.hierarchical && extension_channels.is_none() {
            config.trailing_extensions(&mut bits);
        }
        Ok(config)
    }

    /// The fields that all object types have.
    fn head(bits: &mut Bits<'_>) -> Result<Self, Malformed> {
        let object = object_type(bits).ok_or(CUT_OFF)?;
        let sample_rate = sample_rate(bits)?;
        let channels = match bits.read(4).ok_or(CUT_OFF)? {
            few @ 0..=6 => u16::try_from(few).unwrap_or(0),
            7 | 12 | 14 => 8,
            11 => 7,
            13 => 24,
            _ => return Err(Malformed("a reserved configuration of channels")),
        };
        Ok(Self {
            object_type: object,
            channels,
            hierarchical: matches!(object, object_type::SBR | object_type::PS),
            parametric_stereo: object == object_type::PS,
            ..Self::aac_lc(sample_rate, channels)
        })
    }

    /// Whether a `GASpecificConfig` follows.
    const fn has_general_audio(&self) -> bool {
        matches!(self.object_type, 1..=4 | 6 | 7 | 17 | 19..=23)
    }

    /// `GASpecificConfig` (§ 4.4.1).
    fn general_audio(&mut self, bits: &mut Bits<'_>) -> Result<(), Malformed> {
        if bits.flag().ok_or(CUT_OFF)? {
            self.samples_per_frame = 960;
        }
        if bits.flag().ok_or(CUT_OFF)? {
            bits.skip(14).ok_or(CUT_OFF)?; // coreCoderDelay
        }
        let extended = bits.flag().ok_or(CUT_OFF)?;
        if self.channels == 0 {
            self.channels = program_config_element(bits).ok_or(CUT_OFF)?;
            if self.channels == 0 {
                return Err(Malformed("a program without channels"));
            }
        }
        if matches!(
            self.object_type,
            object_type::SCALABLE | object_type::ER_SCALABLE
        ) {
            bits.skip(3).ok_or(CUT_OFF)?; // layerNr
        }
        if extended {
            let width = match self.object_type {
                object_type::ER_BSAC => 16,
                17 | 19 | 20 | 23 => 3,
                _ => 0,
            };
            bits.skip(width + 1).ok_or(CUT_OFF)?;
        }
        if matches!(self.object_type, 17 | 19..=23) {
            bits.skip(2).ok_or(CUT_OFF)?; // epConfig
        }
        Ok(())
    }

    /// SBR and PS behind everything else, where decoders that do not know them do not look (§ 1.6.6.1). They are there or
    /// not; nothing is wrong with other bits.
    fn trailing_extensions(&mut self, bits: &mut Bits<'_>) {
        const SBR_FOLLOWS: u32 = 0x2b7;
        const PS_FOLLOWS: u32 = 0x548;
        if bits.remaining() < 16 || bits.read(11) != Some(SBR_FOLLOWS) {
            return;
        }
        if object_type(bits) != Some(object_type::SBR) || bits.flag() != Some(true) {
            return;
        }
        let Ok(rate) = sample_rate(bits) else {
            return;
        };
        self.extension_sample_rate = Some(rate);
        if bits.remaining() >= 12 && bits.read(11) == Some(PS_FOLLOWS) {
            self.parametric_stereo = bits.flag() == Some(true);
        }
    }

    /// The object type that a codec string names: the extension where it stands in front.
    pub const fn signalled_object_type(&self) -> u8 {
        match (self.hierarchical, self.parametric_stereo) {
            (true, true) => object_type::PS,
            (true, false) => object_type::SBR,
            (false, _) => self.object_type,
        }
    }

    /// Samples per second that a decoder puts out.
    pub fn output_sample_rate(&self) -> u32 {
        self.extension_sample_rate.unwrap_or(self.sample_rate)
    }

    /// Channels that a decoder puts out.
    pub const fn output_channels(&self) -> u16 {
        match (self.parametric_stereo, self.channels) {
            (true, 1) => 2,
            (_, channels) => channels,
        }
    }

    /// Writes the record of AAC-LC or of its siblings (object types 1 to 4).
    ///
    /// # Errors
    /// If it has extensions or is of another object type, no configuration of channels has that many, or the rate is 0 or
    /// needs more than 24 bits.
    pub fn encode(&self) -> Result<Bytes, Malformed> {
        let channels = match self.channels {
            1..=6 => u64::from(self.channels),
            7 => 11,
            8 => 7,
            24 => 13,
            _ => return Err(Malformed("no configuration has that many channels")),
        };
        let extended = self.parametric_stereo || self.extension_sample_rate.is_some();
        if extended || !matches!(self.object_type, 1..=4) {
            return Err(Malformed("only plain AAC is written"));
        }
        let flags = u64::from(self.samples_per_frame == 960) << 2;
        let object = u64::from(self.object_type);
        let index = SAMPLE_RATES
            .iter()
            .position(|rate| *rate == self.sample_rate);
        let mut record = BytesMut::new();
        if let Some(index) = index.and_then(|index| u64::try_from(index).ok()) {
            record.put_uint(object << 11 | index << 7 | channels << 3 | flags, 2);
        } else if matches!(self.sample_rate, 1..=0xff_ffff) {
            let rate = u64::from(ESCAPE) << 24 | u64::from(self.sample_rate);
            record.put_uint(object << 35 | rate << 7 | channels << 3 | flags, 5);
        } else {
            return Err(Malformed("a rate outside 1 to 2^24 - 1"));
        }
        Ok(record.freeze())
    }
}

const CUT_OFF: Malformed = Malformed("an AudioSpecificConfig that ends too early");

/// `GetAudioObjectType` (§ 1.6.2.1).
fn object_type(bits: &mut Bits<'_>) -> Option<u8> {
    match bits.small(5)? {
        31 => Some(bits.small(6)? + 32),
        short => Some(short),
    }
}

/// An index, or a frequency in full.
fn sample_rate(bits: &mut Bits<'_>) -> Result<u32, Malformed> {
    let index = bits.read(4).ok_or(CUT_OFF)?;
    let rate = if index == ESCAPE {
        bits.read(24).ok_or(CUT_OFF)?
    } else {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        SAMPLE_RATES.get(index).copied().unwrap_or(0)
    };
    if rate == 0 {
        return Err(Malformed("a reserved sampling frequency"));
    }
    Ok(rate)
}

/// How many channels a `program_config_element` describes (§ 4.4.1.1).
fn program_config_element(bits: &mut Bits<'_>) -> Option<u16> {
    bits.skip(4 + 2 + 4)?; // tag, object type, frequency
    let (front, side, back) = (bits.small(4)?, bits.small(4)?, bits.small(4)?);
    let (low, associated, coupled) = (bits.small(2)?, bits.small(3)?, bits.small(4)?);
    for width in [4, 4, 3] {
        // mixdown of mono, stereo, matrix
        if bits.flag()? {
            bits.skip(width)?;
        }
    }
    let mut channels = u16::from(low);
    for _ in 0..front + side + back {
        channels += if bits.flag()? { 2 } else { 1 };
        bits.skip(4)?;
    }
    bits.skip(usize::from(low) * 4 + usize::from(associated) * 4 + usize::from(coupled) * 5)?;
    bits.align();
    let comment = bits.small(8)?;
    bits.skip(usize::from(comment) * 8)?;
    Some(channels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(record: &[u8]) -> AudioSpecificConfig {
        AudioSpecificConfig::parse(record).unwrap()
    }

    #[test]
    fn records_of_encoders() {
        // with the extension that says that there is no SBR
        let mono = parsed(&[0x11, 0x88, 0x56, 0xe5, 0x00]);
        assert_eq!(mono, AudioSpecificConfig::aac_lc(48_000, 1));
        let stereo = parsed(&[0x12, 0x10, 0x56, 0xe5, 0x00]);
        assert_eq!(stereo, AudioSpecificConfig::aac_lc(44_100, 2));
        assert_eq!(parsed(&[0x12, 0x10]), stereo);
        // zeros to fill up change nothing
        assert_eq!(parsed(&[0x12, 0x10, 0x56, 0xe5, 0, 0, 0, 0, 0]), stereo);
    }

    #[test]
    fn an_escaped_frequency() {
        // 00010 1111, 24 bits, 0010, 000
        let record = [0x17, 0x80, 0x5d, 0xc0, 0x10];
        let config = parsed(&record);
        assert_eq!((config.sample_rate, config.channels), (48_000, 2));
        let odd = AudioSpecificConfig::aac_lc(47_999, 6);
        assert_eq!(parsed(&odd.encode().unwrap()), odd);
    }

    #[test]
    fn band_replication_in_front() {
        // 00101 0110 0010, extension 0011, 00010 000
        let he = parsed(&[0x2b, 0x11, 0x88, 0x00]);
        assert_eq!((he.object_type, he.signalled_object_type()), (2, 5));
        assert_eq!((he.sample_rate, he.output_sample_rate()), (24_000, 48_000));
        assert_eq!((he.channels, he.output_channels()), (2, 2));
        // 11101 0110 0001 0011 00010 000
        let v2 = parsed(&[0xeb, 0x09, 0x88, 0x00]);
        assert_eq!((v2.object_type, v2.signalled_object_type()), (2, 29));
        assert_eq!((v2.channels, v2.output_channels()), (1, 2));
    }

    #[test]
    fn band_replication_behind() {
        // 00010 0110 0001 000 | 01010110111 00101 1 0011 | 10101001000 1
        let both = parsed(&[0x13, 0x08, 0x56, 0xe5, 0x9d, 0x48, 0x80]);
        assert_eq!(both.signalled_object_type(), 2);
        assert_eq!(both.extension_sample_rate, Some(48_000));
        assert_eq!((both.parametric_stereo, both.output_channels()), (true, 2));
        let replication = parsed(&[0x13, 0x08, 0x56, 0xe5, 0x98]);
        assert_eq!(replication.extension_sample_rate, Some(48_000));
        assert!(!replication.parametric_stereo);
    }

    #[test]
    fn an_escaped_object_type() {
        // 11111 001010 (42, USAC) 0011 0000
        let usac = parsed(&[0xf9, 0x46, 0x00]);
        assert_eq!((usac.object_type, usac.sample_rate), (42, 48_000));
        assert_eq!(usac.channels, 2, "a number is needed");
    }

    /// A program of one pair in front, one pair behind, one low-frequency channel.
    fn with_program(comment: &[u8]) -> Vec<u8> {
        let fields = [
            (2_u64, 5),
            (3, 4),
            (0, 4),
            (0, 3), // head and GASpecificConfig
            (0, 4),
            (1, 2),
            (3, 4), // tag, type, frequency
            (1, 4),
            (0, 4),
            (1, 4),
            (1, 2),
            (0, 3),
            (0, 4), // counts
            (1, 1),
            (5, 4),
            (0, 1),
            (0, 1), // a mixdown
            (1, 1),
            (0, 4),
            (1, 1),
            (1, 4),
            (0, 4),
        ];
        let mut text = String::new();
        for (value, width) in fields {
            text.push_str(&format!("{value:0width$b}"));
        }
        while !text.len().is_multiple_of(8) {
            text.push('0');
        }
        let mut bytes: Vec<u8> = (0..text.len() / 8)
            .map(|at| u8::from_str_radix(&text[at * 8..at * 8 + 8], 2).unwrap())
            .collect();
        bytes.push(u8::try_from(comment.len()).unwrap());
        bytes.extend_from_slice(comment);
        bytes
    }

    #[test]
    fn channels_of_a_program_config_element() {
        let record = with_program(b"five");
        let config = parsed(&record);
        assert_eq!((config.sample_rate, config.channels), (48_000, 5));
        for cut in 0..record.len() {
            assert!(AudioSpecificConfig::parse(&record[..cut]).is_err(), "{cut}");
        }
        let mut extended = record;
        extended.extend([0x56, 0xe5, 0x80]); // SBR at 96 kHz
        assert_eq!(parsed(&extended).extension_sample_rate, Some(96_000));
    }

    #[test]
    fn what_is_reserved_is_refused() {
        for record in [
            &[][..],
            &[0x12],
            &[0x16, 0x90],
            &[0x12, 0x40],
            &[0x17, 0x80, 0, 0, 0x10],
        ] {
            assert!(AudioSpecificConfig::parse(record).is_err(), "{record:x?}");
        }
        assert!(AudioSpecificConfig::aac_lc(48_000, 9).encode().is_err());
        assert!(AudioSpecificConfig::aac_lc(48_000, 0).encode().is_err());
        assert!(AudioSpecificConfig::aac_lc(0, 2).encode().is_err());
        assert!(AudioSpecificConfig::aac_lc(1 << 24, 2).encode().is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            rate in 1_u32..1 << 24,
            channels in prop_oneof![1_u16..=8, Just(24)],
            short: bool,
        ) {
            let mut config = AudioSpecificConfig::aac_lc(rate, channels);
            config.samples_per_frame = if short { 960 } else { 1024 };
            prop_assert_eq!(AudioSpecificConfig::parse(&config.encode().unwrap()), Ok(config));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(config) = AudioSpecificConfig::parse(&bytes) {
                prop_assert!(config.sample_rate > 0 && config.channels > 0);
            }
        }
    }
}
