//! The applications of a case: actors with a script, and the relay that they may meet at.

use std::collections::BTreeMap;
use std::fmt;

use crate::time::{Time, WallTime};
use crate::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
};

use super::super::neutral::DATAGRAMS;
use super::super::program::Program;
use super::super::shards::Shards;
use super::LIMIT;
use super::actor::Actor;

/// One of the applications of a [`Case`](super::Case). Whatever runs applications can run it.
#[derive(Debug)]
pub struct Party {
    name: &'static str,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Actor(Box<Program<Actor>>),
    Host(Box<Host>),
}

impl Party {
    pub(super) fn actor(name: &'static str, program: Program<Actor>) -> Self {
        let body = Body::Actor(Box::new(program.with_limit(LIMIT)));
        Self { name, body }
    }

    /// A relay that is told to shut down once so many of its guests have left.
    pub(super) fn relay(relay: Shards, guests: usize) -> Self {
        let host = Host {
            relay,
            guests,
            deadline: Deadline::NotSet,
        };
        Self {
            name: "relay",
            body: Body::Host(Box::new(host)),
        }
    }

    /// What it is called in the case.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What to report after it exited.
    pub fn ended(&self, exit: Exit) -> Ended {
        let mut told = Told::default();
        if let Body::Actor(program) = &self.body {
            for line in program.part().mind().log.lines() {
                let lines = told.0.entry(line.about.clone()).or_default();
                lines.push(line.text.clone());
            }
        }
        Ended {
            party: self.name,
            exit,
            told,
        }
    }

    const fn application(&self) -> &dyn Application {
        match &self.body {
            Body::Actor(program) => &**program,
            Body::Host(host) => &**host,
        }
    }

    const fn application_mut(&mut self) -> &mut dyn Application {
        match &mut self.body {
            Body::Actor(program) => &mut **program,
            Body::Host(host) => &mut **host,
        }
    }
}

/// How a [`Party`] ended, and what it was told until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The party's name.
    pub party: &'static str,
    /// How its program ended.
    pub exit: Exit,
    /// What it was told.
    pub told: Told,
}

/// What a party was told: for each request and each stream, the events about it in their order, in words without times,
/// ids, numbers of connections and streams, and whatever else depends on the transport.
///
/// The order of events about different requests and streams is not kept: no protocol determines it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told(BTreeMap<String, Vec<String>>);

impl Told {
    /// The first thing in which it differs from what the same party should have been told.
    ///
    /// Everything must be the same, except that datagrams may come in another order, or not at all.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        for (about, lines) in &self.0 {
            let expected = expected.0.get(about).map_or(&[][..], Vec::as_slice);
            if about.ends_with(DATAGRAMS) {
                let mut left = expected.to_vec();
                for line in lines {
                    match left.iter().position(|other| other == line) {
                        Some(place) => drop(left.swap_remove(place)),
                        None => return Some(format!("{about}: \"{line}\" is one too many")),
                    }
                }
            } else if let Some(difference) = first_difference(lines, expected) {
                return Some(format!("{about}: {difference}"));
            }
        }
        let missing = expected.0.keys().find(|about| {
            let may_miss = about.ends_with(DATAGRAMS);
            !may_miss && !self.0.contains_key(*about)
        });
        missing.map(|about| format!("nothing about {about}"))
    }
}

fn first_difference(lines: &[String], expected: &[String]) -> Option<String> {
    let length = lines.len().max(expected.len());
    let differs = |place: &usize| lines.get(*place) != expected.get(*place);
    let place = (0..length).find(differs)?;
    let show = |lines: &[String]| match lines.get(place) {
        Some(line) => format!("\"{line}\""),
        None => "nothing".to_owned(),
    };
    Some(format!("{} instead of {}", show(lines), show(expected)))
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (about, lines) in &self.0 {
            for line in lines {
                writeln!(f, "{about}: {line}")?;
            }
        }
        Ok(())
    }
}

/// A relay that ends by itself when its guests have left.
#[derive(Debug)]
struct Host {
    relay: Shards,
    /// How many of them it waits for; then it is told to shut down.
    guests: usize,
    deadline: Deadline,
}

