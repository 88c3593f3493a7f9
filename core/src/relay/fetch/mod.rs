//! FETCH: objects of the past, from the cache, and from publishers for what it does not know.
//!
//! A FETCH of a peer's is a cursor over the cache ([`walk`]). Where nothing is known it waits for a *fill*: a FETCH of ours
//! at one publisher for just that range, shared by all who come to wait for it ([`upstream`]). A fill puts what it brings
//! in the cache, where its waiters find it; the groups between the fastest of them and the fill's front are pinned, and if
//! that is too much the fill is paused. So nobody waits for a slow reader, and what was dropped before a slow reader came
//! to it is asked for again. What no publisher can tell is told as unknown.

mod answer;
#[cfg(test)]
mod check;
mod fill;
mod live;
mod order;
mod receive;
mod request;
mod upstream;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use log::debug;

use super::routes::Origin;
use super::{Relay, of_connection};
use crate::cache::{self, Cache};
use crate::code::{RequestCode, ResetCode};
use crate::fanout;
use crate::session::Refusal;
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::Location;
use crate::wire::name::FullTrackName;

use fill::{Fill, FillId};
use request::Fetch;

/// The cache, the FETCHes that read from it, and the fills that add to it.
#[derive(Debug)]
pub(super) struct Fetching {
    cache: Cache,
    fetches: BTreeMap<Origin, Fetch>,
    fills: BTreeMap<FillId, Fill>,
    /// Our FETCHes.
    asked: BTreeMap<Origin, FillId>,
    tracks: BTreeMap<FullTrackName, Past>,
    /// Who alone brought what is cached of tracks that nobody reads now.
    bringers: BTreeMap<FullTrackName, ConnectionId>,
    deadlines: BTreeSet<(Time, Due)>,
    /// FETCHes that may be able to go on.
    ready: BTreeSet<Origin>,
    /// FETCHes for which there is no room for a fill, here or at the publishers.
    crowded: BTreeSet<Origin>,
    /// Fills whose readers came on, or that brought something.
    touched: BTreeSet<FillId>,
    next_fill: u64,
}

/// The past of a track, while somebody reads it or adds to it.
#[derive(Debug)]
struct Past {
    id: cache::TrackId,
    fetches: BTreeSet<Origin>,
    fills: BTreeSet<FillId>,
    /// The track as it is live.
    live: Option<fanout::TrackId>,
    /// Whether the cache has the properties of the live track.
    is_described: bool,
    /// FETCHes that wait for an object whose rest is on its way.
    arrivals: BTreeSet<Origin>,
    bringer: Bringer,
}

/// Who brought what is cached of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bringer {
    Nobody,
    One(ConnectionId),
    /// Or it is not known who.
    Several,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A publisher's answer.
    Fill(FillId),
    /// The patience of a FETCH that waits for publishers.
    Fetch(Origin),
}

impl Fetching {
    /// See [`Cache::is_left_out`].
    pub(super) fn is_left_out(&self, name: &FullTrackName, at: Location) -> bool {
        let past = self.tracks.get(name);
        past.is_some_and(|past| self.cache.is_left_out(past.id, at))
    }

    pub(super) fn new(limits: cache::Limits) -> Self {
        Self {
            cache: Cache::new(limits),
            fetches: BTreeMap::new(),
            fills: BTreeMap::new(),
            asked: BTreeMap::new(),
            tracks: BTreeMap::new(),
            bringers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ready: BTreeSet::new(),
            crowded: BTreeSet::new(),
            touched: BTreeSet::new(),
            next_fill: 0,
        }
    }

    /// Bytes in the cache.
    #[cfg(feature = "sim")]
    pub(super) const fn cached(&self) -> u64 {
        self.cache.used()
    }

    /// Adds what is cached.
    #[cfg(feature = "sim")]
    pub(super) fn recount(&self, held: &mut crate::recount::Recount) -> Result<(), String> {
        self.cache.recount(held)
    }

    /// Whether any FETCH is served, or asked of anybody.
    #[cfg(feature = "sim")]
    pub(super) fn is_busy(&self) -> bool {
        !self.fetches.is_empty() || !self.fills.is_empty()
    }

    /// FETCHes, those of ours included, and tracks that are open for them.
    #[cfg(feature = "sim")]
    pub(super) fn open_requests(&self) -> usize {
        let waiting = self.ready.len() + self.crowded.len() + self.touched.len();
        let asked = self.asked.len() + self.deadlines.len();
        self.fetches.len() + self.fills.len() + self.tracks.len() + waiting + asked
    }

