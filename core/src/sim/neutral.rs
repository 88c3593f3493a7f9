//! What a session tells, in words that depend neither on the draft nor on what carries the session.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each kind of event is sorted out before it comes to its function"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::code::ResetCode;
use crate::session::{Event, FetchItem, Refusal, Request, Response, StreamEnd};
use crate::transport::{Closed, StreamId};
use crate::wire::id::{GroupId, Location, RequestId};
use crate::wire::message::{FetchRange, Interest};
use crate::wire::name::{FullTrackName, TrackNamespace};
use crate::wire::object::{DatagramObject, ObjectHeader, SubgroupHeader};
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

/// What every event about the session as a whole is filed under.
pub(super) const SESSION: &str = "session";

/// Says whether these bytes stand at this place of an object's payload.
pub(super) type Check = fn(Location, u64, &[u8]) -> bool;

/// Something that a peer was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The request, or the stream, that it is about.
    pub(super) about: String,
    pub(super) text: String,
}

/// Everything that one peer was told, in order.
///
/// Ids and the numbers of streams are the session's own, and pieces are the transport's; they are left out.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: Vec<Line>,
    requests: BTreeMap<RequestId, String>,
    streams: BTreeMap<StreamId, Stream>,
    fetches: BTreeMap<RequestId, Begun>,
    /// Streams of our own that have a name.
    sending: BTreeMap<StreamId, String>,
    check: Option<Check>,
    /// Also what the drafts tell differently.
    exact: bool,
}

/// A subgroup's stream that has not ended.
#[derive(Debug)]
struct Stream {
    name: String,
    group: GroupId,
    object: Option<Begun>,
}

/// An object of which the payload has not arrived.
#[derive(Debug)]
struct Begun {
    text: String,
    location: Location,
    length: u64,
    arrived: u64,
    wrong: bool,
}

impl Log {
    /// One that looks at payloads too, and for peers of one draft: it also tells with which codes requests are cancelled,
    /// and how the session was set up.
    pub(super) fn exact(check: Check) -> Self {
        Self {
            check: Some(check),
            exact: true,
            ..Self::default()
        }
    }

    /// A request of our own gets a name.
    pub(super) fn asked(&mut self, id: RequestId, name: &str) {
        self.requests.insert(id, name.to_owned());
    }

    /// A stream of our own gets a name.
    pub(super) fn opened(&mut self, stream: StreamId, name: String) {
        self.sending.insert(stream, name);
    }

    /// The last request with this name.
    pub(super) fn id(&self, name: &str) -> Option<RequestId> {
        let mut named = self.requests.iter().filter(|(_, named)| *named == name);
        named.next_back().map(|(id, _)| *id)
    }

