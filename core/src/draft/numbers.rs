//! Numbers of message types and error codes in each draft. Every match names every draft, so that a new one cannot slip by.

use super::Draft;
use crate::code::{DoneCode, RequestCode, ResetCode, SessionCode};

/// Types of control messages of all drafts (§ Control Messages).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// SETUP
    Setup,
    /// CLIENT_SETUP
    ClientSetup,
    /// SERVER_SETUP
    ServerSetup,
    /// SUBSCRIBE
    Subscribe,
    /// SUBSCRIBE_OK
    SubscribeOk,
    /// REQUEST_UPDATE
    RequestUpdate,
    /// REQUEST_OK
    RequestOk,
    /// REQUEST_ERROR
    RequestError,
    /// PUBLISH
    Publish,
    /// PUBLISH_OK
    PublishOk,
    /// PUBLISH_DONE
    PublishDone,
    /// FETCH
    Fetch,
    /// FETCH_OK
    FetchOk,
    /// TRACK_STATUS
    TrackStatus,
    /// PUBLISH_NAMESPACE
    PublishNamespace,
    /// SUBSCRIBE_NAMESPACE
    SubscribeNamespace,
    /// SUBSCRIBE_TRACKS
    SubscribeTracks,
    /// NAMESPACE
    Namespace,
    /// NAMESPACE_DONE
    NamespaceDone,
    /// PUBLISH_BLOCKED
    PublishBlocked,
    /// GOAWAY
    GoAway,
    /// UNSUBSCRIBE
    Unsubscribe,
    /// FETCH_CANCEL
    FetchCancel,
    /// PUBLISH_NAMESPACE_DONE
    PublishNamespaceDone,
    /// PUBLISH_NAMESPACE_CANCEL
    PublishNamespaceCancel,
    /// MAX_REQUEST_ID
    MaxRequestId,
    /// REQUESTS_BLOCKED
    RequestsBlocked,
}

impl MessageType {
    /// Every type.
    pub const ALL: [Self; 27] = [
        Self::Setup,
        Self::ClientSetup,
        Self::ServerSetup,
        Self::Subscribe,
        Self::SubscribeOk,
        Self::RequestUpdate,
        Self::RequestOk,
        Self::RequestError,
        Self::Publish,
        Self::PublishOk,
        Self::PublishDone,
        Self::Fetch,
        Self::FetchOk,
        Self::TrackStatus,
        Self::PublishNamespace,
        Self::SubscribeNamespace,
        Self::SubscribeTracks,
        Self::Namespace,
        Self::NamespaceDone,
        Self::PublishBlocked,
        Self::GoAway,
        Self::Unsubscribe,
        Self::FetchCancel,
        Self::PublishNamespaceDone,
        Self::PublishNamespaceCancel,
        Self::MaxRequestId,
        Self::RequestsBlocked,
    ];

    /// The number of this type in a draft; `None`: the draft has no such message.
    pub const fn number(self, draft: Draft) -> Option<u64> {
        use Draft::{D16, D18};
        match (self, draft) {
            (Self::RequestUpdate, D16 | D18) => Some(0x02),
            (Self::Subscribe, D16 | D18) => Some(0x03),
            (Self::SubscribeOk, D16 | D18) => Some(0x04),
            (Self::RequestError, D16 | D18) => Some(0x05),
            (Self::PublishNamespace, D16 | D18) => Some(0x06),
            (Self::RequestOk, D16 | D18) => Some(0x07),
            (Self::Namespace, D16 | D18) => Some(0x08),
            (Self::PublishNamespaceDone, D16) => Some(0x09),
            (Self::Unsubscribe, D16) => Some(0x0A),
            (Self::PublishDone, D16 | D18) => Some(0x0B),
            (Self::PublishNamespaceCancel, D16) => Some(0x0C),
            (Self::TrackStatus, D16 | D18) => Some(0x0D),
            (Self::NamespaceDone, D16 | D18) => Some(0x0E),
            (Self::PublishBlocked, D18) => Some(0x0F),
            (Self::GoAway, D16 | D18) => Some(0x10),
            (Self::SubscribeNamespace, D16) => Some(0x11),
            (Self::MaxRequestId, D16) => Some(0x15),
            (Self::Fetch, D16 | D18) => Some(0x16),
            (Self::FetchCancel, D16) => Some(0x17),
            (Self::FetchOk, D16 | D18) => Some(0x18),
            (Self::RequestsBlocked, D16) => Some(0x1A),
            (Self::Publish, D16 | D18) => Some(0x1D),
            (Self::PublishOk, D16 | D18) => Some(0x1E),
            (Self::ClientSetup, D16) => Some(0x20),
            (Self::ServerSetup, D16) => Some(0x21),
            (Self::SubscribeNamespace, D18) => Some(0x50),
            (Self::SubscribeTracks, D18) => Some(0x51),
            (Self::Setup, D18) => Some(0x2F00),
            (Self::Setup | Self::SubscribeTracks | Self::PublishBlocked, D16)
            | (
                Self::ClientSetup
                | Self::ServerSetup
                | Self::Unsubscribe
                | Self::FetchCancel
                | Self::PublishNamespaceDone
                | Self::PublishNamespaceCancel
                | Self::MaxRequestId
                | Self::RequestsBlocked,
                D18,
            ) => None,
        }
    }

