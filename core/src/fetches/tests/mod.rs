//! FETCHes served to a real session, over a wire that can be made narrow.
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_in_result,
    reason = "tests look for single events and fail by panicking"
)]

mod wire;

use bytes::Bytes;

use super::{Fed, Limits, Over, Why};
use crate::code::{RequestCode, ResetCode};
use crate::draft::{Draft, IntegerKind};
use crate::ledger::Pieces;
use crate::session::{Event, FetchItem, Refusal, Response, StreamEnd};
use crate::transport::{Closed, Input};
use crate::wire::id::{Location, Millis, RequestId, SubgroupId};
use crate::wire::message::{FetchOk, Retry};
use crate::wire::object::{FetchEntry, FetchObject};
use crate::wire::param::{GroupOrder, Parameters};
use crate::wire::property::{Properties, Value};

use wire::{Got, NOW, Wire, at};

const DRAFTS: [Draft; 2] = Draft::ALL;
const ORDERS: [GroupOrder; 2] = [GroupOrder::Ascending, GroupOrder::Descending];

fn ok() -> FetchOk {
    FetchOk {
        request_id: None,
        end_of_track: false,
        end: at(9, 0),
        parameters: Parameters::default(),
        properties: Properties::default(),
    }
}

fn object(location: Location) -> FetchObject {
    FetchObject {
        location,
        subgroup: Some(SubgroupId(0)),
        priority: 7,
        properties: Properties::default(),
        payload_length: 0,
    }
}

fn entry(location: Location) -> FetchEntry {
    FetchEntry::Object(object(location))
}

/// A payload of this length, in pieces of which none is longer than 1000 bytes.
fn payload(length: usize) -> Pieces {
    let whole: Vec<u8> = (0..length).map(|n| n.to_le_bytes()[0]).collect();
    let pieces: Vec<Bytes> = whole.chunks(1000).map(Bytes::copy_from_slice).collect();
    Pieces::from(pieces.as_slice())
}

fn bytes(payload: &Pieces) -> Vec<u8> {
    payload.iter().flatten().copied().collect()
}

/// Asks for a FETCH and accepts it.
fn opened(wire: &mut Wire, order: GroupOrder) -> RequestId {
    let id = wire.fetch(order);
    assert!(
        wire.server
            .open_fetch(NOW, wire.connection, id, ok(), order)
    );
    id
}

fn feed(wire: &mut Wire, id: RequestId, entry: FetchEntry, payload: &Pieces) -> Fed {
    wire.server
        .feed_fetch(NOW, wire.connection, id, entry, payload)
}

fn end(wire: &mut Wire, id: RequestId) {
    wire.server.end_fetch(NOW, wire.connection, id);
}

fn refusal_of(wire: &Wire, request: RequestId) -> Option<&Refusal> {
    wire.told_client.iter().find_map(|event| match event {
        Event::Response {
            id,
            response: Response::Error(refusal),
        } if *id == request => Some(refusal),
        _ => None,
    })
}

/// The code with which a FETCH was reset: its stream or, in draft 18 where both are, perhaps only the request's.
fn broken_off(wire: &Wire, request: RequestId) -> Option<ResetCode> {
    wire.told_client.iter().find_map(|event| match event {
        Event::Cancelled { id, code } if *id == request => *code,
        Event::Fetched {
            id,
            item: FetchItem::End(StreamEnd::Reset(code)),
        } if *id == request => Some(*code),
        _ => None,
    })
}

/// What two groups hold, in this order, a marker between and behind them: the fed entries and what should arrive.
fn show(order: GroupOrder) -> (Vec<(FetchEntry, Pieces)>, Vec<Got>) {
    let groups = match order {
        GroupOrder::Ascending => [1, 4],
        GroupOrder::Descending => [4, 1],
    };
    let (mut fed, mut expected) = (Vec::new(), Vec::new());
    for group in groups {
        for (number, length) in [0, 10, 1024, 1025, 5000].into_iter().enumerate() {
            let location = at(group, u64::try_from(number).unwrap());
            fed.push((entry(location), payload(length)));
            expected.push(Got::Object(location, bytes(&payload(length))));
        }
        fed.push((FetchEntry::NonExistent(at(group, 60)), Pieces::default()));
        expected.push(Got::NonExistent(at(group, 60)));
        fed.push((FetchEntry::Unknown(at(group, 70)), Pieces::default()));
        expected.push(Got::Unknown(at(group, 70)));
    }
    expected.push(Got::End(StreamEnd::Fin));
    (fed, expected)
}

