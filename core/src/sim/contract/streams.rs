//! Bytes on streams: complete, in order, ended as their writer ended them.

use std::cell::RefCell;
use std::rc::Rc;

use crate::runtime::Congestion;
use crate::transport::{Answer, Closed, Dir, Input, Output, Room, StreamId};

use super::{Actor, Bench, C0, Told, caller, client, closing, pattern, run, run_plain, server};

/// Sends back what comes on streams that go both ways.
fn echo() -> Actor {
    Actor::new(|script, id, told| match told {
        Told::Answer(Output::Read { stream, .. }, Answer::Data(bytes)) => {
            script.write(id, *stream, bytes.clone());
        }
        Told::Answer(Output::Read { stream, .. }, Answer::Fin) => script.finish(id, *stream),
        _ => {}
    })
}

/// Sends so much to an echo, and closes once it is back.
fn echoed(length: usize) -> Actor {
    caller(move |script, id, told| match told {
        Told::Input(Input::Connected { .. }) => {
            let stream = script.open(id, Dir::Bi);
            script.write(id, stream, pattern(length));
            script.finish(id, stream);
        }
        Told::Answer(Output::Read { .. }, Answer::Fin) => script.close(id, 0, "done"),
        _ => {}
    })
}

fn assert_echoed(calling: &Actor, length: usize) {
    let stream = StreamId::local(0);
    let script = calling.script();
    assert!(script.was_told(&Input::Acked(stream)));
    let received = script.received().get(&(C0, stream));
    assert!(received.is_some_and(|received| received.bytes == pattern(length)));
}

/// A large transfer both ways, all of it acknowledged.
pub fn megabyte_comes_back_over_a_bidirectional_stream(bench: &mut dyn Bench) {
    let calling = echoed(1_000_000);
    run_plain(bench, &echo(), &calling);
    assert_echoed(&calling, 1_000_000);
    assert_eq!(closing(&calling), Closed::ByUs);
}

/// The settings that change how bytes leave change nothing else.
pub fn other_congestion_control_and_no_segmentation_carry_data_as_well(bench: &mut dyn Bench) {
    for (congestion, gso) in [(Congestion::Cubic, false), (Congestion::Bbr, true)] {
        let calling = echoed(200_000);
        let mut seats = [server(&echo()), client(&calling)];
        for seat in &mut seats {
            seat.settings.transport.congestion = congestion;
            seat.settings.transport.gso = gso;
        }
        let [server, client] = seats;
        run(bench, &server, &client);
        assert_echoed(&calling, 200_000);
    }
}

/// Opens, writes and ends many streams; the credit for them arrives as others end.
pub fn streams_beyond_what_is_allowed_at_once_all_arrive_each_way(bench: &mut dyn Bench) {
    const STREAMS: usize = 250;
    let streams = || (0..).take(STREAMS);
    let send_all = move |script: &mut super::Script, id| {
        for (n, length) in streams().zip(0..) {
            let stream = StreamId::local(n);
            script.send(id, stream, Dir::Uni, pattern(length));
        }
    };
    let mut ends = 0;
    let serving = Actor::new(move |script, id, told| match told {
        Told::Input(Input::Opened { dir, .. }) => assert_eq!(*dir, Dir::Uni),
        Told::Answer(Output::Read { .. }, Answer::Fin) => {
            ends += 1;
            if ends == STREAMS {
                send_all(script, id);
            }
        }
        _ => {}
    });
    let mut ends = 0;
    let calling = caller(move |script, id, told| match told {
        Told::Input(Input::Connected { .. }) => send_all(script, id),
        Told::Answer(Output::Read { .. }, Answer::Fin) => {
            ends += 1;
            if ends == STREAMS {
                script.close(id, 0, "done");
            }
        }
        _ => {}
    });
    run_plain(bench, &serving, &calling);
    for actor in [serving, calling] {
        let script = actor.script();
        let mut lengths = Vec::new();
        for (n, (key, received)) in script.received().iter().enumerate() {
            let peer = StreamId::peer(u64::try_from(n).unwrap_or(u64::MAX));
            assert_eq!((key.1, received.end.as_ref()), (peer, Some(&Answer::Fin)));
            assert_eq!(received.bytes, pattern(received.bytes.len()));
            lengths.push(received.bytes.len());
        }
        lengths.sort_unstable();
        assert!(lengths.into_iter().eq(0..STREAMS));
    }
}

