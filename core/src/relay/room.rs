//! Memory for the names that peers announce, ask for and tell of: counted until they are forgotten.

use super::Relay;
use crate::ledger::Charge;
use crate::session::Refusal;
use crate::transport::ConnectionId;
use crate::wire::name::{FullTrackName, TrackNamespace};

/// A namespace or prefix, or the name of a track, that is counted.
#[derive(Debug)]
pub(super) struct Held<Name = TrackNamespace> {
    pub(super) name: Name,
    _room: Charge,
}

impl<Name> Held<Name> {
    pub(super) const fn new(name: Name, room: Charge) -> Self {
        Self { name, _room: room }
    }
}

impl Relay {
    /// Counts a namespace or prefix that a peer said. `None` at [`Limits::max_name_bytes`](super::Limits::max_name_bytes).
    pub(super) fn room_for(
        &self,
        peer: ConnectionId,
        namespace: &TrackNamespace,
    ) -> Option<Charge> {
        self.charge_name(peer, namespace.cost())
    }

    /// The same for the name of a track.
    pub(super) fn room_for_track(
        &self,
        peer: ConnectionId,
        name: &FullTrackName,
    ) -> Option<Charge> {
        self.charge_name(peer, name.cost())
    }

    /// What comes over a link is counted in the shard that it comes from, and is never refused here.
    fn charge_name(&self, peer: ConnectionId, bytes: usize) -> Option<Charge> {
        let bytes = if self.is_link(peer) { 0 } else { bytes };
        self.name_bytes.charge(bytes)
    }
}

/// What is said at the limit.
pub(super) const fn no_room_for_names() -> Refusal {
    super::overloaded("no memory for more names")
}
