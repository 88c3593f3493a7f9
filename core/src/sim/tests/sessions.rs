//! Two sessions over bad paths: every request kind, every answer, data streams in any order, both drafts.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each look at the events is for one kind of them"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::code::{DoneCode, RequestCode, ResetCode, SessionCode};
use crate::draft::Draft;
use crate::runtime::TransportSettings;
use crate::session::{
    Event, FetchItem, Limits, Misuse, Refusal, Request, Response, Role, StreamEnd,
};
use crate::sim::{Link, Pair, subgroup_header};
use crate::transport::{Closed, StreamId};
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId, TrackAlias};
use crate::wire::message::{
    Fetch, FetchOk, FetchRange, GoAway, Interest, Publish, PublishNamespace, RequestOk, Subscribe,
    SubscribeNamespace, SubscribeOk, SubscribeTracks, TrackStatus,
};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};
use crate::wire::object::{FetchEncoder, FetchEntry, FetchObject};
use crate::wire::param::{GroupOrder, Parameters};
use crate::wire::property::Properties;

const SIDES: [Role; 2] = [Role::Client, Role::Server];

/// A track whose namespace nobody else uses, so that requests do not get into each other's way.
fn track(n: usize) -> FullTrackName {
    FullTrackName {
        namespace: TrackNamespace::new([format!("namespace {n}")]).unwrap(),
        name: TrackName::new("track").unwrap(),
    }
}

/// Windows so small that hardly a message fits, and hardly any streams.
fn tiny() -> TransportSettings {
    TransportSettings {
        receive_window: 150,
        publisher_window: 150,
        stream_window: 30,
        max_unacked: 60,
        max_uni_streams: 5,
        max_bidi_streams: 8,
        ..TransportSettings::default()
    }
}

/// Both drafts over a plain path, a rough one, and a rough one with tiny windows.
fn pairs() -> impl Iterator<Item = Pair> {
    let paths = [
        (Link::default(), TransportSettings::default(), 1),
        (Link::rough(), TransportSettings::default(), 3),
        (Link::rough(), tiny(), 3),
    ];
    Draft::ALL.into_iter().flat_map(move |draft| {
        paths
            .clone()
            .into_iter()
            .flat_map(move |(link, transport, seeds)| {
                (0..seeds).map(move |seed| {
                    let limits = Limits::default();
                    let mut pair =
                        Pair::new(seed, draft, link.clone(), &transport, &limits).unwrap();
                    if seed % 2 == 1 {
                        pair.world.hide_full_connections();
                    }
                    pair
                })
            })
    })
}

fn parameters() -> Parameters {
    Parameters::default()
}

/// One request of each kind, for either side.
fn requests(side: Role) -> [Request; 7] {
    let request_id = RequestId(0);
    let first = if side == Role::Client { 0 } else { 10 };
    let track = |n: usize| track(first + n);
    let at = |group, object| Location {
        group: GroupId(group),
        object: ObjectId(object),
    };
    [
        Request::Subscribe(Subscribe {
            request_id,
            track: track(1),
            parameters: Parameters {
                subscriber_priority: Some(3),
                ..parameters()
            },
        }),
        Request::Publish(Publish {
            request_id,
            track: track(2),
            track_alias: TrackAlias(9),
            parameters: Parameters {
                largest_object: Some(at(4, 5)),
                ..parameters()
            },
            properties: Properties::default(),
        }),
        Request::Fetch(Fetch {
            request_id,
            range: FetchRange::Standalone {
                track: track(3),
                start: at(1, 2),
                end: at(3, 0),
            },
            parameters: parameters(),
        }),
        Request::TrackStatus(TrackStatus {
            request_id,
            track: track(4),
            parameters: parameters(),
        }),
        Request::PublishNamespace(PublishNamespace {
            request_id,
            namespace: track(5).namespace,
            parameters: parameters(),
        }),
        Request::SubscribeNamespace(SubscribeNamespace {
            request_id,
            prefix: track(6).namespace,
            interest: Interest::Namespaces,
            parameters: parameters(),
        }),
        Request::SubscribeTracks(SubscribeTracks {
            request_id,
            prefix: track(7).namespace,
            parameters: parameters(),
        }),
    ]
}

