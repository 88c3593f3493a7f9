//! The table of open requests, ours and the peer's, with what the rules need to know of each.

use std::collections::{BTreeMap, VecDeque};

use super::event::{Refusal, Request};
use super::names::{Account, Charge};
use super::settings::Limits;
use crate::code::DoneCode;
use crate::draft::Profile;
use crate::transport::StreamId;
use crate::wire::id::{Location, Millis, RequestId, TrackAlias};
use crate::wire::message::{Fetch, FetchRange, Interest, RequestOk};
use crate::wire::name::{FullTrackName, TrackNamespace};
use crate::wire::param::{Filter, GroupOrder, Parameters};
use crate::wire::property::Properties;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Subscribe,
    Publish,
    Fetch,
    TrackStatus,
    PublishNamespace,
    SubscribeNamespace,
    SubscribeTracks,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Us,
    Peer,
}

/// How far a request has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not answered yet.
    Pending,
    /// Granted.
    Established,
    /// We publish and want to end it, as soon as its data streams are over.
    Ending(DoneCode, bytes::Bytes),
    /// The publisher ended it; late objects may still arrive.
    Late,
}

/// An update of ours that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct OwnUpdate {
    pub(super) id: RequestId,
    pub(super) forward: Option<bool>,
    pub(super) prefix: Option<TrackNamespace>,
}

/// An update of the peer's that is not answered yet, or whose answer waits for those of earlier ones.
#[derive(Debug)]
pub(super) struct PeerUpdate {
    pub(super) id: RequestId,
    /// Where it moves the request to, and what that takes.
    pub(super) prefix: Option<(TrackNamespace, Charge)>,
    /// Whether it turned forwarding on.
    pub(super) resumes: bool,
    pub(super) answer: Option<Result<RequestOk, Refusal>>,
}

/// What a subscription needs to know, whoever started it.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) track: FullTrackName,
    pub(super) alias: Option<TrackAlias>,
    /// Forward State, updates that are not answered yet included.
    pub(super) forward: bool,
    pub(super) filter: Option<Filter>,
    /// The Joining Location (§ Subscriptions): the largest one when the subscription began or was resumed.
    pub(super) joining: Option<Location>,
    /// Data streams that we opened for it, once no more will be.
    pub(super) streams_opened: u64,
    /// Joining FETCHes of the peer that wait for the SUBSCRIBE to be answered.
    pub(super) waiting: Vec<Fetch>,
}

/// What a FETCH needs to know.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetching {
    pub(super) track: Option<FullTrackName>,
    /// Where the range starts, if that is known.
    pub(super) start: Option<Location>,
    /// Its data stream is over.
    pub(super) data_ended: bool,
    /// We opened its data stream.
    pub(super) data_opened: bool,
    /// The subscription that it joins, if it had to wait for the answer to that.
    pub(super) joins: Option<RequestId>,
}

/// What a SUBSCRIBE_NAMESPACE or SUBSCRIBE_TRACKS needs to know.
#[derive(Debug)]
pub(super) struct Discovering {
    pub(super) prefix: TrackNamespace,
    pub(super) interest: Interest,
    /// Namespaces that were told and not withdrawn, in full.
    pub(super) namespaces: BTreeMap<TrackNamespace, Charge>,
}

/// What depends on the kind of request.
#[derive(Debug)]
pub(super) enum Subject {
    Subscription(Subscription),
    Fetch(Fetching),
    Discovery(Discovering),
    Other,
}

/// One open request.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) kind: Kind,
    pub(super) side: Side,
    /// What the name in it takes, if it is the peer's.
    pub(super) room: Option<Charge>,
    pub(super) stage: Stage,
    /// The stream that it has for itself.
    pub(super) stream: Option<StreamId>,
    pub(super) subject: Subject,
    pub(super) wishes: Wishes,
    pub(super) offer: Offer,
    pub(super) own_updates: VecDeque<OwnUpdate>,
    pub(super) peer_updates: VecDeque<PeerUpdate>,
    pub(super) goaway_sent: bool,
    pub(super) goaway_received: bool,
    /// Our request was answered, or we answered the peer's.
    pub(super) answered: bool,
    /// The application knows of it.
    pub(super) told: bool,
}

