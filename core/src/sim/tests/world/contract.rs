//! What a world does not let an application do.

use super::*;

/// The message of a panic.
fn panic_message(attempt: impl FnOnce()) -> String {
    let attempt = std::panic::AssertUnwindSafe(attempt);
    let panic = std::panic::catch_unwind(attempt).expect_err("it was allowed");
    *panic.downcast::<String>().unwrap()
}

/// An application that reads what is readable and otherwise polls one write for ever.
#[derive(Default)]
struct Stubborn {
    dirty: Option<ConnectionId>,
    outputs: Vec<Output>,
    connects: u32,
    impatient: bool,
}

impl Application for Stubborn {
    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }
    fn handle_input(&mut self, _now: Time, connection: ConnectionId, _input: Input) {
        self.dirty = Some(connection);
    }
    fn handle_answer(&mut self, _now: Time, _connection: ConnectionId, _answer: Answer) {}
    fn handle_timeout(&mut self, _now: Time) {}
    fn handle_shutdown(&mut self, _now: Time) {}
    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.dirty.take()
    }
    fn poll_output(&mut self, _now: Time, _connection: ConnectionId) -> Option<Output> {
        (!self.outputs.is_empty()).then(|| self.outputs.remove(0))
    }
    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.connects = self.connects.checked_sub(1)?;
        let host = "host".to_owned();
        let alpns = vec![ALPN];
        Some((
            C0,
            Target {
                host,
                port: 1,
                alpns,
            },
        ))
    }
    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.impatient.then_some((Time::ZERO, "impatience"))
    }
    fn poll_exit(&mut self) -> Option<Exit> {
        None
    }
}

/// What the simulator says to a stubborn client of a server that stops whatever it receives.
fn breach_of(client: Stubborn) -> String {
    panic_message(|| {
        let mut world = World::new(1);
        let mut script = Script::new();
        script.pause();
        let server = world.add("server", script, tiny());
        world.listen(server, "host", 1, vec![ALPN]);
        world.add("client", client, TransportSettings::default());
        world.run_for(Duration::from_millis(45));
        world.with(server, |script: &mut Script, _| {
            let stream = StreamId::peer(0);
            script.push(C0, Output::Stop { stream, code: 1 });
        });
        world.run_for(Duration::from_secs(3));
        world.with(server, |script: &mut Script, _| {
            script.push(C0, Output::Datagram(content(1, 1)));
        });
        world.run_for(Duration::from_secs(1));
    })
}

#[test]
fn breaches_over_several_steps_panic() {
    let open = |n| Output::Open {
        stream: StreamId::local(n),
        dir: Dir::Uni,
    };
    let write = |n, length| Output::Write {
        stream: StreamId::local(n),
        bytes: content(1, length),
        fin: false,
        urgent: false,
    };
    let close = Output::Close {
        code: 0,
        reason: Bytes::new(),
    };
    let with = |outputs: Vec<Output>| Stubborn {
        outputs,
        connects: 1,
        ..Stubborn::default()
    };
    let stubborn = with(vec![open(0), write(0, 9)]);
    let message = breach_of(stubborn);
    assert!(
        message.contains("did not reset local stream 0"),
        "{message}"
    );
    let message = breach_of(with(vec![open(0), write(0, 999), write(0, 999)]));
    assert!(
        message.contains("asks again for what was refused"),
        "{message}"
    );
    let message = breach_of(with(vec![open(0), open(1), open(2), open(2)]));
    assert!(
        message.contains("asks again for what was refused"),
        "{message}"
    );
    let message = breach_of(with(vec![close, open(0)]));
    assert!(
        message.contains("asks for something after Close"),
        "{message}"
    );
    let impatient = Stubborn {
        impatient: true,
        ..Stubborn::default()
    };
    let message = breach_of(impatient);
    assert!(
        message.contains("client asks for \"impatience\" at once for ever"),
        "{message}"
    );
    let twice = Stubborn {
        connects: 2,
        ..Stubborn::default()
    };
    let message = breach_of(twice);
    assert!(
        message.contains("connects under the connection 0 twice"),
        "{message}"
    );
}

/// What the simulator says to a client that does this.
fn breach(outputs: Vec<Output>) -> String {
    panic_message(|| {
        let mut pair = Pair::plain(Link::default());
        let stream = StreamId::local(0);
        pair.server(|script| script.send(C0, stream, Dir::Uni, content(1, 10)));
        pair.world.run_for(Duration::from_secs(1));
        pair.client(|script| {
            script.push(
                C0,
                Output::Open {
                    stream,
                    dir: Dir::Uni,
                },
            );
            for output in outputs {
                script.push(C0, output);
            }
        });
        pair.world.run_for(Duration::from_secs(1));
    })
}

#[test]
fn breaches_of_the_contract_panic() {
    let stream = StreamId::local(0);
    let peers = StreamId::peer(0);
    let open = Output::Open {
        stream,
        dir: Dir::Uni,
    };
    let reset = Output::Reset { stream, code: 0 };
    let write = |stream, length, fin| Output::Write {
        stream,
        bytes: content(1, length),
        fin,
        urgent: false,
    };
    let read = |stream| Output::Read { stream, max: 1 };
    let cases = [
        (vec![open], "opens local stream 0 twice"),
        (
            vec![Output::Open {
                stream: StreamId::peer(9),
                dir: Dir::Uni,
            }],
            "the peer's to open",
        ),
        (vec![write(stream, 0, false)], "writes nothing"),
        (
            vec![write(stream, 1, true), write(stream, 1, false)],
            "after its fin",
        ),
        (
            vec![reset.clone(), write(stream, 1, false)],
            "after its reset",
        ),
        (vec![reset.clone(), reset], "resets local stream 0 twice"),
        (
            vec![write(StreamId::local(5), 1, false)],
            "uses local stream 5, which is not open",
        ),
        (
            vec![write(peers, 1, false)],
            "on which only the peer may write",
        ),
        (vec![read(stream)], "on which only it may write"),
        (vec![read(peers)], "after its end"),
        (
            vec![Output::Stop {
                stream: peers,
                code: 0,
            }],
            "after its end",
        ),
        (
            vec![Output::Read {
                stream: peers,
                max: 0,
            }],
            "reads zero bytes",
        ),
    ];
    for (outputs, expected) in cases {
        let message = breach(outputs);
        assert!(message.contains(expected), "{message}");
    }
}