// Rules: B252
#[test]
fn entries_arrive_in_either_order_however_small_the_writes() {
    for draft in DRAFTS {
        for order in ORDERS {
            for take in [1, 3, 1000, usize::MAX] {
                let mut wire = Wire::new(draft);
                wire.take = take;
                let id = opened(&mut wire, order);
                assert_eq!(wire.server.poll_hungry(), Some((wire.connection, id)));
                let (fed, expected) = show(order);
                for (entry, payload) in fed {
                    assert_eq!(feed(&mut wire, id, entry, &payload), Fed::More);
                }
                wire.settle();
                end(&mut wire, id);
                wire.settle();
                assert_eq!(wire.fetched(id), expected, "{draft:?} {order:?} {take}");
                assert!(wire.server.fetches.is_empty());
                assert_eq!(wire.server.poll_fetch_over(), None);
                assert_eq!(wire.server.fanout.ledger().used(), 0);
            }
        }
    }
}

#[test]
fn a_fetch_of_nothing_is_accepted_and_has_a_stream_with_header_and_end() {
    for draft in DRAFTS {
        let mut wire = Wire::new(draft);
        let id = opened(&mut wire, GroupOrder::Ascending);
        end(&mut wire, id);
        wire.settle();
        assert_eq!(wire.fetched(id), [Got::End(StreamEnd::Fin)]);
        let accepted = |event: &Event| matches!(event, Event::Response { id: answered, response: Response::FetchOk(_) } if *answered == id);
        assert!(wire.told_client.iter().any(accepted));
    }
}

#[test]
fn small_objects_leave_together_and_large_payloads_are_not_copied() {
    let mut wire = Wire::new(Draft::D18);
    let id = opened(&mut wire, GroupOrder::Ascending);
    for number in 0..50 {
        let fed = feed(&mut wire, id, entry(at(1, number)), &payload(20));
        assert_eq!(fed, Fed::More);
    }
    wire.settle();
    assert_eq!(wire.writes.len(), 1, "{:?}", wire.writes);
    wire.writes.clear();
    let _enough = feed(&mut wire, id, entry(at(2, 0)), &payload(3000));
    wire.settle();
    // A header, and the pieces as they were given.
    assert_eq!(wire.writes.len(), 4, "{:?}", wire.writes);
    assert_eq!(wire.writes[1..], [(0, 1000); 3]);
}

#[test]
fn a_fetch_takes_no_more_entries_than_its_look_ahead_and_asks_again_when_half_of_it_left() {
    let limits = Limits {
        max_ahead_entries: 4,
        ..Limits::default()
    };
    for draft in DRAFTS {
        let mut wire = Wire::with_limits(draft, limits.clone());
        wire.window = 0;
        let id = opened(&mut wire, GroupOrder::Ascending);
        let hungry = Some((wire.connection, id));
        assert_eq!(wire.server.poll_hungry(), hungry);
        assert_eq!(wire.server.poll_hungry(), None);
        let small = payload(5);
        for number in 0..3 {
            assert_eq!(feed(&mut wire, id, entry(at(0, number)), &small), Fed::More);
        }
        assert_eq!(feed(&mut wire, id, entry(at(0, 3)), &small), Fed::Enough);
        assert!(!wire.server.fetches.has_room(wire.connection, id));
        assert_eq!(feed(&mut wire, id, entry(at(0, 4)), &small), Fed::Full);
        wire.settle();
        assert_eq!(wire.server.poll_hungry(), None);
        wire.window = usize::MAX;
        wire.writable();
        wire.settle();
        assert_eq!(wire.server.poll_hungry(), hungry);
        assert_eq!(feed(&mut wire, id, entry(at(0, 4)), &small), Fed::More);
        end(&mut wire, id);
        wire.settle();
        let got = wire.fetched(id);
        assert_eq!(got.len(), 6, "{got:?}");
        assert_eq!(got[4], Got::Object(at(0, 4), bytes(&small)));
    }
}

