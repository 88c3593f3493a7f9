//! Datagrams: how large they may be, and what happens when too many wait.

use std::cell::Cell;
use std::rc::Rc;

use crate::transport::{Answer, Input, Output};

use super::{Actor, Bench, Told, caller, pattern, run_plain};

/// The largest that is announced arrives, each way; one byte more than any packet holds is refused.
pub fn datagrams_cross_both_ways_and_a_large_one_is_refused(bench: &mut dyn Bench) {
    let mut back = 0;
    let serving = Actor::new(move |script, id, told| match told {
        // It may take less at once than its client does.
        Told::Input(Input::Connected { max_datagram, .. }) => back = *max_datagram,
        Told::Input(Input::Datagram(bytes)) => {
            assert_eq!(*bytes, pattern(bytes.len()));
            script.push(id, Output::Datagram(pattern(back)));
        }
        _ => {}
    });
    let refused = Rc::new(Cell::new(false));
    let mine = Rc::clone(&refused);
    let mut largest = 0;
    let calling = caller(move |script, id, told| match told {
        Told::Input(Input::Connected { max_datagram, .. }) => {
            assert!(*max_datagram > 1000, "{max_datagram}");
            largest = *max_datagram;
            script.push(id, Output::Datagram(pattern(70_000)));
            script.push(id, Output::Datagram(pattern(largest)));
        }
        Told::Answer(Output::Datagram(bytes), answer) => {
            let expected = if bytes.len() > largest {
                Answer::TooLarge
            } else {
                Answer::Done
            };
            assert_eq!(*answer, expected);
            mine.set(mine.get() || expected == Answer::TooLarge);
        }
        Told::Input(Input::Datagram(bytes)) => {
            assert!(bytes.len() > 1000 && *bytes == pattern(bytes.len()));
            script.close(id, 0, "done");
        }
        _ => {}
    });
    run_plain(bench, &serving, &calling);
    assert!(refused.get());
}

/// What does not fit waits with the application, which is told when to go on.
pub fn full_datagram_queue_blocks_until_there_is_room(bench: &mut dyn Bench) {
    const DATAGRAMS: usize = 150;
    let mut done = 0;
    let calling = caller(move |script, id, told| match told {
        Told::Input(Input::Connected { .. }) => {
            for _ in 0..DATAGRAMS {
                script.push(id, Output::Datagram(pattern(1000)));
            }
        }
        Told::Answer(Output::Datagram(_), Answer::Done) => {
            done += 1;
            if done == DATAGRAMS {
                script.close(id, 0, "done");
            }
        }
        _ => {}
    });
    run_plain(bench, &Actor::silent(), &calling);
    let script = calling.script();
    let mut answers = script.answers().iter().map(|(_, answer)| answer);
    let before = answers.position(|answer| *answer == Answer::Blocked);
    // The buffer holds 64 KiB by default; some may have left meanwhile.
    assert!(
        before.is_some_and(|before| (40..DATAGRAMS).contains(&before)),
        "{before:?}"
    );
    assert!(script.was_told(&Input::DatagramRoom));
}
