//! Plays a plan: does what it says, looks after every step whether all is well, and passes a verdict in the end.

mod operate;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::relay::Relay;
use crate::time::Time;
use crate::transport::{Closed, Exit};
use crate::wire::name::FullTrackName;

use super::super::program::Program;
use super::super::shards::Shards;
use super::super::world::World;
use super::book::Book;
use super::judge::Heard;
use super::plan::{Operation, Plan};
use super::scene::{self, Slot};
use super::troubles::{Link, SETTLE, Troubles};
use super::verdict::Case;
use super::viewer::{Asked, Kind, Viewer};

/// How long nodes have to find one another before the plan begins.
const BEGINNING: Duration = Duration::from_secs(4);
/// How long everybody has to get over what happened: longer than any timeout of a relay.
const PATIENCE: Duration = Duration::from_secs(70);
/// How long what is left stays: longer than idle timeouts, graces and the age of what is cached.
const OBLIVION: Duration = Duration::from_secs(120);
/// What relays charge beyond the limit of their memory: headers and markers, whose number other limits bound.
const SMALL_THINGS: usize = 64 << 10;

/// How long a connection's turn takes where turns are slow.
const TURN: Duration = Duration::from_micros(400);
/// The code of a session whose peer did not leave when asked to.
const GOAWAY_TIMEOUT: u64 = 0x10;
/// After so many steps everything is counted anew that relays keep count of.
const RECOUNT_AFTER: u64 = 16;

/// How a plan went.
#[derive(Clone, Debug)]
pub struct Report {
    /// A hash over everything that happened.
    pub hash: u64,
    /// How many things happened.
    pub steps: u64,
    /// Objects that subscriptions delivered.
    pub delivered: usize,
    /// Objects that FETCHes delivered.
    pub fetched: usize,
    /// What was wrong, if anything was.
    pub verdict: Result<(), String>,
    /// The last lines of the trace.
    pub trace: String,
}

/// Plays a plan.
pub fn run(plan: &Plan) -> Report {
    report(Play::new(plan))
}

/// Plays a plan, and keeps all of its trace.
pub fn run_traced(plan: &Plan) -> Report {
    let mut play = Play::new(plan);
    play.world.trace_mut().keep_all();
    report(play)
}

fn report(mut play: Play<'_>) -> Report {
    let verdict = play.play();
    let count = |of: fn(&Heard) -> usize| -> usize {
        let all = play.heard.iter().flat_map(BTreeMap::values);
        all.map(of).sum()
    };
    Report {
        hash: play.world.trace().hash(),
        steps: play.world.trace().count(),
        delivered: count(|heard| heard.received.len()),
        fetched: count(|heard| heard.items.len()),
        verdict,
        trace: play.world.trace().to_string(),
    }
}

/// A plan that is being played.
struct Play<'a> {
    plan: &'a Plan,
    world: World,
    relays: Vec<Slot>,
    studios: Vec<Slot>,
    viewers: Vec<Slot>,
    /// By track.
    books: Vec<Book>,
    /// Of tracks that began again since.
    past: Vec<Book>,
    troubles: Troubles,
    /// What subscribers got for each request, and how much of their notes was looked at.
    heard: Vec<BTreeMap<usize, Heard>>,
    seen: Vec<usize>,
    closed: Vec<usize>,
    checks: u64,
    /// When it was looked last.
    checked: Time,
    /// How many losses of datagrams were noticed.
    losses: usize,
}

