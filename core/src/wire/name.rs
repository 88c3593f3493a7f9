//! Names of tracks (§ Track Naming): sequences of bytes, not text.

use bytes::Bytes;

/// A track namespace, or a prefix or suffix of one: up to 32 fields, none empty, 4096 bytes in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackNamespace(Vec<Bytes>);

/// The name of a track within its namespace; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackName(Bytes);

/// A track's namespace and name together.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullTrackName {
    /// Where the track is published.
    pub namespace: TrackNamespace,
    /// Which of the namespace's tracks it is.
    pub name: TrackName,
}

impl TrackNamespace {
    /// The fields, outermost first.
    pub fn fields(&self) -> &[Bytes] {
        &self.0
    }
}

impl TrackName {
    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