#[derive(Debug)]
enum Deadline {
    NotSet,
    At(Time),
    Passed,
}

impl Application for Host {
    fn handle_wall_clock(&mut self, now: Time, wall: WallTime) {
        if matches!(self.deadline, Deadline::NotSet) {
            self.deadline = Deadline::At(now + LIMIT * 3 / 2);
        }
        self.relay.handle_wall_clock(now, wall);
    }

    fn handle_incoming(&mut self, now: Time, incoming: &Incoming) -> Admission {
        self.relay.handle_incoming(now, incoming)
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        let left = matches!(input, Input::Closed(_));
        self.relay.handle_input(now, connection, input);
        if left && self.guests > 0 {
            self.guests -= 1;
            if self.guests == 0 {
                self.relay.handle_shutdown(now);
            }
        }
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.relay.handle_answer(now, connection, answer);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.relay.handle_timeout(now);
        if let Deadline::At(at) = self.deadline
            && at <= now
        {
            self.deadline = Deadline::Passed;
        }
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.relay.handle_shutdown(now);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.relay.poll_dirty()
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        self.relay.poll_output(now, connection)
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.relay.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let mine = match self.deadline {
            Deadline::At(at) => Some((at, "the limit of the relay")),
            Deadline::NotSet | Deadline::Passed => None,
        };
        self.relay.poll_timeout().into_iter().chain(mine).min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        if matches!(self.deadline, Deadline::Passed) {
            let why = format!("waited in vain for {} guests to leave", self.guests);
            return Some(Exit::Failure(why));
        }
        self.relay.poll_exit()
    }
}

impl Application for Party {
    fn handle_wall_clock(&mut self, now: Time, wall: WallTime) {
        self.application_mut().handle_wall_clock(now, wall);
    }

    fn handle_incoming(&mut self, now: Time, incoming: &Incoming) -> Admission {
        self.application_mut().handle_incoming(now, incoming)
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.application_mut().handle_input(now, connection, input);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        let application = self.application_mut();
        application.handle_answer(now, connection, answer);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.application_mut().handle_timeout(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.application_mut().handle_shutdown(now);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.application_mut().poll_dirty()
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        self.application_mut().poll_output(now, connection)
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.application_mut().poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.application().poll_timeout()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.application_mut().poll_exit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[(&str, &str)]) -> Told {
        let mut told = Told::default();
        for (about, line) in lines {
            let lines = told.0.entry((*about).to_owned()).or_default();
            lines.push((*line).to_owned());
        }
        told
    }

    #[test]
    fn order_counts_within_a_request_only() {
        let expected = told(&[("a", "1"), ("a", "2"), ("b", "3")]);
        let same = told(&[("b", "3"), ("a", "1"), ("a", "2")]);
        assert_eq!(same.difference(&expected), None);
        let other = told(&[("b", "3"), ("a", "2"), ("a", "1")]);
        let difference = other.difference(&expected).unwrap();
        assert_eq!(difference, "a: \"2\" instead of \"1\"");
    }

    #[test]
    fn everything_must_be_there_and_nothing_else() {
        let expected = told(&[("a", "1"), ("b", "3")]);
        let less = told(&[("a", "1")]);
        assert_eq!(less.difference(&expected).unwrap(), "nothing about b");
        let more = told(&[("a", "1"), ("b", "3"), ("b", "3")]);
        let difference = more.difference(&expected).unwrap();
        assert_eq!(difference, "b: \"3\" instead of nothing");
    }

    #[test]
    fn datagrams_may_be_lost_and_reordered_but_not_invented() {
        let expected = told(&[("a datagrams", "1"), ("a datagrams", "2")]);
        assert_eq!(told(&[]).difference(&expected), None);
        let other = told(&[("a datagrams", "2"), ("a datagrams", "1")]);
        assert_eq!(other.difference(&expected), None);
        let twice = told(&[("a datagrams", "2"), ("a datagrams", "2")]);
        assert!(twice.difference(&expected).is_some());
    }
}
