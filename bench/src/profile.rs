//! The kinds of load, and what each is made of.

use clap::ValueEnum;

/// A kind of load. Every figure of one can be changed by a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Video: a group a second of 30 objects, the first of 7576 bytes, the others of 1894
    Live,
    /// Small objects: 1200 bytes, 100 a second
    Small,
    /// Audio: 160 bytes, 50 a second, each a group
    Audio,
    /// As fast as the relay takes them: objects of 64 KiB
    Bulk,
    /// Datagrams: 1000 bytes, 100 a second
    Datagrams,
    /// Many tracks: 200 with 5 objects of 300 bytes a second; each subscriber has 20 of them
    Tracks,
    /// `live`, while further subscribers come and go
    Churn,
    /// `live` with objects ten times as large, and one more subscriber who stops reading
    Stalled,
    /// `live` for more and more subscribers, until the relay cannot hold them
    Ramp,
}

/// How objects travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// A stream for each group.
    Streams,
    /// A datagram for each object.
    Datagrams,
}

/// What a track is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Bytes of the first object of a group.
    pub key_size: usize,
    /// Bytes of every other object.
    pub size: usize,
    /// Objects in a group.
    pub per_group: u64,
    /// Objects a second; 0: as many as there is room for.
    pub rate: f64,
    /// How they travel.
    pub carriage: Carriage,
}

impl Shape {
    /// Bytes of the object with this number within its group.
    pub const fn size_of(&self, object: u64) -> usize {
        if object == 0 {
            self.key_size
        } else {
            self.size
        }
    }
}

impl Profile {
    /// Its name, as flags and reports have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Small => "small",
            Self::Audio => "audio",
            Self::Bulk => "bulk",
            Self::Datagrams => "datagrams",
            Self::Tracks => "tracks",
            Self::Churn => "churn",
            Self::Stalled => "stalled",
            Self::Ramp => "ramp",
        }
    }

    /// What its tracks are made of.
    pub const fn shape(self) -> Shape {
        let (key_size, size, per_group, rate) = match self {
            Self::Live | Self::Churn | Self::Ramp => (7576, 1894, 30, 30.0),
            Self::Stalled => (75_760, 18_940, 30, 30.0),
            Self::Small => (1200, 1200, 100, 100.0),
            Self::Audio => (160, 160, 1, 50.0),
            Self::Bulk => (64 << 10, 64 << 10, 16, 0.0),
            Self::Datagrams => (1000, 1000, 100, 100.0),
            Self::Tracks => (300, 300, 25, 5.0),
        };
        let carriage = match self {
            Self::Datagrams => Carriage::Datagrams,
            Self::Live
            | Self::Small
            | Self::Audio
            | Self::Bulk
            | Self::Tracks
            | Self::Churn
            | Self::Stalled
            | Self::Ramp => Carriage::Streams,
        };
        Shape {
            key_size,
            size,
            per_group,
            rate,
            carriage,
        }
    }

    /// Tracks of each publisher, and how many of them each subscriber takes.
    pub const fn tracks(self) -> (usize, usize) {
        match self {
            Self::Tracks => (200, 20),
            Self::Live
            | Self::Small
            | Self::Audio
            | Self::Bulk
            | Self::Datagrams
            | Self::Churn
            | Self::Stalled
            | Self::Ramp => (1, 1),
        }
    }

    /// Subscribers unless told otherwise; for a ramp those of its first step.
    pub const fn subscribers(self) -> usize {
        match self {
            Self::Bulk => 1,
            Self::Live
            | Self::Small
            | Self::Audio
            | Self::Datagrams
            | Self::Tracks
            | Self::Churn
            | Self::Stalled
            | Self::Ramp => 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::STAMP_BYTES;

    #[test]
    fn every_object_has_room_for_its_stamp_and_names_are_those_of_the_flag() {
        for profile in Profile::value_variants() {
            let shape = profile.shape();
            assert!(shape.size >= STAMP_BYTES && shape.key_size >= STAMP_BYTES);
            let value = profile.to_possible_value().unwrap();
            assert_eq!(value.get_name(), profile.name());
            let (tracks, each) = profile.tracks();
            assert!(each <= tracks && profile.subscribers() > 0);
        }
    }

    #[test]
    fn a_group_of_live_video_is_half_a_megabit() {
        let shape = Profile::Live.shape();
        let bytes: usize = (0..shape.per_group)
            .map(|object| shape.size_of(object))
            .sum();
        assert_eq!(bytes, 7576 + 29 * 1894);
    }
}
