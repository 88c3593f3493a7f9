//! Where the date can be had: at this program's own port, or at a relay that it publishes into.

use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::code::RequestCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::fanout::TrackId;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::session::{Refusal, Request, Response};
use oxymoq_core::time::Time;
use oxymoq_core::transport::ConnectionId;
use oxymoq_core::wire::id::RequestId;
use oxymoq_core::wire::message::{GoAway, PublishNamespace};
use oxymoq_core::wire::name::{FullTrackName, TrackNamespace};
use oxymoq_core::wire::param::Parameters;

use crate::client::Server;

/// Where the date can be had.
#[derive(Debug)]
pub(super) enum Place {
    /// Here.
    Server {
        /// What clients may speak.
        drafts: Vec<Draft>,
        /// What they ask for.
        path: Bytes,
    },
    /// At a relay.
    Relay(Box<Relay>),
}

/// The relay that is published into.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Where it is.
    server: Server,
    /// The namespace to announce.
    namespace: TrackNamespace,
    /// How long it may take to answer.
    patience: Duration,
    /// Whether the track is also offered to it, with PUBLISH.
    offer: bool,
    /// The requests that it has not answered, and when it should have.
    asked: Asked,
}

/// What a relay was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    announcement: Option<RequestId>,
    offer: Option<RequestId>,
    unanswered: usize,
    give_up: Option<Time>,
}

impl Relay {
    /// A relay at `server`, where `namespace` is to be announced.
    pub fn new(server: Server, namespace: TrackNamespace, patience: Duration, offer: bool) -> Self {
        Self {
            server,
            namespace,
            patience,
            offer,
            asked: Asked::default(),
        }
    }

    /// Where it is.
    pub(super) const fn server(&self) -> &Server {
        &self.server
    }

    /// The namespace to announce.
    pub(super) const fn namespace(&self) -> &TrackNamespace {
        &self.namespace
    }

    /// Announces the namespace, and offers the track if told so.
    ///
    /// # Errors
    /// A sentence for the user.
    pub(super) fn introduce(
        &mut self,
        now: Time,
        connection: ConnectionId,
        publisher: &mut Publisher,
        track: TrackId,
        name: &FullTrackName,
    ) -> Result<(), String> {
        let request = Request::PublishNamespace(PublishNamespace {
            request_id: RequestId(0),
            namespace: self.namespace.clone(),
            parameters: Parameters::default(),
        });
        let Some(session) = publisher.peers.session(connection) else {
            return Ok(());
        };
        let announcement = session
            .request(now, request)
            .map_err(|misuse| format!("cannot announce the namespace: {misuse}"))?;
        self.asked.announcement = Some(announcement);
        self.asked.unanswered = 1;
        if self.offer {
            let offer = publisher
                .offer(now, connection, track, name, true)
                .map_err(|misuse| format!("cannot publish the track: {misuse}"))?;
            self.asked.offer = Some(offer);
            self.asked.unanswered += 1;
        }
        self.asked.give_up = Some(now + self.patience);
        Ok(())
    }

    /// The relay answered one of the two.
    ///
    /// # Errors
    /// A sentence for the user, if it refused what the program cannot do without.
    pub(super) fn answered(
        &mut self,
        request: RequestId,
        response: &Response,
    ) -> Result<(), String> {
        let url = self.server.url();
        let is_offer = self.asked.offer == Some(request);
        if !is_offer && self.asked.announcement != Some(request) {
            return Ok(());
        }
        self.asked.unanswered = self.asked.unanswered.saturating_sub(1);
        if self.asked.unanswered == 0 {
            self.asked.give_up = None;
        }
        let what = match is_offer {
            true => "track",
            false => "namespace",
        };
        let namespace = &self.namespace;
        match response {
            Response::Error(refusal) if is_offer && refusal.code == RequestCode::Uninterested => {
                log::info!("{url} does not want the track now; it subscribes when somebody does");
                Ok(())
            }
            Response::Error(refusal) => {
                let Refusal { code, reason, .. } = refusal;
                let reason = reason.escape_ascii();
                Err(format!(
                    "{url} refused the {what} {namespace}: {code} ({reason})"
                ))
            }
            Response::Ok(_) | Response::SubscribeOk(_) | Response::FetchOk(_) => {
                match is_offer {
                    true => log::info!("{url} takes the track of {namespace}"),
                    false => log::info!("{url} announces {namespace} from now on"),
                }
                Ok(())
            }
        }
    }

    /// When it should have answered.
    pub(super) const fn give_up(&self) -> Option<Time> {
        self.asked.give_up
    }

    /// The sentence for a relay that did not.
    pub(super) fn silent(&self) -> String {
        format!(
            "{} did not answer within {:?}; --relay_transaction_timeout allows more",
            self.server.url(),
            self.patience
        )
    }

    /// The sentence for a relay that ended one of the requests, if the program cannot go on without it.
    pub(super) fn withdrew(&self, request: RequestId) -> Option<String> {
        (self.asked.announcement == Some(request))
            .then(|| format!("{} withdrew the namespace; start again", self.server.url()))
    }

    /// The sentence for a relay that is going away.
    pub(super) fn leaves(&self, goaway: &GoAway) -> String {
        let url = self.server.url();
        if goaway.uri.is_empty() {
            format!("{url} is going away; start again when it is back")
        } else {
            let other = goaway.uri.escape_ascii();
            format!("{url} is going away; start again with {other}")
        }
    }
}
