//! What passes between a session and the application above it: neutral to the draft, shaped like draft 18.

use bytes::Bytes;

use crate::code::{RequestCode, ResetCode};
use crate::draft::Draft;
use crate::transport::{Closed, StreamId};
use crate::wire::id::{Location, RequestId, SubgroupId};
use crate::wire::message::{
    Fetch, FetchOk, GoAway, Publish, PublishDone, PublishNamespace, Redirect, RequestOk, Retry,
    Setup, Subscribe, SubscribeNamespace, SubscribeOk, SubscribeTracks, TrackStatus,
};
use crate::wire::name::{TrackName, TrackNamespace};
use crate::wire::object::{DatagramObject, ObjectHeader, SubgroupHeader};
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

/// A request, from either side. The session fills in and checks its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Objects of a track as they are published.
    Subscribe(Subscribe),
    /// An offer of a track.
    Publish(Publish),
    /// Objects of the past.
    Fetch(Fetch),
    /// What is known of a track.
    TrackStatus(TrackStatus),
    /// An announcement of a namespace.
    PublishNamespace(PublishNamespace),
    /// To be told of namespaces (draft 16: and of tracks).
    SubscribeNamespace(SubscribeNamespace),
    /// To be offered tracks.
    SubscribeTracks(SubscribeTracks),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To SUBSCRIBE.
    SubscribeOk(SubscribeOk),
    /// To FETCH.
    FetchOk(FetchOk),
    /// To every other request.
    Ok(RequestOk),
    /// To any request.
    Error(Refusal),
}

/// Why a request is refused, and what the peer may do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: RequestCode,
    /// Whether to try again.
    pub retry: Retry,
    /// Words for people; cut at 1024 bytes.
    pub reason: Bytes,
    /// Where to go instead, if the code is REDIRECT.
    pub redirect: Option<Redirect>,
}

impl Refusal {
    /// A refusal for good.
    pub const fn new(code: RequestCode, reason: &'static str) -> Self {
        Self {
            code,
            retry: Retry::Never,
            reason: Bytes::from_static(reason.as_bytes()),
            redirect: None,
        }
    }
}

