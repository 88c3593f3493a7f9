//! Tracks: many subscriptions downstream, and where their objects come from upstream.

use std::collections::BTreeMap;

use log::debug;

use super::Relay;
use super::epochs::Grace;
use super::new_group::GroupRequest;
use super::resume::Resuming;
use super::routes::Origin;
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::fanout::TrackId;
use crate::ledger::Charge;
use crate::session::{Refusal, Response};
use crate::time::Time;
use crate::wire::message::PublishDone;
use crate::wire::name::FullTrackName;
use crate::wire::param::{Filter, Parameters};

/// A track that somebody downstream wants, or somebody upstream offers.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// What its name takes.
    _room: Option<Charge>,
    /// The track in memory, once a publisher agreed to send it.
    pub(super) live: Option<TrackId>,
    /// Our subscriptions to it, and what publishers offered by themselves.
    pub(super) upstreams: BTreeMap<Origin, Upstream>,
    /// Subscriptions that cannot be answered before a publisher has.
    pub(super) waiting: BTreeMap<Origin, Parameters>,
    /// Set while it may get another source for one that it lost.
    pub(super) grace: Option<Grace>,
    /// When publishers are told to pause, if nobody wants objects until then.
    pub(super) pause_at: Option<Time>,
    /// The group that publishers were asked for last.
    pub(super) group_request: Option<GroupRequest>,
}

/// Where a track comes from: one of our subscriptions, or a PUBLISH of a peer's.
#[derive(Debug)]
pub(super) enum Upstream {
    /// The publisher has not answered our SUBSCRIBE.
    Asked {
        give_up: Time,
        forward: bool,
        /// How many REDIRECTs led there.
        redirects: usize,
    },
    /// The publisher sends, or would if `forward` were set.
    Established {
        forward: bool,
        /// By a PUBLISH of its own: it stays when nobody wants the track.
        offered: bool,
    },
    /// The publisher has sent all that it will.
    Ending { done: PublishDone },
}

impl Upstream {
    /// Whether it is a PUBLISH of the peer's.
    pub(super) const fn is_offered(&self) -> bool {
        matches!(self, Self::Established { offered: true, .. })
    }
}

/// How a track ends.
pub(super) struct TrackEnd<'a> {
    /// For those who receive it.
    pub(super) code: DoneCode,
    /// In words.
    pub(super) reason: &'a str,
    /// For its publishers.
    pub(super) cancel: ResetCode,
    /// For those who wait for it.
    pub(super) refusal: Refusal,
}

impl Relay {
    /// Whether anybody downstream wants objects of the track now.
    pub(super) fn wants_objects(&self, name: &FullTrackName) -> bool {
        self.tracks.get(name).is_some_and(|track| {
            let waiting = track.waiting.values();
            Self::lingers(track)
                || waiting
                    .map(|p| p.forward)
                    .any(|forward| forward != Some(false))
                || track
                    .live
                    .is_some_and(|live| self.publisher.fanout.has_forwarding_subscribers(live))
        })
    }

    /// Ends a track, for everybody downstream and at its publishers.
    pub(super) fn end_track(&mut self, now: Time, name: &FullTrackName, end: &TrackEnd<'_>) {
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        let waiting = std::mem::take(&mut track.waiting);
        self.set_grace(name, None);
        let Some(track) = self.tracks.get(name) else {
            return;
        };
        // First downstream: the streams there end for the track's reason, not for want of a publisher.
        if let Some(live) = track.live {
            self.names.remove(&live);
            self.publisher
                .fanout
                .close_track(now, live, end.code, end.reason);
            self.live_ended(name);
        }
        for origin in self.publishers_asked(name) {
            self.forget_upstream(now, origin);
            self.cancel(now, origin, end.cancel);
        }
        self.forget_pause(name);
        self.tracks.remove(name);
        for origin in waiting.into_keys() {
            self.no_longer_waits(origin);
            self.respond(now, origin, Response::Error(end.refusal.clone()));
        }
    }

    /// If no publisher is left to wait for, tells those who wait, but for those who wait for one to come.
    pub(super) fn give_up_if_hopeless(
        &mut self,
        now: Time,
        name: &FullTrackName,
        refusal: &Refusal,
    ) {
        self.refuse_links_if_hopeless(now, name, refusal);
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        if !track.upstreams.is_empty() || track.live.is_some() {
            return;
        }
        let waiting = std::mem::take(&mut track.waiting);
        let (held, refused) = waiting
            .into_iter()
            .partition(|(origin, _)| self.waits_on(*origin, refusal.code));
        self.keep_waiting(name, held);
        for origin in refused.into_keys() {
            self.no_longer_waits(origin);
            self.respond(now, origin, Response::Error(refusal.clone()));
        }
    }

    /// A track without a publisher stays as long as somebody waits for one.
    fn keep_waiting(&mut self, name: &FullTrackName, held: BTreeMap<Origin, Parameters>) {
        self.forget_pause(name);
        if held.is_empty() {
            self.tracks.remove(name);
        } else if let Some(track) = self.tracks.get_mut(name) {
            track.waiting = held;
        }
    }

