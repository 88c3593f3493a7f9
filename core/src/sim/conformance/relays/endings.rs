//! Streams, subscriptions and programs that end before their time, at a relay.

use crate::code::{DoneCode, ResetCode};

use super::super::super::neutral::{SESSION, stream_name};
use super::super::actor::{Actor, BEGUN};
use super::super::case::{Case, Cast, Listener, Member};
use super::super::endings::never_fin;
use super::super::requests::{status, status_of, sub, subscribe_all};
use super::{cast, publisher, subscriber};

/// One subscriber stops a stream and then leaves, which the other does not notice; the publisher resets a stream.
pub(in super::super) fn streams(case: &Case) -> Cast {
    let name = sub("v");
    let mut source = publisher()
        .grants(&name)
        .agrees(&status_of("one ready"))
        .agrees(&status_of("other ready"));
    for group in 0..3 {
        source = source
            .opens(&name, group, 0)
            .sends(&name, (group, 0), 0, 100);
    }
    let source = source
        .agrees(&status_of("one has it"))
        .agrees(&status_of("other has it"))
        .sends(&name, (0, 0), 1, 100)
        .finishes(&name, 0, 0)
        .resets(&name, 1, 0, ResetCode::DeliveryTimeout)
        .agrees(&status_of("one left"))
        .sends(&name, (2, 0), 1, 100)
        .finishes(&name, 2, 0)
        .ends(&name, DoneCode::TrackEnded);
    let has_it = |mut actor: Actor| {
        for group in 0..3 {
            actor = actor.until(&stream_name(&name, group, 0), "object 0 Normal");
        }
        actor
    };
    let one = subscriber()
        .asks_and_hears(subscribe_all("v"), "ok")
        .asks_and_hears(status("one ready"), "ok");
    let one = has_it(one)
        .stops(&name, 0, 0, ResetCode::Cancelled)
        .until(&stream_name(&name, 0, 0), "ends: Stopped")
        .asks_and_hears(status("one has it"), "ok")
        .until(&stream_name(&name, 1, 0), "ends: Reset(DeliveryTimeout)")
        .cancels(&name, ResetCode::Cancelled)
        .asks_and_hears(status("one left"), "ok");
    let other = subscriber()
        .asks_and_hears(subscribe_all("v"), "ok")
        .asks_and_hears(status("other ready"), "ok");
    let other = has_it(other)
        .asks_and_hears(status("other has it"), "ok")
        .until(&stream_name(&name, 0, 0), "object 1 Normal")
        .until(&stream_name(&name, 0, 0), "ends: Fin")
        .until(&stream_name(&name, 1, 0), "ends: Reset(DeliveryTimeout)")
        .until(&stream_name(&name, 2, 0), "object 1 Normal")
        .until(&stream_name(&name, 2, 0), "ends: Fin")
        .until(&name, "is done: TRACK_ENDED")
        .until(&name, "settled");
    cast(case, source, [("one", one), ("other", other)])
}

/// The subscribers see a reset, and then the end of the track.
pub(in super::super) fn cut_off(case: &Case) -> Cast {
    let name = sub("v");
    let source = publisher()
        .grants(&name)
        .agrees(&status_of("ready"))
        .opens(&name, 0, 0)
        .sends(&name, (0, 0), 0, 100)
        .begins(&name, (0, 0), 1)
        .until(&status_of("cut"), "asked");
    let reader = subscriber()
        .asks_and_hears(subscribe_all("v"), "ok")
        .asks_and_hears(status("ready"), "ok")
        .until(&stream_name(&name, 0, 0), "object 0 Normal")
        .until_payload(100 + BEGUN)
        .asks(status("cut"))
        .until(&stream_name(&name, 0, 0), "ends within an object: Reset")
        .until(&status_of("cut"), "refused")
        .until(&name, "is done")
        .until(&name, "settled");
    let access = case.access();
    let members = [("publisher", source), ("one", never_fin(reader))];
    Cast {
        server: Listener::Relay(2),
        clients: members
            .map(|(name, actor)| Member {
                name,
                access,
                actor,
            })
            .into(),
    }
}

/// A third client leaves, upon which the relay is told to shut down.
pub(in super::super) fn shutdown(case: &Case) -> Cast {
    let name = sub("v");
    let source = publisher()
        .grants(&name)
        .agrees(&status_of("one ready"))
        .agrees(&status_of("operator ready"))
        .opens(&name, 0, 0)
        .sends(&name, (0, 0), 0, 100)
        .until(SESSION, "go away")
        .until(&name, "was cancelled");
    // Whether the publisher's namespace goes before the session does is anybody's guess.
    let one = subscriber()
        .cancels("watch conformance", ResetCode::Cancelled)
        .asks_and_hears(subscribe_all("v"), "ok")
        .asks_and_hears(status("one ready"), "ok")
        .until(&stream_name(&name, 0, 0), "object 0 Normal")
        .until(SESSION, "go away")
        .until(&stream_name(&name, 0, 0), "ends: Reset")
        .until(&name, "is done: GOING_AWAY")
        .until(&name, "settled");
    let operator = subscriber()
        .asks_and_hears(subscribe_all("v"), "ok")
        .asks_and_hears(status("operator ready"), "ok")
        .until(&stream_name(&name, 0, 0), "object 0 Normal");
    let access = case.access();
    let members = [
        ("publisher", source),
        ("one", never_fin(one)),
        ("operator", operator),
    ];
    Cast {
        server: Listener::Relay(1),
        clients: members
            .map(|(name, actor)| Member {
                name,
                access,
                actor,
            })
            .into(),
    }
}