/// Something that the application should know or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Both sides are set up; `setup` is what the peer said.
    Established {
        /// The negotiated draft.
        draft: Draft,
        /// What the peer told of itself.
        setup: Setup,
    },
    /// The peer asks for something: answer with [`Session::respond`](super::Session::respond).
    Request {
        /// Its id, also inside `request`.
        id: RequestId,
        /// What it asks. Tokens are resolved: only [`Token::UseValue`](crate::wire::param::Token::UseValue) is left. A
        /// FETCH that joins a subscription has become one for the range that it means. Objects of a PUBLISH may arrive
        /// before it is answered.
        request: Request,
    },
    /// The peer answered a request of ours.
    Response {
        /// Our request.
        id: RequestId,
        /// What it said.
        response: Response,
    },
    /// The peer wants to change a request of its own, or its subscription to our PUBLISH: answer with
    /// [`Session::respond_to_update`](super::Session::respond_to_update).
    Update {
        /// The request to change.
        id: RequestId,
        /// The update's own id.
        update: RequestId,
        /// What changes; absent means unchanged.
        parameters: Parameters,
    },
    /// The peer answered an update of ours.
    UpdateResponse {
        /// The request that was to change.
        id: RequestId,
        /// The update's own id.
        update: RequestId,
        /// Granted (with parameters), or refused.
        response: Result<RequestOk, Refusal>,
    },
    /// The publisher ended a subscription of ours (or its own PUBLISH). What it sent before may still be on its way:
    /// [`Event::Settled`] follows.
    Done {
        /// The subscription.
        id: RequestId,
        /// Why, and how many streams were opened for it.
        done: PublishDone,
    },
    /// Everything of a subscription that ended with [`Event::Done`] has arrived, or the wait for it is over. The id means
    /// nothing from here on.
    Settled {
        /// The subscription.
        id: RequestId,
    },
    /// The request is over without another word: withdrawn by its sender, or its stream was reset.
    Cancelled {
        /// The request, ours or the peer's.
        id: RequestId,
        /// The reset code, if there was one.
        code: Option<ResetCode>,
    },
    /// A namespace appeared under a prefix that we asked for.
    Namespace {
        /// Our SUBSCRIBE_NAMESPACE.
        id: RequestId,
        /// What follows the prefix.
        suffix: TrackNamespace,
    },
    /// A namespace went.
    NamespaceDone {
        /// Our SUBSCRIBE_NAMESPACE.
        id: RequestId,
        /// What follows the prefix.
        suffix: TrackNamespace,
    },
    /// The peer could not PUBLISH a track that we asked for.
    PublishBlocked {
        /// Our SUBSCRIBE_TRACKS.
        id: RequestId,
        /// What follows the prefix.
        suffix: TrackNamespace,
        /// The track's name.
        name: TrackName,
    },
    /// The peer wants us to leave, or to ask elsewhere for one request.
    GoAway {
        /// The one request it is about; `None`: the whole session.
        id: Option<RequestId>,
        /// Where to, and by when.
        goaway: GoAway,
    },
    /// A subgroup's stream began.
    SubgroupOpened {
        /// The stream.
        stream: StreamId,
        /// Our SUBSCRIBE, or the peer's PUBLISH.
        id: RequestId,
        /// What the stream's header says.
        header: SubgroupHeader,
    },
    /// An object began on a subgroup's stream; its payload follows in pieces.
    Object {
        /// The stream.
        stream: StreamId,
        /// What precedes the payload.
        object: ObjectHeader,
    },
    /// A piece of the payload of the object begun last on this stream.
    Payload {
        /// The stream.
        stream: StreamId,
        /// Not empty.
        bytes: Bytes,
    },
    /// A subgroup's stream is over. With [`StreamEnd::Fin`] every object of it was received.
    SubgroupEnded {
        /// The stream.
        stream: StreamId,
        /// How.
        end: StreamEnd,
    },
    /// An object arrived in a datagram.
    Datagram {
        /// Our SUBSCRIBE, or the peer's PUBLISH.
        id: RequestId,
        /// All of it.
        object: DatagramObject,
    },
    /// The track contradicts itself (§ Malformed Tracks): what showed it was not passed on, and every request of ours for
    /// the track at this publisher was cancelled.
    MalformedTrack {
        /// Our request, or the peer's PUBLISH.
        id: RequestId,
        /// Which rule was broken, in a few words.
        rule: &'static str,
    },
    /// Something arrived on the stream of a FETCH of ours.
    Fetched {
        /// Our FETCH.
        id: RequestId,
        /// An object's header, a piece of its payload, a gap, or the end.
        item: FetchItem,
    },
    /// The peer does not want an outgoing data stream any more; the session has reset it.
    StreamStopped {
        /// One that we opened with [`Session::open_subgroup`](super::Session::open_subgroup) or the like.
        stream: StreamId,
        /// The peer's reason.
        code: ResetCode,
    },
    /// A delivery timeout passed for an outgoing data stream; the session has reset it.
    StreamExpired {
        /// The stream.
        stream: StreamId,
    },
    /// All of an outgoing data stream, its end included, reached the peer.
    StreamDelivered {
        /// The stream.
        stream: StreamId,
    },
    /// There is credit for further requests or updates after [`Blocked`](super::Misuse::Blocked).
    CanRequest,
    /// There is room for further data streams after [`Blocked`](super::Misuse::Blocked).
    CanOpenStream,
    /// The session is over; nothing follows.
    Closed(Closed),
}

/// What arrives on a FETCH's stream (§ Fetch Header).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchItem {
    /// An object began; its payload follows in pieces.
    Object {
        /// Where it is.
        location: Location,
        /// Its subgroup; `None`: it was published in a datagram.
        subgroup: Option<SubgroupId>,
        /// The publisher's priority, lower first.
        priority: u8,
        /// Its properties; empty if it has none.
        properties: Properties,
        /// Length of the payload in bytes.
        payload_length: u64,
    },
    /// A piece of the payload of the object begun last, not empty.
    Payload(Bytes),
    /// No object exists from after the previous item up to and including this location.
    NonExistent(Location),
    /// It is not known whether objects exist from after the previous item up to and including this location.
    Unknown(Location),
    /// The stream is over. With [`StreamEnd::Fin`] everything was received.
    End(StreamEnd),
}

/// How a stream of the peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// With everything delivered.
    Fin,
    /// Abandoned by the peer with this code.
    Reset(ResetCode),
    /// Stopped by us.
    Stopped,
}
