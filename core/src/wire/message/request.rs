//! Messages about requests of any kind: REQUEST_UPDATE, REQUEST_OK and REQUEST_ERROR.

use bytes::Bytes;

use super::super::cursor::{Reader, Writer};
use super::super::id::{Millis, RequestId};
use super::super::name::FullTrackName;
use super::super::param::Parameters;
use super::super::property::Properties;
use super::super::{Error, NotExpressible, Role};
use super::{
    Body, Origin, read_properties, read_reason, read_response_id, write_properties, write_reason,
    write_response_id,
};
use crate::code::RequestCode;
use crate::draft::{PublishOkForm, Scope};

/// REQUEST_UPDATE: changes parameters of an earlier request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestUpdate {
    /// The update's own id.
    pub request_id: RequestId,
    /// The request to change; on the wire only where requests share a stream.
    pub existing_request_id: Option<RequestId>,
    /// What changes.
    pub parameters: Parameters,
}

/// REQUEST_OK: the request is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestOk {
    /// The request that this answers; on the wire only where requests share a stream.
    pub request_id: Option<RequestId>,
    /// Whether this is draft 16's PUBLISH_OK, which has a type of its own. Draft 18 also accepts that type.
    pub publish_ok: bool,
    /// What the kind of request allows.
    pub parameters: Parameters,
    /// Properties of the track, in an answer to TRACK_STATUS. From draft 18.
    pub properties: Properties,
}

/// REQUEST_ERROR: the request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// The request that this answers; on the wire only where requests share a stream.
    pub request_id: Option<RequestId>,
    /// Why.
    pub code: RequestCode,
    /// When to try again.
    pub retry: Retry,
    /// Words for people, at most 1024 bytes.
    pub reason: Bytes,
    /// Where to go instead: exactly if the code is REDIRECT. From draft 18.
    pub redirect: Option<Redirect>,
}

/// Whether a refused request may be sent again (§ REQUEST_ERROR, Retry Interval).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The answer would be the same.
    #[default]
    Never,
    /// After this time, zero included.
    After(Millis),
}

/// Where a refused request should go instead (§ Redirect).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// URI of the other server; empty: this one.
    pub uri: Bytes,
    /// The track to ask for there; all empty: the same one.
    pub track: FullTrackName,
}

impl Body for RequestUpdate {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        to.integer(self.request_id.0)?;
        write_response_id(origin, self.existing_request_id, to)?;
        self.parameters.write(origin.profile, Scope::ANY_UPDATE, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            request_id: RequestId(from.integer()?),
            existing_request_id: read_response_id(origin, from)?,
            parameters: Parameters::read(from, origin.profile, Scope::ANY_UPDATE)?,
        })
    }
}

impl RequestOk {
    /// What its type allows to stand in it.
    const fn scope(publish_ok: bool, origin: Origin) -> Scope {
        match origin.profile.publish_ok {
            PublishOkForm::OwnType if publish_ok => Scope::PUBLISH_OK,
            PublishOkForm::OwnType => Scope::ANY_OK,
            PublishOkForm::RequestOk => Scope::ANY_OK.or(Scope::PUBLISH_OK),
        }
    }

    pub(super) fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        if !self.properties.is_empty() && !origin.profile.request_ok_has_properties {
            return Err(NotExpressible("properties in REQUEST_OK"));
        }
        write_response_id(origin, self.request_id, to)?;
        let scope = Self::scope(self.publish_ok, origin);
        self.parameters.write(origin.profile, scope, to)?;
        write_properties(origin, &self.properties, to)
    }

    pub(super) fn read(
        origin: Origin,
        publish_ok: bool,
        from: &mut Reader<'_>,
    ) -> Result<Self, Error> {
        let scope = Self::scope(publish_ok, origin);
        Ok(Self {
            request_id: read_response_id(origin, from)?,
            publish_ok: publish_ok && origin.profile.publish_ok == PublishOkForm::OwnType,
            parameters: Parameters::read(from, origin.profile, scope)?,
            properties: if origin.profile.request_ok_has_properties {
                read_properties(origin, from)?
            } else {
                Properties::default()
            },
        })
    }
}

impl Body for RequestError {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        write_response_id(origin, self.request_id, to)?;
        to.integer(self.code.to_wire(origin.profile.draft))?;
        to.integer(match self.retry {
            Retry::Never => 0,
            Retry::After(Millis(millis)) => millis
                .checked_add(1)
                .ok_or(NotExpressible("a retry interval of 2^64 - 1"))?,
        })?;
        write_reason(&self.reason, to)?;
        let redirects = origin.profile.redirect && self.code == RequestCode::Redirect;
        match (&self.redirect, redirects) {
            (Some(redirect), true) => redirect.write(origin, to),
            (None, false) => Ok(()),
            (Some(_), false) => Err(NotExpressible("a redirect")),
            (None, true) => Err(NotExpressible("REDIRECT without a redirect")),
        }
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        let request_id = read_response_id(origin, from)?;
        let code = RequestCode::from_wire(origin.profile.draft, from.integer()?);
        let retry = match from.integer()?.checked_sub(1) {
            None => Retry::Never,
            Some(millis) => Retry::After(Millis(millis)),
        };
        let reason = read_reason(from)?;
        let redirects = origin.profile.redirect && code == RequestCode::Redirect;
        Ok(Self {
            request_id,
            code,
            retry,
            reason,
            redirect: redirects
                .then(|| Redirect::read(origin, from))
                .transpose()?,
        })
    }
}

impl Body for Redirect {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        if !self.uri.is_empty() && origin.sender == Role::Client {
            return Err(NotExpressible("a redirect of a server to a URI"));
        }
        to.length_prefixed(&self.uri)?;
        self.track.write(0, to)
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        let uri = Bytes::copy_from_slice(from.length_prefixed()?);
        if !uri.is_empty() && origin.sender == Role::Client {
            return Err(Error::violation("V58: a server is redirected to a URI"));
        }
        Ok(Self {
            uri,
            track: FullTrackName::read(from, 0)?,
        })
    }
}
