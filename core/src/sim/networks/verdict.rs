//! Whether a subscriber got everything that it was due, once nothing is on its way any more; and if not, what explains it.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever is not listed as an explanation is none"
)]

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::session::{self, StreamEnd};
use crate::time::Time;
use crate::wire::id::Location;
use crate::wire::object::ObjectStatus;

use super::book::{Book, Ending, Entry};
use super::judge::{Fetched, Heard, range};
use super::troubles::{RECOVERY, SETTLE, Troubles, Way};
use super::viewer::{Answer, Asked, Fetching, Kind, Over};

/// What a request is judged by.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) asked: &'a Asked,
    pub(super) heard: &'a Heard,
    pub(super) book: &'a Book,
    pub(super) way: &'a Way,
    pub(super) troubles: &'a Troubles,
    /// Relays serve few FETCHes at once.
    pub(super) few_fetches: bool,
    /// All that was published of the track: before its publishers began again with group 0, and now.
    pub(super) beginnings: &'a [&'a Book],
    /// When it was asked for, the track was on its way to the subscriber in a PUBLISH.
    pub(super) crossed: bool,
    /// When the subscriber withdrew the subscription of the same track that it had before on the same connection.
    pub(super) renewed: Option<Time>,
    /// What the subscription that a FETCH joined was granted.
    pub(super) joined: Option<&'a Asked>,
    pub(super) now: Time,
}

