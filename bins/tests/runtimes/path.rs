//! What depends on the network between two endpoints: loss, silence, and clients that do not get through.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an actor names what it reacts to"
)]

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::runtime::Settings;
use oxymoq_core::sim::Script;
use oxymoq_core::sim::contract::{Actor, Told};
use oxymoq_core::transport::{
    Answer, Closed, ConnectionId, Dir, Exit, Input, Output, Room, StreamId,
};

use crate::proxy::{Link, Proxy};
use crate::stack::{Stack, client_settings, run_actors, server_settings};

const C0: ConnectionId = ConnectionId(0);

/// The proxy of a running test, for the actors.
type OnTheWay = Rc<RefCell<Option<Proxy>>>;

/// Runs a server and a client with a proxy between them. The server ends with the client, whatever it heard of that.
fn run_through(
    (server, client): (Stack, Stack),
    serving: (&Actor, Settings),
    calling: (&Actor, Settings),
    proxy: impl FnOnce(SocketAddr) -> Proxy,
    on_the_way: &OnTheWay,
) {
    let endpoint = server.bind(serving.1);
    let proxy = proxy(endpoint.local_address());
    calling.0.meet("127.0.0.1", proxy.address().port());
    on_the_way.replace(Some(proxy));
    let exits = run_actors((endpoint, serving.0), (client.bind(calling.1), calling.0));
    assert_eq!(exits, (Exit::Success, Exit::Success));
}

/// An actor that exits as soon as it is asked to, and reacts like this to everything else.
fn obedient(mut react: impl FnMut(&mut Script, ConnectionId, Told<'_>) + 'static) -> Actor {
    Actor::new(move |script, id, told| match told {
        Told::Shutdown => script.exit(Exit::Success),
        other => react(script, id, other),
    })
}

fn settings() -> (Settings, Settings) {
    (server_settings(vec!["test".into()]), client_settings())
}

/// Bytes of which each tells its place.
fn pattern(length: usize) -> Bytes {
    let bytes = (0..length).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1] ^ n.to_le_bytes()[2]);
    bytes.collect()
}

fn perfect(server: SocketAddr) -> Proxy {
    Proxy::start(server, Link::default(), Link::default(), 1)
}

#[test]
fn everything_arrives_over_a_path_that_loses_packets() {
    const LENGTH: usize = 300_000;
    for pair in Stack::pairs() {
        let serving = obedient(|script, id, told| {
            if let Told::Answer(Output::Read { .. }, Answer::Fin) = told {
                script.send(id, StreamId::local(0), Dir::Uni, pattern(1));
            }
        });
        let calling = obedient(|script, id, told| match told {
            Told::Input(Input::Connected { .. }) => {
                script.send(id, StreamId::local(0), Dir::Uni, pattern(LENGTH));
            }
            Told::Answer(Output::Read { .. }, Answer::Fin) => script.exit(Exit::Success),
            Told::Input(Input::Closed(closed)) => panic!("{closed}"),
            _ => {}
        });
        let calling = calling.dialling(&["test"]);
        let (server, client) = settings();
        let lossy = Link {
            loss: 50,
            ..Link::default()
        };
        let on_the_way = OnTheWay::default();
        let proxy = |server| Proxy::start(server, lossy, lossy, 5);
        run_through(
            pair,
            (&serving, server),
            (&calling, client),
            proxy,
            &on_the_way,
        );
        let script = serving.script();
        let received = script.received().get(&(C0, StreamId::peer(0))).unwrap();
        assert!(received.bytes == pattern(LENGTH), "{pair:?}");
        let lost = on_the_way.take().unwrap().to_server().lost;
        assert!(lost > 0, "{pair:?}");
    }
}

// Rules: B352
/// Three writes, two of them urgent, when nothing is acknowledged any more.
#[test]
fn no_more_than_the_bound_is_under_way_and_twice_that_with_urgent_data() {
    const MAX: usize = 16 << 10;
    for pair in Stack::pairs() {
        let on_the_way = OnTheWay::default();
        let (proxy, taken) = (Rc::clone(&on_the_way), Rc::new(Cell::new(0)));
        let (mine, mut answers) = (Rc::clone(&taken), 0);
        let calling = obedient(move |script, id, told| match told {
            Told::Input(Input::Connected { .. }) => {
                proxy.borrow().as_ref().unwrap().silence(true);
                for urgent in [false, true, true] {
                    let stream = script.open(id, Dir::Uni);
                    let (bytes, fin) = (pattern(100_000), true);
                    let write = Output::Write {
                        stream,
                        bytes,
                        fin,
                        urgent,
                    };
                    script.push(id, write);
                }
            }
            Told::Answer(Output::Write { urgent, .. }, Answer::Wrote { taken, room }) => {
                assert_eq!(*room, Room::ConnectionFull);
                mine.set(mine.get() + taken);
                let max = if *urgent { 2 * MAX } else { MAX };
                // The end of the handshake may still be in flight, and one stack needs a byte to tell its limits apart.
                let bound = max - 2000..=max + 2;
                assert!(bound.contains(&mine.get()), "{mine:?} of {max}");
                answers += 1;
                if answers == 3 {
                    script.exit(Exit::Success);
                }
            }
            _ => {}
        });
        let calling = calling.dialling(&["test"]);
        let (server, mut client) = settings();
        client.transport.max_unacked = u64::try_from(MAX).unwrap();
        let serving = obedient(|_, _, _| {});
        run_through(
            pair,
            (&serving, server),
            (&calling, client),
            perfect,
            &on_the_way,
        );
        assert!(taken.get() > MAX);
    }
}

#[test]
fn clients_prove_their_address_once_handshakes_pile_up() {
    for (pair, (retry_above, expected)) in
        Stack::pairs().flat_map(|pair| [(100, false), (0, true)].map(|case| (pair, case)))
    {
        let calling = obedient(|script, _, told| match told {
            Told::Input(Input::Connected { .. }) => script.exit(Exit::Success),
            Told::Input(Input::Closed(closed)) => panic!("{closed}"),
            _ => {}
        });
        let calling = calling.dialling(&["test"]);
        let (mut server, client) = settings();
        server.transport.retry_above = retry_above;
        let (serving, on_the_way) = (obedient(|_, _, _| {}), OnTheWay::default());
        run_through(
            pair,
            (&serving, server),
            (&calling, client),
            perfect,
            &on_the_way,
        );
        let retries = on_the_way.take().unwrap().to_clients().retries;
        assert_eq!(retries > 0, expected, "{pair:?}");
    }
}

#[test]
fn handshake_that_gets_no_further_is_given_up() {
    for pair in Stack::pairs() {
        let over = Rc::new(Cell::new(false));
        let mine = Rc::clone(&over);
        let serving = obedient(move |_, _, told| {
            if let Told::Input(Input::Closed(_)) = told {
                mine.set(true);
            }
        });
        // It is told to end when its server has given it up.
        let calling = obedient(|_, _, _| {}).dialling(&["test"]).ended_by(over);
        let (mut server, client) = settings();
        server.transport.handshake_timeout = Duration::from_millis(200);
        let no_answers = Link {
            loss: 1000,
            ..Link::default()
        };
        let proxy = |server| Proxy::start(server, Link::default(), no_answers, 1);
        let on_the_way = OnTheWay::default();
        run_through(
            pair,
            (&serving, server),
            (&calling, client),
            proxy,
            &on_the_way,
        );
        let why = "the client did not finish its handshake in time".to_owned();
        let script = serving.script();
        let closings: Vec<_> = script.closings().cloned().collect();
        assert_eq!(closings, [Closed::Failed(why)], "{pair:?}");
    }
}
