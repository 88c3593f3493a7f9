//! A subscriber that asks what it is told to ask, accepts whatever is offered, and writes down what it gets.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whoever only subscribes has no use for the other events"
)]

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::Draft;
use crate::session::{Event, FetchItem, Misuse, Refusal, Request, Response, StreamEnd};
use crate::time::Time;
use crate::transport::{Closed, ConnectionId, StreamId};
use crate::wire::id::{Location, RequestId, SubgroupId};
use crate::wire::message::{FetchOk, RequestOk, SubscribeOk};
use crate::wire::name::FullTrackName;
use crate::wire::object::{DatagramObject, ObjectHeader, SubgroupHeader};
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

use super::super::program::{Failure, Part};
use super::super::stage::Stage;

/// A subscriber.
#[derive(Debug, Default)]
pub(super) struct Viewer {
    pub(super) connection: Option<ConnectionId>,
    pub(super) draft: Option<Draft>,
    /// In the order of asking.
    pub(super) asked: Vec<Asked>,
    by_id: BTreeMap<(ConnectionId, RequestId), usize>,
    streams: BTreeMap<(ConnectionId, StreamId), Arriving>,
    fetched: BTreeMap<usize, Item>,
    pub(super) notes: Vec<(usize, Note)>,
    pub(super) closed: Vec<(Time, Closed)>,
    /// What it was offered, whatever it said to that.
    offers: Vec<(Time, ConnectionId, FullTrackName)>,
}

/// What it asked for, or was offered and took.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) connection: ConnectionId,
    pub(super) id: RequestId,
    pub(super) kind: Kind,
    pub(super) at: Time,
    pub(super) answer: Option<(Time, Answer)>,
    pub(super) over: Option<(Time, Over)>,
    /// Everything of it has arrived that will.
    pub(super) settled: bool,
    /// When its session ended.
    pub(super) left: Option<Time>,
    /// When Forward State 0 was asked for, and when 1 was granted again.
    pub(super) pauses: Vec<(Time, Option<Time>)>,
    /// The Forward State that updates ask for which are not answered, and how many pauses there were by then.
    updates: BTreeMap<RequestId, (Option<bool>, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Subscribe(FullTrackName, Parameters),
    /// A track that was offered.
    Offer(FullTrackName, Option<Location>),
    Fetch(FullTrackName, Fetching),
    Status(FullTrackName),
    Watch,
}

/// The range of a FETCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetching {
    /// From and to, as on the wire; of one that joins, what is known of it.
    pub(super) start: Location,
    pub(super) end: Option<Location>,
    /// The subscription that it joins: its place in the list, and whether it counts from there.
    pub(super) joins: Option<(usize, u64, bool)>,
    pub(super) descending: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Subscribed(SubscribeOk),
    Fetched(FetchOk),
    Ok(RequestOk),
    Refused(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Done(DoneCode),
    Cancelled(Option<ResetCode>),
    Withdrawn,
    /// The stream of a FETCH ended.
    Ended(StreamEnd),
    Closed,
}

/// Something of a request arrived.
#[derive(Debug)]
pub(super) enum Note {
    Opened(StreamId, SubgroupHeader),
    Object(StreamId, ObjectHeader, Bytes),
    Ended(StreamId, StreamEnd),
    Datagram(DatagramObject),
    Fetched(Item, Bytes),
    NonExistent(Location),
    Unknown(Location),
    FetchEnded,
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) location: Location,
    pub(super) subgroup: Option<SubgroupId>,
    pub(super) priority: u8,
    pub(super) properties: Properties,
    length: u64,
    payload: BytesMut,
}

#[derive(Debug)]
struct Arriving {
    asked: usize,
    object: Option<(ObjectHeader, BytesMut)>,
}

impl Asked {
    pub(super) fn track(&self) -> Option<&FullTrackName> {
        match &self.kind {
            Kind::Subscribe(track, _)
            | Kind::Offer(track, _)
            | Kind::Fetch(track, _)
            | Kind::Status(track) => Some(track),
            Kind::Watch => None,
        }
    }

    pub(super) const fn is_subscription(&self) -> bool {
        matches!(self.kind, Kind::Subscribe(..) | Kind::Offer(..))
    }

    /// Whether it was granted and is not over.
    pub(super) fn is_open(&self) -> bool {
        let refused = matches!(self.answer, Some((_, Answer::Refused(_))));
        self.over.is_none() && !refused
    }
}

/// A copy, which does not hold what it arrived in: that is in the memory of who sent it.
fn own(properties: &Properties) -> Properties {
    let bytes = Bytes::copy_from_slice(properties.bytes());
    Properties::from_bytes(bytes, properties.integers())
}

