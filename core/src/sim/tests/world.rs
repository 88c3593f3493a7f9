//! The simulator itself: what it delivers, when, in which pieces, and what it forbids.

use std::time::Duration;

use bytes::Bytes;

use crate::runtime::TransportSettings;
use crate::sim::{Link, NodeId, Random, Received, Script, World};
use crate::time::Time;
use crate::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Dir, Exit, Incoming, Input, Output, Room,
    StreamId, Target,
};

const ALPN: Bytes = Bytes::from_static(b"test");
const PATIENCE: Duration = Duration::from_secs(60);
const C0: ConnectionId = ConnectionId(0);

/// A client that is connected to a server, both scripts.
struct Pair {
    world: World,
    client: NodeId,
    server: NodeId,
}

impl Pair {
    fn new(seed: u64, link: Link, client: TransportSettings, server: TransportSettings) -> Self {
        let mut world = World::new(seed);
        world.set_default_link(link);
        let accepting = world.add("server", Script::new(), server);
        world.listen(accepting, "host", 1, vec![ALPN]);
        let script = Script::connecting("host", 1, vec![ALPN]);
        let client = world.add("client", script, client);
        let mut pair = Self {
            world,
            client,
            server: accepting,
        };
        pair.until(|client, server| {
            let connected = |script: &Script| {
                let mut inputs = script.inputs().iter();
                inputs.any(|(_, input)| matches!(input, Input::Path { .. }))
            };
            connected(client) && connected(server)
        });
        pair
    }

    fn plain(link: Link) -> Self {
        Self::new(
            1,
            link,
            TransportSettings::default(),
            TransportSettings::default(),
        )
    }

    fn until(&mut self, condition: impl Fn(&Script, &Script) -> bool) {
        let (client, server) = (self.client, self.server);
        self.world
            .run_until(
                |world| condition(world.node(client), world.node(server)),
                PATIENCE,
            )
            .unwrap();
    }

    fn client(&mut self, act: impl FnOnce(&mut Script)) {
        self.world.with(self.client, |script, _| act(script));
    }

    fn server(&mut self, act: impl FnOnce(&mut Script)) {
        self.world.with(self.server, |script, _| act(script));
    }
}

fn content(n: u64, length: usize) -> Bytes {
    let mut random = Random::new(n);
    (0..length)
        .map(|_| random.number().to_le_bytes()[0])
        .collect()
}

fn received(script: &Script, stream: StreamId) -> Received {
    script
        .received()
        .get(&(C0, stream))
        .cloned()
        .unwrap_or_default()
}

fn complete(script: &Script) -> usize {
    let mut ends = 0;
    for ((_, stream), received) in script.received() {
        ends += usize::from(!stream.is_local() && received.end.is_some());
    }
    ends
}

#[test]
fn handshake_takes_one_round_trip_and_names_the_protocol() {
    let mut world = World::new(1);
    let server = world.add("server", Script::new(), TransportSettings::default());
    let ours = [Bytes::from_static(b"b"), Bytes::from_static(b"a")];
    world.listen(server, "host", 1, ours.to_vec());
    let theirs = ["x", "a", "b"].map(Bytes::from);
    let script = Script::connecting("host", 1, theirs.to_vec());
    let client = world.add("client", script, TransportSettings::default());
    let start = world.now();
    world
        .run_until(
            |world| !world.node::<Script>(client).inputs().is_empty(),
            PATIENCE,
        )
        .unwrap();
    assert_eq!(world.now().since(start), Duration::from_millis(20));
    let connected = Input::Connected {
        alpn: Bytes::from_static(b"b"),
        max_datagram: 1200,
    };
    assert!(world.node::<Script>(client).was_told(&connected));
    world.run_for(Duration::from_millis(10));
    assert!(world.node::<Script>(server).was_told(&connected));
}

#[test]
fn connecting_fails_where_it_must() {
    let failed = |why: &str| Input::Closed(Closed::Failed(why.to_owned()));
    let mut world = World::new(1);
    let server = world.add("server", Script::new(), TransportSettings::default());
    world.listen(server, "host", 1, vec![ALPN]);
    let mut refusing = Script::new();
    refusing.refuse();
    let refusing = world.add("refusing", refusing, TransportSettings::default());
    world.listen(refusing, "host", 2, vec![ALPN]);
    let mut script = Script::connecting("host", 1, vec![Bytes::from_static(b"other")]);
    script.connect("host", 2, vec![ALPN]);
    script.connect("host", 3, vec![ALPN]);
    let client = world.add("client", script, TransportSettings::default());
    world.run_for(Duration::from_secs(1));
    let told = world.node::<Script>(client).inputs();
    assert_eq!(
        told,
        [
            (C0, failed("no common application protocol")),
            (ConnectionId(1), failed("refused by the server")),
            (ConnectionId(2), failed("nobody listens there")),
        ]
    );
    let server = world.node::<Script>(server);
    assert!(server.was_told(&failed("no common application protocol")));
    assert!(world.connections(client).is_empty());
}