impl Case<'_> {
    /// What is wrong in the end.
    pub(super) fn judge(&self) -> Result<(), String> {
        self.judge_answer()?;
        match &self.asked.kind {
            Kind::Subscribe(..) | Kind::Offer(..) => {
                self.judge_end()?;
                self.judge_resets()?;
                self.judge_missing()
            }
            Kind::Fetch(_, fetching) => self.judge_fetch(fetching),
            Kind::Status(_) | Kind::Watch => Ok(()),
        }
    }

    /// When the request was over.
    fn end(&self) -> Time {
        self.asked.over.as_ref().map_or(self.now, |(at, _)| *at)
    }

    /// Whether a loss on the way may have had to do with it.
    fn had_trouble(&self) -> bool {
        self.troubles.broke(self.way, self.asked.at, self.end())
    }

    /// Whether no publisher could be reached for a while.
    fn was_cut_off(&self) -> bool {
        self.troubles
            .broke_everywhere(self.way, self.asked.at, self.end())
    }

    /// Whether memory was short on the way between then and this request's end.
    fn was_pressed(&self, from: Time) -> bool {
        self.troubles.was_pressed(self.way, from, self.end())
    }

    /// Whether objects may come later than they should.
    fn may_lag(&self) -> bool {
        self.way.is_slow || self.troubles.delayed(self.way, self.asked.at, self.end())
    }

    /// Every request is answered, or its session is over; refused only for a reason.
    fn judge_answer(&self) -> Result<(), String> {
        let Some((at, answer)) = &self.asked.answer else {
            return match self.asked.over {
                Some(_) => Ok(()),
                None => Err("it was never answered".to_owned()),
            };
        };
        if let Answer::Subscribed(ok) = answer {
            let expected = self.book.track_list();
            let got: Result<Vec<_>, _> = ok.properties.iter().collect();
            if got.as_ref() != Ok(&expected) {
                return Err(format!("the track has the properties {got:?}"));
            }
        }
        let Answer::Refused(refusal) = answer else {
            return Ok(());
        };
        let ended = self.book.ended.is_some_and(|ended| ended <= *at);
        let is_fetch = matches!(self.asked.kind, Kind::Fetch(..));
        let is_explained = match refusal.code {
            RequestCode::DoesNotExist => self.was_cut_off() || ended || !self.way.is_published,
            RequestCode::Timeout if !self.way.is_published || ended => true,
            // Of what was there before.
            RequestCode::InvalidRange if self.beginnings.len() > 1 && self.had_trouble() => true,
            RequestCode::InvalidRange if is_fetch => self.nothing_to_fetch(),
            RequestCode::InvalidRange => range(self.asked).1.0 <= self.book.group,
            RequestCode::InvalidJoiningRequestId => is_fetch && self.joined.is_some(),
            RequestCode::Timeout | RequestCode::InternalError | RequestCode::GoingAway => {
                self.had_trouble()
            }
            RequestCode::ExcessiveLoad if is_fetch && self.few_fetches => true,
            RequestCode::ExcessiveLoad => self.was_pressed(self.asked.at),
            // A publisher has to say so while it waits for an answer to its own PUBLISH. This subscriber may have refused
            // that one by then because of its SUBSCRIBE; then it gets neither.
            RequestCode::DuplicateSubscription => self.crossed,
            _ => false,
        };
        if is_explained {
            return Ok(());
        }
        Err(format!("it was refused without a reason: {refusal:?}"))
    }

    /// Nothing that was surely known when it was asked lies in the range of a FETCH.
    fn nothing_to_fetch(&self) -> bool {
        let Kind::Fetch(_, fetching) = &self.asked.kind else {
            return false;
        };
        let (start, end) = self.fetch_range(fetching);
        !self.book.objects.iter().any(|(at, entry)| {
            let is_object = entry.status == ObjectStatus::Normal;
            let is_meant = is_object && *at >= start && before(*at, end);
            is_meant && entry.at + SETTLE <= self.asked.at && !self.was_unknown(entry)
        })
    }

    /// Something was broken when this was published, and nobody may have told of it since. One way that is broken is enough:
    /// a relay takes what one publisher sends it for all that there is, until it notices that nothing comes any more.
    fn was_unknown(&self, entry: &Entry) -> bool {
        let mut breaks = self.troubles.breaks(self.way);
        breaks.any(|(from, until)| {
            let since = |until| entry.at <= until && self.asked.at <= until + RECOVERY;
            entry.at + SETTLE >= from && until.is_none_or(since)
        })
    }

    /// A subscription ends as it should, and does end.
    fn judge_end(&self) -> Result<(), String> {
        let Some((at, over)) = &self.asked.over else {
            return match self.asked.is_open() {
                true => Err("it is still open after everything is over".to_owned()),
                false => Ok(()),
            };
        };
        let ended = self.book.ended.is_some_and(|ended| ended <= *at);
        let Over::Done(code) = over else {
            return match over {
                Over::Cancelled(_) if !self.had_trouble() => {
                    Err(format!("it was given up without a reason: {over:?}"))
                }
                _ => Ok(()),
            };
        };
        let (_, last) = range(self.asked);
        let is_explained = match code {
            DoneCode::TrackEnded => ended || self.was_cut_off(),
            DoneCode::SubscriptionEnded => self.book.is_beyond(last, *at) || ended,
            DoneCode::InternalError | DoneCode::GoingAway => self.had_trouble(),
            DoneCode::TooFarBehind => self.may_lag() || self.was_pressed(self.asked.at),
            DoneCode::ExcessiveLoad => self.was_pressed(self.asked.at),
            _ => false,
        };
        if !is_explained {
            return Err(format!("it ended without a reason: {code:?} at {at:?}"));
        }
        // Streams that were told of are waited for, as long as there is a session.
        let patience = session::Limits::default().publish_done_timeout;
        let left_early = self.asked.left.is_some_and(|left| left <= *at + patience);
        if !self.asked.settled && !left_early {
            return Err(format!("it ended with {code:?} and never settled"));
        }
        Ok(())
    }

    /// A stream is only reset for a reason.
    fn judge_resets(&self) -> Result<(), String> {
        for (key, code, at) in &self.heard.resets {
            let line = self.book.subgroups.get(key);
            let was_reset = line.is_some_and(
                |line| matches!(line.ending, Some((when, Ending::Reset)) if when <= *at),
            );
            let paused = self.asked.pauses.iter().any(|(from, _)| from <= at);
            let ended = self.book.ended.is_some_and(|ended| ended <= *at);
            let is_explained = was_reset
                // It goes on, from a place of which it was not known whether something is missing before it; or would have.
                || self.heard.goes_on(*key)
                || (*code == ResetCode::Cancelled && self.is_withdrawn_soon_after(*at))
                || paused
                || ended
                || self.troubles.broke(self.way, self.asked.at, *at)
                || self.asked.over.as_ref().is_some_and(|(over, _)| over <= at)
                || self.troubles.was_pressed(self.way, self.asked.at, *at)
                || match code {
                    // Of the subscription before: it has the same alias, and its streams are told apart by nothing else.
                    ResetCode::Cancelled => self
                        .renewed
                        .is_some_and(|then| *at <= self.troubles.settled(self.way, then)),
                    ResetCode::DeliveryTimeout => self.has_timeout() && self.may_lag(),
                    // Of the end of the subscription.
                    ResetCode::TooFarBehind => self.may_lag(),
                    _ => false,
                };
            if !is_explained {
                return Err(format!(
                    "subgroup {key:?} was reset without a reason: {code:?}"
                ));
            }
        }
        Ok(())
    }

    fn is_withdrawn_soon_after(&self, at: Time) -> bool {
        let settled = self.troubles.settled(self.way, at);
        matches!(self.asked.over, Some((then, Over::Withdrawn)) if then <= settled)
    }

    fn has_timeout(&self) -> bool {
        if self.book.show.timeout > 0 {
            return true;
        }
        match &self.asked.kind {
            Kind::Subscribe(_, parameters) => parameters.object_delivery_timeout.is_some(),
            _ => false,
        }
    }

    /// Whatever is missing has a reason.
    fn judge_missing(&self) -> Result<(), String> {
        let Some((granted, Answer::Subscribed(_) | Answer::Ok(_))) = &self.asked.answer else {
            return Ok(());
        };
        let mut due = self.troubles.settled(self.way, *granted);
        if let Some(first) = self.heard.received.values().min() {
            due = due.min(*first);
        }
        let until = self.due_until();
        let (start, last) = range(self.asked);
        for (at, entry) in &self.book.objects {
            let is_due = entry.at > due && entry.at <= until && *at >= start && at.group <= last;
            if is_due && !self.heard.received.contains_key(at) && !self.is_explained(*at, entry) {
                return Err(format!(
                    "{at} is missing: published at {:?}, due from {due:?} to {until:?}, {entry:?}",
                    entry.at
                ));
            }
        }
        Ok(())
    }

    /// Objects published up to then should have arrived.
    fn due_until(&self) -> Time {
        let Some((at, over)) = &self.asked.over else {
            return self.now;
        };
        let in_time = |at: Time| {
            if self.may_lag() {
                return Time::ZERO;
            }
            Time::from_micros(at.as_micros().saturating_sub(micros(SETTLE)))
        };
        match over {
            Over::Done(DoneCode::TrackEnded | DoneCode::SubscriptionEnded) => *at,
            Over::Done(_)
            | Over::Cancelled(_)
            | Over::Withdrawn
            | Over::Ended(_)
            | Over::Closed => in_time(*at),
        }
    }

    fn is_explained(&self, at: Location, entry: &Entry) -> bool {
        let Some(subgroup) = entry.subgroup else {
            let settled = self.troubles.settled(self.way, entry.at);
            let squeezed = self.troubles.was_pressed(self.way, entry.at, settled);
            return squeezed || self.may_lag() || self.is_paused(entry) || self.was_lost(entry);
        };
        let key = (at.group.0, subgroup);
        let line = self.book.subgroups.get(&key);
        let given_up = line
            .and_then(|line| line.ending)
            .filter(|(_, ending)| *ending == Ending::Reset);
        if let Some((when, _)) = given_up
            && (self.way.is_slow || self.troubles.settled(self.way, entry.at) >= when)
        {
            return true;
        }
        let was_late = self.has_timeout() && self.may_lag();
        let squeezed =
            self.was_pressed(entry.at) && self.heard.resets.iter().any(|(reset, ..)| *reset == key);
        was_late
            || squeezed
            || self.is_paused(entry)
            || self.was_lost(entry)
            || self.was_overtaken(at, entry)
    }

    /// One publisher was held up, and another one had already brought what follows in the subgroup: its stream cannot go back.
    fn was_overtaken(&self, at: Location, entry: &Entry) -> bool {
        let follows = |later: &Location| {
            later.group == at.group
                && *later > at
                && self.book.objects.get(later).map(|it| it.subgroup) == Some(entry.subgroup)
        };
        self.way.publishers > 1 && self.may_lag() && self.heard.received.keys().any(follows)
    }

    /// It was published while the subscription had Forward State 0.
    fn is_paused(&self, entry: &Entry) -> bool {
        self.asked.pauses.iter().any(|(from, until)| {
            let began = entry.at + SETTLE >= *from || self.may_lag();
            began && until.is_none_or(|until| entry.at <= self.troubles.settled(self.way, until))
        })
    }

    /// It was published while no publisher could be reached: on the way to each of them something was broken, or it went in
    /// a datagram that was lost.
    fn was_lost(&self, entry: &Entry) -> bool {
        let settled = self.troubles.settled(self.way, entry.at);
        let is_datagram = entry.subgroup.is_none();
        self.way.routes.iter().all(|route| {
            let is_broken = |(from, until)| self.was_broken(entry, from, until);
            self.troubles.breaks_on(route).any(is_broken)
                || (is_datagram && self.troubles.lost(route, entry.at, settled))
        })
    }

    /// Whether something was broken when an object was published: from shortly before until something arrives that was
    /// published after it was made good; with several publishers, which that may have come from, until it must be over.
    fn was_broken(&self, entry: &Entry, from: Time, until: Option<Time>) -> bool {
        let began = entry.at + SETTLE >= from || self.may_lag();
        let Some(until) = until else {
            return began;
        };
        let mut over = until + RECOVERY;
        if self.way.publishers == 1 {
            let arrived = self.heard.received.keys();
            let published = arrived.filter_map(|at| self.book.objects.get(at));
            let later = published.map(|entry| entry.at).filter(|at| *at > until);
            over = later.min().map_or(over, |first| over.min(first + SETTLE));
        }
        began && entry.at <= over
    }

    fn fetch_range(&self, fetching: &Fetching) -> (Location, Location) {
        let everything = Location::new(u64::MAX, 0);
        let Some((_, groups, relative)) = fetching.joins else {
            return (fetching.start, fetching.end.unwrap_or(everything));
        };
        let largest = self.joined.and_then(|joined| match &joined.answer {
            Some((_, Answer::Subscribed(ok))) => ok.parameters.largest_object,
            _ => None,
        });
        let Some(largest) = largest else {
            return (everything, everything);
        };
        let group = match relative {
            true => largest.group.0.saturating_sub(groups),
            false => groups,
        };
        let end = Location::new(largest.group.0, largest.object.0 + 1);
        (Location::new(group, 0), end)
    }

    /// What comes of several beginnings of the track is complete as far as all agree that something exists: any of them may
    /// have been asked for a gap of another.
    fn is_in_all(&self, at: Location) -> bool {
        let lacks = |book: &&Book| {
            let reaches = book.largest().is_some_and(|last| last.group >= at.group);
            reaches && !book.objects.contains_key(&at)
        };
        !self.beginnings.iter().any(lacks)
    }

    /// A FETCH is answered with everything that was published in its range before it was sent.
    fn judge_fetch(&self, fetching: &Fetching) -> Result<(), String> {
        let Some((_, Answer::Fetched(ok))) = &self.asked.answer else {
            return Ok(());
        };
        match &self.asked.over {
            Some((_, Over::Ended(StreamEnd::Fin))) => {}
            Some((_, Over::Withdrawn | Over::Closed)) => return Ok(()),
            Some((at, over)) if self.troubles.broke(self.way, self.asked.at, *at) => {
                let _lost = over;
                return Ok(());
            }
            Some(_) if self.was_pressed(self.asked.at) => return Ok(()),
            other => return Err(format!("the FETCH ended with {other:?}")),
        }
        let (start, end) = self.fetch_range(fetching);
        let end = earlier(end, ok.end);
        let has_unknown = self
            .heard
            .items
            .iter()
            .any(|item| matches!(item, Fetched::Unknown(_)));
        // A relay further up may have refused to ask for it.
        let was_refused = self.few_fetches && self.way.has_hops();
        if has_unknown && !self.had_trouble() && !self.was_pressed(self.asked.at) && !was_refused {
            return Err(format!(
                "the FETCH tells of something unknown: {:?}",
                self.heard.items
            ));
        }
        for (at, entry) in &self.book.objects {
            let is_due = *at >= start && before(*at, end) && entry.at <= self.asked.at;
            let is_there = self.heard.items.contains(&Fetched::Object(*at));
            let is_object = entry.status == ObjectStatus::Normal;
            let is_due = is_due && self.is_in_all(*at);
            if is_object && is_due && !is_there && !has_unknown {
                return Err(format!(
                    "{at} is missing from a FETCH of {start} to {end}: {:?}",
                    self.heard.items
                ));
            }
        }
        Ok(())
    }
}

fn before(at: Location, end: Location) -> bool {
    match end.object.0 {
        0 => at.group <= end.group,
        _ => at < end,
    }
}

/// The earlier of two ends of ranges.
fn earlier(a: Location, b: Location) -> Location {
    let order = |end: Location| match end.object.0 {
        0 => (end.group.0, u64::MAX),
        object => (end.group.0, object),
    };
    if order(a) <= order(b) { a } else { b }
}

fn micros(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
