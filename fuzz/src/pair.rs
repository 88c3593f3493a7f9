//! Two sessions against each other.

use std::time::Duration;

use oxymoq_core::code::SessionCode;
use oxymoq_core::session::Role;
use oxymoq_core::time::Time;
use oxymoq_core::transport::Input;

use crate::app::App;
use crate::choices::{Budget, Choices, draft};
use crate::script::some_knobs;
use crate::session::{connected, peer, pump, settings, some_span};
use crate::wire::{Cable, EASY, Told};

/// The first byte chooses: bit 0 the draft, bit 1 small limits of the client, bit 2 small limits of the server. What follows
/// are choices: what either application does, which piece of what is under way arrives next, how much the transports take,
/// and how time passes.
///
/// # Panics
/// If one session accuses the other, an object arrives as another one, something takes more steps than so many for each
/// byte, or a request that was cancelled is left.
pub fn pair(input: &[u8]) {
    let mut choices = Choices::new(input);
    let first = choices.byte();
    let new = |role, is_small| App::new(peer(settings(role, is_small)), true);
    let apps = [
        new(Role::Client, first & 2 != 0),
        new(Role::Server, first & 4 != 0),
    ];
    let pair = Pair::new(apps, input);
    let draft = draft(first & 1);
    pair.run(&connected(draft), &mut choices);
}

pub(crate) struct Pair {
    apps: [App; 2],
    cable: Cable,
    now: Time,
    budget: Budget,
}

impl Pair {
    pub(crate) fn new(apps: [App; 2], input: &[u8]) -> Self {
        Self {
            apps,
            cable: Cable::new(),
            now: Time::from_micros(1),
            budget: Budget::new(20_000, 1000, input),
        }
    }

    /// The transports are connected, and everything else follows from the choices.
    pub(crate) fn run(mut self, connected: &Input, choices: &mut Choices<'_>) {
        self.tell(vec![(0, connected.clone()), (1, connected.clone())]);
        self.settle();
        while !choices.is_over() {
            self.step(choices);
            self.assert_at_peace();
        }
        self.end();
    }

    fn app(&mut self, side: usize) -> &mut App {
        let [client, server] = &mut self.apps;
        if side == 0 { client } else { server }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let side = choices.below(2);
        match choices.below(16) {
            0..8 => {
                let now = self.now;
                self.app(side).act(now, choices);
                self.pump(side);
            }
            8..11 => {
                for _ in 0..=choices.below(8) {
                    let at = choices.below(self.cable.under_way(side));
                    let told = self.cable.deliver(side, at);
                    self.tell(told);
                }
            }
            11 => {
                let at = choices.below(self.cable.under_way(side));
                self.cable.lose(side, at);
            }
            12 => {
                let inputs = self.cable.end(side).set(some_knobs(choices));
                self.tell(inputs.into_iter().map(|input| (side, input)).collect());
            }
            13 => {
                let inputs = self.cable.end(side).wake();
                self.tell(inputs.into_iter().map(|input| (side, input)).collect());
            }
            14 => self.settle(),
            _ => {
                self.settle();
                self.pass(some_span(choices));
            }
        }
    }

    fn tell(&mut self, told: Vec<Told>) {
        for (side, input) in told {
            let now = self.now;
            self.app(side).peer.handle_input(now, input);
            self.pump(side);
        }
    }

    fn pump(&mut self, side: usize) {
        let [client, server] = &mut self.apps;
        let app = if side == 0 { client } else { server };
        let end = self.cable.end(side);
        pump(app, end, self.now, &mut self.budget);
        while app.hear() {
            self.budget.step();
            pump(app, end, self.now, &mut self.budget);
        }
    }

    /// Everything arrives, until nothing moves.
    fn settle(&mut self) {
        for side in [0, 1] {
            let inputs = self.cable.end(side).set(EASY);
            self.tell(inputs.into_iter().map(|input| (side, input)).collect());
        }
        while let Some(side) = [0, 1]
            .into_iter()
            .find(|side| self.cable.under_way(*side) > 0)
        {
            self.budget.step();
            let told = self.cable.deliver(side, 0);
            self.tell(told);
        }
    }

    /// Time passes while nothing is under way, with deadlines kept.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        let next = |pair: &Self| {
            let deadlines = pair.apps.iter().map(|app| app.peer.poll_timeout());
            deadlines.flatten().map(|(at, _)| at).min()
        };
        while let Some(at) = next(self).filter(|at| *at <= end) {
            self.budget.step();
            self.now = self.now.max(at);
            for side in [0, 1] {
                let now = self.now;
                self.app(side).peer.handle_timeout(now);
                self.pump(side);
            }
            self.settle();
        }
        self.now = end;
    }

    fn assert_at_peace(&mut self) {
        for app in &mut self.apps {
            let failure = app.session().failure();
            // What the application asked for.
            let failure = failure.filter(|(code, _)| *code != SessionCode::GoAwayTimeout);
            assert_eq!(failure, None);
        }
    }

    /// Everything can be ended, and then nothing is left.
    fn end(mut self) {
        self.settle();
        for side in [0, 1, 0] {
            let now = self.now;
            self.app(side).cancel_all(now);
            self.pump(side);
            self.settle();
        }
        self.assert_at_peace();
        for app in &mut self.apps {
            assert_eq!(app.session().open_requests(), 0);
            assert_eq!(app.session().outgoing_streams(), 0);
        }
    }
}
