//! Carries an attack out: an application of a runtime, as any other.

use std::time::Duration;

use oxymoq_core::h3::Translated;
use oxymoq_core::runtime::{ClientSettings, Settings, TransportSettings, Trust};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, StreamId, Target,
};

use super::{Attack, News, Over, Seen, Wire};

/// Far longer than any attack takes, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(100);
/// Between two calls of [`Attack::tick`].
const TICK: Duration = Duration::from_millis(5);

/// Runs one attack.
struct Attacker<A> {
    attack: A,
    wire: Wire,
    now: Time,
    begun: bool,
    next_tick: Time,
    give_up: Option<Time>,
    leaving: bool,
    exit: Option<Exit>,
}

impl<A: Attack> Attacker<A> {
    fn tell(&mut self, connection: ConnectionId, news: &News) {
        self.attack.hear(&mut self.wire, connection, news);
        self.look();
    }

    /// Leaves once everything is over.
    fn look(&mut self) {
        if self.exit.is_some() {
            return;
        }
        if !self.leaving && self.begun && self.attack.is_over(&self.wire) {
            self.leaving = true;
            let open: Vec<ConnectionId> = self.wire.lines.keys().copied().collect();
            for connection in open {
                self.wire.close(connection, 0);
            }
        }
        if self.leaving && self.wire.lines.is_empty() && self.wire.endings.is_empty() {
            self.exit = Some(Exit::Success);
        }
    }

    /// What the layer below tells.
    fn pass_on(&mut self, connection: ConnectionId) {
        while let Some(input) = self
            .wire
            .layer(connection)
            .and_then(|layer| layer.poll_input())
        {
            self.take(connection, input);
        }
        let ending = self.wire.endings.get(&connection);
        if ending.is_some_and(|layer| layer.is_over()) {
            self.wire.endings.remove(&connection);
            self.look();
        }
    }

    fn take(&mut self, connection: ConnectionId, input: Input) {
        if !self.wire.is_open(connection) {
            return;
        }
        let line = self.wire.line(connection);
        match input {
            Input::Connected { .. } => {
                line.is_connected = true;
                self.wire.seen.connected += 1;
                self.tell(connection, &News::Connected);
            }
            Input::Opened { stream, dir } => line.hear_of(stream, dir),
            Input::Readable(stream) => {
                if !line.unheard.contains(&stream) {
                    line.reads.push_back(stream);
                }
            }
            Input::Writable(stream) => line.rouse(stream),
            Input::Stopped { stream, code } => {
                line.sending.remove(&stream);
                line.commands.push_back(Output::Reset { stream, code });
                *self.wire.seen.stops.entry(code).or_default() += 1;
            }
            Input::CanOpen(dir) => {
                line.no_credit.remove(&dir);
            }
            Input::DatagramRoom => line.no_datagrams = false,
            Input::Closed(closed) => {
                let line = self.wire.lines.remove(&connection);
                let layer = line.and_then(|line| line.layer);
                if let Some(layer) = layer.filter(|layer| !layer.is_over()) {
                    self.wire.endings.insert(connection, layer);
                }
                self.wire.note_end(&closed);
                self.tell(connection, &News::Closed);
            }
            Input::Datagram(_) => self.wire.seen.datagrams += 1,
            Input::Acked(_) | Input::Path { .. } => {}
        }
    }

    fn take_answer(&mut self, connection: ConnectionId, answer: Answer) {
        let Some(line) = self.wire.lines.get_mut(&connection) else {
            return;
        };
        let Some(asked) = line.asked.take() else {
            return;
        };
        if let Some((stream, answer)) = line.answered(asked, answer) {
            self.hear_answer(connection, stream, answer);
        }
    }

    /// What the attacker wants next.
    fn next_output(&mut self, connection: ConnectionId) -> Option<Output> {
        let line = self.wire.lines.get_mut(&connection)?;
        if !line.is_connected {
            return None;
        }
        let mut output = line.next();
        if output.is_none() && !line.told_settled {
            line.told_settled = true;
            self.tell(connection, &News::Settled);
            output = self.wire.lines.get_mut(&connection)?.next();
        }
        let output = output?;
        self.wire.count(&output);
        if output.wants_answer() {
            self.wire.lines.get_mut(&connection)?.asked = Some(output.clone());
        }
        Some(output)
    }

