//! Beginnings and ends of sessions, refusals, and credit for requests.

use bytes::Bytes;

use crate::code::{DoneCode, RequestCode, SessionCode};
use crate::draft::Draft;
use crate::session::{Misuse, Refusal, Request, Response, Role};
use crate::wire::id::Millis;
use crate::wire::message::{GoAway, Publish, Redirect, RequestOk, Retry};
use crate::wire::param::{GroupOrder, Parameters};
use crate::wire::property::Properties;

use super::super::neutral::{SESSION, request_name};
use super::actor::{Actor, misused};
use super::case::{Case, Cast};
use super::requests::{
    ID, announce, fetch, status, status_of, sub, subscribe_all, track, watch, watch_tracks,
};

// Rules: B159
pub(super) fn set_up(case: &Case) -> Cast {
    let path = if case.web_transport {
        "None"
    } else {
        "Some(\"/conformance\")"
    };
    let draft = case.draft.number();
    let line = format!("established in draft {draft}, path {path}, by Some(\"client\")");
    let server = Actor::new()
        .until(SESSION, &line)
        .refuses(&status_of("unknown"), RequestCode::DoesNotExist)
        .until_closed();
    let line = format!("established in draft {draft}, path None, by None");
    let answer = "refused with DOES_NOT_EXIST: as the scenario says, retry Never";
    let client = Actor::new()
        .until(SESSION, &line)
        .asks_and_hears(status("unknown"), answer);
    Cast::pair(case, server, client)
}

/// A request of every kind from this side, with the code with which it is refused.
fn every_kind(draft: Draft, from: Role) -> Vec<(Request, RequestCode)> {
    let (name, fields) = match from {
        Role::Client => ("c", "client/a"),
        Role::Server => ("s", "server/a"),
    };
    let publish = Request::Publish(Publish {
        request_id: ID,
        track: track(&format!("{name} publishes")),
        track_alias: crate::wire::id::TrackAlias(1),
        parameters: Parameters::default(),
        properties: Properties::default(),
    });
    let past = fetch(name, (0, 0), (1, 0), GroupOrder::Ascending);
    vec![
        (subscribe_all(name), RequestCode::Unauthorized),
        (publish, RequestCode::Uninterested),
        (past, RequestCode::InvalidRange),
        (status(name), RequestCode::InternalError),
        (announce(fields), RequestCode::NotSupported),
        (watch(fields), RequestCode::Timeout),
        (
            watch_tracks(draft, "other/b"),
            RequestCode::MalformedAuthToken,
        ),
    ]
}

fn asks_everything(mut actor: Actor, draft: Draft, from: Role) -> Actor {
    for (request, code) in every_kind(draft, from) {
        actor = actor.asks_and_hears(request, &format!("refused with {code}: "));
    }
    actor
}

fn refuses_everything(mut actor: Actor, draft: Draft, from: Role) -> Actor {
    for (request, code) in every_kind(draft, from) {
        actor = actor.refuses(&request_name(&request), code);
    }
    actor
}

/// The last two are about trying again, later or elsewhere.
pub(super) fn refusals(case: &Case) -> Cast {
    let draft = case.draft;
    let later = Refusal {
        retry: Retry::After(Millis(1500)),
        ..Refusal::new(RequestCode::InternalError, "later")
    };
    let elsewhere = Refusal {
        redirect: Some(Redirect {
            uri: Bytes::new(),
            track: track("better"),
        }),
        ..Refusal::new(RequestCode::Redirect, "elsewhere")
    };
    let server = refuses_everything(Actor::new(), draft, Role::Client);
    let server = asks_everything(server, draft, Role::Server)
        .answers(&sub("later"), Response::Error(later))
        .answers(&sub("elsewhere"), Response::Error(elsewhere))
        .until_closed();
    let (at_once, moved) = match draft {
        Draft::D16 => ("retry After(Millis(1500))", "refused with DOES_NOT_EXIST"),
        Draft::D18 => ("retry After(Millis(1500))", "refused with REDIRECT"),
    };
    let client = asks_everything(Actor::new(), draft, Role::Client);
    let client = refuses_everything(client, draft, Role::Server)
        .asks_and_hears(
            subscribe_all("later"),
            &format!("refused with INTERNAL_ERROR: later, {at_once}"),
        )
        .asks_and_hears(subscribe_all("elsewhere"), moved);
    Cast::pair(case, server, client)
}

