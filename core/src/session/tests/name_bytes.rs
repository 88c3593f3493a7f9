//! Names are counted in bytes as long as they are held, and no more are held than the limits allow.

use super::script::Scripted;
use super::support::{
    DRAFTS, announce, at, discover, fetch, namespace, publish, range, settings, status, subscribe,
    subscribe_ok,
};
use super::updates::update;
use crate::code::{RequestCode, ResetCode};
use crate::draft::Draft;
use crate::session::{Event, Misuse, Request, Response, Role};
use crate::transport::StreamId;
use crate::wire::id::{Millis, RequestId};
use crate::wire::message::{FetchRange, Message, Namespace, RequestOk, Retry, SubscribeTracks};
use crate::wire::param::{Filter, Parameters};

/// What the namespace `live` takes, and the name of a track in it without the letters of its own.
const LIVE: usize = 256 + 128 + 4;

/// What a namespace of one letter takes, and one of two.
const SHORT: usize = 256 + 128 + 1;
const SHORT_IN_SHORT: usize = 256 + 2 * (128 + 1);

/// A server with so much room for the names in requests.
fn with_room(draft: Draft, bytes: usize) -> Scripted {
    let mut mine = settings(Role::Server);
    mine.limits.max_request_name_bytes = bytes;
    Scripted::with(draft, mine)
}

impl Scripted {
    fn names(&self) -> usize {
        self.session.requests.names.used()
    }

    fn namespaces(&self) -> usize {
        self.session.requests.namespaces.used()
    }

    /// The peer is told to try again later, and loses nothing else.
    #[track_caller]
    fn assert_overloaded(&mut self, stream: StreamId) {
        let error = loop {
            match self.message(stream) {
                Some(Message::RequestError(error)) => break error,
                Some(_) => {}
                None => panic!("not refused: {:?}", self.session.failure()),
            }
        };
        let code = RequestCode::ExcessiveLoad.to_wire(self.draft);
        assert_eq!(error.code.to_wire(self.draft), code);
        assert_eq!(error.retry, Retry::After(Millis(1000)));
        self.assert_alive();
    }

    /// Accepts a SUBSCRIBE of this track under this alias.
    fn publish_as(&mut self, id: u64, name: &str, alias: u64) -> Result<RequestId, Misuse> {
        let (request, _) = self.asked(&Message::Subscribe(subscribe(id, name)));
        let ok = Response::SubscribeOk(subscribe_ok(alias, None));
        self.session.respond(self.now, request, ok)?;
        Ok(request)
    }

    /// Ends a request.
    fn end(&mut self, request: RequestId) {
        self.session
            .cancel(self.now, request, ResetCode::Cancelled)
            .unwrap();
        self.pump();
        self.events.clear();
    }
}

/// One request of each kind, with what its name takes.
fn one_of_each(draft: Draft) -> Vec<(Message, usize)> {
    let mut all = vec![
        (Message::Subscribe(subscribe(0, "v")), LIVE + 1),
        (Message::Publish(publish(0, "v", 1)), LIVE + 1),
        (
            Message::Fetch(fetch(0, range("v", (0, 0), (1, 0)))),
            LIVE + 1,
        ),
        (Message::TrackStatus(status(0, "v")), LIVE + 1),
        (Message::PublishNamespace(announce(0, &["live"])), LIVE),
        (Message::SubscribeNamespace(discover(0, &["live"])), LIVE),
    ];
    if draft == Draft::D18 {
        let tracks = SubscribeTracks {
            request_id: RequestId(0),
            prefix: namespace(&["live"]),
            parameters: Parameters::default(),
        };
        all.push((Message::SubscribeTracks(tracks), LIVE));
    }
    all
}

