//! What is asked of the server, again where it was lost, and for how long.

use std::time::Duration;

use oxymoq_core::code::{RequestCode, ResetCode};
use oxymoq_core::media::Kind;
use oxymoq_core::session::{Refusal, Request};
use oxymoq_core::time::Time;
use oxymoq_core::transport::Exit;
use oxymoq_core::wire::id::{Millis, RequestId};
use oxymoq_core::wire::message::{Fetch, FetchRange, Retry, Subscribe};
use oxymoq_core::wire::name::FullTrackName;

use super::arrive::Pieces;
use super::choose::Choice;
use super::feed::{Feed, Fetching, Purpose, State};
use super::outlet::Outlet;
use super::track::Track;
use super::wish::Tracks;
use super::{FlvReceiver, Link};

impl<O: Outlet> FlvReceiver<O> {
    /// What is wished from the start.
    pub(super) fn add_feeds(&mut self) {
        match self.wish.tracks.clone() {
            Tracks::OfCatalog(name) => self.feeds.push(Feed::new(name, Purpose::Catalog)),
            Tracks::Named { video, audio } => {
                for (kind, name) in [(Kind::Video, video), (Kind::Audio, audio)] {
                    if let Some(name) = name {
                        self.add_track(Time::ZERO, &Choice::named(kind, name));
                    }
                }
            }
        }
    }

    pub(super) fn add_track(&mut self, now: Time, choice: &Choice) {
        let index = self.interleave.add(now, choice.kind == Kind::Video);
        let limits = self.wish.limits.jitter.clone();
        let track = Track::new(choice.kind, index, choice.unpacker(), limits);
        let purpose = Purpose::Media(Box::new(track));
        self.feeds.push(Feed::new(choice.name.clone(), purpose));
    }

    /// Subscribes to everything that is wanted by now.
    pub(super) fn ask(&mut self, now: Time) {
        if !matches!(self.link, Link::Up(_)) {
            return;
        }
        for index in 0..self.feeds.len() {
            let is_due = self.feeds.get(index).is_some_and(|feed| match feed.state {
                State::Wanted => true,
                State::Later(at) => at <= now,
                State::Asked(..) | State::Live(_) | State::Ended | State::Refused(_) => false,
            });
            if is_due {
                self.subscribe(now, index);
            }
        }
    }

    fn subscribe(&mut self, now: Time, index: usize) {
        let parameters = self.wish.parameters(false);
        let give_up = now + self.wish.transaction_timeout;
        let Some(name) = self.feeds.get(index).map(|feed| feed.name.clone()) else {
            return;
        };
        let subscribe = Subscribe {
            request_id: RequestId(0),
            track: name.clone(),
            parameters,
        };
        let Some(session) = self.session() else {
            return;
        };
        let state = match session.request(now, Request::Subscribe(subscribe)) {
            Ok(request) => State::Asked(request, give_up),
            Err(misuse) => State::Refused(format!("cannot subscribe to {name}: {misuse}")),
        };
        self.set_state(now, index, state);
    }

    /// Asks for what there is of the current group, in front of what comes by this subscription.
    pub(super) fn fetch(&mut self, now: Time, index: usize, subscription: RequestId) -> bool {
        let fetch = Fetch {
            request_id: RequestId(0),
            range: FetchRange::RelativeJoining {
                joining_request_id: subscription,
                joining_start: 0,
            },
            parameters: self.wish.parameters(true),
        };
        let give_up = now + self.wish.transaction_timeout;
        let Some(session) = self.session() else {
            return false;
        };
        let asked = session.request(now, Request::Fetch(fetch));
        let Some(feed) = self.feeds.get_mut(index) else {
            return false;
        };
        match asked {
            Ok(request) => {
                feed.fetch = Some(Fetching {
                    request,
                    pieces: Pieces::default(),
                    has_begun: false,
                    give_up,
                });
                true
            }
            Err(misuse) => {
                log::info!("what there is of {} cannot be fetched: {misuse}", feed.name);
                false
            }
        }
    }

