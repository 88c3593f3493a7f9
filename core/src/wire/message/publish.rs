//! PUBLISH and PUBLISH_DONE.

use bytes::Bytes;

use super::super::cursor::{Reader, Writer};
use super::super::id::{RequestId, TrackAlias};
use super::super::name::FullTrackName;
use super::super::param::Parameters;
use super::super::property::Properties;
use super::super::{Error, NotExpressible};
use super::{
    Body, Origin, read_properties, read_reason, read_response_id, write_properties, write_reason,
    write_response_id,
};
use crate::code::DoneCode;
use crate::draft::Scope;

/// PUBLISH: offers the objects of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The request's id.
    pub request_id: RequestId,
    /// The track.
    pub track: FullTrackName,
    /// What stands for the track on data streams.
    pub track_alias: TrackAlias,
    /// EXPIRES, LARGEST_OBJECT, FORWARD.
    pub parameters: Parameters,
    /// Properties of the track.
    pub properties: Properties,
}

/// PUBLISH_DONE: the publisher is done with a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishDone {
    /// The subscription; on the wire only where requests share a stream.
    pub request_id: Option<RequestId>,
    /// Why.
    pub code: DoneCode,
    /// How many data streams were opened for it; `None`: the sender does not know.
    pub stream_count: Option<u64>,
    /// Words for people, at most 1024 bytes.
    pub reason: Bytes,
}

impl Body for Publish {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        to.integer(self.request_id.0)?;
        self.track.write(origin.profile.namespace_min_fields, to)?;
        to.integer(self.track_alias.0)?;
        self.parameters.write(origin.profile, Scope::PUBLISH, to)?;
        write_properties(origin, &self.properties, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: RequestId(from.integer()?),
            track: FullTrackName::read(from, origin.profile.namespace_min_fields)?,
            track_alias: TrackAlias(from.integer()?),
            parameters: Parameters::read(from, origin.profile, Scope::PUBLISH)?,
            properties: read_properties(origin, from)?,
        })
    }
}

impl Body for PublishDone {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        let unknown = origin.profile.stream_count_unknown;
        write_response_id(origin, self.request_id, to)?;
        to.integer(self.code.to_wire(origin.profile.draft))?;
        if self.stream_count == Some(unknown) {
            return Err(NotExpressible(
                "a stream count that stands for an unknown one",
            ));
        }
        to.integer(self.stream_count.unwrap_or(unknown))?;
        write_reason(&self.reason, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: read_response_id(origin, from)?,
            code: DoneCode::from_wire(origin.profile.draft, from.integer()?),
            stream_count: Some(from.integer()?)
                .filter(|count| *count != origin.profile.stream_count_unknown),
            reason: read_reason(from)?,
        })
    }
}
