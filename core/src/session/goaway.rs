//! GOAWAY, for the session and for single requests, told and heard (§ GOAWAY, § Migration).

use std::time::Duration;

use super::Session;
use super::close::{Close, Misuse};
use super::event::Event;
use super::request::{Side, Stage};
use super::timer::Timer;
use crate::code::{ResetCode, SessionCode};
use crate::draft::GoAwayForm;
use crate::time::Time;
use crate::transport::Closed;
use crate::wire::NotExpressible;
use crate::wire::id::{Millis, RequestId};
use crate::wire::message::{GoAway, Message};

impl Session {
    /// Asks the peer to leave, or with `id` to move one request elsewhere.
    ///
    /// The request id inside `goaway` is filled in. After its timeout, if there is one, the session is closed
    /// (GOAWAY_TIMEOUT if requests are still open), or the one request is reset; this is so in draft 16 too, though it
    /// has no way to tell the peer the timeout.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] if it was said before, or for a SUBSCRIBE_NAMESPACE or SUBSCRIBE_TRACKS of the peer's that is
    /// not answered yet; [`Misuse::NotExpressible`] for a single request in draft 16, for a
    /// client that names a URI, and for a URI of more than 8192 bytes.
    pub fn go_away(
        &mut self,
        now: Time,
        id: Option<RequestId>,
        goaway: GoAway,
    ) -> Result<(), Misuse> {
        self.at(now);
        self.check_open()?;
        let timeout = goaway.timeout;
        let mut goaway = goaway;
        goaway.request_id = None;
        match id {
            None => {
                if self.goaway_sent {
                    return Err(Misuse::WrongState("GOAWAY was sent before"));
                }
                match self.profile.goaway {
                    GoAwayForm::Uri => goaway.timeout = Millis(0),
                    GoAwayForm::UriTimeoutRequestId => {
                        goaway.request_id = Some(self.peer_ids.next_unseen());
                    }
                }
                self.say_on_control(&Message::GoAway(goaway))?;
                self.goaway_sent = true;
                self.start_goaway(Timer::GoAway, timeout);
            }
            Some(id) => {
                if self.profile.goaway == GoAwayForm::Uri {
                    let what = NotExpressible("a GOAWAY about a request");
                    return Err(Misuse::NotExpressible(what));
                }
                let open = self.requests.find(id).ok_or(Misuse::UnknownRequest)?;
                if open.goaway_sent || open.stage == Stage::Late {
                    return Err(Misuse::WrongState("GOAWAY was sent before, or too late"));
                }
                let unanswered = open.side == Side::Peer && open.stage == Stage::Pending;
                if unanswered && open.discovering().is_some() {
                    return Err(Misuse::WrongState(
                        "SUBSCRIBE_NAMESPACE and SUBSCRIBE_TRACKS must be answered first",
                    ));
                }
                self.say(id, &Message::GoAway(goaway))?;
                if let Some(open) = self.requests.find_mut(id) {
                    open.goaway_sent = true;
                }
                self.start_goaway(Timer::RequestGoAway(id), timeout);
            }
        }
        self.settle(Ok(()));
        Ok(())
    }

    fn start_goaway(&mut self, timer: Timer, timeout: Millis) {
        if timeout != Millis(0) {
            self.timers
                .set(timer, self.now + Duration::from_millis(timeout.0));
        }
    }

    /// The peer did not leave in time.
    pub(super) fn goaway_expired(&mut self) -> Result<(), Close> {
        let busy = self.requests.iter().any(|(_, open)| open.is_live());
        if busy {
            return Err(Close::new(
                SessionCode::GoAwayTimeout,
                "V57: the peer did not leave in time after GOAWAY",
            ));
        }
        self.end(SessionCode::NoError, bytes::Bytes::new(), Closed::ByUs);
        Ok(())
    }

    /// The peer did not move a request in time.
    pub(super) fn request_goaway_expired(&mut self, id: RequestId) {
        if self.requests.find(id).is_some() {
            self.give_up(id, ResetCode::GoingAway);
        }
    }

    /// GOAWAY on a control stream.
    pub(super) fn receive_goaway(&mut self, goaway: GoAway) -> Result<(), Close> {
        if self.goaway_received {
            return Err(Close::violation("V52: a second GOAWAY"));
        }
        if goaway
            .request_id
            .is_some_and(|id| !self.own_ids.is_ours(id))
        {
            return Err(Close::new(
                SessionCode::InvalidRequestId,
                "V55: GOAWAY names a request of its own sender",
            ));
        }
        self.goaway_received = true;
        self.events.push_back(Event::GoAway { id: None, goaway });
        Ok(())
    }

    /// GOAWAY on the stream of a request.
    pub(super) fn receive_request_goaway(
        &mut self,
        id: RequestId,
        goaway: GoAway,
    ) -> Result<(), Close> {
        let Some(open) = self.requests.find_mut(id) else {
            return Ok(());
        };
        if open.side == Side::Us && open.stage == Stage::Pending && open.discovering().is_some() {
            return Err(Close::violation(
                "V34: GOAWAY before the request was accepted",
            ));
        }
        if open.goaway_received {
            return Err(Close::violation("V52: a second GOAWAY"));
        }
        open.goaway_received = true;
        self.events.push_back(Event::GoAway {
            id: Some(id),
            goaway,
        });
        Ok(())
    }

    /// Whether a request that arrives now is too late (§ GOAWAY, Request ID). Where the draft leaves it to us, requests
    /// are served until the session ends.
    pub(super) const fn refuses_later_requests(&self) -> bool {
        self.goaway_sent && self.profile.goaway_refuses_later_requests
    }

    /// How many more requests the peer allows now; `None`: the draft limits streams, not requests.
    pub fn request_credit(&self) -> Option<u64> {
        self.own_ids.credit()
    }

    /// How many requests are open, of both sides; those that only wait for late objects are left out.
    pub fn open_requests(&self) -> usize {
        self.requests
            .iter()
            .filter(|(_, open)| open.is_live())
            .count()
    }
}
