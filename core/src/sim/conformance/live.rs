//! Live objects: subscriptions, PUBLISH, streams and datagrams.

use bytes::Bytes;

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::session::{Misuse, Refusal, Request, Response};
use crate::wire::id::{GroupId, Location, Millis};
use crate::wire::message::{Publish, RequestOk};
use crate::wire::object::ObjectStatus;
use crate::wire::param::{Filter, GroupOrder, Parameters};
use crate::wire::property::{IMMUTABLE_PROPERTIES, Value};

use super::super::neutral::{datagrams_of, stream_name};
use super::actor::{Actor, misused};
use super::case::{Case, Cast};
use super::content::payload;
use super::requests::{
    ID, filtered, forward, largest, status, status_of, sub, subscribe, subscribe_all, track,
};

/// Every filter, and how a trace shows it.
fn filters() -> [(&'static str, Filter, &'static str); 4] {
    let start = Location::new(4, 2);
    let range = Filter::AbsoluteRange {
        start,
        end_group: GroupId(6),
    };
    [
        ("f1", Filter::NextGroupStart, "NextGroupStart"),
        ("f2", Filter::LargestObject, "LargestObject"),
        ("f3", Filter::AbsoluteStart(start), "AbsoluteStart"),
        ("f4", range, "AbsoluteRange"),
    ]
}

/// Everything that a SUBSCRIBE can say in every draft.
fn wishes() -> Parameters {
    Parameters {
        forward: Some(false),
        subscriber_priority: Some(7),
        group_order: Some(GroupOrder::Descending),
        object_delivery_timeout: Some(Millis(60_000)),
        ..Parameters::default()
    }
}

// Rules: B102
pub(super) fn wishes_and_updates(case: &Case) -> Cast {
    let all = sub("all");
    let mut server = Actor::new();
    let mut client = Actor::new();
    for (name, filter, shown) in filters() {
        server = server
            .until(&sub(name), &format!("asked: forward true, filter {shown}"))
            .grants_with(&sub(name), largest(5, 1));
        client = client.asks_and_hears(filtered(name, filter), "ok, forward true, largest {5, 1}");
    }
    let expires = Parameters {
        expires: Some(Millis(5_000)),
        ..Parameters::default()
    };
    let no = Refusal::new(RequestCode::NotSupported, "no");
    server = server
        .until(&all, "asked: forward false, order Descending, priority 7")
        .grants_with(&all, expires)
        .answers_update(Ok(RequestOk::default()))
        .until(&all, "changes: forward true, priority 9")
        .publishes(&all, (0, 0), &[(0, 100)])
        .answers_update(Ok(RequestOk::default()))
        .answers_update(Err(no))
        .agrees(&status_of("the end"))
        .until_closed();
    let other = Parameters {
        subscriber_priority: Some(9),
        ..forward(true)
    };
    let narrower = Parameters {
        filter: Some(Filter::AbsoluteStart(Location::new(3, 0))),
        ..Parameters::default()
    };
    client = client
        .asks_and_hears(
            subscribe("all", wishes()),
            "ok, forward true, expires Millis(5000)",
        )
        .updates(&all, other, "was changed")
        .until(&stream_name(&all, 0, 0), "ends: Fin")
        .updates(&all, narrower, "was changed")
        .updates(
            &all,
            forward(false),
            "was not changed: refused with NOT_SUPPORTED: no",
        )
        .asks_and_hears(status("the end"), "ok");
    Cast::pair(case, server, client)
}

/// Ids with gaps, which are not the places on the stream, and to which the number of the subgroup is added.
const OBJECTS: [(u64, usize); 4] = [(0, 1), (3, 0), (6, 1_000), (9, 70_000)];
const SUBGROUPS: [(u64, u64); 6] = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)];

