//! What a session tells, in words that do not depend on the draft.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::session::{Event, FetchItem, Refusal, Request, Response};
use crate::transport::{Closed, StreamId};
use crate::wire::id::RequestId;
use crate::wire::message::FetchRange;
use crate::wire::name::{FullTrackName, TrackNamespace};
use crate::wire::object::DatagramObject;
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

/// Everything that one peer was told, in order.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: Vec<String>,
    requests: BTreeMap<RequestId, String>,
    streams: BTreeMap<StreamId, String>,
    /// Bytes that came since the last object began.
    payloads: BTreeMap<StreamId, usize>,
    fetched: usize,
}

impl Log {
    /// A request of our own gets a name.
    pub(super) fn asked(&mut self, id: RequestId, name: &str) {
        self.requests.insert(id, name.to_owned());
    }

    /// The request with this name.
    pub(super) fn id(&self, name: &str) -> RequestId {
        let mut named = self.requests.iter().filter(|(_, named)| *named == name);
        *named.next_back().unwrap_or_else(|| panic!("no {name}")).0
    }

    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Ids and the numbers of streams are the session's own, and pieces are the transport's; they are left out.
    pub(super) fn event(&mut self, event: &Event) {
        let line = match event {
            Event::Request { id, request } => {
                let name = request_name(request);
                self.asked(*id, &name);
                format!("{name}: {}", request_text(request))
            }
            Event::Response { id, response } => {
                format!("{}: {}", self.name(*id), response_text(response))
            }
            Event::Update { id, parameters, .. } => {
                format!(
                    "{} changes: {}",
                    self.name(*id),
                    parameters_text(parameters)
                )
            }
            Event::UpdateResponse { id, response, .. } => match response {
                Ok(_) => format!("{} was changed", self.name(*id)),
                Err(refusal) => format!("{} was not changed: {}", self.name(*id), refused(refusal)),
            },
            Event::Done { id, done } => format!("{} is done: {}", self.name(*id), done.code),
            Event::Settled { id } => format!("{} settled", self.name(*id)),
            Event::Cancelled { id, .. } => format!("{} was cancelled", self.name(*id)),
            Event::Namespace { id, suffix } => {
                format!("{}: {} came", self.name(*id), namespace(suffix))
            }
            Event::NamespaceDone { id, suffix } => {
                format!("{}: {} went", self.name(*id), namespace(suffix))
            }
            Event::PublishBlocked { id, .. } => format!("{}: blocked", self.name(*id)),
            Event::GoAway { .. } => "go away".to_owned(),
            Event::MalformedTrack { id, rule } => {
                format!("{} is malformed: {rule}", self.name(*id))
            }
            Event::SubgroupOpened { .. }
            | Event::Object { .. }
            | Event::Payload { .. }
            | Event::SubgroupEnded { .. } => return self.data(event),
            Event::Datagram { id, object } => {
                format!("{}: datagram {}", self.name(*id), datagram(object))
            }
            Event::Fetched { id, item } => return self.item(*id, item),
            Event::Closed(closed) => match closed {
                Closed::ByPeer { code, .. } => format!("closed with {code}"),
                other => format!("closed: {other}"),
            },
            // About our own streams, or about credit, which the drafts give differently.
            Event::Established { .. }
            | Event::StreamStopped { .. }
            | Event::StreamExpired { .. }
            | Event::StreamDelivered { .. }
            | Event::CanRequest
            | Event::CanOpenStream => return,
        };
        self.lines.push(line);
    }

    fn name(&self, id: RequestId) -> &str {
        self.requests.get(&id).map_or("?", String::as_str)
    }

    fn data(&mut self, event: &Event) {
        let line = match event {
            Event::SubgroupOpened { stream, id, header } => {
                let name = format!(
                    "{} {}/{}",
                    self.name(*id),
                    header.group.0,
                    header.subgroup.0
                );
                // FIRST_OBJECT is left out: draft 16 has no such flag.
                let line = format!("{name} begins, priority {:?}", header.priority);
                self.streams.insert(*stream, name);
                line
            }
            Event::Object { stream, object } => {
                self.payloads.insert(*stream, 0);
                format!(
                    "{}: object {} {:?}, {} bytes, {}",
                    self.streams[stream],
                    object.id.0,
                    object.status,
                    object.payload_length,
                    properties(&object.properties),
                )
            }
            Event::Payload { stream, bytes } => {
                *self.payloads.get_mut(stream).unwrap() += bytes.len();
                return;
            }
            Event::SubgroupEnded { stream, end } => {
                let name = self.streams.remove(stream).unwrap_or_default();
                let bytes = self.payloads.remove(stream).unwrap_or(0);
                format!("{name} ends after {bytes} bytes: {end:?}")
            }
            other => panic!("{other:?}"),
        };
        self.lines.push(line);
    }

    fn item(&mut self, id: RequestId, item: &FetchItem) {
        let name = self.name(id).to_owned();
        let text = match item {
            FetchItem::Object {
                location,
                subgroup,
                priority,
                properties: list,
                payload_length,
            } => format!(
                "{location} of {subgroup:?}, priority {priority}, {payload_length} bytes, {}",
                properties(list)
            ),
            FetchItem::Payload(bytes) => {
                self.fetched += bytes.len();
                return;
            }
            FetchItem::NonExistent(last) => format!("nothing up to {last}"),
            FetchItem::Unknown(last) => format!("unknown up to {last}"),
            FetchItem::End(end) => {
                format!("{end:?} after {} bytes", std::mem::take(&mut self.fetched))
            }
        };
        self.lines.push(format!("{name}: {text}"));
    }
}

fn request_name(request: &Request) -> String {
    match request {
        Request::Subscribe(subscribe) => format!("subscribe {}", subscribe.track),
        Request::Publish(publish) => format!("publish {}", publish.track),
        Request::Fetch(fetch) => match &fetch.range {
            FetchRange::Standalone { track, .. } => format!("fetch {track}"),
            joining => panic!("{joining:?}"),
        },
        Request::TrackStatus(status) => format!("status of {}", status.track),
        Request::PublishNamespace(publish) => format!("announce {}", namespace(&publish.namespace)),
        Request::SubscribeNamespace(watch) => format!("watch {}", namespace(&watch.prefix)),
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
        Request::Fetch(fetch) => match &fetch.range {
            FetchRange::Standalone { start, end, .. } => {
                format!("{start} to {end}, {}", parameters_text(&fetch.parameters))
            }
            joining => panic!("{joining:?}"),
        },
        Request::SubscribeNamespace(watch) => format!("{:?}", watch.interest),
        Request::TrackStatus(_) | Request::PublishNamespace(_) | Request::SubscribeTracks(_) => {
            String::new()
        }
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
    for (name, value) in [
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
    ] {
        if let Some(value) = value {
            write!(text, ", {name} {value}").unwrap();
        }
    }
    text
}

fn properties(list: &Properties) -> String {
    let list: Vec<_> = list.iter().map(Result::unwrap).collect();
    format!("{list:x?}")
}

fn datagram(object: &DatagramObject) -> String {
    format!(
        "{} {:?}, priority {:?}, last: {}, {} bytes, {}",
        object.location,
        object.status,
        object.priority,
        object.end_of_group,
        object.payload.len(),
        properties(&object.properties),
    )
}

fn namespace(namespace: &TrackNamespace) -> String {
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