    /// The past of a track, opened if it is not.
    fn open(&mut self, name: &FullTrackName) -> &mut Past {
        let (cache, bringers) = (&mut self.cache, &mut self.bringers);
        self.tracks.entry(name.clone()).or_insert_with(|| {
            let bringer = bringers.remove(name).map_or(Bringer::Several, Bringer::One);
            let is_known = cache.find(name).is_some();
            Past {
                id: cache.open(name),
                fetches: BTreeSet::new(),
                fills: BTreeSet::new(),
                live: None,
                is_described: false,
                arrivals: BTreeSet::new(),
                bringer: if is_known { bringer } else { Bringer::Nobody },
            }
        })
    }

    /// Closes the past of a track that nobody reads or adds to.
    fn close_if_idle(&mut self, name: &FullTrackName) {
        let is_idle =
            |past: &Past| past.fetches.is_empty() && past.fills.is_empty() && past.live.is_none();
        if self.tracks.get(name).is_some_and(is_idle)
            && let Some(past) = self.tracks.remove(name)
        {
            self.cache.close(past.id);
            if let Bringer::One(connection) = past.bringer {
                self.bringers.insert(name.clone(), connection);
                let cache = &self.cache;
                self.bringers.retain(|name, _| cache.find(name).is_some());
            }
        }
    }

    /// Whether a request is a FETCH of a peer's.
    pub(super) fn is_fetch(&self, origin: Origin) -> bool {
        self.fetches.contains_key(&origin)
    }

    fn track_of(&self, origin: Origin) -> Option<cache::TrackId> {
        let fetch = self.fetches.get(&origin)?;
        Some(self.tracks.get(&fetch.name)?.id)
    }

    /// Keeps the deadline of a FETCH that starves, or does not any more.
    fn arm(&mut self, origin: Origin) {
        let Some(fetch) = self.fetches.get_mut(&origin) else {
            return;
        };
        let deadline = fetch.starved.map(|starved| starved.deadline);
        if deadline == fetch.armed {
            return;
        }
        let before = std::mem::replace(&mut fetch.armed, deadline);
        if let Some(before) = before {
            self.deadlines.remove(&(before, Due::Fetch(origin)));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, Due::Fetch(origin)));
        }
    }

    /// A FETCH of a peer's is over: nothing is kept of it.
    fn remove(&mut self, origin: Origin) -> Option<Fetch> {
        let fetch = self.fetches.remove(&origin)?;
        if let Some(armed) = fetch.armed {
            self.deadlines.remove(&(armed, Due::Fetch(origin)));
        }
        self.ready.remove(&origin);
        self.crowded.remove(&origin);
        for id in &fetch.fills {
            if let Some(fill) = self.fills.get_mut(id) {
                fill.waiters.remove(&origin);
                self.touched.insert(*id);
            }
        }
        if let Some(past) = self.tracks.get_mut(&fetch.name) {
            past.fetches.remove(&origin);
            past.arrivals.remove(&origin);
        }
        self.close_if_idle(&fetch.name);
        Some(fetch)
    }

    /// Whether [`Relay::serve_fetches`] has something to do.
    pub(super) fn has_news(&self) -> bool {
        !self.ready.is_empty() || !self.touched.is_empty()
    }

    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let due = self.deadlines.first().map(|(time, due)| match due {
            Due::Fill(_) => (*time, "a publisher's answer to a FETCH"),
            Due::Fetch(_) => (*time, "the patience of a FETCH"),
        });
        due.into_iter().chain(self.cache.poll_timeout()).min()
    }
}

impl Relay {
    /// Does everything that FETCHes and fills can do now.
    pub(super) fn serve_fetches(&mut self, now: Time) {
        while let Some(over) = self.publisher.poll_fetch_over() {
            let origin = Origin {
                connection: over.connection,
                request: over.request,
            };
            debug!("{}: a FETCH is over: {:?}", over.connection, over.why);
            self.fetching.remove(origin);
        }
        while let Some((connection, request)) = self.publisher.poll_hungry() {
            let origin = Origin {
                connection,
                request,
            };
            if let Some(fetch) = self.fetching.fetches.get_mut(&origin) {
                fetch.hungry = true;
                self.fetching.ready.insert(origin);
            }
        }
        loop {
            while let Some(origin) = self.fetching.ready.pop_first() {
                self.advance(now, origin);
            }
            self.trim_fills(now);
            if self.fetching.ready.is_empty() {
                return;
            }
        }
    }

    /// Frees memory from the cache while live objects still have some (see `cache_high_water`).
    pub(super) fn relieve_cache(&mut self) {
        let ledger = self.publisher.fanout.ledger();
        let percent = usize::from(self.settings.limits.cache_high_water.min(100));
        let most = ledger.limit() / 100 * percent;
        if !ledger.is_above(most) {
            return;
        }
        let mut used = ledger.used();
        while let Some(surplus) = used.checked_sub(most).filter(|surplus| *surplus > 0) {
            // The cache counts in its own way, so once may not be enough.
            let surplus = u64::try_from(surplus).unwrap_or(u64::MAX);
            if self.fetching.cache.relieve(surplus) == 0 {
                return;
            }
            used = self.publisher.fanout.ledger().used();
        }
    }

