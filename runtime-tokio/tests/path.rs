//! What depends on the network between the endpoints: loss, silence, address validation, and the end of a program.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::transport::{Closed, ConnectionId, Dir, Exit, Room};
use oxymoq_tokio::Endpoint;
use tokio::sync::{oneshot, watch};

use crate::support::{
    Happening, Proxy, Script, block_on, client_settings, run_bound, server_settings, target,
};

/// Sends back what comes on a stream, and exits when its client is gone.
fn echo() -> Script<impl FnMut(&mut crate::support::Wishes, ConnectionId, Happening)> {
    Script::new(|wishes, id, happening| match happening {
        Happening::Data(stream, bytes) => wishes.write(id, stream, bytes, false),
        Happening::Fin(stream) => wishes.write(id, stream, Bytes::new(), true),
        Happening::Closed(_) => wishes.succeed(),
        _ => {}
    })
}

#[test]
fn everything_arrives_over_a_path_that_loses_packets() {
    let endpoint = Endpoint::bind(server_settings()).unwrap();
    let sent = Bytes::from(vec![7; 300_000]);
    let mut received = 0;
    block_on(async {
        let proxy = Proxy::new(endpoint.local_address()).await;
        proxy.lose_every.set(20);
        let target = target(proxy.address);
        let mut client = Script::new(|wishes, id, happening| match happening {
            Happening::Started => {
                wishes.connect(target.clone());
            }
            Happening::Connected(..) => {
                let stream = wishes.open(id, Dir::Bi);
                wishes.write(id, stream, sent.clone(), true);
            }
            Happening::Data(_, bytes) => received += bytes.len(),
            Happening::Fin(_) => wishes.close(id, 0, "done"),
            Happening::Closed(_) => wishes.succeed(),
            _ => {}
        });
        let client_endpoint = Endpoint::bind(client_settings()).unwrap();
        let mut server = echo();
        tokio::select! {
            () = proxy.run() => {}
            // The server may miss the client's close and wait for the idle timeout, so it is not waited for.
            exit = endpoint.run(&mut server, pending()) => assert_eq!(exit.unwrap(), Exit::Success),
            exit = client_endpoint.run(&mut client, pending()) => assert_eq!(exit.unwrap(), Exit::Success),
        }
    });
    assert_eq!(received, sent.len());
}

#[test]
fn what_arrives_together_with_the_close_is_read_first() {
    // So few that the sockets on the way hold it all.
    const CONNECTIONS: usize = 5;
    let endpoint = Endpoint::bind(server_settings()).unwrap();
    let (mut received, mut gone) = (0, 0);
    block_on(async {
        let mut proxy = Proxy::new(endpoint.local_address()).await;
        let (hold, held) = watch::channel(false);
        proxy.held = held;
        let target = target(proxy.address);
        let (mut open, mut closed) = (Vec::new(), 0);
        let mut client = Script::new(|wishes, id, happening| match happening {
            Happening::Started => {
                for _ in 0..CONNECTIONS {
                    wishes.connect(target.clone());
                }
            }
            Happening::Connected(..) => {
                open.push(id);
                if open.len() == CONNECTIONS {
                    hold.send(true).unwrap();
                    for id in &open {
                        let stream = wishes.open(*id, Dir::Uni);
                        wishes.write(*id, stream, vec![5; 5000].into(), true);
                    }
                    // By the next round it is all on its way.
                    wishes.timeout = Some(Duration::from_millis(1));
                }
            }
            Happening::Timeout => {
                for id in &open {
                    wishes.close(*id, 0, "done");
                }
            }
            Happening::Closed(_) => {
                closed += 1;
                if closed == CONNECTIONS {
                    hold.send(false).unwrap();
                }
            }
            _ => {}
        });
        let mut server = Script::new(|wishes, _, happening| match happening {
            Happening::Data(_, bytes) => received += bytes.len(),
            Happening::Closed(_) => {
                gone += 1;
                if gone == CONNECTIONS {
                    wishes.succeed();
                }
            }
            _ => {}
        });
        let client_endpoint = Endpoint::bind(client_settings()).unwrap();
        tokio::select! {
            () = proxy.run() => {}
            _ = client_endpoint.run(&mut client, pending()) => panic!("the client ended first"),
            exit = endpoint.run(&mut server, pending()) => assert_eq!(exit.unwrap(), Exit::Success),
        }
    });
    assert_eq!(received, CONNECTIONS * 5000);
}

