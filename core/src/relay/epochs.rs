//! Publishers that vanish and come back, and those that start anew.
//!
//! When a track loses its last source without an ordinary end, its subscribers stay for
//! [`publisher_grace`](super::Limits::publisher_grace): what was cut off waits for the rest, and whoever subscribes
//! meanwhile waits for a source. A source that goes on where the track is continues it. One that goes back, since its
//! encoder was restarted, starts a new epoch: subscribers get PUBLISH_DONE with TRACK_ENDED, what is kept of the past is
//! forgotten, and those who subscribe again are served from the new one.
//!
//! | how a source ends | then |
//! |---|---|
//! | its session is lost, or it resets the request | grace |
//! | PUBLISH_DONE with GOING_AWAY | grace: another may take over |
//! | … INTERNAL_ERROR, UPDATE_FAILED, EXPIRED, TOO_FAR_BEHIND, or unknown | grace: that was about our subscription, and we ask again |
//! | … TRACK_ENDED, SUBSCRIPTION_ENDED | the end, passed on |
//! | … EXCESSIVE_LOAD, MALFORMED_TRACK | the end, passed on |
//! | … UNAUTHORIZED | the end, as INTERNAL_ERROR: it is about us |
//!
//! As long as another source brings the track, none of these ends it.

use super::routes::Origin;
use super::tracks::{Track, no_such_track};
use super::{RETRY_INTERVAL, Relay, of_connection};
use crate::code::{DoneCode, ResetCode};
use crate::fanout::{SourceId, TrackId};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{Location, RequestId};
use crate::wire::message::{GoAway, PublishDone};
use crate::wire::name::FullTrackName;
use crate::wire::property::Properties;

/// Where objects of one of our subscriptions, or of a peer's PUBLISH, go.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) live: TrackId,
    pub(super) id: SourceId,
    /// What it says of the track.
    properties: Properties,
    since: Time,
    /// The largest that it said it has, or brought.
    reached: Option<Location>,
    /// It said GOAWAY.
    leaves: bool,
    /// `None`: it belongs to the track's epoch.
    trial: Option<Trial>,
}

/// What is to be seen of a source before it is known to belong to the track's epoch.
#[derive(Clone, Copy, Debug)]
enum Trial {
    /// Its first object: it did not say how far it is.
    First,
    /// That it comes as far as the track was when it lost a source, within a time.
    Behind {
        mark: Location,
        until: Time,
        reached: Option<Location>,
    },
}

/// A track has lost a source and may get another.
#[derive(Debug)]
pub(super) struct Grace {
    until: Time,
    /// How the track ends if none comes.
    code: DoneCode,
    reason: String,
    /// An ordinary end: only publishers that are asked already are waited for.
    is_ordinary: bool,
    /// The track just began: it stays even if nobody wants it.
    lingers: bool,
}

impl Grace {
    #[cfg(test)]
    pub(super) const fn until(&self) -> Time {
        self.until
    }
}

/// What a new source means for a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Continues,
    StartsAnew,
    Unknown,
}

/// How a source ended.
pub(super) struct Loss<'a> {
    pub(super) code: DoneCode,
    pub(super) reason: &'a str,
    /// The track is over, as far as this source goes.
    pub(super) is_ordinary: bool,
    /// Whether the same publisher may be asked again.
    may_return: bool,
}

