//! Frames as objects of a track and back: MoqMi, LOC, or both at once.
//!
//! A [`Packer`] turns the frames of a track into properties and payloads, an [`Unpacker`] turns them back and finds out by
//! itself, object by object, how they are packaged.
//!
//! # Dual objects
//!
//! MoqMi and LOC carry the same payload, and nearly all of their properties have different numbers. So an object can carry
//! both, and receivers of either kind play it. Two numbers mean different things: 0x11 (MoqMi: the number of a text; LOC: the
//! name of the codec) never meets, since MoqMi needs it only for text; 0x0F (MoqMi: times of Opus; LOC: the audio
//! configuration) does. Opus can therefore not be dual. AAC can: MoqMi's times of AAC have a number of their own. But
//! moxygen's receiver reads 0x0F whatever the media type, and refuses the object unless it finds seven integers there; so zeros
//! follow the `AudioSpecificConfig`, which decoders pass over, until it does.
//!
//! | | 0x08 | 0x09 | 0x0A | 0x0D | 0x0F | 0x10 | 0x11 | 0x13 | 0x15 |
//! |---|---|---|---|---|---|---|---|---|---|
//! | MoqMi, H.264 | | | media type | configuration | | | | | times |
//! | MoqMi, AAC | | | media type | | | | | times | |
//! | MoqMi, Opus | | | media type | | times | | | | |
//! | LOC, video | timescale | marking | | configuration | | timestamp | codec | | |
//! | LOC, audio | timescale | | | | configuration | timestamp | codec | | |
//!
//! The configuration of video is on every key frame and on every first object of a group; that of audio, where the packaging
//! has it, on every object.

use std::fmt;
use std::str::FromStr;

mod pack;
mod unpack;

pub use self::pack::{Packed, Packer, Unsupported};
pub use self::unpack::{Unpacked, Unpacker};
pub use super::fields::Malformed;
use super::{Codec, Configuration, Kind};

/// How frames are packaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Packager {
    /// MoqMi: H.264, AAC-LC, Opus.
    MoqMi,
    /// LOC: every codec.
    Loc,
    /// Both at once where that is possible (H.264, AAC-LC); otherwise MoqMi (Opus), otherwise LOC.
    Dual,
}

impl Packager {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::MoqMi, Self::Loc, Self::Dual];

    /// Its name in flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MoqMi => "moqmi",
            Self::Loc => "loc",
            Self::Dual => "dual",
        }
    }

    /// What this comes down to for a codec; `None` if it cannot carry it at all. (AAC that is not AAC-LC, and Opus of more than two
    /// channels, are found out only with their configuration, and fall back to LOC then, or are refused.)
    pub const fn for_codec(self, codec: Codec) -> Option<Self> {
        match (self, codec) {
            (Self::Dual, Codec::H264 | Codec::Aac) => Some(Self::Dual),
            (Self::MoqMi, Codec::H264 | Codec::Aac | Codec::Opus) | (Self::Dual, Codec::Opus) => {
                Some(Self::MoqMi)
            }
            (Self::Loc | Self::Dual, _) => Some(Self::Loc),
            (Self::MoqMi, _) => None,
        }
    }
}

impl fmt::Display for Packager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no packager has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPackager;

impl fmt::Display for UnknownPackager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not one of moqmi, loc, dual")
    }
}

impl std::error::Error for UnknownPackager {}

impl FromStr for Packager {
    type Err = UnknownPackager;

    fn from_str(name: &str) -> Result<Self, UnknownPackager> {
        let mut all = Self::ALL.into_iter();
        all.find(|packager| packager.name() == name)
            .ok_or(UnknownPackager)
    }
}

#[cfg(test)]
mod tests;
