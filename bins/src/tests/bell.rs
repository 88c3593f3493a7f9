//! Threads that ring a running endpoint's bell.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use clap::ValueEnum as _;
use oxymoq_core::runtime::Settings;
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
};

use crate::runtime::{self, Runtime};

/// Numbers that the other thread sends; its end of the channel holds one at a time.
const NUMBERS: u64 = 1000;

/// An application without any connection, that exits when it has heard all numbers.
struct Listener {
    numbers: Receiver<u64>,
    heard: u64,
}

impl Application for Listener {
    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, _now: Time, _connection: ConnectionId, _input: Input) {}

    fn handle_answer(&mut self, _now: Time, _connection: ConnectionId, _answer: Answer) {}

    fn handle_timeout(&mut self, _now: Time) {}

    fn handle_wake(&mut self, _now: Time) {
        while let Ok(number) = self.numbers.try_recv() {
            assert_eq!(number, self.heard, "in order, none left out");
            self.heard += 1;
        }
    }

    fn handle_shutdown(&mut self, _now: Time) {}

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        None
    }

    fn poll_output(&mut self, _now: Time, _connection: ConnectionId) -> Option<Output> {
        None
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        None
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        None
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        (self.heard == NUMBERS).then_some(Exit::Success)
    }
}

#[test]
fn application_hears_of_everything_that_another_thread_rings_for() {
    for runtime in Runtime::value_variants() {
        let exit = runtime::run_with(*runtime, Settings::default(), |bell| {
            let (sender, numbers) = sync_channel(1);
            thread::spawn(move || {
                for number in 0..NUMBERS {
                    sender.send(number).unwrap();
                    bell.wake_by_ref();
                }
            });
            Listener { numbers, heard: 0 }
        });
        assert_eq!(exit, Ok(Exit::Success), "{runtime:?}");
    }
}
