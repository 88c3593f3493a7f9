//! FETCH and FETCH_OK.

use super::super::cursor::{Reader, Writer};
use super::super::id::{Location, RequestId};
use super::super::name::FullTrackName;
use super::super::param::Parameters;
use super::super::property::Properties;
use super::super::{Error, NotExpressible};
use super::{Body, Origin, read_properties, read_response_id, write_properties, write_response_id};
use crate::draft::Scope;

/// FETCH: asks for objects of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The request's id.
    pub request_id: RequestId,
    /// Which objects.
    pub range: FetchRange,
    /// Priority, order, tokens.
    pub parameters: Parameters,
}

/// Which objects a FETCH is for (§ FETCH).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchRange {
    /// A range of a track.
    Standalone {
        /// The track.
        track: FullTrackName,
        /// The first location.
        start: Location,
        /// As on the wire: the last object plus one; object 0 stands for all of the end group.
        end: Location,
    },
    /// From some groups before a subscription's start up to where it starts.
    RelativeJoining {
        /// The subscription.
        joining_request_id: RequestId,
        /// How many groups before the one where the subscription starts.
        joining_start: u64,
    },
    /// From the start of a group up to where a subscription starts.
    AbsoluteJoining {
        /// The subscription.
        joining_request_id: RequestId,
        /// The first group.
        joining_start: u64,
    },
}

/// FETCH_OK: the objects follow on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOk {
    /// The request that this answers; on the wire only where requests share a stream.
    pub request_id: Option<RequestId>,
    /// Whether the track ends with the last object of the range.
    pub end_of_track: bool,
    /// As on the wire: the last object plus one; object 0 stands for all of the end group.
    pub end: Location,
    /// No parameter is defined.
    pub parameters: Parameters,
    /// Properties of the track.
    pub properties: Properties,
}

impl Body for Fetch {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        to.integer(self.request_id.0)?;
        self.range.write(origin, to)?;
        self.parameters.write(origin.profile, Scope::FETCH, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: RequestId(from.integer()?),
            range: FetchRange::read(origin, from)?,
            parameters: Parameters::read(from, origin.profile, Scope::FETCH)?,
        })
    }
}

impl Body for FetchRange {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        match self {
            Self::Standalone { track, start, end } => {
                to.integer(1)?;
                track.write(origin.profile.namespace_min_fields, to)?;
                start.write(to)?;
                end.write(to)
            }
            Self::RelativeJoining {
                joining_request_id,
                joining_start,
            } => {
                to.integer(2)?;
                to.integer(joining_request_id.0)?;
                to.integer(*joining_start)
            }
            Self::AbsoluteJoining {
                joining_request_id,
                joining_start,
            } => {
                to.integer(3)?;
                to.integer(joining_request_id.0)?;
                to.integer(*joining_start)
            }
        }
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match from.integer()? {
            1 => Self::Standalone {
                track: FullTrackName::read(from, origin.profile.namespace_min_fields)?,
                start: Location::read(from)?,
                end: Location::read(from)?,
            },
            2 => Self::RelativeJoining {
                joining_request_id: RequestId(from.integer()?),
                joining_start: from.integer()?,
            },
            3 => Self::AbsoluteJoining {
                joining_request_id: RequestId(from.integer()?),
                joining_start: from.integer()?,
            },
            _ => return Err(Error::violation("V80: unknown fetch type")),
        })
    }
}

impl Body for FetchOk {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        write_response_id(origin, self.request_id, to)?;
        to.u8(u8::from(self.end_of_track));
        self.end.write(to)?;
        self.parameters.write(origin.profile, Scope::FETCH_OK, to)?;
        write_properties(origin, &self.properties, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: read_response_id(origin, from)?,
            end_of_track: match from.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Error::violation("End Of Track is neither 0 nor 1")),
            },
            end: Location::read(from)?,
            parameters: Parameters::read(from, origin.profile, Scope::FETCH_OK)?,
            properties: read_properties(origin, from)?,
        })
    }
}