impl Open {
    pub(super) fn new(request: &Request, side: Side, stream: Option<StreamId>) -> Self {
        Self {
            kind: request.kind(),
            side,
            room: None,
            stage: Stage::Pending,
            stream,
            subject: Subject::of(request),
            wishes: {
                let mut wishes = Wishes::default();
                wishes.apply(request.parameters());
                wishes
            },
            offer: Offer::default(),
            own_updates: VecDeque::new(),
            peer_updates: VecDeque::new(),
            goaway_sent: false,
            goaway_received: false,
            answered: false,
            told: side == Side::Us,
        }
    }

    /// Which side sends the objects, if the request is a subscription or FETCH.
    pub(super) const fn publisher(&self) -> Option<Side> {
        match (self.kind, self.side) {
            (Kind::Subscribe | Kind::Fetch, Side::Us) | (Kind::Publish, Side::Peer) => {
                Some(Side::Peer)
            }
            (Kind::Subscribe | Kind::Fetch, Side::Peer) | (Kind::Publish, Side::Us) => {
                Some(Side::Us)
            }
            (
                Kind::TrackStatus
                | Kind::PublishNamespace
                | Kind::SubscribeNamespace
                | Kind::SubscribeTracks,
                _,
            ) => None,
        }
    }

    /// The track that it is about, as far as that is known.
    pub(super) const fn track(&self) -> Option<&FullTrackName> {
        match &self.subject {
            Subject::Subscription(subscription) => Some(&subscription.track),
            Subject::Fetch(fetching) => fetching.track.as_ref(),
            Subject::Discovery(_) | Subject::Other => None,
        }
    }

    pub(super) const fn subscription(&self) -> Option<&Subscription> {
        match &self.subject {
            Subject::Subscription(subscription) => Some(subscription),
            Subject::Fetch(_) | Subject::Discovery(_) | Subject::Other => None,
        }
    }

    pub(super) const fn subscription_mut(&mut self) -> Option<&mut Subscription> {
        match &mut self.subject {
            Subject::Subscription(subscription) => Some(subscription),
            Subject::Fetch(_) | Subject::Discovery(_) | Subject::Other => None,
        }
    }

    pub(super) const fn fetching_mut(&mut self) -> Option<&mut Fetching> {
        match &mut self.subject {
            Subject::Fetch(fetching) => Some(fetching),
            Subject::Subscription(_) | Subject::Discovery(_) | Subject::Other => None,
        }
    }

    pub(super) const fn discovering(&self) -> Option<&Discovering> {
        match &self.subject {
            Subject::Discovery(discovering) => Some(discovering),
            Subject::Subscription(_) | Subject::Fetch(_) | Subject::Other => None,
        }
    }

    pub(super) const fn discovering_mut(&mut self) -> Option<&mut Discovering> {
        match &mut self.subject {
            Subject::Discovery(discovering) => Some(discovering),
            Subject::Subscription(_) | Subject::Fetch(_) | Subject::Other => None,
        }
    }

    /// Takes over what the subscriber sets, in a response or an update.
    pub(super) fn apply(&mut self, parameters: &Parameters) {
        self.wishes.apply(parameters);
        if let Some(subscription) = self.subscription_mut() {
            if let Some(forward) = parameters.forward {
                subscription.forward = forward;
            }
            if parameters.filter.is_some() {
                subscription.filter = parameters.filter;
            }
        }
    }

    /// It was granted. If we are about to end it anyway, it stays so.
    pub(super) fn establish(&mut self) {
        self.answered = true;
        if self.stage == Stage::Pending {
            self.stage = Stage::Established;
        }
    }

    /// Whether it counts as open for the rules about further requests.
    pub(super) const fn is_live(&self) -> bool {
        !matches!(self.stage, Stage::Late)
    }
}

