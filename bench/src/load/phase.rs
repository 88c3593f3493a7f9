//! The phases of a run: announce, let everybody in, warm up, measure, wait for the last objects, leave.

use oxymoq_core::code::SessionCode;
use oxymoq_core::time::Time;
use oxymoq_core::transport::Exit;

use crate::clock::{self, Moment};
use crate::number;
use crate::plan::Role;
use crate::report::Run;
use crate::schedule::{self, Timetable, Window};

use super::seat::Kind;
use super::{CONNECTING, Load, verdict};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Publishers tell the relay what there is, by then.
    Announcing(Moment),
    /// Subscribers come, by then.
    Gathering(Moment),
    /// Objects flow until then at least, and none counts.
    Warming(Moment),
    /// Some subscribers still wait for their first object, until then at most.
    Awaiting(Moment),
    /// Objects of the window leave.
    Measuring,
    /// The last of them arrive, by then.
    Draining(Moment),
    /// Everything is known; sessions end.
    Leaving,
}

impl Phase {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Announcing(_) => "announcing",
            Self::Gathering(_) => "letting subscribers in",
            Self::Warming(_) => "warming up",
            Self::Awaiting(_) => "waiting for the first objects",
            Self::Measuring => "measuring",
            Self::Draining(_) => "waiting for the last objects",
            Self::Leaving => "leaving",
        }
    }

    /// Whether objects are published for which there is no timetable.
    pub(super) const fn is_flowing(self) -> bool {
        matches!(
            self,
            Self::Gathering(_) | Self::Warming(_) | Self::Awaiting(_) | Self::Measuring
        )
    }

    /// When it ends at the latest.
    pub(super) fn deadline(self, window: Option<Window>) -> Option<Moment> {
        match self {
            Self::Announcing(until)
            | Self::Gathering(until)
            | Self::Warming(until)
            | Self::Awaiting(until)
            | Self::Draining(until) => Some(until),
            Self::Measuring => window.map(|window| window.until),
            Self::Leaving => None,
        }
    }
}