/// What grants a request, and what the peer is expected to see of it.
fn grant(request: &Request) -> Response {
    match request {
        Request::Subscribe(_) => Response::SubscribeOk(SubscribeOk {
            request_id: None,
            track_alias: TrackAlias(77),
            parameters: parameters(),
            properties: Properties::default(),
        }),
        Request::Fetch(_) => Response::FetchOk(FetchOk {
            request_id: None,
            end_of_track: false,
            end: Location {
                group: GroupId(3),
                object: ObjectId(0),
            },
            parameters: parameters(),
            properties: Properties::default(),
        }),
        Request::Publish(_)
        | Request::TrackStatus(_)
        | Request::PublishNamespace(_)
        | Request::SubscribeNamespace(_)
        | Request::SubscribeTracks(_) => Response::Ok(RequestOk::default()),
    }
}

/// Which request it is and what it is about, as both drafts can say it.
fn subject(request: &Request) -> (u8, Vec<TrackNamespace>) {
    match request {
        Request::Subscribe(subscribe) => (0, vec![subscribe.track.namespace.clone()]),
        Request::Publish(publish) => (1, vec![publish.track.namespace.clone()]),
        Request::Fetch(fetch) => match &fetch.range {
            FetchRange::Standalone { track, .. } => (2, vec![track.namespace.clone()]),
            FetchRange::RelativeJoining { .. } | FetchRange::AbsoluteJoining { .. } => (2, vec![]),
        },
        Request::TrackStatus(status) => (3, vec![status.track.namespace.clone()]),
        Request::PublishNamespace(publish) => (4, vec![publish.namespace.clone()]),
        Request::SubscribeNamespace(subscribe) => {
            let kind = if subscribe.interest == Interest::Tracks {
                6
            } else {
                5
            };
            (kind, vec![subscribe.prefix.clone()])
        }
        Request::SubscribeTracks(subscribe) => (6, vec![subscribe.prefix.clone()]),
    }
}

fn request_told(pair: &Pair, side: Role, id: RequestId) -> Option<Request> {
    pair.events(side).find_map(|event| match event {
        Event::Request { id: told, request } if *told == id => Some(request.clone()),
        _ => None,
    })
}

fn response_told(pair: &Pair, side: Role, id: RequestId) -> Option<Response> {
    pair.events(side).find_map(|event| match event {
        Event::Response { id: told, response } if *told == id => Some(response.clone()),
        _ => None,
    })
}

/// Sends a request and waits until the other side has it.
fn ask(pair: &mut Pair, side: Role, request: &Request) -> RequestId {
    let id = pair
        .session(side, |session, now| session.request(now, request.clone()))
        .unwrap()
        .unwrap();
    pair.until(|pair| request_told(pair, side.peer(), id).is_some())
        .unwrap();
    let told = request_told(pair, side.peer(), id).unwrap();
    assert_eq!(subject(&told), subject(request));
    id
}

fn respond(pair: &mut Pair, side: Role, id: RequestId, response: Response) {
    pair.session(side, |session, now| session.respond(now, id, response))
        .unwrap()
        .unwrap();
}

#[test]
fn every_request_is_granted_either_way() {
    for mut pair in pairs() {
        for side in SIDES {
            for request in requests(side) {
                let id = ask(&mut pair, side, &request);
                respond(&mut pair, side.peer(), id, grant(&request));
                pair.until(|pair| response_told(pair, side, id).is_some())
                    .unwrap();
                let response = response_told(&pair, side, id).unwrap();
                assert!(
                    !matches!(response, Response::Error(_)),
                    "{request:?}: {response:?}"
                );
            }
        }
    }
}

#[test]
fn every_request_is_refused_either_way() {
    for mut pair in pairs() {
        for side in SIDES {
            for request in requests(side) {
                let id = ask(&mut pair, side, &request);
                let refusal = Refusal::new(RequestCode::Unauthorized, "not today");
                respond(&mut pair, side.peer(), id, Response::Error(refusal.clone()));
                pair.until(|pair| response_told(pair, side, id).is_some())
                    .unwrap();
                let response = response_told(&pair, side, id).unwrap();
                assert_eq!(response, Response::Error(refusal));
            }
        }
    }
}