/// Many streams in both directions over a bad path: everything arrives, unchanged, with its end.
fn bulk(seed: u64, link: Link, settings: TransportSettings, vague: bool) -> Pair {
    let mut pair = Pair::new(seed, link, settings.clone(), settings);
    if vague {
        pair.world.hide_full_connections();
    }
    pair.client(Script::finish_back);
    pair.server(Script::finish_back);
    let streams = 20;
    for n in 0..streams {
        let dir = if n % 3 == 0 { Dir::Bi } else { Dir::Uni };
        pair.client(|script| script.send(C0, StreamId::local(n), dir, content(n, 700)));
        pair.server(|script| script.send(C0, StreamId::local(n), dir, content(100 + n, 300)));
    }
    let total = usize::try_from(streams).unwrap();
    pair.until(|client, server| complete(client) == total && complete(server) == total);
    for (node, base, length) in [(pair.server, 0, 700), (pair.client, 100, 300)] {
        let mut got: Vec<Bytes> = Vec::new();
        for ((_, stream), received) in pair.world.node::<Script>(node).received() {
            if !stream.is_local() && received.end.is_some() {
                assert_eq!(received.end, Some(Answer::Fin));
                got.push(received.bytes.clone().freeze());
            }
        }
        let mut sent: Vec<Bytes> = (0..streams).map(|n| content(base + n, length)).collect();
        got.sort();
        sent.sort();
        assert_eq!(got, sent);
    }
    pair.world.run_for(Duration::from_secs(2));
    for node in [pair.client, pair.server] {
        let mut acked = 0;
        for (_, input) in pair.world.node::<Script>(node).inputs() {
            acked += usize::from(matches!(input, Input::Acked(_)));
        }
        // Seven of the twenty streams go both ways, and their other direction was ended too.
        assert_eq!(acked, total + 7);
    }
    assert_eq!(pair.world.unacked(pair.client, C0), 0);
    assert_eq!(pair.world.unread(pair.server, C0), 0);
    pair
}

fn tiny() -> TransportSettings {
    TransportSettings {
        max_uni_streams: 2,
        max_bidi_streams: 1,
        receive_window: 90,
        publisher_window: 90,
        stream_window: 40,
        max_unacked: 64,
        ..TransportSettings::default()
    }
}

#[test]
fn everything_arrives_over_a_plain_path() {
    bulk(1, Link::default(), TransportSettings::default(), false);
}

#[test]
fn everything_arrives_over_a_rough_path() {
    for seed in 0..10 {
        bulk(seed, Link::rough(), TransportSettings::default(), false);
    }
}

#[test]
fn everything_arrives_through_tiny_windows_and_stream_limits() {
    for seed in 0..4 {
        let pair = bulk(seed, Link::rough(), tiny(), seed % 2 == 0);
        let client = pair.world.node::<Script>(pair.client);
        let short = |room: Room| {
            client.answers().iter().any(
                |(_, answer)| matches!(answer, Answer::Wrote { room: told, .. } if *told == room),
            )
        };
        assert!(short(Room::StreamFull));
        assert_eq!(short(Room::ConnectionFull), seed % 2 == 1);
        assert!(client.answers().contains(&(C0, Answer::Blocked)));
        assert!(client.was_told(&Input::CanOpen(Dir::Uni)));
        assert!(client.was_told(&Input::CanOpen(Dir::Bi)));
    }
}

#[test]
fn everything_arrives_over_a_narrow_path() {
    let link = Link {
        rate: Some(20_000),
        ..Link::rough()
    };
    bulk(3, link, TransportSettings::default(), false);
}

#[test]
fn equal_seeds_give_equal_traces_and_others_do_not() {
    let hash = |seed| {
        let pair = bulk(seed, Link::rough(), tiny(), false);
        pair.world.trace().hash()
    };
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5), hash(6));
}

