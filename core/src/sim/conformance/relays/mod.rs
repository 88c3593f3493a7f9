//! Scenarios in which actors meet at a relay.
//!
//! Publishers announce the namespace of the list; subscribers wait until they hear of it. A TRACK_STATUS of a track that
//! the relay does not know reaches the publisher, so that a subscriber can tell it when to go on.

pub(super) mod endings;
pub(super) mod live;
pub(super) mod past;

use crate::draft::Draft;

use super::super::network::Access;
use super::super::neutral::SESSION;
use super::actor::Actor;
use super::case::{Case, Cast, Listener, Member};
use super::requests::{announce, watch};

/// The namespace of the list.
const NAMESPACE: &str = "conformance";

/// An actor who has announced the namespace.
fn publisher() -> Actor {
    Actor::new().asks_and_hears(announce(NAMESPACE), "ok")
}

/// An actor who knows that there is a publisher.
fn subscriber() -> Actor {
    let name = format!("watch {NAMESPACE}");
    Actor::new()
        .asks_and_hears(watch(NAMESPACE), "ok")
        .until(&name, " came")
}

/// Waits until the relay shuts down, which it does when the subscribers have left.
fn until_shutdown(actor: Actor) -> Actor {
    actor.until(SESSION, "go away")
}

/// A publisher and subscribers; the last subscriber talks in the other draft, over what the others do not use.
fn cast<const N: usize>(
    case: &Case,
    publisher: Actor,
    subscribers: [(&'static str, Actor); N],
) -> Cast {
    let access = case.access();
    let other = Access {
        draft: *Draft::ALL
            .iter()
            .find(|draft| **draft != access.draft)
            .unwrap_or(&access.draft),
        web_transport: !access.web_transport,
    };
    let mut clients = vec![Member {
        name: "publisher",
        access,
        actor: until_shutdown(publisher),
    }];
    for (place, (name, actor)) in subscribers.into_iter().enumerate() {
        let access = if place > 0 && place + 1 == N {
            other
        } else {
            access
        };
        clients.push(Member {
            name,
            access,
            actor,
        });
    }
    Cast {
        server: Listener::Relay(N),
        clients,
    }
}