pub(super) fn streams(case: &Case) -> Cast {
    let name = sub("v");
    let mut server = Actor::new().grants(&name);
    let mut client = Actor::new().asks_and_hears(subscribe_all("v"), "ok");
    for (group, subgroup) in SUBGROUPS {
        server = server.opens(&name, group, subgroup);
        for (object, length) in OBJECTS {
            server = server.sends(&name, (group, subgroup), object + subgroup, length);
        }
        if subgroup == 1 {
            server = server.marks(&name, (group, subgroup), 11, ObjectStatus::EndOfGroup);
        }
        server = server.finishes(&name, group, subgroup);
    }
    server = server
        .step("the end of all streams at the client", |mind, _| {
            Ok(mind.delivered == SUBGROUPS.len())
        })
        .opens(&name, 3, 0)
        .marks(&name, (3, 0), 0, ObjectStatus::EndOfTrack)
        .finishes(&name, 3, 0)
        .ends(&name, DoneCode::TrackEnded)
        .until_closed();
    for (group, subgroup) in SUBGROUPS {
        let stream = stream_name(&name, group, subgroup);
        let large = format!("object {} Normal, [], 70000 bytes", 9 + subgroup);
        client = client.until(&stream, &large).until(&stream, "ends: Fin");
    }
    client = client
        .until(&stream_name(&name, 3, 0), "object 0 EndOfTrack")
        .until(&name, "is done: TRACK_ENDED")
        .until(&name, "settled");
    Cast::pair(case, server, client)
}

/// Offers a track, with properties.
fn offers(actor: Actor, name: &'static str) -> Actor {
    let called = format!("publish {}", track(name));
    actor.does(move |mind, stage| {
        let immutable = Value::Bytes(Bytes::from_static(&[0x20, 7]));
        let list = vec![
            (IMMUTABLE_PROPERTIES, immutable),
            (0x3802, Value::Integer(70_000)),
        ];
        let request = Request::Publish(Publish {
            request_id: ID,
            track: track(name),
            track_alias: mind.alias(&called),
            parameters: largest(1, 1),
            properties: mind.list(stage, list)?,
        });
        mind.ask(stage, &called, request).map(drop)
    })
}