/// A read returns no more than it asked for, and the rest is there for the next.
pub fn small_reads_lose_nothing(bench: &mut dyn Bench) {
    let serving = Actor::new(|script, id, told| match told {
        Told::Answer(Output::Read { max, .. }, Answer::Data(bytes)) => {
            assert!(!bytes.is_empty() && bytes.len() <= *max, "{}", bytes.len());
        }
        Told::Answer(Output::Read { .. }, Answer::Fin) => script.close(id, 0, "done"),
        _ => {}
    });
    let serving = serving.with(|script| script.read_at_most(3));
    let calling = caller(|script, id, told| {
        if let Told::Input(Input::Connected { .. }) = told {
            script.send(id, StreamId::local(0), Dir::Uni, pattern(1000));
        }
    });
    run_plain(bench, &serving, &calling);
    let script = serving.script();
    let received = script.received().get(&(C0, StreamId::peer(0)));
    assert!(received.is_some_and(|received| received.bytes == pattern(1000)));
}

/// Each side resets one stream and stops another, and hears the other's codes.
pub fn reset_and_stop_carry_their_codes_both_ways(bench: &mut dyn Bench) {
    /// The largest that QUIC has.
    const LARGE: u64 = (1 << 62) - 1;
    let seen = Rc::new(RefCell::new(Vec::new()));
    let see = |who: &'static str| {
        let seen = Rc::clone(&seen);
        move |what: &'static str, code: u64| seen.borrow_mut().push((who, what, code))
    };
    let say = see("server");
    let serving = Actor::new(move |script, id, told| match told {
        // The first stream is reset, the second stopped, by the peer; each is answered in kind.
        Told::Answer(Output::Read { stream, .. }, Answer::Reset(code)) => {
            say("reset", *code);
            let (stream, code) = (*stream, LARGE);
            script.push(id, Output::Reset { stream, code });
        }
        Told::Input(Input::Stopped { stream, code }) => {
            say("stopped", *code);
            let (stream, code) = (*stream, 44);
            script.push(id, Output::Stop { stream, code });
        }
        _ => {}
    });
    let (say, mut heard) = (see("client"), 0);
    let calling = caller(move |script, id, told| {
        match told {
            Told::Input(Input::Connected { .. }) => {
                let stream = script.open(id, Dir::Bi);
                script.write(id, stream, pattern(10));
                script.push(id, Output::Reset { stream, code: 11 });
                let stream = script.open(id, Dir::Bi);
                script.write(id, stream, pattern(10));
                script.push(id, Output::Stop { stream, code: 33 });
                return;
            }
            Told::Answer(Output::Read { .. }, Answer::Reset(code)) => say("reset", *code),
            Told::Input(Input::Stopped { code, .. }) => say("stopped", *code),
            _ => return,
        }
        heard += 1;
        if heard == 2 {
            script.close(id, 0, "done");
        }
    });
    run_plain(bench, &serving, &calling);
    let mut seen = seen.take();
    seen.sort_unstable();
    // The reset that answers a STOP_SENDING is for the transport only: who stops a stream has forgotten it.
    let expected = [
        ("client", "reset", LARGE),
        ("client", "stopped", 44),
        ("server", "reset", 11),
        ("server", "stopped", 33),
    ];
    assert_eq!(seen, expected);
}