    /// The last stream of the peer's with this name.
    pub(super) fn stream(&self, name: &str) -> Option<StreamId> {
        let mut named = self.streams.iter().filter(|(_, named)| named.name == name);
        named.next_back().map(|(id, _)| *id)
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Writes a line of the owner's.
    pub(super) fn note(&mut self, about: &str, text: String) {
        let about = about.to_owned();
        self.lines.push(Line { about, text });
    }

    /// Writes down what happened.
    pub(super) fn event(&mut self, event: &Event) {
        let (id, text) = match event {
            Event::Request { id, request } => {
                self.asked(*id, &request_name(request));
                (*id, format!("asked: {}", request_text(request)))
            }
            Event::Response { id, response } => (*id, response_text(response)),
            Event::Update { id, parameters, .. } => {
                (*id, format!("changes: {}", parameters_text(parameters)))
            }
            Event::UpdateResponse { id, response, .. } => match response {
                Ok(_) => (*id, "was changed".to_owned()),
                Err(refusal) => (*id, format!("was not changed: {}", refused(refusal))),
            },
            Event::Done { id, done } => (*id, format!("is done: {}", done.code)),
            Event::Settled { id } => (*id, "settled".to_owned()),
            Event::Cancelled { id, code } => (*id, self.cancelled(*code)),
            Event::Namespace { id, suffix } => (*id, format!("{} came", namespace(suffix))),
            Event::NamespaceDone { id, suffix } => (*id, format!("{} went", namespace(suffix))),
            Event::PublishBlocked { id, suffix, name } => {
                (*id, format!("{}--{name} is blocked", namespace(suffix)))
            }
            Event::GoAway { id: Some(id), .. } => (*id, "go away".to_owned()),
            Event::MalformedTrack { id, rule } => (*id, format!("is malformed: {rule}")),
            Event::SubgroupOpened { .. }
            | Event::Object { .. }
            | Event::Payload { .. }
            | Event::SubgroupEnded { .. } => return self.data(event),
            Event::Datagram { id, object } => return self.datagram(*id, object),
            Event::Fetched { id, item } => return self.item(*id, item),
            Event::StreamStopped { stream, code } => return self.ours(*stream, "stopped", *code),
            Event::GoAway { id: None, .. } | Event::Established { .. } | Event::Closed(_) => {
                return self.session(event);
            }
            // About our own streams, or about credit, which the drafts give differently.
            Event::StreamExpired { .. }
            | Event::StreamDelivered { .. }
            | Event::CanRequest
            | Event::CanOpenStream => return,
        };
        let about = self.name(id).to_owned();
        self.lines.push(Line { about, text });
    }

    /// What a request is called.
    pub(super) fn name(&self, id: RequestId) -> &str {
        self.requests.get(&id).map_or("?", String::as_str)
    }

    fn cancelled(&self, code: Option<ResetCode>) -> String {
        match code {
            Some(code) if self.exact => format!("was cancelled: {code}"),
            Some(_) | None => "was cancelled".to_owned(),
        }
    }

    fn session(&mut self, event: &Event) {
        let text = match event {
            Event::Established { draft, setup } if self.exact => {
                let text = |bytes: &bytes::Bytes| bytes.escape_ascii().to_string();
                let (path, name) = (&setup.path, &setup.implementation);
                format!(
                    "established in draft {}, path {:?}, by {:?}",
                    draft.number(),
                    path.as_ref().map(text),
                    name.as_ref().map(text)
                )
            }
            Event::GoAway { goaway, .. } if self.exact && !goaway.uri.is_empty() => {
                format!("go away to {}", goaway.uri.escape_ascii())
            }
            Event::GoAway { .. } => "go away".to_owned(),
            // The words are the stack's.
            Event::Closed(closed) => closed_text(closed),
            _ => return,
        };
        self.note(SESSION, text);
    }

    /// The peer acted on a stream of our own.
    fn ours(&mut self, stream: StreamId, what: &str, code: ResetCode) {
        if let Some(about) = self.sending.get(&stream).cloned() {
            let text = format!("{what}: {code}");
            self.lines.push(Line { about, text });
        }
    }

    fn data(&mut self, event: &Event) {
        match event {
            Event::SubgroupOpened { stream, id, header } => self.begin_stream(*stream, *id, header),
            Event::Object { stream, object } => self.begin_object(*stream, object),
            Event::Payload { stream, bytes } => self.payload(*stream, bytes),
            Event::SubgroupEnded { stream, end } => {
                let Some(ended) = self.streams.remove(stream) else {
                    return;
                };
                let within = ended.object.map_or("", |_| " within an object");
                let text = format!("ends{within}: {end:?}");
                let about = ended.name;
                self.lines.push(Line { about, text });
            }
            _ => {}
        }
    }

    fn begin_stream(&mut self, stream: StreamId, id: RequestId, header: &SubgroupHeader) {
        let name = stream_name(self.name(id), header.group.0, header.subgroup.0);
        // FIRST_OBJECT is left out: draft 16 has no such flag.
        self.note(&name, format!("begins, priority {:?}", header.priority));
        let group = header.group;
        let begun = Stream {
            name,
            group,
            object: None,
        };
        self.streams.insert(stream, begun);
    }

    fn begin_object(&mut self, stream: StreamId, object: &ObjectHeader) {
        let Some(at) = self.streams.get_mut(&stream) else {
            return;
        };
        let text = format!(
            "object {} {:?}, {}",
            object.id.0,
            object.status,
            properties(&object.properties),
        );
        let location = Location {
            group: at.group,
            object: object.id,
        };
        at.object = Some(Begun::new(text, location, object.payload_length));
        self.payload(stream, &[]);
    }

    fn payload(&mut self, stream: StreamId, bytes: &[u8]) {
        let Some(at) = self.streams.get_mut(&stream) else {
            return;
        };
        if let Some(text) = arrive(&mut at.object, self.check, bytes) {
            let about = at.name.clone();
            self.lines.push(Line { about, text });
        }
    }

    fn item(&mut self, id: RequestId, item: &FetchItem) {
        let text = match item {
            FetchItem::Object {
                location,
                subgroup,
                priority,
                properties: list,
                payload_length,
            } => {
                let subgroup = subgroup.map(|subgroup| subgroup.0);
                let list = properties(list);
                let text = format!("{location} of {subgroup:?}, priority {priority}, {list}");
                let begun = Begun::new(text, *location, *payload_length);
                self.fetches.insert(id, begun);
                return self.fetched(id, &[]);
            }
            FetchItem::Payload(bytes) => return self.fetched(id, bytes),
            FetchItem::NonExistent(last) => format!("nothing up to {last}"),
            FetchItem::Unknown(last) => format!("unknown up to {last}"),
            FetchItem::End(end) => {
                let within = self.fetches.remove(&id).map_or("", |_| " within an object");
                format!("ends{within}: {end:?}")
            }
        };
        let about = objects_of(self.name(id));
        self.lines.push(Line { about, text });
    }

    fn fetched(&mut self, id: RequestId, bytes: &[u8]) {
        let mut begun = self.fetches.remove(&id);
        if let Some(text) = arrive(&mut begun, self.check, bytes) {
            let about = objects_of(self.name(id));
            self.lines.push(Line { about, text });
        }
        if let Some(begun) = begun {
            self.fetches.insert(id, begun);
        }
    }

    fn datagram(&mut self, id: RequestId, object: &DatagramObject) {
        let text = format!(
            "datagram {} {:?}, priority {:?}, last: {}, {}",
            object.location,
            object.status,
            object.priority,
            object.end_of_group,
            properties(&object.properties),
        );
        let length = u64::try_from(object.payload.len()).unwrap_or(u64::MAX);
        let mut begun = Some(Begun::new(text, object.location, length));
        if let Some(text) = arrive(&mut begun, self.check, &object.payload) {
            self.note(&datagrams_of(self.name(id)), text);
        }
    }
}

impl Begun {
    const fn new(text: String, location: Location, length: u64) -> Self {
        Self {
            text,
            location,
            length,
            arrived: 0,
            wrong: false,
        }
    }
}

/// The words are the stack's.
fn closed_text(closed: &Closed) -> String {
    match closed {
        Closed::ByPeer { code, .. } => format!("closed with {code:#x}"),
        Closed::ByUs => "closed by us".to_owned(),
        Closed::TimedOut => "timed out".to_owned(),
        Closed::Failed(_) => "failed".to_owned(),
        Closed::Lost(_) => "lost".to_owned(),
    }
}

/// More of an object's payload; what to write when it is whole.
fn arrive(begun: &mut Option<Begun>, check: Option<Check>, bytes: &[u8]) -> Option<String> {
    let object = begun.as_mut()?;
    object.wrong |= check.is_some_and(|same| !same(object.location, object.arrived, bytes));
    object.arrived += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if object.arrived < object.length {
        return None;
    }
    let object = begun.take()?;
    let wrong = if object.wrong { ", not those sent" } else { "" };
    Some(format!("{}, {} bytes{wrong}", object.text, object.arrived))
}

/// What the stream of a subgroup is called.
pub(super) fn stream_name(request: &str, group: u64, subgroup: u64) -> String {
    format!("{request} {group}/{subgroup}")
}

/// What the objects of a FETCH are filed under: they may overtake its answer.
pub(super) fn objects_of(fetch: &str) -> String {
    format!("{fetch} objects")
}

/// What datagrams of a request are filed under: they may be lost, or overtake each other.
pub(super) fn datagrams_of(request: &str) -> String {
    format!("{request}{DATAGRAMS}")
}

/// How everything ends under which datagrams are filed.
pub(super) const DATAGRAMS: &str = " datagrams";

/// What a request is called.
pub(super) fn request_name(request: &Request) -> String {
    match request {
        Request::Subscribe(subscribe) => subscribe_to(&subscribe.track),
        Request::Publish(publish) => format!("publish {}", publish.track),
        Request::Fetch(fetch) => match &fetch.range {
            FetchRange::Standalone { track, .. } => format!("fetch {track}"),
            FetchRange::RelativeJoining { .. } => "join relatively".to_owned(),
            FetchRange::AbsoluteJoining { .. } => "join absolutely".to_owned(),
        },
        Request::TrackStatus(status) => format!("status of {}", status.track),
        Request::PublishNamespace(publish) => format!("announce {}", namespace(&publish.namespace)),
        Request::SubscribeNamespace(watch) => match watch.interest {
            Interest::Namespaces => format!("watch {}", namespace(&watch.prefix)),
            Interest::Tracks => format!("watch tracks of {}", namespace(&watch.prefix)),
            Interest::Both => format!("watch all of {}", namespace(&watch.prefix)),
        },
        Request::SubscribeTracks(watch) => format!("watch tracks of {}", namespace(&watch.prefix)),
    }
}

fn request_text(request: &Request) -> String {
    match request {
        Request::Subscribe(subscribe) => parameters_text(&subscribe.parameters),
        Request::Publish(publish) => format!(
            "{}, {}",
            parameters_text(&publish.parameters),
            properties(&publish.properties)
        ),
        Request::Fetch(fetch) => {
            let parameters = parameters_text(&fetch.parameters);
            match &fetch.range {
                FetchRange::Standalone { start, end, .. } => {
                    format!("{start} to {end}, {parameters}")
                }
                FetchRange::RelativeJoining { joining_start, .. }
                | FetchRange::AbsoluteJoining { joining_start, .. } => {
                    format!("from {joining_start}, {parameters}")
                }
            }
        }
        Request::SubscribeNamespace(_)
        | Request::TrackStatus(_)
        | Request::PublishNamespace(_)
        | Request::SubscribeTracks(_) => String::new(),
    }
}

fn response_text(response: &Response) -> String {
    match response {
        Response::SubscribeOk(ok) => format!(
            "ok, {}, {}",
            parameters_text(&ok.parameters),
            properties(&ok.properties)
        ),
        Response::FetchOk(ok) => format!(
            "ok, up to {}, end of track: {}, {}",
            ok.end,
            ok.end_of_track,
            properties(&ok.properties)
        ),
        // Properties are only in answers to TRACK_STATUS, and there only in draft 18.
        Response::Ok(ok) => format!("ok, {}", parameters_text(&ok.parameters)),
        Response::Error(refusal) => refused(refusal),
    }
}

fn refused(refusal: &Refusal) -> String {
    let reason = refusal.reason.escape_ascii();
    format!(
        "refused with {}: {reason}, retry {:?}",
        refusal.code, refusal.retry
    )
}

/// What absent parameters mean is written as if it stood there.
fn parameters_text(parameters: &Parameters) -> String {
    let mut text = format!("forward {:?}", parameters.forward.unwrap_or(true));
    let named = [
        (
            "filter",
            parameters.filter.map(|filter| format!("{filter:?}")),
        ),
        (
            "largest",
            parameters.largest_object.map(|largest| largest.to_string()),
        ),
        (
            "order",
            parameters.group_order.map(|order| format!("{order:?}")),
        ),
        (
            "priority",
            parameters
                .subscriber_priority
                .map(|priority| priority.to_string()),
        ),
        (
            "expires",
            parameters.expires.map(|expires| format!("{expires:?}")),
        ),
        (
            "new group",
            parameters.new_group_request.map(|group| group.to_string()),
        ),
    ];
    for (name, value) in named {
        if let Some(value) = value
            && write!(text, ", {name} {value}").is_err()
        {
            return text;
        }
    }
    text
}

fn properties(list: &Properties) -> String {
    let list: Result<Vec<_>, _> = list.iter().collect();
    match list {
        Ok(list) => format!("{list:x?}"),
        Err(error) => format!("{error:?}"),
    }
}

/// A namespace as traces show it.
pub(super) fn namespace(namespace: &TrackNamespace) -> String {
    let fields = namespace.fields().iter();
    let fields: Vec<String> = fields
        .map(|field| field.escape_ascii().to_string())
        .collect();
    fields.join("/")
}

/// The name by which the log knows a subscription.
pub(super) fn subscribe_to(track: &FullTrackName) -> String {
    format!("subscribe {track}")
}

/// Whether a line says that everything of a stream was received.
pub(super) fn is_fin(line: &Line) -> bool {
    let fin = format!("{:?}", StreamEnd::Fin);
    line.text.starts_with("ends") && line.text.ends_with(&fin)
}