    fn hear_answer(&mut self, connection: ConnectionId, stream: StreamId, answer: Answer) {
        match answer {
            Answer::Data(bytes) => {
                self.wire.line(connection).reads.push_back(stream);
                self.tell(connection, &News::Bytes(stream, bytes));
            }
            Answer::Reset(code) => *self.wire.seen.resets.entry(code).or_default() += 1,
            Answer::Fin
            | Answer::Done
            | Answer::Blocked
            | Answer::Wrote { .. }
            | Answer::TooLarge
            | Answer::Gone => {}
        }
    }
}

impl<A: Attack> Application for Attacker<A> {
    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.now = now;
        let Some(layer) = self.wire.layer(connection) else {
            return self.take(connection, input);
        };
        layer.handle_input(now, input);
        self.wire.dirty.insert(connection);
        self.pass_on(connection);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.now = now;
        let Some(layer) = self.wire.layer(connection) else {
            return self.take_answer(connection, answer);
        };
        let answer = layer.handle_answer(now, answer);
        if let Some(answer) = answer {
            self.take_answer(connection, answer);
        }
        self.pass_on(connection);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        if !self.begun {
            self.begun = true;
            self.give_up = Some(now + PATIENCE);
            self.attack.begin(&mut self.wire);
        }
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            self.attack.tick(&mut self.wire);
            for connection in self.wire.layered() {
                if let Some(layer) = self.wire.layer(connection) {
                    layer.handle_timeout(now);
                    self.wire.dirty.insert(connection);
                }
                self.pass_on(connection);
            }
        }
        if self.give_up.is_some_and(|at| at <= now) {
            let waiting = self.wire.lines.keys().map(|it| self.wire.waiting(*it));
            let waiting: Vec<usize> = waiting.collect();
            let why = format!(
                "the attack never ends: {}, {:?}, waiting {waiting:?}",
                self.attack.state(),
                self.wire.seen
            );
            self.exit = Some(Exit::Failure(why));
        }
        self.look();
    }

    fn handle_shutdown(&mut self, _now: Time) {
        let why = format!("interrupted: {}", self.attack.state());
        self.exit = Some(Exit::Failure(why));
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        let connection = self.wire.dirty.pop_first()?;
        if let Some(line) = self.wire.lines.get_mut(&connection) {
            line.full = false;
        }
        Some(connection)
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        loop {
            let Some(layer) = self.wire.layer(connection) else {
                return self.next_output(connection);
            };
            if let Some(output) = layer.poll_output() {
                return Some(output);
            }
            let output = self.next_output(connection)?;
            match self.wire.layer(connection)?.translate(now, output) {
                Translated::Ask(output) => return Some(output),
                Translated::Answered(answer) => self.take_answer(connection, answer),
                Translated::Done => {}
            }
            self.pass_on(connection);
        }
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.wire.connects.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        Some((self.next_tick, "the attacker's clock"))
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.exit.clone()
    }
}

/// A client that believes every server and waits long.
fn client_settings(transport: TransportSettings) -> Settings {
    Settings {
        server: None,
        client: ClientSettings {
            trust: Trust::Anyone,
            connect_timeout: Duration::from_secs(60),
        },
        transport,
    }
}

/// Runs an application of this test on the first runtime that was built.
pub(crate) fn run(application: &mut impl Application, transport: TransportSettings) -> Exit {
    #[cfg(feature = "tokio")]
    {
        let endpoint = oxymoq_tokio::Endpoint::bind(client_settings(transport)).unwrap();
        oxymoq_tokio::run(endpoint, application).unwrap()
    }
    #[cfg(not(feature = "tokio"))]
    {
        let endpoint = oxymoq_smol::Endpoint::bind(client_settings(transport)).unwrap();
        oxymoq_smol::run(endpoint, application).unwrap()
    }
}

/// Attacks the relay on this port of this machine until the attack is over.
pub(crate) fn carry_out<A: Attack>(mut attack: A, port: u16, over: Over) -> (A, Seen) {
    let transport = attack.transport();
    let port = attack.route(port);
    let mut attacker = Attacker {
        attack,
        wire: Wire {
            port,
            in_sessions: over == Over::WebTransport,
            ..Wire::default()
        },
        now: Time::ZERO,
        begun: false,
        next_tick: Time::ZERO,
        give_up: None,
        leaving: false,
        exit: None,
    };
    let exit = run(&mut attacker, transport);
    assert_eq!(exit, Exit::Success);
    (attacker.attack, attacker.wire.seen)
}
