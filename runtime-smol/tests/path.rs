//! What depends on the network between the endpoints: loss, silence, address validation, and the end of a program.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::runtime::Settings;
use oxymoq_core::transport::{Answer, Closed, Dir, Input, Output, Room};

use crate::support::{
    Event, Hands, Proxy, Scripted, bind, client_settings, log, never, pattern, server_settings,
    within_a_minute,
};

/// Connects one client through a proxy and runs all three until one of the applications exits.
fn run_through<S, C>(
    settings: (Settings, Settings),
    adjust: impl FnOnce(&mut Proxy),
    serve: S,
    call: C,
) where
    S: FnMut(&mut Hands, oxymoq_core::transport::ConnectionId, Event),
    C: FnMut(&mut Hands, oxymoq_core::transport::ConnectionId, Event),
{
    let server = bind(settings.0);
    let client = bind(settings.1);
    let mut serving = Scripted::new(serve);
    let mut calling = Scripted::new(call);
    within_a_minute(async {
        let mut proxy = Proxy::new(server.local_address()).await;
        adjust(&mut proxy);
        calling
            .hands
            .connect("127.0.0.1", proxy.port(), &["moqt-18"]);
        let both = smol::future::or(
            async {
                server.run(&mut serving, never()).await.unwrap();
            },
            async {
                client.run(&mut calling, never()).await.unwrap();
            },
        );
        smol::future::or(both, proxy.run()).await;
    });
}

#[test]
fn everything_arrives_over_a_path_that_loses_packets() {
    let mut received = Vec::new();
    let mut offset = 0;
    run_through(
        (server_settings(), client_settings()),
        |proxy| proxy.lose_every.set(20),
        |hands, id, event| match event {
            Event::Input(Input::Opened { stream, .. } | Input::Readable(stream)) => {
                hands.read(id, stream);
            }
            Event::Answer(Output::Read { stream, .. }, Answer::Data(bytes)) => {
                received.extend_from_slice(&bytes);
                hands.read(id, stream);
            }
            Event::Answer(_, Answer::Fin) => {
                assert!(received == pattern(300_000));
                hands.exit();
            }
            _ => {}
        },
        |hands, id, event| match event {
            Event::Input(Input::Connected { .. }) => {
                let stream = hands.open(id, Dir::Uni);
                hands.write(id, stream, pattern(300_000), true);
            }
            Event::Answer(Output::Write { .. }, Answer::Wrote { taken, .. }) => offset += taken,
            Event::Input(Input::Writable(stream)) => {
                hands.write(id, stream, pattern(300_000).slice(offset..), true);
            }
            _ => {}
        },
    );
}

#[test]
fn silent_peer_times_out() {
    let mut client = client_settings();
    client.transport.idle_timeout = Duration::from_millis(300);
    client.transport.keep_alive = Duration::ZERO;
    let lose_every = Rc::new(Cell::new(0));
    let seen = log::<Closed>();
    run_through(
        (server_settings(), client),
        |proxy| proxy.lose_every = Rc::clone(&lose_every),
        |_, _, _| {},
        |hands, _, event| match event {
            Event::Input(Input::Connected { .. }) => lose_every.set(1),
            Event::Input(Input::Closed(why)) => {
                seen.borrow_mut().push(why);
                hands.exit();
            }
            _ => {}
        },
    );
    assert_eq!(seen.take(), [Closed::TimedOut]);
}

#[test]
fn quiet_connection_is_kept_alive() {
    let mut client = client_settings();
    client.transport.idle_timeout = Duration::from_millis(300);
    client.transport.keep_alive = Duration::from_millis(50);
    let mut path_told = 0;
    run_through(
        (server_settings(), client),
        |_| {},
        |hands, id, event| match event {
            // Nothing is said for longer than the idle timeout.
            Event::Input(Input::Connected { .. }) => {
                hands.wake_after(id, Duration::from_millis(900));
            }
            Event::Woken => hands.push(id, Output::Datagram(Bytes::from_static(b"still there"))),
            _ => {}
        },
        move |hands, _, event| match event {
            Event::Input(Input::Path { rtt, .. }) => {
                assert!(rtt > Duration::ZERO);
                path_told += 1;
            }
            Event::Input(Input::Datagram(bytes)) => {
                assert_eq!(bytes, "still there");
                assert!(path_told > 0);
                hands.exit();
            }
            Event::Input(Input::Closed(why)) => panic!("{why}"),
            _ => {}
        },
    );
}