impl<'a> Loss<'a> {
    /// Without a word.
    pub(super) const fn silent() -> Loss<'static> {
        Loss {
            code: DoneCode::InternalError,
            reason: "the publisher left",
            is_ordinary: false,
            may_return: true,
        }
    }

    /// Another source says that it is wrong.
    pub(super) const fn contradicted() -> Loss<'static> {
        Loss {
            may_return: false,
            ..Loss::silent()
        }
    }

    /// With PUBLISH_DONE.
    pub(super) fn told(done: &PublishDone, reason: &'a str) -> Self {
        let (code, is_ordinary) = match done.code {
            code @ (DoneCode::TrackEnded
            | DoneCode::SubscriptionEnded
            | DoneCode::ExcessiveLoad
            | DoneCode::MalformedTrack) => (code, true),
            DoneCode::Unauthorized => (DoneCode::InternalError, true),
            DoneCode::GoingAway => (DoneCode::GoingAway, false),
            DoneCode::UpdateFailed
            | DoneCode::TooFarBehind
            | DoneCode::Expired
            | DoneCode::InternalError
            | DoneCode::Unknown(_) => (DoneCode::InternalError, false),
        };
        Self {
            code,
            reason,
            is_ordinary,
            may_return: true,
        }
    }
}

impl Relay {
    /// Lets a publisher, entered among the track's upstreams before, bring objects of it; whoever waited for the track
    /// is served. Whether it is to forward objects is for the caller to see to. False if there is no room for the track.
    pub(super) fn attach(
        &mut self,
        now: Time,
        origin: Origin,
        name: &FullTrackName,
        properties: Properties,
        largest: Option<Location>,
    ) -> bool {
        let verdict = self.verdict(origin, name, largest);
        if verdict == Verdict::StartsAnew {
            self.begin_epoch(now, name);
        }
        let of_track = properties.clone();
        let Some(live) = self.live_track(origin.connection, name, of_track, largest) else {
            return false;
        };
        if let Some(largest) = largest {
            self.publisher.fanout.raise_largest(live, largest);
        }
        let source = Source {
            live,
            id: self.new_source(live, origin),
            properties,
            since: now,
            reached: largest,
            leaves: false,
            trial: (verdict == Verdict::Unknown).then_some(Trial::First),
        };
        self.sources.insert(origin, source);
        let who = self.describe(origin.connection);
        let (journal, peer) = (&mut self.journal, Some(origin.connection));
        match largest {
            Some(largest) => journal.info(
                now,
                peer,
                format_args!("{who} publishes {name}, so far up to {largest}"),
            ),
            None => journal.info(
                now,
                peer,
                format_args!("{who} publishes {name}, nothing so far"),
            ),
        }
        self.serve_waiting(now, name, live);
        true
    }

    fn new_source(&mut self, live: TrackId, origin: Origin) -> SourceId {
        let id = SourceId(self.next_source);
        self.next_source += 1;
        self.publisher.fanout.add_source(live, id);
        self.origins.insert(id, origin);
        id
    }

    /// Answers those who wait for a track.
    pub(super) fn serve_waiting(&mut self, now: Time, name: &FullTrackName, live: TrackId) {
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        for (origin, parameters) in std::mem::take(&mut track.waiting) {
            let updates = self.held_updates.remove(&origin).unwrap_or_default();
            self.no_longer_waits(origin);
            let Origin {
                connection,
                request,
            } = origin;
            self.publisher
                .serve(now, connection, request, live, &parameters);
            self.answer_held_updates(now, origin, updates);
            self.request_group_of(now, connection, request, &parameters);
        }
    }

    /// Whether a source that is that far belongs to the track as we have it.
    fn verdict(&self, origin: Origin, name: &FullTrackName, largest: Option<Location>) -> Verdict {
        let Some(track) = self.tracks.get(name) else {
            return Verdict::Continues;
        };
        let live = track.live;
        let delivered = live.and_then(|live| self.publisher.fanout.largest(live));
        // What was published while nobody subscribed is not known here, but what is cached is.
        let ours = delivered.max(self.largest_cached(name));
        let (Some(ours), false) = (ours, self.has_trusted_source(track, Some(origin))) else {
            return Verdict::Continues;
        };
        match largest {
            Some(largest) if largest >= ours => Verdict::Continues,
            Some(_) => Verdict::StartsAnew,
            None if delivered.is_some() => Verdict::Unknown,
            // It has published nothing so far, then, and nobody who is subscribed knows better.
            None => Verdict::StartsAnew,
        }
    }

