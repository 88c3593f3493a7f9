//! Connections between two endpoints over the loopback interface: what the contract promises, seen on real sockets.

use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::runtime::{Congestion, Settings, TransportSettings};
use oxymoq_core::transport::{Application, Closed, ConnectionId, Dir, Exit, Output, StreamId};
use oxymoq_tokio::Endpoint;

use crate::support::{
    Happening, Script, Wishes, client_settings, run_bound, server_settings, target,
};

/// A server that does what the closure says, and the endpoint it is to run on.
fn listen() -> (Endpoint, oxymoq_core::transport::Target) {
    let endpoint = Endpoint::bind(server_settings()).unwrap();
    let target = target(endpoint.local_address());
    (endpoint, target)
}

fn run_both(server: (Endpoint, impl Application), client: impl Application) {
    let (endpoint, mut server) = server;
    let mut client = client;
    let exits = run_bound((endpoint, &mut server), (client_settings(), &mut client));
    assert_eq!(exits, (Exit::Success, Exit::Success));
}

/// Echoes every stream and datagram, and exits when its client is gone.
fn echo(wishes: &mut Wishes, id: ConnectionId, happening: Happening) {
    match happening {
        Happening::Data(stream, bytes) => wishes.write(id, stream, bytes, false),
        Happening::Fin(stream) => wishes.write(id, stream, Bytes::new(), true),
        Happening::Datagram(bytes) => wishes.output(id, Output::Datagram(bytes)),
        Happening::Closed(_) => wishes.succeed(),
        _ => {}
    }
}

/// Bytes of which every place differs from its neighbours.
fn pattern(length: usize) -> Bytes {
    (0..length)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1] ^ n.to_le_bytes()[2])
        .collect()
}

#[test]
fn megabyte_comes_back_over_a_bidirectional_stream_whatever_the_settings() {
    for (congestion, gso) in [
        (Congestion::Cubic, true),
        (Congestion::Cubic, false),
        (Congestion::Bbr, true),
    ] {
        let mut settings = [server_settings(), client_settings()];
        for settings in &mut settings {
            settings.transport.congestion = congestion;
            settings.transport.gso = gso;
        }
        let [server, client] = settings;
        echo_megabyte(server, client);
    }
}

fn echo_megabyte(server: Settings, client: Settings) {
    let endpoint = Endpoint::bind(server).unwrap();
    let target = target(endpoint.local_address());
    let sent = pattern(1_000_000);
    let mut received = Vec::new();
    let mut acked = false;
    let mut script = Script::new(|wishes, id, happening| match happening {
        Happening::Started => {
            wishes.connect(target.clone());
        }
        Happening::Connected(alpn, max_datagram) => {
            assert_eq!(alpn, "test-2", "the server's order decides");
            assert!(max_datagram > 1000);
            let stream = wishes.open(id, Dir::Bi);
            wishes.write(id, stream, sent.clone(), true);
        }
        Happening::Data(_, bytes) => received.extend_from_slice(&bytes),
        Happening::Acked(_) => acked = true,
        Happening::Fin(_) => wishes.close(id, 0, "done"),
        Happening::Closed(closed) => {
            assert_eq!(closed, Closed::ByUs);
            wishes.succeed();
        }
        _ => {}
    });
    let exits = run_bound((endpoint, &mut Script::new(echo)), (client, &mut script));
    assert_eq!(exits, (Exit::Success, Exit::Success));
    drop(script);
    assert!(received == sent);
    assert!(acked);
}

#[test]
fn more_unidirectional_streams_than_allowed_at_once_all_arrive_each_way() {
    const STREAMS: usize = 250;
    let (endpoint, target) = listen();
    let send_all = |wishes: &mut Wishes, id| {
        for n in 0..STREAMS {
            let stream = wishes.open(id, Dir::Uni);
            wishes.write(id, stream, pattern(n), true);
        }
    };
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    run_both(
        (
            endpoint,
            Script::new(|wishes, id, happening| match happening {
                Happening::Opened(_, dir) => assert_eq!(dir, Dir::Uni),
                Happening::Fin(stream) => {
                    at_server.push(stream);
                    if at_server.len() == STREAMS {
                        send_all(wishes, id);
                    }
                }
                Happening::Closed(_) => wishes.succeed(),
                _ => {}
            }),
        ),
        Script::new(|wishes, id, happening| match happening {
            Happening::Started => {
                wishes.connect(target.clone());
            }
            Happening::Connected(..) => send_all(wishes, id),
            Happening::Fin(stream) => {
                at_client.push(stream);
                if at_client.len() == STREAMS {
                    wishes.close(id, 0, "done");
                }
            }
            Happening::Closed(_) => wishes.succeed(),
            _ => {}
        }),
    );
    let expected: Vec<_> = (0..).take(STREAMS).map(StreamId::peer).collect();
    at_server.sort_unstable();
    at_client.sort_unstable();
    assert_eq!((&at_server, &at_client), (&expected, &expected));
}