#[test]
fn clients_prove_their_address_once_handshakes_pile_up() {
    for (retry_above, expected) in [(100, false), (0, true)] {
        let mut server = server_settings();
        server.transport.retry_above = retry_above;
        let retries = Rc::new(Cell::new(0));
        run_through(
            (server, client_settings()),
            |proxy| proxy.retries = Rc::clone(&retries),
            |_, _, _| {},
            |hands, _, event| {
                if let Event::Input(input) = event {
                    assert!(matches!(input, Input::Connected { .. }), "{input:?}");
                    hands.exit();
                }
            },
        );
        assert_eq!(retries.get() > 0, expected);
    }
}

#[test]
fn handshake_that_gets_no_further_is_given_up() {
    let mut server = server_settings();
    server.transport.handshake_timeout = Duration::from_millis(200);
    let seen = log::<Closed>();
    run_through(
        (server, client_settings()),
        |proxy| proxy.lose_answers = true,
        |hands, _, event| {
            if let Event::Input(Input::Closed(why)) = event {
                seen.borrow_mut().push(why);
                hands.exit();
            }
        },
        |_, _, _| {},
    );
    let why = "the client did not finish its handshake in time".to_owned();
    assert_eq!(seen.take(), [Closed::Failed(why)]);
}

#[test]
fn handshakes_beyond_the_limit_are_refused() {
    let mut settings = server_settings();
    settings.transport.max_handshakes = 2;
    let server = bind(settings);
    let port = server.local_address().port();
    let client = bind(client_settings());
    let (mut connected, mut refused) = (0, 0);
    let mut calling = Scripted::new(|hands: &mut Hands, _, event| {
        match event {
            Event::Input(Input::Connected { .. }) => connected += 1,
            Event::Input(Input::Closed(why)) => {
                assert!(why.to_string().contains("refused"), "{why}");
                refused += 1;
            }
            _ => {}
        }
        if connected + refused == 20 {
            hands.exit();
        }
    });
    for _ in 0..20 {
        calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    }
    let mut serving = Scripted::new(|_: &mut Hands, _, _| {});
    within_a_minute(smol::future::or(
        server.run(&mut serving, never()),
        client.run(&mut calling, never()),
    ))
    .unwrap();
    drop(calling);
    assert!(connected > 0 && refused > 0, "{connected} {refused}");
}

#[test]
fn exit_closes_what_the_application_left_open() {
    let server = bind(server_settings());
    let port = server.local_address().port();
    let client = bind(client_settings());
    let mut serving = Scripted::new(|hands: &mut Hands, _, event| {
        if let Event::Input(Input::Connected { .. }) = event {
            hands.exit();
        }
    });
    let seen = log::<Closed>();
    let mut calling = Scripted::new(|hands: &mut Hands, _, event| {
        if let Event::Input(Input::Closed(why)) = event {
            seen.borrow_mut().push(why);
            hands.exit();
        }
    });
    calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    let (left, right) = within_a_minute(smol::future::zip(
        client.run(&mut calling, never()),
        server.run(&mut serving, never()),
    ));
    left.and(right).unwrap();
    let reason = Bytes::new();
    assert_eq!(seen.take(), [Closed::ByPeer { code: 0, reason }]);
}

#[test]
fn no_more_than_max_unacked_is_on_its_way_and_twice_that_with_urgent_data() {
    // Less than the initial congestion window would allow.
    const MAX: usize = 16 << 10;
    let mut client = client_settings();
    client.transport.max_unacked = u64::try_from(MAX).unwrap();
    let lose_every = Rc::new(Cell::new(0));
    let taken = Rc::new(Cell::new(0));
    run_through(
        (server_settings(), client),
        |proxy| proxy.lose_every = Rc::clone(&lose_every),
        |_, _, _| {},
        |hands, id, event| match event {
            Event::Input(Input::Connected { .. }) => {
                // From here on nothing arrives, so nothing is acknowledged.
                lose_every.set(1);
                for urgent in [false, true] {
                    for _ in 0..2 {
                        let stream = hands.open(id, Dir::Uni);
                        hands.push(
                            id,
                            Output::Write {
                                stream,
                                bytes: pattern(100_000),
                                fin: true,
                                urgent,
                            },
                        );
                    }
                }
            }
            Event::Answer(Output::Write { urgent, .. }, Answer::Wrote { taken: more, room }) => {
                assert_eq!(room, Room::ConnectionFull);
                taken.set(taken.get() + more);
                let max = if urgent { 2 * MAX } else { MAX };
                // The end of the handshake may still be in flight.
                assert!((max - 2000..=max).contains(&taken.get()), "{taken:?}");
                if urgent {
                    hands.exit();
                }
            }
            _ => {}
        },
    );
    assert!(taken.get() > MAX);
}
