//! Connections between two endpoints over the loopback interface: what the contract promises, seen on real sockets.

use std::collections::BTreeMap;
use std::fs;

use bytes::{Bytes, BytesMut};
use oxymoq_core::runtime::{Congestion, ServerSettings};
use oxymoq_core::transport::{
    Answer, Closed, ConnectionId, Dir, Exit, Input, Output, Room, StreamId,
};

use crate::support::{
    Event, Hands, Scripted, bind, client_settings, log, never, pattern, protocols, run, run_pair,
    server_settings, within_a_minute,
};

/// Reads a stream as long as there is something, and returns new bytes and ends.
fn reader(hands: &mut Hands, id: ConnectionId, event: &Event) -> Option<(StreamId, Answer)> {
    match event {
        Event::Input(Input::Opened { stream, .. } | Input::Readable(stream)) => {
            hands.read(id, *stream);
            None
        }
        Event::Answer(Output::Read { stream, .. }, answer) => {
            if matches!(answer, Answer::Data(_)) {
                hands.read(id, *stream);
            }
            (!matches!(answer, Answer::Blocked)).then(|| (*stream, answer.clone()))
        }
        _ => None,
    }
}

/// Keeps what writes did not take, and offers it again when told of room.
#[derive(Default)]
struct Writer {
    rest: BTreeMap<StreamId, (Bytes, bool)>,
    stuck: BTreeMap<StreamId, Room>,
}