impl Subject {
    fn of(request: &Request) -> Self {
        match request {
            Request::Subscribe(subscribe) => Self::Subscription(Subscription::new(
                subscribe.track.clone(),
                None,
                &subscribe.parameters,
            )),
            Request::Publish(publish) => Self::Subscription(Subscription::new(
                publish.track.clone(),
                Some(publish.track_alias),
                &publish.parameters,
            )),
            Request::Fetch(fetch) => Self::Fetch(Fetching {
                track: match &fetch.range {
                    FetchRange::Standalone { track, .. } => Some(track.clone()),
                    FetchRange::RelativeJoining { .. } | FetchRange::AbsoluteJoining { .. } => None,
                },
                start: match &fetch.range {
                    FetchRange::Standalone { start, .. } => Some(*start),
                    FetchRange::RelativeJoining { .. } | FetchRange::AbsoluteJoining { .. } => None,
                },
                ..Fetching::default()
            }),
            Request::SubscribeNamespace(subscribe) => Self::Discovery(Discovering {
                prefix: subscribe.prefix.clone(),
                interest: subscribe.interest,
                namespaces: BTreeMap::new(),
            }),
            Request::SubscribeTracks(subscribe) => Self::Discovery(Discovering {
                prefix: subscribe.prefix.clone(),
                interest: Interest::Tracks,
                namespaces: BTreeMap::new(),
            }),
            Request::TrackStatus(_) | Request::PublishNamespace(_) => Self::Other,
        }
    }
}

impl Subscription {
    fn new(track: FullTrackName, alias: Option<TrackAlias>, parameters: &Parameters) -> Self {
        Self {
            track,
            alias,
            forward: parameters.forward.unwrap_or(true),
            filter: parameters.filter,
            joining: parameters.largest_object,
            streams_opened: 0,
            waiting: Vec::new(),
        }
    }
}

/// How the subscriber wants objects delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes {
    pub(super) subscriber_priority: Option<u8>,
    pub(super) group_order: Option<GroupOrder>,
    pub(super) object_timeout: Option<Millis>,
    pub(super) subgroup_timeout: Option<Millis>,
}

impl Wishes {
    /// Takes over what is told; what is absent stays.
    pub(super) fn apply(&mut self, parameters: &Parameters) {
        self.subscriber_priority = parameters.subscriber_priority.or(self.subscriber_priority);
        self.group_order = parameters.group_order.or(self.group_order);
        self.object_timeout = parameters.object_delivery_timeout.or(self.object_timeout);
        self.subgroup_timeout = parameters
            .subgroup_delivery_timeout
            .or(self.subgroup_timeout);
    }
}

/// How the track's publisher says that objects are to be delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offer {
    pub(super) group_order: GroupOrder,
    pub(super) object_timeout: Option<Millis>,
    pub(super) subgroup_timeout: Option<Millis>,
}

impl Offer {
    pub(super) fn new(profile: &Profile, properties: &Properties) -> Self {
        Self {
            group_order: properties.default_publisher_group_order(),
            object_timeout: properties.object_delivery_timeout(),
            subgroup_timeout: properties.subgroup_delivery_timeout(profile),
        }
    }
}

impl Request {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Subscribe(_) => Kind::Subscribe,
            Self::Publish(_) => Kind::Publish,
            Self::Fetch(_) => Kind::Fetch,
            Self::TrackStatus(_) => Kind::TrackStatus,
            Self::PublishNamespace(_) => Kind::PublishNamespace,
            Self::SubscribeNamespace(_) => Kind::SubscribeNamespace,
            Self::SubscribeTracks(_) => Kind::SubscribeTracks,
        }
    }

    /// The request's id.
    pub const fn id(&self) -> RequestId {
        match self {
            Self::Subscribe(request) => request.request_id,
            Self::Publish(request) => request.request_id,
            Self::Fetch(request) => request.request_id,
            Self::TrackStatus(request) => request.request_id,
            Self::PublishNamespace(request) => request.request_id,
            Self::SubscribeNamespace(request) => request.request_id,
            Self::SubscribeTracks(request) => request.request_id,
        }
    }

    pub(super) const fn set_id(&mut self, id: RequestId) {
        match self {
            Self::Subscribe(request) => request.request_id = id,
            Self::Publish(request) => request.request_id = id,
            Self::Fetch(request) => request.request_id = id,
            Self::TrackStatus(request) => request.request_id = id,
            Self::PublishNamespace(request) => request.request_id = id,
            Self::SubscribeNamespace(request) => request.request_id = id,
            Self::SubscribeTracks(request) => request.request_id = id,
        }
    }

    pub(super) const fn parameters(&self) -> &Parameters {
        match self {
            Self::Subscribe(request) => &request.parameters,
            Self::Publish(request) => &request.parameters,
            Self::Fetch(request) => &request.parameters,
            Self::TrackStatus(request) => &request.parameters,
            Self::PublishNamespace(request) => &request.parameters,
            Self::SubscribeNamespace(request) => &request.parameters,
            Self::SubscribeTracks(request) => &request.parameters,
        }
    }

    pub(super) const fn parameters_mut(&mut self) -> &mut Parameters {
        match self {
            Self::Subscribe(request) => &mut request.parameters,
            Self::Publish(request) => &mut request.parameters,
            Self::Fetch(request) => &mut request.parameters,
            Self::TrackStatus(request) => &mut request.parameters,
            Self::PublishNamespace(request) => &mut request.parameters,
            Self::SubscribeNamespace(request) => &mut request.parameters,
            Self::SubscribeTracks(request) => &mut request.parameters,
        }
    }

    /// The namespace, or prefix of namespaces, that it is about; none for a FETCH that joins a subscription.
    pub(super) const fn namespace(&self) -> Option<&TrackNamespace> {
        match self {
            Self::Subscribe(request) => Some(&request.track.namespace),
            Self::Publish(request) => Some(&request.track.namespace),
            Self::TrackStatus(request) => Some(&request.track.namespace),
            Self::PublishNamespace(request) => Some(&request.namespace),
            Self::SubscribeNamespace(request) => Some(&request.prefix),
            Self::SubscribeTracks(request) => Some(&request.prefix),
            Self::Fetch(request) => match &request.range {
                FetchRange::Standalone { track, .. } => Some(&track.namespace),
                FetchRange::RelativeJoining { .. } | FetchRange::AbsoluteJoining { .. } => None,
            },
        }
    }
}

