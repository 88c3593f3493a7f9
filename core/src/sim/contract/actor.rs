//! A script that reacts: one side of a case.

use std::cell::{Cell, Ref, RefCell};
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;

use crate::time::{Time, WallTime};
use crate::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
};

use super::super::script::Script;

/// Bytes that an actor's reads ask for.
const READ: usize = 10_000;
/// Whom what concerns no connection is told of.
const NOBODY: ConnectionId = ConnectionId(u64::MAX);

/// What an actor is told, after its script was.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// The run began.
    Started,
    /// Something happened on a connection.
    Input(&'a Input),
    /// What became of an output that wants an answer.
    Answer(&'a Output, &'a Answer),
    /// The script's deadline has come.
    Timeout,
    /// The operator wants an end. The script [leaves](Script::leave), unless it is told to [stay](Script::stay).
    Shutdown,
}

type React = Box<dyn FnMut(&mut Script, ConnectionId, Told<'_>)>;

/// A [`Script`] with a reaction to whatever it is told. Clones are the same actor, so that a test can look at it afterwards.
#[derive(Clone)]
pub struct Actor {
    shared: Rc<RefCell<Shared>>,
    held: Rc<Cell<bool>>,
    to_end: Rc<Cell<bool>>,
}

struct Shared {
    script: Script,
    dials: Vec<Dial>,
    started: bool,
    react: React,
}

/// A connection that a client is to open.
struct Dial {
    /// Where to, if not at the server under test.
    host: Option<&'static str>,
    alpns: Vec<Bytes>,
}

impl Actor {
    /// One that reacts like this.
    pub fn new(react: impl FnMut(&mut Script, ConnectionId, Told<'_>) + 'static) -> Self {
        let mut script = Script::new();
        script.read_at_most(READ);
        let shared = Shared {
            script,
            dials: Vec::new(),
            started: false,
            react: Box::new(react),
        };
        Self {
            shared: Rc::new(RefCell::new(shared)),
            held: Rc::default(),
            to_end: Rc::default(),
        }
    }

    /// One that accepts whoever comes, reads everything and says nothing.
    pub fn silent() -> Self {
        Self::new(|_, _, _| {})
    }

    /// Has it connect once more, offering these protocols.
    #[must_use]
    pub fn dialling(self, alpns: &[&'static str]) -> Self {
        self.dialling_at(None, alpns)
    }

    /// Has it connect once more to a host of that name, at the server's port.
    #[must_use]
    pub fn dialling_at(self, host: Option<&'static str>, alpns: &[&'static str]) -> Self {
        let alpns = super::protocols(alpns);
        self.shared.borrow_mut().dials.push(Dial { host, alpns });
        self
    }

    /// What the harness tells a client before it runs: where the server is.
    pub fn meet(&self, host: &str, port: u16) {
        let shared = &mut *self.shared.borrow_mut();
        for dial in shared.dials.drain(..) {
            let host = dial.host.unwrap_or(host);
            shared.script.connect(host, port, dial.alpns);
        }
    }

    /// Whether its endpoint must not be polled now: packets pile up in its socket.
    ///
    /// The harness [releases](Actor::release) it when the other side has exited.
    pub fn is_held(&self) -> bool {
        self.held.get()
    }

    /// Has this say whether it is held; either side's reaction may change it.
    #[must_use]
    pub fn held_by(mut self, held: Rc<Cell<bool>>) -> Self {
        self.held = held;
        self
    }

    /// Whether its shutdown is to be asked for, whatever the other side does.
    pub fn is_to_end(&self) -> bool {
        self.to_end.get()
    }

    /// Has this say whether its shutdown is to be asked for; either side's reaction may change it.
    #[must_use]
    pub fn ended_by(mut self, to_end: Rc<Cell<bool>>) -> Self {
        self.to_end = to_end;
        self
    }

    /// Lets its endpoint work again.
    pub fn release(&self) {
        self.held.set(false);
    }

    /// The script, with all that it remembers.
    pub fn script(&self) -> Ref<'_, Script> {
        Ref::map(self.shared.borrow(), |shared| &shared.script)
    }

    /// Changes the script before the run.
    #[must_use]
    pub fn with(self, change: impl FnOnce(&mut Script)) -> Self {
        change(&mut self.shared.borrow_mut().script);
        self
    }

    fn tell(&self, connection: ConnectionId, told: Told<'_>) {
        let shared = &mut *self.shared.borrow_mut();
        (shared.react)(&mut shared.script, connection, told);
    }

    fn act<R>(&self, act: impl FnOnce(&mut Script) -> R) -> R {
        act(&mut self.shared.borrow_mut().script)
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor")
            .field("script", &*self.script())
            .finish_non_exhaustive()
    }
}

impl Application for Actor {
    fn handle_wall_clock(&mut self, now: Time, wall: WallTime) {
        self.act(|script| script.handle_wall_clock(now, wall));
        let started = std::mem::replace(&mut self.shared.borrow_mut().started, true);
        if !started {
            self.tell(NOBODY, Told::Started);
        }
    }

    fn handle_incoming(&mut self, now: Time, incoming: &Incoming) -> Admission {
        self.act(|script| script.handle_incoming(now, incoming))
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.act(|script| script.handle_input(now, connection, input.clone()));
        self.tell(connection, Told::Input(&input));
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        let asked = self.act(|script| {
            let asked = script.asked(connection).cloned();
            script.handle_answer(now, connection, answer.clone());
            asked
        });
        let asked = asked.unwrap_or_else(|| panic!("{answer:?} to nothing on {connection}"));
        self.tell(connection, Told::Answer(&asked, &answer));
    }

    fn handle_timeout(&mut self, now: Time) {
        self.act(|script| script.handle_timeout(now));
        self.tell(NOBODY, Told::Timeout);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.act(|script| {
            script.handle_shutdown(now);
            script.stay();
            script.leave();
        });
        self.tell(NOBODY, Told::Shutdown);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.act(Script::poll_dirty)
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        self.act(|script| script.poll_output(now, connection))
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.act(Script::poll_connect)
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.script().poll_timeout()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.act(Script::poll_exit)
    }
}
