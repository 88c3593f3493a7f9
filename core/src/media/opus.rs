//! Opus: the header in front of its packets (RFC 7845 § 5.1), and how long a packet is (RFC 6716 § 3.1).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Malformed;

/// What an identification header starts with.
const MAGIC: &[u8] = b"OpusHead";

/// Samples per second of every decoder, and of every duration here.
pub const SAMPLE_RATE: u32 = 48_000;

/// The identification header, `OpusHead`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpusHead {
    /// Channels, not 0.
    pub channels: u8,
    /// Samples to throw away at the beginning.
    pub pre_skip: u16,
    /// Samples per second of what was encoded; for information, 0 if it is not known.
    pub input_sample_rate: u32,
    /// To apply when playing: dB times 256.
    pub gain: i16,
    /// How channels are laid out: 0 mono or stereo, 1 Vorbis order, others.
    pub mapping_family: u8,
    /// Which stream each channel comes from; empty with family 0.
    pub mapping: Bytes,
}

impl OpusHead {
    /// Mono or stereo at 48 kHz, without delay or gain.
    pub const fn new(channels: u8) -> Self {
        Self {
            channels,
            pre_skip: 0,
            input_sample_rate: SAMPLE_RATE,
            gain: 0,
            mapping_family: 0,
            mapping: Bytes::new(),
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    /// If it is another header, of an incompatible version, is cut off, or has no channel.
    pub fn parse(header: &Bytes) -> Result<Self, Malformed> {
        const CUT_OFF: Malformed = Malformed("an OpusHead that ends too early");
        let mut rest = header.clone();
        if !rest.starts_with(MAGIC) {
            return Err(Malformed("no OpusHead"));
        }
        rest.advance(MAGIC.len());
        if rest.try_get_u8().map_err(|_| CUT_OFF)? > 15 {
            return Err(Malformed("an OpusHead of another version"));
        }
        let channels = rest.try_get_u8().map_err(|_| CUT_OFF)?;
        let pre_skip = rest.try_get_u16_le().map_err(|_| CUT_OFF)?;
        let input_sample_rate = rest.try_get_u32_le().map_err(|_| CUT_OFF)?;
        let gain = rest.try_get_i16_le().map_err(|_| CUT_OFF)?;
        let mapping_family = rest.try_get_u8().map_err(|_| CUT_OFF)?;
        if channels == 0 {
            return Err(Malformed("an OpusHead without channels"));
        }
        let table = if mapping_family == 0 {
            0
        } else {
            2 + usize::from(channels)
        };
        if rest.len() < table {
            return Err(CUT_OFF);
        }
        Ok(Self {
            channels,
            pre_skip,
            input_sample_rate,
            gain,
            mapping_family,
            mapping: rest.split_to(table),
        })
    }

    /// Writes the header.
    pub fn encode(&self) -> Bytes {
        let mut to = BytesMut::with_capacity(MAGIC.len() + 11 + self.mapping.len());
        to.put_slice(MAGIC);
        to.put_u8(1);
        to.put_u8(self.channels);
        to.put_u16_le(self.pre_skip);
        to.put_u32_le(self.input_sample_rate);
        to.put_i16_le(self.gain);
        to.put_u8(self.mapping_family);
        to.put_slice(&self.mapping);
        to.freeze()
    }
}

/// How long a packet is, in samples of 48 kHz; `None` if it is empty, cut off, or longer than the 120 ms that are allowed.
pub fn packet_duration(packet: &[u8]) -> Option<u32> {
    let (first, rest) = packet.split_first()?;
    let frame = match first >> 3 {
        // SILK: 10, 20, 40, 60 ms
        silk @ 0..=11 => [480, 960, 1920, 2880]
            .into_iter()
            .nth(usize::from(silk % 4))?,
        hybrid @ 12..=15 => 480 << (hybrid % 2),
        // CELT: 2.5, 5, 10, 20 ms
        celt => 120 << (celt % 4),
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3f),
    };
    let samples = frame * frames;
    (1..=SAMPLE_RATE * 120 / 1000)
        .contains(&samples)
        .then_some(samples)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_of_an_encoder() {
        let bytes = b"OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00";
        let head = OpusHead::parse(&Bytes::from_static(bytes)).unwrap();
        assert_eq!(
            head,
            OpusHead {
                pre_skip: 312,
                ..OpusHead::new(1)
            }
        );
        assert_eq!(head.encode()[..], bytes[..]);
        for cut in 0..bytes.len() {
            assert!(
                OpusHead::parse(&Bytes::from_static(&bytes[..cut])).is_err(),
                "{cut}"
            );
        }
    }

    #[test]
    fn more_channels_need_a_mapping() {
        let bytes = Bytes::from_static(
            b"OpusHead\x01\x03\x38\x01\x80\xbb\x00\x00\xff\xff\x01\x02\x01\x00\x02\x01",
        );
        let head = OpusHead::parse(&bytes).unwrap();
        assert_eq!((head.channels, head.gain), (3, -1));
        assert_eq!(head.mapping[..], [2, 1, 0, 2, 1]);
        assert_eq!(head.encode(), bytes);
        assert!(OpusHead::parse(&bytes.slice(..bytes.len() - 1)).is_err());
        let none = OpusHead::new(0).encode();
        assert!(OpusHead::parse(&none).is_err());
    }

    #[test]
    fn durations_of_packets() {
        // RFC 6716 table 2, and the code of frames per packet
        for (packet, samples) in [
            (&[0x00][..], Some(480)),
            (&[0x18], Some(2880)),
            (&[0x19], Some(5760)),
            (&[0x60], Some(480)),
            (&[0x68], Some(960)),
            (&[0x80], Some(120)),
            (&[0xf8], Some(960)),
            (&[0xfb, 0x03], Some(2880)),
            (&[0xfb, 0x07], None),
            (&[0xfb, 0x00], None),
            (&[0xfb], None),
            (&[], None),
        ] {
            assert_eq!(packet_duration(packet), samples, "{packet:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            packet_duration(&bytes);
            let header: Bytes = [MAGIC, &bytes].concat().into();
            if let Ok(head) = OpusHead::parse(&header) {
                prop_assert_eq!(OpusHead::parse(&head.encode()), Ok(head));
            }
        }
    }
}