#[test]
fn rate_sets_how_long_a_transfer_takes() {
    let link = Link {
        rate: Some(100_000),
        ..Link::default()
    };
    let mut pair = Pair::plain(link);
    let start = pair.world.now();
    pair.client(|script| script.send(C0, StreamId::local(0), Dir::Uni, content(1, 100_000)));
    pair.until(|_, server| complete(server) == 1);
    let took = pair.world.now().since(start);
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_millis(1100), "{took:?}");
}

#[test]
fn pieces_of_different_streams_overtake_each_other_only_if_allowed() {
    let first_to_end = |reorder| {
        let mut orders = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let link = Link {
                jitter: Duration::from_millis(50),
                reorder,
                ..Link::default()
            };
            let settings = TransportSettings::default();
            let mut pair = Pair::new(seed, link, settings.clone(), settings);
            for n in 0..2 {
                pair.client(|script| script.send(C0, StreamId::local(n), Dir::Uni, content(n, 9)));
            }
            pair.until(|_, server| complete(server) > 0);
            let server = pair.world.node::<Script>(pair.server);
            orders.insert(received(server, StreamId::peer(0)).end.is_some());
        }
        orders.len()
    };
    assert_eq!(first_to_end(false), 1);
    assert_eq!(first_to_end(true), 2);
}

#[test]
fn later_stream_makes_earlier_ones_of_its_kind_appear() {
    let mut pair = Pair::plain(Link::default());
    pair.client(|script| {
        let (stream, dir) = (StreamId::local(7), Dir::Uni);
        script.push(C0, Output::Open { stream, dir });
        script.send(C0, StreamId::local(8), Dir::Uni, content(1, 1));
    });
    pair.until(|_, server| complete(server) == 1);
    let server = pair.world.node::<Script>(pair.server);
    let opened = |n| Input::Opened {
        stream: StreamId::peer(n),
        dir: Dir::Uni,
    };
    assert!(server.was_told(&opened(0)));
    assert!(server.was_told(&opened(1)));
    assert_eq!(received(server, StreamId::peer(0)), Received::default());
    assert_eq!(received(server, StreamId::peer(1)).end, Some(Answer::Fin));
}

#[test]
fn reader_that_pauses_holds_the_writer_to_its_window() {
    let settings = TransportSettings {
        receive_window: 5_000,
        ..TransportSettings::default()
    };
    let mut pair = Pair::new(1, Link::default(), settings.clone(), settings);
    pair.server(Script::pause);
    pair.client(|script| script.send(C0, StreamId::local(0), Dir::Uni, content(1, 50_000)));
    pair.world.run_for(Duration::from_secs(10));
    assert_eq!(pair.world.unread(pair.server, C0), 5_000);
    assert_eq!(pair.world.node::<Script>(pair.client).waiting(), 1);
    pair.server(Script::resume);
    pair.until(|_, server| complete(server) == 1);
    let server = pair.world.node::<Script>(pair.server);
    assert_eq!(
        received(server, StreamId::peer(0)).bytes,
        content(1, 50_000)
    );
}

#[test]
fn unacknowledged_bytes_are_bounded_and_urgent_ones_may_be_twice_as_many() {
    let client = TransportSettings {
        max_unacked: 1_000,
        ..TransportSettings::default()
    };
    let mut pair = Pair::new(1, Link::default(), client, TransportSettings::default());
    pair.client(|script| script.send(C0, StreamId::local(0), Dir::Uni, content(1, 5_000)));
    assert_eq!(pair.world.unacked(pair.client, C0), 1_000);
    pair.client(|script| {
        let (stream, dir) = (StreamId::local(1), Dir::Uni);
        script.push(C0, Output::Open { stream, dir });
        script.push(
            C0,
            Output::Write {
                stream,
                bytes: content(2, 5_000),
                fin: true,
                urgent: true,
            },
        );
    });
    assert_eq!(pair.world.unacked(pair.client, C0), 2_000);
    pair.until(|_, server| complete(server) == 2);
}

#[test]
fn reset_reaches_the_reader_and_gives_its_window_back() {
    let settings = TransportSettings {
        receive_window: 1_000,
        ..TransportSettings::default()
    };
    let mut pair = Pair::new(1, Link::default(), settings.clone(), settings);
    pair.server(Script::pause);
    let reset = Output::Reset {
        stream: StreamId::local(0),
        code: 42,
    };
    pair.client(|script| script.send(C0, StreamId::local(0), Dir::Uni, content(1, 1_500)));
    pair.world.run_for(Duration::from_secs(1));
    pair.client(|script| script.push(C0, reset));
    pair.world.run_for(Duration::from_secs(1));
    pair.server(Script::resume);
    pair.client(|script| script.send(C0, StreamId::local(1), Dir::Uni, content(2, 3_000)));
    pair.until(|_, server| complete(server) == 2);
    let server = pair.world.node::<Script>(pair.server);
    assert_eq!(
        received(server, StreamId::peer(0)).end,
        Some(Answer::Reset(42))
    );
    assert_eq!(received(server, StreamId::peer(1)).bytes, content(2, 3_000));
}