#[test]
fn every_request_is_withdrawn_before_and_after_its_answer() {
    for mut pair in pairs() {
        let draft = pair
            .session(Role::Client, |session, _| session.draft())
            .unwrap()
            .unwrap();
        for side in SIDES {
            for request in requests(side) {
                for answered in [false, true] {
                    // A status request is over once it is answered, and draft 16 has no word for withdrawing it.
                    let shared = draft == Draft::D16;
                    if (answered || shared) && matches!(request, Request::TrackStatus(_)) {
                        continue;
                    }
                    let id = ask(&mut pair, side, &request);
                    if answered {
                        respond(&mut pair, side.peer(), id, grant(&request));
                        pair.until(|pair| response_told(pair, side, id).is_some())
                            .unwrap();
                    }
                    let cancel = pair.session(side, |session, now| {
                        session.cancel(now, id, ResetCode::Cancelled)
                    });
                    cancel.unwrap().unwrap();
                    pair.until(|pair| {
                        pair.was_told(side.peer(), |event| {
                            matches!(event, Event::Cancelled { id: told, .. } if *told == id)
                                || matches!(event, Event::Done { id: told, .. } if *told == id)
                        })
                    })
                    .unwrap();
                }
            }
        }
    }
}

#[test]
fn many_requests_at_once_are_all_answered() {
    for mut pair in pairs() {
        let mut asked = Vec::new();
        for n in 0..20 {
            for side in SIDES {
                let name = TrackName::new(format!("track {n}")).unwrap();
                let request = Request::TrackStatus(TrackStatus {
                    request_id: RequestId(0),
                    track: FullTrackName { name, ..track(0) },
                    parameters: parameters(),
                });
                loop {
                    let request = request.clone();
                    let sent = pair.session(side, |session, now| session.request(now, request));
                    match sent.unwrap() {
                        Ok(id) => {
                            asked.push((side, id));
                            break;
                        }
                        Err(misuse) => {
                            assert_eq!(misuse, Misuse::Blocked);
                            answer_all(&mut pair);
                            assert!(pair.world.step());
                        }
                    }
                }
            }
        }
        pair.until(|_| true).unwrap();
        while asked
            .iter()
            .any(|(side, id)| response_told(&pair, *side, *id).is_none())
        {
            answer_all(&mut pair);
            assert!(pair.world.step(), "{}", pair.world.trace());
        }
    }
}

