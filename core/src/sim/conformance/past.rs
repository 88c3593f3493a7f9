//! Objects of the past, and what is known of tracks.

use crate::code::{RequestCode, ResetCode};
use crate::session::{Request, Response};
use crate::wire::id::{Location, SubgroupId};
use crate::wire::message::{Fetch, FetchOk, FetchRange, RequestOk};
use crate::wire::object::{FetchEntry, FetchObject};
use crate::wire::param::{Filter, GroupOrder, Parameters};
use crate::wire::property::Properties;

use super::super::neutral::objects_of;
use super::actor::{Actor, misused};
use super::case::{Case, Cast};
use super::content::payload;
use super::requests::{ID, fetch, fetch_of, filtered, largest, ordered, status, status_of, sub};

/// What stands on the stream of a FETCH.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    Object(u64, u64, usize),
    Nothing(u64, u64),
    Unknown(u64, u64),
}

/// How the stream of a FETCH ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Fin,
    /// It does not end.
    Open,
}

/// Waits for a FETCH of this name and grants it.
pub(super) fn grants_fetch(actor: Actor, name: &str, end: (u64, u64), whole: bool) -> Actor {
    let ok = FetchOk {
        request_id: None,
        end_of_track: whole,
        end: Location::new(end.0, end.1),
        parameters: Parameters::default(),
        properties: Properties::default(),
    };
    actor.answers(name, Response::FetchOk(ok))
}

/// Sends these entries on the stream of a granted FETCH.
pub(super) fn serves(
    actor: Actor,
    name: &str,
    order: GroupOrder,
    entries: &[Entry],
    end: End,
) -> Actor {
    let (name, entries) = (name.to_owned(), entries.to_vec());
    actor.does(move |mind, stage| {
        let (connection, id) = (mind.connection()?, mind.id(&name)?);
        let opened = stage.open_fetch(connection, id, order);
        let mut stream = opened.map_err(misused)?;
        for entry in &entries {
            let (entry, payload) = entry.encode();
            let sent = stage.fetched(&mut stream, &entry, payload);
            sent.map_err(misused)?;
        }
        match end {
            End::Fin => stage.finish_stream(connection, stream.stream()),
            End::Open => drop(mind.fetches.insert(name.clone(), stream)),
        }
        Ok(())
    })
}

impl Entry {
    fn encode(self) -> (FetchEntry, bytes::Bytes) {
        match self {
            Self::Object(group, object, length) => {
                let entry = FetchEntry::Object(FetchObject {
                    location: Location::new(group, object),
                    subgroup: Some(SubgroupId(0)),
                    priority: 90,
                    properties: Properties::default(),
                    payload_length: u64::try_from(length).unwrap_or(0),
                });
                (entry, payload(group, object, length))
            }
            Self::Nothing(group, object) => {
                let last = Location::new(group, object);
                (FetchEntry::NonExistent(last), bytes::Bytes::new())
            }
            Self::Unknown(group, object) => {
                let last = Location::new(group, object);
                (FetchEntry::Unknown(last), bytes::Bytes::new())
            }
        }
    }
}

const UP: GroupOrder = GroupOrder::Ascending;
const DOWN: GroupOrder = GroupOrder::Descending;

pub(super) fn ranges(case: &Case) -> Cast {
    let name = |track: &str| fetch_of(track);
    let up = [
        Entry::Object(1, 2, 100),
        Entry::Object(1, 3, 0),
        Entry::Nothing(1, 9),
        Entry::Object(2, 0, 70_000),
        Entry::Unknown(4, 0),
        Entry::Object(4, 1, 3),
    ];
    let down = [
        Entry::Object(4, 1, 3),
        Entry::Object(2, 0, 300),
        Entry::Object(2, 1, 300),
        Entry::Object(1, 2, 100),
    ];
    let server = grants_fetch(Actor::new(), &name("up"), (4, 2), true);
    let server = serves(server, &name("up"), UP, &up, End::Fin);
    let server = grants_fetch(server, &name("down"), (4, 2), false);
    let server = serves(server, &name("down"), DOWN, &down, End::Fin);
    let server = grants_fetch(server, &name("none"), (0, 1), false);
    let server = serves(server, &name("none"), UP, &[], End::Fin);
    let server = server.refuses(&name("refused"), RequestCode::InvalidRange);
    let server = grants_fetch(server, &name("broken"), (4, 2), false);
    let server = serves(server, &name("broken"), UP, &up[..1], End::Open)
        .agrees(&status_of("break"))
        .does(|mind, stage| {
            let stream = mind.fetches.remove(&fetch_of("broken"));
            let stream = stream.ok_or("not open")?.stream();
            let now = stage.now();
            let session = mind.session(stage)?;
            session.reset_stream(now, stream, ResetCode::UnknownObjectStatus);
            Ok(())
        });
    let server = grants_fetch(server, &name("withdrawn"), (4, 2), false);
    let server = serves(server, &name("withdrawn"), UP, &up[..1], End::Open)
        .until(&name("withdrawn"), "was withdrawn")
        .agrees(&status_of("the end"))
        .until_closed();
    let ask = |track: &'static str, order| fetch(track, (1, 2), (4, 2), order);
    let client = Actor::new()
        .asks_and_hears(ask("up", UP), "ok, up to {4, 2}, end of track: true")
        .until(
            &objects_of(&name("up")),
            "{2, 0} of Some(0), priority 90, [], 70000 bytes",
        )
        .until(&objects_of(&name("up")), "unknown up to {4, 0}")
        .until(&objects_of(&name("up")), "ends: Fin")
        .asks_and_hears(ask("down", DOWN), "ok, up to {4, 2}, end of track: false")
        .until(&objects_of(&name("down")), "ends: Fin")
        .asks_and_hears(fetch("none", (0, 0), (0, 1), UP), "ok")
        .until(&objects_of(&name("none")), "ends: Fin")
        .asks_and_hears(ask("refused", UP), "refused with INVALID_RANGE")
        .asks_and_hears(ask("broken", UP), "ok")
        .until(&objects_of(&name("broken")), "{1, 2}")
        .asks_and_hears(status("break"), "ok")
        .until(
            &objects_of(&name("broken")),
            "ends: Reset(UnknownObjectStatus)",
        )
        .asks_and_hears(ask("withdrawn", UP), "ok")
        .until(&objects_of(&name("withdrawn")), "{1, 2}")
        .cancels(&name("withdrawn"), ResetCode::Cancelled)
        .asks_and_hears(status("the end"), "ok");
    Cast::pair(case, server, client)
}

