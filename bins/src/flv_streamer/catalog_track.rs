//! The track of catalogs: what is published, in words that a program understands.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use log::error;
use oxymoq_core::code::DoneCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::fanout::{Fanout, Fault, TrackId};
use oxymoq_core::fetches::{Fed, Over};
use oxymoq_core::ledger::Pieces;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::session::StreamEnd;
use oxymoq_core::time::Time;
use oxymoq_core::transport::ConnectionId;
use oxymoq_core::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId};
use oxymoq_core::wire::message::FetchOk;
use oxymoq_core::wire::name::TrackName;
use oxymoq_core::wire::object::{FetchEntry, FetchObject, SubgroupHeader};
use oxymoq_core::wire::param::{GroupOrder, Parameters};
use oxymoq_core::wire::property::Properties;

use super::tracks::{GroupIds, Now, PRODUCER};
use crate::catalog::{self, Catalog};

/// Before anything else: without a catalog nobody knows what to subscribe to.
const PRIORITY: u8 = 0;

/// Catalogs and the groups that they are.
type Documents = VecDeque<(GroupId, Bytes)>;

/// The track, its last catalogs, and who is fetching them.
#[derive(Debug)]
pub(super) struct CatalogTrack {
    pub(super) id: TrackId,
    pub(super) name: TrackName,
    pub(super) is_over: bool,
    ids: GroupIds,
    /// Oldest first.
    kept: Documents,
    max_kept: usize,
    /// Whether there were older ones.
    forgot: bool,
    fetches: BTreeMap<(ConnectionId, RequestId), Documents>,
}

impl CatalogTrack {
    pub(super) fn new(fanout: &mut Fanout, max_kept: usize) -> Option<Self> {
        Some(Self {
            id: fanout.open_track(Draft::D18, Properties::default(), None)?,
            name: TrackName::new(catalog::TRACK_NAME).ok()?,
            is_over: false,
            ids: GroupIds::default(),
            kept: VecDeque::new(),
            max_kept,
            forgot: false,
            fetches: BTreeMap::new(),
        })
    }

    /// Publishes a catalog: a group of its own.
    pub(super) fn publish(&mut self, now: Now, catalog: &Catalog, fanout: &mut Fanout) {
        if self.is_over {
            return;
        }
        let document = catalog.to_json();
        let group = self.ids.next(now.wall);
        if let Err(fault) = self.write(now.time, group, &document, fanout) {
            error!("the catalog could not be published: {fault:?}");
            return;
        }
        self.kept.push_back((group, document));
        if self.kept.len() > self.max_kept {
            self.kept.pop_front();
            self.forgot = true;
        }
    }

    fn write(
        &self,
        now: Time,
        group: GroupId,
        document: &[u8],
        fanout: &mut Fanout,
    ) -> Result<(), Fault> {
        let header = SubgroupHeader {
            group,
            subgroup: SubgroupId(0),
            priority: Some(PRIORITY),
            end_of_group: true,
            first_object: true,
        };
        let stream = fanout.open_subgroup(now, self.id, PRODUCER, header)?;
        fanout.write_object(now, stream, ObjectId(0), Properties::default(), document)?;
        fanout.end_subgroup(now, stream, StreamEnd::Fin)
    }

    /// Ends the track.
    pub(super) fn end(&mut self, now: Time, reason: &str, fanout: &mut Fanout) {
        if !std::mem::replace(&mut self.is_over, true) {
            fanout.close_track(now, self.id, DoneCode::TrackEnded, reason);
        }
    }

    /// The end of a range, as FETCH_OK tells it, and its catalogs.
    ///
    /// # Errors
    /// Why it cannot be had: the words of a refusal with INVALID_RANGE.
    fn range(&self, start: Location, end: Location) -> Result<(Location, Documents), &'static str> {
        let (Some((first, _)), Some((last, _))) = (self.kept.front(), self.kept.back()) else {
            return Err("nothing was published yet");
        };
        let (first, last) = (*first, *last);
        if start > Location::new(last.0, 0) {
            return Err("fetch starts in future");
        }
        // Object 0 as the end stands for all of its group.
        let is_empty = match end.object.0 {
            0 => end.group < start.group,
            _ => end <= start,
        };
        if is_empty {
            return Err("No objects");
        }
        if self.forgot && start < Location::new(first.0, 0) {
            return Err("catalogs that old are not kept");
        }
        let wanted = self.kept.iter().filter(|(group, _)| {
            let at = Location::new(group.0, 0);
            start <= at && *group <= end.group
        });
        let most = Location::new(last.0, 1);
        let is_beyond = match end.object.0 {
            0 => end.group > last,
            _ => end > most,
        };
        let end = if is_beyond { most } else { end };
        Ok((end, wanted.cloned().collect()))
    }

    /// Answers a FETCH.
    ///
    /// # Errors
    /// The words of a refusal with INVALID_RANGE.
    pub(super) fn fetch(
        &mut self,
        now: Time,
        (connection, request): (ConnectionId, RequestId),
        (start, end): (Location, Location),
        order: GroupOrder,
        publisher: &mut Publisher,
    ) -> Result<(), &'static str> {
        let (end, mut catalogs) = self.range(start, end)?;
        if order == GroupOrder::Descending {
            catalogs.make_contiguous().reverse();
        }
        let ok = FetchOk {
            request_id: None,
            end_of_track: false,
            end,
            parameters: Parameters::default(),
            properties: Properties::default(),
        };
        if publisher.open_fetch(now, connection, request, ok, order) {
            self.fetches.insert((connection, request), catalogs);
        }
        Ok(())
    }

    /// Gives FETCHes what they have room for.
    pub(super) fn serve(&mut self, now: Time, publisher: &mut Publisher) {
        while let Some(Over {
            connection,
            request,
            ..
        }) = publisher.poll_fetch_over()
        {
            self.fetches.remove(&(connection, request));
        }
        while let Some(hungry) = publisher.poll_hungry() {
            if let Some(catalogs) = self.fetches.get_mut(&hungry)
                && feed(now, hungry, catalogs, publisher)
            {
                self.fetches.remove(&hungry);
            }
        }
    }
}

