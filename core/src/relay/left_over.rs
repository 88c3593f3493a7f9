//! What a relay still has of anybody: to see that everything goes when everybody has gone.

use super::{Relay, Shutdown};

impl Relay {
    /// Every table that is not empty and every account that is not even, by name and size. Nothing, once all peers are gone
    /// and their timeouts and what was cached have run out.
    pub fn left_over(&self) -> Vec<(&'static str, usize)> {
        let cached = usize::try_from(self.fetching.cached()).unwrap_or(usize::MAX);
        let own = [
            ("announcements", self.announcements.len()),
            ("watches", self.of_peers_here(&self.watches)),
            (
                "watches of tracks",
                self.track_watches.len().saturating_sub(self.links.len()),
            ),
            ("questions", usize::from(!self.questions.is_empty())),
            ("held updates", self.held_updates.len()),
            ("routes", usize::from(!self.routes.is_empty())),
            ("tracks", self.tracks.len()),
            ("names", self.names.len()),
            ("subscriptions of ours", self.upstreams.len()),
            ("waiting subscriptions", self.waiting.len()),
            ("sources", self.sources.len()),
            ("origins", self.origins.len()),
            ("resuming sources", self.resuming.len()),
            ("streams that bring objects", self.ingest.len()),
            ("their places", self.feeds.len()),
            ("parked streams", self.parked.len()),
            ("deadlines", self.deadlines.len()),
            ("graces", self.graces.len()),
            ("pauses", self.pauses.len()),
            ("rendezvous", self.rendezvous.len()),
            ("discovery", self.discovery.left_over(self.links.len())),
            ("relays connected to", self.connected.len()),
            ("held tracks", self.held.len()),
            ("FETCHes and fills", self.fetching.open_requests()),
            ("cached bytes", cached),
            ("peers", self.peers_here()),
            ("bytes of objects", self.ledger().used()),
            ("bytes of names", self.name_bytes.used()),
        ];
        let is_running = self.shutdown == Shutdown::Running;
        let of_fanout = self.publisher.fanout.left_over(|peer| self.is_link(peer));
        let all = own.into_iter().chain(of_fanout);
        all.filter(|(_, left)| is_running && *left > 0).collect()
    }
}
