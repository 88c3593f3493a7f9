//! Bodies of audio and video tags (Annex E.4.2 and E.4.3, and the extended headers of Enhanced RTMP).

use bytes::{Buf as _, Bytes};

use super::{Fault, codec_of};
use crate::media::{Codec, Kind};

/// What the body of a tag is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// A configuration record as the file has it.
    Configuration(Codec, Bytes),
    /// A frame as the file has it.
    Coded {
        codec: Codec,
        /// What the file says of it.
        is_key: bool,
        /// What its PTS is later than its DTS, in milliseconds.
        composition: i32,
        payload: Bytes,
    },
    /// No more frames come.
    End,
    /// Nothing that is of interest.
    Nothing,
}

const CUT_OFF: Fault = Fault::Malformed("a body that ends too early");

/// Kinds of frames (`FrameType`).
mod frame_type {
    pub(super) const KEY: u8 = 1;
    pub(super) const GENERATED_KEY: u8 = 4;
    pub(super) const COMMAND: u8 = 5;
}

/// Kinds of packets that extended headers of both kinds have.
mod packet_type {
    pub(super) const SEQUENCE_START: u8 = 0;
    pub(super) const CODED_FRAMES: u8 = 1;
    pub(super) const SEQUENCE_END: u8 = 2;
    pub(super) const MOD_EX: u8 = 7;
}

/// Kinds of packets of video alone.
mod video_packet_type {
    pub(super) const CODED_FRAMES_X: u8 = 3;
    pub(super) const METADATA: u8 = 4;
    pub(super) const MPEG2TS_SEQUENCE_START: u8 = 5;
    pub(super) const MULTITRACK: u8 = 6;
}

/// Kinds of packets of audio alone.
mod audio_packet_type {
    pub(super) const MULTICHANNEL_CONFIG: u8 = 4;
    pub(super) const MULTITRACK: u8 = 5;
}

/// Reads the body of a video tag. An empty one is nothing.
pub(super) fn video(mut body: Bytes) -> Result<Packet, Fault> {
    const EXTENDED: u8 = 0x80;
    let Ok(first) = body.try_get_u8() else {
        return Ok(Packet::Nothing);
    };
    let frame = first >> 4 & 7;
    let is_key = matches!(frame, frame_type::KEY | frame_type::GENERATED_KEY);
    if first & EXTENDED != 0 {
        return extended_video(body, first & 0xf, frame, is_key);
    }
    if frame == frame_type::COMMAND {
        return Ok(Packet::Nothing);
    }
    let codec = match first & 0xf {
        7 => Codec::H264,
        12 => Codec::H265,
        other => return Err(Fault::UnknownCodec(Kind::Video, u32::from(other))),
    };
    let Ok(packet) = body.try_get_u8() else {
        return Ok(Packet::Nothing);
    };
    match packet {
        0 => {
            composition(&mut body)?;
            Ok(configuration(codec, body))
        }
        1 => Ok(Packet::Coded {
            codec,
            is_key,
            composition: composition(&mut body)?,
            payload: body,
        }),
        2 => Ok(Packet::End),
        _ => Err(Fault::Malformed("an unknown AVCPacketType")),
    }
}

/// Reads the body of an audio tag. An empty one is nothing.
pub(super) fn audio(mut body: Bytes) -> Result<Packet, Fault> {
    let Ok(first) = body.try_get_u8() else {
        return Ok(Packet::Nothing);
    };
    // the other bits are about rate, size and channels: AAC and MP3 tell that themselves
    match first >> 4 {
        2 | 14 => Ok(coded_audio(Codec::Mp3, body)),
        9 => extended_audio(body, first & 0xf),
        10 => match body.try_get_u8() {
            Err(_) => Ok(Packet::Nothing),
            Ok(0) => Ok(configuration(Codec::Aac, body)),
            Ok(1) => Ok(coded_audio(Codec::Aac, body)),
            Ok(_) => Err(Fault::Malformed("an unknown AACPacketType")),
        },
        other => Err(Fault::UnknownCodec(Kind::Audio, u32::from(other))),
    }
}

const fn coded_audio(codec: Codec, payload: Bytes) -> Packet {
    Packet::Coded {
        codec,
        is_key: true,
        composition: 0,
        payload,
    }
}

/// Some writers repeat the header of a record that they do not have.
fn configuration(codec: Codec, record: Bytes) -> Packet {
    if record.is_empty() && !codec_is_self_contained(codec) {
        return Packet::Nothing;
    }
    Packet::Configuration(codec, record)
}

/// Whether frames can be decoded without a record.
pub(super) const fn codec_is_self_contained(codec: Codec) -> bool {
    match codec {
        Codec::Vp8 | Codec::Vp9 | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => true,
        Codec::H264 | Codec::H265 | Codec::Av1 | Codec::Aac | Codec::Opus | Codec::Flac => false,
    }
}

/// Takes a `CompositionTime`: 24 bits with a sign.
fn composition(body: &mut Bytes) -> Result<i32, Fault> {
    let time = body.try_get_int(3).map_err(|_| CUT_OFF)?;
    Ok(i32::try_from(time).unwrap_or(0))
}

