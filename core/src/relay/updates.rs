//! REQUEST_UPDATE from peers: every one is answered once, when the request itself has been.

use super::Relay;
use super::room::{Held, no_room_for_names};
use super::routes::Origin;
use crate::time::Time;
use crate::wire::id::RequestId;
use crate::wire::message::RequestOk;
use crate::wire::param::Parameters;

impl Relay {
    /// REQUEST_UPDATE of a request of a peer's, or of what a peer has of a PUBLISH of ours.
    pub(super) fn update(
        &mut self,
        now: Time,
        origin: Origin,
        update: RequestId,
        parameters: &Parameters,
    ) {
        if self.fetching.is_fetch(origin) {
            self.update_fetch(now, origin, update);
        } else if self.waiting.contains_key(&origin) {
            self.update_waiting(origin, update, parameters);
        } else if self.watches.contains_key(&origin) || self.track_watches.contains(origin) {
            self.update_watch(now, origin, update, parameters);
        } else if self.upstreams.contains_key(&origin) {
            self.agree(now, origin, update);
            self.published_changed(now, origin, parameters);
        } else if self.announcements.contains_key(&origin) {
            // All that an update could bring is a token.
            self.agree(now, origin, update);
        } else {
            self.update_subscription(now, origin, update, parameters);
            self.request_group_of(now, origin.connection, origin.request, parameters);
        }
    }

    /// A request for namespaces or tracks changes. Without room for the new prefix it is over.
    fn update_watch(
        &mut self,
        now: Time,
        origin: Origin,
        update: RequestId,
        parameters: &Parameters,
    ) {
        let mut moved = None;
        if let Some(prefix) = &parameters.track_namespace_prefix {
            let Some(room) = self.room_for(origin.connection, prefix) else {
                let Origin {
                    connection,
                    request,
                } = origin;
                let refusal = Err(no_room_for_names());
                return self
                    .publisher
                    .respond_to_update(now, connection, request, update, refusal);
            };
            moved = Some(Held::new(prefix.clone(), room));
        }
        self.agree(now, origin, update);
        if !self.watches.contains_key(&origin) {
            self.update_track_watch(now, origin, parameters, moved);
        } else if let Some(prefix) = moved {
            self.move_watch(now, origin, prefix);
        }
    }

    fn agree(&mut self, now: Time, origin: Origin, update: RequestId) {
        let Origin {
            connection,
            request,
        } = origin;
        let ok = Ok(RequestOk::default());
        self.publisher
            .respond_to_update(now, connection, request, update, ok);
    }

    /// A subscription that waits for a publisher changes its mind: heeded when it is served, and answered then. The
    /// session bounds how many such updates there are.
    fn update_waiting(&mut self, origin: Origin, update: RequestId, change: &Parameters) {
        let waiting = self
            .waiting
            .get(&origin)
            .and_then(|held| self.tracks.get_mut(&held.name))
            .and_then(|track| track.waiting.get_mut(&origin));
        if let Some(waiting) = waiting {
            waiting.apply_update(&Parameters {
                // Nobody looks at them.
                authorization_tokens: Vec::new(),
                ..change.clone()
            });
            self.held_updates.entry(origin).or_default().push(update);
        }
    }

    /// A subscription that waited is served: its updates, which it is served by already, are answered.
    pub(super) fn answer_held_updates(
        &mut self,
        now: Time,
        origin: Origin,
        updates: Vec<RequestId>,
    ) {
        let Origin {
            connection,
            request,
        } = origin;
        for update in updates {
            let nothing_more = Parameters::default();
            self.publisher
                .update(now, connection, request, update, &nothing_more);
        }
    }
}
