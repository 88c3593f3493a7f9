//! The simulator itself: what it delivers, when, in which pieces, and what it forbids.

mod contract;
mod delivery;
mod limits;

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