/// Answers whatever was asked and not answered.
fn answer_all(pair: &mut Pair) {
    for side in SIDES {
        let asked: Vec<RequestId> = pair
            .events(side)
            .filter_map(|event| match event {
                Event::Request { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
        for id in asked {
            let ok = Response::Ok(RequestOk::default());
            // Those that are answered already are refused as a misuse.
            drop(pair.session(side, |session, now| session.respond(now, id, ok)));
        }
    }
}

#[test]
fn updates_are_told_and_answered() {
    for mut pair in pairs() {
        for side in SIDES {
            let [request, ..] = requests(side);
            let id = ask(&mut pair, side, &request);
            respond(&mut pair, side.peer(), id, grant(&request));
            pair.until(|pair| response_told(pair, side, id).is_some())
                .unwrap();
            for (round, forward) in [false, true].into_iter().enumerate() {
                let changed = Parameters {
                    forward: Some(forward),
                    ..parameters()
                };
                let update = pair
                    .session(side, |session, now| session.update(now, id, changed))
                    .unwrap()
                    .unwrap();
                let told = |event: &Event| {
                    matches!(event, Event::Update { id: of, update: told, parameters }
                        if *of == id && *told == update && parameters.forward == Some(forward))
                };
                pair.until(|pair| pair.was_told(side.peer(), told)).unwrap();
                let granted = round == 0;
                let answer = if granted {
                    Ok(RequestOk::default())
                } else {
                    Err(Refusal::new(RequestCode::NotSupported, "no"))
                };
                pair.session(side.peer(), |session, now| {
                    session.respond_to_update(now, id, update, answer)
                })
                .unwrap()
                .unwrap();
                pair.until(|pair| {
                    pair.was_told(side, |event| {
                        matches!(event, Event::UpdateResponse { update: of, response, .. }
                            if *of == update && response.is_ok() == granted)
                    })
                })
                .unwrap();
            }
        }
    }
}

/// Sets up a subscription of `side` and returns its id.
fn subscribed(pair: &mut Pair, side: Role) -> RequestId {
    let [request, ..] = requests(side);
    let id = ask(pair, side, &request);
    respond(pair, side.peer(), id, grant(&request));
    id
}

#[test]
fn subgroups_arrive_whole_in_any_order_with_their_end_and_count() {
    const GROUPS: u64 = 12;
    for mut pair in pairs() {
        for side in SIDES {
            let id = subscribed(&mut pair, side);
            let content = |group: u64, object: u64| {
                Bytes::from(format!("{group}/{object} ").repeat(usize::try_from(object).unwrap()))
            };
            for group in 0..GROUPS {
                pair.stage(side.peer(), |stage, connection| {
                    let header = subgroup_header(group, 0);
                    let mut subgroup = stage
                        .open_subgroup(connection, id, TrackAlias(77), &header)
                        .unwrap();
                    for object in 0..6 {
                        let payload = content(group, object);
                        stage
                            .object(&mut subgroup, ObjectId(object), payload)
                            .unwrap();
                    }
                    stage.finish(subgroup);
                });
            }
            pair.session(side.peer(), |session, now| {
                session.done(now, id, DoneCode::TrackEnded, "")
            })
            .unwrap()
            .unwrap();
            let done = |event: &Event| {
                matches!(event, Event::Done { id: of, done }
                    if *of == id && done.stream_count == Some(GROUPS))
            };
            let ended = |pair: &Pair| {
                let mut ends = 0;
                for event in pair.events(side) {
                    ends += u64::from(matches!(
                        event,
                        Event::SubgroupEnded {
                            end: StreamEnd::Fin,
                            ..
                        }
                    ));
                }
                ends == GROUPS
            };
            pair.until(|pair| ended(pair) && pair.was_told(side, done))
                .unwrap();
            let groups = collect(&pair, side);
            for group in 0..GROUPS {
                let objects: Vec<(u64, Bytes)> = (0..6).map(|n| (n, content(group, n))).collect();
                assert_eq!(groups[&group], objects);
            }
        }
    }
}

/// The objects of every group that a side received.
fn collect(pair: &Pair, side: Role) -> BTreeMap<u64, Vec<(u64, Bytes)>> {
    let mut streams: BTreeMap<StreamId, (u64, Vec<(u64, BytesMut)>)> = BTreeMap::new();
    for event in pair.events(side) {
        match event {
            Event::SubgroupOpened { stream, header, .. } => {
                streams.insert(*stream, (header.group.0, Vec::new()));
            }
            Event::Object { stream, object } => {
                let (_, objects) = streams.get_mut(stream).unwrap();
                objects.push((object.id.0, BytesMut::new()));
            }
            Event::Payload { stream, bytes } => {
                let (_, objects) = streams.get_mut(stream).unwrap();
                objects.last_mut().unwrap().1.extend_from_slice(bytes);
            }
            _ => {}
        }
    }
    let whole = |(id, payload): (u64, BytesMut)| (id, payload.freeze());
    streams
        .into_values()
        .map(|(group, objects)| (group, objects.into_iter().map(whole).collect()))
        .collect()
}

#[test]
fn streams_are_reset_by_their_publisher_and_stopped_by_their_subscriber() {
    for mut pair in pairs() {
        for side in SIDES {
            let id = subscribed(&mut pair, side);
            let mut open = |group| {
                pair.stage(side.peer(), |stage, connection| {
                    let header = subgroup_header(group, 0);
                    let mut subgroup = stage
                        .open_subgroup(connection, id, TrackAlias(77), &header)
                        .unwrap();
                    let payload = Bytes::from_static(b"object");
                    stage.object(&mut subgroup, ObjectId(0), payload).unwrap();
                    subgroup.stream()
                })
            };
            let ours = [open(0), open(1)];
            let find = |pair: &Pair, group| {
                pair.events(side).find_map(|event| match event {
                    Event::SubgroupOpened { stream, header, .. } if header.group.0 == group => {
                        Some(*stream)
                    }
                    _ => None,
                })
            };
            pair.until(|pair| find(pair, 0).is_some() && find(pair, 1).is_some())
                .unwrap();
            let theirs = [find(&pair, 0).unwrap(), find(&pair, 1).unwrap()];

            pair.session(side.peer(), |session, now| {
                session.reset_stream(now, ours[0], ResetCode::DeliveryTimeout);
            })
            .unwrap();
            pair.session(side, |session, now| {
                session.stop_stream(now, theirs[1], ResetCode::Cancelled);
            })
            .unwrap();
            let end = StreamEnd::Reset(ResetCode::DeliveryTimeout);
            let was_reset = Event::SubgroupEnded {
                stream: theirs[0],
                end,
            };
            let was_stopped = Event::StreamStopped {
                stream: ours[1],
                code: ResetCode::Cancelled,
            };
            pair.until(|pair| {
                pair.was_told(side, |event| *event == was_reset)
                    && pair.was_told(side.peer(), |event| *event == was_stopped)
            })
            .unwrap();
        }
    }
}

#[test]
fn datagrams_arrive_with_their_objects() {
    for draft in Draft::ALL {
        let (link, transport) = (Link::default(), TransportSettings::default());
        let mut pair = Pair::new(1, draft, link, &transport, &Limits::default()).unwrap();
        for side in SIDES {
            let id = subscribed(&mut pair, side);
            for object in 0..10 {
                let location = Location {
                    group: GroupId(1),
                    object: ObjectId(object),
                };
                pair.stage(side.peer(), |stage, connection| {
                    let payload = Bytes::from(format!("datagram {object}"));
                    stage
                        .datagram(connection, id, TrackAlias(77), location, payload)
                        .unwrap();
                });
            }
            let arrived = |pair: &Pair| {
                let mut objects = Vec::new();
                for event in pair.events(side) {
                    if let Event::Datagram { id: of, object } = event {
                        assert_eq!(*of, id);
                        let text = format!("datagram {}", object.location.object.0);
                        assert_eq!(object.payload, text);
                        objects.push(object.location.object.0);
                    }
                }
                objects.sort_unstable();
                objects == (0..10).collect::<Vec<u64>>()
            };
            pair.until(arrived).unwrap();
        }
    }
}

#[test]
fn namespaces_are_told_and_taken_back() {
    for mut pair in pairs() {
        for side in SIDES {
            let [_, _, _, _, _, request, _] = requests(side);
            let id = ask(&mut pair, side, &request);
            respond(&mut pair, side.peer(), id, grant(&request));
            for n in 0..5 {
                let suffix = TrackNamespace::new([format!("suffix {n}")]).unwrap();
                pair.session(side.peer(), |session, now| {
                    session.namespace(now, id, &suffix)
                })
                .unwrap()
                .unwrap();
                let told = Event::Namespace {
                    id,
                    suffix: suffix.clone(),
                };
                pair.until(|pair| pair.was_told(side, |event| *event == told))
                    .unwrap();
                pair.session(side.peer(), |session, now| {
                    session.namespace_done(now, id, &suffix)
                })
                .unwrap()
                .unwrap();
                let taken_back = Event::NamespaceDone { id, suffix };
                pair.until(|pair| pair.was_told(side, |event| *event == taken_back))
                    .unwrap();
            }
        }
    }
}

#[test]
fn goaway_is_told_once_and_stops_requests() {
    for mut pair in pairs() {
        pair.session(Role::Server, |session, now| {
            session.go_away(now, None, GoAway::default())
        })
        .unwrap()
        .unwrap();
        let told = |event: &Event| matches!(event, Event::GoAway { id: None, .. });
        pair.until(|pair| pair.was_told(Role::Client, told))
            .unwrap();
        let [request, ..] = requests(Role::Client);
        let refused = pair
            .session(Role::Client, |session, now| session.request(now, request))
            .unwrap();
        assert_eq!(refused, Err(Misuse::GoingAway));
    }
}

#[test]
fn closing_is_told_to_both() {
    for mut pair in pairs() {
        let closed = |pair: &Pair, side| {
            pair.events(side).find_map(|event| match event {
                Event::Closed(closed) => Some(closed.clone()),
                _ => None,
            })
        };
        pair.session(Role::Client, |session, now| {
            session.close(now, SessionCode::Unauthorized, "no");
        })
        .unwrap();
        pair.until(|pair| closed(pair, Role::Server).is_some())
            .unwrap();
        assert_eq!(closed(&pair, Role::Client), Some(Closed::ByUs));
        let by_peer = Closed::ByPeer {
            code: 2,
            reason: Bytes::from_static(b"no"),
        };
        assert_eq!(closed(&pair, Role::Server), Some(by_peer));
    }
}

#[test]
fn dead_path_ends_both_sessions() {
    for draft in Draft::ALL {
        let (link, transport) = (Link::default(), TransportSettings::default());
        let mut pair = Pair::new(1, draft, link, &transport, &Limits::default()).unwrap();
        let client = pair.client;
        let connection = pair.world.connections(client)[0];
        pair.world.mute(client, connection);
        let timed_out = |event: &Event| *event == Event::Closed(Closed::TimedOut);
        pair.until(|pair| SIDES.into_iter().all(|side| pair.was_told(side, timed_out)))
            .unwrap();
    }
}

#[test]
fn stalled_path_only_delays() {
    for mut pair in pairs() {
        let client = pair.client;
        let connection = pair.world.connections(client)[0];
        pair.world.stall(client, connection, Duration::from_secs(4));
        let [request, ..] = requests(Role::Client);
        let id = ask(&mut pair, Role::Client, &request);
        respond(&mut pair, Role::Server, id, grant(&request));
        pair.until(|pair| response_told(pair, Role::Client, id).is_some())
            .unwrap();
    }
}

#[test]
fn fetched_objects_and_gaps_arrive_in_order() {
    let at = |group, object| Location {
        group: GroupId(group),
        object: ObjectId(object),
    };
    let payload = Bytes::from_static(b"an object of the past");
    for mut pair in pairs() {
        for side in SIDES {
            let [_, _, request, ..] = requests(side);
            let id = ask(&mut pair, side, &request);
            respond(&mut pair, side.peer(), id, grant(&request));
            pair.stage(side.peer(), |stage, connection| {
                let now = stage.now();
                let session = stage.session(connection).unwrap();
                let stream = session.open_fetch(now, id).unwrap();
                let profile = session.profile().unwrap();
                let mut bytes = BytesMut::new();
                let order = GroupOrder::Ascending;
                let mut encoder = FetchEncoder::new(profile, id, order, &mut bytes).unwrap();
                for object in 2..5 {
                    let object = FetchObject {
                        location: at(1, object),
                        subgroup: Some(SubgroupId(0)),
                        priority: 9,
                        properties: Properties::default(),
                        payload_length: 21,
                    };
                    encoder
                        .entry(&FetchEntry::Object(object), &mut bytes)
                        .unwrap();
                    bytes.extend_from_slice(&payload);
                }
                let gap = FetchEntry::NonExistent(at(2, 7));
                encoder.entry(&gap, &mut bytes).unwrap();
                stage.send(connection, stream, bytes.freeze());
                stage.finish_stream(connection, stream);
            });
            let end = FetchItem::End(StreamEnd::Fin);
            let ended = |event: &Event| {
                *event
                    == Event::Fetched {
                        id,
                        item: end.clone(),
                    }
            };
            pair.until(|pair| pair.was_told(side, ended)).unwrap();
            let mut objects = Vec::new();
            let mut gaps = Vec::new();
            for event in pair.events(side) {
                let Event::Fetched { id: of, item } = event else {
                    continue;
                };
                assert_eq!(*of, id);
                match item {
                    FetchItem::Object { location, .. } => {
                        objects.push((*location, BytesMut::new()));
                    }
                    FetchItem::Payload(bytes) => {
                        objects.last_mut().unwrap().1.extend_from_slice(bytes);
                    }
                    FetchItem::NonExistent(location) => gaps.push(*location),
                    FetchItem::Unknown(_) | FetchItem::End(_) => {}
                }
            }
            let expected: Vec<(Location, BytesMut)> = (2..5)
                .map(|object| (at(1, object), BytesMut::from(&*payload)))
                .collect();
            assert_eq!(objects, expected);
            assert_eq!(gaps, [at(2, 7)]);
        }
    }
}
