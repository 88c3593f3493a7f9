//! The drafts of MoQT that this crate speaks, and every way in which they differ, as data.
//!
//! This is the only file that may compare drafts. Everything else asks the [`Profile`] for the named feature, so a new
//! draft does not compile until every field of its profile and every table has been written out.

/// A draft of MoQT (`draft-ietf-moq-transport-NN`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Draft {
    /// draft-ietf-moq-transport-16
    D16,
    /// draft-ietf-moq-transport-18
    D18,
}

/// How integers of variable length are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntegerKind {
    /// The QUIC variable-length integer (RFC 9000 § 16): up to 2^62 - 1. Drafts up to 16.
    Quic,
    /// MoQT's own integer of 1 to 9 bytes: all of `u64`. Draft 18.
    Vi64,
}

/// Which streams carry control messages and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlModel {
    /// One bidirectional control stream opened by the client; SUBSCRIBE_NAMESPACE has a stream of its own.
    SharedStream,
    /// A unidirectional control stream from each side; every request has a bidirectional stream of its own.
    StreamPerRequest,
}

/// How a FETCH stream writes where its objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FetchIds {
    /// As they are.
    Absolute,
    /// As differences from what was before, in the direction of the group order.
    Delta,
}

/// Everything in which one draft differs from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The draft that this describes.
    pub draft: Draft,
    /// Its name in ALPN and in WebTransport's protocol negotiation.
    pub alpn: &'static str,
    /// Integers on the wire.
    pub integers: IntegerKind,
    /// Streams of control messages.
    pub control: ControlModel,
    /// Group and object ids on FETCH streams.
    pub fetch_ids: FetchIds,
    /// Whether a subgroup's header tells if its first object is the first of the subgroup (FIRST_OBJECT).
    pub first_object_flag: bool,
    /// Whether there are padding streams and padding datagrams.
    pub padding: bool,
}

const D16: Profile = Profile {
    draft: Draft::D16,
    alpn: "moqt-16",
    integers: IntegerKind::Quic,
    control: ControlModel::SharedStream,
    fetch_ids: FetchIds::Absolute,
    first_object_flag: false,
    padding: false,
};

const D18: Profile = Profile {
    draft: Draft::D18,
    alpn: "moqt-18",
    integers: IntegerKind::Vi64,
    control: ControlModel::StreamPerRequest,
    fetch_ids: FetchIds::Delta,
    first_object_flag: true,
    padding: true,
};

impl Draft {
    /// Every draft, newest first: the order in which they are preferred.
    pub const ALL: [Self; 2] = [Self::D18, Self::D16];

    /// How this draft differs from the others.
    pub const fn profile(self) -> &'static Profile {
        match self {
            Self::D16 => &D16,
            Self::D18 => &D18,
        }
    }

    /// The draft's number, such as 18.
    pub const fn number(self) -> u8 {
        match self {
            Self::D16 => 16,
            Self::D18 => 18,
        }
    }

    /// The draft that an ALPN or WebTransport protocol name stands for, if it is one of ours.
    pub fn from_alpn(alpn: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|draft| draft.profile().alpn.as_bytes() == alpn)
    }

    /// The draft with this number, if it is one of ours.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|draft| draft.number() == number)
    }
}
