//! One session against a scripted peer.

use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::code::SessionCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::peer::Peer;
use oxymoq_core::session::{Limits, Role, Settings};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{Closed, Input};

use crate::app::App;
use crate::choices::{Budget, Choices, draft};
use crate::script::Script;
use crate::wire::{EASY, End};

/// The first byte chooses: bit 0 the draft, bit 1 whether the session is the client's, bit 2 whether its peer sets it up as it
/// should, bit 3 small limits, bit 4 an application that does not take events. What follows are choices: what the peer does
/// (well-formed messages and data at any place, raw bytes, FIN, reset, STOP_SENDING, datagrams, short writes, no streams), what
/// the application does, and how time passes.
///
/// # Panics
/// If the session breaks the transport's contract, tells what makes no sense, needs more steps than so many for each byte, or
/// keeps something after its end.
pub fn session(input: &[u8]) {
    let mut choices = Choices::new(input);
    let first = choices.byte();
    let draft = draft(first & 1);
    let role = if first & 2 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let mut stage = Stage {
        app: App::new(peer(settings(role, first & 8 != 0)), false),
        end: End::new(),
        now: Time::from_micros(1),
        budget: Budget::new(4000, 500, input),
        hears: first & 16 == 0,
    };
    let mut script = Script::new(draft, role.peer());
    stage.tell(vec![connected(draft)]);
    if first & 4 == 0 {
        let inputs = script.set_up(&mut stage.end);
        stage.tell(inputs);
    }
    while !choices.is_over() && !stage.end.is_over() {
        match choices.below(8) {
            0..5 => {
                let inputs = script.act(&mut stage.end, &mut choices);
                stage.tell(inputs);
            }
            5 | 6 => {
                stage.app.act(stage.now, &mut choices);
                stage.pump();
            }
            _ => stage.pass(some_span(&mut choices)),
        }
    }
    stage.end_of_it(first & 32 == 0);
}

/// A session's settings, with small limits or the usual ones.
pub(crate) fn settings(role: Role, is_small: bool) -> Settings {
    let mut settings = Settings::new(role);
    if is_small {
        settings.limits = small();
    }
    settings
}

/// One end of a connection.
pub(crate) fn peer(settings: Settings) -> Peer {
    match settings.role {
        Role::Client => Peer::client(settings, &Draft::ALL),
        Role::Server => Peer::server(settings, &Draft::ALL),
    }
}

/// Limits that an input of a few hundred bytes reaches.
pub(crate) fn small() -> Limits {
    Limits {
        max_requests: 6,
        max_requests_sent: 6,
        max_updates: 2,
        // As many short names as requests, or some long ones.
        max_request_name_bytes: 2500,
        max_namespaces: 2,
        max_namespace_bytes: 1200,
        max_silent_streams: 2,
        max_request_id_gaps: 2,
        max_tombstones: 2,
        max_event_backlog: 8,
        max_auth_token_cache_size: 40,
        max_early_streams: 2,
        max_early_datagrams: 2,
        max_paused_streams: 1,
        // As many as the application has: it uses them again at once.
        max_ended_aliases: 8,
        max_checked_groups: 2,
        max_checked_subgroups: 1,
        max_control_backlog: 4096,
        max_unfinished_messages: 1024,
        max_datagram_backlog: 2,
        max_open_data_streams: 3,
        max_incoming_data_streams: 4,
        read_size: 100,
        ..Limits::default()
    }
}

pub(crate) fn connected(draft: Draft) -> Input {
    Input::Connected {
        alpn: Bytes::from_static(draft.profile().alpn.as_bytes()),
        max_datagram: 1200,
    }
}

/// From a millisecond to a minute.
pub(crate) fn some_span(choices: &mut Choices<'_>) -> Duration {
    let byte = choices.byte();
    Duration::from_millis(1 << (byte % 17))
}

/// One end of a connection against a script.
pub(crate) struct Stage {
    pub(crate) app: App,
    pub(crate) end: End,
    pub(crate) now: Time,
    pub(crate) budget: Budget,
    pub(crate) hears: bool,
}

impl Stage {
    pub(crate) fn tell(&mut self, inputs: Vec<Input>) {
        for input in inputs {
            self.app.peer.handle_input(self.now, input);
            self.pump();
        }
    }

    fn pump(&mut self) {
        pump(&mut self.app, &mut self.end, self.now, &mut self.budget);
        while self.hears && self.app.hear() {
            self.budget.step();
            pump(&mut self.app, &mut self.end, self.now, &mut self.budget);
        }
        for input in self.end.ignore() {
            self.app.peer.handle_input(self.now, input);
            pump(&mut self.app, &mut self.end, self.now, &mut self.budget);
        }
    }

    /// Time passes, with deadlines kept.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some((at, _)) = self.app.peer.poll_timeout().filter(|(at, _)| *at <= end) {
            self.budget.step();
            self.now = self.now.max(at);
            self.app.peer.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    /// The session ends, if it did not yet: nothing is left of it.
    pub(crate) fn end_of_it(mut self, by_us: bool) {
        self.hears = true;
        if !self.end.is_over() {
            let inputs = self.end.set(EASY);
            self.tell(inputs);
        }
        if by_us {
            let session = self.app.session();
            session.close(self.now, SessionCode::NoError, "done");
            self.pump();
        } else {
            if !self.end.is_over() {
                self.end.close();
            }
            let closed = Input::Closed(Closed::TimedOut);
            self.app.peer.handle_input(self.now, closed);
            self.pump();
        }
        assert!(self.app.is_closed(), "the end is not told");
        let session = self.app.session();
        assert!(session.is_closed());
        assert_eq!(
            (session.open_requests(), session.outgoing_streams()),
            (0, 0)
        );
        let App { peer, outbox, .. } = &mut self.app;
        assert_eq!(peer.poll_output(self.now, outbox), None);
        assert_eq!(peer.poll_timeout(), None);
    }
}

/// Carries out all that a session wants.
pub(crate) fn pump(app: &mut App, end: &mut End, now: Time, budget: &mut Budget) {
    while let Some(output) = app.peer.poll_output(now, &mut app.outbox) {
        budget.step();
        if let Some(answer) = end.carry_out(output) {
            app.peer.handle_answer(now, answer, &mut app.outbox);
        }
    }
}