#[test]
fn stop_reaches_the_writer_and_gives_window_and_stream_back() {
    let settings = TransportSettings {
        receive_window: 1_000,
        max_uni_streams: 1,
        ..TransportSettings::default()
    };
    let mut pair = Pair::new(1, Link::default(), settings.clone(), settings);
    pair.server(Script::pause);
    pair.client(|script| script.send(C0, StreamId::local(0), Dir::Uni, content(1, 1_500)));
    pair.world.run_for(Duration::from_secs(1));
    pair.server(|script| {
        let stream = StreamId::peer(0);
        script.push(C0, Output::Stop { stream, code: 7 });
        script.resume();
    });
    pair.client(|script| script.send(C0, StreamId::local(1), Dir::Uni, content(2, 3_000)));
    pair.until(|_, server| complete(server) == 1);
    let stopped = Input::Stopped {
        stream: StreamId::local(0),
        code: 7,
    };
    let client = pair.world.node::<Script>(pair.client);
    assert!(client.was_told(&stopped));
    let server = pair.world.node::<Script>(pair.server);
    assert_eq!(received(server, StreamId::peer(0)), Received::default());
    assert_eq!(received(server, StreamId::peer(1)).bytes, content(2, 3_000));
}

#[test]
fn write_after_the_peer_stopped_is_answered_gone() {
    let mut pair = Pair::plain(Link::default());
    let stream = StreamId::local(0);
    pair.client(|script| {
        script.push(
            C0,
            Output::Open {
                stream,
                dir: Dir::Uni,
            },
        );
    });
    pair.client(|script| {
        let bytes = content(1, 10);
        script.push(
            C0,
            Output::Write {
                stream,
                bytes,
                fin: false,
                urgent: false,
            },
        );
    });
    pair.world.run_for(Duration::from_millis(15));
    pair.server(|script| {
        let stream = StreamId::peer(0);
        script.push(C0, Output::Stop { stream, code: 7 });
    });
    pair.until(|client, _| client.was_told(&Input::Stopped { stream, code: 7 }));
    let client = pair.world.node::<Script>(pair.client);
    assert_eq!(client.answers().len(), 2);
}

#[test]
fn stream_limit_is_raised_and_never_lowered() {
    let server = TransportSettings {
        max_uni_streams: 1,
        receive_window: 10,
        publisher_window: 1_000,
        ..TransportSettings::default()
    };
    let mut pair = Pair::new(1, Link::default(), TransportSettings::default(), server);
    pair.server(Script::pause);
    for n in 0..5 {
        pair.client(|script| script.send(C0, StreamId::local(n), Dir::Uni, content(n, 100)));
    }
    pair.world.run_for(Duration::from_secs(1));
    assert_eq!(pair.world.unread(pair.server, C0), 10);
    for count in [4, 2] {
        pair.server(|script| {
            script.push(
                C0,
                Output::AllowStreams {
                    dir: Dir::Uni,
                    count,
                },
            );
        });
        pair.world.run_for(Duration::from_secs(1));
        // Four streams, and the window of a publisher with them.
        assert_eq!(pair.world.unread(pair.server, C0), 400);
    }
    pair.server(Script::resume);
    pair.until(|_, server| complete(server) == 5);
}

#[test]
fn datagrams_arrive_are_too_large_blocked_or_lost() {
    let link = Link {
        rate: Some(10_000),
        ..Link::default()
    };
    let settings = TransportSettings {
        datagram_send_buffer: 1_000,
        ..TransportSettings::default()
    };
    let mut pair = Pair::new(1, link.clone(), settings.clone(), settings.clone());
    pair.client(|script| {
        script.push(C0, Output::Datagram(content(1, 1_201)));
        for n in 0..20 {
            script.push(C0, Output::Datagram(content(n, 500)));
        }
    });
    let datagrams = |script: &Script| {
        let mut count = 0;
        for (_, input) in script.inputs() {
            count += u32::from(matches!(input, Input::Datagram(_)));
        }
        count
    };
    pair.until(|_, server| datagrams(server) == 20);
    let client = pair.world.node::<Script>(pair.client);
    assert!(client.answers().contains(&(C0, Answer::TooLarge)));
    assert!(client.answers().contains(&(C0, Answer::Blocked)));
    assert!(client.was_told(&Input::DatagramRoom));
    assert!(
        pair.world
            .node::<Script>(pair.server)
            .was_told(&Input::Datagram(content(7, 500)))
    );

    let lossy = Link { loss: 300, ..link };
    let mut pair = Pair::new(1, lossy, settings.clone(), settings);
    pair.client(|script| {
        for n in 0..100 {
            script.push(C0, Output::Datagram(content(n, 10)));
        }
    });
    pair.world.run_for(Duration::from_secs(5));
    let arrived = datagrams(pair.world.node(pair.server));
    assert!((50..90).contains(&arrived), "{arrived}");
}