/// `ExVideoTagHeader`, whose first byte was read.
fn extended_video(mut body: Bytes, packet: u8, frame: u8, is_key: bool) -> Result<Packet, Fault> {
    let packet = modifiers(&mut body, packet)?;
    if frame == frame_type::COMMAND && packet != video_packet_type::METADATA {
        return Ok(Packet::Nothing);
    }
    let is_multitrack = packet == video_packet_type::MULTITRACK;
    let (packet, code, mut body) = track(Kind::Video, body, packet, is_multitrack)?;
    match packet {
        video_packet_type::METADATA | video_packet_type::MPEG2TS_SEQUENCE_START => {
            return Ok(Packet::Nothing);
        }
        packet_type::SEQUENCE_END => return Ok(Packet::End),
        packet_type::SEQUENCE_START
        | packet_type::CODED_FRAMES
        | video_packet_type::CODED_FRAMES_X => {}
        _ => return Err(Fault::Malformed("an unknown kind of video packet")),
    }
    let codec = codec_of(Kind::Video, code)
        .ok_or_else(|| Fault::UnknownCodec(Kind::Video, u32::from_be_bytes(code)))?;
    if packet == packet_type::SEQUENCE_START {
        return Ok(configuration(codec, body));
    }
    let has_time = packet == packet_type::CODED_FRAMES && has_composition_time(codec);
    let composition = if has_time { composition(&mut body)? } else { 0 };
    Ok(Packet::Coded {
        codec,
        is_key,
        composition,
        payload: body,
    })
}

/// Whether frames of a codec under a FourCC carry a `CompositionTime`.
const fn has_composition_time(codec: Codec) -> bool {
    matches!(codec, Codec::H264 | Codec::H265)
}

/// `ExAudioTagHeader`, whose first byte was read.
fn extended_audio(mut body: Bytes, packet: u8) -> Result<Packet, Fault> {
    let packet = modifiers(&mut body, packet)?;
    let is_multitrack = packet == audio_packet_type::MULTITRACK;
    let (packet, code, body) = track(Kind::Audio, body, packet, is_multitrack)?;
    match packet {
        audio_packet_type::MULTICHANNEL_CONFIG => return Ok(Packet::Nothing),
        packet_type::SEQUENCE_END => return Ok(Packet::End),
        packet_type::SEQUENCE_START | packet_type::CODED_FRAMES => {}
        _ => return Err(Fault::Malformed("an unknown kind of audio packet")),
    }
    let codec = codec_of(Kind::Audio, code)
        .ok_or_else(|| Fault::UnknownCodec(Kind::Audio, u32::from_be_bytes(code)))?;
    Ok(if packet == packet_type::SEQUENCE_START {
        configuration(codec, body)
    } else {
        coded_audio(codec, body)
    })
}

/// Passes over modifiers (`ModEx`), and gives the kind of packet behind them. The only one that is defined adds less than a
/// millisecond.
fn modifiers(body: &mut Bytes, mut packet: u8) -> Result<u8, Fault> {
    while packet == packet_type::MOD_EX {
        let mut size = usize::from(body.try_get_u8().map_err(|_| CUT_OFF)?) + 1;
        if size == 256 {
            size = usize::from(body.try_get_u16().map_err(|_| CUT_OFF)?) + 1;
        }
        if body.len() < size {
            return Err(CUT_OFF);
        }
        body.advance(size);
        packet = body.try_get_u8().map_err(|_| CUT_OFF)? & 0xf;
    }
    Ok(packet)
}

/// The kind of packet, the FourCC and what follows, of the only track or of track 0.
fn track(
    kind: Kind,
    mut body: Bytes,
    packet: u8,
    is_multitrack: bool,
) -> Result<(u8, [u8; 4], Bytes), Fault> {
    const ONE_TRACK: u8 = 0;
    const MANY_TRACKS: u8 = 1;
    const MANY_CODECS: u8 = 2;
    if !is_multitrack {
        let code = four(&mut body)?;
        return Ok((packet, code, body));
    }
    let first = body.try_get_u8().map_err(|_| CUT_OFF)?;
    let (layout, packet) = (first >> 4, first & 0xf);
    let nested = match kind {
        Kind::Video => packet == video_packet_type::MULTITRACK,
        Kind::Audio => packet == audio_packet_type::MULTITRACK,
    };
    if nested || layout > MANY_CODECS {
        return Err(Fault::Malformed("an unknown kind of multitrack packet"));
    }
    let mut code = if layout == MANY_CODECS {
        [0; 4]
    } else {
        four(&mut body)?
    };
    let mut other = None;
    while !body.is_empty() {
        if layout == MANY_CODECS {
            code = four(&mut body)?;
        }
        let id = body.try_get_u8().map_err(|_| CUT_OFF)?;
        let size = match layout {
            MANY_TRACKS | MANY_CODECS => body.try_get_uint(3).map_err(|_| CUT_OFF)?,
            ONE_TRACK.. => u64::try_from(body.len()).unwrap_or(u64::MAX),
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if body.len() < size {
            return Err(CUT_OFF);
        }
        let content = body.split_to(size);
        if id == 0 {
            return Ok((packet, code, content));
        }
        other = other.or(Some(id));
    }
    Err(other.map_or(CUT_OFF, Fault::OtherTrack))
}

fn four(body: &mut Bytes) -> Result<[u8; 4], Fault> {
    Ok(body.try_get_u32().map_err(|_| CUT_OFF)?.to_be_bytes())
}