impl Writer {
    fn on(&mut self, hands: &mut Hands, id: ConnectionId, event: &Event) {
        match event {
            Event::Answer(
                Output::Write {
                    stream, bytes, fin, ..
                },
                Answer::Wrote { taken, room },
            ) => {
                self.rest.remove(stream);
                self.stuck.remove(stream);
                if *taken < bytes.len() {
                    self.rest.insert(*stream, (bytes.slice(*taken..), *fin));
                    self.stuck.insert(*stream, *room);
                }
            }
            // Any of these makes the connection dirty: everything that waits is offered.
            Event::Input(Input::Writable(_) | Input::Acked(_) | Input::Path { .. }) => {
                for (stream, (bytes, fin)) in std::mem::take(&mut self.rest) {
                    hands.write(id, stream, bytes, fin);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn megabyte_comes_back_over_a_bidirectional_stream() {
    let sent = pattern(1 << 20);
    let expected = sent.clone();
    let mut echo = Writer::default();
    let mut held: BTreeMap<StreamId, BytesMut> = BTreeMap::new();
    let mut writer = Writer::default();
    let mut received = BytesMut::new();
    let mut acked = false;
    run(
        move |hands, id, event| {
            echo.on(hands, id, &event);
            match reader(hands, id, &event) {
                Some((stream, Answer::Data(bytes))) => {
                    held.entry(stream).or_default().extend_from_slice(&bytes);
                }
                Some((stream, Answer::Fin)) => {
                    let all = held.remove(&stream).unwrap();
                    hands.write(id, stream, all, true);
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        },
        move |hands, id, event| {
            writer.on(hands, id, &event);
            match &event {
                Event::Input(Input::Connected { .. }) => {
                    let stream = hands.open(id, Dir::Bi);
                    hands.write(id, stream, sent.clone(), true);
                    hands.read(id, stream);
                }
                Event::Input(Input::Acked(stream)) => {
                    assert_eq!(*stream, StreamId::local(0));
                    acked = true;
                }
                _ => {}
            }
            match reader(hands, id, &event) {
                Some((_, Answer::Data(bytes))) => received.extend_from_slice(&bytes),
                Some((_, Answer::Fin)) => {
                    assert!(acked, "the peer read all of it, so it acknowledged it");
                    assert_eq!(received, expected);
                    hands.exit();
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        },
    );
}

#[test]
fn unidirectional_streams_cross_both_ways() {
    let mut got_by_server = BytesMut::new();
    let mut got_by_client = BytesMut::new();
    run(
        move |hands, id, event| {
            if let Event::Input(Input::Opened { stream, dir }) = &event {
                assert_eq!((*stream, *dir), (StreamId::peer(0), Dir::Uni));
            }
            match reader(hands, id, &event) {
                Some((_, Answer::Data(bytes))) => got_by_server.extend_from_slice(&bytes),
                Some((_, Answer::Fin)) => {
                    let stream = hands.open(id, Dir::Uni);
                    hands.write(id, stream, got_by_server.split().freeze(), false);
                    hands.write(id, stream, Bytes::new(), true);
                }
                _ => {}
            }
        },
        move |hands, id, event| {
            if matches!(event, Event::Input(Input::Connected { .. })) {
                let stream = hands.open(id, Dir::Uni);
                hands.write(id, stream, "there and back", true);
            }
            match reader(hands, id, &event) {
                Some((_, Answer::Data(bytes))) => got_by_client.extend_from_slice(&bytes),
                Some((_, Answer::Fin)) => {
                    assert_eq!(got_by_client, "there and back");
                    hands.exit();
                }
                _ => {}
            }
        },
    );
}

#[test]
fn bbr_and_a_system_without_segmentation_offload_carry_data_as_well() {
    let (mut serving, mut calling) = (server_settings(), client_settings());
    for transport in [&mut serving.transport, &mut calling.transport] {
        transport.congestion = Congestion::Bbr;
        transport.gso = false;
    }
    let mut writer = Writer::default();
    let mut got = 0;
    run_pair(
        bind(serving),
        move |hands, id, event| match reader(hands, id, &event) {
            Some((_, Answer::Data(bytes))) => got += bytes.len(),
            Some((_, Answer::Fin)) => {
                assert_eq!(got, 200_000);
                hands.close(id, 0);
            }
            _ => {}
        },
        bind(calling),
        move |hands, id, event| {
            writer.on(hands, id, &event);
            match event {
                Event::Input(Input::Connected { .. }) => {
                    let stream = hands.open(id, Dir::Uni);
                    hands.write(id, stream, pattern(200_000), true);
                }
                Event::Input(Input::Closed(_)) => hands.exit(),
                _ => {}
            }
        },
    );
}

#[test]
fn small_reads_lose_nothing() {
    let mut got = BytesMut::new();
    run(
        move |hands, id, event| match event {
            Event::Input(Input::Opened { stream, .. } | Input::Readable(stream)) => {
                hands.push(id, Output::Read { stream, max: 3 });
            }
            Event::Answer(Output::Read { stream, max }, Answer::Data(bytes)) => {
                assert!(!bytes.is_empty() && bytes.len() <= max);
                got.extend_from_slice(&bytes);
                hands.push(id, Output::Read { stream, max: 3 });
            }
            Event::Answer(_, Answer::Fin) => {
                assert_eq!(got, pattern(1000));
                hands.close(id, 0);
            }
            _ => {}
        },
        |hands, id, event| match event {
            Event::Input(Input::Connected { .. }) => {
                let stream = hands.open(id, Dir::Uni);
                hands.write(id, stream, pattern(1000), true);
            }
            Event::Input(Input::Closed(_)) => hands.exit(),
            _ => {}
        },
    );
}

/// Each side resets one stream and stops another; each side sees the other's codes.
#[test]
fn reset_and_stop_carry_their_codes_both_ways() {
    const LARGE: u64 = (1 << 62) - 1;
    let seen = log::<String>();
    let (server_seen, client_seen) = (seen.clone(), seen.clone());
    // The opener sends a byte on each of two bidirectional streams; the other side stops the first with its number, and
    // resets its own half of it; the opener resets the second.
    let script = |who: &'static str, seen: crate::support::Log<String>, own_first: bool| {
        let start = |hands: &mut Hands, id| {
            for _ in 0..2 {
                let stream = hands.open(id, Dir::Bi);
                hands.write(id, stream, "x", false);
                hands.read(id, stream);
            }
        };
        move |hands: &mut Hands, id: ConnectionId, event: Event| {
            let say = |what: String| seen.borrow_mut().push(format!("{who} {what}"));
            match &event {
                Event::Input(Input::Connected { .. }) if own_first => start(hands, id),
                Event::Input(Input::Stopped { stream, code }) => {
                    say(format!("stopped {stream} {code:#x}"));
                    hands.push(
                        id,
                        Output::Reset {
                            stream: *stream,
                            code: 1,
                        },
                    );
                    let other = StreamId::local(stream.index() + 1);
                    hands.push(
                        id,
                        Output::Reset {
                            stream: other,
                            code: 0x51,
                        },
                    );
                }
                _ => {}
            }
            match reader(hands, id, &event) {
                Some((stream, Answer::Data(_))) if stream == StreamId::peer(0) => {
                    hands.push(id, Output::Stop { stream, code: 0x99 });
                    hands.push(
                        id,
                        Output::Reset {
                            stream,
                            code: LARGE,
                        },
                    );
                }
                Some((stream, Answer::Reset(code))) => {
                    say(format!("reset {stream} {code:#x}"));
                    if !own_first && stream == StreamId::peer(1) {
                        start(hands, id);
                    }
                    if own_first && seen.borrow().len() == 6 {
                        hands.exit();
                    }
                }
                _ => {}
            }
        }
    };
    run(
        script("server", server_seen, false),
        script("client", client_seen, true),
    );
    let mut seen = seen.borrow().clone();
    seen.sort();
    let expected = ["client", "server"].map(|who| {
        [
            format!("{who} reset local stream 0 {LARGE:#x}"),
            format!("{who} reset peer stream 1 0x51"),
            format!("{who} stopped local stream 0 0x99"),
        ]
    });
    assert_eq!(seen, expected.concat());
}

#[test]
fn abandoned_connection_never_looks_like_a_finished_stream() {
    let server = bind(server_settings());
    let client = bind(client_settings());
    let ended = log::<Answer>();
    let server_ended = ended.clone();
    let mut calling = Scripted::new(|hands: &mut Hands, id, event| match event {
        Event::Input(Input::Connected { .. }) => {
            let stream = hands.open(id, Dir::Uni);
            hands.write(id, stream, "half of it", false);
        }
        // Leaves without closing anything.
        Event::Answer(Output::Write { .. }, _) => hands.exit(),
        _ => {}
    });
    let port = server.local_address().port();
    calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    let mut serving = Scripted::new(|hands: &mut Hands, id, event: Event| {
        if let Some((_, answer)) = reader(hands, id, &event) {
            server_ended.borrow_mut().push(answer);
        }
        if matches!(event, Event::Input(Input::Closed(_))) {
            hands.exit();
        }
    });
    let (left, right) = within_a_minute(smol::future::zip(
        client.run(&mut calling, never()),
        server.run(&mut serving, never()),
    ));
    left.and(right).unwrap();
    assert!(!ended.borrow().contains(&Answer::Fin), "{ended:?}");
}

/// The core takes the end of a control stream for a violation, so the end of a connection must not look like one.
#[test]
fn closed_connection_never_looks_like_ended_streams() {
    const STREAMS: usize = 3;
    let server = bind(server_settings());
    let client = bind(client_settings());
    let heard = log::<Event>();
    let server_heard = heard.clone();
    let mut greeted = 0;
    let mut calling = Scripted::new(move |hands: &mut Hands, id, event| match &event {
        Event::Input(Input::Connected { .. }) => {
            for dir in [Dir::Bi, Dir::Uni, Dir::Uni] {
                let stream = hands.open(id, dir);
                hands.write(id, stream, "all of it, but not the end", false);
            }
        }
        Event::Input(Input::Closed(_)) => hands.exit(),
        _ => {
            if let Some((_, Answer::Data(_))) = reader(hands, id, &event) {
                greeted += 1;
                if greeted == STREAMS {
                    hands.close(id, 0);
                }
            }
        }
    });
    let port = server.local_address().port();
    calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    let mut serving = Scripted::new(move |hands: &mut Hands, id, event: Event| {
        // Read until nothing is left, which each stream's greeting tells the client.
        if let Some((_, Answer::Data(_))) = reader(hands, id, &event) {
            let stream = hands.open(id, Dir::Uni);
            hands.write(id, stream, "hello", false);
        }
        if matches!(event, Event::Input(Input::Closed(_))) {
            hands.exit();
        }
        server_heard.borrow_mut().push(event);
    });
    let (left, right) = within_a_minute(smol::future::zip(
        client.run(&mut calling, never()),
        server.run(&mut serving, never()),
    ));
    left.and(right).unwrap();

    let heard = heard.take();
    for event in &heard {
        match event {
            Event::Answer(Output::Read { .. }, Answer::Data(_) | Answer::Blocked) => {}
            Event::Answer(Output::Read { stream, .. }, other) => panic!("{stream}: {other:?}"),
            Event::Input(Input::Stopped { stream, .. }) => panic!("{stream} was stopped"),
            _ => {}
        }
    }
    let by_peer = Closed::ByPeer {
        code: 0,
        reason: Bytes::new(),
    };
    assert!(
        matches!(heard.last(), Some(Event::Input(Input::Closed(why))) if *why == by_peer),
        "{heard:?}"
    );
}

#[test]
fn reader_that_stops_reading_stops_the_writer_of_that_stream_only() {
    const WINDOW: u64 = 64 << 10;
    let mut settings = server_settings();
    settings.transport.stream_window = WINDOW;
    let server = bind(settings);
    let client = bind(client_settings());
    let mut writer = Writer::default();
    let mut got: BTreeMap<StreamId, usize> = BTreeMap::new();
    let (slow, quick) = (StreamId::peer(0), StreamId::peer(1));
    run_pair(
        server,
        move |hands, id, event| {
            // The first stream is read only once the second one has ended.
            if let Event::Input(Input::Opened { stream, .. } | Input::Readable(stream)) = event
                && stream == slow
                && !got.contains_key(&quick)
            {
                return;
            }
            match reader(hands, id, &event) {
                Some((stream, Answer::Data(bytes))) => {
                    *got.entry(stream).or_default() += bytes.len();
                }
                Some((stream, Answer::Fin)) if stream == quick => hands.read(id, slow),
                Some((stream, Answer::Fin)) => {
                    assert_eq!((stream, got[&slow], got[&quick]), (slow, 1 << 20, 1 << 20));
                    hands.close(id, 0);
                }
                _ => {}
            }
        },
        client,
        move |hands, id, event| {
            writer.on(hands, id, &event);
            match event {
                Event::Input(Input::Connected { .. }) => {
                    for _ in 0..2 {
                        let stream = hands.open(id, Dir::Uni);
                        hands.write(id, stream, pattern(1 << 20), true);
                    }
                }
                Event::Input(Input::Closed(_)) => hands.exit(),
                Event::Answer(
                    Output::Write { stream, bytes, .. },
                    Answer::Wrote { taken, room },
                ) => {
                    let left = bytes.len() - taken;
                    if room == Room::StreamFull
                        && stream == StreamId::local(0)
                        && left > (1 << 20) - (64 << 10)
                    {
                        panic!("{left} bytes left, but the window is {WINDOW}");
                    }
                }
                _ => {}
            }
        },
    );
}

#[test]
fn writer_is_held_to_what_the_path_can_carry_and_urgent_to_twice_that() {
    let mut first = None;
    run(
        |hands, id, event| {
            if let Some((_, Answer::Fin)) = reader(hands, id, &event) {
                hands.close(id, 0);
            }
        },
        move |hands, id, event| match event {
            Event::Input(Input::Connected { .. }) => {
                let bulk = hands.open(id, Dir::Uni);
                hands.write(id, bulk, pattern(8 << 20), false);
                let control = hands.open(id, Dir::Uni);
                hands.push(
                    id,
                    Output::Write {
                        stream: control,
                        bytes: pattern(8 << 20),
                        fin: false,
                        urgent: true,
                    },
                );
                hands.write(id, control, Bytes::new(), true);
            }
            Event::Answer(Output::Write { bytes, urgent, .. }, Answer::Wrote { taken, room }) => {
                if bytes.is_empty() {
                    assert_eq!(room, Room::More, "an end needs no room");
                } else if urgent {
                    assert_eq!(room, Room::ConnectionFull);
                    assert_eq!(Some(taken), first, "as much again");
                } else {
                    assert_eq!(room, Room::ConnectionFull);
                    assert!((10_000..200_000).contains(&taken), "{taken}");
                    first = Some(taken);
                }
            }
            Event::Input(Input::Closed(_)) => hands.exit(),
            _ => {}
        },
    );
}

#[test]
fn streams_beyond_the_peers_limit_open_when_others_end() {
    let mut answers = (0, 0);
    let mut told = false;
    run(
        |hands, id, event| {
            if let Some((stream, Answer::Data(_))) = reader(hands, id, &event) {
                hands.push(id, Output::Stop { stream, code: 0 });
            }
        },
        move |hands, id, event| match event {
            Event::Input(Input::Connected { .. }) => {
                for _ in 0..1025 {
                    hands.open(id, Dir::Uni);
                }
            }
            Event::Answer(Output::Open { stream, .. }, answer) => match answer {
                Answer::Done if told => hands.exit(),
                Answer::Done => {
                    answers.0 += 1;
                    hands.write(id, stream, "x", true);
                }
                other => {
                    assert_eq!(other, Answer::Blocked);
                    answers.1 += 1;
                    assert_eq!(answers, (1024, 1));
                }
            },
            Event::Input(Input::CanOpen(dir)) => {
                assert_eq!(dir, Dir::Uni);
                told = true;
                hands.open(id, dir);
            }
            _ => {}
        },
    );
}

#[test]
fn servers_order_decides_on_the_protocol() {
    let server = bind(server_settings());
    let port = server.local_address().port();
    let client = bind(client_settings());
    let agreed = |hands: &mut Hands, _, event| {
        if let Event::Input(Input::Connected { alpn, max_datagram }) = event {
            assert_eq!(alpn, "moqt-18");
            assert!((1100..1500).contains(&max_datagram), "{max_datagram}");
            hands.exit();
        }
    };
    let mut serving = Scripted::new(agreed);
    let mut calling = Scripted::new(agreed);
    let offer = ["h3", "moqt-16", "moqt-18"];
    calling.hands.connect("127.0.0.1", port, &offer);
    let (left, right) = within_a_minute(smol::future::zip(
        server.run(&mut serving, never()),
        client.run(&mut calling, never()),
    ));
    left.and(right).unwrap();
}

#[test]
fn datagrams_cross_both_ways() {
    run(
        |hands, id, event| {
            if let Event::Input(Input::Datagram(bytes)) = event {
                hands.push(id, Output::Datagram(bytes));
            }
        },
        {
            let mut largest = 0;
            move |hands, id, event| match event {
                Event::Input(Input::Connected { max_datagram, .. }) => {
                    largest = max_datagram;
                    hands.push(id, Output::Datagram(pattern(max_datagram)));
                }
                Event::Input(Input::Datagram(bytes)) => {
                    assert_eq!(bytes, pattern(largest));
                    hands.exit();
                }
                _ => {}
            }
        },
    );
}

#[test]
fn too_large_datagram_is_answered() {
    run(
        |_, _, _| {},
        |hands, id, event| match event {
            Event::Input(Input::Connected { .. }) => {
                hands.push(id, Output::Datagram(pattern(1500)));
            }
            Event::Answer(_, answer) => {
                assert_eq!(answer, Answer::TooLarge);
                hands.exit();
            }
            _ => {}
        },
    );
}

#[test]
fn full_datagram_queue_blocks_until_there_is_room() {
    let mut blocked = false;
    let mut sent = 0;
    run(
        |_, _, _| {},
        move |hands, id, event| match event {
            Event::Input(Input::Connected { .. }) => {
                hands.push(id, Output::Datagram(pattern(1000)));
            }
            Event::Answer(Output::Datagram(_), Answer::Done) if blocked => hands.exit(),
            Event::Answer(Output::Datagram(_), Answer::Done) => {
                sent += 1;
                assert!(sent < 100, "64 KiB hold no more");
                hands.push(id, Output::Datagram(pattern(1000)));
            }
            Event::Answer(Output::Datagram(_), answer) => {
                assert_eq!(answer, Answer::Blocked);
                assert!(sent > 50, "{sent}");
                blocked = true;
            }
            Event::Input(Input::DatagramRoom) => {
                assert!(blocked);
                hands.push(id, Output::Datagram(pattern(1000)));
            }
            _ => {}
        },
    );
}

#[test]
fn close_code_reaches_the_peer_and_each_side_hears_once() {
    let server = bind(server_settings());
    let port = server.local_address().port();
    let client = bind(client_settings());
    let mut serving = Scripted::new(|hands: &mut Hands, _, event| {
        if let Event::Input(Input::Closed(why)) = event {
            let reason = Bytes::new();
            assert_eq!(
                why,
                Closed::ByPeer {
                    code: 0x1234,
                    reason
                }
            );
            hands.exit();
        }
    });
    let mut calling = Scripted::new(|hands: &mut Hands, id, event| match event {
        Event::Input(Input::Connected { .. }) => hands.close(id, 0x1234),
        Event::Input(Input::Closed(why)) => {
            assert_eq!(why, Closed::ByUs);
            hands.exit();
        }
        _ => {}
    });
    calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    let (left, right) = within_a_minute(smol::future::zip(
        client.run(&mut calling, never()),
        server.run(&mut serving, never()),
    ));
    left.and(right).unwrap();
    assert_eq!((serving.hands.closed, calling.hands.closed), (1, 1));
}

#[test]
fn both_address_families_are_served_on_one_port() {
    let mut settings = server_settings();
    settings.server = Some(ServerSettings::new(0, protocols(&["moqt-18"])));
    let server = bind(settings);
    let port = server.local_address().port();
    let client = bind(client_settings());
    let mut connected = 0;
    let mut calling = Scripted::new(|hands: &mut Hands, _, event| match event {
        Event::Input(Input::Connected { .. }) => {
            connected += 1;
            if connected == 2 {
                hands.exit();
            }
        }
        Event::Input(Input::Closed(why)) => panic!("{why}"),
        _ => {}
    });
    calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    calling.hands.connect("::1", port, &["moqt-18"]);
    let mut serving = Scripted::new(|_: &mut Hands, _, _| {});
    within_a_minute(smol::future::or(
        async {
            server.run(&mut serving, never()).await.unwrap();
        },
        async {
            client.run(&mut calling, never()).await.unwrap();
        },
    ));
}

#[test]
fn fifty_connections_live_in_one_task() {
    let server = bind(server_settings());
    let port = server.local_address().port();
    let client = bind(client_settings());
    let mut serving = Scripted::new(|hands: &mut Hands, id, event| {
        if let Event::Input(Input::Datagram(bytes)) = event {
            hands.push(id, Output::Datagram(bytes));
        }
    });
    let mut calling = Scripted::new(|hands: &mut Hands, id, event| match event {
        Event::Input(Input::Connected { .. }) => {
            hands.push(id, Output::Datagram(Bytes::from(id.0.to_string())));
        }
        Event::Input(Input::Datagram(bytes)) => {
            assert_eq!(bytes, id.0.to_string());
            hands.close(id, 0);
        }
        Event::Input(Input::Closed(why)) => {
            assert_eq!(why, Closed::ByUs);
            if hands.closed == 50 {
                hands.exit();
            }
        }
        _ => {}
    });
    for _ in 0..50 {
        calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    }
    within_a_minute(smol::future::or(
        async {
            server.run(&mut serving, never()).await.unwrap();
        },
        async {
            client.run(&mut calling, never()).await.unwrap();
        },
    ));
}

#[test]
fn shutdown_reaches_the_application_which_then_ends_the_run() {
    let server = bind(server_settings());
    let mut serving = Scripted::new(|hands: &mut Hands, _, event| match event {
        Event::Started => {}
        Event::Shutdown => hands.exit(),
        other => panic!("{other:?}"),
    });
    let exit = within_a_minute(server.run(&mut serving, async {})).unwrap();
    assert_eq!(exit, Exit::Success);
}

#[test]
fn no_thread_belongs_to_tokio() {
    run(
        |_, _, _| {},
        |hands, _, event| {
            if matches!(event, Event::Input(Input::Connected { .. })) {
                let names: Vec<_> = fs::read_dir("/proc/self/task")
                    .unwrap()
                    .map(|task| {
                        fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()
                    })
                    .collect();
                assert!(!names.is_empty());
                assert!(
                    names.iter().all(|name| !name.contains("tokio")),
                    "{names:?}"
                );
                hands.exit();
            }
        },
    );
}
