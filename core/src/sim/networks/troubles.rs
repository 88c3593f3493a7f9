//! What happened to the paths of a network, and so what may explain that something is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::time::Time;

use super::plan::{Plan, Who};

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
pub(super) struct Troubles(Vec<Trouble>);

/// What a subscriber needs to get a track.
#[derive(Debug)]
pub(super) struct Way {
    links: BTreeSet<Link>,
    /// There is a publisher at its end.
    pub(super) is_published: bool,
    /// Datagrams may be lost on it.
    pub(super) loses: bool,
    /// It may be slower than what is published.
    pub(super) is_slow: bool,
}

impl Troubles {
    /// Nothing gets through for a while.
    pub(super) fn stall(&mut self, link: Link, from: Time, until: Time) {
        self.0.push(Trouble {
            link,
            from,
            until: Some(until),
            breaks: false,
        });
    }

    /// Something is lost until it is [healed](Self::heal).
    pub(super) fn break_off(&mut self, link: Link, from: Time) {
        self.0.push(Trouble {
            link,
            from,
            until: None,
            breaks: true,
        });
    }

    pub(super) fn heal(&mut self, link: Link, now: Time) {
        for trouble in &mut self.0 {
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

    /// Whether something was ever lost there.
    pub(super) fn ever_broke(&self, link: Link) -> bool {
        self.0
            .iter()
            .any(|trouble| trouble.breaks && trouble.link == link)
    }

    /// When something was lost on the way, and until when that may go on.
    pub(super) fn breaks(&self, way: &Way) -> impl Iterator<Item = (Time, Option<Time>)> {
        self.on(way)
            .filter(|trouble| trouble.breaks)
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
        self.0
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
            is_published: false,
            loses: false,
            is_slow: false,
        };
        let mut paths = Vec::new();
        let Some(of_viewer) = self.viewers.get(viewer) else {
            return way;
        };
        paths.push(&of_viewer.path);
        let here = self.ancestors(self.relay(of_viewer.relay));
        for (number, studio) in self.studios.iter().enumerate() {
            if self.track(studio.track) != track {
                continue;
            }
            way.is_published = true;
            way.links.insert(Link::Studio(number));
            paths.push(&studio.path);
            let there = self.ancestors(self.relay(studio.relay));
            let common = here.iter().find(|relay| there.contains(relay));
            for side in [&here, &there] {
                for relay in side {
                    way.links.insert(Link::Relay(*relay));
                    if Some(relay) == common {
                        break;
                    }
                    way.links.insert(Link::Hop(*relay));
                    paths.extend(self.relays.get(*relay).map(|relay| &relay.path));
                }
            }
        }
        way.loses = paths.iter().any(|path| path.loss > 0);
        way.is_slow = paths.iter().any(|path| path.rate > 0) || self.transport.is_small();
        way
    }
}