// Rules: B186, B322, B323, B325
#[test]
fn the_name_in_a_request_counts_as_long_as_that_is_open() {
    for draft in DRAFTS {
        for (request, cost) in one_of_each(draft) {
            let mut peer = with_room(draft, cost - 1);
            let stream = peer.ask(&request);
            peer.assert_overloaded(stream);
            assert_eq!(peer.event(), None);
            assert_eq!(peer.names(), 0, "{request:?}");

            let mut peer = with_room(draft, cost);
            let (id, _) = peer.asked(&request);
            assert_eq!(peer.names(), cost, "{request:?}");
            let stream = peer.ask(&Message::TrackStatus(status(2, "")));
            peer.assert_overloaded(stream);
            peer.end(id);
            assert_eq!(peer.names(), 0, "{request:?}");
            peer.asked(&Message::TrackStatus(status(4, "")));
            assert_eq!(peer.names(), LIVE);
        }
    }
}

#[test]
fn a_fetch_that_joins_a_subscription_counts_as_its_track() {
    for draft in DRAFTS {
        let mut peer = with_room(draft, 2 * (LIVE + 1));
        let mut of = subscribe(0, "v");
        of.parameters.filter = Some(Filter::LargestObject);
        let (id, _) = peer.asked(&Message::Subscribe(of));
        let ok = Response::SubscribeOk(subscribe_ok(7, Some(at(3, 0))));
        peer.session.respond(peer.now, id, ok).unwrap();
        let join = |number| {
            let range = FetchRange::RelativeJoining {
                joining_request_id: id,
                joining_start: 1,
            };
            Message::Fetch(fetch(number, range))
        };
        let (fetch, _) = peer.asked(&join(2));
        assert_eq!(peer.names(), 2 * (LIVE + 1));
        let stream = peer.ask(&join(4));
        peer.assert_overloaded(stream);
        peer.end(fetch);
        peer.asked(&join(6));
        assert_eq!(peer.names(), 2 * (LIVE + 1));
    }
}

// Rules: B118
#[test]
fn the_prefix_of_an_update_counts_beside_the_one_that_it_replaces_until_it_is_granted() {
    let mut peer = with_room(Draft::D18, 2 * SHORT);
    let (id, stream) = peer.asked(&Message::SubscribeNamespace(discover(0, &["a"])));
    let accepted = Response::Ok(RequestOk::default());
    peer.session.respond(peer.now, id, accepted).unwrap();
    let move_to = |number, prefix| {
        let parameters = Parameters {
            track_namespace_prefix: Some(namespace(&[prefix])),
            ..Parameters::default()
        };
        update(number, id, parameters)
    };
    peer.say_on(stream, &move_to(2, "b"));
    assert!(matches!(peer.event(), Some(Event::Update { .. })));
    assert_eq!(peer.names(), 2 * SHORT);
    peer.session
        .respond_to_update(peer.now, id, RequestId(2), Ok(RequestOk::default()))
        .unwrap();
    assert_eq!(peer.names(), SHORT);
    // Of two at once there is room for one: the other is refused after the answer to that, and the request with it.
    peer.say_on(stream, &move_to(4, "c"));
    peer.say_on(stream, &move_to(6, "d"));
    assert!(matches!(peer.event(), Some(Event::Update { .. })));
    assert_eq!(peer.event(), None);
    peer.session
        .respond_to_update(peer.now, id, RequestId(4), Ok(RequestOk::default()))
        .unwrap();
    peer.assert_overloaded(stream);
    assert!(matches!(peer.event(), Some(Event::Cancelled { .. })));
    assert_eq!(peer.names(), 0);
}

#[test]
fn tracks_of_ended_aliases_count_and_are_forgotten_for_a_new_request() {
    for draft in DRAFTS {
        let mut peer = with_room(draft, 2 * (LIVE + 1));
        let first = peer.publish_as(0, "v", 1).unwrap();
        assert_eq!(peer.names(), LIVE + 1);
        peer.end(first);
        assert_eq!(peer.names(), LIVE + 1);
        // The same track under the same alias: the request's name is enough.
        let again = peer.publish_as(2, "v", 1).unwrap();
        assert_eq!(peer.names(), LIVE + 1);
        peer.end(again);
        let second = peer.publish_as(4, "w", 2).unwrap();
        peer.end(second);
        assert_eq!(peer.names(), 2 * (LIVE + 1));
        let clash = peer.publish_as(6, "x", 2);
        assert_eq!(clash, Err(Misuse::DuplicateTrackAlias));
        let ok = Response::SubscribeOk(subscribe_ok(1, None));
        let answered = peer.session.respond(peer.now, RequestId(6), ok);
        assert_eq!(answered, Ok(()), "the older of the two was forgotten");
        assert_eq!(peer.names(), 2 * (LIVE + 1));
    }
}