    /// A FETCH is over, however it ended.
    pub(super) fn fetch_over(&mut self, now: Time, index: usize) {
        if let Some(feed) = self.feeds.get_mut(index) {
            feed.fetch = None;
            if let Some(track) = feed.track_mut() {
                track.fetched(now);
            }
        }
    }

    // Refusals and losses.

    pub(super) fn refused(&mut self, now: Time, index: usize, refusal: &Refusal) {
        let Some(feed) = self.feeds.get(index) else {
            return;
        };
        let sentence = self.refusal(refusal, &feed.name);
        let may_try_again = match refusal.code {
            RequestCode::Unauthorized
            | RequestCode::MalformedAuthToken
            | RequestCode::ExpiredAuthToken
            | RequestCode::MalformedTrack
            | RequestCode::UnsupportedExtension
            | RequestCode::Redirect => false,
            RequestCode::InternalError
            | RequestCode::Timeout
            | RequestCode::NotSupported
            | RequestCode::GoingAway
            | RequestCode::ExcessiveLoad
            | RequestCode::DoesNotExist
            | RequestCode::InvalidRange
            | RequestCode::DuplicateSubscription
            | RequestCode::Uninterested
            | RequestCode::PrefixOverlap
            | RequestCode::NamespaceTooLarge
            | RequestCode::InvalidJoiningRequestId
            | RequestCode::Unknown(_) => {
                self.trouble.is_on() || matches!(refusal.retry, Retry::After(_))
            }
        };
        // Nobody is asked again sooner than he wants.
        let earliest = match refusal.retry {
            Retry::After(Millis(millis)) => now + Duration::from_millis(millis),
            Retry::Never => now,
        };
        if may_try_again {
            self.again(now, index, sentence, earliest);
        } else {
            self.set_state(now, index, State::Refused(sentence));
        }
    }

    /// A subscription that was lost is asked for again, after a while, unless that has gone on for too long.
    pub(super) fn again(&mut self, now: Time, index: usize, sentence: String, earliest: Time) {
        let latest = now + self.wish.reconnect;
        let next = self.trouble.next(now).map(|at| at.max(earliest));
        let state = match next.filter(|at| *at <= latest) {
            Some(at) => {
                log::warn!("{sentence}; trying again");
                State::Later(at)
            }
            None => State::Refused(format!(
                "{sentence}; --reconnect_timeout allows for more attempts"
            )),
        };
        self.set_state(now, index, state);
    }

    fn refusal(&self, refusal: &Refusal, track: &FullTrackName) -> String {
        let Refusal { code, reason, .. } = refusal;
        let (url, reason) = (self.server.url(), reason.escape_ascii());
        format!("{url} refused the subscription to {track}: {code} ({reason})")
    }

    /// The connection is gone; everything has to be asked for anew.
    pub(super) fn lost(&mut self, now: Time, why: &str) {
        for feed in &mut self.feeds {
            feed.fetch = None;
            feed.done = None;
            if !feed.is_over() {
                feed.state = State::Wanted;
            }
            if let Some(track) = feed.track_mut() {
                track.flush();
            }
        }
        self.streams = super::Streams::default();
        self.is_paused = false;
        self.advance(now);
        let sentence = format!("{}: {why}", self.server.url());
        if !self.was_up {
            return self.give_up(now, sentence);
        }
        match self.trouble.next(now) {
            Some(at) => {
                log::warn!("{sentence}; connecting again");
                self.link = Link::Down(at);
            }
            None => self.give_up(
                now,
                sentence + "; --reconnect_timeout allows for more attempts",
            ),
        }
    }

    fn give_up(&mut self, now: Time, sentence: String) {
        self.link = Link::Over;
        self.end(now, Exit::Failure(sentence));
    }