#[test]
fn unacknowledged_data_is_held_to_the_budget_and_urgent_data_may_use_twice_that() {
    // RFC 9002 recommends an initial congestion window of 14720 bytes at most.
    const BUDGET: usize = 14_720 * 3 / 2;
    const TOTAL: usize = 100_000;
    let endpoint = Endpoint::bind(server_settings()).unwrap();
    block_on(async {
        let proxy = Proxy::new(endpoint.local_address()).await;
        let lose_every = Rc::clone(&proxy.lose_every);
        let target = target(proxy.address);
        let taken = Cell::new((0, 0));
        let mut client = Script::new(|wishes, id, happening| match happening {
            Happening::Started => {
                wishes.connect(target.clone());
            }
            Happening::Connected(..) => {
                // From here on nothing arrives, so nothing is acknowledged.
                lose_every.set(1);
                let stream = wishes.open(id, Dir::Uni);
                wishes.write(id, stream, vec![1; TOTAL].into(), false);
            }
            Happening::Full(_, room) if !wishes.urgent => {
                assert_eq!(room, Room::ConnectionFull);
                taken.set((TOTAL - wishes.unsent, 0));
                wishes.urgent = true;
                let stream = wishes.open(id, Dir::Uni);
                wishes.write(id, stream, vec![2; TOTAL].into(), false);
            }
            Happening::Full(_, room) => {
                assert_eq!(room, Room::ConnectionFull);
                taken.set((taken.get().0, 2 * TOTAL - wishes.unsent - taken.get().0));
                wishes.close(id, 0, "seen");
            }
            Happening::Closed(closed) => {
                assert_eq!(closed, Closed::ByUs);
                wishes.succeed();
            }
            _ => {}
        });
        let client_endpoint = Endpoint::bind(client_settings()).unwrap();
        let mut server = echo();
        tokio::select! {
            () = proxy.run() => {}
            _ = endpoint.run(&mut server, pending()) => panic!("the server heard of the end"),
            exit = client_endpoint.run(&mut client, pending()) => assert_eq!(exit.unwrap(), Exit::Success),
        }
        let (data, urgent) = taken.get();
        // The byte beyond is what tells the two limits of quinn-proto apart.
        assert!((10_000..=BUDGET + 1).contains(&data), "{data}");
        assert!(
            (data..=2 * BUDGET + 1).contains(&(data + urgent)) && urgent >= 10_000,
            "{urgent}"
        );
    });
}

#[test]
fn silent_peer_times_out() {
    let endpoint = Endpoint::bind(server_settings()).unwrap();
    let address = endpoint.local_address();
    let mut settings = client_settings();
    settings.transport.idle_timeout = Duration::from_millis(300);
    settings.transport.keep_alive = Duration::ZERO;
    let (vanish, vanished) = oneshot::channel();
    let mut vanish = Some(vanish);
    let mut seen = None;
    block_on(async {
        let mut client = Script::new(|wishes, _, happening| match happening {
            Happening::Started => {
                wishes.connect(target(address));
            }
            Happening::Connected(..) => {
                vanish.take().unwrap().send(()).unwrap();
            }
            Happening::Closed(closed) => {
                seen = Some(closed);
                wishes.succeed();
            }
            _ => {}
        });
        let client_endpoint = Endpoint::bind(settings).unwrap();
        let mut server = echo();
        let server = async {
            tokio::select! {
                _ = endpoint.run(&mut server, pending()) => panic!("the server ended first"),
                // Dropped without a word.
                _ = vanished => {}
            }
        };
        let ((), exit) = tokio::join!(server, client_endpoint.run(&mut client, pending()));
        assert_eq!(exit.unwrap(), Exit::Success);
    });
    assert_eq!(seen, Some(Closed::TimedOut));
}