    /// The type with this number in a draft, if there is one.
    pub fn from_number(draft: Draft, number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|message| message.number(draft) == Some(number))
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Setup => "SETUP",
            Self::ClientSetup => "CLIENT_SETUP",
            Self::ServerSetup => "SERVER_SETUP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubscribeOk => "SUBSCRIBE_OK",
            Self::RequestUpdate => "REQUEST_UPDATE",
            Self::RequestOk => "REQUEST_OK",
            Self::RequestError => "REQUEST_ERROR",
            Self::Publish => "PUBLISH",
            Self::PublishOk => "PUBLISH_OK",
            Self::PublishDone => "PUBLISH_DONE",
            Self::Fetch => "FETCH",
            Self::FetchOk => "FETCH_OK",
            Self::TrackStatus => "TRACK_STATUS",
            Self::PublishNamespace => "PUBLISH_NAMESPACE",
            Self::SubscribeNamespace => "SUBSCRIBE_NAMESPACE",
            Self::SubscribeTracks => "SUBSCRIBE_TRACKS",
            Self::Namespace => "NAMESPACE",
            Self::NamespaceDone => "NAMESPACE_DONE",
            Self::PublishBlocked => "PUBLISH_BLOCKED",
            Self::GoAway => "GOAWAY",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::FetchCancel => "FETCH_CANCEL",
            Self::PublishNamespaceDone => "PUBLISH_NAMESPACE_DONE",
            Self::PublishNamespaceCancel => "PUBLISH_NAMESPACE_CANCEL",
            Self::MaxRequestId => "MAX_REQUEST_ID",
            Self::RequestsBlocked => "REQUESTS_BLOCKED",
        }
    }
}

impl SessionCode {
    /// The number in a draft; `None`: it has no such code.
    pub(crate) const fn number(self, draft: Draft) -> Option<u64> {
        use Draft::{D16, D18};
        match (self, draft) {
            (Self::NoError, D16 | D18) => Some(0x0),
            (Self::InternalError, D16 | D18) => Some(0x1),
            (Self::Unauthorized, D16 | D18) => Some(0x2),
            (Self::ProtocolViolation, D16 | D18) => Some(0x3),
            (Self::InvalidRequestId, D16 | D18) => Some(0x4),
            (Self::DuplicateTrackAlias, D16 | D18) => Some(0x5),
            (Self::KeyValueFormattingError, D16 | D18) => Some(0x6),
            (Self::TooManyRequests, D16) => Some(0x7),
            (Self::InvalidPath, D16 | D18) => Some(0x8),
            (Self::MalformedPath, D16 | D18) => Some(0x9),
            (Self::GoAwayTimeout, D16 | D18) => Some(0x10),
            (Self::ControlMessageTimeout, D16 | D18) => Some(0x11),
            (Self::DataStreamTimeout, D16 | D18) => Some(0x12),
            (Self::AuthTokenCacheOverflow, D16 | D18) => Some(0x13),
            (Self::DuplicateAuthTokenAlias, D16 | D18) => Some(0x14),
            (Self::VersionNegotiationFailed, D16 | D18) => Some(0x15),
            (Self::MalformedAuthToken, D16 | D18) => Some(0x16),
            (Self::UnknownAuthTokenAlias, D16 | D18) => Some(0x17),
            (Self::ExpiredAuthToken, D16 | D18) => Some(0x18),
            (Self::InvalidAuthority, D16 | D18) => Some(0x19),
            (Self::MalformedAuthority, D16 | D18) => Some(0x1A),
            (Self::TooManyRequests, D18) | (Self::Unknown(_), D16 | D18) => None,
        }
    }
}

