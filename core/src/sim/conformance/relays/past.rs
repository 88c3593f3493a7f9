//! The past, namespaces and requests for what is not there, through a relay.

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::session::Response;
use crate::wire::message::RequestOk;
use crate::wire::param::{Filter, GroupOrder};

use super::super::super::neutral::{objects_of, stream_name};
use super::super::case::{Case, Cast};
use super::super::past::{End, Entry, grants_fetch, joins, serves};
use super::super::requests::{
    announce, fetch as fetch_range, fetch_of, filtered, largest, status, status_of, sub,
    subscribe_all, watch,
};
use super::{cast, publisher, subscriber};

const UP: GroupOrder = GroupOrder::Ascending;
const DOWN: GroupOrder = GroupOrder::Descending;

/// What was live while somebody listened comes from the relay, everything else from the publisher.
pub(in super::super) fn fetch(case: &Case) -> Cast {
    let (name, past) = (sub("v"), fetch_of("w"));
    let source = publisher().grants(&name).agrees(&status_of("ready"));
    let source = (0..3).fold(source, |source, group| source.publishes_group(&name, group));
    let source = grants_fetch(source, &past, (1, 1), true);
    let entries = [
        Entry::Object(0, 0, 10),
        Entry::Object(0, 1, 20_000),
        Entry::Object(1, 0, 3),
    ];
    let source = serves(source, &past, UP, &entries, End::Fin)
        .refuses(&fetch_of("nothing"), RequestCode::DoesNotExist)
        .ends(&name, DoneCode::TrackEnded);
    let reader = subscriber()
        .asks_and_hears(filtered("v", Filter::LargestObject), "ok")
        .asks_and_hears(status("ready"), "ok")
        .until(&stream_name(&name, 0, 0), "ends: Fin")
        .until(&stream_name(&name, 1, 0), "ends: Fin")
        .until(&stream_name(&name, 2, 0), "ends: Fin");
    let again = fetch_of("v");
    let reader = reader
        .asks_and_hears(fetch_range("v", (0, 1), (2, 2), UP), "ok")
        .until(&objects_of(&again), "ends: Fin")
        .asks_and_hears(fetch_range("v", (0, 0), (1, 0), DOWN), "ok")
        .until_count(2, &objects_of(&again), "ends: Fin")
        .asks_and_hears(fetch_range("w", (0, 0), (1, 1), UP), "ok")
        .until(&objects_of(&past), "ends: Fin")
        .asks_and_hears(
            fetch_range("nothing", (0, 0), (1, 1), UP),
            "refused with DOES_NOT_EXIST",
        )
        .until(&name, "is done: TRACK_ENDED")
        .until(&name, "settled");
    cast(case, source, [("one", reader)])
}

/// A second subscriber joins later, with what was there before.
pub(in super::super) fn join(case: &Case) -> Cast {
    let name = sub("v");
    let source = publisher().grants(&name).agrees(&status_of("one ready"));
    let source = (0..3).fold(source, |source, group| source.publishes_group(&name, group));
    let source = source
        .agrees(&status_of("one has it"))
        .asks_and_hears(announce("later"), "ok")
        .agrees(&status_of("other has it"))
        .publishes(&name, (3, 0), &[(0, 50)])
        .ends(&name, DoneCode::TrackEnded);
    let one = subscriber()
        .asks_and_hears(subscribe_all("v"), "ok")
        .asks_and_hears(status("one ready"), "ok")
        .until(&stream_name(&name, 0, 0), "ends: Fin")
        .until(&stream_name(&name, 1, 0), "ends: Fin")
        .until(&stream_name(&name, 2, 0), "ends: Fin")
        .asks_and_hears(status("one has it"), "ok")
        .until(&name, "is done: TRACK_ENDED")
        .until(&name, "settled");
    let join = fetch_of("v");
    let other = subscriber()
        .asks_and_hears(watch("later"), "ok")
        .until("watch later", " came")
        .asks_and_hears(filtered("v", Filter::LargestObject), "ok");
    let other = joins(other, "v", true, 1, UP)
        .until(&join, "ok, up to {2, ")
        .until(&objects_of(&join), "ends: Fin");
    let other = joins(other, "v", false, 0, DOWN)
        .until_count(2, &join, "ok, up to {2, ")
        .until_count(2, &objects_of(&join), "ends: Fin")
        .asks_and_hears(status("other has it"), "ok")
        .until(&stream_name(&name, 3, 0), "ends: Fin")
        .until(&name, "is done: TRACK_ENDED")
        .until(&name, "settled");
    cast(case, source, [("one", one), ("other", other)])
}

/// What the publisher answers reaches the subscriber, and so does the end of an announcement.
pub(in super::super) fn namespaces(case: &Case) -> Cast {
    let known = Response::Ok(RequestOk {
        parameters: largest(7, 3),
        ..RequestOk::default()
    });
    let source = publisher()
        .answers(&status_of("known"), known)
        .refuses(&status_of("unknown"), RequestCode::DoesNotExist)
        .refuses(&sub("secret"), RequestCode::Unauthorized)
        .asks_and_hears(announce("show/b"), "ok")
        .agrees(&status_of("seen"))
        .cancels("announce show/b", ResetCode::Cancelled);
    let reader = subscriber()
        .asks_and_hears(watch("show"), "ok")
        .asks_and_hears(status("known"), "ok, forward true, largest {7, 3}")
        .asks_and_hears(status("unknown"), "refused with DOES_NOT_EXIST")
        .asks_and_hears(subscribe_all("secret"), "refused with UNAUTHORIZED")
        .until("watch show", "b came")
        .asks_and_hears(status("seen"), "ok")
        .until("watch show", "b went")
        .cancels("watch show", ResetCode::Cancelled);
    cast(case, source, [("one", reader)])
}