/// Connects this many clients at once, each of which leaves when all are connected.
fn connect_many(server: oxymoq_core::runtime::Settings, clients: usize) -> Vec<Closed> {
    let endpoint = Endpoint::bind(server).unwrap();
    let target = target(endpoint.local_address());
    let (mut connected, mut seen) = (Vec::new(), Vec::new());
    let mut client = Script::new(|wishes, id, happening| match happening {
        Happening::Started => {
            for _ in 0..clients {
                wishes.connect(target.clone());
            }
        }
        Happening::Connected(..) | Happening::Closed(_) => {
            match happening {
                Happening::Closed(closed) => seen.push(closed),
                _ => connected.push(id),
            }
            if connected.len() + seen.len() == clients {
                for id in connected.drain(..) {
                    wishes.close(id, 0, "all there");
                }
            }
            if seen.len() == clients {
                wishes.succeed();
            }
        }
        _ => {}
    });
    let mut server = Script::new(|wishes, _, happening| {
        if let Happening::Shutdown = happening {
            wishes.succeed();
        }
    });
    let client_endpoint = Endpoint::bind(client_settings()).unwrap();
    block_on(async {
        let (done, finished) = oneshot::channel();
        let clients = async {
            let exit = client_endpoint.run(&mut client, pending()).await;
            done.send(()).unwrap();
            exit
        };
        let shutdown = async {
            finished.await.unwrap();
        };
        let (served, exit) = tokio::join!(endpoint.run(&mut server, shutdown), clients);
        assert_eq!(
            (served.unwrap(), exit.unwrap()),
            (Exit::Success, Exit::Success)
        );
    });
    drop(client);
    seen
}

#[test]
fn clients_prove_their_address_once_handshakes_pile_up() {
    for (retry_above, expected) in [(1, false), (0, true)] {
        let mut settings = server_settings();
        settings.transport.retry_above = retry_above;
        let endpoint = Endpoint::bind(settings).unwrap();
        let retries = block_on(async {
            let proxy = Proxy::new(endpoint.local_address()).await;
            let retries = Rc::clone(&proxy.retries);
            let target = target(proxy.address);
            let mut client = Script::new(|wishes, id, happening| match happening {
                Happening::Started => {
                    wishes.connect(target.clone());
                }
                Happening::Connected(..) => wishes.close(id, 0, "let in"),
                Happening::Closed(closed) => {
                    assert_eq!(closed, Closed::ByUs);
                    wishes.succeed();
                }
                _ => {}
            });
            let client_endpoint = Endpoint::bind(client_settings()).unwrap();
            let mut server = Script::new(|_, _, _| {});
            tokio::select! {
                () = proxy.run() => {}
                _ = endpoint.run(&mut server, pending()) => panic!("the server ended"),
                exit = client_endpoint.run(&mut client, pending()) => assert_eq!(exit.unwrap(), Exit::Success),
            }
            retries.get()
        });
        assert_eq!(retries > 0, expected);
    }
}

#[test]
fn handshake_that_gets_no_further_is_given_up() {
    let mut settings = server_settings();
    settings.transport.handshake_timeout = Duration::from_millis(200);
    let endpoint = Endpoint::bind(settings).unwrap();
    let mut seen = None;
    block_on(async {
        let mut proxy = Proxy::new(endpoint.local_address()).await;
        proxy.lose_answers = true;
        let target = target(proxy.address);
        let mut client = Script::new(|wishes, _, happening| {
            if let Happening::Started = happening {
                wishes.connect(target.clone());
            }
        });
        let client_endpoint = Endpoint::bind(client_settings()).unwrap();
        let mut server = Script::new(|wishes, _, happening| {
            if let Happening::Closed(closed) = happening {
                seen = Some(closed);
                wishes.succeed();
            }
        });
        tokio::select! {
            () = proxy.run() => {}
            _ = client_endpoint.run(&mut client, pending()) => panic!("the client ended first"),
            exit = endpoint.run(&mut server, pending()) => assert_eq!(exit.unwrap(), Exit::Success),
        }
    });
    let why = "the client did not finish its handshake in time";
    assert_eq!(seen, Some(Closed::Failed(why.to_owned())));
}

