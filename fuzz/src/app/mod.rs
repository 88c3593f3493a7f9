//! An application above a session that does everything there is to do, in any order, and nothing that is forbidden.

mod act;
mod arriving;
mod chosen;
mod feed;

use std::collections::{BTreeMap, BTreeSet};

use oxymoq_core::peer::Peer;
use oxymoq_core::session::{Event, Outbox, Request, Session};
use oxymoq_core::wire::id::{RequestId, TrackAlias};

use self::arriving::{Place, Receiving};
pub(crate) use self::chosen::{some_parameters, some_update};
use self::feed::Feed;

/// How much of a kind the application remembers; what comes on top is left alone.
const MEMORY: usize = 64;

/// One end of a connection, with a session inside and an application above it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) peer: Peer,
    pub(crate) outbox: Outbox,
    /// Whether everybody publishes what [`content`] says, so that what arrives can be checked.
    is_checking: bool,
    requests: Vec<RequestId>,
    unanswered: Vec<(RequestId, Request)>,
    updates: Vec<(RequestId, RequestId)>,
    over: BTreeSet<RequestId>,
    aliases: BTreeMap<RequestId, TrackAlias>,
    feeds: Vec<Feed>,
    receiving: BTreeMap<Place, Receiving>,
    closed: bool,
}

impl App {
    pub(crate) fn new(peer: Peer, is_checking: bool) -> Self {
        Self {
            peer,
            outbox: Outbox::new(1 << 20),
            is_checking,
            requests: Vec::new(),
            unanswered: Vec::new(),
            updates: Vec::new(),
            over: BTreeSet::new(),
            aliases: BTreeMap::new(),
            feeds: Vec::new(),
            receiving: BTreeMap::new(),
            closed: false,
        }
    }

    /// Takes the session's next event; false: there is none.
    ///
    /// # Panics
    /// If it makes no sense after those before it.
    pub(crate) fn hear(&mut self) -> bool {
        let Some(event) = self.session().poll_event() else {
            return false;
        };
        assert!(!self.closed, "{event:?} after the end");
        match event {
            Event::Request { id, request } => {
                self.know(id);
                if self.unanswered.len() < MEMORY {
                    self.unanswered.push((id, request));
                }
            }
            Event::Update { id, update, .. } => {
                if self.updates.len() < MEMORY {
                    self.updates.push((id, update));
                }
            }
            Event::Cancelled { id, .. } | Event::Done { id, .. } => self.end(id),
            Event::SubgroupOpened { stream, header, .. } => {
                let receiving = Receiving {
                    group: header.group,
                    object: None,
                };
                let before = self.receiving.insert(Place::Stream(stream), receiving);
                assert!(before.is_none(), "{stream} begins twice");
            }
            Event::Object { stream, object } => {
                self.object_begins(stream, &object);
            }
            Event::Payload { stream, bytes } => self.payload(Place::Stream(stream), &bytes),
            Event::SubgroupEnded { stream, end } => self.stream_ended(Place::Stream(stream), end),
            Event::Datagram { object, .. } => self.check_datagram(&object),
            Event::Fetched { id, item } => self.fetched(id, item),
            Event::StreamStopped { stream, .. }
            | Event::StreamExpired { stream }
            | Event::StreamDelivered { stream } => {
                self.outbox.remove(stream);
                self.feeds.retain(|feed| feed.stream != stream);
            }
            Event::Closed(_) => self.closed = true,
            Event::MalformedTrack { rule, .. } => {
                assert!(!self.is_checking, "who publishes that? {rule}");
            }
            Event::Established { .. }
            | Event::Response { .. }
            | Event::UpdateResponse { .. }
            | Event::Settled { .. }
            | Event::Namespace { .. }
            | Event::NamespaceDone { .. }
            | Event::PublishBlocked { .. }
            | Event::GoAway { .. }
            | Event::CanRequest
            | Event::CanOpenStream => {}
        }
        true
    }

    pub(crate) const fn session(&mut self) -> &mut Session {
        self.peer.session()
    }

    /// Whether the session told that it is over.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    fn know(&mut self, id: RequestId) {
        self.requests.push(id);
    }

    fn end(&mut self, id: RequestId) {
        assert!(self.over.insert(id), "the end of {id:?} is told twice");
        self.feeds.retain(|feed| feed.request != id);
        self.unanswered.retain(|(request, _)| *request != id);
        self.updates.retain(|(request, _)| *request != id);
    }
}