    /// A subscription is where it is now; what that means for the program.
    pub(super) fn set_state(&mut self, now: Time, index: usize, state: State) {
        let Some(feed) = self.feeds.get_mut(index) else {
            return;
        };
        feed.state = state;
        if let Some(track) = feed.track_mut() {
            // It is waited for from here on.
            let index = track.index();
            self.interleave.heard(now, index);
        }
        let Some(feed) = self.feeds.get_mut(index) else {
            return;
        };
        if !feed.is_over() {
            return;
        }
        if let Some(request) = feed.fetch.take().map(|fetch| fetch.request) {
            self.cancel(now, request);
        }
        if let Some(track) = self.feeds.get_mut(index).and_then(Feed::track_mut) {
            track.flush();
        }
        self.advance(now);
        if self.feeds.iter().all(Feed::is_over) {
            self.all_over(now);
        } else if let Some(State::Refused(sentence)) = self.feeds.get(index).map(|feed| &feed.state)
        {
            log::warn!("{sentence}; going on with the rest");
        }
    }

    /// No track goes on.
    fn all_over(&mut self, now: Time) {
        let broken = self.feeds.iter().find_map(|feed| {
            let frames = feed.track().map_or(0, |track| track.counts().0.frames);
            match &feed.state {
                State::Refused(sentence) => Some((frames, sentence.clone())),
                State::Wanted
                | State::Later(_)
                | State::Asked(..)
                | State::Live(_)
                | State::Ended => None,
            }
        });
        let tracks = self.feeds.iter().filter_map(Feed::track);
        let frames: u64 = tracks.map(|track| track.counts().0.frames).sum();
        let exit = match broken {
            Some((began, sentence)) if frames == 0 || began > 0 => Exit::Failure(sentence),
            Some(_) | None if frames > 0 => Exit::Success,
            Some(_) | None => Exit::Failure(format!(
                "{}: every track has ended, and there was no frame that could be written",
                self.server.url()
            )),
        };
        self.end(now, exit);
    }

    pub(super) fn cancel(&mut self, now: Time, request: RequestId) {
        if let Some(session) = self.session()
            && let Err(misuse) = session.cancel(now, request, ResetCode::Cancelled)
        {
            log::debug!("nothing to withdraw: {misuse}");
        }
    }

    // Patience.

    /// When something should have happened, or is to be tried again.
    pub(super) fn next_attempt(&self) -> Option<Time> {
        let link = match self.link {
            Link::Down(at) => Some(at),
            Link::Unwanted | Link::Connecting(_) | Link::Up(_) | Link::Leaving(_) | Link::Over => {
                None
            }
        };
        if !matches!(self.link, Link::Up(_) | Link::Leaving(_)) {
            return link;
        }
        let feeds = self.feeds.iter().filter_map(|feed| match feed.state {
            State::Later(at) if matches!(self.link, Link::Up(_)) => Some(at),
            State::Asked(_, give_up) => Some(give_up),
            State::Later(_) | State::Wanted | State::Live(_) | State::Ended | State::Refused(_) => {
                None
            }
        });
        let fetches = self
            .feeds
            .iter()
            .filter_map(|feed| Some(feed.fetch.as_ref()?.give_up));
        feeds.chain(fetches).min()
    }

    /// Does what [`next_attempt`](Self::next_attempt) is for.
    pub(super) fn lose_patience(&mut self, now: Time) {
        if let Link::Down(at) = self.link
            && at <= now
        {
            self.reconnects += 1;
            self.connect();
        }
        for index in 0..self.feeds.len() {
            let Some(feed) = self.feeds.get(index) else {
                continue;
            };
            let late = feed.fetch.as_ref().filter(|fetch| fetch.give_up <= now);
            if let Some(request) = late.map(|fetch| fetch.request) {
                log::warn!(
                    "the FETCH of {} does not get on: going on without",
                    feed.name
                );
                self.cancel(now, request);
                self.fetch_over(now, index);
            }
            let Some(feed) = self.feeds.get(index) else {
                continue;
            };
            if let State::Asked(request, give_up) = feed.state
                && give_up <= now
            {
                let sentence = format!(
                    "{} did not answer the subscription to {} within {:?}; --transaction_timeout allows more",
                    self.server.url(),
                    feed.name,
                    self.wish.transaction_timeout
                );
                self.cancel(now, request);
                self.set_state(now, index, State::Refused(sentence));
            }
        }
        self.ask(now);
        self.advance(now);
    }
}
