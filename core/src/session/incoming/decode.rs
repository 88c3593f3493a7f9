//! From the bytes of a stream to events.

use std::collections::VecDeque;

use bytes::Bytes;

use super::rules::{Fault, check_properties};
use super::{Content, EarlyDatagram, FetchStream, Incoming, Kind, Outcome, Subgroup};
use crate::code::ResetCode;
use crate::session::{Event, FetchItem, StreamEnd};
use crate::time::Time;
use crate::transport::StreamId;
use crate::wire::Error;
use crate::wire::id::{Location, RequestId, TrackAlias};
use crate::wire::object::{
    FetchDecoder, FetchEntry, FetchPiece, ObjectHeader, StreamError, StreamType, SubgroupDecoder,
    SubgroupHeader, SubgroupItem, decode_stream_type,
};

/// Whether there is more to decode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    More,
    /// Nothing until more is read, or the stream is gone.
    Settled,
}

impl Incoming {
    pub(super) fn data(&mut self, now: Time, id: StreamId, bytes: Bytes) -> Result<(), Error> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        match &mut stream.content {
            Content::Unknown(head) => {
                // nearly always the type is whole in the first chunk, which then stays as it is
                let bytes = if head.is_empty() {
                    bytes
                } else {
                    head.extend_from_slice(&bytes);
                    head.split().freeze()
                };
                match decode_stream_type(self.profile, &bytes)? {
                    Some((kind, length)) => self.start(now, id, kind, &bytes, length),
                    None => {
                        head.extend_from_slice(&bytes);
                        Ok(())
                    }
                }
            }
            Content::Padding => Ok(()),
            Content::Subgroup(subgroup) => {
                subgroup.decoder.push(bytes);
                self.decode(now, id)
            }
            Content::Fetch(fetch) => {
                fetch.decoder.push(bytes);
                self.decode(now, id)
            }
        }
    }

    /// The peer ended the stream.
    pub(super) fn fin(&mut self, now: Time, id: StreamId) -> Result<(), Error> {
        let Some(stream) = self.streams.get(&id) else {
            return Ok(());
        };
        let mut fault = Ok(());
        match &stream.content {
            Content::Unknown(head) if !head.is_empty() => {
                return Err(Error::violation("V75: stream ended inside its type"));
            }
            Content::Unknown(_) | Content::Padding => {}
            Content::Fetch(fetch) => fetch.decoder.finish()?,
            Content::Subgroup(subgroup) => {
                subgroup.decoder.finish()?;
                let whole = (subgroup.request, subgroup.opened, subgroup.last);
                if let (Some(request), Some(header), Some(last)) = whole
                    && let Some(subscription) = self.subscription(request)
                {
                    let finished = subscription.record.finished(&header, last.0);
                    fault = finished.map_err(|rule| (request, rule));
                }
            }
        }
        match fault {
            Ok(()) => {
                self.end(now, id, StreamEnd::Fin);
                Ok(())
            }
            Err((request, rule)) => self.fault(request, Fault::Track(rule)),
        }
    }

    /// Delivers what waited for an alias.
    pub(super) fn deliver_early(
        &mut self,
        now: Time,
        request: RequestId,
        alias: TrackAlias,
    ) -> Result<(), Error> {
        let early: Vec<StreamId> = self.early_streams.iter().map(|(_, id)| *id).collect();
        for id in early {
            let waits = self.streams.get(&id).is_some_and(|stream| {
                matches!(&stream.content, Content::Subgroup(subgroup) if subgroup.alias == Some(alias))
            });
            if waits && self.requests.contains_key(&request) {
                self.early_streams.retain(|(_, early)| *early != id);
                self.assign(now, id, request);
                self.decode(now, id)?;
                self.update_readable(id);
            } else if waits {
                // what came before showed that the track is malformed
                self.abandon(id, ResetCode::Cancelled);
            }
        }
        let (mine, others): (VecDeque<EarlyDatagram>, _) =
            std::mem::take(&mut self.early_datagrams)
                .into_iter()
                .partition(|early| early.alias == alias);
        self.early_datagrams = others;
        for early in mine {
            self.datagram_object(now, request, early.object)?;
        }
        Ok(())
    }

    /// The stream's type is known.
    fn start(
        &mut self,
        now: Time,
        id: StreamId,
        kind: StreamType,
        head: &Bytes,
        length: usize,
    ) -> Result<(), Error> {
        let rest = head.slice(length..);
        let content = match kind {
            StreamType::Control => {
                self.remove(id, StreamEnd::Fin);
                let bytes = head.clone();
                self.outcomes
                    .push_back(Outcome::Control { stream: id, bytes });
                return Ok(());
            }
            StreamType::Padding => Content::Padding,
            StreamType::Subgroup(kind) => {
                let mut decoder = SubgroupDecoder::new(self.profile, kind);
                decoder.push(rest);
                Content::Subgroup(Box::new(Subgroup {
                    decoder,
                    alias: None,
                    request: None,
                    opened: None,
                    last: None,
                }))
            }
            StreamType::Fetch => {
                let mut decoder = FetchDecoder::new(self.profile);
                decoder.push(rest);
                Content::Fetch(Box::new(FetchStream {
                    decoder,
                    request: None,
                }))
            }
        };
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.content = content;
        }
        self.decode(now, id)
    }

    /// Reads everything that can be read from what arrived.
    fn decode(&mut self, now: Time, id: StreamId) -> Result<(), Error> {
        if let Some(request) = self.streams.get(&id).and_then(|s| s.content.request()) {
            self.alive(now, request);
        }
        loop {
            let Some(stream) = self.streams.get_mut(&id) else {
                return Ok(());
            };
            let progress = match &mut stream.content {
                Content::Subgroup(subgroup)
                    if subgroup.alias.is_some() && subgroup.request.is_none() =>
                {
                    Progress::Settled
                }
                Content::Subgroup(subgroup) => match subgroup.decoder.next_item() {
                    Ok(Some(item)) => self.subgroup_item(now, id, item)?,
                    Ok(None) => Progress::Settled,
                    Err(error) => self.undecodable(now, id, error)?,
                },
                Content::Fetch(fetch) => match fetch.decoder.next_piece() {
                    Ok(Some(piece)) => self.fetch_piece(id, piece)?,
                    Ok(None) => Progress::Settled,
                    Err(error) => self.undecodable(now, id, error)?,
                },
                Content::Unknown(_) | Content::Padding => Progress::Settled,
            };
            if progress == Progress::Settled {
                return Ok(());
            }
        }
    }

    fn undecodable(
        &mut self,
        now: Time,
        id: StreamId,
        error: StreamError,
    ) -> Result<Progress, Error> {
        match error {
            StreamError::Violation(error) => Err(error),
            StreamError::TooLarge => {
                self.stop(now, id, ResetCode::ExcessiveLoad);
                Ok(Progress::Settled)
            }
        }
    }

    fn subgroup_item(
        &mut self,
        now: Time,
        id: StreamId,
        item: SubgroupItem,
    ) -> Result<Progress, Error> {
        match item {
            SubgroupItem::Track(alias) => Ok(self.subgroup_track(now, id, alias)),
            SubgroupItem::Opened(header) => self.subgroup_opened(id, header),
            SubgroupItem::Object(object) => self.subgroup_object(id, object),
            SubgroupItem::Payload(bytes) => {
                self.event(Event::Payload { stream: id, bytes });
                Ok(Progress::More)
            }
        }
    }

    fn subgroup_track(&mut self, now: Time, id: StreamId, alias: TrackAlias) -> Progress {
        if let Some(subgroup) = self.subgroup(id) {
            subgroup.alias = Some(alias);
        }
        match self.aliases.get(&alias).copied() {
            Some(Some(request)) => {
                self.assign(now, id, request);
                Progress::More
            }
            // what came after the end of a subscription
            Some(None) => {
                self.abandon(id, ResetCode::Cancelled);
                Progress::Settled
            }
            None => {
                self.early_streams.push_back((now, id));
                self.update_readable(id);
                if self.early_streams.len() > self.limits.max_early_streams {
                    self.abandon(id, ResetCode::ExcessiveLoad);
                }
                Progress::Settled
            }
        }
    }

    /// The stream belongs to this subscription.
    fn assign(&mut self, now: Time, id: StreamId, request: RequestId) {
        self.alive(now, request);
        if let Some(subgroup) = self.subgroup(id) {
            subgroup.request = Some(request);
        }
        if let Some(receiving) = self.requests.get_mut(&request) {
            receiving.open += 1;
            if let Kind::Subscription(subscription) = &mut receiving.kind {
                subscription.received += 1;
            }
        }
    }

    fn subgroup_opened(&mut self, id: StreamId, header: SubgroupHeader) -> Result<Progress, Error> {
        let Some(request) = self.subgroup(id).and_then(|subgroup| subgroup.request) else {
            return Ok(Progress::Settled);
        };
        if let Some(subscription) = self.subscription(request)
            && let Err(rule) = subscription.record.opened(&header)
        {
            self.fault(request, Fault::Track(rule))?;
            return Ok(Progress::Settled);
        }
        if let Some(subgroup) = self.subgroup(id) {
            subgroup.opened = Some(header);
        }
        self.event(Event::SubgroupOpened {
            stream: id,
            id: request,
            header,
        });
        Ok(Progress::More)
    }

    fn subgroup_object(&mut self, id: StreamId, object: ObjectHeader) -> Result<Progress, Error> {
        let profile = self.profile;
        let Some(subgroup) = self.subgroup(id) else {
            return Ok(Progress::Settled);
        };
        let (Some(request), Some(header)) = (subgroup.request, subgroup.opened) else {
            return Ok(Progress::Settled);
        };
        subgroup.last = Some(object.id);
        let at = Location {
            group: header.group,
            object: object.id,
        };
        let checked = check_properties(profile, &object.properties, at).and_then(|gaps| {
            let Some(subscription) = self.subscription(request) else {
                return Ok(());
            };
            subscription
                .record
                .object(at, Some(header.subgroup), object.status, false, gaps)
                .map_err(Fault::Track)
        });
        if let Err(fault) = checked {
            self.fault(request, fault)?;
            return Ok(Progress::Settled);
        }
        self.event(Event::Object { stream: id, object });
        Ok(Progress::More)
    }

    fn fetch_piece(&mut self, id: StreamId, piece: FetchPiece) -> Result<Progress, Error> {
        let request = match piece {
            FetchPiece::Request(request) => return Ok(self.fetch_request(id, request)),
            FetchPiece::Entry(_) | FetchPiece::Payload(_) => {
                let stream = self.streams.get(&id);
                stream.and_then(|stream| stream.content.request())
            }
        };
        let Some(request) = request else {
            return Ok(Progress::Settled);
        };
        let item = match piece {
            FetchPiece::Payload(bytes) => FetchItem::Payload(bytes),
            FetchPiece::Request(_) => return Ok(Progress::More),
            FetchPiece::Entry(entry) => {
                let profile = self.profile;
                if let Some(receiving) = self.requests.get_mut(&request)
                    && let Kind::Fetch { record, .. } = &mut receiving.kind
                    && let Err(fault) = record.entry(profile, &entry)
                {
                    self.fault(request, fault)?;
                    return Ok(Progress::Settled);
                }
                fetch_item(entry)
            }
        };
        self.event(Event::Fetched { id: request, item });
        Ok(Progress::More)
    }

    fn fetch_request(&mut self, id: StreamId, request: RequestId) -> Progress {
        let expected = self.requests.get_mut(&request);
        if let Some(receiving) = expected
            && let Kind::Fetch { started, order, .. } = &mut receiving.kind
            && !*started
        {
            *started = true;
            receiving.open += 1;
            let order = *order;
            if let Some(stream) = self.streams.get_mut(&id)
                && let Content::Fetch(fetch) = &mut stream.content
            {
                fetch.decoder.set_order(order);
                fetch.request = Some(request);
            }
            return Progress::More;
        }
        // cancelled, refused, answered already, or never asked
        self.abandon(id, ResetCode::Cancelled);
        Progress::Settled
    }

    fn subgroup(&mut self, id: StreamId) -> Option<&mut Subgroup> {
        match &mut self.streams.get_mut(&id)?.content {
            Content::Subgroup(subgroup) => Some(subgroup),
            Content::Unknown(_) | Content::Padding | Content::Fetch(_) => None,
        }
    }
}

fn fetch_item(entry: FetchEntry) -> FetchItem {
    match entry {
        FetchEntry::Object(object) => FetchItem::Object {
            location: object.location,
            subgroup: object.subgroup,
            priority: object.priority,
            properties: object.properties,
            payload_length: object.payload_length,
        },
        FetchEntry::NonExistent(at) => FetchItem::NonExistent(at),
        FetchEntry::Unknown(at) => FetchItem::Unknown(at),
    }
}
