//! Memory for the names that a session holds for its peer: counted until what they are in is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::event::Request;
use super::request::{Open, Requests};
use crate::wire::message::FetchRange;
use crate::wire::name::{FullTrackName, TrackNamespace};

/// Counts names up to a limit. Clones share one account.
///
/// Each session has its own, so it is smaller than a [`Ledger`](crate::ledger::Ledger), and not divided.
#[derive(Clone, Debug)]
pub(super) struct Account {
    limit: usize,
    used: Arc<AtomicUsize>,
}

/// What one name takes, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Account {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: Arc::default(),
        }
    }

    /// `None`, and nothing changes, if that were more than the limit.
    pub(super) fn charge(&self, bytes: usize) -> Option<Charge> {
        let sum = self.used().checked_add(bytes)?;
        (sum <= self.limit).then(|| self.charge_always(bytes))
    }

    /// Counts what cannot be refused.
    pub(super) fn charge_always(&self, bytes: usize) -> Charge {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            used: Arc::clone(&self.used),
            bytes,
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Requests {
    /// What the name in a request of the peer's takes, if there is room. A FETCH that joins a subscription is about the
    /// same track.
    pub(super) fn room_for(&mut self, request: &Request) -> Option<Charge> {
        let bytes = match request {
            Request::Subscribe(request) => request.track.cost(),
            Request::Publish(request) => request.track.cost(),
            Request::TrackStatus(request) => request.track.cost(),
            Request::PublishNamespace(request) => request.namespace.cost(),
            Request::SubscribeNamespace(request) => request.prefix.cost(),
            Request::SubscribeTracks(request) => request.prefix.cost(),
            Request::Fetch(request) => match &request.range {
                FetchRange::Standalone { track, .. } => track.cost(),
                FetchRange::RelativeJoining {
                    joining_request_id, ..
                }
                | FetchRange::AbsoluteJoining {
                    joining_request_id, ..
                } => {
                    let joined = self.find(*joining_request_id).and_then(Open::track);
                    joined.map_or(0, FullTrackName::cost)
                }
            },
        };
        self.room_for_bytes(bytes)
    }

    /// The same for the prefix that an update of the peer's moves a request to.
    pub(super) fn room_for_prefix(&mut self, prefix: &TrackNamespace) -> Option<Charge> {
        self.room_for_bytes(prefix.cost())
    }

    /// Tracks whose subscriptions are over are remembered only as long as nobody needs the room.
    fn room_for_bytes(&mut self, bytes: usize) -> Option<Charge> {
        loop {
            let room = self.names.charge(bytes);
            if room.is_some() || !self.forget_ended_alias() {
                return room;
            }
        }
    }
}