pub(super) fn client_closes(case: &Case) -> Cast {
    let server = Actor::new()
        .agrees(&status_of("v"))
        .until(SESSION, "closed with 0x2");
    let client = Actor::new()
        .asks_and_hears(status("v"), "ok")
        .closes(SessionCode::Unauthorized);
    Cast::pair(case, server, client)
}

pub(super) fn server_closes(case: &Case) -> Cast {
    let server = Actor::new()
        .until(&status_of("v"), "asked")
        .closes(SessionCode::DataStreamTimeout);
    let client = Actor::new()
        .asks(status("v"))
        .until(SESSION, "closed with 0x12");
    Cast::pair(case, server, client)
}

/// Tells the other side to go away, and where to.
fn goes_away(actor: Actor, uri: &'static str) -> Actor {
    actor.does(move |mind, stage| {
        let goaway = GoAway {
            uri: Bytes::from_static(uri.as_bytes()),
            ..GoAway::default()
        };
        let now = stage.now();
        let session = mind.session(stage)?;
        session.go_away(now, None, goaway).map_err(misused)
    })
}

/// Only its receiver is bound by a GOAWAY: it must not ask for anything more.
pub(super) fn go_away(case: &Case) -> Cast {
    let name = sub("v");
    let server = Actor::new()
        .grants(&name)
        .publishes(&name, (0, 0), &[(0, 10)]);
    let server = goes_away(server, "https://elsewhere.example/").until(SESSION, "go away");
    let server = server
        .publishes(&name, (1, 0), &[(0, 10), (1, 2000)])
        .ends(&name, DoneCode::GoingAway)
        .until_closed();
    let client = Actor::new()
        .asks_and_hears(subscribe_all("v"), "ok")
        .until(SESSION, "go away to https://elsewhere.example/")
        .does(|mind, stage| {
            let now = stage.now();
            let asked = mind.session(stage)?.request(now, status("v"));
            match asked {
                Err(Misuse::GoingAway) => Ok(()),
                other => Err(format!("a request after GOAWAY: {other:?}")),
            }
        });
    let client = goes_away(client, "")
        .until(&name, "is done: GOING_AWAY")
        .until(&name, "settled");
    Cast::pair(case, server, client)
}

pub(super) fn silence(case: &Case) -> Cast {
    let server = Actor::new().until(SESSION, "timed out");
    let client = Actor::new().until(SESSION, "timed out");
    Cast::pair(case, server, client)
}

/// How many requests are made: more than draft 16 gives credit for, and than any transport has streams for.
const REQUESTS: usize = 1200;
/// So many may be open at once at least: the server answers none before it has them.
const AT_ONCE: usize = 100;

/// The client asks for as much as it can. It is blocked by the credit of draft 16, or by the number of streams.
pub(super) fn request_credit(case: &Case) -> Cast {
    let name = |number: usize| format!("n{number}");
    let mut answered = 0;
    let server = Actor::new()
        .until(&status_of(&name(AT_ONCE - 1)), "asked")
        .step("all requests", move |mind, stage| {
            while answered < REQUESTS {
                let ok = Response::Ok(RequestOk::default());
                if !mind.answer(stage, &status_of(&name(answered)), ok)? {
                    return Ok(false);
                }
                answered += 1;
            }
            Ok(true)
        })
        .until_closed();
    // The transport's streams are a limit too, but requests wait for them unseen.
    let mut blocked = case.draft != Draft::D16;
    let (mut asked, mut heard, mut seen) = (0, 0, 0);
    let client = Actor::new().step("all answers", move |mind, stage| {
        while asked < REQUESTS {
            let request = status(&name(asked));
            let now = stage.now();
            match mind.session(stage)?.request(now, request) {
                Ok(id) => mind.log.asked(id, &status_of(&name(asked))),
                Err(Misuse::Blocked) => {
                    blocked = true;
                    break;
                }
                Err(misuse) => return Err(misuse.to_string()),
            }
            asked += 1;
        }
        let lines = mind.log.lines();
        let new = lines.get(seen..).unwrap_or_default().iter();
        heard += new.filter(|line| line.text.starts_with("ok")).count();
        seen = lines.len();
        if heard == REQUESTS && !blocked {
            return Err("there was credit for everything".to_owned());
        }
        Ok(heard == REQUESTS)
    });
    Cast::pair(case, server, client)
}
