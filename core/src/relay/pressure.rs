//! Back-pressure: publishers' streams are not read while none of their subscribers keeps up.

use std::collections::BTreeSet;

use log::debug;

use super::Relay;
use crate::fanout::{IngestId, TrackId};
use crate::time::Time;
use crate::transport::{ConnectionId, StreamId};

/// A track whose streams wait for its subscribers.
#[derive(Debug)]
pub(super) struct Held {
    streams: BTreeSet<(ConnectionId, StreamId)>,
    /// If nobody has taken anything by then, nobody will.
    until: Time,
    /// What all subscribers were behind when that was looked at last.
    total: u64,
}

impl Relay {
    /// Something came on a publisher's stream: reads on only if somebody keeps up with it.
    pub(super) fn hold_back(
        &mut self,
        now: Time,
        track: TrackId,
        ingest: IngestId,
        from: (ConnectionId, StreamId),
    ) {
        if !self.publisher.fanout.must_wait(ingest) {
            self.publisher.fanout.relieve_pressure(now);
            return;
        }
        let total = self.publisher.fanout.backlog(track).total;
        let patience = self.settings.limits.max_pause;
        let held = self.held.entry(track).or_insert_with(|| {
            debug!("no subscriber keeps up with {track:?}: its publishers wait");
            Held {
                streams: BTreeSet::new(),
                until: now + patience,
                total,
            }
        });
        held.streams.insert(from);
        if let Some(session) = self.publisher.peers.session(from.0) {
            session.pause_stream(from.1);
        }
    }

    /// Reads the streams on whose subscribers have caught up. Returns whether there were any.
    pub(super) fn let_go(&mut self) -> bool {
        let fanout = &self.publisher.fanout;
        let free: Vec<TrackId> = self
            .held
            .keys()
            .filter(|track| fanout.may_go_on(**track))
            .copied()
            .collect();
        for track in &free {
            self.resume(*track);
        }
        !free.is_empty()
    }

    /// A stream is over, whether it waited or not.
    pub(super) fn forget_held(&mut self, from: (ConnectionId, StreamId)) {
        self.held.retain(|_, held| {
            held.streams.remove(&from);
            !held.streams.is_empty()
        });
    }

    /// When [`Relay::expire_held`] is to be called.
    pub(super) fn held_until(&self) -> Option<Time> {
        self.held.values().map(|held| held.until).min()
    }

    /// Ends the subscriptions to tracks of which nobody took anything for too long.
    pub(super) fn expire_held(&mut self, now: Time) {
        let due: Vec<TrackId> = self
            .held
            .iter()
            .filter(|(_, held)| held.until <= now)
            .map(|(track, _)| *track)
            .collect();
        for track in due {
            let total = self.publisher.fanout.backlog(track).total;
            let Some(held) = self.held.get_mut(&track) else {
                continue;
            };
            let is_stalled = total >= held.total;
            held.total = total;
            held.until = now + self.settings.limits.max_pause;
            if is_stalled {
                self.journal.info(
                    now,
                    None,
                    format_args!("nobody takes anything of {track:?}: its subscriptions end"),
                );
                self.publisher.fanout.end_stalled(now, track);
            }
        }
    }

    fn resume(&mut self, track: TrackId) {
        let Some(held) = self.held.remove(&track) else {
            return;
        };
        debug!("{track:?} is read on");
        for (connection, stream) in held.streams {
            if let Some(session) = self.publisher.peers.session(connection) {
                session.resume_stream(stream);
            }
        }
    }
}
