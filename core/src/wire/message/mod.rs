//! Control messages (§ Control Messages): one struct per message for all drafts.
//!
//! Where a draft has no field for something, its encoder refuses a value other than the default with
//! [`NotExpressible`](super::NotExpressible), and its decoder yields the default.

use bytes::Bytes;

use super::id::{Location, Millis, RequestId, TrackAlias};
use super::name::{FullTrackName, TrackName, TrackNamespace};
use super::param::{Parameters, Token};
use super::property::Properties;
use crate::code::{DoneCode, RequestCode};

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

/// SETUP: what each side says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// PATH: by clients on raw QUIC only; the URL's path and query.
    pub path: Option<Bytes>,
    /// AUTHORITY: by clients on raw QUIC only; the URL's authority.
    pub authority: Option<Bytes>,
    /// MAX_REQUEST_ID: the peer's request ids stay below it; absent means 0. Up to draft 16.
    pub max_request_id: Option<u64>,
    /// MAX_AUTH_TOKEN_CACHE_SIZE in bytes; absent means 0: the peer registers no aliases.
    pub max_auth_token_cache_size: Option<u64>,
    /// AUTHORIZATION_TOKEN, in the order of appearance.
    pub authorization_tokens: Vec<Token>,
    /// MOQT_IMPLEMENTATION: the sender's name and version, for logs.
    pub implementation: Option<Bytes>,
}

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
