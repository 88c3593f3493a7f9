//! Compares what a subscriber got with what was published: each thing as it arrives.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::code::ResetCode;
use crate::session::StreamEnd;
use crate::time::Time;
use crate::transport::StreamId;
use crate::wire::id::{GroupId, Location};
use crate::wire::object::{DatagramObject, ObjectHeader, ObjectStatus, SubgroupHeader};
use crate::wire::param::Filter;

use super::book::{Book, Ending};
use super::viewer::{Answer, Asked, Item, Kind, Note};

/// What a subscriber got for one request.
#[derive(Debug, Default)]
pub(super) struct Heard {
    streams: BTreeMap<StreamId, Stream>,
    /// When each object arrived.
    pub(super) received: BTreeMap<Location, Time>,
    /// Subgroups of which a stream was reset, and when.
    pub(super) resets: Vec<((u64, u64), ResetCode, Time)>,
    pub(super) items: Vec<Fetched>,
    /// Which beginning of the track all of it is of, once that is known; of what is [mixed](Self::is_mixed), the last.
    pub(super) era: Option<u64>,
    /// It is of several beginnings of the track.
    pub(super) is_mixed: bool,
}

#[derive(Debug)]
struct Stream {
    header: SubgroupHeader,
    last: Option<u64>,
    ended: bool,
    era: u64,
}

/// What came on the stream of a FETCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    Object(Location),
    NonExistent(Location),
    Unknown(Location),
}

impl Fetched {
    pub(super) const fn location(self) -> Location {
        match self {
            Self::Object(at) | Self::NonExistent(at) | Self::Unknown(at) => at,
        }
    }
}

impl Heard {
    /// Whether a subgroup came on several streams.
    pub(super) fn goes_on(&self, key: (u64, u64)) -> bool {
        let of_key = |stream: &&Stream| (stream.header.group.0, stream.header.subgroup.0) == key;
        self.streams.values().filter(of_key).count() > 1
    }

    /// Takes in what arrived; says what is wrong with it. `lost`: whether something was lost on the way since it was asked
    /// for.
    pub(super) fn hear(
        &mut self,
        now: Time,
        asked: &Asked,
        (books, lost): (&[&Book], &dyn Fn() -> bool),
        note: &Note,
    ) -> Result<(), String> {
        let book = self
            .book(books, lost, note)
            .ok_or("something of no track")?;
        match note {
            Note::Opened(stream, header) => self.open(*stream, *header, book),
            Note::Object(stream, object, payload) => {
                self.object(now, *stream, object, payload, asked, book)
            }
            Note::Ended(stream, end) => self.end(now, *stream, *end, book),
            Note::Datagram(object) => self.datagram(now, object, asked, book),
            Note::Fetched(item, payload) => self.fetched(item, payload, asked, book),
            Note::NonExistent(last) => self.item(Fetched::NonExistent(*last), asked),
            Note::Unknown(last) => self.item(Fetched::Unknown(*last), asked),
            Note::FetchEnded => Ok(()),
        }
    }