/// Feeds as much as is taken. True if that was all.
fn feed(
    now: Time,
    (connection, request): (ConnectionId, RequestId),
    catalogs: &mut Documents,
    publisher: &mut Publisher,
) -> bool {
    while let Some((group, document)) = catalogs.pop_front() {
        let entry = FetchEntry::Object(FetchObject {
            location: Location::new(group.0, 0),
            subgroup: Some(SubgroupId(0)),
            priority: PRIORITY,
            properties: Properties::default(),
            payload_length: 0,
        });
        let payload = Pieces::from(document.clone());
        match publisher.feed_fetch(now, connection, request, entry, &payload) {
            Fed::More => {}
            Fed::Enough => return false,
            Fed::Full => {
                catalogs.push_front((group, document));
                return false;
            }
            Fed::Gone => return true,
        }
    }
    publisher.end_fetch(now, connection, request);
    true
}

#[cfg(test)]
mod tests {
    use oxymoq_core::fanout::Limits;
    use oxymoq_core::ledger::Ledger;

    use super::*;

    const NOW: Now = Now {
        time: Time::ZERO,
        wall: 1000,
    };

    /// A track with this many catalogs, of which it keeps three: groups 1000, 1001 …
    fn track(catalogs: u64) -> CatalogTrack {
        let mut fanout = Fanout::new(Limits::default(), Ledger::new(1 << 20));
        let mut track = CatalogTrack::new(&mut fanout, 3).unwrap();
        for number in 0..catalogs {
            let catalog = Catalog {
                generated_at: Some(number),
                ..Catalog::default()
            };
            track.publish(NOW, &catalog, &mut fanout);
        }
        track
    }

    fn range(track: &CatalogTrack, from: (u64, u64), to: (u64, u64)) -> Result<String, String> {
        let at = |(group, object)| Location::new(group, object);
        match track.range(at(from), at(to)) {
            Ok((end, catalogs)) => {
                let groups: Vec<u64> = catalogs.iter().map(|(group, _)| group.0).collect();
                Ok(format!("{groups:?} up to {end}"))
            }
            Err(why) => Err(why.to_owned()),
        }
    }

    #[test]
    fn the_last_catalogs_can_be_fetched_and_older_ones_are_refused() {
        let few = track(2);
        let ok = |text: String| Ok(text);
        let end = |group, object| Location::new(group, object);
        let all = format!("[1000, 1001] up to {}", end(1001, 1));
        assert_eq!(range(&few, (0, 0), (u64::MAX, 0)), ok(all.clone()));
        assert_eq!(range(&few, (1000, 0), (1001, 9)), ok(all));
        let last = format!("[1001] up to {}", end(1001, 1));
        assert_eq!(range(&few, (1000, 1), (1001, 1)), ok(last.clone()));
        assert_eq!(range(&few, (1001, 0), (1001, 1)), ok(last));
        let whole = format!("[1001] up to {}", end(1001, 0));
        assert_eq!(range(&few, (1001, 0), (1001, 0)), ok(whole));
        let before = format!("[] up to {}", end(7, 0));
        assert_eq!(range(&few, (0, 0), (7, 0)), ok(before), "nothing was there");

        let many = track(5);
        assert_eq!(many.kept.len(), 3);
        let refused = |why: &str| Err(why.to_owned());
        let old = refused("catalogs that old are not kept");
        assert_eq!(range(&many, (1001, 0), (1004, 1)), old);
        let newest = format!("[1002, 1003, 1004] up to {}", end(1004, 1));
        assert_eq!(range(&many, (1002, 0), (1004, 1)), ok(newest));
        let future = refused("fetch starts in future");
        assert_eq!(range(&many, (1004, 1), (1005, 0)), future);
        let nothing = refused("No objects");
        assert_eq!(range(&many, (1003, 0), (1002, 0)), nothing);
        assert_eq!(range(&many, (1003, 1), (1003, 1)), nothing);
        let none = refused("nothing was published yet");
        assert_eq!(range(&track(0), (0, 0), (1, 0)), none);
    }
}