/// All open requests, and what finds them.
#[derive(Debug)]
pub(super) struct Requests {
    /// Each apart: most sessions have a few, and a map sets aside room for eleven.
    open: BTreeMap<RequestId, Box<Open>>,
    /// Subscriptions in which we are the publisher, by track.
    pub(super) publishing: BTreeMap<FullTrackName, RequestId>,
    /// Subscriptions in which we are the subscriber, by track.
    pub(super) subscribing: BTreeMap<FullTrackName, RequestId>,
    /// Aliases that the peer chose.
    pub(super) peer_aliases: BTreeMap<TrackAlias, RequestId>,
    /// Aliases that we chose.
    own_aliases: BTreeMap<TrackAlias, OwnAlias>,
    /// Those that no request uses any more, the oldest first: the peer may learn of the end later than of what comes next.
    ended_aliases: VecDeque<TrackAlias>,
    max_ended_aliases: usize,
    /// Updates of ours that are not answered, and the request that each is about.
    pub(super) update_owner: BTreeMap<RequestId, RequestId>,
    /// The account of names in requests of the peer's, and in aliases that no request uses.
    pub(super) names: Account,
    /// The account of namespaces that either side told.
    pub(super) namespaces: Account,
    of_us: u64,
    of_peer: u64,
}

/// What an alias of ours stands for.
#[derive(Debug)]
struct OwnAlias {
    track: FullTrackName,
    /// Requests that use it.
    users: u64,
    /// What the name takes once there are none.
    room: Option<Charge>,
}

