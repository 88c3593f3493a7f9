//! GOAWAY.

use bytes::Bytes;

use super::super::cursor::{Reader, Writer};
use super::super::id::{Millis, RequestId};
use super::super::{Error, NotExpressible, Role};
use super::{Body, Channel, Origin, read_limited};
use crate::code::SessionCode;
use crate::draft::GoAwayForm;

/// The most bytes of the URI.
const MAX_URI: usize = 8192;

/// GOAWAY: the sender wants the receiver to go elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoAway {
    /// Where to; empty: the same URI again. At most 8192 bytes.
    pub uri: Bytes,
    /// How long the sender waits; zero: not told. From draft 18.
    pub timeout: Millis,
    /// The smallest request id of the receiver that was not processed: on draft 18's control stream only.
    pub request_id: Option<RequestId>,
}

impl Body for GoAway {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        if self.uri.len() > MAX_URI {
            return Err(NotExpressible("a URI of more than 8192 bytes"));
        }
        if !self.uri.is_empty() && origin.sender == Role::Client {
            return Err(NotExpressible("a client's GOAWAY to a URI"));
        }
        to.length_prefixed(&self.uri)?;
        match (origin.profile.goaway, self.request_id, origin.channel) {
            (GoAwayForm::Uri, None, _) if self.timeout == Millis(0) => Ok(()),
            (GoAwayForm::Uri, _, _) => {
                Err(NotExpressible("a GOAWAY with a timeout or about a request"))
            }
            (GoAwayForm::UriTimeoutRequestId, Some(id), Channel::Control) => {
                to.integer(self.timeout.0)?;
                to.integer(id.0)
            }
            (GoAwayForm::UriTimeoutRequestId, None, Channel::Request) => to.integer(self.timeout.0),
            (GoAwayForm::UriTimeoutRequestId, _, _) => Err(NotExpressible(
                "a GOAWAY without its request id, or with one on a request's stream",
            )),
        }
    }

    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error> {
        let uri = read_limited(
            MAX_URI,
            "V53: a GOAWAY's URI is longer than 8192 bytes",
            from,
        )?;
        if !uri.is_empty() && origin.sender == Role::Client {
            return Err(Error::violation("V54: a client's GOAWAY has a URI"));
        }
        if origin.profile.goaway == GoAwayForm::Uri {
            return Ok(Self {
                uri,
                ..Self::default()
            });
        }
        let timeout = Millis(from.integer()?);
        let request_id = match origin.channel {
            Channel::Control => Some(RequestId(from.integer()?)),
            Channel::Request => None,
        };
        if request_id.is_some_and(|id| id.sender() == origin.sender) {
            return Err(Error {
                code: SessionCode::InvalidRequestId,
                rule: "V55: a GOAWAY's request id is not one of its receiver",
            });
        }
        Ok(Self {
            uri,
            timeout,
            request_id,
        })
    }
}
