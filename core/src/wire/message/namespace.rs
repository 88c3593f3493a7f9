//! Messages about namespaces: announcing them, asking for them, and what comes back.

use bytes::Bytes;

use super::super::cursor::{Reader, Writer};
use super::super::id::RequestId;
use super::super::name::{FullTrackName, TrackName, TrackNamespace};
use super::super::param::Parameters;
use super::super::{Error, NotExpressible};
use super::{Body, Origin, read_reason, write_reason};
use crate::code::RequestCode;
use crate::draft::{Discovery, Scope};

/// PUBLISH_NAMESPACE: announces that tracks can be had under a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishNamespace {
    /// The request's id.
    pub request_id: RequestId,
    /// The namespace.
    pub namespace: TrackNamespace,
    /// Tokens.
    pub parameters: Parameters,
}

/// SUBSCRIBE_NAMESPACE: asks to be told of namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeNamespace {
    /// The request's id.
    pub request_id: RequestId,
    /// What they begin with; may be empty: all.
    pub prefix: TrackNamespace,
    /// What to be told. From draft 18 always [`Interest::Namespaces`].
    pub interest: Interest,
    /// Tokens; in draft 16 also FORWARD.
    pub parameters: Parameters,
}

/// What a SUBSCRIBE_NAMESPACE asks for (draft 16: Subscribe Options).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Interest {
    /// PUBLISH for matching tracks.
    Tracks,
    /// NAMESPACE and NAMESPACE_DONE for matching namespaces.
    #[default]
    Namespaces,
    /// Both.
    Both,
}

/// SUBSCRIBE_TRACKS: asks for PUBLISH of matching tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeTracks {
    /// The request's id.
    pub request_id: RequestId,
    /// What their namespaces begin with; may be empty: all.
    pub prefix: TrackNamespace,
    /// Tokens, FORWARD.
    pub parameters: Parameters,
}

/// NAMESPACE or NAMESPACE_DONE: a namespace appeared or went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// What follows the prefix that was asked for; may be empty.
    pub suffix: TrackNamespace,
}

/// PUBLISH_BLOCKED: a track matches, but no stream could be opened to PUBLISH it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishBlocked {
    /// What follows the prefix that was asked for; may be empty.
    pub suffix: TrackNamespace,
    /// The track's name.
    pub name: TrackName,
}

/// PUBLISH_NAMESPACE_CANCEL: the receiver of a PUBLISH_NAMESPACE does not want it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishNamespaceCancel {
    /// The announcement.
    pub request_id: RequestId,
    /// Why.
    pub code: RequestCode,
    /// Words for people, at most 1024 bytes.
    pub reason: Bytes,
}

impl Body for PublishNamespace {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        if self.namespace.fields().len() < origin.profile.namespace_min_fields {
            return Err(NotExpressible("an empty namespace"));
        }
        to.integer(self.request_id.0)?;
        self.namespace.write(to)?;
        self.parameters
            .write(origin.profile, Scope::PUBLISH_NAMESPACE, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: RequestId(from.integer()?),
            namespace: TrackNamespace::read(from, origin.profile.namespace_min_fields)?,
            parameters: Parameters::read(from, origin.profile, Scope::PUBLISH_NAMESPACE)?,
        })
    }
}

impl Body for SubscribeNamespace {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        to.integer(self.request_id.0)?;
        self.prefix.write(to)?;
        match (origin.profile.discovery, self.interest) {
            (Discovery::Options, Interest::Tracks) => to.integer(0)?,
            (Discovery::Options, Interest::Namespaces) => to.integer(1)?,
            (Discovery::Options, Interest::Both) => to.integer(2)?,
            (Discovery::SplitRequests, Interest::Namespaces) => {}
            (Discovery::SplitRequests, Interest::Tracks | Interest::Both) => {
                return Err(NotExpressible("SUBSCRIBE_NAMESPACE for tracks"));
            }
        }
        self.parameters
            .write(origin.profile, Scope::SUBSCRIBE_NAMESPACE, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: RequestId(from.integer()?),
            prefix: TrackNamespace::read(from, 0)?,
            interest: match origin.profile.discovery {
                Discovery::SplitRequests => Interest::Namespaces,
                Discovery::Options => match from.integer()? {
                    0 => Interest::Tracks,
                    1 => Interest::Namespaces,
                    2 => Interest::Both,
                    _ => return Err(Error::violation("unknown Subscribe Options")),
                },
            },
            parameters: Parameters::read(from, origin.profile, Scope::SUBSCRIBE_NAMESPACE)?,
        })
    }
}

impl Body for SubscribeTracks {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        to.integer(self.request_id.0)?;
        self.prefix.write(to)?;
        self.parameters
            .write(origin.profile, Scope::SUBSCRIBE_TRACKS, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: RequestId(from.integer()?),
            prefix: TrackNamespace::read(from, 0)?,
            parameters: Parameters::read(from, origin.profile, Scope::SUBSCRIBE_TRACKS)?,
        })
    }
}

impl Body for Namespace {
    fn write(&self, _: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        self.suffix.write(to)
    }

    fn read(_: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            suffix: TrackNamespace::read(from, 0)?,
        })
    }
}

impl Body for PublishBlocked {
    fn write(&self, _: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        let FullTrackName { namespace, name } =
            FullTrackName::new(self.suffix.clone(), self.name.clone())
                .map_err(|_| NotExpressible("a track's name of more than 4096 bytes"))?;
        namespace.write(to)?;
        to.length_prefixed(name.as_bytes())
    }

    fn read(_: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        let FullTrackName { namespace, name } = FullTrackName::read(from, 0)?;
        Ok(Self {
            suffix: namespace,
            name,
        })
    }
}

impl Body for PublishNamespaceCancel {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        to.integer(self.request_id.0)?;
        to.integer(self.code.to_wire(origin.profile.draft))?;
        write_reason(&self.reason, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: RequestId(from.integer()?),
            code: RequestCode::from_wire(origin.profile.draft, from.integer()?),
            reason: read_reason(from)?,
        })
    }
}