#[test]
fn namespaces_that_the_peer_tells_are_bounded_in_bytes() {
    for draft in DRAFTS {
        let mut mine = settings(Role::Client);
        mine.limits.max_namespace_bytes = 2 * SHORT_IN_SHORT;
        let mut peer = Scripted::with(draft, mine);
        let ask = |peer: &mut Scripted, prefix| {
            let request = Request::SubscribeNamespace(discover(0, &[prefix]));
            let id = peer.session.request(peer.now, request).unwrap();
            peer.pump();
            let stream = peer.last_request_stream();
            let ok = RequestOk {
                request_id: Some(id),
                ..RequestOk::default()
            };
            peer.say_on(stream, &Message::RequestOk(ok));
            stream
        };
        let streams = [ask(&mut peer, "a"), ask(&mut peer, "b")];
        let suffix = |name| Namespace {
            suffix: namespace(&[name]),
        };
        peer.say_on(streams[0], &Message::Namespace(suffix("1")));
        peer.say_on(streams[0], &Message::Namespace(suffix("1")));
        peer.say_on(streams[1], &Message::Namespace(suffix("2")));
        assert_eq!(peer.namespaces(), 2 * SHORT_IN_SHORT);
        peer.say_on(streams[0], &Message::NamespaceDone(suffix("1")));
        peer.say_on(streams[0], &Message::Namespace(suffix("3")));
        assert!(peer.heard[&streams[0]].stop.is_none());
        peer.say_on(streams[1], &Message::Namespace(suffix("4")));
        let over: Vec<Event> = peer.events.drain(..).collect();
        let code = Some(ResetCode::ExcessiveLoad);
        let is_over = |event: Option<&Event>| matches!(event, Some(Event::Cancelled { code: told, .. }) if *told == code);
        assert!(is_over(over.last()), "{over:?}");
        assert!(peer.heard[&streams[1]].stop.is_some());
        assert_eq!(peer.namespaces(), SHORT_IN_SHORT);
        peer.assert_alive();
    }
}

#[test]
fn namespaces_that_the_peer_is_told_are_bounded_in_bytes() {
    for draft in DRAFTS {
        let mut mine = settings(Role::Server);
        mine.limits.max_namespace_bytes = 2 * SHORT_IN_SHORT;
        let mut peer = Scripted::with(draft, mine);
        let ids = [(0, "a"), (2, "b")].map(|(number, prefix)| {
            let request = Message::SubscribeNamespace(discover(number, &[prefix]));
            let (id, _) = peer.asked(&request);
            let ok = Response::Ok(RequestOk::default());
            peer.session.respond(peer.now, id, ok).unwrap();
            id
        });
        let now = peer.now;
        let session = &mut peer.session;
        session.namespace(now, ids[0], &namespace(&["1"])).unwrap();
        session.namespace(now, ids[1], &namespace(&["2"])).unwrap();
        session.namespace(now, ids[1], &namespace(&["2"])).unwrap();
        let third = session.namespace(now, ids[1], &namespace(&["3"]));
        assert_eq!(third, Err(Misuse::Blocked));
        session
            .namespace_done(now, ids[0], &namespace(&["1"]))
            .unwrap();
        session.namespace(now, ids[1], &namespace(&["3"])).unwrap();
        peer.end(ids[1]);
        assert_eq!(peer.namespaces(), 0);
        peer.assert_alive();
    }
}
