//! NEW_GROUP_REQUEST: what subscribers ask is passed on to every source of the track, once for each group that is needed
//! (§ NEW GROUP REQUEST Parameter).

use std::collections::BTreeSet;

use log::debug;

use super::Relay;
use super::routes::Origin;
use super::tracks::{Track, Upstream};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{GroupId, RequestId};
use crate::wire::name::FullTrackName;
use crate::wire::param::Parameters;

/// A group that was asked for, outstanding until the track's largest group increases.
#[derive(Debug)]
pub(super) struct GroupRequest {
    value: u64,
    /// The largest group when it was asked for.
    since: Option<GroupId>,
    /// The sources that were asked.
    asked: BTreeSet<Origin>,
}

impl Track {
    /// What those who wait ask for, to be asked with our own SUBSCRIBE: the largest satisfies all of them.
    pub(super) fn wanted_group(&self) -> Option<u64> {
        let waiting = self.waiting.values();
        waiting.filter_map(|wanted| wanted.new_group_request).max()
    }

    /// A SUBSCRIBE of ours asks for a new group.
    pub(super) fn group_asked(&mut self, value: u64, source: Origin) {
        let request = self.group_request.get_or_insert_with(|| GroupRequest {
            value,
            since: None,
            asked: BTreeSet::new(),
        });
        request.value = request.value.max(value);
        request.asked.insert(source);
    }

    /// A publisher has answered: what was asked of it before counts from here.
    pub(super) const fn group_known(&mut self, largest: Option<GroupId>) {
        if let Some(request) = &mut self.group_request
            && request.since.is_none()
        {
            request.since = largest;
        }
    }
}

impl Relay {
    /// A subscription that is served asks for a new group, as far as it does.
    pub(super) fn request_group_of(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        parameters: &Parameters,
    ) {
        let Some(value) = parameters.new_group_request else {
            return;
        };
        let live = self.publisher.fanout.track_of(connection, request);
        if let Some(name) = live.and_then(|live| self.names.get(&live)).cloned() {
            self.request_group(now, &name, value);
        }
    }

    /// Asks the sources of a track for a new group, if it has such, and unless it has the group or was asked already.
    fn request_group(&mut self, now: Time, name: &FullTrackName, value: u64) {
        let largest = self.largest_group(name);
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        let fanout = &self.publisher.fanout;
        let properties = track.live.and_then(|live| fanout.properties(live));
        let is_dynamic = properties.is_some_and(|properties| properties.dynamic_groups());
        let is_known = value != 0 && largest.is_some_and(|largest| value <= largest.0);
        let is_asked = track
            .group_request
            .as_ref()
            .is_some_and(|known| known.since == largest && known.value >= value);
        if !is_dynamic || is_known || is_asked {
            return;
        }
        track.group_request = Some(GroupRequest {
            value,
            since: largest,
            asked: BTreeSet::new(),
        });
        self.pass_group_request(now, name);
    }

    /// Passes an outstanding request on to the sources that do not have it yet.
    pub(super) fn pass_group_request(&mut self, now: Time, name: &FullTrackName) {
        let largest = self.largest_group(name);
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        let Some(request) = &mut track.group_request else {
            return;
        };
        if request.since != largest {
            track.group_request = None;
            return;
        }
        for (origin, upstream) in &track.upstreams {
            let is_sending = matches!(upstream, Upstream::Established { .. });
            if !is_sending || request.asked.contains(origin) {
                continue;
            }
            let change = Parameters {
                new_group_request: Some(request.value),
                ..Parameters::default()
            };
            let Some(session) = self.publisher.peers.session(origin.connection) else {
                continue;
            };
            match session.update(now, origin.request, change) {
                Ok(_) => {
                    request.asked.insert(*origin);
                }
                // Without credit now, it is tried again when there is some.
                Err(misuse) => debug!("{}: cannot ask for a group: {misuse}", origin.connection),
            }
        }
    }

    fn largest_group(&self, name: &FullTrackName) -> Option<GroupId> {
        let live = self.tracks.get(name)?.live?;
        Some(self.publisher.fanout.largest(live)?.group)
    }
}
