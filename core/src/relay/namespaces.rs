//! Announcements of namespaces, and those who want to hear of them.

use log::debug;

use super::room::{Held, no_room_for_names};
use super::routes::{Notice, Origin};
use super::{Relay, overloaded};
use crate::session::Response;
use crate::time::Time;
use crate::wire::message::{Interest, PublishNamespace, RequestOk, SubscribeNamespace};

impl Relay {
    /// PUBLISH_NAMESPACE: from now on the peer is asked for tracks under the namespace.
    pub(super) fn announce(&mut self, now: Time, origin: Origin, request: &PublishNamespace) {
        if self.announcements.len() >= self.settings.limits.max_announcements {
            let refusal = overloaded("too many namespaces");
            return self.respond(now, origin, Response::Error(refusal));
        }
        let Some(room) = self.room_for(origin.connection, &request.namespace) else {
            return self.respond(now, origin, Response::Error(no_room_for_names()));
        };
        let who = self.describe(origin.connection);
        self.journal.info(
            now,
            Some(origin.connection),
            format_args!("{who} announces {}", request.namespace),
        );
        self.widen(origin.connection);
        let namespace = Held::new(request.namespace.clone(), room);
        self.announcements.insert(origin, namespace);
        self.respond(now, origin, Response::Ok(RequestOk::default()));
        let notices = self.routes.announce(&request.namespace, origin);
        self.notify(now, notices, true);
        self.ask_new_publisher(now, origin, &request.namespace);
    }

    /// The announcement is over: nobody is sent there any more. Subscriptions that run go on.
    pub(super) fn withdraw(&mut self, now: Time, origin: Origin) -> bool {
        let Some(Held {
            name: namespace, ..
        }) = self.announcements.remove(&origin)
        else {
            return false;
        };
        let who = self.describe(origin.connection);
        self.journal.info(
            now,
            Some(origin.connection),
            format_args!("{who} no longer announces {namespace}"),
        );
        let notices = self.routes.withdraw(&namespace, origin);
        self.notify(now, notices, false);
        true
    }

    /// SUBSCRIBE_NAMESPACE: the peer is told of namespaces under the prefix, those known already first.
    pub(super) fn watch(&mut self, now: Time, origin: Origin, request: &SubscribeNamespace) {
        // The session tells those for tracks only as SUBSCRIBE_TRACKS.
        let has_tracks = request.interest != Interest::Namespaces;
        let limits = &self.settings.limits;
        if self.watches.len() >= limits.max_watches
            || has_tracks && self.track_watches.len() >= limits.max_track_watches
        {
            let refusal = overloaded("too many prefixes");
            return self.respond(now, origin, Response::Error(refusal));
        }
        let Some(room) = self.room_for(origin.connection, &request.prefix) else {
            return self.respond(now, origin, Response::Error(no_room_for_names()));
        };
        // That of a draft which asks for both at once is held twice.
        let prefix = has_tracks.then(|| {
            let room = self.room_for(origin.connection, &request.prefix)?;
            Some(Held::new(request.prefix.clone(), room))
        });
        if let Some(None) = prefix {
            return self.respond(now, origin, Response::Error(no_room_for_names()));
        }
        self.respond(now, origin, Response::Ok(RequestOk::default()));
        self.start_watch(now, origin, Held::new(request.prefix.clone(), room));
        if let Some(prefix) = prefix.flatten() {
            self.start_track_watch(now, origin, prefix, &request.parameters);
        }
    }

    /// The peer wants to be told of namespaces under another prefix instead (§ Updating Namespace Subscriptions).
    pub(super) fn move_watch(&mut self, now: Time, origin: Origin, prefix: Held) {
        if let Some(old) = self.watches.remove(&origin) {
            self.routes.unwatch(&old.name, origin);
        }
        self.start_watch(now, origin, prefix);
    }

    fn start_watch(&mut self, now: Time, origin: Origin, prefix: Held) {
        let known = self.routes.watch(&prefix.name, origin);
        self.watches.insert(origin, prefix);
        let notices = known
            .into_iter()
            .map(|suffix| Notice { to: origin, suffix })
            .collect();
        self.notify(now, notices, true);
    }

    /// The peer does not want to be told any more.
    pub(super) fn unwatch(&mut self, origin: Origin) -> bool {
        let wanted_tracks = self.unwatch_tracks(origin);
        let Some(prefix) = self.watches.remove(&origin) else {
            return wanted_tracks;
        };
        self.routes.unwatch(&prefix.name, origin);
        true
    }

    /// Tells peers of namespaces that came (`appeared`) or went.
    pub(super) fn notify(&mut self, now: Time, notices: Vec<Notice>, appeared: bool) {
        for Notice { to, suffix } in notices {
            let Some(session) = self.publisher.peers.session(to.connection) else {
                continue;
            };
            let told = if appeared {
                session.namespace(now, to.request, &suffix)
            } else {
                session.namespace_done(now, to.request, &suffix)
            };
            if let Err(misuse) = told {
                debug!("{}: not told of a namespace: {misuse}", to.connection);
            }
            let prefix = self.watches.get(&to).filter(|_| appeared);
            if let Some(Ok(namespace)) = prefix.map(|prefix| prefix.name.join(&suffix)) {
                self.told(now, to.connection, &namespace);
            }
        }
    }
}