fn whole(length: u64, payload: &[u8]) -> bool {
    u64::try_from(payload.len()) == Ok(length)
}

impl Viewer {
    /// One of the open requests of a kind.
    pub(super) fn open(&self, is_meant: impl Fn(&Asked) -> bool, nth: u8) -> Option<usize> {
        let open = self.asked.iter().enumerate();
        let open: Vec<usize> = open
            .filter(|(_, asked)| asked.is_open() && is_meant(asked))
            .map(|(index, _)| index)
            .collect();
        let nth = usize::from(nth).checked_rem(open.len())?;
        open.get(nth).copied()
    }

    /// Lets go of what it got: some of that is in the memory of who sent it.
    pub(super) fn forget(&mut self) {
        self.notes.clear();
        self.fetched.clear();
        self.streams.clear();
        self.asked.clear();
        self.offers.clear();
    }

    /// Whether a track that it asked for was offered to it on the same connection after that, up to a time.
    pub(super) fn was_offered(&self, asked: &Asked, until: Time) -> bool {
        self.offers.iter().any(|(at, connection, track)| {
            let is_same = *connection == asked.connection && asked.track() == Some(track);
            is_same && *at >= asked.at && *at <= until
        })
    }

    /// When the subscription of the same track was withdrawn that came before on the same connection.
    pub(super) fn renewed(&self, index: usize) -> Option<Time> {
        let (earlier, later) = self.asked.split_at_checked(index)?;
        let asked = later.first()?;
        let is_same = |before: &&Asked| {
            before.connection == asked.connection
                && before.is_subscription()
                && before.track() == asked.track()
        };
        match earlier.iter().rfind(is_same)?.over {
            Some((at, Over::Withdrawn)) => Some(at),
            _ => None,
        }
    }

    /// Asks for something. False: not now.
    pub(super) fn ask(
        &mut self,
        stage: &mut Stage<'_>,
        kind: Kind,
        request: Request,
    ) -> Result<bool, Failure> {
        let Some(connection) = self.connection else {
            return Ok(false);
        };
        let now = stage.now();
        match stage.session(connection)?.request(now, request) {
            Ok(id) => {
                self.remember(now, (connection, id), kind, None);
                Ok(true)
            }
            Err(
                Misuse::Blocked
                | Misuse::Closed
                | Misuse::GoingAway
                | Misuse::DuplicateSubscription
                | Misuse::PrefixOverlap
                | Misuse::WrongState(_)
                | Misuse::UnknownRequest,
            ) => Ok(false),
            Err(misuse) => Err(format!("a subscriber: {misuse}")),
        }
    }

    fn remember(
        &mut self,
        now: Time,
        (connection, id): (ConnectionId, RequestId),
        kind: Kind,
        answer: Option<(Time, Answer)>,
    ) {
        let paused =
            matches!(&kind, Kind::Subscribe(_, parameters) if parameters.forward == Some(false));
        self.by_id.insert((connection, id), self.asked.len());
        self.asked.push(Asked {
            connection,
            id,
            kind,
            at: now,
            answer,
            over: None,
            settled: false,
            left: None,
            pauses: if paused {
                vec![(now, None)]
            } else {
                Vec::new()
            },
            updates: BTreeMap::new(),
        });
    }

    /// Withdraws a request.
    pub(super) fn cancel(&mut self, stage: &mut Stage<'_>, index: usize) -> Result<(), Failure> {
        let now = stage.now();
        let Some(asked) = self.asked.get_mut(index).filter(|asked| asked.is_open()) else {
            return Ok(());
        };
        let session = stage.session(asked.connection)?;
        match session.cancel(now, asked.id, ResetCode::Cancelled) {
            Ok(()) => {
                asked.over = Some((now, Over::Withdrawn));
                asked.settled = true;
                Ok(())
            }
            Err(Misuse::UnknownRequest | Misuse::WrongState(_) | Misuse::Closed) => Ok(()),
            Err(misuse) => Err(format!("a subscriber: {misuse}")),
        }
    }