    /// Which of a track's beginnings something is of, newest first: the first object decides for all that follows, but
    /// for what [`another`](Self::another) says.
    fn book<'b>(
        &mut self,
        books: &[&'b Book],
        lost: &dyn Fn() -> bool,
        note: &Note,
    ) -> Option<&'b Book> {
        if self.era.is_some() {
            let known = books.iter().find(|book| Some(book.era) == self.era)?;
            let other = self.another(known, books, lost, note);
            if let Some(other) = other
                && other.era != known.era
            {
                self.era = self.era.max(Some(other.era));
                self.is_mixed = true;
            }
            return Some(other.unwrap_or(known));
        }
        let fits = |book: &&&Book| self.fits(book, note);
        let book = books.iter().find(fits).or_else(|| books.first()).copied()?;
        // Short payloads may be the same in all of them.
        let tells = match note {
            Note::Object(_, object, payload) => {
                payload.len() > 8 || !object.properties.bytes().is_empty()
            }
            Note::Datagram(object) => object.payload.len() > 8,
            Note::Fetched(_, payload) => payload.len() > 8,
            Note::Opened(..)
            | Note::Ended(..)
            | Note::NonExistent(_)
            | Note::Unknown(_)
            | Note::FetchEnded => false,
        };
        self.era = tells.then_some(book.era);
        Some(book)
    }

    /// Which other beginning of the track something is of that is not of the known one, where a relay cannot tell the two
    /// apart:
    ///
    /// * A relay that was not subscribed when the publishers began again fills the gaps of what it has cached with what is
    ///   published now. It only sees the difference if one contradicts the other.
    /// * A subscription outlasts the publishers' absence, and goes on if they are ahead of it when they are asked again:
    ///   beyond everything that was published before. What is left of that may come between.
    /// * So it does while a publisher seems to be there that is lost without a word, and others begin again meanwhile. They
    ///   may bring whatever the lost one did not.
    fn another<'b>(
        &self,
        known: &Book,
        books: &[&'b Book],
        lost: &dyn Fn() -> bool,
        note: &Note,
    ) -> Option<&'b Book> {
        if let (Note::Ended(stream, _), true) = (note, self.is_mixed) {
            let era = self.streams.get(stream)?.era;
            return books.iter().find(|book| book.era == era).copied();
        }
        if self.fits(known, note) {
            return None;
        }
        let largest = known.largest();
        let is_new = |at: Location| {
            let is_beyond = largest < Some(at);
            is_beyond || (!self.received.contains_key(&at) && lost())
        };
        let is_beyond = match note {
            Note::Opened(_, header) => largest.map(|at| at.group) <= Some(header.group) || lost(),
            Note::Object(stream, object, _) => {
                let group = self.streams.get(stream)?.header.group;
                let object = object.id;
                is_new(Location { group, object })
            }
            Note::Datagram(object) => is_new(object.location),
            Note::Fetched(..) => true,
            Note::Ended(..) | Note::NonExistent(_) | Note::Unknown(_) | Note::FetchEnded => false,
        };
        let is_fetched = matches!(note, Note::Fetched(..));
        let is_possible = |book: &&&Book| match book.era > known.era {
            true => is_beyond,
            false => is_fetched || self.is_mixed,
        };
        let mut possible = books.iter().filter(is_possible);
        possible.find(|book| self.fits(book, note)).copied()
    }

    /// Whether something may be of this beginning of the track.
    fn fits(&self, book: &Book, note: &Note) -> bool {
        let of_stream = |stream: &StreamId| self.streams.get(stream).map(|open| open.header);
        let has = |header: SubgroupHeader| {
            let key = (header.group.0, header.subgroup.0);
            book.subgroups.contains_key(&key)
        };
        let normal = ObjectStatus::Normal;
        match note {
            Note::Opened(_, header) => has(*header),
            Note::Ended(stream, _) => of_stream(stream).is_some_and(has),
            Note::Object(stream, object, payload) => of_stream(stream).is_some_and(|header| {
                let at = Location {
                    group: header.group,
                    object: object.id,
                };
                let fits = book.compare(at, object.status, &object.properties, payload);
                fits.is_ok()
            }),
            Note::Datagram(object) => {
                let (at, status) = (object.location, object.status);
                let fits = book.compare(at, status, &object.properties, &object.payload);
                fits.is_ok()
            }
            Note::Fetched(item, payload) => {
                let fits = book.compare(item.location, normal, &item.properties, payload);
                fits.is_ok()
            }
            Note::NonExistent(_) | Note::Unknown(_) | Note::FetchEnded => true,
        }
    }

    fn open(
        &mut self,
        stream: StreamId,
        header: SubgroupHeader,
        book: &Book,
    ) -> Result<(), String> {
        let key = (header.group.0, header.subgroup.0);
        let line = book
            .subgroups
            .get(&key)
            .ok_or_else(|| format!("subgroup {key:?} was never published"))?;
        if header.priority != Some(line.priority) {
            return Err(format!(
                "subgroup {key:?} has priority {:?}",
                header.priority
            ));
        }
        let opened = Stream {
            header,
            last: None,
            ended: false,
            era: book.era,
        };
        self.streams.insert(stream, opened);
        Ok(())
    }

    fn object(
        &mut self,
        now: Time,
        stream: StreamId,
        object: &ObjectHeader,
        payload: &Bytes,
        asked: &Asked,
        book: &Book,
    ) -> Result<(), String> {
        let open = self
            .streams
            .get_mut(&stream)
            .ok_or("an object of no stream")?;
        let header = open.header;
        open.era = open.era.max(book.era);
        let at = Location {
            group: header.group,
            object: object.id,
        };
        let entry = book.compare(at, object.status, &object.properties, payload)?;
        if entry.subgroup != Some(header.subgroup.0) {
            return Err(format!("{at} came in subgroup {}", header.subgroup.0));
        }
        let line = book
            .subgroups
            .get(&(header.group.0, header.subgroup.0))
            .ok_or("no such subgroup")?;
        let place = line.objects.iter().position(|id| *id == at.object.0);
        let before = place
            .and_then(|place| place.checked_sub(1))
            .and_then(|place| line.objects.get(place));
        match open.last.replace(at.object.0) {
            Some(last) if before != Some(&last) => {
                return Err(format!(
                    "{at} follows object {last} on a stream, not {before:?}"
                ));
            }
            None if header.first_object && before.is_some() => {
                return Err(format!("{at} is said to be the first of its subgroup"));
            }
            _ => {}
        }
        self.arrive(now, at, asked)
    }

    fn arrive(&mut self, now: Time, at: Location, asked: &Asked) -> Result<(), String> {
        if !within(asked, at) {
            return Err(format!("{at} was not asked for"));
        }
        match self.received.insert(at, now) {
            None => Ok(()),
            Some(_) => Err(format!("{at} came twice")),
        }
    }

    fn end(
        &mut self,
        now: Time,
        stream: StreamId,
        end: StreamEnd,
        book: &Book,
    ) -> Result<(), String> {
        let open = self
            .streams
            .get_mut(&stream)
            .ok_or("the end of no stream")?;
        if std::mem::replace(&mut open.ended, true) {
            return Err("a stream ended twice".to_owned());
        }
        let key = (open.header.group.0, open.header.subgroup.0);
        match end {
            StreamEnd::Reset(code) => self.resets.push((key, code, now)),
            StreamEnd::Stopped => {}
            StreamEnd::Fin => {
                let line = book.subgroups.get(&key).ok_or("no such subgroup")?;
                let is_finished = matches!(line.ending, Some((_, Ending::Finished)));
                if !is_finished || open.last != line.objects.last().copied() {
                    return Err(format!(
                        "subgroup {key:?} is said to be complete after {:?}, but has {:?} and {:?}",
                        open.last,
                        line.objects.last(),
                        line.ending
                    ));
                }
            }
        }
        Ok(())
    }

    fn datagram(
        &mut self,
        now: Time,
        object: &DatagramObject,
        asked: &Asked,
        book: &Book,
    ) -> Result<(), String> {
        let at = object.location;
        let entry = book.compare(at, object.status, &object.properties, &object.payload)?;
        if entry.subgroup.is_some() || object.priority != Some(entry.priority) {
            return Err(format!("{at} came in a datagram of {:?}", object.priority));
        }
        self.arrive(now, at, asked)
    }

    fn fetched(
        &mut self,
        item: &Item,
        payload: &Bytes,
        asked: &Asked,
        book: &Book,
    ) -> Result<(), String> {
        let at = item.location;
        let entry = book.compare(at, ObjectStatus::Normal, &item.properties, payload)?;
        let subgroup = item.subgroup.map(|subgroup| subgroup.0);
        if entry.subgroup != subgroup || entry.priority != item.priority {
            return Err(format!(
                "{at} was fetched as of {subgroup:?} with priority {}",
                item.priority
            ));
        }
        self.item(Fetched::Object(at), asked)
    }

    fn item(&mut self, item: Fetched, asked: &Asked) -> Result<(), String> {
        let Kind::Fetch(_, fetching) = &asked.kind else {
            return Err(format!("{item:?} of no FETCH"));
        };
        let at = item.location();
        let is_early = matches!(item, Fetched::Object(_)) && at < fetching.start;
        let is_late = fetching.end.is_some_and(|end| match end.object.0 {
            0 => at.group > end.group,
            _ => at >= end,
        });
        if is_early || is_late {
            return Err(format!("{item:?} is out of the range {fetching:?}"));
        }
        if let Some(last) = self.items.last().map(|last| last.location()) {
            let follows = if fetching.descending {
                at.group < last.group || (at.group == last.group && at.object > last.object)
            } else {
                at > last
            };
            if !follows {
                return Err(format!("{item:?} follows {last} in a FETCH"));
            }
        }
        self.items.push(item);
        Ok(())
    }
}

/// Where a subscription starts, and its last group, as far as that is known.
pub(super) fn range(asked: &Asked) -> (Location, GroupId) {
    let largest = match &asked.answer {
        Some((_, Answer::Subscribed(ok))) => ok.parameters.largest_object,
        _ => None,
    };
    let none = GroupId(u64::MAX);
    let Kind::Subscribe(_, parameters) = &asked.kind else {
        return (Location::default(), none);
    };
    match (parameters.filter, largest) {
        (None, _) | (Some(Filter::NextGroupStart | Filter::LargestObject), None) => {
            (Location::default(), none)
        }
        (Some(Filter::NextGroupStart), Some(largest)) => {
            (Location::new(largest.group.0 + 1, 0), none)
        }
        (Some(Filter::LargestObject), Some(largest)) => {
            (Location::new(largest.group.0, largest.object.0 + 1), none)
        }
        (Some(Filter::AbsoluteStart(start)), _) => (start, none),
        (Some(Filter::AbsoluteRange { start, end_group }), _) => (start, end_group),
    }
}

fn within(asked: &Asked, at: Location) -> bool {
    let (start, last) = range(asked);
    at >= start && at.group <= last
}
