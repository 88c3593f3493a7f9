//! Streams and subscriptions that end before their time.

use crate::code::{DoneCode, ResetCode};
use crate::session::Role;

use super::super::neutral::{SESSION, is_fin, stream_name};
use super::actor::{Actor, BEGUN};
use super::case::{Case, Cast};
use super::requests::{status, status_of, sub, subscribe_all};

/// Codes that every draft has, one that none knows, and the largest that WebTransport carries.
const CODES: [ResetCode; 7] = [
    ResetCode::InternalError,
    ResetCode::Cancelled,
    ResetCode::DeliveryTimeout,
    ResetCode::SessionClosed,
    ResetCode::MalformedTrack,
    ResetCode::Unknown(0x77),
    ResetCode::Unknown(0xffff_fffe),
];

fn codes() -> impl Iterator<Item = (u64, ResetCode)> {
    (0..).zip(CODES)
}

/// Subscribes to the other side's track, and publishes one: a stream for each code that the other side stops with it, and
/// one that it resets with it as soon as the first is stopped.
fn both_ways(role: Role) -> Actor {
    let (ours, theirs) = match role {
        Role::Client => ("client's", "server's"),
        Role::Server => ("server's", "client's"),
    };
    let (mine, wanted) = (sub(ours), sub(theirs));
    let mut actor = Actor::new()
        .minds_stops()
        .asks(subscribe_all(theirs))
        .grants(&mine);
    for (group, _) in codes() {
        for subgroup in 0..2 {
            actor =
                actor
                    .opens(&mine, group, subgroup)
                    .sends(&mine, (group, subgroup), subgroup, 100);
        }
    }
    for (group, code) in codes() {
        actor = actor
            .until(&stream_name(&wanted, group, 0), "object 0 Normal")
            .until(&stream_name(&wanted, group, 1), "object 1 Normal")
            .stops(&wanted, group, 0, code);
    }
    for (group, code) in codes() {
        actor = actor
            .until(&stream_name(&mine, group, 0), &format!("stopped: {code}"))
            .resets(&mine, group, 1, code);
    }
    for (group, code) in codes() {
        actor = actor
            .until(&stream_name(&wanted, group, 0), "ends: Stopped")
            .until(
                &stream_name(&wanted, group, 1),
                &format!("ends: Reset({code:?})"),
            );
    }
    actor
}

pub(super) fn reset_and_stop(case: &Case) -> Cast {
    let name = status_of("the end");
    let server = both_ways(Role::Server).agrees(&name).until_closed();
    let client = both_ways(Role::Client).asks_and_hears(status("the end"), "ok");
    Cast::pair(case, server, client)
}

/// The client leaves one subscription; the server ends two: one with its stream open, one that it breaks off.
pub(super) fn unsubscribe(case: &Case) -> Cast {
    let [left, ended, broken] = ["left", "ended", "broken"].map(sub);
    let mut server = Actor::new();
    let mut client = Actor::new();
    for (track, name) in [("left", &left), ("ended", &ended), ("broken", &broken)] {
        server = server
            .grants(name)
            .opens(name, 0, 0)
            .sends(name, (0, 0), 0, 100);
        client = client
            .asks_and_hears(subscribe_all(track), "ok")
            .until(&stream_name(name, 0, 0), "object 0 Normal");
    }
    let server = server
        .until(&left, "was cancelled")
        .ends(&ended, DoneCode::TooFarBehind)
        .sends(&ended, (0, 0), 1, 100)
        .finishes(&ended, 0, 0)
        .agrees(&status_of("break"))
        .cancels(&broken, ResetCode::Cancelled)
        .until_closed();
    let client = client
        .cancels(&left, ResetCode::Cancelled)
        .until(&stream_name(&ended, 0, 0), "ends: Fin")
        .until(&ended, "is done: TOO_FAR_BEHIND")
        .until(&ended, "settled")
        .asks_and_hears(status("break"), "ok")
        .until(&stream_name(&broken, 0, 0), "ends: Reset")
        .until(&broken, "is done")
        .until(&broken, "settled");
    Cast::pair(case, server, client)
}

/// Fails if any stream of the peer's ended as if all of it had been received.
pub(super) fn never_fin(actor: Actor) -> Actor {
    actor.does(|mind, _| {
        let fin = mind.log.lines().iter().find(|line| is_fin(line));
        fin.map_or(Ok(()), |line| Err(format!("{} looks complete", line.about)))
    })
}

/// The server's program ends while streams are open, one of them within an object.
pub(super) fn cut_off(case: &Case) -> Cast {
    let name = sub("v");
    let server = Actor::new()
        .grants(&name)
        .opens(&name, 0, 0)
        .sends(&name, (0, 0), 0, 100)
        .opens(&name, 1, 0)
        .sends(&name, (1, 0), 0, 100)
        .begins(&name, (1, 0), 1)
        .until(&status_of("cut"), "asked");
    let client = Actor::new()
        .asks_and_hears(subscribe_all("v"), "ok")
        .until(&stream_name(&name, 0, 0), "object 0 Normal")
        .until(&stream_name(&name, 1, 0), "object 0 Normal")
        .until_payload(200 + BEGUN)
        .asks(status("cut"))
        .until(SESSION, "closed with 0x0");
    Cast::pair(case, server, never_fin(client))
}