    /// Changes a subscription.
    pub(super) fn update(
        &mut self,
        stage: &mut Stage<'_>,
        index: usize,
        parameters: Parameters,
    ) -> Result<(), Failure> {
        let now = stage.now();
        let Some(asked) = self.asked.get_mut(index).filter(|asked| asked.is_open()) else {
            return Ok(());
        };
        let forward = parameters.forward;
        let session = stage.session(asked.connection)?;
        match session.update(now, asked.id, parameters) {
            Ok(update) => {
                asked.updates.insert(update, (forward, asked.pauses.len()));
                if forward == Some(false) {
                    asked.pauses.push((now, None));
                }
                Ok(())
            }
            Err(
                Misuse::UnknownRequest | Misuse::WrongState(_) | Misuse::Closed | Misuse::Blocked,
            ) => Ok(()),
            Err(misuse) => Err(format!("a subscriber: {misuse}")),
        }
    }

    fn at(&mut self, connection: ConnectionId, id: RequestId) -> Option<(usize, &mut Asked)> {
        let index = *self.by_id.get(&(connection, id))?;
        Some((index, self.asked.get_mut(index)?))
    }

    fn finish(&mut self, now: Time, connection: ConnectionId, id: RequestId, over: Over) {
        if let Some((_, asked)) = self.at(connection, id) {
            asked.over.get_or_insert((now, over));
        }
    }

    fn offered(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        id: RequestId,
        request: Request,
    ) -> Result<(), Failure> {
        let now = stage.now();
        let response = match request {
            Request::Publish(publish) => {
                let track = publish.track.clone();
                self.offers.push((now, connection, track));
                let same = |asked: &Asked| {
                    asked.connection == connection
                        && asked.is_subscription()
                        && !asked.settled
                        && asked.is_open()
                        && asked.track() == Some(&publish.track)
                };
                if self.asked.iter().any(same) {
                    let code = RequestCode::Uninterested;
                    Response::Error(Refusal::new(code, "subscribed already"))
                } else {
                    let ok = RequestOk::default();
                    let largest = publish.parameters.largest_object;
                    let kind = Kind::Offer(publish.track, largest);
                    let answer = Some((now, Answer::Ok(ok.clone())));
                    self.remember(now, (connection, id), kind, answer);
                    Response::Ok(ok)
                }
            }
            _ => Response::Error(Refusal::new(RequestCode::NotSupported, "a mere subscriber")),
        };
        let answered = stage.session(connection)?.respond(now, id, response);
        answered.map_err(|misuse| format!("a subscriber: {misuse}"))
    }

    fn respond(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: RequestId,
        response: Response,
    ) -> Result<(), Failure> {
        let Some((_, asked)) = self.at(connection, id) else {
            return Err(format!("an answer to {id:?}, which was not asked"));
        };
        let answer = match response {
            Response::SubscribeOk(ok) => Answer::Subscribed(ok),
            Response::FetchOk(ok) => Answer::Fetched(ok),
            Response::Ok(ok) => Answer::Ok(ok),
            Response::Error(refusal) => Answer::Refused(refusal),
        };
        if let Some((_, before)) = asked.answer.replace((now, answer)) {
            return Err(format!("{id:?} was answered twice, first with {before:?}"));
        }
        Ok(())
    }

    fn payload(&mut self, key: (ConnectionId, StreamId), bytes: &[u8]) -> Result<(), Failure> {
        let arriving = self.streams.get_mut(&key).ok_or("payload of no stream")?;
        let Some((object, payload)) = &mut arriving.object else {
            return Err("payload of no object".to_owned());
        };
        payload.extend_from_slice(bytes);
        if whole(object.payload_length, payload)
            && let Some((object, payload)) = arriving.object.take()
        {
            let note = Note::Object(key.1, object, payload.freeze());
            self.notes.push((arriving.asked, note));
        }
        Ok(())
    }

    fn fetched(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: RequestId,
        item: FetchItem,
    ) -> Result<(), Failure> {
        let Some((index, asked)) = self.at(connection, id) else {
            return Err("something of an unknown FETCH".to_owned());
        };
        let note = match item {
            FetchItem::Object {
                location,
                subgroup,
                priority,
                properties,
                payload_length,
            } => {
                let item = Item {
                    location,
                    subgroup,
                    priority,
                    properties: own(&properties),
                    length: payload_length,
                    payload: BytesMut::new(),
                };
                if self.fetched.insert(index, item).is_some() {
                    return Err(format!("{location} of a FETCH follows a cut object"));
                }
                return self.more_fetched(index, &[]);
            }
            FetchItem::Payload(bytes) => return self.more_fetched(index, &bytes),
            FetchItem::NonExistent(last) => Note::NonExistent(last),
            FetchItem::Unknown(last) => Note::Unknown(last),
            FetchItem::End(end) => {
                asked.over.get_or_insert((now, Over::Ended(end)));
                asked.settled = true;
                let cut = self.fetched.remove(&index).is_some();
                if cut && end == StreamEnd::Fin {
                    return Err("a FETCH's stream ended within an object".to_owned());
                }
                Note::FetchEnded
            }
        };
        self.notes.push((index, note));
        Ok(())
    }

