//! The requests that actors make, and their names.

use bytes::Bytes;

use crate::draft::Draft;
use crate::session::Request;
use crate::wire::id::{Location, RequestId};
use crate::wire::message::{
    Fetch, FetchRange, Interest, PublishNamespace, Subscribe, SubscribeNamespace, SubscribeTracks,
    TrackStatus,
};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};
use crate::wire::param::{Filter, GroupOrder, Parameters};

use super::super::neutral::subscribe_to;

/// The session fills in the right one.
pub(super) const ID: RequestId = RequestId(0);

/// A namespace with these fields.
pub(super) fn namespace(fields: &'static str) -> TrackNamespace {
    let fields = fields.split('/').filter(|field| !field.is_empty());
    let fields = fields.map(|field| Bytes::from_static(field.as_bytes()));
    TrackNamespace::new(fields).unwrap_or_default()
}

/// The track of this name in a namespace.
pub(super) fn track_in(fields: &'static str, name: &str) -> FullTrackName {
    FullTrackName {
        namespace: namespace(fields),
        name: TrackName::new(name.as_bytes().to_vec()).unwrap_or_default(),
    }
}

/// The track of this name in the namespace of the list.
pub(super) fn track(name: &str) -> FullTrackName {
    track_in("conformance", name)
}

/// What a SUBSCRIBE to a track is called.
pub(super) fn sub(name: &str) -> String {
    subscribe_to(&track(name))
}

pub(super) fn subscribe(name: &str, parameters: Parameters) -> Request {
    Request::Subscribe(Subscribe {
        request_id: ID,
        track: track(name),
        parameters,
    })
}

/// A SUBSCRIBE without any parameter.
pub(super) fn subscribe_all(name: &str) -> Request {
    subscribe(name, Parameters::default())
}

/// A SUBSCRIBE with this filter.
pub(super) fn filtered(name: &str, filter: Filter) -> Request {
    let parameters = Parameters {
        filter: Some(filter),
        ..Parameters::default()
    };
    subscribe(name, parameters)
}

pub(super) fn status(name: &str) -> Request {
    Request::TrackStatus(TrackStatus {
        request_id: ID,
        track: track(name),
        parameters: Parameters::default(),
    })
}

/// What a TRACK_STATUS of a track is called.
pub(super) fn status_of(name: &str) -> String {
    format!("status of {}", track(name))
}

/// A FETCH of everything from one location to before another; `end` as on the wire.
pub(super) fn fetch(name: &str, start: (u64, u64), end: (u64, u64), order: GroupOrder) -> Request {
    Request::Fetch(Fetch {
        request_id: ID,
        range: FetchRange::Standalone {
            track: track(name),
            start: Location::new(start.0, start.1),
            end: Location::new(end.0, end.1),
        },
        parameters: ordered(order),
    })
}

/// What a FETCH of a track is called.
pub(super) fn fetch_of(name: &str) -> String {
    format!("fetch {}", track(name))
}

pub(super) fn ordered(order: GroupOrder) -> Parameters {
    Parameters {
        group_order: Some(order),
        ..Parameters::default()
    }
}

pub(super) fn announce(fields: &'static str) -> Request {
    Request::PublishNamespace(PublishNamespace {
        request_id: ID,
        namespace: namespace(fields),
        parameters: Parameters::default(),
    })
}

pub(super) fn watch(fields: &'static str) -> Request {
    Request::SubscribeNamespace(SubscribeNamespace {
        request_id: ID,
        prefix: namespace(fields),
        interest: Interest::Namespaces,
        parameters: Parameters::default(),
    })
}

/// Asks to be offered tracks, as the draft does it.
pub(super) fn watch_tracks(draft: Draft, fields: &'static str) -> Request {
    match draft {
        Draft::D16 => Request::SubscribeNamespace(SubscribeNamespace {
            request_id: ID,
            prefix: namespace(fields),
            interest: Interest::Tracks,
            parameters: Parameters::default(),
        }),
        Draft::D18 => Request::SubscribeTracks(SubscribeTracks {
            request_id: ID,
            prefix: namespace(fields),
            parameters: Parameters::default(),
        }),
    }
}

pub(super) fn forward(forward: bool) -> Parameters {
    Parameters {
        forward: Some(forward),
        ..Parameters::default()
    }
}

pub(super) fn largest(group: u64, object: u64) -> Parameters {
    Parameters {
        largest_object: Some(Location::new(group, object)),
        ..Parameters::default()
    }
}