/// Joins a subscription; the peer sees a FETCH of the track.
pub(super) fn joins(
    actor: Actor,
    track: &str,
    relatively: bool,
    start: u64,
    order: GroupOrder,
) -> Actor {
    let (subscription, name) = (sub(track), fetch_of(track));
    actor.does(move |mind, stage| {
        let joining_request_id = mind.id(&subscription)?;
        let range = if relatively {
            FetchRange::RelativeJoining {
                joining_request_id,
                joining_start: start,
            }
        } else {
            FetchRange::AbsoluteJoining {
                joining_request_id,
                joining_start: start,
            }
        };
        let request = Request::Fetch(Fetch {
            request_id: ID,
            range,
            parameters: ordered(order),
        });
        mind.ask(stage, &name, request).map(drop)
    })
}

/// A subscription starts after `{5, 1}`; the past up to there is fetched in four ways.
pub(super) fn joining(case: &Case) -> Cast {
    let ways = [
        ("ru", true, 2, UP),
        ("rd", true, 1, DOWN),
        ("au", false, 4, UP),
        ("ad", false, 3, DOWN),
    ];
    let (mut server, mut client) = (Actor::new(), Actor::new());
    for (track, relatively, start, order) in ways {
        let name = fetch_of(track);
        let first = if relatively { 5 - start } else { start };
        let mut entries: Vec<Entry> = (first..5)
            .map(|group| Entry::Object(group, 0, 500))
            .collect();
        let now = [Entry::Object(5, 0, 20), Entry::Object(5, 1, 20)];
        match order {
            GroupOrder::Ascending => entries.extend(now),
            GroupOrder::Descending => {
                entries.reverse();
                entries.splice(0..0, now);
            }
        }
        server = server
            .grants_with(&sub(track), largest(5, 1))
            .until(&name, &format!("asked: {{{first}, 0}} to {{5, 2}}"));
        server = grants_fetch(server, &name, (5, 2), false);
        server = serves(server, &name, order, &entries, End::Fin);
        client = client.asks_and_hears(filtered(track, Filter::LargestObject), "ok");
        client = joins(client, track, relatively, start, order)
            .until(&name, "ok, up to {5, 2}")
            .until(&objects_of(&name), "ends: Fin");
    }
    Cast::pair(case, server.until_closed(), client)
}

pub(super) fn track_status(case: &Case) -> Cast {
    let known = |group| {
        Response::Ok(RequestOk {
            parameters: largest(group, 3),
            ..RequestOk::default()
        })
    };
    let server = Actor::new()
        .answers(&status_of("a"), known(7))
        .refuses(&status_of("b"), RequestCode::DoesNotExist)
        .asks_and_hears(status("c"), "ok, forward true, largest {8, 3}")
        .asks_and_hears(status("d"), "refused with TIMEOUT")
        .agrees(&status_of("the end"))
        .until_closed();
    let client = Actor::new()
        .asks_and_hears(status("a"), "ok, forward true, largest {7, 3}")
        .asks_and_hears(status("b"), "refused with DOES_NOT_EXIST")
        .answers(&status_of("c"), known(8))
        .refuses(&status_of("d"), RequestCode::Timeout)
        .asks_and_hears(status("the end"), "ok");
    Cast::pair(case, server, client)
}