/// Three tracks: one is published to its end, one the subscriber does not want any more, one is only offered.
fn publishes(actor: Actor, names: [&'static str; 3]) -> Actor {
    let [whole, left, ended] = names.map(|name| format!("publish {}", track(name)));
    let actor = names.into_iter().fold(actor, offers);
    actor
        .until(&whole, "ok, forward true")
        .publishes(&whole, (2, 0), &[(0, 10), (1, 3000)])
        .ends(&whole, DoneCode::TrackEnded)
        .until(&left, "ok, forward false")
        .until(&left, "was cancelled")
        .until(&ended, "ok, forward true")
        .until(&ended, "changes: forward false")
        .answers_update(Ok(RequestOk::default()))
        .ends(&ended, DoneCode::Expired)
}

fn accepts(actor: Actor, names: [&'static str; 3]) -> Actor {
    let [whole, left, ended] = names.map(|name| format!("publish {}", track(name)));
    let with = |parameters| {
        Response::Ok(RequestOk {
            parameters,
            ..RequestOk::default()
        })
    };
    actor
        .answers(&whole, with(forward(true)))
        .answers(&left, with(forward(false)))
        .answers(&ended, with(forward(true)))
        .until(&stream_name(&whole, 2, 0), "ends: Fin")
        .until(&whole, "is done: TRACK_ENDED")
        .until(&whole, "settled")
        .cancels(&left, ResetCode::Cancelled)
        .updates(&ended, forward(false), "was changed")
        .until(&ended, "is done: EXPIRED")
        .until(&ended, "settled")
}

pub(super) fn publish(case: &Case) -> Cast {
    let theirs = ["c1", "c2", "c3"];
    let ours = ["s1", "s2", "s3"];
    let server = publishes(accepts(Actor::new(), theirs), ours)
        .agrees(&status_of("the end"))
        .until_closed();
    let client =
        accepts(publishes(Actor::new(), theirs), ours).asks_and_hears(status("the end"), "ok");
    Cast::pair(case, server, client)
}

/// The server publishes so on a track, and the client sees the end of it.
fn track_of(
    case: &Case,
    publishes: impl FnOnce(Actor, &str) -> Actor,
    sees: impl FnOnce(Actor, &str) -> Actor,
) -> Cast {
    let name = sub("v");
    let server = publishes(Actor::new().grants(&name), &name)
        .ends(&name, DoneCode::TrackEnded)
        .until_closed();
    let client = Actor::new().asks_and_hears(subscribe_all("v"), "ok");
    let client = sees(client, &name)
        .until(&name, "is done: TRACK_ENDED")
        .until(&name, "settled");
    Cast::pair(case, server, client)
}

/// Objects of 0 to 96 bytes.
const SMALL: u64 = 500;

pub(super) fn many_objects(case: &Case) -> Cast {
    let objects: Vec<(u64, usize)> = (0..SMALL).zip((0..97).cycle()).collect();
    let publishes = |mut actor: Actor, name: &str| {
        for group in 0..3 {
            actor = actor.publishes(name, (group, 0), &objects);
        }
        actor
    };
    track_of(case, publishes, |mut actor, name| {
        for group in 0..3 {
            let stream = stream_name(name, group, 0);
            let last = format!("object {} Normal", SMALL - 1);
            actor = actor.until(&stream, &last).until(&stream, "ends: Fin");
        }
        actor
    })
}

/// More than any window or buffer.
const LARGE: usize = 3 << 20;

pub(super) fn large_object(case: &Case) -> Cast {
    track_of(
        case,
        |actor, name| actor.publishes(name, (0, 0), &[(0, LARGE), (1, 1)]),
        |actor, name| {
            let stream = stream_name(name, 0, 0);
            let whole = format!("object 0 Normal, [], {LARGE} bytes");
            actor
                .until(&stream, &whole)
                .until(&stream, "object 1 Normal, [], 1 bytes")
                .until(&stream, "ends: Fin")
        },
    )
}

/// More than any adapter allows without giving credit again.
const STREAMS: u64 = 1100;
/// So many are open at once at least.
const OPEN_AT_ONCE: u64 = 90;
/// And at most: a session that allows 1024 refuses further ones.
const MOST_OPEN: u64 = 900;

/// Opens streams with one object each; tells whether all are open, and finishes them if that is wanted.
fn open_more(actor: Actor, name: &str, finishing: bool) -> Actor {
    let name = name.to_owned();
    actor.step("further streams", move |mind, stage| {
        while mind.next < STREAMS {
            let delivered = u64::try_from(mind.delivered).unwrap_or(0);
            if mind.next - delivered >= MOST_OPEN {
                return Ok(!finishing);
            }
            match mind.open(stage, &name, mind.next, 0) {
                Ok(()) => {}
                Err(Misuse::Blocked) => return Ok(!finishing),
                Err(misuse) => return Err(misused(misuse)),
            }
            mind.send(stage, &name, (mind.next, 0), 0, 20)?;
            if finishing {
                mind.finish(stage, &stream_name(&name, mind.next, 0))?;
            }
            mind.next += 1;
        }
        if finishing {
            return Ok(true);
        }
        Err("there was no end of streams".to_owned())
    })
}

/// No stream ends before the client has seen many; then all do, which lets the others open.
pub(super) fn many_streams(case: &Case) -> Cast {
    track_of(
        case,
        |actor, name| {
            // Streams that arrive before the answer to SUBSCRIBE would be refused, so many as they are.
            let actor = open_more(actor.agrees(&status_of("ready")), name, false);
            let stream = name.to_owned();
            let actor = actor.agrees(&status_of("enough")).does(move |mind, stage| {
                let mut streams = (0..mind.next).map(|group| stream_name(&stream, group, 0));
                streams.try_for_each(|stream| mind.finish(stage, &stream))
            });
            open_more(actor, name, true)
        },
        |actor, name| {
            let many = stream_name(name, OPEN_AT_ONCE - 1, 0);
            actor
                .asks_and_hears(status("ready"), "ok")
                .until(&many, "object 0 Normal")
                .asks_and_hears(status("enough"), "ok")
                .until(&stream_name(name, STREAMS - 1, 0), "ends: Fin")
        },
    )
}

const BURSTS: u64 = 8;
const BURST: u64 = 8;
/// This object of every burst fits into no datagram; it is dropped, and nothing else suffers.
const TOO_LARGE: u64 = 3;

const fn datagram_length(object: u64) -> usize {
    match object {
        TOO_LARGE => 70_000,
        object if object.is_multiple_of(2) => 1_000,
        _ => 9,
    }
}

/// Sends objects of a group in datagrams.
pub(super) fn datagram_burst(actor: Actor, name: &str, group: u64, objects: u64) -> Actor {
    let name = name.to_owned();
    actor.does(move |mind, stage| {
        let (connection, id) = (mind.connection()?, mind.id(&name)?);
        let alias = mind.alias(&name);
        for object in 0..objects {
            let location = Location::new(group, object);
            let payload = payload(group, object, datagram_length(object));
            let sent = stage.datagram(connection, id, alias, location, payload);
            sent.map_err(misused)?;
        }
        Ok(())
    })
}

/// Waits for so many datagrams of a request.
pub(super) fn until_datagrams(actor: Actor, name: &str, count: usize) -> Actor {
    actor.until_count(count, &datagrams_of(name), "datagram")
}

// Rules: B060
/// Bursts at the client's pace. Any may be lost, but not half of them.
pub(super) fn datagrams(case: &Case) -> Cast {
    let name = sub("d");
    let mut server = Actor::new().grants(&name);
    let mut client = Actor::new().asks_and_hears(subscribe_all("d"), "ok");
    for group in 0..BURSTS {
        server = datagram_burst(server, &name, group, BURST).agrees(&status_of("more"));
        client = client.asks_and_hears(status("more"), "ok");
    }
    server = server.ends(&name, DoneCode::TrackEnded).until_closed();
    let half = usize::try_from(BURSTS * BURST / 2).unwrap_or(0);
    client = until_datagrams(client, &name, half)
        .never(&datagrams_of(&name), "datagram {0, 3}")
        .until(&name, "is done: TRACK_ENDED")
        .until(&name, "settled");
    Cast::pair(case, server, client)
}

/// Many more than a session keeps for a transport that takes no more.
const FLOOD: u64 = 3000;

/// Most are dropped, the session goes on, and later ones arrive again.
pub(super) fn datagram_flood(case: &Case) -> Cast {
    let name = sub("d");
    let server = Actor::new().grants(&name).agrees(&status_of("ready"));
    let server = datagram_burst(server, &name, 0, FLOOD)
        .publishes(&name, (1, 0), &[(0, 100)])
        .agrees(&status_of("after"));
    let server = (2..10).fold(server, |server, group| {
        datagram_burst(server, &name, group, 2).agrees(&status_of("more"))
    });
    let server = server.until_closed();
    let last = datagrams_of(&name);
    let client = Actor::new()
        .leaves_out_datagrams_of(0)
        .asks_and_hears(subscribe_all("d"), "ok")
        .asks_and_hears(status("ready"), "ok")
        .until(&stream_name(&name, 1, 0), "ends: Fin")
        .asks_and_hears(status("after"), "ok");
    let client = (2..10).fold(client, |client, _| {
        client.asks_and_hears(status("more"), "ok")
    });
    let client = client.step("a datagram after the flood", move |mind, _| {
        let mut later = (2..10).map(|group| format!("datagram {{{group}, "));
        Ok(later.any(|text| mind.count(&last, &text) > 0))
    });
    Cast::pair(case, server, client)
}
