//! Namespaces and offers of tracks.

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::Draft;
use crate::session::{Request, Response};
use crate::wire::message::{Publish, RequestOk};
use crate::wire::name::TrackName;
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

use super::super::neutral::{request_name, stream_name};
use super::actor::{Actor, misused};
use super::case::{Case, Cast};
use super::requests::{
    ID, announce, forward, namespace, status, status_of, track_in, watch, watch_tracks,
};

/// Announces two namespaces: it withdraws the first, and the other side the second.
fn announces(actor: Actor, names: [&'static str; 3]) -> Actor {
    let [withdrawn, dropped, refused] = names;
    actor
        .asks_and_hears(announce(withdrawn), "ok")
        .asks_and_hears(announce(dropped), "ok")
        .asks_and_hears(announce(refused), "refused with UNINTERESTED")
        .until(&format!("announce {dropped}"), "was cancelled")
        .cancels(&format!("announce {withdrawn}"), ResetCode::Cancelled)
}

fn hears_announcements(actor: Actor, names: [&'static str; 3]) -> Actor {
    let [withdrawn, dropped, refused] = names.map(|name| format!("announce {name}"));
    actor
        .agrees(&withdrawn)
        .agrees(&dropped)
        .refuses(&refused, RequestCode::Uninterested)
        .cancels(&dropped, ResetCode::Cancelled)
        .until(&withdrawn, "was cancelled")
}

pub(super) fn publish_namespace(case: &Case) -> Cast {
    let (theirs, ours) = (["c/1", "c/2", "c/3"], ["s/1", "s/2/x", "s/3"]);
    let server = announces(hears_announcements(Actor::new(), theirs), ours)
        .agrees(&status_of("the end"))
        .until_closed();
    let client = hears_announcements(announces(Actor::new(), theirs), ours)
        .asks_and_hears(status("the end"), "ok");
    Cast::pair(case, server, client)
}

/// Tells the asker of a request that namespaces came, or went.
fn tells(actor: Actor, about: &'static str, suffix: &'static str, came: bool) -> Actor {
    actor.does(move |mind, stage| {
        let id = mind.id(&format!("watch {about}"))?;
        let (now, suffix) = (stage.now(), namespace(suffix));
        let session = mind.session(stage)?;
        let told = if came {
            session.namespace(now, id, &suffix)
        } else {
            session.namespace_done(now, id, &suffix)
        };
        told.map_err(misused)
    })
}

fn tells_namespaces(actor: Actor, prefix: &'static str) -> Actor {
    let name = format!("watch {prefix}");
    let actor = tells(actor.agrees(&name), prefix, "x", true);
    let actor = tells(actor, prefix, "y/z", true);
    tells(actor, prefix, "x", false).until(&name, "was cancelled")
}

fn watches(actor: Actor, prefix: &'static str) -> Actor {
    let name = format!("watch {prefix}");
    actor
        .asks_and_hears(watch(prefix), "ok")
        .until(&name, "x came")
        .until(&name, "y/z came")
        .until(&name, "x went")
        .cancels(&name, ResetCode::Cancelled)
}

pub(super) fn subscribe_namespace(case: &Case) -> Cast {
    let server = watches(tells_namespaces(Actor::new(), "of/server"), "of/client")
        .agrees(&status_of("the end"))
        .until_closed();
    let client = tells_namespaces(watches(Actor::new(), "of/server"), "of/client")
        .asks_and_hears(status("the end"), "ok");
    Cast::pair(case, server, client)
}

/// Offers a track in a namespace.
pub(super) fn offers_in(actor: Actor, fields: &'static str, name: &'static str) -> Actor {
    let called = offer_of(fields, name);
    actor.does(move |mind, stage| {
        let request = Request::Publish(Publish {
            request_id: ID,
            track: track_in(fields, name),
            track_alias: mind.alias(&called),
            parameters: Parameters::default(),
            properties: Properties::default(),
        });
        mind.ask(stage, &called, request).map(drop)
    })
}

/// What a PUBLISH is called.
pub(super) fn offer_of(fields: &'static str, name: &str) -> String {
    format!("publish {}", track_in(fields, name))
}

/// From draft 18 on a publisher can also tell that there is no stream for an offer.
pub(super) fn subscribe_tracks(case: &Case) -> Cast {
    let prefix = "of/server";
    let asked = request_name(&watch_tracks(case.draft, prefix));
    let offer = offer_of("of/server/live", "p");
    let server = offers_in(Actor::new().agrees(&asked), "of/server/live", "p")
        .until(&offer, "ok, forward true")
        .publishes(&offer, (0, 0), &[(0, 5), (1, 5_000)])
        .ends(&offer, DoneCode::TrackEnded);
    let mut client = Actor::new()
        .asks_and_hears(watch_tracks(case.draft, prefix), "ok")
        .answers(
            &offer,
            Response::Ok(RequestOk {
                parameters: forward(true),
                ..RequestOk::default()
            }),
        )
        .until(&stream_name(&offer, 0, 0), "ends: Fin")
        .until(&offer, "is done: TRACK_ENDED")
        .until(&offer, "settled");
    let server = match case.draft {
        Draft::D16 => server,
        Draft::D18 => {
            client = client.until(&asked, "live--q is blocked");
            let asked = asked.clone();
            server.does(move |mind, stage| {
                let (id, now) = (mind.id(&asked)?, stage.now());
                let name = TrackName::new("q").unwrap_or_default();
                let session = mind.session(stage)?;
                let blocked = session.publish_blocked(now, id, &namespace("live"), &name);
                blocked.map_err(misused)
            })
        }
    };
    let server = server
        .until(&asked, "was cancelled")
        .agrees(&status_of("the end"))
        .until_closed();
    let client = client
        .cancels(&asked, ResetCode::Cancelled)
        .asks_and_hears(status("the end"), "ok");
    Cast::pair(case, server, client)
}
