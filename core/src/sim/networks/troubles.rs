//! What happened to the paths of a network, and so what may explain that something is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Time;

use super::plan::{Plan, ShowPlan, Who};

/// How long something takes at most to get from one end of a network to the other while nothing holds it up.
pub(super) const SETTLE: Duration = Duration::from_secs(3);
/// How long a network takes at most to notice a loss and to get over it once it can: idle timeouts on both ends, the
/// grace that publishers have, the time that they have to answer.
pub(super) const RECOVERY: Duration = Duration::from_secs(30);

/// Something on the way between a publisher and a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Link {
    /// A relay itself.
    Relay(usize),
    /// The connection of a relay with the one that it is a client of.
    Hop(usize),
    /// A publisher and its connection.
    Studio(usize),
    /// A subscriber's connection.
    Viewer(usize),
}

/// What is wrong with a part of the network, and for how long.
#[derive(Clone, Debug)]
struct Trouble {
    link: Link,
    from: Time,
    until: Option<Time>,
    /// Something is lost, not only late.
    breaks: bool,
}

/// Everything that went wrong so far.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    list: Vec<Trouble>,
    /// Datagrams that were lost.
    losses: Vec<(Time, Link)>,
    /// When memory was short in a relay, by the relay: spans without a pause between them.
    pressed: BTreeMap<usize, Vec<(Time, Time)>>,
}

/// What a subscriber needs to get a track.
#[derive(Debug)]
pub(super) struct Way {
    links: BTreeSet<Link>,
    /// The same for each publisher, if any of them is enough: if all are at one relay. What a relay knows of another only
    /// because it asked is not used while somebody announces it.
    pub(super) routes: Vec<BTreeSet<Link>>,
    /// How many publishers there are.
    pub(super) publishers: usize,
    /// There is a publisher at its end.
    pub(super) is_published: bool,
    /// It may be slower than what is published.
    pub(super) is_slow: bool,
}

impl Way {
    /// Whether it leads through several relays.
    pub(super) fn has_hops(&self) -> bool {
        self.links.iter().any(|link| matches!(link, Link::Hop(_)))
    }
}

impl Troubles {
    /// Nothing gets through for a while.
    pub(super) fn stall(&mut self, link: Link, from: Time, until: Time) {
        self.list.push(Trouble {
            link,
            from,
            until: Some(until),
            breaks: false,
        });
    }

    /// Something is lost until it is [healed](Self::heal).
    pub(super) fn break_off(&mut self, link: Link, from: Time) {
        self.list.push(Trouble {
            link,
            from,
            until: None,
            breaks: true,
        });
    }

    pub(super) fn heal(&mut self, link: Link, now: Time) {
        for trouble in &mut self.list {
            if trouble.link == link {
                trouble.until.get_or_insert(now);
            }
        }
    }

    /// Whether something was lost on the way in this time, or still was not made good.
    pub(super) fn broke(&self, way: &Way, from: Time, to: Time) -> bool {
        self.breaks(way)
            .any(|(at, until)| at <= to && until.is_none_or(|until| until + RECOVERY >= from))
    }

    /// Whether that is so on the way to every publisher.
    pub(super) fn broke_everywhere(&self, way: &Way, from: Time, to: Time) -> bool {
        let is_broken = |route: &BTreeSet<Link>| {
            self.breaks_on(route)
                .any(|(at, until)| at <= to && until.is_none_or(|until| until + RECOVERY >= from))
        };
        way.routes.iter().all(is_broken)
    }

    /// A datagram was lost.
    pub(super) fn lose(&mut self, at: Time, link: Link) {
        self.losses.push((at, link));
    }

    /// Whether a datagram was lost on a route in this time.
    pub(super) fn lost(&self, route: &BTreeSet<Link>, from: Time, to: Time) -> bool {
        let mut losses = self.losses.iter();
        losses.any(|(at, link)| *at >= from && *at <= to && route.contains(link))
    }

    /// Memory is short in a relay; it was looked at `before` last.
    pub(super) fn press(&mut self, relay: usize, before: Time, now: Time) {
        let spans = self.pressed.entry(relay).or_default();
        match spans.last_mut() {
            Some((_, until)) if *until >= before => *until = now,
            _ => spans.push((before, now)),
        }
    }

    /// Whether memory was short on the way in this time.
    pub(super) fn was_pressed(&self, way: &Way, from: Time, to: Time) -> bool {
        self.pressed
            .iter()
            .filter(|(relay, _)| way.links.contains(&Link::Relay(**relay)))
            .flat_map(|(_, spans)| spans)
            .any(|(began, ended)| *began <= to && *ended >= from)
    }

    /// Whether something was ever lost there.
    pub(super) fn ever_broke(&self, link: Link) -> bool {
        self.list
            .iter()
            .any(|trouble| trouble.breaks && trouble.link == link)
    }

