//! What the session tells.

use oxymoq_core::code::{DoneCode, RequestCode, ResetCode, SessionCode};
use oxymoq_core::session::{Event, FetchItem, Refusal, Request, Response, StreamEnd};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{ConnectionId, Exit, StreamId};
use oxymoq_core::wire::id::{ObjectId, RequestId};
use oxymoq_core::wire::message::{GoAway, PublishDone, SubscribeOk};
use oxymoq_core::wire::object::{DatagramObject, ObjectStatus, SubgroupHeader};

use crate::catalog::Catalog;
use crate::client;

use super::arrive::{Arrived, Object, TooMuch};
use super::choose::choose;
use super::feed::{Feed, Purpose, State};
use super::outlet::Outlet;
use super::track::Track;
use super::{FlvReceiver, Link};

impl<O: Outlet> FlvReceiver<O> {
    pub(super) fn handle_event(&mut self, now: Time, connection: ConnectionId, event: Event) {
        match event {
            Event::Established { draft, setup } => {
                let url = self.server.url();
                let name = client::implementation(&setup);
                log::info!("connected to {url} with {} ({name})", draft.profile().alpn);
                if self.link == Link::Connecting(connection) {
                    self.link = Link::Up(connection);
                    self.was_up = true;
                    self.ask(now);
                }
            }
            Event::Response { id, response } => self.handle_response(now, id, response),
            Event::SubgroupOpened { stream, id, header } => {
                self.open_stream(now, stream, id, &header);
            }
            Event::Object { stream, object } => {
                let begun = self.streams.begin(stream, object, &self.wish.limits);
                match begun {
                    Ok(Some((index, arrived))) => self.arrived(now, index, arrived),
                    Ok(None) => {}
                    Err(too_much) => self.refuse_stream(now, stream, too_much),
                }
            }
            Event::Payload { stream, bytes } => {
                self.hear(now, stream);
                match self.streams.append(stream, &bytes, &self.wish.limits) {
                    Ok(Some((index, object))) => self.arrived(now, index, Arrived::Object(object)),
                    Ok(None) => {}
                    Err(too_much) => self.refuse_stream(now, stream, too_much),
                }
            }
            Event::SubgroupEnded { stream, end } => {
                if let Some((index, arrived)) = self.streams.end(stream, end == StreamEnd::Fin) {
                    self.arrived(now, index, arrived);
                }
            }
            Event::Datagram { id, object } => self.handle_datagram(now, id, object),
            Event::Fetched { id, item } => self.handle_fetched(now, id, item),
            Event::Done { id, done } => {
                if let Some(feed) = self.of_subscription(id).and_then(|i| self.feeds.get_mut(i)) {
                    feed.done = Some(done);
                }
            }
            Event::Settled { id } => self.handle_settled(now, id),
            Event::Cancelled { id, code } => self.handle_cancelled(now, id, code),
            Event::Request { id, request } => self.handle_request(now, connection, id, &request),
            Event::GoAway { id: None, goaway } => self.handle_goaway(connection, &goaway),
            Event::Closed(closed) => {
                let why = self.peers.why_closed(connection, &closed);
                if self.ending.is_none() {
                    self.lost(now, &why);
                }
            }
            Event::MalformedTrack { id, rule } => {
                if let Some(index) = self.of_subscription(id) {
                    let sentence = format!("{} sends a malformed track: {rule}", self.server.url());
                    self.set_state(now, index, State::Refused(sentence));
                }
            }
            Event::GoAway { id: Some(_), .. }
            | Event::PublishBlocked { .. }
            | Event::StreamExpired { .. }
            | Event::CanRequest
            | Event::Update { .. }
            | Event::UpdateResponse { .. }
            | Event::Namespace { .. }
            | Event::NamespaceDone { .. }
            | Event::StreamStopped { .. }
            | Event::StreamDelivered { .. }
            | Event::CanOpenStream => {}
        }
    }

    fn of_subscription(&self, request: RequestId) -> Option<usize> {
        let is_it = |feed: &Feed| feed.request() == Some(request);
        self.feeds.iter().position(is_it)
    }

    fn of_fetch(&self, request: RequestId) -> Option<usize> {
        self.feeds.iter().position(|feed| feed.is_fetching(request))
    }

    // Answers.

    fn handle_response(&mut self, now: Time, id: RequestId, response: Response) {
        if let Some(index) = self.of_subscription(id) {
            return match response {
                Response::SubscribeOk(ok) => self.subscribed(now, index, id, &ok),
                Response::Error(refusal) => self.refused(now, index, &refusal),
                Response::Ok(_) | Response::FetchOk(_) => {}
            };
        }
        if let (Some(index), Response::Error(Refusal { code, reason, .. })) =
            (self.of_fetch(id), response)
        {
            let reason = reason.escape_ascii();
            log::info!("what there is of the current group cannot be fetched: {code} ({reason})");
            self.fetch_over(now, index);
        }
    }

