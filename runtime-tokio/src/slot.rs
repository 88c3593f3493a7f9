//! The connections of an endpoint, and where each stands with the application.

use std::time::Instant;

use oxymoq_core::transport::{Closed, ConnectionId};
use oxymoq_tls::Handshake;
use quinn_proto::{ConnectionHandle, EndpointEvent};

use crate::connection::Connection;
use crate::timer::Entry;

/// Connections by handle. quinn-proto numbers them from zero and uses numbers again.
#[derive(Default)]
pub(crate) struct Slots(Vec<Option<Box<Slot>>>);

impl Slots {
    pub(crate) fn get(&mut self, handle: ConnectionHandle) -> Option<&mut Slot> {
        self.0.get_mut(handle.0)?.as_deref_mut()
    }

    pub(crate) fn insert(&mut self, handle: ConnectionHandle, slot: Slot) {
        if self.0.len() <= handle.0 {
            self.0.resize_with(handle.0 + 1, || None);
        }
        if let Some(place) = self.0.get_mut(handle.0) {
            *place = Some(Box::new(slot));
        }
    }

    pub(crate) fn remove(&mut self, handle: ConnectionHandle) {
        if let Some(place) = self.0.get_mut(handle.0) {
            *place = None;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().filter_map(Option::as_deref)
    }

    /// Every handle that may be in use.
    pub(crate) fn handles(&self) -> impl Iterator<Item = ConnectionHandle> + use<> {
        (0..self.0.len()).map(ConnectionHandle)
    }
}

/// A connection and where it stands with the application.
pub(crate) struct Slot {
    pub(crate) connection: Connection,
    pub(crate) owner: Owner,
    /// Accepted, and not yet through the handshake.
    pub(crate) handshake: Option<Arrival>,
    pub(crate) timer: Entry,
    /// Something came in on it.
    pub(crate) touched: bool,
    /// It is in the queue for service.
    pub(crate) queued: bool,
    /// It has not been served since it was put there.
    pub(crate) due: bool,
    /// The application has outputs for it.
    pub(crate) dirty: bool,
    /// It is over; the application is told once it has read what had arrived before.
    pub(crate) ending: Option<Closed>,
    /// This side closed it, and its peer may need to be told again.
    pub(crate) goodbye: bool,
    /// The last word of quinn-proto, kept until the slot may go.
    pub(crate) drained: Option<EndpointEvent>,
}

impl Slot {
    pub(crate) fn new(connection: Connection, owner: Owner, handshake: Option<Arrival>) -> Self {
        Self {
            connection,
            owner,
            handshake,
            timer: Entry::default(),
            touched: false,
            queued: false,
            due: false,
            dirty: false,
            ending: None,
            goodbye: false,
            drained: None,
        }
    }
}

/// A client's handshake under way.
pub(crate) struct Arrival {
    /// When to give up.
    pub(crate) until: Instant,
    /// Counted as one of all shards.
    pub(crate) _one: Handshake,
}

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The application knows it by this id.
    App(ConnectionId),
    /// One of the attempts to connect for this id.
    Dial(ConnectionId),
    /// Closed: only kept until the peer had time to notice.
    Nobody,
}
