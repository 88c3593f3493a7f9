//! Subscriptions that wait for a publisher to come (§ RENDEZVOUS TIMEOUT Parameter).

use std::collections::{BTreeMap, BTreeSet};

use super::Relay;
use super::routes::Origin;
use crate::code::RequestCode;
use crate::session::{Refusal, Response};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::name::FullTrackName;
use crate::wire::param::Parameters;

/// Until when subscriptions wait for a publisher, those that asked to.
#[derive(Debug, Default)]
pub(super) struct Rendezvous {
    until: BTreeMap<Origin, Time>,
    by_time: BTreeSet<(Time, Origin)>,
}

impl Rendezvous {
    fn insert(&mut self, origin: Origin, until: Time) {
        self.remove(origin);
        self.until.insert(origin, until);
        self.by_time.insert((until, origin));
    }

    fn remove(&mut self, origin: Origin) {
        if let Some(until) = self.until.remove(&origin) {
            self.by_time.remove(&(until, origin));
        }
    }

    /// When the first of them has waited long enough.
    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(until, _)| *until)
    }

    /// How many still wait.
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.until.len()
    }

    /// Those that still wait.
    #[cfg(test)]
    pub(super) fn origins(&self) -> Vec<Origin> {
        assert_eq!(self.until.len(), self.by_time.len());
        self.until.keys().copied().collect()
    }
}

impl Relay {
    /// Lets a subscription wait for a publisher as long as it asked to, if it did and there is room.
    ///
    /// "The relay MAY use a shorter timeout than requested": none is the shortest.
    pub(super) fn begin_rendezvous(&mut self, now: Time, origin: Origin, parameters: &Parameters) {
        let limits = &self.settings.limits;
        let Some(asked) = parameters.rendezvous_timeout.filter(|asked| asked.0 > 0) else {
            return;
        };
        if self.rendezvous.until.len() < limits.max_rendezvous {
            let most = limits.max_rendezvous_timeout;
            let patience = std::time::Duration::from_millis(asked.0).min(most);
            self.rendezvous.insert(origin, now + patience);
        }
    }

    /// A subscription waits no longer, neither for a publisher to come nor for its answer.
    pub(super) fn no_longer_waits(&mut self, origin: Origin) {
        self.waiting.remove(&origin);
        self.rendezvous.remove(origin);
        self.held_updates.remove(&origin);
    }

    /// Whether a subscription is to stay although every publisher so far has refused with this code.
    pub(super) fn waits_on(&self, origin: Origin, code: RequestCode) -> bool {
        // Whoever refuses so does not publish the track, or not now. Any other refusal is an answer.
        let is_absent = matches!(
            code,
            RequestCode::DoesNotExist
                | RequestCode::Timeout
                | RequestCode::GoingAway
                | RequestCode::ExcessiveLoad
        );
        is_absent && self.rendezvous.until.contains_key(&origin)
    }

    /// Refuses the subscriptions that have waited long enough. While a publisher is asked, its answer decides.
    pub(super) fn expire_rendezvous(&mut self, now: Time) {
        while let Some(&(until, origin)) = self.rendezvous.by_time.first()
            && until <= now
        {
            self.rendezvous.remove(origin);
            let Some(name) = self.waiting.get(&origin).map(|held| held.name.clone()) else {
                continue;
            };
            let refusal = Refusal::new(RequestCode::Timeout, "no publisher came in time");
            self.refuse_if_hopeless(now, origin, &name, refusal);
        }
    }

    fn refuse_if_hopeless(
        &mut self,
        now: Time,
        origin: Origin,
        name: &FullTrackName,
        refusal: Refusal,
    ) {
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        if track.upstreams.is_empty() && track.waiting.remove(&origin).is_some() {
            self.no_longer_waits(origin);
            self.respond(now, origin, Response::Error(refusal));
            self.release_if_idle(now, name);
        }
    }

    /// Asks a publisher for what it could not be asked for before: for want of credit, say.
    pub(super) fn ask_again(&mut self, now: Time, publisher: ConnectionId) {
        for origin in super::of_connection(&self.announcements, publisher) {
            let announced = self.announcements.get(&origin);
            if let Some(namespace) = announced.map(|announced| announced.name.clone()) {
                self.ask_new_publisher(now, origin, &namespace);
            }
        }
        for (asked, namespace) in self.discovery.learned_from(publisher) {
            self.ask_new_publisher(now, asked, &namespace);
        }
    }
}
