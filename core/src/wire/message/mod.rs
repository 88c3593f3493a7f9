//! Control messages (§ Control Messages): one struct per message for all drafts, each beside its codec.
//!
//! Where a draft has no field for something, its encoder refuses a value other than the default with [`NotExpressible`], and
//! its decoder yields the default. Two fields are exceptions, so that a session need not care: the request id of a response
//! and the existing request id of an update are not written where the stream tells them, and
//! [`RequestOk::publish_ok`] is not looked at where PUBLISH is accepted by REQUEST_OK.

mod fetch;
mod goaway;
mod namespace;
mod publish;
mod request;
mod setup;
mod subscribe;

pub use fetch::{Fetch, FetchOk, FetchRange};
pub use goaway::GoAway;
pub use namespace::{
    Interest, Namespace, PublishBlocked, PublishNamespace, PublishNamespaceCancel,
    SubscribeNamespace, SubscribeTracks,
};
pub use publish::{Publish, PublishDone};
pub use request::{Redirect, RequestError, RequestOk, RequestUpdate, Retry};
pub use setup::Setup;
pub use subscribe::{Subscribe, SubscribeOk, TrackStatus};

pub use crate::draft::MessageType;

use bytes::Bytes;

use super::cursor::{Reader, Writer};
use super::id::RequestId;
use super::property::Properties;
use super::{Error, NotExpressible, Role};
use crate::draft::{Profile, PublishOkForm, SetupModel};

/// The most bytes of a reason phrase (§ Reason Phrase Structure).
pub const MAX_REASON: usize = 1024;

/// By which draft, by which side and on which stream a message is sent: the same bytes can mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The negotiated draft.
    pub profile: &'static Profile,
    /// The side that sends the message.
    pub sender: Role,
    /// The stream that carries it.
    pub channel: Channel,
}

/// Kinds of streams with control messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// A control stream.
    Control,
    /// The bidirectional stream of a single request.
    Request,
}

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// SETUP; in draft 16 CLIENT_SETUP or SERVER_SETUP, by the sender's side.
    Setup(Setup),
    /// SUBSCRIBE
    Subscribe(Subscribe),
    /// SUBSCRIBE_OK
    SubscribeOk(SubscribeOk),
    /// REQUEST_UPDATE
    RequestUpdate(RequestUpdate),
    /// REQUEST_OK; in draft 16 also PUBLISH_OK, which has a type of its own there.
    RequestOk(RequestOk),
    /// REQUEST_ERROR
    RequestError(RequestError),
    /// PUBLISH
    Publish(Publish),
    /// PUBLISH_DONE
    PublishDone(PublishDone),
    /// FETCH
    Fetch(Fetch),
    /// FETCH_OK
    FetchOk(FetchOk),
    /// TRACK_STATUS
    TrackStatus(TrackStatus),
    /// PUBLISH_NAMESPACE
    PublishNamespace(PublishNamespace),
    /// SUBSCRIBE_NAMESPACE
    SubscribeNamespace(SubscribeNamespace),
    /// SUBSCRIBE_TRACKS. From draft 18.
    SubscribeTracks(SubscribeTracks),
    /// NAMESPACE
    Namespace(Namespace),
    /// NAMESPACE_DONE
    NamespaceDone(Namespace),
    /// PUBLISH_BLOCKED. From draft 18.
    PublishBlocked(PublishBlocked),
    /// GOAWAY
    GoAway(GoAway),
    /// UNSUBSCRIBE. Up to draft 16.
    Unsubscribe(RequestId),
    /// FETCH_CANCEL. Up to draft 16.
    FetchCancel(RequestId),
    /// PUBLISH_NAMESPACE_DONE. Up to draft 16.
    PublishNamespaceDone(RequestId),
    /// PUBLISH_NAMESPACE_CANCEL. Up to draft 16.
    PublishNamespaceCancel(PublishNamespaceCancel),
    /// MAX_REQUEST_ID: request ids below this are allowed. Up to draft 16.
    MaxRequestId(u64),
    /// REQUESTS_BLOCKED: the maximum at which the sender is blocked. Up to draft 16.
    RequestsBlocked(u64),
}

