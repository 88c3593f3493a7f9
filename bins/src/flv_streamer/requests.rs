//! What the relay asks for, and what it is offered.

use log::debug;
use oxymoq_core::code::RequestCode;
use oxymoq_core::fanout::TrackId;
use oxymoq_core::session::{Refusal, Request, Response};
use oxymoq_core::time::Time;
use oxymoq_core::transport::ConnectionId;
use oxymoq_core::wire::id::RequestId;
use oxymoq_core::wire::message::{
    Fetch, FetchRange, Interest, RequestOk, SubscribeTracks, TrackStatus,
};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::param::Parameters;

use super::Streamer;

/// Why a request is refused, and the words for it.
type Refused = (RequestCode, &'static str);

impl Streamer {
    /// Tells the relay that was connected to what there is.
    pub(super) fn introduce(&mut self, now: Time, connection: ConnectionId) -> Result<(), String> {
        let peers = &mut self.publisher.peers;
        let is_relay = self.link.established(now, connection, peers)?;
        if is_relay && self.job.offer {
            self.offer_all(now, connection, true);
        }
        Ok(())
    }

    pub(super) fn handle_request(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: RequestId,
        request: Request,
    ) {
        let refuse = |code, reason| Response::Error(Refusal::new(code, reason));
        let response = match request {
            Request::Subscribe(subscribe) => match self.find(&subscribe.track) {
                Ok(track) => {
                    let parameters = &subscribe.parameters;
                    self.publisher.serve(now, connection, id, track, parameters);
                    return;
                }
                Err((code, reason)) => refuse(code, reason),
            },
            Request::Fetch(fetch) => match self.fetch(now, connection, id, &fetch) {
                Ok(()) => return,
                Err((code, reason)) => refuse(code, reason),
            },
            Request::TrackStatus(status) => match self.status_of(&status) {
                Ok(ok) => Response::Ok(ok),
                Err((code, reason)) => refuse(code, reason),
            },
            Request::SubscribeNamespace(request) => {
                self.tell_namespace(now, connection, id, &request.prefix);
                if request.interest != Interest::Namespaces {
                    self.offer_under(now, connection, &request.prefix, &request.parameters);
                }
                return;
            }
            Request::SubscribeTracks(SubscribeTracks {
                prefix, parameters, ..
            }) => {
                let ok = Response::Ok(RequestOk::default());
                self.publisher.respond(now, connection, id, ok);
                return self.offer_under(now, connection, &prefix, &parameters);
            }
            Request::Publish(_) | Request::PublishNamespace(_) => refuse(
                RequestCode::NotSupported,
                "the streamer takes no tracks; a relay does",
            ),
        };
        self.publisher.respond(now, connection, id, response);
    }

    /// The tracks and their names.
    fn tracks(&self) -> [(&TrackName, TrackId, bool); 3] {
        [
            (&self.video.name, self.video.id, self.video.is_over),
            (&self.audio.name, self.audio.id, self.audio.is_over),
            (&self.catalog.name, self.catalog.id, self.catalog.is_over),
        ]
    }

    fn find(&self, track: &FullTrackName) -> Result<TrackId, Refused> {
        if track.namespace != self.job.namespace {
            return Err((RequestCode::DoesNotExist, "no such namespace"));
        }
        let mut tracks = self.tracks().into_iter();
        match tracks.find(|(name, ..)| **name == track.name) {
            Some((_, id, false)) => Ok(id),
            Some((_, _, true)) => Err((
                RequestCode::DoesNotExist,
                "the track is over, or its codec is not supported",
            )),
            None => Err((RequestCode::DoesNotExist, "no such track")),
        }
    }

    fn status_of(&self, status: &TrackStatus) -> Result<RequestOk, Refused> {
        let track = self.find(&status.track)?;
        let fanout = &self.publisher.fanout;
        Ok(RequestOk {
            parameters: Parameters {
                largest_object: fanout.largest(track),
                ..Parameters::default()
            },
            properties: fanout.properties(track).cloned().unwrap_or_default(),
            ..RequestOk::default()
        })
    }

    /// Answers a FETCH: the last catalogs can be had.
    fn fetch(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: RequestId,
        fetch: &Fetch,
    ) -> Result<(), Refused> {
        let FetchRange::Standalone { track, start, end } = &fetch.range else {
            return Ok(()); // the session has made a range of every other FETCH
        };
        if self.find(track)? != self.catalog.id {
            let reason = "media of the past is not kept here; subscribe";
            return Err((RequestCode::InvalidRange, reason));
        }
        let order = fetch.parameters.group_order.unwrap_or_default();
        let publisher = &mut self.publisher;
        self.catalog
            .fetch(now, (connection, id), (*start, *end), order, publisher)
            .map_err(|reason| (RequestCode::InvalidRange, reason))
    }

    /// Tells a peer that asked about namespaces under `prefix` of ours.
    fn tell_namespace(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: RequestId,
        prefix: &TrackNamespace,
    ) {
        let ok = Response::Ok(RequestOk::default());
        self.publisher.respond(now, connection, id, ok);
        if let Some(suffix) = self.job.namespace.strip_prefix(prefix)
            && let Some(session) = self.publisher.peers.session(connection)
            && let Err(misuse) = session.namespace(now, id, &suffix)
        {
            debug!("{connection}: not told of the namespace: {misuse}");
        }
    }

    /// Offers the tracks to a peer that asked for those under `prefix`.
    fn offer_under(
        &mut self,
        now: Time,
        connection: ConnectionId,
        prefix: &TrackNamespace,
        parameters: &Parameters,
    ) {
        if self.job.namespace.strip_prefix(prefix).is_some() {
            self.offer_all(now, connection, parameters.forward.unwrap_or(true));
        }
    }

    fn offer_all(&mut self, now: Time, connection: ConnectionId, forward: bool) {
        let open = self.tracks().into_iter().filter(|(.., is_over)| !is_over);
        let named: Vec<(TrackName, TrackId)> =
            open.map(|(name, id, _)| (name.clone(), id)).collect();
        for (name, track) in named {
            let offered = FullTrackName::new(self.job.namespace.clone(), name)
                .map_err(|error| error.to_string())
                .and_then(|name| {
                    self.publisher
                        .offer(now, connection, track, &name, forward)
                        .map_err(|misuse| misuse.to_string())
                });
            if let Err(why) = offered {
                debug!("{connection}: a track is not offered: {why}");
            }
        }
    }
}
