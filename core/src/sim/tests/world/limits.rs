//! Windows, limits of streams, resets and datagrams.

use super::*;

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
        ..TransportSettings::default()
    };
    let mut pair = Pair::new(1, Link::default(), TransportSettings::default(), server);
    pair.server(Script::pause);
    for n in 0..5 {
        pair.client(|script| script.send(C0, StreamId::local(n), Dir::Uni, content(n, 100)));
    }
    pair.world.run_for(Duration::from_secs(1));
    assert_eq!(pair.world.unread(pair.server, C0), 100);
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
        assert_eq!(pair.world.unread(pair.server, C0), 400);
    }
    pair.server(Script::resume);
    pair.until(|_, server| complete(server) == 5);
}

#[test]
fn receive_window_is_widened_and_never_narrowed() {
    let server = TransportSettings {
        receive_window: 10,
        ..TransportSettings::default()
    };
    let mut pair = Pair::new(1, Link::default(), TransportSettings::default(), server);
    pair.server(Script::pause);
    pair.client(|script| script.send(C0, StreamId::local(0), Dir::Uni, content(0, 1_000)));
    pair.world.run_for(Duration::from_secs(1));
    assert_eq!(pair.world.unread(pair.server, C0), 10);
    for window in [300, 20] {
        pair.server(|script| script.push(C0, Output::ReceiveWindow(window)));
        pair.world.run_for(Duration::from_secs(1));
        assert_eq!(pair.world.unread(pair.server, C0), 300);
    }
    pair.server(Script::resume);
    pair.until(|_, server| complete(server) == 1);
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