#[test]
fn close_is_told_to_both_with_its_code() {
    let mut pair = Pair::plain(Link::default());
    let reason = Bytes::from_static(b"bye");
    let close = Output::Close {
        code: 5,
        reason: reason.clone(),
    };
    pair.client(|script| script.push(C0, close));
    let by_peer = Input::Closed(Closed::ByPeer { code: 5, reason });
    pair.until(|_, server| server.was_told(&by_peer));
    let client = pair.world.node::<Script>(pair.client);
    assert!(client.was_told(&Input::Closed(Closed::ByUs)));
    assert!(pair.world.connections(pair.client).is_empty());
    assert!(pair.world.connections(pair.server).is_empty());
}

#[test]
fn stall_holds_everything_and_then_lets_it_through_in_order() {
    let mut pair = Pair::plain(Link::default());
    pair.client(|script| script.send(C0, StreamId::local(0), Dir::Uni, content(1, 5_000)));
    pair.world.stall(pair.client, C0, Duration::from_secs(3));
    pair.client(|script| script.send(C0, StreamId::local(1), Dir::Uni, content(2, 5_000)));
    pair.world.run_for(Duration::from_millis(2_999));
    assert!(pair.world.node::<Script>(pair.server).received().is_empty());
    pair.world.run_for(Duration::from_millis(1));
    let server = pair.world.node::<Script>(pair.server);
    assert_eq!(received(server, StreamId::peer(0)).bytes, content(1, 5_000));
    assert_eq!(received(server, StreamId::peer(1)).bytes, content(2, 5_000));
}

#[test]
fn half_open_death_is_noticed_by_one_idle_timeout_after_the_other() {
    let mut pair = Pair::plain(Link::default());
    let start = pair.world.now();
    let timed_out = Input::Closed(Closed::TimedOut);
    pair.world.mute(pair.client, C0);
    pair.until(|_, server| server.was_told(&timed_out));
    assert_eq!(pair.world.now().since(start), Duration::from_secs(30));
    assert!(!pair.world.node::<Script>(pair.client).was_told(&timed_out));
    pair.until(|client, _| client.was_told(&timed_out));
    assert_eq!(pair.world.now().since(start), Duration::from_secs(60));
}

#[test]
fn crash_is_noticed_by_the_idle_timeout() {
    let mut pair = Pair::plain(Link::default());
    pair.world.crash(pair.server);
    let client = pair.client;
    let timed_out = Input::Closed(Closed::TimedOut);
    pair.world
        .run_until(
            |world| world.node::<Script>(client).was_told(&timed_out),
            PATIENCE,
        )
        .unwrap();
}

#[test]
fn program_that_ends_closes_its_connections() {
    let mut pair = Pair::plain(Link::default());
    pair.world.shut_down(pair.client);
    assert_eq!(pair.world.exit(pair.client), Some(&Exit::Success));
    let (code, reason) = (0, Bytes::new());
    let by_peer = Input::Closed(Closed::ByPeer { code, reason });
    pair.until(|_, server| server.was_told(&by_peer));
}

#[test]
fn deadline_is_called_when_due() {
    let mut pair = Pair::plain(Link::default());
    let at = pair.world.now() + Duration::from_secs(5);
    pair.client(|script| script.set_deadline(at));
    pair.until(|client, _| client.poll_timeout().is_none());
    assert_eq!(pair.world.now(), at);
}

#[test]
fn waiting_for_what_never_comes_is_an_error_with_a_trace() {
    let mut pair = Pair::plain(Link::default());
    let stuck = pair.world.run_until(|_| false, PATIENCE).unwrap_err();
    let text = stuck.to_string();
    assert!(text.starts_with("nothing happens any more"), "{text}");
    assert!(text.contains("Connected"), "{text}");
}

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