#[test]
fn a_fetch_takes_no_more_bytes_than_its_look_ahead_but_the_last_entry_whole() {
    let limits = Limits {
        max_ahead_bytes: 10_000,
        ..Limits::default()
    };
    let mut wire = Wire::with_limits(Draft::D18, limits);
    wire.window = 0;
    let id = opened(&mut wire, GroupOrder::Ascending);
    assert!(wire.server.poll_hungry().is_some());
    let large = payload(6000);
    assert_eq!(feed(&mut wire, id, entry(at(0, 0)), &large), Fed::More);
    assert_eq!(feed(&mut wire, id, entry(at(0, 1)), &large), Fed::Enough);
    assert_eq!(feed(&mut wire, id, entry(at(0, 2)), &large), Fed::Full);
    wire.window = 6500;
    wire.writable();
    wire.settle();
    assert_eq!(wire.server.poll_hungry(), None, "more than half is left");
    wire.window = usize::MAX;
    wire.writable();
    wire.settle();
    assert!(wire.server.poll_hungry().is_some());
    assert_eq!(wire.fetched(id).len(), 2);
}

#[test]
fn more_fetches_than_the_limits_allow_are_refused_for_now() {
    let limits = Limits {
        max_fetches: 3,
        max_fetches_per_connection: 2,
        ..Limits::default()
    };
    for draft in DRAFTS {
        let mut wire = Wire::with_limits(draft, limits.clone());
        let ids = [(); 2].map(|()| opened(&mut wire, GroupOrder::Ascending));
        let third = wire.fetch(GroupOrder::Ascending);
        let connection = wire.connection;
        let order = GroupOrder::Ascending;
        assert!(!wire.server.open_fetch(NOW, connection, third, ok(), order));
        wire.settle();
        let refusal = refusal_of(&wire, third).unwrap();
        assert_eq!(refusal.retry, Retry::After(Millis(1000)));
        // Draft 16 has no such code.
        let code = match draft {
            Draft::D18 => RequestCode::ExcessiveLoad,
            Draft::D16 => RequestCode::InternalError,
        };
        assert_eq!(refusal.code, code);
        end(&mut wire, ids[0]);
        wire.settle();
        opened(&mut wire, GroupOrder::Ascending);
        assert_eq!(wire.server.fetches.len(), 2);
    }
}

#[test]
fn more_fetches_than_all_connections_may_have_are_refused() {
    let limits = Limits {
        max_fetches: 1,
        ..Limits::default()
    };
    let mut wire = Wire::with_limits(Draft::D18, limits);
    opened(&mut wire, GroupOrder::Ascending);
    let second = wire.fetch(GroupOrder::Ascending);
    let order = GroupOrder::Ascending;
    assert!(
        !wire
            .server
            .open_fetch(NOW, wire.connection, second, ok(), order)
    );
    wire.settle();
    let refusal = refusal_of(&wire, second).unwrap();
    assert_eq!(refusal.code, RequestCode::ExcessiveLoad);
}

#[test]
fn a_fetch_waits_for_a_stream_and_is_fed_meanwhile() {
    for draft in DRAFTS {
        let mut wire = Wire::new(draft);
        wire.streams_allowed = false;
        let id = opened(&mut wire, GroupOrder::Ascending);
        assert_eq!(feed(&mut wire, id, entry(at(1, 1)), &payload(9)), Fed::More);
        end(&mut wire, id);
        wire.settle();
        assert_eq!(wire.fetched(id), []);
        wire.can_open();
        wire.settle();
        assert_eq!(
            wire.fetched(id),
            [
                Got::Object(at(1, 1), bytes(&payload(9))),
                Got::End(StreamEnd::Fin)
            ]
        );
    }
}

#[test]
fn a_fetch_waits_until_its_session_has_room_for_a_stream() {
    let mut wire = Wire::new(Draft::D18);
    wire.streams_allowed = false;
    let room = crate::session::Limits::default().max_open_data_streams;
    let limits = Limits {
        max_fetches_per_connection: room + 1,
        ..Limits::default()
    };
    let mut wire = Wire::with_limits(Draft::D18, limits);
    let ids: Vec<RequestId> = (0..=room)
        .map(|_| opened(&mut wire, GroupOrder::Ascending))
        .collect();
    let last = ids[room];
    end(&mut wire, last);
    wire.settle();
    assert_eq!(wire.fetched(last), []);
    end(&mut wire, ids[0]);
    wire.settle();
    assert_eq!(wire.fetched(last), [Got::End(StreamEnd::Fin)]);
}

#[test]
fn a_stopped_stream_ends_the_fetch_and_the_owner_is_told() {
    for draft in DRAFTS {
        let mut wire = Wire::new(draft);
        let id = opened(&mut wire, GroupOrder::Ascending);
        assert_eq!(feed(&mut wire, id, entry(at(1, 1)), &payload(9)), Fed::More);
        wire.settle();
        wire.stop(0, 0);
        wire.settle();
        let connection = wire.connection;
        assert_eq!(
            wire.server.poll_fetch_over(),
            Some(Over {
                connection,
                request: id,
                why: Why::Cancelled
            })
        );
        assert_eq!(wire.server.poll_hungry(), None);
        assert_eq!(feed(&mut wire, id, entry(at(1, 2)), &payload(9)), Fed::Gone);
        assert!(wire.server.fetches.is_empty());
        let last = wire.fetched(id).pop();
        assert_eq!(last, Some(Got::End(StreamEnd::Reset(ResetCode::Cancelled))));
    }
}