    /// When something was lost on the way, and until when that may go on.
    pub(super) fn breaks(&self, way: &Way) -> impl Iterator<Item = (Time, Option<Time>)> {
        self.breaks_on(&way.links)
    }

    /// The same for some of its links.
    pub(super) fn breaks_on(
        &self,
        links: &BTreeSet<Link>,
    ) -> impl Iterator<Item = (Time, Option<Time>)> {
        self.list
            .iter()
            .filter(|trouble| trouble.breaks && links.contains(&trouble.link))
            .map(|trouble| (trouble.from, trouble.until))
    }

    /// Whether something was late on the way in this time.
    pub(super) fn delayed(&self, way: &Way, from: Time, to: Time) -> bool {
        self.on(way).any(|trouble| {
            trouble.from <= to && trouble.until.is_none_or(|until| until + SETTLE >= from)
        })
    }

    /// From when on everything that was on its way at a time has arrived.
    pub(super) fn settled(&self, way: &Way, at: Time) -> Time {
        let mut settled = at + SETTLE;
        let mut stalls: Vec<(Time, Time)> = self
            .on(way)
            .filter_map(|trouble| Some((trouble.from, trouble.until?)))
            .collect();
        stalls.sort_unstable();
        for (from, until) in stalls {
            if from <= settled && until + SETTLE >= at {
                settled = settled.max(until + SETTLE);
            }
        }
        settled
    }

    fn on(&self, way: &Way) -> impl Iterator<Item = &Trouble> {
        self.list
            .iter()
            .filter(|trouble| way.links.contains(&trouble.link))
    }
}

impl Plan {
    /// The relay that a relay connects to.
    pub(super) fn parent(&self, relay: usize) -> Option<usize> {
        let parent = self.relays.get(relay)?.parent;
        (relay > 0).then(|| usize::from(parent) % relay)
    }

    /// A relay as plans name it.
    pub(super) fn relay(&self, number: u8) -> usize {
        usize::from(number) % self.relays.len().max(1)
    }

    /// How many tracks there are.
    pub(super) fn tracks(&self) -> usize {
        self.studios.len().clamp(1, 3)
    }

    /// A track as plans name it.
    pub(super) fn track(&self, number: u8) -> usize {
        usize::from(number) % self.tracks()
    }

    /// What a track is like.
    pub(super) fn show(&self, track: usize) -> ShowPlan {
        self.shows.get(track).cloned().unwrap_or_default()
    }

    /// The node that plans name so.
    pub(super) fn who(&self, who: Who) -> Option<Link> {
        let within = |number: usize, count: usize| number.checked_rem(count);
        match who {
            Who::Relay(n) => within(usize::from(n), self.relays.len()).map(Link::Relay),
            Who::Studio(n) => within(usize::from(n), self.studios.len()).map(Link::Studio),
            Who::Viewer(n) => within(usize::from(n), self.viewers.len()).map(Link::Viewer),
        }
    }

    fn ancestors(&self, relay: usize) -> Vec<usize> {
        std::iter::successors(Some(relay), |relay| self.parent(*relay)).collect()
    }

    /// What lies between a subscriber and all publishers of a track.
    pub(super) fn way(&self, viewer: usize, track: usize) -> Way {
        let mut way = Way {
            links: BTreeSet::from([Link::Viewer(viewer)]),
            routes: Vec::new(),
            publishers: 0,
            is_published: false,
            is_slow: false,
        };
        let mut paths = Vec::new();
        let Some(of_viewer) = self.viewers.get(viewer) else {
            return way;
        };
        paths.push(&of_viewer.path);
        let here = self.ancestors(self.relay(of_viewer.relay));
        way.links.extend(here.first().copied().map(Link::Relay));
        for (number, studio) in self.studios.iter().enumerate() {
            if self.track(studio.track) != track {
                continue;
            }
            way.is_published = true;
            let mut route = BTreeSet::from([Link::Viewer(viewer), Link::Studio(number)]);
            paths.push(&studio.path);
            let there = self.ancestors(self.relay(studio.relay));
            let common = here.iter().find(|relay| there.contains(relay));
            for side in [&here, &there] {
                for relay in side {
                    route.insert(Link::Relay(*relay));
                    if Some(relay) == common {
                        break;
                    }
                    route.insert(Link::Hop(*relay));
                    paths.extend(self.relays.get(*relay).map(|relay| &relay.path));
                }
            }
            way.links.extend(&route);
            way.routes.push(route);
        }
        let of_track = self.studios.iter();
        let of_track = of_track.filter(|studio| self.track(studio.track) == track);
        let relays: BTreeSet<usize> = of_track.map(|studio| self.relay(studio.relay)).collect();
        way.publishers = way.routes.len();
        if relays.len() > 1 {
            way.routes = vec![way.links.clone()];
        }
        way.is_slow = paths.iter().any(|path| path.rate > 0) || self.transport.is_small();
        way
    }
}