impl RequestCode {
    /// The number in a draft; `None`: it has no such code.
    pub(crate) const fn number(self, draft: Draft) -> Option<u64> {
        use Draft::{D16, D18};
        match (self, draft) {
            (Self::InternalError, D16 | D18) => Some(0x0),
            (Self::Unauthorized, D16 | D18) => Some(0x1),
            (Self::Timeout, D16 | D18) => Some(0x2),
            (Self::NotSupported, D16 | D18) => Some(0x3),
            (Self::MalformedAuthToken, D16 | D18) => Some(0x4),
            (Self::ExpiredAuthToken, D16 | D18) => Some(0x5),
            (Self::GoingAway, D18) => Some(0x6),
            (Self::ExcessiveLoad, D18) => Some(0x9),
            (Self::DoesNotExist, D16 | D18) => Some(0x10),
            (Self::InvalidRange, D16 | D18) => Some(0x11),
            (Self::MalformedTrack, D16 | D18) => Some(0x12),
            (Self::DuplicateSubscription, D16 | D18) => Some(0x19),
            (Self::Uninterested, D16 | D18) => Some(0x20),
            (Self::PrefixOverlap, D16 | D18) => Some(0x30),
            (Self::NamespaceTooLarge, D18) => Some(0x31),
            (Self::InvalidJoiningRequestId, D16 | D18) => Some(0x32),
            (Self::UnsupportedExtension, D18) => Some(0x33),
            (Self::Redirect, D18) => Some(0x34),
            (
                Self::GoingAway
                | Self::ExcessiveLoad
                | Self::NamespaceTooLarge
                | Self::UnsupportedExtension
                | Self::Redirect,
                D16,
            )
            | (Self::Unknown(_), D16 | D18) => None,
        }
    }
}

impl DoneCode {
    /// The number in a draft; `None`: it has no such code.
    pub(crate) const fn number(self, draft: Draft) -> Option<u64> {
        use Draft::{D16, D18};
        match (self, draft) {
            (Self::InternalError, D16 | D18) => Some(0x0),
            (Self::Unauthorized, D16 | D18) => Some(0x1),
            (Self::TrackEnded, D16 | D18) => Some(0x2),
            (Self::SubscriptionEnded, D16 | D18) => Some(0x3),
            (Self::GoingAway, D16 | D18) => Some(0x4),
            (Self::Expired, D16) | (Self::TooFarBehind, D18) => Some(0x5),
            (Self::Expired, D18) | (Self::TooFarBehind, D16) => Some(0x6),
            (Self::UpdateFailed, D16 | D18) => Some(0x8),
            (Self::ExcessiveLoad, D18) => Some(0x9),
            (Self::MalformedTrack, D16 | D18) => Some(0x12),
            (Self::ExcessiveLoad, D16) | (Self::Unknown(_), D16 | D18) => None,
        }
    }
}

impl ResetCode {
    /// The number in a draft; `None`: it has no such code.
    pub(crate) const fn number(self, draft: Draft) -> Option<u64> {
        use Draft::{D16, D18};
        match (self, draft) {
            (Self::InternalError, D16 | D18) => Some(0x0),
            (Self::Cancelled, D16 | D18) => Some(0x1),
            (Self::DeliveryTimeout, D16 | D18) => Some(0x2),
            (Self::SessionClosed, D16 | D18) => Some(0x3),
            (Self::UnknownObjectStatus, D16) | (Self::GoingAway, D18) => Some(0x4),
            (Self::TooFarBehind, D18) => Some(0x5),
            (Self::UnknownObjectStatus, D18) => Some(0x6),
            (Self::ExpiredAuthToken, D18) => Some(0x7),
            (Self::ExcessiveLoad, D18) => Some(0x9),
            (Self::MalformedTrack, D16 | D18) => Some(0x12),
            (
                Self::GoingAway | Self::TooFarBehind | Self::ExpiredAuthToken | Self::ExcessiveLoad,
                D16,
            )
            | (Self::Unknown(_), D16 | D18) => None,
        }
    }
}
