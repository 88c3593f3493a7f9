//! The blocking form of the loop, in a process of its own: how SIGINT and SIGTERM end a program.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use oxymoq_core::sim::contract::{Actor, Told};
use oxymoq_core::transport::Exit;

use crate::support::{bind, server_settings};

/// Not a test, but the program that the tests below start: says what happens and obeys, or not.
#[test]
#[ignore = "waits for signals from another test"]
#[expect(clippy::print_stdout, reason = "speaks to the test that started it")]
fn program() {
    let stubborn = std::env::var_os("STUBBORN").is_some();
    let mut app = Actor::new(move |script, _, told| match told {
        Told::Started => println!("started"),
        Told::Shutdown => {
            println!("told to end");
            if stubborn {
                script.stay();
            }
        }
        other @ (Told::Input(_) | Told::Answer(..) | Told::Timeout) => panic!("{other:?}"),
    });
    match oxymoq_smol::run(bind(server_settings()), &mut app).unwrap() {
        Exit::Success => println!("succeeded"),
        Exit::Failure(why) => println!("failed: {why}"),
    }
}

struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(stubborn: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "signals::program", "--nocapture"])
            .stdout(Stdio::piped());
        if stubborn {
            command.env("STUBBORN", "");
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads up to a line that holds these words.
    fn expect(&mut self, words: &str) {
        let found = self.lines.any(|line| line.unwrap().contains(words));
        assert!(found, "the program never said {words:?}");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }
}

#[test]
fn either_signal_brings_the_program_to_its_end() {
    for signal in ["INT", "TERM"] {
        let mut program = Program::start(false);
        program.expect("started");
        program.signal(signal);
        program.expect("told to end");
        program.expect("succeeded");
        assert!(program.child.wait().unwrap().success());
    }
}

#[test]
fn second_signal_ends_a_program_that_takes_its_time() {
    let mut program = Program::start(true);
    program.expect("started");
    program.signal("TERM");
    program.expect("told to end");
    program.signal("INT");
    program.expect("failed: stopped before the work was finished");
    program.child.wait().unwrap();
}
