//! SUBSCRIBE, SUBSCRIBE_OK and TRACK_STATUS.

use super::super::cursor::{Reader, Writer};
use super::super::id::{RequestId, TrackAlias};
use super::super::name::FullTrackName;
use super::super::param::Parameters;
use super::super::property::Properties;
use super::super::{Error, NotExpressible};
use super::{Body, Origin, read_properties, read_response_id, write_properties, write_response_id};
use crate::draft::Scope;

/// SUBSCRIBE: asks for the objects of a track as they are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The request's id.
    pub request_id: RequestId,
    /// The track.
    pub track: FullTrackName,
    /// How, how much, for how long.
    pub parameters: Parameters,
}

/// SUBSCRIBE_OK: the publisher will send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOk {
    /// The request that this answers; on the wire only where requests share a stream.
    pub request_id: Option<RequestId>,
    /// What stands for the track on data streams.
    pub track_alias: TrackAlias,
    /// EXPIRES, LARGEST_OBJECT.
    pub parameters: Parameters,
    /// Properties of the track.
    pub properties: Properties,
}

/// TRACK_STATUS: asks what is known of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackStatus {
    /// The request's id.
    pub request_id: RequestId,
    /// The track.
    pub track: FullTrackName,
    /// Tokens.
    pub parameters: Parameters,
}

impl Body for Subscribe {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        to.integer(self.request_id.0)?;
        self.track.write(origin.profile.namespace_min_fields, to)?;
        self.parameters.write(origin.profile, Scope::SUBSCRIBE, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: RequestId(from.integer()?),
            track: FullTrackName::read(from, origin.profile.namespace_min_fields)?,
            parameters: Parameters::read(from, origin.profile, Scope::SUBSCRIBE)?,
        })
    }
}

impl Body for SubscribeOk {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        write_response_id(origin, self.request_id, to)?;
        to.integer(self.track_alias.0)?;
        self.parameters
            .write(origin.profile, Scope::SUBSCRIBE_OK, to)?;
        write_properties(origin, &self.properties, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: read_response_id(origin, from)?,
            track_alias: TrackAlias(from.integer()?),
            parameters: Parameters::read(from, origin.profile, Scope::SUBSCRIBE_OK)?,
            properties: read_properties(origin, from)?,
        })
    }
}

impl Body for TrackStatus {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        to.integer(self.request_id.0)?;
        self.track.write(origin.profile.namespace_min_fields, to)?;
        self.parameters
            .write(origin.profile, Scope::TRACK_STATUS, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: RequestId(from.integer()?),
            track: FullTrackName::read(from, origin.profile.namespace_min_fields)?,
            parameters: Parameters::read(from, origin.profile, Scope::TRACK_STATUS)?,
        })
    }
}