    pub(super) fn expire_fetches(&mut self, now: Time) {
        self.fetching.cache.handle_timeout(now);
        while let Some(&(deadline, due)) = self.fetching.deadlines.first()
            && deadline <= now
        {
            self.fetching.deadlines.pop_first();
            match due {
                Due::Fill(id) => self.fill_unanswered(now, id),
                Due::Fetch(origin) => self.patience_over(now, origin),
            }
        }
    }

    /// A peer withdrew a FETCH, or a publisher one of ours. False if it is neither.
    pub(super) fn fetch_cancelled(&mut self, now: Time, origin: Origin) -> bool {
        if self.fetching.remove(origin).is_some() {
            return true;
        }
        self.fill_broken(now, origin)
    }

    /// A peer left: its FETCHes are over, and what it was asked for is asked for elsewhere.
    pub(super) fn forget_fetching_peer(&mut self, now: Time, connection: ConnectionId) {
        for origin in of_connection(&self.fetching.fetches, connection) {
            self.fetching.remove(origin);
        }
        for origin in of_connection(&self.fetching.asked, connection) {
            self.fill_broken(now, origin);
        }
        for fetch in self.fetching.fetches.values_mut() {
            fetch.failed.remove(&connection);
        }
    }

    /// Refuses the FETCHes that wait for a publisher's answer; those that are being served go on.
    pub(super) fn refuse_unanswered_fetches(&mut self, now: Time, refusal: &Refusal) {
        let waiting = self.fetching.fetches.iter();
        let waiting = waiting.filter(|(_, fetch)| !fetch.is_serving());
        let waiting: Vec<Origin> = waiting.map(|(origin, _)| *origin).collect();
        for origin in waiting {
            self.refuse_fetch(now, origin, refusal.clone());
        }
    }

    /// Forgets what was published of a track, since it begins anew: FETCHes that were given some of it break off, as the
    /// rest would not fit; the others ask again.
    pub(super) fn forget_past(&mut self, now: Time, name: &FullTrackName) {
        self.renew_past(now, name, None);
    }

    /// The same, but for a fill that brings what is published now.
    fn renew_past(&mut self, now: Time, name: &FullTrackName, spared: Option<FillId>) {
        let code = ResetCode::UnknownObjectStatus;
        let fills = self.forget_cached(name);
        for id in fills.into_iter().filter(|id| Some(*id) != spared) {
            self.drop_fill(now, id, ResetCode::Cancelled);
        }
        for origin in self.readers(name) {
            let fetch = self.fetching.fetches.get(&origin);
            if fetch.is_some_and(|fetch| fetch.is_begun) {
                self.break_fetch(now, origin, code);
            }
            self.fetching.ready.insert(origin);
        }
    }

    /// Forgets what was published of a track that is malformed, and ends all FETCHes of it (§ Malformed Tracks).
    pub(super) fn past_malformed(&mut self, now: Time, name: &FullTrackName) {
        let code = ResetCode::MalformedTrack;
        for origin in self.readers(name) {
            let fetch = self.fetching.fetches.get(&origin);
            if fetch.is_some_and(Fetch::is_serving) {
                self.break_fetch(now, origin, code);
            } else {
                let refusal = Refusal::new(RequestCode::MalformedTrack, "the track is malformed");
                self.refuse_fetch(now, origin, refusal);
            }
        }
        for id in self.forget_cached(name) {
            self.drop_fill(now, id, code);
        }
    }

    /// The largest location of a track that the cache knows of.
    pub(super) fn largest_cached(&self, name: &FullTrackName) -> Option<Location> {
        let cache = &self.fetching.cache;
        let id = cache.find(name)?;
        cache.largest(id)
    }

    /// Empties the cache of a track. Its fills.
    fn forget_cached(&mut self, name: &FullTrackName) -> BTreeSet<FillId> {
        self.fetching.cache.forget(name);
        let Some(past) = self.fetching.tracks.get_mut(name) else {
            return BTreeSet::new();
        };
        past.bringer = Bringer::Nobody;
        past.is_described = false;
        past.fills.clone()
    }

    fn readers(&self, name: &FullTrackName) -> BTreeSet<Origin> {
        let past = self.fetching.tracks.get(name);
        past.map(|past| past.fetches.clone()).unwrap_or_default()
    }

    fn break_fetch(&mut self, now: Time, origin: Origin, code: ResetCode) {
        let Origin {
            connection,
            request,
        } = origin;
        self.publisher.fail_fetch(now, connection, request, code);
        self.fetching.remove(origin);
    }
}
