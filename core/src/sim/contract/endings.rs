//! How connections and programs end, and what must not look like an end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::sim::Script;
use crate::time::Time;
use crate::transport::{Answer, Closed, Dir, Exit, Input, Output, StreamId};

use super::{
    Actor, Bench, C0, MOMENT, OFFERED, Sockets, Told, caller, client, closing, greeter, pattern,
    run, run_plain, server,
};

/// Turns of an endpoint after which what it was given has left.
const SETTLED: u32 = 5;

fn by_peer(code: u64, reason: &'static str) -> Closed {
    Closed::ByPeer {
        code,
        reason: Bytes::from_static(reason.as_bytes()),
    }
}

/// Code and words arrive; who closed is told that too.
pub fn close_reaches_the_peer_and_each_side_hears_once(bench: &mut dyn Bench) {
    let serving = greeter();
    let calling = caller(|script, id, told| {
        if let Told::Input(Input::Datagram(_)) = told {
            script.close(id, 0x1234, "enough of this");
        }
    });
    run_plain(bench, &serving, &calling);
    assert_eq!(closing(&calling), Closed::ByUs);
    assert_eq!(closing(&serving), by_peer(0x1234, "enough of this"));
}

/// A program that just ends leaves unfinished streams, which must not look complete.
pub fn abandoned_connection_never_looks_like_finished_streams(bench: &mut dyn Bench) {
    const STREAMS: usize = 20;
    let mut started = 0;
    let calling = Actor::new(move |script, id, told| match told {
        Told::Input(Input::Connected { .. }) => {
            for _ in 0..STREAMS {
                let stream = script.open(id, Dir::Uni);
                script.write(id, stream, pattern(500));
            }
        }
        // Leaves without closing anything, when some of it has arrived.
        Told::Input(Input::Datagram(_)) => script.exit(Exit::Success),
        _ => {}
    });
    let serving = Actor::new(move |script, id, told| {
        if let Told::Answer(Output::Read { .. }, Answer::Data(_)) = told {
            started += 1;
            if started == STREAMS {
                script.push(id, Output::Datagram(pattern(1)));
            }
        }
    });
    run_plain(bench, &serving, &calling.dialling(&OFFERED));
    let script = serving.script();
    assert_eq!(script.received().len(), STREAMS);
    for ((_, stream), received) in script.received() {
        assert_eq!(received.end, None, "{stream}");
    }
    assert!(matches!(closing(&serving), Closed::ByPeer { code: 0, .. }));
}

/// The core takes the end of a control stream for a violation, so the end of a connection must not look like one.
pub fn closed_connection_never_looks_like_ended_streams(bench: &mut dyn Bench) {
    const STREAMS: usize = 3;
    let serving = Actor::new(|script, id, told| match told {
        // Each is read until nothing is left, which the client hears.
        Told::Answer(Output::Read { .. }, Answer::Data(_)) => {
            let stream = script.open(id, Dir::Uni);
            script.write(id, stream, pattern(10));
        }
        Told::Answer(Output::Read { stream, .. }, answer) => {
            let ended = matches!(answer, Answer::Fin | Answer::Reset(_));
            assert!(!ended, "{stream}: {answer:?}");
        }
        Told::Input(Input::Stopped { stream, .. }) => panic!("{stream} was stopped"),
        _ => {}
    });
    let mut greeted = 0;
    let calling = caller(move |script, id, told| match told {
        Told::Input(Input::Connected { .. }) => {
            for dir in [Dir::Bi, Dir::Uni, Dir::Uni] {
                let stream = script.open(id, dir);
                script.write(id, stream, pattern(20));
            }
        }
        Told::Answer(Output::Read { .. }, Answer::Data(_)) => {
            greeted += 1;
            if greeted == STREAMS {
                script.close(id, 0, "done");
            }
        }
        _ => {}
    });
    run_plain(bench, &serving, &calling);
    for actor in [serving, calling] {
        let script = actor.script();
        let ends = script.received().values().filter_map(|r| r.end.as_ref());
        assert_eq!(ends.count(), 0);
        let (_, last) = script.inputs().last().cloned().unzip();
        assert!(matches!(last, Some(Input::Closed(_))), "{last:?}");
    }
}

/// Who sends, and closes once it is sent, has not cut anything off that arrived.
pub fn what_arrives_together_with_the_close_is_read_first(bench: &mut dyn Sockets) {
    let held = Rc::new(Cell::new(false));
    let hold = Rc::clone(&held);
    let serving = Actor::new(move |_, _, told| {
        if let Told::Input(Input::Datagram(_)) = told {
            // From here on packets pile up in its socket.
            hold.set(true);
        }
    });
    let serving = serving.held_by(Rc::clone(&held));
    let mut rounds = 0;
    let calling = caller(move |script, _, told| {
        match told {
            Told::Input(Input::Connected { .. }) => {
                script.push(C0, Output::Datagram(pattern(1)));
            }
            Told::Timeout if held.get() => {
                rounds += 1;
                if rounds == 1 {
                    script.send(C0, StreamId::local(0), Dir::Uni, pattern(5000));
                    let (stream, dir) = (StreamId::local(1), Dir::Uni);
                    script.push(C0, Output::Open { stream, dir });
                    script.write(C0, stream, pattern(300));
                } else if rounds == SETTLED {
                    script.close(C0, 5, "done");
                    return;
                }
            }
            Told::Timeout => {}
            _ => return,
        }
        script.set_deadline(script.now() + MOMENT);
    });
    bench.run(&server(&serving), &client(&calling));
    let script = serving.script();
    let received = |n| script.received().get(&(C0, StreamId::peer(n)));
    let whole = received(0).map(|received| (received.bytes.len(), received.end.clone()));
    assert_eq!(whole, Some((5000, Some(Answer::Fin))));
    let part = received(1).map(|received| (received.bytes.len(), received.end.clone()));
    assert_eq!(part, Some((300, None)));
    assert_eq!(closing(&serving), by_peer(5, "done"));
}