/// A FIN says that a stream is complete, so it must not appear on one that was given up, whichever way.
pub fn stream_that_is_given_up_never_looks_finished(bench: &mut dyn Bench) {
    const STREAMS: u64 = 3;
    let serving = Actor::new(|script, id, told| match told {
        // It does not want the third.
        Told::Input(Input::Opened { stream, .. }) if *stream == StreamId::peer(2) => {
            let (stream, code) = (*stream, 7);
            script.push(id, Output::Stop { stream, code });
        }
        Told::Input(Input::Datagram(_)) => script.push(id, Output::Datagram(pattern(1))),
        _ => {}
    });
    let mut settled = 0;
    let calling = caller(move |script, id, told| match told {
        Told::Input(Input::Connected { .. }) => {
            for n in 0..STREAMS {
                let stream = script.open(id, Dir::Uni);
                script.write(id, stream, pattern(100_000));
                // The third one's end waits behind what the peer will not take.
                if n == 2 {
                    script.write(id, stream, pattern(3_000_000));
                    script.finish(id, stream);
                } else {
                    script.push(id, Output::Reset { stream, code: 9 });
                }
            }
        }
        Told::Input(Input::Stopped { stream, code }) => {
            assert_eq!((*stream, *code), (StreamId::local(2), 7));
            settled += 1;
            if settled == 1 {
                script.push(id, Output::Datagram(pattern(1)));
            }
        }
        Told::Input(Input::Datagram(_)) => script.close(id, 0, "done"),
        _ => {}
    });
    run_plain(bench, &serving, &calling);
    let script = serving.script();
    for ((_, stream), received) in script.received() {
        assert_ne!(received.end, Some(Answer::Fin), "{stream}");
    }
    let reset = |n| script.received().get(&(C0, StreamId::peer(n)));
    for n in [0, 1] {
        let end = reset(n).and_then(|received| received.end.clone());
        assert_eq!(end, Some(Answer::Reset(9)));
    }
}

/// The window of one stream is full, and the others go on.
pub fn reader_that_stops_reading_stops_its_stream_only(bench: &mut dyn Bench) {
    const WINDOW: usize = 64 << 10;
    const TOTAL: usize = 1 << 19;
    let (slow, quick) = (StreamId::peer(0), StreamId::peer(1));
    let serving = Actor::new(move |script, id, told| match told {
        // The first stream is read only once the second one has ended.
        Told::Input(Input::Opened { stream, .. }) if *stream == slow => {
            script.pause_stream(id, slow);
        }
        Told::Answer(Output::Read { stream, .. }, Answer::Fin) if *stream == quick => {
            script.resume_stream(id, slow);
        }
        Told::Answer(Output::Read { .. }, Answer::Fin) => script.close(id, 0, "done"),
        _ => {}
    });
    let taken = Rc::new(RefCell::new([0; 2]));
    let mine = Rc::clone(&taken);
    let calling = caller(move |script, id, told| match told {
        Told::Input(Input::Connected { .. }) => {
            for _ in 0..2 {
                let stream = script.open(id, Dir::Uni);
                script.write(id, stream, pattern(TOTAL));
                script.finish(id, stream);
            }
        }
        Told::Answer(Output::Write { stream, .. }, Answer::Wrote { taken, room }) => {
            let [slow, quick] = &mut *mine.borrow_mut();
            let is_slow = *stream == StreamId::local(0);
            let sum = if is_slow { &mut *slow } else { &mut *quick };
            *sum += taken;
            let sum = *sum;
            if is_slow && *room == Room::StreamFull && sum < TOTAL {
                assert!(sum >= WINDOW, "{sum} bytes filled the window");
            }
            if is_slow && *quick < TOTAL {
                assert!(*slow <= WINDOW, "{slow} bytes exceed the window");
            }
        }
        _ => {}
    });
    let mut seat = server(&serving);
    seat.settings.transport.stream_window = u64::try_from(WINDOW).unwrap_or(u64::MAX);
    run(bench, &seat, &client(&calling));
    assert_eq!(taken.take(), [TOTAL; 2]);
    let script = serving.script();
    for stream in [slow, quick] {
        let received = script.received().get(&(C0, stream));
        assert!(received.is_some_and(|received| received.bytes == pattern(TOTAL)));
    }
}
