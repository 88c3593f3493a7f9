//! FETCHes of the peer that join one of its subscriptions: what range they mean (§ Joining Fetches).

use super::Session;
use super::close::Close;
use super::event::{Refusal, Request};
use super::request::{Kind, Open, Side, Stage};
use crate::code::RequestCode;
use crate::draft::JoiningRule;
use crate::wire::id::{GroupId, Location, ObjectId, RequestId};
use crate::wire::message::{Fetch, FetchRange};
use crate::wire::param::Filter;

const UNKNOWN: Refusal = Refusal::new(
    RequestCode::InvalidJoiningRequestId,
    "no such subscription to join",
);
const NOTHING: Refusal = Refusal::new(RequestCode::InvalidRange, "nothing was published yet");
const AHEAD: Refusal = Refusal::new(
    RequestCode::InvalidRange,
    "the range starts after what was published",
);
const PAUSED: Refusal = Refusal::new(
    RequestCode::InvalidRange,
    "the subscription to join is not forwarding",
);

/// What a joining FETCH comes to.
enum Join {
    /// It means this range.
    Range(FetchRange),
    /// The subscription was not answered yet.
    Wait(RequestId),
    /// It is refused.
    Refused(Refusal),
}

impl Session {
    /// A joining FETCH becomes one of a range, for the application; or it waits for its subscription.
    pub(super) fn join(&mut self, fetch: Fetch) -> Result<(), Close> {
        let id = fetch.request_id;
        match self.judge_join(&fetch)? {
            Join::Range(range) => self.tell_fetch(fetch, range),
            Join::Refused(refusal) => self.refuse(id, refusal),
            Join::Wait(subscription) => {
                if let Some(fetching) = self.requests.find_mut(id).and_then(Open::fetching_mut) {
                    fetching.joins = Some(subscription);
                }
                if let Some(subscription) = self
                    .requests
                    .find_mut(subscription)
                    .and_then(Open::subscription_mut)
                {
                    subscription.waiting.push(fetch);
                }
            }
        }
        Ok(())
    }

    /// The subscription that a joining FETCH waited for was accepted.
    pub(super) fn resolve_waiting_join(&mut self, fetch: Fetch) {
        let id = fetch.request_id;
        if self.requests.find(id).is_none() {
            return;
        }
        match self.judge_join(&fetch) {
            Ok(Join::Range(range)) => self.tell_fetch(fetch, range),
            Ok(Join::Refused(refusal)) => self.refuse(id, refusal),
            // Neither can happen to a subscription that is established and was good enough before.
            Ok(Join::Wait(_)) | Err(_) => self.refuse(id, UNKNOWN),
        }
    }

    /// A joining FETCH is over, and does not wait for its subscription any more.
    pub(super) fn forget_waiting_join(&mut self, joined: RequestId, id: RequestId) {
        let open = self.requests.find_mut(joined);
        if let Some(subscription) = open.and_then(Open::subscription_mut) {
            subscription.waiting.retain(|fetch| fetch.request_id != id);
        }
    }

    fn tell_fetch(&mut self, fetch: Fetch, range: FetchRange) {
        if let FetchRange::Standalone { start, .. } = &range
            && let Some(fetching) = self
                .requests
                .find_mut(fetch.request_id)
                .and_then(Open::fetching_mut)
        {
            fetching.start = Some(*start);
        }
        self.tell(Request::Fetch(Fetch { range, ..fetch }));
    }

    fn judge_join(&self, fetch: &Fetch) -> Result<Join, Close> {
        let (joined, start) = match &fetch.range {
            FetchRange::Standalone { .. } => return Ok(Join::Range(fetch.range.clone())),
            FetchRange::RelativeJoining {
                joining_request_id,
                joining_start,
            } => (*joining_request_id, Start::Back(*joining_start)),
            FetchRange::AbsoluteJoining {
                joining_request_id,
                joining_start,
            } => (*joining_request_id, Start::At(*joining_start)),
        };
        let open = self
            .requests
            .find(joined)
            .filter(|open| open.publisher() == Some(Side::Us) && open.kind != Kind::Fetch);
        let Some((open, subscription)) = open.and_then(|open| Some((open, open.subscription()?)))
        else {
            return Ok(Join::Refused(UNKNOWN));
        };
        match (&open.stage, open.side) {
            (Stage::Established, _) | (Stage::Pending, Side::Peer) => {}
            (Stage::Pending, Side::Us) | (Stage::Ending(..) | Stage::Late, _) => {
                return Ok(Join::Refused(UNKNOWN));
            }
        }
        match self.profile.joining {
            JoiningRule::LargestObjectFilter => {
                if subscription.filter != Some(Filter::LargestObject) {
                    return Err(Close::violation(
                        "V82: a joining FETCH of a subscription without the Largest Object filter",
                    ));
                }
            }
            JoiningRule::ForwardState => {
                if !subscription.forward {
                    return Ok(Join::Refused(PAUSED));
                }
            }
        }
        if open.stage == Stage::Pending {
            return Ok(Join::Wait(joined));
        }
        let Some(joining) = subscription.joining else {
            return Ok(Join::Refused(NOTHING));
        };
        let group = match start {
            Start::Back(groups) => joining.group.0.saturating_sub(groups),
            Start::At(group) if group > joining.group.0 => return Ok(Join::Refused(AHEAD)),
            Start::At(group) => group,
        };
        Ok(Join::Range(FetchRange::Standalone {
            track: subscription.track.clone(),
            start: Location {
                group: GroupId(group),
                object: ObjectId(0),
            },
            end: after(joining),
        }))
    }
}

enum Start {
    /// So many groups before the one where the subscription starts.
    Back(u64),
    /// At this group.
    At(u64),
}

/// A FETCH's end, as it is written, for a range that ends with this object.
const fn after(last: Location) -> Location {
    Location {
        group: last.group,
        // No object follows the largest possible one: object 0 stands for all of the group.
        object: ObjectId(match last.object.0.checked_add(1) {
            Some(next) => next,
            None => 0,
        }),
    }
}