#[test]
fn a_withdrawn_fetch_is_forgotten_whether_it_has_a_stream_or_not() {
    for draft in DRAFTS {
        for allowed in [true, false] {
            let mut wire = Wire::new(draft);
            wire.streams_allowed = allowed;
            let id = opened(&mut wire, GroupOrder::Ascending);
            assert_eq!(feed(&mut wire, id, entry(at(1, 1)), &payload(9)), Fed::More);
            wire.settle();
            wire.client.cancel(NOW, id, ResetCode::Cancelled).unwrap();
            wire.settle();
            let over = wire.server.poll_fetch_over().unwrap();
            assert_eq!((over.request, over.why), (id, Why::Cancelled));
            assert!(wire.server.fetches.is_empty());
            assert_eq!(wire.server.fanout.ledger().used(), 0);
            // It makes room for another.
            wire.streams_allowed = true;
            wire.can_open();
            let next = opened(&mut wire, GroupOrder::Ascending);
            end(&mut wire, next);
            wire.settle();
            assert_eq!(wire.fetched(next), [Got::End(StreamEnd::Fin)]);
        }
    }
}

#[test]
fn a_peer_that_leaves_takes_its_fetches_along() {
    let mut wire = Wire::new(Draft::D18);
    let ids = [(); 2].map(|()| opened(&mut wire, GroupOrder::Ascending));
    let connection = wire.connection;
    end(&mut wire, ids[1]);
    let gone = Input::Closed(Closed::TimedOut);
    wire.server.handle_input(NOW, connection, gone);
    while wire.server.poll_event().is_some() {}
    let over = wire.server.poll_fetch_over().unwrap();
    assert_eq!((over.request, over.why), (ids[0], Why::Cancelled));
    // Its owner had done with the other one.
    assert_eq!(wire.server.poll_fetch_over(), None);
    assert!(wire.server.fetches.is_empty());
    let order = GroupOrder::Ascending;
    assert!(!wire.server.open_fetch(NOW, connection, ids[0], ok(), order));
}

#[test]
fn a_fetch_that_fails_is_reset_with_the_code_given() {
    for draft in DRAFTS {
        let mut wire = Wire::new(draft);
        let id = opened(&mut wire, GroupOrder::Ascending);
        assert_eq!(feed(&mut wire, id, entry(at(1, 1)), &payload(9)), Fed::More);
        wire.settle();
        let code = ResetCode::UnknownObjectStatus;
        wire.server.fail_fetch(NOW, wire.connection, id, code);
        wire.settle();
        assert_eq!(broken_off(&wire, id), Some(code), "{draft:?}");
        assert_eq!(wire.server.poll_fetch_over(), None, "the owner knows");
        assert!(wire.server.fetches.is_empty());
    }
}

#[test]
fn a_fetch_that_fails_before_its_stream_began_still_ends_for_the_peer() {
    for draft in DRAFTS {
        let mut wire = Wire::new(draft);
        wire.streams_allowed = false;
        let id = opened(&mut wire, GroupOrder::Ascending);
        wire.settle();
        let code = ResetCode::InternalError;
        wire.server.fail_fetch(NOW, wire.connection, id, code);
        assert_eq!(feed(&mut wire, id, entry(at(1, 2)), &payload(9)), Fed::Gone);
        wire.settle();
        wire.can_open();
        wire.take = 1;
        wire.settle();
        assert_eq!(broken_off(&wire, id), Some(code), "{draft:?}");
        assert!(wire.server.fetches.is_empty(), "{draft:?}");
    }
}

#[test]
fn what_draft_16_cannot_write_resets_the_stream_and_the_owner_is_told() {
    let far = at(1 << 62, 0);
    for draft in DRAFTS {
        let mut wire = Wire::new(draft);
        let id = opened(&mut wire, GroupOrder::Ascending);
        assert_eq!(feed(&mut wire, id, entry(at(1, 1)), &payload(9)), Fed::More);
        wire.settle();
        let fed = feed(&mut wire, id, entry(far), &payload(9));
        wire.settle();
        let over = wire.server.poll_fetch_over();
        if draft == Draft::D18 {
            assert_eq!((fed, over), (Fed::More, None));
            continue;
        }
        assert_eq!(fed, Fed::Gone);
        assert!(matches!(
            over,
            Some(Over { request, why: Why::Inexpressible(_), .. }) if request == id
        ));
        let code = ResetCode::InternalError;
        assert_eq!(broken_off(&wire, id), Some(code));
    }
}

