//! Set-up: both sides learn draft, path and name; a request is refused; the client closes.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a scenario names the events that it is about; no other may come"
)]

use crate::code::RequestCode;
use crate::session::{Event, Refusal, Request, Response};
use crate::transport::{Closed, ConnectionId, Exit};
use crate::wire::id::RequestId;
use crate::wire::message::TrackStatus;
use crate::wire::param::Parameters;

use super::super::program::{Failure, Part};
use super::super::stage::Stage;
use super::{CLIENT, Case, PATH, ended_well, ensure, track};

const REASON: &str = "no such track";

pub(super) struct Server {
    case: Case,
    established: bool,
    refused: bool,
}

impl Server {
    pub(super) const fn new(case: Case) -> Self {
        Self {
            case,
            established: false,
            refused: false,
        }
    }
}

impl Part for Server {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        match event {
            Event::Established { draft, setup } => {
                ensure(draft == self.case.draft, || {
                    format!("the draft is {draft:?}")
                })?;
                let path = (!self.case.web_transport).then_some(PATH);
                ensure(setup.path == path, || format!("the client says {setup:?}"))?;
                let name = setup.implementation;
                ensure(name == Some(CLIENT), || format!("the client is {name:?}"))?;
                self.established = true;
            }
            Event::Request {
                id,
                request: Request::TrackStatus(status),
            } => {
                ensure(status.track == track("unknown"), || {
                    format!("asked for {status:?}")
                })?;
                let refusal = Refusal::new(RequestCode::DoesNotExist, REASON);
                let now = stage.now();
                let session = stage.session(connection)?;
                let answer = session.respond(now, id, Response::Error(refusal));
                answer.map_err(|misuse| misuse.to_string())?;
                self.refused = true;
            }
            Event::Closed(closed) => {
                ensure(matches!(closed, Closed::ByPeer { .. }), || {
                    closed.to_string()
                })?;
                ended_well(&closed)?;
                ensure(self.established && self.refused, || {
                    "closed too early".to_owned()
                })?;
                stage.exit(Exit::Success);
            }
            other => return Err(format!("unexpected: {other:?}")),
        }
        Ok(())
    }

    fn waits_for(&self) -> String {
        let (established, refused) = (self.established, self.refused);
        format!("a client that sets up ({established}), asks ({refused}) and closes")
    }
}

#[derive(Default)]
pub(super) struct Client {
    asked: Option<RequestId>,
}

impl Part for Client {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        match event {
            Event::Established { .. } => {
                let now = stage.now();
                let request = Request::TrackStatus(TrackStatus {
                    request_id: RequestId(0),
                    track: track("unknown"),
                    parameters: Parameters::default(),
                });
                let asked = stage.session(connection)?.request(now, request);
                self.asked = Some(asked.map_err(|misuse| misuse.to_string())?);
            }
            Event::Response {
                id,
                response: Response::Error(refusal),
            } => {
                ensure(self.asked == Some(id), || format!("an answer to {id:?}"))?;
                let expected = Refusal::new(RequestCode::DoesNotExist, REASON);
                ensure(refusal == expected, || format!("refused with {refusal:?}"))?;
                stage.exit(Exit::Success);
            }
            other => return Err(format!("unexpected: {other:?}")),
        }
        Ok(())
    }

    fn waits_for(&self) -> String {
        format!("the answer to {:?}", self.asked)
    }
}