impl<'a> Play<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut world = World::new(plan.seed);
        if plan.transport.vague {
            world.hide_full_connections();
        }
        if plan.transport.slow_turns {
            world.slow_down(TURN);
        }
        let relays: Vec<Slot> = (0..plan.relays.len())
            .map(|relay| Slot::new(scene::add_relay(&mut world, plan, relay)))
            .collect();
        let books: Vec<Book> = (0..plan.tracks())
            .map(|track| Book::new(scene::track_name(track), plan.show(track), 0))
            .collect();
        let mut studios = Vec::new();
        for (number, studio) in plan.studios.iter().enumerate() {
            let book = books.get(plan.track(studio.track)).cloned();
            let node =
                book.and_then(|book| scene::add_studio(&mut world, plan, &relays, number, book));
            studios.extend(node.map(Slot::new));
        }
        let viewers: Vec<Slot> = (0..plan.viewers.len())
            .filter_map(|number| scene::add_viewer(&mut world, plan, &relays, number))
            .map(Slot::new)
            .collect();
        let count = viewers.len();
        Self {
            plan,
            world,
            relays,
            studios,
            viewers,
            books,
            past: Vec::new(),
            troubles: Troubles::default(),
            heard: vec_of(count),
            seen: vec_of(count),
            closed: vec_of(count),
            checks: 0,
            checked: Time::ZERO,
            losses: 0,
        }
    }

    fn play(&mut self) -> Result<(), String> {
        self.tend();
        self.pass(BEGINNING)?;
        for (after, operation) in &self.plan.operations {
            self.pass(Duration::from_millis(u64::from(*after)))?;
            self.tend();
            self.operate(operation)
                .map_err(|why| format!("{operation:?}: {why}"))?;
        }
        self.finale()?;
        for viewer in 0..self.viewers.len() {
            self.judge(viewer)?;
        }
        self.leave()
    }

    /// Everything that is gone comes back; a last group shows who still listens; then the tracks end.
    fn finale(&mut self) -> Result<(), String> {
        for relay in 0..self.relays.len() {
            self.come_back(Link::Relay(relay))?;
        }
        for studio in 0..self.studios.len() {
            self.come_back(Link::Studio(studio))?;
        }
        // Relays find one another again, those included that do not know yet that they were lost.
        for _ in 0..4 {
            self.pass(PATIENCE / 4)?;
            self.tend();
        }
        for studio in 0..self.studios.len() {
            self.come_back(Link::Studio(studio))?;
        }
        self.pass(SETTLE)?;
        for track in 0..self.books.len() {
            let track = u8::try_from(track).unwrap_or(0);
            self.operate(&Operation::NextGroup {
                track,
                finish: true,
                gap: 0,
            })?;
            for lane in [0, 0, 1] {
                self.operate(&Operation::Object {
                    track,
                    lane,
                    length: 300,
                    gap: 0,
                    properties: true,
                })?;
                self.pass(Duration::from_millis(40))?;
            }
        }
        self.pass(PATIENCE)?;
        for track in 0..self.books.len() {
            let track = u8::try_from(track).unwrap_or(0);
            self.operate(&Operation::EndTrack { track })?;
        }
        self.pass(PATIENCE)
    }

    /// Lets time pass, and looks at everything after every step.
    fn pass(&mut self, span: Duration) -> Result<(), String> {
        let deadline = self.world.now() + span;
        while self.world.step_until(deadline) {
            self.check()?;
        }
        self.recount()
    }

    /// Compares every relay's books with what it really holds.
    fn recount(&self) -> Result<(), String> {
        let is_calm = self.world.is_calm();
        for (number, slot) in self.relays.iter().enumerate() {
            if slot.alive {
                let shards = self.world.node::<Shards>(slot.node);
                shards
                    .recount(is_calm)
                    .map_err(|why| format!("relay {number}: {why}"))?;
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        self.checks += 1;
        self.note_losses();
        if self.checks.is_multiple_of(RECOUNT_AFTER) {
            self.recount()?;
        }
        let now = self.world.now();
        for (number, slot) in self.relays.iter().enumerate() {
            if !slot.alive {
                continue;
            }
            let shards = self.world.node::<Shards>(slot.node).relays();
            let Some(ledger) = shards.first().map(Relay::ledger) else {
                continue;
            };
            if self.plan.memory.is_some() && ledger.used() > ledger.limit() / 2 {
                self.troubles.press(number, self.checked, now);
            }
            if ledger.used() > ledger.limit().saturating_add(SMALL_THINGS) {
                return Err(format!("a relay holds more than it may: {ledger:?}"));
            }
        }
        self.checked = now;
        for (number, slot) in self.studios.iter().enumerate() {
            if !slot.alive {
                continue;
            }
            if let Some(Exit::Failure(why)) = self.world.exit(slot.node) {
                return Err(format!("publisher {number}: {why}"));
            }
        }
        for viewer in 0..self.viewers.len() {
            self.listen(viewer)
                .map_err(|why| format!("subscriber {viewer}: {why}"))?;
        }
        Ok(())
    }

    /// Remembers on which connections datagrams were lost.
    fn note_losses(&mut self) {
        let find = |slots: &[Slot], node| slots.iter().position(|slot| Some(slot.node) == node);
        for (at, ends) in self.world.losses().iter().skip(self.losses) {
            self.losses += 1;
            let mut links = ends.iter().filter_map(|node| {
                let viewer = find(&self.viewers, *node).map(Link::Viewer);
                viewer.or_else(|| find(&self.studios, *node).map(Link::Studio))
            });
            let hop = || {
                ends.iter()
                    .filter_map(|node| find(&self.relays, *node))
                    .max()
            };
            if let Some(link) = links.next().or_else(|| hop().map(Link::Hop)) {
                self.troubles.lose(*at, link);
            }
        }
    }

    /// Looks at what a subscriber got.
    fn listen(&mut self, viewer: usize) -> Result<(), String> {
        let (Some(slot), Some(heard), Some(seen)) = (
            self.viewers.get(viewer).filter(|slot| slot.alive),
            self.heard.get_mut(viewer),
            self.seen.get_mut(viewer),
        ) else {
            return Ok(());
        };
        if let Some(Exit::Failure(why)) = self.world.exit(slot.node) {
            return Err(why.clone());
        }
        let now = self.world.now();
        let part = self.world.node::<Program<Viewer>>(slot.node).part();
        for (index, note) in part.notes.iter().skip(*seen) {
            *seen += 1;
            let asked = part.asked.get(*index).ok_or("a note on nothing")?;
            let of_track = |book: &&Book| asked.track() == Some(&book.track);
            let books = self.books.iter().chain(self.past.iter().rev());
            let books: Vec<&Book> = books.filter(of_track).collect();
            let lost = || {
                let track = self.books.iter().position(|book| of_track(&book));
                let way = self.plan.way(viewer, track.unwrap_or(usize::MAX));
                self.troubles.broke(&way, asked.at, now)
            };
            heard
                .entry(*index)
                .or_default()
                .hear(now, asked, (&books, &lost), note)
                .map_err(|why| format!("{why}; asked: {asked:?}"))?;
        }
        let closed = self.closed.get_mut(viewer).ok_or("no such subscriber")?;
        for (at, why) in part.closed.iter().skip(*closed) {
            *closed += 1;
            let is_fine = match why {
                Closed::ByUs => true,
                Closed::ByPeer { code: 0, .. } => true,
                Closed::ByPeer { code, .. } if *code != GOAWAY_TIMEOUT => false,
                Closed::ByPeer { .. } | Closed::TimedOut | Closed::Failed(_) | Closed::Lost(_) => {
                    let way = self.plan.way(viewer, usize::MAX);
                    let relay = self.plan.viewers.get(viewer).map(|viewer| viewer.relay);
                    let relay = self.plan.relay(relay.unwrap_or(0));
                    self.troubles.broke(&way, Time::ZERO, *at)
                        || self.troubles.ever_broke(Link::Relay(relay))
                }
            };
            if !is_fine {
                return Err(format!("its session closed: {why:?}"));
            }
        }
        Ok(())
    }

    /// Whether a subscriber got all that it was due.
    fn judge(&self, viewer: usize) -> Result<(), String> {
        let (Some(slot), Some(heard)) = (
            self.viewers.get(viewer).filter(|slot| slot.alive),
            self.heard.get(viewer),
        ) else {
            return Ok(());
        };
        let part = self.world.node::<Program<Viewer>>(slot.node).part();
        let silence = Heard::default();
        for (index, asked) in part.asked.iter().enumerate() {
            let of_track =
                |track: &FullTrackName| self.books.iter().position(|book| book.track == *track);
            let track = asked.track().and_then(of_track).unwrap_or(usize::MAX);
            let nothing = Book::new(scene::track_name(track), self.plan.show(track), 0);
            let heard = heard.get(&index).unwrap_or(&silence);
            let book = self.books.get(track).unwrap_or(&nothing);
            let joined = match &asked.kind {
                Kind::Fetch(_, fetching) => fetching.joins.map(|(joined, ..)| joined),
                Kind::Subscribe(..) | Kind::Offer(..) | Kind::Status(_) | Kind::Watch => None,
            };
            let way = self.plan.way(viewer, track);
            // What was sent before an answer was has arrived by then, on whatever stream.
            let crossed = asked
                .answer
                .as_ref()
                .is_some_and(|(at, _)| part.was_offered(asked, self.troubles.settled(&way, *at)));
            let books = self.past.iter().chain([book]);
            let beginnings: Vec<&Book> = books.filter(|past| past.track == book.track).collect();
            let case = Case {
                asked,
                heard,
                book: self.era_of(asked, heard, book),
                few_fetches: self.plan.limits.few_fetches,
                beginnings: &beginnings,
                crossed,
                renewed: part.renewed(index),
                way: &way,
                troubles: &self.troubles,
                joined: joined.and_then(|joined| part.asked.get(joined)),
                now: self.world.now(),
            };
            case.judge()
                .map_err(|why| format!("subscriber {viewer}: {why}; asked: {asked:?}"))?;
        }
        Ok(())
    }

    /// What was published of a track while a request was about it: as what it got shows, or as things were.
    fn era_of<'b>(&'b self, asked: &Asked, heard: &Heard, book: &'b Book) -> &'b Book {
        let is_meant = |past: &&Book| match heard.era {
            Some(era) => past.era == era,
            None => past.ended.is_some_and(|ended| asked.at < ended),
        };
        let mut past = self.past.iter().filter(|past| past.track == book.track);
        past.find(is_meant).unwrap_or(book)
    }

    /// Everybody goes, and nothing is left.
    fn leave(&mut self) -> Result<(), String> {
        let viewers = (0..self.viewers.len()).map(Link::Viewer);
        for link in viewers.chain((0..self.studios.len()).map(Link::Studio)) {
            self.go(link);
        }
        self.pass(SETTLE)?;
        for slot in &self.relays {
            if let Some(hop) = slot.hop.filter(|_| slot.alive) {
                self.world.mute(slot.node, hop);
            }
        }
        self.pass(OBLIVION)?;
        for (number, slot) in self
            .relays
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.alive)
        {
            let left = self.world.node::<Shards>(slot.node).left_over();
            if !left.is_empty() {
                return Err(format!("relay {number} still has {left:#?}"));
            }
        }
        Ok(())
    }
}

/// So many empty ones.
fn vec_of<T: Default>(count: usize) -> Vec<T> {
    std::iter::repeat_with(T::default).take(count).collect()
}
