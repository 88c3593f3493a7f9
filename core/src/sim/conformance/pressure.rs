//! Much data, and small windows.

use std::time::Duration;

use crate::code::DoneCode;
use crate::runtime::TransportSettings;
use crate::session::Role;

use super::super::neutral::stream_name;
use super::actor::Actor;
use super::case::{Case, Cast};
use super::requests::{status, status_of, sub, subscribe_all};

const STREAMS: u64 = 2;
const OBJECTS: u64 = 32;
const OBJECT_LENGTH: usize = 64 << 10;
/// Four mebibytes are offered; the transport may hold this much of them while nothing is read.
const MOST_HELD: usize = 1 << 20;
/// Nothing was taken for this long: the writer is held up.
const QUIET: Duration = Duration::from_millis(200);

/// Windows of which two streams fill less than half of the connection's.
pub(super) fn narrow(defaults: TransportSettings) -> TransportSettings {
    TransportSettings {
        receive_window: 512 << 10,
        publisher_window: 512 << 10,
        stream_window: 64 << 10,
        max_unacked: 256 << 10,
        ..defaults
    }
}

/// Windows of a few packets.
pub(super) fn small(defaults: TransportSettings) -> TransportSettings {
    TransportSettings {
        receive_window: 16 << 10,
        publisher_window: 16 << 10,
        stream_window: 8 << 10,
        max_unacked: 8 << 10,
        ..defaults
    }
}

/// Waits until the transport takes no more, and sees that it did not take much.
fn until_held_up(actor: Actor) -> Actor {
    let mut last = None;
    actor.step("the transport to be full", move |mind, stage| {
        let taken = stage.taken(mind.connection()?);
        if taken > MOST_HELD {
            return Err(format!("the transport took {taken} unread bytes"));
        }
        match last {
            Some((before, at)) if before == taken && taken > 0 => {
                if stage.now() >= at {
                    return Ok(true);
                }
                mind.wake = Some(at);
            }
            Some(_) | None => {
                let at = stage.now() + QUIET;
                last = Some((taken, at));
                mind.wake = Some(at);
            }
        }
        Ok(false)
    })
}

/// While the client reads nothing a request gets through all the same, and tells it to read on.
pub(super) fn back_pressure(case: &Case) -> Cast {
    let name = sub("v");
    let objects: Vec<(u64, usize)> = (0..OBJECTS).map(|object| (object, OBJECT_LENGTH)).collect();
    let server = Actor::new().grants(&name);
    let server = (0..STREAMS).fold(server, |server, group| {
        server.publishes(&name, (group, 0), &objects)
    });
    let server = until_held_up(server)
        .asks_and_hears(status("go on"), "ok")
        .ends(&name, DoneCode::TrackEnded)
        .until_closed();
    let streams: Vec<String> = (0..STREAMS)
        .map(|group| stream_name(&name, group, 0))
        .collect();
    let client = Actor::new()
        .does(|mind, _| {
            mind.pausing = true;
            Ok(())
        })
        .asks_and_hears(subscribe_all("v"), "ok")
        .until(&status_of("go on"), "asked");
    let client = streams.iter().fold(client, |client, stream| {
        // One read may have brought the first with the stream's header.
        client.never(stream, "object 1 ")
    });
    let client = client
        .does(move |mind, stage| {
            mind.pausing = false;
            for stream in &streams {
                if let Some(stream) = mind.log.stream(stream) {
                    mind.session(stage)?.resume_stream(stream);
                }
            }
            Ok(())
        })
        .agrees(&status_of("go on"));
    let client = (0..STREAMS).fold(client, |client, group| {
        client.until(&stream_name(&name, group, 0), "ends: Fin")
    });
    let client = client
        .until(&name, "is done: TRACK_ENDED")
        .until(&name, "settled");
    Cast::pair(case, server, client)
}

/// Publishes three streams, and reads as many.
fn both_ways(role: Role) -> Actor {
    let (ours, theirs) = match role {
        Role::Client => ("client's", "server's"),
        Role::Server => ("server's", "client's"),
    };
    let (mine, wanted) = (sub(ours), sub(theirs));
    let actor = Actor::new().asks(subscribe_all(theirs)).grants(&mine);
    let actor = (0..3).fold(actor, |actor, group| {
        actor.publishes(&mine, (group, 0), &[(0, 100_000), (1, 1), (2, 50_000)])
    });
    let actor = (0..3).fold(actor, |actor, group| {
        actor.until(&stream_name(&wanted, group, 0), "ends: Fin")
    });
    actor
        .ends(&mine, DoneCode::TrackEnded)
        .until(&wanted, "is done: TRACK_ENDED")
        .until(&wanted, "settled")
}

pub(super) fn small_windows(case: &Case) -> Cast {
    let name = status_of("the end");
    let server = both_ways(Role::Server).agrees(&name).until_closed();
    let client = both_ways(Role::Client).asks_and_hears(status("the end"), "ok");
    Cast::pair(case, server, client)
}