    fn subscribed(&mut self, now: Time, index: usize, id: RequestId, ok: &SubscribeOk) {
        self.set_state(now, index, State::Live(id));
        let largest = ok.parameters.largest_object;
        let Some(feed) = self.feeds.get_mut(index) else {
            return;
        };
        let name = &feed.name;
        match largest {
            Some(largest) => log::info!("subscribed to {name}; largest so far: {largest}"),
            None => log::info!("subscribed to {name}; nothing published yet"),
        }
        let may_fetch = match &mut feed.purpose {
            Purpose::Catalog => true,
            Purpose::Media(track) => {
                track.take_properties(&ok.properties);
                self.wish.fetch && track.is_grouped()
            }
        };
        let is_joining = may_fetch && largest.is_some() && self.fetch(now, index, id);
        if let Some(track) = self.feeds.get_mut(index).and_then(Feed::track_mut) {
            track.subscribed(largest, is_joining);
        }
    }

    // Objects.

    fn open_stream(&mut self, now: Time, stream: StreamId, id: RequestId, header: &SubgroupHeader) {
        let Some(index) = self.of_subscription(id) else {
            return self.stop(now, stream);
        };
        let opened = self.streams.open(stream, index, header, &self.wish.limits);
        if let Err(too_much) = opened {
            return self.refuse_stream(now, stream, too_much);
        }
        if self.is_paused
            && let Some(session) = self.session()
        {
            session.pause_stream(stream);
        }
    }

    fn stop(&mut self, now: Time, stream: StreamId) {
        if let Some(session) = self.session() {
            session.stop_stream(now, stream, ResetCode::Cancelled);
        }
    }

    fn refuse_stream(&mut self, now: Time, stream: StreamId, too_much: TooMuch) {
        log::warn!("a stream is stopped: {too_much}");
        self.too_much += 1;
        self.streams.end(stream, false);
        self.stop(now, stream);
    }

    /// Something comes of a track, slowly perhaps.
    fn hear(&mut self, now: Time, stream: StreamId) {
        let index = self.streams.track(stream);
        let feed = index.and_then(|index| self.feeds.get(index));
        if let Some(track) = feed.and_then(Feed::track) {
            self.interleave.heard(now, track.index());
        }
    }

    fn arrived(&mut self, now: Time, index: usize, arrived: Arrived) {
        match arrived {
            Arrived::Object(object) => self.object(now, index, object, true, false),
            Arrived::EndOfGroup(group, end) => {
                if let Some(track) = self.feeds.get_mut(index).and_then(Feed::track_mut) {
                    track.end_of_group(group, end);
                }
            }
        }
    }

    fn object(&mut self, now: Time, index: usize, object: Object, is_live: bool, is_start: bool) {
        let Some(feed) = self.feeds.get_mut(index) else {
            return;
        };
        match &mut feed.purpose {
            Purpose::Catalog => {
                // Later objects of a group are changes.
                if object.location.object == ObjectId(0) {
                    self.handle_catalog(now, index, &object.payload);
                }
            }
            Purpose::Media(track) => {
                self.interleave.heard(now, track.index());
                track.push(now, object, is_live, is_start);
            }
        }
    }

    fn handle_datagram(&mut self, now: Time, id: RequestId, object: DatagramObject) {
        let Some(index) = self.of_subscription(id) else {
            return;
        };
        if self.is_paused {
            // The network does not hold datagrams back.
            self.too_much += 1;
            return;
        }
        let location = object.location;
        let next = ObjectId(location.object.0.saturating_add(1));
        let end = match object.status {
            ObjectStatus::Normal => {
                let whole = Object {
                    location,
                    properties: object.properties,
                    payload: object.payload,
                };
                self.object(now, index, whole, true, false);
                object.end_of_group.then_some(next)
            }
            ObjectStatus::EndOfGroup | ObjectStatus::EndOfTrack => Some(location.object),
        };
        if let Some(end) = end {
            self.arrived(now, index, Arrived::EndOfGroup(location.group, end));
        }
    }

    fn handle_fetched(&mut self, now: Time, id: RequestId, item: FetchItem) {
        let Some(index) = self.of_fetch(id) else {
            return;
        };
        if self.is_paused
            && let Some(session) = self.session()
        {
            session.pause_fetch(id);
        }
        let give_up = now + self.wish.transaction_timeout;
        let Some(feed) = self.feeds.get_mut(index) else {
            return;
        };
        let track = feed.track().map(Track::index);
        let Some(fetch) = &mut feed.fetch else {
            return;
        };
        fetch.give_up = give_up;
        if let Some(track) = track {
            self.interleave.heard(now, track);
        }
        let complete = match item {
            FetchItem::Object {
                location,
                properties,
                payload_length,
                ..
            } => fetch
                .pieces
                .begin(location, properties, payload_length, &self.wish.limits),
            FetchItem::Payload(bytes) => Ok(fetch.pieces.append(&bytes)),
            FetchItem::NonExistent(_) | FetchItem::Unknown(_) => Ok(None),
            FetchItem::End(_) => return self.fetch_over(now, index),
        };
        match complete {
            Ok(Some(object)) => {
                let is_start = !std::mem::replace(&mut fetch.has_begun, true);
                self.object(now, index, object, false, is_start);
            }
            Ok(None) => {}
            Err(too_much) => {
                log::warn!("a FETCH is given up: {too_much}");
                self.too_much += 1;
                self.cancel(now, id);
                self.fetch_over(now, index);
            }
        }
    }