impl Load<'_> {
    /// Goes on to the next phase if this one is over.
    pub(super) fn advance(&mut self, now: Time) {
        let plan = &self.job.plan;
        let moment = clock::now();
        match self.phase {
            Phase::Announcing(until) => {
                if self.stage.is_ready() {
                    self.phase = Phase::Gathering(moment + plan.patience);
                    self.gather(now, moment);
                } else if until <= moment {
                    let url = self.job.server.url();
                    self.fail(
                        now,
                        format!(
                            "{url} did not answer the publishers in time; --patience allows more"
                        ),
                    );
                }
            }
            Phase::Gathering(until) => {
                self.gather(now, moment);
                if until <= moment && matches!(self.phase, Phase::Gathering(_)) {
                    self.troubles
                        .add("a subscriber was not let in in time".to_owned());
                    self.warm(now, moment);
                }
            }
            Phase::Warming(until) if until <= moment => {
                self.phase = Phase::Awaiting(moment + plan.patience);
                self.news = true;
            }
            Phase::Awaiting(until) => {
                // Only from its first object on can a subscriber be expected to get everything.
                if self.audience.is_flowing() {
                    self.begin(moment);
                } else if until <= moment {
                    self.troubles
                        .add("a subscriber got no object in time, and was let in".to_owned());
                    self.begin(moment);
                }
            }
            Phase::Measuring => {
                let is_over = self.window.is_none_or(|window| window.until <= moment);
                if is_over || self.publisher.peers.is_empty() {
                    self.end_window(moment);
                }
            }
            Phase::Draining(until) => {
                if until <= moment || self.is_complete() || self.publisher.peers.is_empty() {
                    self.conclude(now);
                }
            }
            Phase::Warming(_) | Phase::Leaving => {}
        }
    }

    /// Lets as many come as may come at once; goes on when all have.
    fn gather(&mut self, now: Time, moment: Moment) {
        while self.invited < self.wanted && self.audience.coming < CONNECTING {
            // The one that stops reading comes first, and is one more.
            let kind = match (self.job.plan.stalled, self.invited) {
                (true, 0) => Kind::Stalled,
                _ => Kind::Regular,
            };
            self.invited += 1;
            self.invite(kind, moment);
        }
        if self.invited == self.wanted && self.audience.coming == 0 {
            self.warm(now, moment);
        }
    }

    fn warm(&mut self, now: Time, moment: Moment) {
        let plan = &self.job.plan;
        if plan.role.subscribes() && self.audience.seated() == 0 {
            let sentence = format!(
                "{} let no subscriber in: {}",
                self.job.server.url(),
                self.troubles.example()
            );
            return self.fail(now, sentence);
        }
        self.phase = Phase::Warming(moment + plan.warm_up);
        if let (Some(churn), None) = (&plan.churn, self.arrivals) {
            let times = Timetable {
                epoch: moment,
                interval_nanos: schedule::interval_nanos(churn.per_second),
            };
            self.arrivals = Some((times, 0));
        }
    }

    /// The window begins.
    fn begin(&mut self, moment: Moment) {
        let plan = &self.job.plan;
        let until = match plan.duration.is_zero() {
            true => Moment::from_micros(u64::MAX),
            false => moment + plan.duration,
        };
        let window = Window {
            from: moment,
            until,
        };
        self.window = Some(window);
        self.stage.restart(window);
        self.audience.restart(window);
        let mut seats = self.audience.seats.iter();
        let stalled = seats.find(|seat| seat.kind == Kind::Stalled);
        self.deaf = stalled.map(|seat| seat.connection);
        self.meter.begin();
        self.phase = Phase::Measuring;
        log::info!("measuring with {} subscribers", self.audience.seated());
    }

    /// The window is over: what left within it may still arrive.
    fn end_window(&mut self, moment: Moment) {
        if let Some(window) = &mut self.window {
            window.until = window.until.min(moment);
            let window = *window;
            self.stage.cut(window);
            self.audience.terms.window = Some(window);
        }
        self.meter.end();
        self.arrivals = None;
        self.phase = Phase::Draining(moment + self.job.plan.drain);
        self.news = true;
    }

    /// Whether everybody has everything.
    fn is_complete(&self) -> bool {
        let plan = &self.job.plan;
        self.window.is_none_or(|window| {
            let (expected, delivered) = self.audience.balance(window, &self.stage, plan);
            // Flat out and without the publisher it cannot be known.
            let is_known = plan.role.publishes() || plan.shape.rate > 0.0;
            is_known && delivered >= expected
        })
    }

    /// The figures of the window are there. Leaves, unless the ramp has another step.
    fn conclude(&mut self, now: Time) {
        if let Some(window) = self.window {
            let run = self.figures(window);
            let held = run.held;
            self.report.runs.push(run);
            if held == Some(true) {
                self.report.held = Some(self.audience.seated());
                let next = self.job.plan.next_step(self.wanted);
                if let Some(next) = next.filter(|_| !self.interrupted) {
                    self.wanted = next;
                    self.phase = Phase::Gathering(clock::now() + self.job.plan.patience);
                    self.news = true;
                    return;
                }
            }
        }
        self.leave(now, Exit::Success);
    }

    fn figures(&self, window: Window) -> Run {
        let plan = &self.job.plan;
        let (tally, passing) = (&self.audience.tally, &self.audience.passing);
        let (expected, delivered) = self.audience.balance(window, &self.stage, plan);
        let seconds = window.seconds();
        let everything = (
            tally.delivered + passing.delivered,
            tally.bytes + passing.bytes,
        );
        let (relay, generator) = self.meter.costs(seconds, everything.0, everything.1);
        let latency = tally.latency.quantiles();
        let lateness = self.stage.lateness.quantiles();
        let bottleneck = verdict::bottleneck(&generator, &lateness, tally.early);
        let seated = self.audience.seated();
        let wanted = number::length(self.wanted - usize::from(plan.stalled && self.wanted > 0));
        let lost = expected.saturating_sub(delivered);
        let rate = |count: u64| number::ratio(number::float(count), seconds).unwrap_or(0.0);
        Run {
            seconds,
            subscribers: seated,
            wanted,
            published: self.stage.published(),
            expected,
            delivered,
            lost,
            duplicated: tally.duplicated,
            reordered: tally.reordered,
            damaged: tally.damaged,
            bytes: tally.bytes,
            deliveries_per_second: rate(delivered),
            bits_per_second: rate(tally.bytes) * 8.0,
            latency,
            latency_histogram: tally.latency.buckets(),
            lateness,
            relay,
            generator,
            held: plan.ramp.as_ref().map(|ramp| {
                let most = u64::try_from(ramp.max_latency.as_micros()).unwrap_or(u64::MAX);
                lost == 0 && delivered > 0 && seated == wanted && latency.p99 <= most
            }),
            bottleneck,
        }
    }

    /// The user wants the end: what was measured so far counts.
    pub(super) fn interrupt(&mut self, now: Time) {
        self.interrupted = true;
        match self.phase {
            Phase::Measuring => self.end_window(clock::now()),
            Phase::Draining(_) => self.conclude(now),
            Phase::Announcing(_) | Phase::Gathering(_) | Phase::Warming(_) | Phase::Awaiting(_) => {
                if self.report.runs.is_empty() {
                    self.fail(now, "interrupted before anything was measured".to_owned());
                } else {
                    self.leave(now, Exit::Success);
                }
            }
            Phase::Leaving => {}
        }
    }

    pub(super) fn fail(&mut self, now: Time, sentence: String) {
        self.leave(now, Exit::Failure(sentence));
    }

    /// Writes down what is known and ends all sessions.
    fn leave(&mut self, now: Time, exit: Exit) {
        if self.is_leaving() {
            return;
        }
        self.phase = Phase::Leaving;
        self.arrivals = None;
        self.deaf = None;
        let report = &mut *self.report;
        report.joins = self.audience.joins();
        report.churn = self.job.plan.churn.map(|_| self.audience.churned);
        report.stalled = self.audience.stalled.clone();
        report.troubles = self.troubles.list();
        let last = report.runs.last();
        report.memory = last.and_then(|run| self.meter.memory(run.subscribers));
        let came = report.runs.iter().any(|run| match self.job.plan.role {
            Role::Publish => run.published > 0,
            Role::Both | Role::Subscribe => run.delivered > 0,
        });
        self.exit = Some(match exit {
            Exit::Success if !came => Exit::Failure(format!(
                "nothing was delivered: {}",
                self.troubles.example()
            )),
            exit @ (Exit::Success | Exit::Failure(_)) => exit,
        });
        let peers = &mut self.publisher.peers;
        peers.close_all(now, SessionCode::NoError, "");
    }
}