    fn more_fetched(&mut self, index: usize, bytes: &[u8]) -> Result<(), Failure> {
        let item = self.fetched.get_mut(&index).ok_or("payload of no item")?;
        item.payload.extend_from_slice(bytes);
        if whole(item.length, &item.payload)
            && let Some(mut item) = self.fetched.remove(&index)
        {
            let payload = item.payload.split().freeze();
            self.notes.push((index, Note::Fetched(item, payload)));
        }
        Ok(())
    }

    fn closed(&mut self, now: Time, connection: ConnectionId, closed: Closed) {
        self.closed.push((now, closed));
        self.connection = None;
        self.streams.retain(|(of, _), _| *of != connection);
        for asked in &mut self.asked {
            if asked.connection == connection {
                asked.over.get_or_insert((now, Over::Closed));
                asked.left = Some(now);
            }
        }
    }

    fn stream_event(&mut self, connection: ConnectionId, event: Event) -> Result<(), Failure> {
        match event {
            Event::SubgroupOpened { stream, id, header } => {
                let (asked, _) = self
                    .at(connection, id)
                    .ok_or("a stream of an unknown subscription")?;
                let arriving = Arriving {
                    asked,
                    object: None,
                };
                self.streams.insert((connection, stream), arriving);
                self.notes.push((asked, Note::Opened(stream, header)));
            }
            Event::Object { stream, object } => {
                let key = (connection, stream);
                let arriving = self.streams.get_mut(&key).ok_or("object of no stream")?;
                let properties = own(&object.properties);
                let object = ObjectHeader {
                    properties,
                    ..object
                };
                let begun = (object, BytesMut::new());
                if arriving.object.replace(begun).is_some() {
                    return Err("an object follows a cut one".to_owned());
                }
                self.payload(key, &[])?;
            }
            Event::Payload { stream, bytes } => self.payload((connection, stream), &bytes)?,
            Event::SubgroupEnded { stream, end } => {
                let Some(arriving) = self.streams.remove(&(connection, stream)) else {
                    return Err("the end of no stream".to_owned());
                };
                if arriving.object.is_some() && end == StreamEnd::Fin {
                    return Err("a stream ended within an object".to_owned());
                }
                self.notes.push((arriving.asked, Note::Ended(stream, end)));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Part for Viewer {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let now = stage.now();
        match event {
            Event::Established { draft, .. } => {
                self.connection = Some(connection);
                self.draft = Some(draft);
            }
            Event::Request { id, request } => self.offered(stage, connection, id, request)?,
            Event::Response { id, response } => self.respond(now, connection, id, response)?,
            Event::Update { id, update, .. } => {
                let refusal = Refusal::new(RequestCode::NotSupported, "no updates");
                let session = stage.session(connection)?;
                let answered = session.respond_to_update(now, id, update, Err(refusal));
                answered.map_err(|misuse| format!("a subscriber: {misuse}"))?;
            }
            Event::UpdateResponse {
                id,
                update,
                response,
            } => {
                if let Some((_, asked)) = self.at(connection, id)
                    && let Some((Some(true), pauses)) = asked.updates.remove(&update)
                    && response.is_ok()
                {
                    for pause in asked.pauses.iter_mut().take(pauses) {
                        pause.1.get_or_insert(now);
                    }
                }
            }
            Event::Done { id, done } => self.finish(now, connection, id, Over::Done(done.code)),
            Event::Settled { id } => {
                if let Some((_, asked)) = self.at(connection, id) {
                    asked.settled = true;
                }
            }
            Event::Cancelled { id, code } => {
                self.finish(now, connection, id, Over::Cancelled(code));
            }
            Event::Datagram { id, object } => {
                let (asked, _) = self
                    .at(connection, id)
                    .ok_or("a datagram of an unknown subscription")?;
                let object = DatagramObject {
                    properties: own(&object.properties),
                    payload: Bytes::copy_from_slice(&object.payload),
                    ..object
                };
                self.notes.push((asked, Note::Datagram(object)));
            }
            Event::Fetched { id, item } => self.fetched(now, connection, id, item)?,
            Event::MalformedTrack { rule, .. } => return Err(format!("malformed track: {rule}")),
            Event::Closed(closed) => self.closed(now, connection, closed),
            other => self.stream_event(connection, other)?,
        }
        Ok(())
    }
}
