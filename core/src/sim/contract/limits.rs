//! How much may be under way: bytes that nobody acknowledged yet, streams, windows.

use std::cell::Cell;
use std::rc::Rc;

use crate::transport::{Answer, Dir, Input, Output, Room, StreamId};

use super::{Actor, Bench, Told, caller, client, pattern, run, server};

/// Data waits with the application while the path is full; control and requests may have as much again.
pub fn unacknowledged_data_is_bounded_and_urgent_data_may_use_twice_that(bench: &mut dyn Bench) {
    const MAX: usize = 64 << 10;
    const MUCH: usize = 1 << 20;
    let first = Rc::new(Cell::new(None));
    let (mine, mut urgent_room) = (Rc::clone(&first), None);
    let calling = caller(move |script, id, told| match told {
        Told::Input(Input::Connected { .. }) => {
            for (n, urgent) in [(0, false), (1, true)] {
                let (stream, dir) = (StreamId::local(n), Dir::Uni);
                let (bytes, fin) = (pattern(MUCH), false);
                script.push(id, Output::Open { stream, dir });
                script.push(
                    id,
                    Output::Write {
                        stream,
                        bytes,
                        fin,
                        urgent,
                    },
                );
            }
        }
        Told::Answer(Output::Write { urgent, .. }, Answer::Wrote { taken, room }) => {
            let Some(data) = mine.get() else {
                assert_eq!((*urgent, *room), (false, Room::ConnectionFull));
                mine.set(Some(*taken));
                return;
            };
            // The first urgent write comes right after, before anything can be acknowledged.
            if *urgent && urgent_room.replace(*taken).is_none() {
                assert_eq!(*room, Room::ConnectionFull);
                // One stack needs a byte more to tell which limit it met.
                assert!(taken.abs_diff(data) <= 2, "{taken} beside {data}");
                script.close(id, 0, "seen");
            }
        }
        _ => {}
    });
    let mut seat = client(&calling);
    seat.settings.transport.max_unacked = u64::try_from(MAX).unwrap_or(u64::MAX);
    run(bench, &server(&Actor::silent()), &seat);
    let data = first.get();
    assert!(
        data.is_some_and(|data| (10_000..=MAX + 1).contains(&data)),
        "{data:?}"
    );
}

/// Credit for streams comes back as the peer's streams end.
pub fn streams_beyond_the_limit_open_when_others_end(bench: &mut dyn Bench) {
    const ALLOWED: u64 = 10;
    let limit = ALLOWED.max(bench.differences().least_streams);
    let mut opened = 0;
    let calling = caller(move |script, id, told| match told {
        Told::Input(Input::Connected { .. }) => {
            for _ in 0..=limit {
                script.open(id, Dir::Uni);
            }
        }
        Told::Answer(Output::Open { .. }, Answer::Done) => {
            opened += 1;
            if opened > limit {
                script.close(id, 0, "seen");
            }
        }
        Told::Answer(Output::Open { stream, .. }, answer) => {
            assert_eq!((answer, opened), (&Answer::Blocked, limit));
            assert_eq!(*stream, StreamId::local(limit));
            for n in 0..limit {
                script.finish(id, StreamId::local(n));
            }
        }
        _ => {}
    });
    let mut seat = server(&Actor::silent());
    seat.settings.transport.max_uni_streams = ALLOWED;
    run(bench, &seat, &client(&calling));
    assert!(calling.script().was_told(&Input::CanOpen(Dir::Uni)));
}

/// What the core wants its peer to be allowed: more streams and a wider window, never less than before.
pub fn limits_are_raised_and_never_lowered(bench: &mut dyn Bench) {
    const ALLOWED: u64 = 2;
    const WINDOW: usize = 100_000;
    if bench.differences().fixed_limits {
        return;
    }
    let slack = if bench.differences().overruns_windows {
        1 << 20
    } else {
        0
    };
    for (count, window) in [(4, 3 * WINDOW), (1, 1)] {
        let (streams, bytes) = (ALLOWED.max(count), WINDOW.max(window));
        let wide = u64::try_from(window).unwrap_or(u64::MAX);
        let serving = Actor::new(move |script, id, told| match told {
            Told::Input(Input::Connected { .. }) => {
                let dir = Dir::Uni;
                script.push(id, Output::AllowStreams { dir, count });
                script.push(id, Output::ReceiveWindow(wide));
            }
            Told::Input(Input::Opened { stream, .. }) => script.pause_stream(id, *stream),
            _ => {}
        });
        let (mut open, mut written) = (0, 0);
        let calling = caller(move |script, id, told| {
            match told {
                Told::Input(Input::Connected { .. }) => {
                    for _ in 0..streams {
                        script.open(id, Dir::Uni);
                    }
                    script.write(id, StreamId::local(0), pattern(10 * WINDOW));
                    script.open(id, Dir::Uni);
                }
                Told::Answer(Output::Open { .. }, Answer::Done) => open += 1,
                Told::Answer(Output::Write { .. }, Answer::Wrote { taken, .. }) => {
                    written += taken;
                }
                _ => return,
            }
            let within = open <= streams && written <= bytes + slack;
            assert!(within, "{open} {written}");
            if open == streams && written >= bytes {
                script.close(id, 0, "all that is allowed");
            }
        });
        let mut seat = server(&serving);
        let transport = &mut seat.settings.transport;
        transport.max_uni_streams = ALLOWED;
        transport.receive_window = u64::try_from(WINDOW).unwrap_or(u64::MAX);
        transport.stream_window = 1 << 20;
        run(bench, &seat, &client(&calling));
    }
}