#[test]
fn a_range_that_draft_16_cannot_write_is_refused() {
    let mut wire = Wire::new(Draft::D16);
    let id = wire.fetch(GroupOrder::Ascending);
    let far = FetchOk {
        end: at(1 << 62, 0),
        ..ok()
    };
    let order = GroupOrder::Ascending;
    assert!(!wire.server.open_fetch(NOW, wire.connection, id, far, order));
    wire.settle();
    let refusal = refusal_of(&wire, id).unwrap();
    assert_eq!(refusal.code, RequestCode::InternalError);
    assert!(wire.server.fetches.is_empty());
}

#[test]
fn properties_are_written_as_each_draft_does() {
    let list = |integers| {
        let list = [
            (0x0a, Value::Integer(1977)),
            (0x0d, Value::Bytes(Bytes::from_static(b"key"))),
        ];
        Properties::from_list(integers, list).unwrap()
    };
    let foreign = [
        (Draft::D18, IntegerKind::Quic),
        (Draft::D16, IntegerKind::Vi64),
    ];
    for (draft, kind) in foreign {
        let mut wire = Wire::new(draft);
        let id = wire.fetch(GroupOrder::Ascending);
        let ok = FetchOk {
            properties: list(kind),
            ..ok()
        };
        let order = GroupOrder::Ascending;
        assert!(wire.server.open_fetch(NOW, wire.connection, id, ok, order));
        let entry = FetchEntry::Object(FetchObject {
            properties: list(kind),
            ..object(at(1, 1))
        });
        assert_eq!(feed(&mut wire, id, entry, &payload(9)), Fed::More);
        wire.settle();
        let written = list(draft.profile().integers);
        let arrived = wire.told_client.iter().any(|event| {
            matches!(event, Event::Fetched { item: FetchItem::Object { properties, .. }, .. } if *properties == written)
        });
        assert!(arrived, "{draft:?}");
        let told = wire.told_client.iter().any(|event| {
            matches!(event, Event::Response { response: Response::FetchOk(ok), .. } if ok.properties == written)
        });
        assert!(told, "{draft:?}");
    }
}

#[test]
fn the_most_urgent_object_at_the_head_of_a_stream_goes_first() {
    let mut wire = Wire::new(Draft::D18);
    wire.window = 0;
    let ids = [(); 2].map(|()| opened(&mut wire, GroupOrder::Ascending));
    wire.settle();
    wire.window = usize::MAX;
    wire.writable();
    wire.settle();
    // The first object of the first FETCH is urgent, the second is not; the other FETCH lies between.
    let with = |location, priority| {
        FetchEntry::Object(FetchObject {
            priority,
            ..object(location)
        })
    };
    for (id, group, priority) in [(ids[0], 0, 1), (ids[0], 1, 9), (ids[1], 0, 5)] {
        let fed = feed(&mut wire, id, with(at(group, 0), priority), &payload(2000));
        assert_eq!(fed, Fed::More);
    }
    wire.writes.clear();
    wire.settle();
    let mut order: Vec<usize> = wire.writes.iter().map(|write| write.0).collect();
    order.dedup();
    assert_eq!(order, [0, 1, 0]);
}

#[test]
fn an_update_of_a_fetch_is_granted() {
    for draft in DRAFTS {
        let mut wire = Wire::new(draft);
        let id = opened(&mut wire, GroupOrder::Ascending);
        wire.settle();
        let parameters = Parameters {
            subscriber_priority: Some(3),
            ..Parameters::default()
        };
        let update = wire.client.update(NOW, id, parameters.clone()).unwrap();
        wire.settle();
        let connection = wire.connection;
        wire.server.update(NOW, connection, id, update, &parameters);
        wire.settle();
        let granted = |event: &Event| matches!(event, Event::UpdateResponse { update: answered, response: Ok(_), .. } if *answered == update);
        assert!(wire.told_client.iter().any(granted), "{draft:?}");
        end(&mut wire, id);
        wire.settle();
        assert_eq!(wire.fetched(id), [Got::End(StreamEnd::Fin)]);
    }
}