impl Requests {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            open: BTreeMap::new(),
            publishing: BTreeMap::new(),
            subscribing: BTreeMap::new(),
            peer_aliases: BTreeMap::new(),
            own_aliases: BTreeMap::new(),
            ended_aliases: VecDeque::new(),
            max_ended_aliases: limits.max_ended_aliases,
            update_owner: BTreeMap::new(),
            names: Account::new(limits.max_request_name_bytes),
            namespaces: Account::new(limits.max_namespace_bytes),
            of_us: 0,
            of_peer: 0,
        }
    }

    pub(super) fn insert(&mut self, id: RequestId, open: Open) {
        match open.side {
            Side::Us => self.of_us = self.of_us.saturating_add(1),
            Side::Peer => self.of_peer = self.of_peer.saturating_add(1),
        }
        self.open.insert(id, Box::new(open));
    }

    pub(super) fn find(&self, id: RequestId) -> Option<&Open> {
        self.open.get(&id).map(AsRef::as_ref)
    }

    pub(super) fn find_mut(&mut self, id: RequestId) -> Option<&mut Open> {
        self.open.get_mut(&id).map(AsMut::as_mut)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &Open)> {
        self.open.iter().map(|(id, open)| (*id, open.as_ref()))
    }

    /// How many requests of ours are open.
    pub(super) const fn of_us(&self) -> u64 {
        self.of_us
    }

    /// How many requests of the peer's are open.
    pub(super) const fn of_peer(&self) -> u64 {
        self.of_peer
    }

    /// Makes a subscription known as the one for its track in its role.
    pub(super) fn index(&mut self, id: RequestId) {
        let Some(open) = self.open.get(&id) else {
            return;
        };
        let (Some(publisher), Some(subscription)) = (open.publisher(), open.subscription()) else {
            return;
        };
        let track = subscription.track.clone();
        match publisher {
            Side::Us => self.publishing.insert(track, id),
            Side::Peer => self.subscribing.insert(track, id),
        };
    }

    /// Its track may be subscribed to again.
    pub(super) fn unindex(&mut self, id: RequestId) {
        let Some(open) = self.open.get(&id) else {
            return;
        };
        let (Some(publisher), Some(subscription)) = (open.publisher(), open.subscription()) else {
            return;
        };
        let index = match publisher {
            Side::Us => &mut self.publishing,
            Side::Peer => &mut self.subscribing,
        };
        if index.get(&subscription.track) == Some(&id) {
            index.remove(&subscription.track);
        }
    }

    /// Whether this alias of ours may stand for this track.
    pub(super) fn is_alias_free(&self, alias: TrackAlias, track: &FullTrackName) -> bool {
        self.own_aliases
            .get(&alias)
            .is_none_or(|used| used.track == *track)
    }

    /// Notes an alias of ours.
    pub(super) fn use_alias(&mut self, alias: TrackAlias, track: &FullTrackName) {
        let entry = self.own_aliases.entry(alias).or_insert_with(|| OwnAlias {
            track: track.clone(),
            users: 0,
            room: None,
        });
        entry.users = entry.users.saturating_add(1);
        entry.room = None;
    }

    /// Forgets a request and everything that leads to it.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<Open> {
        self.unindex(id);
        let open = self.open.remove(&id)?;
        match open.side {
            Side::Us => self.of_us = self.of_us.saturating_sub(1),
            Side::Peer => self.of_peer = self.of_peer.saturating_sub(1),
        }
        if let (Some(publisher), Some(alias)) =
            (open.publisher(), open.subscription().and_then(|s| s.alias))
        {
            match publisher {
                Side::Us => self.release_alias(alias),
                Side::Peer => {
                    if self.peer_aliases.get(&alias) == Some(&id) {
                        self.peer_aliases.remove(&alias);
                    }
                }
            }
        }
        for update in &open.own_updates {
            self.update_owner.remove(&update.id);
        }
        Some(*open)
    }

    fn release_alias(&mut self, alias: TrackAlias) {
        if let Some(used) = self.own_aliases.get_mut(&alias) {
            used.users = used.users.saturating_sub(1);
            if used.users == 0 {
                used.room = Some(self.names.charge_always(used.track.cost()));
                self.ended_aliases.push_back(alias);
            }
        }
        if self.ended_aliases.len() > self.max_ended_aliases {
            self.forget_ended_alias();
        }
    }

    /// The alias that is over for the longest time may stand for another track. False if there is none.
    pub(super) fn forget_ended_alias(&mut self) -> bool {
        let Some(oldest) = self.ended_aliases.pop_front() else {
            return false;
        };
        let used = self.own_aliases.get(&oldest);
        if used.is_some_and(|used| used.users == 0) {
            self.own_aliases.remove(&oldest);
        }
        true
    }

    /// Whether a prefix overlaps that of another open request of the side's (§ SUBSCRIBE_NAMESPACE).
    ///
    /// Where `shared` is set both kinds of request share one space of prefixes.
    pub(super) fn overlaps(
        &self,
        prefix: &TrackNamespace,
        kind: Kind,
        side: Side,
        shared: bool,
        except: Option<RequestId>,
    ) -> bool {
        self.iter()
            .filter(|(id, open)| {
                open.side == side && (shared || open.kind == kind) && Some(*id) != except
            })
            .filter_map(|(_, open)| open.discovering())
            .any(|other| {
                let (a, b) = (prefix.fields(), other.prefix.fields());
                a.starts_with(b) || b.starts_with(a)
            })
    }
}