    fn handle_catalog(&mut self, now: Time, index: usize, document: &[u8]) {
        let Some(feed) = self.feeds.get(index).filter(|feed| !feed.is_over()) else {
            return; // it has been chosen already
        };
        let catalog = match Catalog::parse(document) {
            Ok(catalog) => catalog,
            Err(unreadable) => {
                let sentence = format!("the catalog cannot be used: {unreadable}; name the tracks");
                return self.end(now, Exit::Failure(sentence));
            }
        };
        let choices = choose(&catalog, &feed.name.namespace);
        if choices.is_empty() {
            let sentence = "the catalog has no track that can be put into FLV".to_owned();
            return self.end(now, Exit::Failure(sentence));
        }
        for choice in &choices {
            log::info!("the catalog offers {}", choice.name);
            self.add_track(now, choice);
        }
        let subscription = self.feeds.get(index).and_then(Feed::request);
        self.set_state(now, index, State::Ended);
        if let Some(subscription) = subscription {
            self.cancel(now, subscription);
        }
        self.ask(now);
    }

    // What the server asks.

    fn handle_request(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: RequestId,
        request: &Request,
    ) {
        let refusal = match request {
            Request::Publish(_) => Refusal::new(
                RequestCode::Uninterested,
                "this client did not ask for the track",
            ),
            Request::Subscribe(_)
            | Request::Fetch(_)
            | Request::TrackStatus(_)
            | Request::PublishNamespace(_)
            | Request::SubscribeNamespace(_)
            | Request::SubscribeTracks(_) => {
                Refusal::new(RequestCode::NotSupported, "this client only takes objects")
            }
        };
        client::respond(
            &mut self.peers,
            now,
            connection,
            id,
            Response::Error(refusal),
        );
    }

    // Ends.

    fn handle_settled(&mut self, now: Time, id: RequestId) {
        let Some(index) = self.of_subscription(id) else {
            return;
        };
        let Some(feed) = self.feeds.get_mut(index) else {
            return;
        };
        let Some(done) = feed.done.take() else {
            return;
        };
        self.ended(now, index, &done);
        self.leave_if_idle(now);
    }

    fn ended(&mut self, now: Time, index: usize, done: &PublishDone) {
        let Some(feed) = self.feeds.get(index) else {
            return;
        };
        let (code, reason) = (done.code, done.reason.escape_ascii());
        let (url, name) = (self.server.url(), &feed.name);
        let sentence = format!("{url} ended the subscription to {name}: {code} ({reason})");
        match code {
            DoneCode::TrackEnded | DoneCode::SubscriptionEnded => {
                log::info!("{sentence}");
                self.set_state(now, index, State::Ended);
            }
            DoneCode::Unauthorized | DoneCode::MalformedTrack => {
                self.set_state(now, index, State::Refused(sentence));
            }
            DoneCode::InternalError
            | DoneCode::GoingAway
            | DoneCode::Expired
            | DoneCode::TooFarBehind
            | DoneCode::UpdateFailed
            | DoneCode::ExcessiveLoad
            | DoneCode::Unknown(_) => self.again(now, index, sentence, now),
        }
    }

    fn handle_cancelled(&mut self, now: Time, id: RequestId, code: Option<ResetCode>) {
        if let Some(index) = self.of_fetch(id) {
            return self.fetch_over(now, index);
        }
        let Some(index) = self.of_subscription(id) else {
            return;
        };
        let Some(feed) = self.feeds.get(index) else {
            return;
        };
        let why = code.map_or_else(String::new, |code| format!(" ({code})"));
        let (url, name) = (self.server.url(), &feed.name);
        let sentence = format!("{url} ended the subscription to {name} without a word{why}");
        self.again(now, index, sentence, now);
    }

    /// The server wants us to leave: what runs goes on until it ends, and then it is asked for where the server says.
    fn handle_goaway(&mut self, connection: ConnectionId, goaway: &GoAway) {
        let (url, uri) = (self.server.url(), goaway.uri.escape_ascii());
        log::warn!("{url} is going away (it names '{uri}' instead)");
        if self.link != Link::Up(connection) {
            return;
        }
        self.link = Link::Leaving(connection);
        if !goaway.uri.is_empty() {
            match self.server.named(&goaway.uri) {
                Ok(server) => self.next_server = Some(server),
                Err(why) => log::warn!("the server that {url} names is of no use: {why}"),
            }
        }
    }

    /// Leaves a server that wants us to, once nothing more comes from it.
    fn leave_if_idle(&mut self, now: Time) {
        let is_idle = self.feeds.iter().all(|feed| feed.request().is_none());
        if let Link::Leaving(connection) = self.link
            && is_idle
            && let Some(session) = self.peers.session(connection)
        {
            session.close(now, SessionCode::NoError, "as you wish");
        }
    }
}