#[test]
fn handshakes_beyond_the_limit_are_refused() {
    let mut settings = server_settings();
    settings.transport.max_handshakes = 2;
    let seen = connect_many(settings, 20);
    let refused =
        |closed: &&Closed| matches!(closed, Closed::Failed(why) if why.contains("refused"));
    let refusals = seen.iter().filter(refused).count();
    assert!((1..20).contains(&refusals), "{refusals}");
    assert_eq!(
        seen.iter()
            .filter(|closed| **closed == Closed::ByUs)
            .count(),
        20 - refusals
    );
}

#[test]
fn shutdown_is_told_once_and_the_peers_hear_the_application_s_goodbye() {
    let endpoint = Endpoint::bind(server_settings()).unwrap();
    let address = endpoint.local_address();
    let (stop, stopped) = oneshot::channel();
    let mut stop = Some(stop);
    let mut open = None;
    let mut told = 0;
    let mut seen = None;
    let mut server = Script::new(|wishes, id, happening| match happening {
        Happening::Connected(..) => {
            open = Some(id);
            stop.take().unwrap().send(()).unwrap();
        }
        Happening::Shutdown => {
            told += 1;
            wishes.close(open.unwrap(), 9, "going down");
        }
        Happening::Closed(_) => wishes.exit = Some(Exit::Failure("told so".to_owned())),
        _ => {}
    });
    let mut client = Script::new(|wishes, _, happening| match happening {
        Happening::Started => {
            wishes.connect(target(address));
        }
        Happening::Closed(closed) => {
            seen = Some(closed);
            wishes.succeed();
        }
        _ => {}
    });
    let client_endpoint = Endpoint::bind(client_settings()).unwrap();
    block_on(async {
        let shutdown = async {
            stopped.await.unwrap();
        };
        let (served, exit) = tokio::join!(
            endpoint.run(&mut server, shutdown),
            client_endpoint.run(&mut client, pending())
        );
        assert_eq!(served.unwrap(), Exit::Failure("told so".to_owned()));
        assert_eq!(exit.unwrap(), Exit::Success);
    });
    drop((server, client));
    assert_eq!(told, 1);
    let expected = Closed::ByPeer {
        code: 9,
        reason: "going down".into(),
    };
    assert_eq!(seen, Some(expected));
}

#[test]
fn shutdown_comes_with_the_time_of_its_own_moment() {
    const IDLE: Duration = Duration::from_millis(50);
    let endpoint = Endpoint::bind(server_settings()).unwrap();
    let mut idle = None;
    let mut started = None;
    let mut server = Script::new(|wishes, _, happening| match happening {
        Happening::Started => started = Some(wishes.now),
        Happening::Shutdown => {
            idle = started.map(|started| wishes.now.since(started));
            wishes.succeed();
        }
        _ => {}
    });
    // Nothing happens meanwhile: the endpoint's last round is long ago.
    block_on(async {
        let shutdown = tokio::time::sleep(IDLE);
        endpoint.run(&mut server, shutdown).await.unwrap()
    });
    drop(server);
    assert!(idle.unwrap() >= IDLE, "{idle:?}");
}

#[test]
fn exit_closes_what_the_application_left_open() {
    let endpoint = Endpoint::bind(server_settings()).unwrap();
    let target = target(endpoint.local_address());
    let mut seen = None;
    let mut server = Script::new(|wishes, _, happening| {
        if let Happening::Connected(..) = happening {
            wishes.succeed();
        }
    });
    let mut client = Script::new(|wishes, _, happening| match happening {
        Happening::Started => {
            wishes.connect(target.clone());
        }
        Happening::Closed(closed) => {
            seen = Some(closed);
            wishes.succeed();
        }
        _ => {}
    });
    run_bound((endpoint, &mut server), (client_settings(), &mut client));
    drop(client);
    assert!(
        matches!(seen, Some(Closed::ByPeer { code: 0, .. })),
        "{seen:?}"
    );
}