#[test]
fn datagrams_go_both_ways_and_a_large_one_is_refused() {
    const DATAGRAMS: usize = 300;
    let (endpoint, target) = listen();
    let mut back = 0;
    let mut refused = false;
    run_both(
        (endpoint, Script::new(echo)),
        Script::new(|wishes, id, happening| match happening {
            Happening::Started => {
                wishes.connect(target.clone());
            }
            Happening::Connected(_, max_datagram) => {
                wishes.output(id, Output::Datagram(pattern(60_000)));
                // Far more than the transport queues at once.
                for _ in 0..DATAGRAMS {
                    wishes.output(id, Output::Datagram(pattern(max_datagram)));
                }
            }
            Happening::TooLarge => refused = true,
            Happening::Datagram(bytes) => {
                assert_eq!(bytes, pattern(bytes.len()));
                back += 1;
                if back == DATAGRAMS {
                    wishes.close(id, 0, "done");
                }
            }
            Happening::Closed(_) => wishes.succeed(),
            _ => {}
        }),
    );
    assert!(refused);
}

#[test]
fn reset_and_stop_carry_their_codes_both_ways() {
    let (endpoint, target) = listen();
    let mut at_server = Vec::new();
    let mut at_client = Vec::new();
    run_both(
        (
            endpoint,
            Script::new(|wishes, id, happening| match happening {
                // The first stream is reset, the second stopped, by the peer; each is answered in kind.
                Happening::Reset(stream, code) => {
                    at_server.push(("reset", code));
                    wishes.output(id, Output::Reset { stream, code: 22 });
                }
                Happening::Stopped(stream, code) => {
                    at_server.push(("stopped", code));
                    wishes.output(id, Output::Reset { stream, code });
                    wishes.output(id, Output::Stop { stream, code: 44 });
                }
                Happening::Closed(_) => wishes.succeed(),
                _ => {}
            }),
        ),
        Script::new(|wishes, id, happening| match happening {
            Happening::Started => {
                wishes.connect(target.clone());
            }
            Happening::Connected(..) => {
                let stream = wishes.open(id, Dir::Bi);
                wishes.write(id, stream, pattern(10), false);
                wishes.output(id, Output::Reset { stream, code: 11 });
                let stream = wishes.open(id, Dir::Bi);
                wishes.write(id, stream, pattern(10), false);
                wishes.output(id, Output::Stop { stream, code: 33 });
            }
            Happening::Reset(..) | Happening::Stopped(..) => {
                match happening {
                    Happening::Reset(_, code) => at_client.push(("reset", code)),
                    Happening::Stopped(stream, code) => {
                        at_client.push(("stopped", code));
                        wishes.output(id, Output::Reset { stream, code });
                    }
                    _ => {}
                }
                if at_client.len() == 2 {
                    wishes.close(id, 0, "done");
                }
            }
            Happening::Closed(_) => wishes.succeed(),
            _ => {}
        }),
    );
    at_server.sort_unstable();
    at_client.sort_unstable();
    assert_eq!(at_server, [("reset", 11), ("stopped", 33)]);
    // The reset that answers its own STOP_SENDING is for the transport only.
    assert_eq!(at_client, [("reset", 22), ("stopped", 44)]);
}

#[test]
fn close_tells_the_peer_its_code_and_reason() {
    let (endpoint, target) = listen();
    let mut seen = None;
    run_both(
        (
            endpoint,
            Script::new(|wishes, id, happening| match happening {
                Happening::Connected(..) => wishes.close(id, 0x1234, "enough of this"),
                Happening::Closed(closed) => {
                    assert_eq!(closed, Closed::ByUs);
                    wishes.succeed();
                }
                _ => {}
            }),
        ),
        Script::new(|wishes, _, happening| match happening {
            Happening::Started => {
                wishes.connect(target.clone());
            }
            Happening::Closed(closed) => {
                seen = Some(closed);
                wishes.succeed();
            }
            _ => {}
        }),
    );
    let expected = Closed::ByPeer {
        code: 0x1234,
        reason: "enough of this".into(),
    };
    assert_eq!(seen, Some(expected));
}