    /// Whether a source brings the track of which it is known that it belongs to it.
    fn has_trusted_source(&self, track: &Track, but: Option<Origin>) -> bool {
        self.attached(track)
            .any(|(origin, source)| Some(origin) != but && source.trial.is_none())
    }

    /// Whether a source brings the track, or would.
    pub(super) fn is_attached(&self, track: &Track) -> bool {
        self.attached(track).next().is_some()
    }

    fn attached<'a>(&'a self, track: &'a Track) -> impl Iterator<Item = (Origin, &'a Source)> {
        let origins = track.upstreams.keys();
        origins.filter_map(|origin| Some((*origin, self.sources.get(origin)?)))
    }

    /// A source is gone.
    pub(super) fn publisher_gone(&mut self, now: Time, origin: Origin, loss: &Loss<'_>) {
        let since = self.sources.get(&origin).map(|source| source.since);
        let Some(name) = self.take_upstream(now, origin, !loss.is_ordinary) else {
            return;
        };
        let who = self.describe(origin.connection);
        self.journal.info(
            now,
            Some(origin.connection),
            format_args!("{who} no longer publishes {name}: {}", loss.code),
        );
        self.give_up_if_hopeless(now, &name, &no_such_track());
        let is_left = |track: &Track| !track.upstreams.is_empty();
        if !loss.is_ordinary || self.tracks.get(&name).is_some_and(is_left) {
            self.end_at_links(now, &name, loss.code, loss.reason);
        }
        let Some(since) = since else {
            return self.end_if_over(now, &name);
        };
        if loss.is_ordinary
            && self
                .tracks
                .get(&name)
                .is_some_and(|t| t.upstreams.is_empty())
        {
            return self.end_live(now, &name, loss.code, loss.reason);
        }
        self.stop_lingering(&name);
        if self.release_if_idle(now, &name) {
            return;
        }
        self.begin_grace(now, &name, loss);
        if !loss.is_ordinary {
            // At once only if it had lasted: else two programs could do nothing but this.
            let had_lasted = now >= since + std::time::Duration::from_millis(RETRY_INTERVAL.0);
            // Another shard asks only those who had.
            let is_asked = (had_lasted || self.is_link(origin.connection)) && loss.may_return;
            let but = (!is_asked).then_some(origin.connection);
            // If nobody can be asked, the track ends when the grace does.
            self.ask_all(now, &name, but);
        }
    }

    /// GOAWAY: nothing new is asked there, what runs goes on until it ends, and others are asked meanwhile. Of a
    /// subscriber it says no more than that it will leave.
    pub(super) fn handle_goaway(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: Option<RequestId>,
        goaway: &GoAway,
    ) {
        let who = self.describe(connection);
        let uri = goaway.uri.escape_ascii();
        self.journal.info(
            now,
            Some(connection),
            format_args!("{who} wants us to leave for '{uri}' ({id:?})"),
        );
        for origin in of_connection(&self.upstreams, connection) {
            if id.is_some_and(|id| id != origin.request) {
                continue;
            }
            if let Some(source) = self.sources.get_mut(&origin) {
                source.leaves = true;
            }
            if let Some(name) = self.upstreams.get(&origin).cloned() {
                self.ask_all(now, &name, Some(connection));
            }
        }
    }

    /// How many publishers a track has, or is asked for at, those that leave not counted.
    pub(super) fn publishers_that_stay(&self, track: &Track) -> usize {
        let leaves = |origin| self.sources.get(origin).is_some_and(|source| source.leaves);
        track
            .upstreams
            .keys()
            .filter(|origin| !leaves(origin) && !self.is_link(origin.connection))
            .count()
    }

    fn begin_grace(&mut self, now: Time, name: &FullTrackName, loss: &Loss<'_>) {
        let until = now + self.settings.limits.publisher_grace;
        let Some(track) = self.tracks.get(name) else {
            return;
        };
        let Some(live) = track.live else {
            return;
        };
        let rest: Vec<Origin> = self.attached(track).map(|(origin, _)| origin).collect();
        if let Some(mark) = self.publisher.fanout.largest(live) {
            for origin in rest {
                if let Some(source) = self.sources.get_mut(&origin)
                    && source.reached < Some(mark)
                {
                    source.trial = source.trial.or(Some(Trial::Behind {
                        mark,
                        until,
                        reached: None,
                    }));
                }
            }
        }
        let grace = Grace {
            until,
            code: loss.code,
            reason: loss.reason.to_owned(),
            is_ordinary: loss.is_ordinary,
            lingers: false,
        };
        self.set_grace(name, Some(grace));
    }

    /// Begins a grace, or ends it.
    pub(super) fn set_grace(&mut self, name: &FullTrackName, grace: Option<Grace>) {
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        let until = grace.as_ref().map(|grace| grace.until);
        let before = std::mem::replace(&mut track.grace, grace);
        if let Some(before) = before {
            self.graces.remove(&(before.until, name.clone()));
        }
        if let Some(until) = until {
            self.graces.insert((until, name.clone()));
        }
    }

    /// A track without subscribers stays a while after it began anew.
    pub(super) fn lingers(track: &Track) -> bool {
        track.grace.as_ref().is_some_and(|grace| grace.lingers)
    }

    /// Without a source there is nothing to stay for.
    fn stop_lingering(&mut self, name: &FullTrackName) {
        let has_source = |track: &Track| self.is_attached(track);
        if !self.tracks.get(name).is_some_and(has_source)
            && let Some(track) = self.tracks.get_mut(name)
            && let Some(grace) = &mut track.grace
        {
            grace.lingers = false;
        }
    }

    /// An ordinary end was put off for a publisher that might have had the track.
    pub(super) fn end_if_over(&mut self, now: Time, name: &FullTrackName) {
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        let is_over = track.upstreams.is_empty();
        if let Some(grace) = track.grace.take_if(|grace| is_over && grace.is_ordinary) {
            self.graces.remove(&(grace.until, name.clone()));
            self.end_live(now, name, grace.code, &grace.reason);
        }
    }

    /// Ends what the subscribers of a track have; those who wait go on waiting, if there is something to wait for.
    fn end_live(&mut self, now: Time, name: &FullTrackName, code: DoneCode, reason: &str) {
        self.set_grace(name, None);
        self.close_live(now, name, code, reason);
        self.give_up_if_hopeless(now, name, &no_such_track());
        self.release_if_idle(now, name);
    }

    fn close_live(&mut self, now: Time, name: &FullTrackName, code: DoneCode, reason: &str) {
        let Some(live) = self
            .tracks
            .get_mut(name)
            .and_then(|track| track.live.take())
        else {
            return;
        };
        self.names.remove(&live);
        self.publisher.fanout.close_track(now, live, code, reason);
        self.live_ended(name);
    }

    /// Ends what has waited long enough for a publisher to come back.
    pub(super) fn expire_graces(&mut self, now: Time) {
        while let Some((until, _)) = self.graces.first()
            && *until <= now
        {
            let Some((_, name)) = self.graces.pop_first() else {
                return;
            };
            self.expire_grace(now, &name);
        }
    }

    fn expire_grace(&mut self, now: Time, name: &FullTrackName) {
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        let Some(grace) = track.grace.take() else {
            return;
        };
        if let Some(live) = track.live {
            self.publisher
                .fanout
                .end_suspended(now, live, ResetCode::InternalError);
        }
        if !self
            .tracks
            .get(name)
            .is_some_and(|track| self.is_attached(track))
        {
            self.journal.info(
                now,
                None,
                format_args!("no publisher of {name} came back in time"),
            );
            return self.end_live(now, name, grace.code, &grace.reason);
        }
        self.begin_epoch_if_behind(now, name);
        if !self.release_if_idle(now, name) {
            self.forward_as_needed(now, name);
        }
    }

    /// A source begins an object here: time to judge it, if that was not done.
    pub(super) fn try_source(&mut self, now: Time, origin: Origin, at: Location) {
        let Some(source) = self.sources.get_mut(&origin) else {
            return;
        };
        source.reached = source.reached.max(Some(at));
        let Some(trial) = &mut source.trial else {
            return;
        };
        let Some(name) = self.upstreams.get(&origin).cloned() else {
            return;
        };
        match trial {
            Trial::First => {
                let live = source.live;
                let fanout = &self.publisher.fanout;
                let continues = fanout.largest(live) < Some(at) || fanout.is_cut(live, at);
                source.trial = None;
                if !continues && !self.has_trusted(&name, origin) {
                    self.begin_epoch(now, &name);
                }
            }
            Trial::Behind { mark, .. } if *mark <= at => source.trial = None,
            Trial::Behind { until, reached, .. } => {
                *reached = (*reached).max(Some(at));
                if *until <= now {
                    self.begin_epoch_if_behind(now, &name);
                }
            }
        }
    }

    fn has_trusted(&self, name: &FullTrackName, but: Origin) -> bool {
        self.tracks
            .get(name)
            .is_some_and(|track| self.has_trusted_source(track, Some(but)))
    }

    /// If the sources that are left bring what was there before, they have started anew.
    fn begin_epoch_if_behind(&mut self, now: Time, name: &FullTrackName) {
        let Some(track) = self.tracks.get(name) else {
            return;
        };
        let is_behind = |source: &Source| {
            matches!(
                source.trial,
                Some(Trial::Behind {
                    reached: Some(_),
                    ..
                })
            )
        };
        let some = self.attached(track).any(|(_, source)| is_behind(source));
        if some && !self.has_trusted_source(track, None) {
            self.begin_epoch(now, name);
        }
    }

    /// The sources of a track have started anew: whoever subscribes from now on gets what they bring from now on.
    pub(super) fn begin_epoch(&mut self, now: Time, name: &FullTrackName) {
        let Some(track) = self.tracks.get(name) else {
            return;
        };
        if track.live.is_none() {
            // Nobody is subscribed: there is nothing to end, and nobody to wait for.
            return self.forget_past(now, name);
        }
        self.journal
            .info(now, None, format_args!("{name} starts anew"));
        let kept: Vec<(Origin, Properties)> = self
            .attached(track)
            .map(|(origin, source)| (origin, source.properties.clone()))
            .collect();
        self.close_live(
            now,
            name,
            DoneCode::TrackEnded,
            "the publisher started anew",
        );
        self.forget_past(now, name);
        self.set_grace(
            name,
            Some(Grace {
                until: now + self.settings.limits.publisher_grace,
                code: DoneCode::TrackEnded,
                reason: "the publisher left".to_owned(),
                is_ordinary: false,
                lingers: true,
            }),
        );
        for (origin, properties) in kept {
            self.park_all(origin);
            let Some(live) = self.live_track(origin.connection, name, properties, None) else {
                self.forget_upstream(now, origin);
                self.cancel(now, origin, ResetCode::ExcessiveLoad);
                continue;
            };
            let id = self.new_source(live, origin);
            if let Some(source) = self.sources.get_mut(&origin) {
                self.origins.remove(&source.id);
                source.live = live;
                source.id = id;
                source.trial = None;
            }
            self.serve_waiting(now, name, live);
        }
        self.offer_track(now, name);
    }

    /// Whether a source said that it would be judged by its first object, and has not brought one.
    pub(super) fn is_unjudged(&self, origin: Origin) -> bool {
        let source = self.sources.get(&origin);
        source.is_some_and(|source| matches!(source.trial, Some(Trial::First)))
    }
}
