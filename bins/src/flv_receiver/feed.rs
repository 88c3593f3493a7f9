//! A subscription of ours and the FETCH that joins it, with what they are for.

use oxymoq_core::time::Time;
use oxymoq_core::wire::id::RequestId;
use oxymoq_core::wire::message::PublishDone;
use oxymoq_core::wire::name::FullTrackName;

use super::arrive::Pieces;
use super::track::Track;

/// Something that is subscribed to.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) name: FullTrackName,
    pub(super) purpose: Purpose,
    pub(super) state: State,
    pub(super) fetch: Option<Fetching>,
    /// What the publisher ended it with, while objects may still be on their way.
    pub(super) done: Option<PublishDone>,
}

#[derive(Debug)]
pub(super) enum Purpose {
    /// To choose tracks.
    Catalog,
    /// To be written.
    Media(Box<Track>),
}

/// How far a subscription is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be asked for as soon as there is a session.
    Wanted,
    /// To be asked for again at this time.
    Later(Time),
    /// Asked for; answered by this time, or never.
    Asked(RequestId, Time),
    /// Granted.
    Live(RequestId),
    /// Over as it should be.
    Ended,
    /// Not to be had: a sentence.
    Refused(String),
}

/// A FETCH of ours.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) request: RequestId,
    pub(super) pieces: Pieces,
    /// Whether an object has come.
    pub(super) has_begun: bool,
    /// When something should have arrived.
    pub(super) give_up: Time,
}

impl Feed {
    pub(super) const fn new(name: FullTrackName, purpose: Purpose) -> Self {
        Self {
            name,
            purpose,
            state: State::Wanted,
            fetch: None,
            done: None,
        }
    }

    pub(super) fn track(&self) -> Option<&Track> {
        match &self.purpose {
            Purpose::Media(track) => Some(track),
            Purpose::Catalog => None,
        }
    }

    pub(super) fn track_mut(&mut self) -> Option<&mut Track> {
        match &mut self.purpose {
            Purpose::Media(track) => Some(track),
            Purpose::Catalog => None,
        }
    }

    /// The subscription, if there is one.
    pub(super) const fn request(&self) -> Option<RequestId> {
        match &self.state {
            State::Asked(request, _) | State::Live(request) => Some(*request),
            State::Wanted | State::Later(_) | State::Ended | State::Refused(_) => None,
        }
    }

    pub(super) fn is_fetching(&self, request: RequestId) -> bool {
        self.fetch
            .as_ref()
            .is_some_and(|fetch| fetch.request == request)
    }

    /// Whether nothing more will come of it.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Ended | State::Refused(_))
    }
}
