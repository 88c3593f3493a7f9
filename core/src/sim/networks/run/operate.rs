//! What each operation of a plan does.

use std::time::Duration;

use crate::session::Request;
use crate::transport::ConnectionId;
use crate::wire::id::{Location, Millis, RequestId};
use crate::wire::message::{
    Fetch, FetchRange, Interest, Subscribe, SubscribeNamespace, SubscribeTracks, TrackStatus,
};
use crate::wire::object::ObjectStatus;
use crate::wire::param::{GroupOrder, Parameters};

use super::super::super::program::{Failure, Program};
use super::super::super::stage::Stage;
use super::super::super::world::NodeId;
use super::super::book::{Book, Ending, Entry};
use super::super::plan::{LANES, Operation, Wish};
use super::super::scene::{self, Slot};
use super::super::studio::Studio;
use super::super::troubles::Link;
use super::super::viewer::{Fetching, Kind, Viewer};
use super::{Heard, Play};

impl Play<'_> {
    pub(super) fn operate(&mut self, operation: &Operation) -> Result<(), Failure> {
        match operation {
            Operation::Object {
                track,
                lane,
                length,
                gap,
                properties,
            } => {
                let length = usize::from(*length);
                self.publish(
                    *track,
                    *lane,
                    (length, *gap, *properties),
                    ObjectStatus::Normal,
                )
            }
            Operation::EndGroup { track } => self.end_group(*track),
            Operation::Finish { track, lane } => self.end_lane(*track, *lane, Ending::Finished),
            Operation::Reset { track, lane } => self.end_lane(*track, *lane, Ending::Reset),
            Operation::NextGroup { track, finish, gap } => self.next_group(*track, *finish, *gap),
            Operation::Restart { track, after } => self.restart(*track, *after),
            Operation::EndTrack { track } => self.end_track(*track),
            Operation::Subscribe { viewer, track, how } => self.subscribe(*viewer, *track, how),
            Operation::Cancel { viewer, nth } => self.cancel(*viewer, *nth),
            Operation::Update {
                viewer,
                nth,
                forward,
                priority,
                new_group,
            } => self.update(*viewer, *nth, (*forward, *priority, *new_group)),
            Operation::Fetch { .. } => self.fetch(operation),
            Operation::Join {
                viewer,
                nth,
                groups,
                relative,
            } => self.join(*viewer, *nth, u64::from(*groups), *relative),
            Operation::Status { viewer, track } => self.status(*viewer, *track),
            Operation::Watch { viewer, tracks } => self.watch(*viewer, *tracks),
            Operation::Stall { who, millis } => {
                let span = Duration::from_millis(u64::from(*millis));
                self.plan
                    .who(*who)
                    .into_iter()
                    .for_each(|link| self.stall(link, span));
                Ok(())
            }
            Operation::Mute { who } => {
                self.plan
                    .who(*who)
                    .into_iter()
                    .for_each(|link| self.mute(link));
                Ok(())
            }
            Operation::Crash { who } => {
                self.plan
                    .who(*who)
                    .into_iter()
                    .for_each(|link| self.crash(link));
                Ok(())
            }
            Operation::Retire { relay } => {
                self.retire(self.plan.relay(*relay));
                Ok(())
            }
            Operation::Leave { who } => {
                self.plan
                    .who(*who)
                    .into_iter()
                    .for_each(|link| self.go(link));
                Ok(())
            }
            Operation::Return { who } => match self.plan.who(*who) {
                Some(link) => self.come_back(link),
                None => Ok(()),
            },
        }
    }

    /// Lets every publisher of a track that is there do something.
    fn at_studios(
        &mut self,
        track: usize,
        mut act: impl FnMut(&mut Studio, &mut Stage<'_>, &Book) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(book) = self.books.get(track) else {
            return Ok(());
        };
        for (slot, studio) in self.studios.iter().zip(&self.plan.studios) {
            if !slot.alive || self.plan.track(studio.track) != track {
                continue;
            }
            self.world
                .with(slot.node, |program: &mut Program<Studio>, now| {
                    program.act(now, |studio, stage| act(studio, stage, book))
                })?;
        }
        Ok(())
    }

    fn publish(
        &mut self,
        track: u8,
        lane: u8,
        (length, gap, has_properties): (usize, u8, bool),
        status: ObjectStatus,
    ) -> Result<(), Failure> {
        self.grant_group(track)?;
        let track = self.plan.track(track);
        let now = self.world.now();
        let Some(book) = self.books.get_mut(track) else {
            return Ok(());
        };
        let subgroup = (lane < LANES).then(|| u64::from(lane));
        let takes = match subgroup {
            Some(subgroup) => book.takes(subgroup),
            None => !book.group_is_over,
        };
        if !takes || book.ended.is_some() {
            return Ok(());
        }
        let location = Location::new(book.group, book.next_id() + u64::from(gap));
        let entry = Entry {
            subgroup,
            priority: 100 + lane,
            status,
            // Datagrams must fit.
            length: if subgroup.is_some() {
                length
            } else {
                length.min(900)
            },
            has_properties,
            at: now,
        };
        book.add(location, entry);
        self.at_studios(track, |studio, stage, book| {
            studio.publish(stage, book, location)
        })
    }

    /// Begins the group that a publisher of the track is asked for, if there is such a wish.
    fn grant_group(&mut self, track: u8) -> Result<(), Failure> {
        let mut wanted = None;
        self.at_studios(self.plan.track(track), |studio, _, book| {
            let is_new = |group: &u64| *group == 0 || *group > book.group;
            wanted = wanted.max(studio.wanted.take().filter(is_new));
            Ok(())
        })?;
        match wanted {
            Some(_) => self.next_group(track, true, 0),
            None => Ok(()),
        }
    }

    /// The publishers of a track are gone, and come back later with nothing of what they published.
    fn restart(&mut self, track: u8, after: u16) -> Result<(), Failure> {
        let number = self.plan.track(track);
        let now = self.world.now();
        let Some(book) = self.books.get_mut(number) else {
            return Ok(());
        };
        // What they begin with is behind what they had, and so surely something new.
        if book.ended.is_some() || book.group < 2 {
            return Ok(());
        }
        let next = Book::new(book.track.clone(), book.show.clone(), book.era + 1);
        let mut old = std::mem::replace(book, next);
        old.ended = Some(now);
        self.past.push(old);
        let studios = self.plan.studios.iter().enumerate();
        let studios = studios.filter(|(_, studio)| self.plan.track(studio.track) == number);
        let links: Vec<Link> = studios.map(|(studio, _)| Link::Studio(studio)).collect();
        links.iter().for_each(|link| self.go(*link));
        self.pass(Duration::from_millis(u64::from(after)))?;
        let first = Operation::Object {
            track,
            lane: 0,
            length: 100,
            gap: 0,
            properties: true,
        };
        self.operate(&first)?;
        links.iter().try_for_each(|link| self.come_back(*link))
    }

    fn end_group(&mut self, track: u8) -> Result<(), Failure> {
        let number = self.plan.track(track);
        let Some(book) = self.books.get(number) else {
            return Ok(());
        };
        let open = book
            .open_lines()
            .into_iter()
            .find(|key| key.0 == book.group);
        let Some((_, subgroup)) = open else {
            return Ok(());
        };
        let lane = u8::try_from(subgroup).unwrap_or(0);
        self.publish(track, lane, (0, 0, false), ObjectStatus::EndOfGroup)?;
        if let Some(book) = self.books.get_mut(number) {
            book.group_is_over = true;
        }
        self.end_lane(track, lane, Ending::Finished)
    }

    fn end_lane(&mut self, track: u8, lane: u8, ending: Ending) -> Result<(), Failure> {
        let track = self.plan.track(track);
        let Some(book) = self.books.get(track) else {
            return Ok(());
        };
        let key = (book.group, u64::from(lane % LANES));
        self.end_line(track, key, ending)
    }

    fn end_line(&mut self, track: usize, key: (u64, u64), ending: Ending) -> Result<(), Failure> {
        let now = self.world.now();
        if !self
            .books
            .get_mut(track)
            .is_some_and(|book| book.end(key, now, ending))
        {
            return Ok(());
        }
        self.at_studios(track, |studio, stage, book| {
            studio.end_line(stage, book, key, ending);
            Ok(())
        })
    }

    fn next_group(&mut self, track: u8, finish: bool, gap: u8) -> Result<(), Failure> {
        let number = self.plan.track(track);
        let open = self.books.get(number).map(Book::open_lines);
        if finish {
            for key in open.unwrap_or_default() {
                self.end_line(number, key, Ending::Finished)?;
            }
        }
        if let Some(book) = self.books.get_mut(number)
            && book.ended.is_none()
        {
            book.group += 1 + u64::from(gap);
            book.group_is_over = false;
        }
        Ok(())
    }

    fn end_track(&mut self, track: u8) -> Result<(), Failure> {
        let number = self.plan.track(track);
        let now = self.world.now();
        let open = self.books.get(number).map(Book::open_lines);
        for key in open.unwrap_or_default() {
            self.end_line(number, key, Ending::Finished)?;
        }
        match self.books.get_mut(number) {
            Some(book) if book.ended.is_none() => book.ended = Some(now),
            _ => return Ok(()),
        }
        self.at_studios(number, Studio::end_track)
    }

    /// Lets a subscriber that is there do something.
    fn at_viewer(
        &mut self,
        viewer: u16,
        act: impl FnOnce(&mut Viewer, &mut Stage<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let number = usize::from(viewer).checked_rem(self.viewers.len());
        let slot = number.and_then(|number| self.viewers.get(number));
        let Some(slot) = slot.filter(|slot| slot.alive) else {
            return Ok(());
        };
        self.world
            .with(slot.node, |program: &mut Program<Viewer>, now| {
                program.act(now, |viewer, stage| {
                    if viewer.connection.is_none() {
                        return Ok(());
                    }
                    act(viewer, stage)
                })
            })
    }

    fn subscribe(&mut self, viewer: u16, track: u8, how: &Wish) -> Result<(), Failure> {
        let track = self.plan.track(track);
        let group = self.books.get(track).map_or(0, |book| book.group);
        let name = scene::track_name(track);
        let how = how.clone();
        self.at_viewer(viewer, |viewer, stage| {
            let is_new = viewer.draft == Some(crate::draft::Draft::D18);
            let parameters = Parameters {
                filter: how.filter.filter(group),
                forward: how.paused.then_some(false),
                subscriber_priority: how.priority,
                group_order: how.order(),
                object_delivery_timeout: how.timeout(),
                new_group_request: how.new_group.then_some(group + 1),
                rendezvous_timeout: (how.rendezvous && is_new).then_some(Millis(20_000)),
                ..Parameters::default()
            };
            let request = Request::Subscribe(Subscribe {
                request_id: RequestId(0),
                track: name.clone(),
                parameters: parameters.clone(),
            });
            viewer.ask(stage, Kind::Subscribe(name, parameters), request)?;
            Ok(())
        })
    }

    fn cancel(&mut self, viewer: u16, nth: u8) -> Result<(), Failure> {
        self.at_viewer(viewer, |viewer, stage| {
            let open = viewer.open(|_| true, nth);
            open.map_or(Ok(()), |index| viewer.cancel(stage, index))
        })
    }

    fn update(
        &mut self,
        viewer: u16,
        nth: u8,
        (forward, subscriber_priority, new_group): (Option<bool>, Option<u8>, bool),
    ) -> Result<(), Failure> {
        self.at_viewer(viewer, |viewer, stage| {
            let parameters = Parameters {
                forward,
                subscriber_priority,
                new_group_request: new_group.then_some(0),
                ..Parameters::default()
            };
            let open = viewer.open(super::super::viewer::Asked::is_subscription, nth);
            open.map_or(Ok(()), |index| viewer.update(stage, index, parameters))
        })
    }

    fn fetch(&mut self, operation: &Operation) -> Result<(), Failure> {
        let Operation::Fetch {
            viewer,
            track,
            back,
            from,
            groups,
            to,
            descending,
        } = operation
        else {
            return Ok(());
        };
        let track = self.plan.track(*track);
        let name = scene::track_name(track);
        let current = self.books.get(track).map_or(0, |book| book.group);
        let group = current.saturating_sub(u64::from(*back));
        let start = Location::new(group, u64::from(*from));
        let end = match groups {
            0 => Location::new(group, u64::from(*from) + u64::from(*to) + 1),
            more => Location::new(group + u64::from(*more) - 1, 0),
        };
        let descending = *descending;
        self.at_viewer(*viewer, |viewer, stage| {
            let request = Request::Fetch(Fetch {
                request_id: RequestId(0),
                range: FetchRange::Standalone {
                    track: name.clone(),
                    start,
                    end,
                },
                parameters: order(descending),
            });
            let fetching = Fetching {
                start,
                end: Some(end),
                joins: None,
                descending,
            };
            viewer.ask(stage, Kind::Fetch(name, fetching), request)?;
            Ok(())
        })
    }

    fn join(&mut self, viewer: u16, nth: u8, groups: u64, relative: bool) -> Result<(), Failure> {
        self.at_viewer(viewer, |viewer, stage| {
            let is_joinable = |asked: &super::super::viewer::Asked| {
                matches!(&asked.kind, Kind::Subscribe(_, parameters) if parameters.filter.is_none())
                    && asked.answer.is_some()
                    && asked.pauses.is_empty()
            };
            let Some(index) = viewer.open(is_joinable, nth) else {
                return Ok(());
            };
            let Some(asked) = viewer.asked.get(index) else {
                return Ok(());
            };
            let (joining_request_id, joining_start) = (asked.id, groups);
            let range = match relative {
                true => FetchRange::RelativeJoining {
                    joining_request_id,
                    joining_start,
                },
                false => FetchRange::AbsoluteJoining {
                    joining_request_id,
                    joining_start,
                },
            };
            let Some(name) = asked.track().cloned() else {
                return Ok(());
            };
            let request = Request::Fetch(Fetch {
                request_id: RequestId(0),
                range,
                parameters: Parameters::default(),
            });
            let fetching = Fetching {
                start: Location::default(),
                end: None,
                joins: Some((index, groups, relative)),
                descending: false,
            };
            viewer.ask(stage, Kind::Fetch(name, fetching), request)?;
            Ok(())
        })
    }

    fn status(&mut self, viewer: u16, track: u8) -> Result<(), Failure> {
        let name = scene::track_name(self.plan.track(track));
        self.at_viewer(viewer, |viewer, stage| {
            let request = Request::TrackStatus(TrackStatus {
                request_id: RequestId(0),
                track: name.clone(),
                parameters: Parameters::default(),
            });
            viewer.ask(stage, Kind::Status(name), request)?;
            Ok(())
        })
    }

    fn watch(&mut self, viewer: u16, tracks: bool) -> Result<(), Failure> {
        self.at_viewer(viewer, |viewer, stage| {
            let is_new = viewer.draft == Some(crate::draft::Draft::D18);
            let request = if tracks && is_new {
                Request::SubscribeTracks(SubscribeTracks {
                    request_id: RequestId(0),
                    prefix: scene::prefix(),
                    parameters: Parameters::default(),
                })
            } else {
                Request::SubscribeNamespace(SubscribeNamespace {
                    request_id: RequestId(0),
                    prefix: scene::prefix(),
                    interest: match tracks {
                        true => Interest::Both,
                        false => Interest::Namespaces,
                    },
                    parameters: Parameters::default(),
                })
            };
            viewer.ask(stage, Kind::Watch, request)?;
            Ok(())
        })
    }

    fn slot(&self, link: Link) -> Option<&Slot> {
        match link {
            Link::Relay(n) | Link::Hop(n) => self.relays.get(n),
            Link::Studio(n) => self.studios.get(n),
            Link::Viewer(n) => self.viewers.get(n),
        }
    }

    fn slot_mut(&mut self, link: Link) -> Option<&mut Slot> {
        match link {
            Link::Relay(n) | Link::Hop(n) => self.relays.get_mut(n),
            Link::Studio(n) => self.studios.get_mut(n),
            Link::Viewer(n) => self.viewers.get_mut(n),
        }
    }

    /// The connection of a node towards the first relay, and what is in trouble if something is wrong with it.
    fn connection(&self, link: Link) -> Option<(Link, ConnectionId)> {
        let slot = self.slot(link).filter(|slot| slot.alive)?;
        match link {
            Link::Relay(n) | Link::Hop(n) => Some((Link::Hop(n), slot.hop?)),
            Link::Studio(_) | Link::Viewer(_) => {
                Some((link, *self.world.connections(slot.node).last()?))
            }
        }
    }

    fn stall(&mut self, link: Link, span: Duration) {
        if let Some((at, connection)) = self.connection(link)
            && let Some(node) = self.slot(link).map(|slot| slot.node)
        {
            let now = self.world.now();
            self.troubles.stall(at, now, now + span);
            self.world.stall(node, connection, span);
        }
    }

    fn mute(&mut self, link: Link) {
        if let Some((at, connection)) = self.connection(link)
            && let Some(node) = self.slot(link).map(|slot| slot.node)
        {
            self.troubles.break_off(at, self.world.now());
            self.world.mute(node, connection);
        }
    }

    fn crash(&mut self, link: Link) {
        let now = self.world.now();
        let Some(slot) = self.slot_mut(link).filter(|slot| slot.alive) else {
            return;
        };
        slot.alive = false;
        slot.hop = None;
        let node = slot.node;
        self.troubles.break_off(link, now);
        self.world.crash(node);
    }

    /// A relay asks everybody to leave, and ends when they have or after a while. Another may take its place meanwhile.
    fn retire(&mut self, relay: usize) {
        let now = self.world.now();
        let Some(slot) = self.relays.get_mut(relay).filter(|slot| slot.alive) else {
            return;
        };
        slot.alive = false;
        slot.hop = None;
        let node = slot.node;
        self.troubles.break_off(Link::Relay(relay), now);
        self.world.shut_down(node);
    }

    /// A client says good-bye.
    pub(super) fn go(&mut self, link: Link) {
        let now = self.world.now();
        if matches!(link, Link::Relay(_) | Link::Hop(_)) {
            return;
        }
        let Some(slot) = self.slot_mut(link).filter(|slot| slot.alive) else {
            return;
        };
        slot.alive = false;
        let node = slot.node;
        self.troubles.break_off(link, now);
        self.dismiss(link, node);
    }

    /// Ends a client's program, which lets go of everything.
    pub(super) fn dismiss(&mut self, link: Link, node: NodeId) {
        if self.world.exit(node).is_none() {
            self.world.shut_down(node);
        }
        if matches!(link, Link::Viewer(_)) {
            self.world.with(node, |program: &mut Program<Viewer>, now| {
                program.act(now, |viewer, _| viewer.forget());
            });
        }
    }

    /// Whoever crashed or left comes back; whoever lost its connection connects again.
    pub(super) fn come_back(&mut self, link: Link) -> Result<(), Failure> {
        let Some(slot) = self.slot(link) else {
            return Ok(());
        };
        let is_lonely = slot.alive && self.world.connections(slot.node).is_empty();
        let now = self.world.now();
        match link {
            Link::Relay(n) | Link::Hop(n) => {
                if !slot.alive {
                    let node = scene::add_relay(&mut self.world, self.plan, n);
                    self.put(link, node);
                    self.troubles.heal(Link::Relay(n), now);
                }
            }
            Link::Studio(n) => {
                if slot.alive && !is_lonely {
                    return Ok(());
                }
                self.go(link);
                let track = self
                    .plan
                    .studios
                    .get(n)
                    .map(|plan| self.plan.track(plan.track));
                let book = track.and_then(|track| self.books.get(track)).cloned();
                let book = book.ok_or("a publisher of no track")?;
                let (world, plan) = (&mut self.world, self.plan);
                if let Some(node) = scene::add_studio(world, plan, &self.relays, n, book) {
                    self.put(link, node);
                }
                self.troubles.heal(link, now);
            }
            Link::Viewer(n) => {
                if slot.alive && !is_lonely {
                    return Ok(());
                }
                if slot.alive {
                    self.judge(n)?;
                }
                self.go(link);
                let (world, plan) = (&mut self.world, self.plan);
                if let Some(node) = scene::add_viewer(world, plan, &self.relays, n) {
                    self.put(link, node);
                    if let Some(heard) = self.heard.get_mut(n) {
                        *heard = std::collections::BTreeMap::<usize, Heard>::new();
                    }
                    for count in [self.seen.get_mut(n), self.closed.get_mut(n)] {
                        count.into_iter().for_each(|count| *count = 0);
                    }
                }
                self.troubles.heal(link, now);
            }
        }
        Ok(())
    }

    fn put(&mut self, link: Link, node: NodeId) {
        if let Some(slot) = self.slot_mut(link) {
            *slot = Slot::new(node);
        }
    }

    /// Relays that lost the one that they are clients of connect again.
    pub(super) fn tend(&mut self) {
        for number in 0..self.relays.len() {
            let Some(parent) = self.plan.parent(number) else {
                continue;
            };
            let (Some(slot), Some(to), Some(plan)) = (
                self.relays.get(number),
                self.relays.get(parent),
                self.plan.relays.get(number),
            ) else {
                continue;
            };
            if !slot.alive || !to.alive {
                continue;
            }
            let connections = self.world.connections(slot.node);
            if slot.hop.is_some_and(|hop| connections.contains(&hop)) {
                continue;
            }
            let (ends, path) = ((slot, to), &plan.path);
            let hop = scene::connect_relay(&mut self.world, ends, parent, plan.draft, path);
            let now = self.world.now();
            if let Some(slot) = self.relays.get_mut(number) {
                slot.hop = hop;
            }
            self.troubles.heal(Link::Hop(number), now);
        }
    }
}

fn order(descending: bool) -> Parameters {
    Parameters {
        group_order: descending.then_some(GroupOrder::Descending),
        ..Parameters::default()
    }
}