/// A peer of which nothing is heard any more.
pub fn silent_peer_times_out(bench: &mut dyn Sockets) {
    let hold = Rc::new(Cell::new(false));
    let serving = Actor::silent().held_by(Rc::clone(&hold));
    let calling = caller(move |_, _, told| {
        if let Told::Input(Input::Connected { .. }) = told {
            hold.set(true);
        }
    });
    let mut seat = client(&calling);
    seat.settings.transport.idle_timeout = Duration::from_millis(300);
    seat.settings.transport.keep_alive = Duration::ZERO;
    bench.run(&server(&serving), &seat);
    assert_eq!(closing(&calling), Closed::TimedOut);
}

/// Nothing is said for three times the idle timeout.
pub fn quiet_connection_is_kept_alive(bench: &mut dyn Bench) {
    let serving = Actor::new(|script, _, told| match told {
        Told::Input(Input::Connected { .. }) => {
            script.set_deadline(script.now() + Duration::from_millis(900));
        }
        Told::Timeout => script.push(C0, Output::Datagram(pattern(1))),
        _ => {}
    });
    let calling = caller(|script, id, told| {
        if let Told::Input(Input::Datagram(_)) = told {
            script.close(id, 0, "done");
        }
    });
    let mut seat = client(&calling);
    seat.settings.transport.idle_timeout = Duration::from_millis(300);
    seat.settings.transport.keep_alive = Duration::from_millis(50);
    run(bench, &server(&serving), &seat);
    assert_eq!(closing(&calling), Closed::ByUs);
    let script = calling.script();
    let mut paths = script.inputs().iter().map(|(_, input)| input);
    assert!(paths.any(|input| matches!(input, Input::Path { rtt, .. } if !rtt.is_zero())));
}

/// A program that is asked to end says so to its peers.
pub fn shutdown_is_told_once_and_peers_hear_the_goodbye(bench: &mut dyn Bench) {
    let told_so = Rc::new(Cell::new(0));
    let mine = Rc::clone(&told_so);
    let serving = Actor::new(move |script, _, told| match told {
        Told::Input(Input::Connected { .. }) => script.push(C0, Output::Datagram(pattern(1))),
        Told::Shutdown => {
            mine.set(mine.get() + 1);
            script.stay();
            script.close(C0, 9, "going down");
        }
        Told::Input(Input::Closed(_)) => script.exit(Exit::Failure("told so".to_owned())),
        _ => {}
    });
    let end = Rc::new(Cell::new(false));
    let serving = serving.ended_by(Rc::clone(&end));
    let calling = caller(move |_, _, told| {
        if let Told::Input(Input::Datagram(_)) = told {
            end.set(true);
        }
    });
    let exits = bench.run(&server(&serving), &client(&calling));
    assert_eq!(exits, (Exit::Failure("told so".to_owned()), Exit::Success));
    assert_eq!(told_so.get(), 1);
    assert_eq!(closing(&calling), by_peer(9, "going down"));
}

/// An idle endpoint's last round is long ago when somebody asks it to end.
pub fn shutdown_comes_with_the_time_of_its_own_moment(bench: &mut dyn Sockets) {
    const IDLE: Duration = Duration::from_millis(50);
    let times = Rc::new(Cell::new([Time::ZERO; 2]));
    let mine = Rc::clone(&times);
    let serving = Actor::new(move |script, _, told| {
        let [started, _] = mine.get();
        match told {
            Told::Started => mine.set([script.now(); 2]),
            Told::Shutdown => mine.set([started, script.now()]),
            _ => {}
        }
    });
    // It connects to nobody.
    let calling = Actor::new(|script, _, told| match told {
        Told::Started => script.set_deadline(script.now() + IDLE),
        Told::Timeout => script.exit(Exit::Success),
        _ => {}
    });
    bench.run(&server(&serving), &client(&calling));
    let [started, ended] = times.get();
    assert!(ended.since(started) >= IDLE, "{:?}", ended.since(started));
}

/// However many there are.
pub fn exit_closes_what_is_open(bench: &mut dyn Bench) {
    const CLIENTS: usize = 150;
    let mut connected = 0;
    let serving = Actor::new(move |script, _, told| {
        if let Told::Input(Input::Connected { .. }) = told {
            connected += 1;
            if connected == CLIENTS {
                script.exit(Exit::Success);
            }
        }
    });
    let mut calling = Actor::new(|script: &mut Script, _, told| {
        if let Told::Input(Input::Closed(_)) = told
            && script.closings().count() == CLIENTS
        {
            script.exit(Exit::Success);
        }
    });
    for _ in 0..CLIENTS {
        calling = calling.dialling(&OFFERED);
    }
    let mut seat = server(&serving);
    seat.settings.transport.retry_above = CLIENTS;
    run(bench, &seat, &client(&calling));
    for closed in calling.script().closings() {
        assert!(matches!(closed, Closed::ByPeer { code: 0, .. }), "{closed}");
    }
}
