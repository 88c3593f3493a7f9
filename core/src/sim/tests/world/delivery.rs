//! What arrives, in which order, and how fast.

use super::*;

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