#[test]
fn reader_that_pauses_blocks_the_writer_and_bounds_what_is_under_way() {
    let window = TransportSettings::default().receive_window;
    pause_reader(usize::try_from(window).unwrap(), None);
}

#[test]
fn a_receive_window_is_widened_and_never_narrowed() {
    pause_reader(1_000_000, Some(Output::ReceiveWindow(1_000_000)));
    let window = TransportSettings::default().receive_window;
    let window = usize::try_from(window).unwrap();
    pause_reader(window, Some(Output::ReceiveWindow(1)));
}

#[test]
fn more_streams_for_data_do_not_widen_the_receive_window() {
    let window = TransportSettings::default().receive_window;
    let allow = Output::AllowStreams {
        dir: Dir::Uni,
        count: 101,
    };
    pause_reader(usize::try_from(window).unwrap(), Some(allow));
}

#[test]
fn fewer_streams_than_before_change_nothing() {
    let window = TransportSettings::default().receive_window;
    let allow = Output::AllowStreams {
        dir: Dir::Uni,
        count: 1,
    };
    pause_reader(usize::try_from(window).unwrap(), Some(allow));
}

/// Writes to a reader that pauses until the writer has written `window` bytes and can write no more.
fn pause_reader(window: usize, first: Option<Output>) {
    const TOTAL: usize = 2_000_000;
    let mut settings = server_settings();
    // So that the window of the connection counts.
    settings.transport.stream_window = 2 << 20;
    let endpoint = Endpoint::bind(settings).unwrap();
    let target = target(endpoint.local_address());
    let look_again = Some(Duration::from_millis(10));
    let mut received = 0;
    let mut blocked = 0;
    run_both(
        (
            endpoint,
            Script::new(|wishes, id, happening| match happening {
                Happening::Connected(..) => {
                    if let Some(first) = first.clone() {
                        wishes.output(id, first);
                    }
                }
                Happening::Opened(stream, Dir::Uni) => wishes.pause(id, stream),
                // The writer says by datagram that it is blocked.
                Happening::Datagram(_) => wishes.resume(id, StreamId::peer(0)),
                Happening::Data(_, bytes) => received += bytes.len(),
                Happening::Fin(_) => wishes.close(id, 0, "all read"),
                Happening::Closed(_) => wishes.succeed(),
                _ => {}
            }),
        ),
        Script::new(|wishes, id, happening| match happening {
            Happening::Started => {
                wishes.connect(target.clone());
            }
            Happening::Connected(..) => {
                let stream = wishes.open(id, Dir::Uni);
                wishes.write(id, stream, pattern(TOTAL), true);
                wishes.timeout = look_again;
            }
            Happening::Full(..) => blocked += 1,
            Happening::Timeout => {
                let id = ConnectionId(1);
                let taken = TOTAL - wishes.unsent;
                assert!(taken <= window, "{taken} bytes were taken");
                if taken == window {
                    wishes.output(id, Output::Datagram("blocked".into()));
                } else {
                    wishes.timeout = look_again;
                }
            }
            Happening::Closed(_) => wishes.succeed(),
            _ => {}
        }),
    );
    assert_eq!(received, TOTAL);
    assert!(blocked > 1);
}

#[test]
fn hundred_connections_live_side_by_side() {
    const CLIENTS: usize = 100;
    let (endpoint, target) = listen();
    let mut gone = 0;
    let mut done = 0;
    run_both(
        (
            endpoint,
            Script::new(|wishes, id, happening| match happening {
                Happening::Closed(_) => {
                    gone += 1;
                    if gone == CLIENTS {
                        wishes.succeed();
                    }
                }
                other => echo(wishes, id, other),
            }),
        ),
        Script::new(|wishes, id, happening| match happening {
            Happening::Started => {
                for _ in 0..CLIENTS {
                    wishes.connect(target.clone());
                }
            }
            Happening::Connected(..) => {
                let stream = wishes.open(id, Dir::Bi);
                wishes.write(id, stream, pattern(20_000), true);
            }
            Happening::Fin(_) => wishes.close(id, 0, "done"),
            Happening::Closed(closed) => {
                assert_eq!(closed, Closed::ByUs);
                done += 1;
                if done == CLIENTS {
                    wishes.succeed();
                }
            }
            _ => {}
        }),
    );
    assert_eq!((gone, done), (CLIENTS, CLIENTS));
}