    /// Subscribers of a track came, went or changed their mind.
    pub(super) fn subscribers_changed(&mut self, now: Time, live: TrackId) {
        if let Some(name) = self.names.get(&live).cloned()
            && !self.release_if_idle(now, &name)
        {
            self.forward_as_needed(now, &name);
        }
    }

    /// Withdraws our subscriptions to a track that nobody wants any more.
    pub(super) fn release_if_idle(&mut self, now: Time, name: &FullTrackName) -> bool {
        self.withdraw_at_links(now, name);
        let Some(track) = self.tracks.get(name) else {
            return true;
        };
        let is_offered =
            |upstream: &Upstream| matches!(upstream, Upstream::Established { offered: true, .. });
        let is_idle = track.waiting.is_empty()
            && !Self::lingers(track)
            && !track.upstreams.values().any(is_offered)
            && track
                .live
                .is_none_or(|live| self.publisher.fanout.is_idle(live));
        if !is_idle {
            return false;
        }
        let end = TrackEnd {
            code: DoneCode::SubscriptionEnded,
            reason: "nobody wants it",
            cancel: ResetCode::Cancelled,
            refusal: no_such_track(),
        };
        self.end_track(now, name, &end);
        true
    }

    /// Whether publishers are to send objects from the beginning: see [`Limits::forward_linger`](super::Limits).
    pub(super) fn forwards_at_first(&self, name: &FullTrackName) -> bool {
        !self.settings.limits.forward_linger.is_zero() || self.wants_objects(name)
    }

    /// Tells publishers whether to send objects, if that has changed: at once if they are wanted, and to pause when they
    /// have not been for a while.
    pub(super) fn forward_as_needed(&mut self, now: Time, name: &FullTrackName) {
        let wanted = self.wants_objects(name);
        let patience = self.settings.limits.forward_linger;
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        let waits = !wanted && !patience.is_zero() && track.is_forwarding();
        let due = track.pause_at.is_some_and(|at| at <= now);
        if waits && !due {
            if track.pause_at.is_none() {
                let at = now + patience;
                track.pause_at = Some(at);
                self.pauses.insert((at, name.clone()));
            }
            return;
        }
        self.forget_pause(name);
        self.tell_forwarding(now, name, wanted);
    }

    fn forget_pause(&mut self, name: &FullTrackName) {
        let track = self.tracks.get_mut(name);
        if let Some(at) = track.and_then(|track| track.pause_at.take()) {
            self.pauses.remove(&(at, name.clone()));
        }
    }

    /// Pauses publishers whose objects nobody has wanted for long enough.
    pub(super) fn pause_unwanted(&mut self, now: Time) {
        while let Some((at, name)) = self.pauses.first().cloned()
            && at <= now
        {
            self.forward_as_needed(now, &name);
            self.pauses.remove(&(at, name));
        }
    }

    fn tell_forwarding(&mut self, now: Time, name: &FullTrackName, wanted: bool) {
        let wanted_here = wanted && (self.links.is_empty() || self.wants_objects_here(name));
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        for (origin, upstream) in &mut track.upstreams {
            let wanted = if self.links.contains_key(&origin.connection) {
                wanted_here
            } else {
                wanted
            };
            let Upstream::Established { forward, .. } = upstream else {
                // Known only to the answer: it is looked at again then.
                continue;
            };
            if *forward == wanted {
                continue;
            }
            let change = Parameters {
                forward: Some(wanted),
                ..Parameters::default()
            };
            let Some(session) = self.publisher.peers.session(origin.connection) else {
                continue;
            };
            match session.update(now, origin.request, change) {
                Ok(update) => {
                    *forward = wanted;
                    if wanted {
                        let give_up = now + self.settings.limits.answer_timeout;
                        self.resuming.insert(*origin, Resuming { update, give_up });
                    } else {
                        self.resuming.remove(origin);
                    }
                }
                // Without credit now, it is tried again when there is some.
                Err(misuse) => debug!("{}: cannot change forwarding: {misuse}", origin.connection),
            }
        }
    }
}

impl Track {
    /// Nothing but a name, for which there is room.
    pub(super) fn new(room: Charge) -> Self {
        Self {
            _room: Some(room),
            ..Self::default()
        }
    }

    /// Whether one of its publishers sends objects.
    fn is_forwarding(&self) -> bool {
        self.upstreams
            .values()
            .any(|upstream| matches!(upstream, Upstream::Established { forward: true, .. }))
    }

    /// The filter of our own subscription: from the next object on, unless somebody who waits asked for more. A publisher
    /// that starts because it is subscribed to may count its first object as the largest already; whoever asked without a
    /// filter is to have that one too.
    pub(super) fn upstream_filter(&self) -> Option<Filter> {
        let is_next = |parameters: &Parameters| {
            matches!(
                parameters.filter,
                Some(Filter::LargestObject | Filter::NextGroupStart)
            )
        };
        self.waiting
            .values()
            .all(is_next)
            .then_some(Filter::LargestObject)
    }
}

pub(super) const fn no_such_track() -> Refusal {
    Refusal::new(RequestCode::DoesNotExist, "no such namespace or track")
}
