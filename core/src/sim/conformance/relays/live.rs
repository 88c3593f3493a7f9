//! Live objects through a relay.

use crate::code::DoneCode;
use crate::session::Response;
use crate::wire::id::{GroupId, Location};
use crate::wire::message::RequestOk;
use crate::wire::object::ObjectStatus;
use crate::wire::param::Filter;

use super::super::super::neutral::{datagrams_of, request_name, stream_name};
use super::super::actor::Actor;
use super::super::case::{Case, Cast};
use super::super::live::{datagram_burst, until_datagrams};
use super::super::namespaces::{offer_of, offers_in};
use super::super::requests::{
    announce, filtered, forward, status, status_of, sub, subscribe_all, watch, watch_tracks,
};
use super::{NAMESPACE, cast, publisher, subscriber};

const OBJECTS: [(u64, usize); 4] = [(0, 1), (3, 0), (6, 1_000), (9, 70_000)];
const SUBGROUPS: [(u64, u64); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

/// Waits for both subscribers to say so.
fn hears_both(actor: Actor, what: &str) -> Actor {
    let [one, other] = ["one", "other"].map(|who| status_of(&format!("{who} {what}")));
    actor
        .until(&one, "asked")
        .until(&other, "asked")
        .agrees(&one)
        .agrees(&other)
}

fn says(actor: Actor, who: &str, what: &str) -> Actor {
    actor.asks_and_hears(status(&format!("{who} {what}")), "ok")
}

fn until_end(actor: Actor, name: &str) -> Actor {
    actor
        .until(name, "is done: TRACK_ENDED")
        .until(name, "settled")
}

/// The same track for two subscribers, whom one subscription at the publisher serves.
pub(in super::super) fn track(case: &Case) -> Cast {
    let name = sub("v");
    let mut source = hears_both(publisher().grants(&name), "ready");
    for (group, subgroup) in SUBGROUPS {
        source = source.opens(&name, group, subgroup);
        for (object, length) in OBJECTS {
            source = source.sends(&name, (group, subgroup), object + subgroup, length);
        }
        if subgroup == 1 {
            source = source.marks(&name, (group, subgroup), 11, ObjectStatus::EndOfGroup);
        }
        source = source.finishes(&name, group, subgroup);
    }
    let source = source.ends(&name, DoneCode::TrackEnded);
    let subscribers = ["one", "other"].map(|who| {
        let actor = subscriber().asks_and_hears(subscribe_all("v"), "ok");
        let actor = SUBGROUPS
            .iter()
            .fold(says(actor, who, "ready"), |actor, (group, subgroup)| {
                let large = format!("object {} Normal, [], 70000 bytes", 9 + subgroup);
                let stream = stream_name(&name, *group, *subgroup);
                actor.until(&stream, &large).until(&stream, "ends: Fin")
            });
        (who, until_end(actor, &name))
    });
    cast(case, source, subscribers)
}

/// One subscriber wants everything of each track; when it has seen the first object, the other joins with a filter.
pub(in super::super) fn filters(case: &Case) -> Cast {
    let range = Filter::AbsoluteRange {
        start: Location::new(0, 1),
        end_group: GroupId(1),
    };
    let tracks = [
        ("f1", Filter::NextGroupStart),
        ("f2", Filter::LargestObject),
        ("f3", Filter::AbsoluteStart(Location::new(1, 1))),
        ("f4", range),
    ];
    let mut source = publisher();
    let mut one = subscriber();
    let mut other = subscriber();
    for (track, _) in tracks {
        let name = sub(track);
        source = source
            .grants(&name)
            .opens(&name, 0, 0)
            .agrees(&status_of(&format!("{track} is there")))
            .sends(&name, (0, 0), 0, 100);
        one = one.asks_and_hears(subscribe_all(track), "ok");
        one = one
            .asks_and_hears(status(&format!("{track} is there")), "ok")
            .until(&stream_name(&name, 0, 0), "object 0 Normal");
    }
    one = says(one, "one", "ready");
    // The other waits until the first says so.
    source = source.agrees(&status_of("one ready"));
    source = source.asks_and_hears(announce("conformance-2"), "ok");
    other = other
        .asks_and_hears(watch("conformance-2"), "ok")
        .until("watch conformance-2", " came");
    for (track, filter) in tracks {
        other = other.asks_and_hears(filtered(track, filter), "ok");
    }
    other = says(other, "other", "ready");
    source = source.agrees(&status_of("other ready"));
    for (track, _) in tracks {
        let name = sub(track);
        source = source
            .sends(&name, (0, 0), 1, 100)
            .finishes(&name, 0, 0)
            .publishes(&name, (1, 0), &[(0, 100), (1, 100)])
            .publishes(&name, (2, 0), &[(0, 100)])
            .ends(&name, DoneCode::TrackEnded);
        one = one
            .until(&stream_name(&name, 2, 0), "ends: Fin")
            .until(&name, "is done: TRACK_ENDED")
            .until(&name, "settled");
        other = other.until(&name, "is done: ").until(&name, "settled");
    }
    other = other
        .never(&stream_name(&sub("f1"), 0, 0), "")
        .until(&stream_name(&sub("f1"), 1, 0), "object 0 Normal")
        .never(&stream_name(&sub("f2"), 0, 0), "object 0 ")
        .until(&stream_name(&sub("f2"), 0, 0), "object 1 Normal")
        .never(&stream_name(&sub("f3"), 1, 0), "object 0 ")
        .until(&stream_name(&sub("f3"), 1, 0), "object 1 Normal")
        .until(&stream_name(&sub("f4"), 1, 0), "object 1 Normal")
        .never(&stream_name(&sub("f4"), 2, 0), "");
    cast(case, source, [("one", one), ("other", other)])
}

/// Whoever asked for tracks is offered what is published, and gets it once it agrees.
pub(in super::super) fn publish(case: &Case) -> Cast {
    let offer = offer_of(NAMESPACE, "p");
    let asked = request_name(&watch_tracks(case.draft, NAMESPACE));
    let source = Actor::new()
        .asks_and_hears(announce(NAMESPACE), "ok")
        .asks_and_hears(announce("there"), "ok")
        .agrees(&status_of("go"));
    let source = offers_in(source, NAMESPACE, "p")
        .until(&offer, "ok")
        .agrees(&status_of("ready"))
        .publishes(&offer, (0, 0), &[(0, 5), (1, 5_000)])
        .publishes(&offer, (1, 0), &[(0, 5)])
        .ends(&offer, DoneCode::TrackEnded);
    let agreed = Response::Ok(RequestOk {
        parameters: forward(true),
        ..RequestOk::default()
    });
    // Draft 16 does not let the same namespace be watched for both.
    let reader = Actor::new()
        .asks_and_hears(watch("there"), "ok")
        .until("watch there", " came")
        .asks_and_hears(watch_tracks(case.draft, NAMESPACE), "ok")
        .asks_and_hears(status("go"), "ok")
        .answers(&offer, agreed)
        .asks_and_hears(status("ready"), "ok")
        .until(&stream_name(&offer, 0, 0), "ends: Fin")
        .until(&stream_name(&offer, 1, 0), "ends: Fin")
        .never(&asked, "was cancelled");
    cast(case, source, [("one", until_end(reader, &offer))])
}

/// Bursts at the pace of one subscriber; half of them must arrive.
pub(in super::super) fn datagrams(case: &Case) -> Cast {
    let name = sub("d");
    let mut source = publisher().grants(&name);
    let mut reader = subscriber().asks_and_hears(subscribe_all("d"), "ok");
    for group in 0..8 {
        let more = format!("more {group}");
        source = datagram_burst(source.agrees(&status_of(&more)), &name, group, 3);
        reader = reader.asks_and_hears(status(&more), "ok");
    }
    let source = source
        .agrees(&status_of("the end"))
        .ends(&name, DoneCode::TrackEnded);
    let reader = reader.asks_and_hears(status("the end"), "ok");
    let reader = until_datagrams(reader, &name, 12).until(&datagrams_of(&name), "datagram");
    cast(case, source, [("one", until_end(reader, &name))])
}

/// Few enough to be live at once.
const GROUPS: u64 = 30;
/// Streams in each: together more than a subscriber allows at once.
const SUBGROUPS_EACH: u64 = 5;
const LARGE: usize = 2 << 20;

/// A large object and many small streams, for two.
pub(in super::super) fn bulk(case: &Case) -> Cast {
    let name = sub("v");
    let source = hears_both(publisher().grants(&name), "ready");
    let source = source.publishes(&name, (0, 0), &[(0, LARGE), (1, 10)]);
    let mut source = hears_both(source, "has it");
    for group in 1..=GROUPS {
        for subgroup in 0..SUBGROUPS_EACH {
            source = source.publishes(&name, (group, subgroup), &[(subgroup, 200)]);
        }
    }
    let source = source.ends(&name, DoneCode::TrackEnded);
    let subscribers = ["one", "other"].map(|who| {
        let actor = subscriber().asks_and_hears(subscribe_all("v"), "ok");
        let whole = format!("object 0 Normal, [], {LARGE} bytes");
        let actor = says(actor, who, "ready")
            .until(&stream_name(&name, 0, 0), &whole)
            .until(&stream_name(&name, 0, 0), "ends: Fin");
        let actor = says(actor, who, "has it");
        (who, until_end(actor, &name))
    });
    cast(case, source, subscribers)
}