/// What a message consists of after its type and length.
trait Body: Sized {
    fn write(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible>;
    fn read(origin: Origin, from: &mut Reader<'_>) -> Result<Self, Error>;
}

impl Message {
    /// The message's type, as the sender of `origin` uses it.
    pub const fn message_type(&self, origin: Origin) -> MessageType {
        match self {
            Self::Setup(_) => match (origin.profile.setup, origin.sender) {
                (SetupModel::Symmetric, _) => MessageType::Setup,
                (SetupModel::ClientThenServer, Role::Client) => MessageType::ClientSetup,
                (SetupModel::ClientThenServer, Role::Server) => MessageType::ServerSetup,
            },
            Self::Subscribe(_) => MessageType::Subscribe,
            Self::SubscribeOk(_) => MessageType::SubscribeOk,
            Self::RequestUpdate(_) => MessageType::RequestUpdate,
            Self::RequestOk(ok) => match origin.profile.publish_ok {
                PublishOkForm::OwnType if ok.publish_ok => MessageType::PublishOk,
                PublishOkForm::OwnType | PublishOkForm::RequestOk => MessageType::RequestOk,
            },
            Self::RequestError(_) => MessageType::RequestError,
            Self::Publish(_) => MessageType::Publish,
            Self::PublishDone(_) => MessageType::PublishDone,
            Self::Fetch(_) => MessageType::Fetch,
            Self::FetchOk(_) => MessageType::FetchOk,
            Self::TrackStatus(_) => MessageType::TrackStatus,
            Self::PublishNamespace(_) => MessageType::PublishNamespace,
            Self::SubscribeNamespace(_) => MessageType::SubscribeNamespace,
            Self::SubscribeTracks(_) => MessageType::SubscribeTracks,
            Self::Namespace(_) => MessageType::Namespace,
            Self::NamespaceDone(_) => MessageType::NamespaceDone,
            Self::PublishBlocked(_) => MessageType::PublishBlocked,
            Self::GoAway(_) => MessageType::GoAway,
            Self::Unsubscribe(_) => MessageType::Unsubscribe,
            Self::FetchCancel(_) => MessageType::FetchCancel,
            Self::PublishNamespaceDone(_) => MessageType::PublishNamespaceDone,
            Self::PublishNamespaceCancel(_) => MessageType::PublishNamespaceCancel,
            Self::MaxRequestId(_) => MessageType::MaxRequestId,
            Self::RequestsBlocked(_) => MessageType::RequestsBlocked,
        }
    }

    /// The whole message: type, length and body.
    ///
    /// # Errors
    /// If the draft has no such message, no room for something in it, or the message is longer than 65535 bytes.
    pub fn encode(&self, origin: Origin) -> Result<Bytes, NotExpressible> {
        let message = self.message_type(origin);
        let number = message
            .number(origin.profile.draft)
            .ok_or_else(|| NotExpressible(message.name()))?;
        let mut writer = Writer::new(origin.profile.integers);
        writer.integer(number)?;
        writer.with_u16_length(|to| self.write_body(origin, to))?;
        Ok(writer.freeze())
    }

    fn write_body(&self, origin: Origin, to: &mut Writer) -> Result<(), NotExpressible> {
        match self {
            Self::Setup(body) => body.write(origin, to),
            Self::Subscribe(body) => body.write(origin, to),
            Self::SubscribeOk(body) => body.write(origin, to),
            Self::RequestUpdate(body) => body.write(origin, to),
            Self::RequestOk(body) => body.write(origin, to),
            Self::RequestError(body) => body.write(origin, to),
            Self::Publish(body) => body.write(origin, to),
            Self::PublishDone(body) => body.write(origin, to),
            Self::Fetch(body) => body.write(origin, to),
            Self::FetchOk(body) => body.write(origin, to),
            Self::TrackStatus(body) => body.write(origin, to),
            Self::PublishNamespace(body) => body.write(origin, to),
            Self::SubscribeNamespace(body) => body.write(origin, to),
            Self::SubscribeTracks(body) => body.write(origin, to),
            Self::Namespace(body) | Self::NamespaceDone(body) => body.write(origin, to),
            Self::PublishBlocked(body) => body.write(origin, to),
            Self::GoAway(body) => body.write(origin, to),
            Self::PublishNamespaceCancel(body) => body.write(origin, to),
            Self::Unsubscribe(id) | Self::FetchCancel(id) | Self::PublishNamespaceDone(id) => {
                to.integer(id.0)
            }
            Self::MaxRequestId(number) | Self::RequestsBlocked(number) => to.integer(*number),
        }
    }

    /// Reads the body of a message whose type has this number.
    ///
    /// What needs more than the message itself is left to the session: whether it may come now and here, its request id,
    /// and with [`Parameters::check_scope`](super::param::Parameters::check_scope) the parameters of REQUEST_OK and
    /// REQUEST_UPDATE.
    ///
    /// # Errors
    /// The code to close the session with, and the broken rule.
    pub fn decode(origin: Origin, number: u64, body: &[u8]) -> Result<Self, Error> {
        let message = MessageType::from_number(origin.profile.draft, number)
            .ok_or(Error::violation("V1: unknown control message type"))?;
        let mut reader = Reader::new(body, origin.profile.integers);
        let decoded = Self::read_body(origin, message, &mut reader)?;
        reader.finish()?;
        Ok(decoded)
    }

    fn read_body(
        origin: Origin,
        message: MessageType,
        from: &mut Reader<'_>,
    ) -> Result<Self, Error> {
        let id = |from: &mut Reader<'_>| from.integer().map(RequestId);
        Ok(match message {
            MessageType::Setup => Self::Setup(Body::read(origin, from)?),
            MessageType::ClientSetup | MessageType::ServerSetup => {
                let expected = match origin.sender {
                    Role::Client => MessageType::ClientSetup,
                    Role::Server => MessageType::ServerSetup,
                };
                if message != expected {
                    return Err(Error::violation("V5: the other side's set-up message"));
                }
                Self::Setup(Body::read(origin, from)?)
            }
            MessageType::Subscribe => Self::Subscribe(Body::read(origin, from)?),
            MessageType::SubscribeOk => Self::SubscribeOk(Body::read(origin, from)?),
            MessageType::RequestUpdate => Self::RequestUpdate(Body::read(origin, from)?),
            MessageType::RequestOk => Self::RequestOk(RequestOk::read(origin, false, from)?),
            MessageType::PublishOk => Self::RequestOk(RequestOk::read(origin, true, from)?),
            MessageType::RequestError => Self::RequestError(Body::read(origin, from)?),
            MessageType::Publish => Self::Publish(Body::read(origin, from)?),
            MessageType::PublishDone => Self::PublishDone(Body::read(origin, from)?),
            MessageType::Fetch => Self::Fetch(Body::read(origin, from)?),
            MessageType::FetchOk => Self::FetchOk(Body::read(origin, from)?),
            MessageType::TrackStatus => Self::TrackStatus(Body::read(origin, from)?),
            MessageType::PublishNamespace => Self::PublishNamespace(Body::read(origin, from)?),
            MessageType::SubscribeNamespace => Self::SubscribeNamespace(Body::read(origin, from)?),
            MessageType::SubscribeTracks => Self::SubscribeTracks(Body::read(origin, from)?),
            MessageType::Namespace => Self::Namespace(Body::read(origin, from)?),
            MessageType::NamespaceDone => Self::NamespaceDone(Body::read(origin, from)?),
            MessageType::PublishBlocked => Self::PublishBlocked(Body::read(origin, from)?),
            MessageType::GoAway => Self::GoAway(Body::read(origin, from)?),
            MessageType::Unsubscribe => Self::Unsubscribe(id(from)?),
            MessageType::FetchCancel => Self::FetchCancel(id(from)?),
            MessageType::PublishNamespaceDone => Self::PublishNamespaceDone(id(from)?),
            MessageType::PublishNamespaceCancel => {
                Self::PublishNamespaceCancel(Body::read(origin, from)?)
            }
            MessageType::MaxRequestId => Self::MaxRequestId(from.integer()?),
            MessageType::RequestsBlocked => Self::RequestsBlocked(from.integer()?),
        })
    }
}

/// Writes which request a response is to, where the stream does not tell.
fn write_response_id(
    origin: Origin,
    id: Option<RequestId>,
    to: &mut Writer,
) -> Result<(), NotExpressible> {
    if !origin.profile.responses_carry_request_id {
        return Ok(());
    }
    let id = id.ok_or(NotExpressible("a response without a request id"))?;
    to.integer(id.0)
}

fn read_response_id(origin: Origin, from: &mut Reader<'_>) -> Result<Option<RequestId>, Error> {
    if !origin.profile.responses_carry_request_id {
        return Ok(None);
    }
    Ok(Some(RequestId(from.integer()?)))
}

fn write_reason(reason: &[u8], to: &mut Writer) -> Result<(), NotExpressible> {
    if reason.len() > MAX_REASON {
        return Err(NotExpressible("a reason of more than 1024 bytes"));
    }
    to.length_prefixed(reason)
}

fn read_reason(from: &mut Reader<'_>) -> Result<Bytes, Error> {
    read_limited(MAX_REASON, "V20: a reason is longer than 1024 bytes", from)
}

/// Reads bytes with a length in front that must not exceed `most`.
fn read_limited(most: usize, rule: &'static str, from: &mut Reader<'_>) -> Result<Bytes, Error> {
    let length = from.integer()?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= most)
        .ok_or_else(|| Error::violation(rule))?;
    Ok(Bytes::copy_from_slice(from.bytes(length)?))
}

/// Writes properties of a track, which end their message, in the integers of the draft.
fn write_properties(
    origin: Origin,
    properties: &Properties,
    to: &mut Writer,
) -> Result<(), NotExpressible> {
    let properties = properties.without_forbidden_zero(origin.profile)?;
    to.slice(properties.reencode(origin.profile.integers)?.bytes());
    Ok(())
}

fn read_properties(origin: Origin, from: &mut Reader<'_>) -> Result<Properties, Error> {
    let bytes = Bytes::copy_from_slice(from.take_rest());
    let properties = Properties::from_bytes(bytes, origin.profile.integers);
    properties.validate_track(origin.profile)?;
    Ok(properties)
}
