//! Short runs: everything arrives, and what does not is told.

use oxymoq::runtime::Runtime;
use oxymoq_bench::report::{Report, Run};

use super::bench::Bench;
use super::relay;

/// Of a window that is over soon, and in which nothing is lost because the machine is busy.
const SHORT: &str = "--duration 0.8 --drain 20";

/// Flags of a run.
fn flags(port: u16, more: &str) -> String {
    format!("--url moqt://127.0.0.1:{port} --insecure --warm_up 0.2 {more}")
}

/// The only window, in which everything arrived once.
fn perfect(report: &Report) -> &Run {
    let [run] = report.runs.as_slice() else {
        panic!("{:?}", report.runs.len());
    };
    assert!(run.expected > 0, "{run:?}");
    assert_eq!((run.delivered, run.lost), (run.expected, 0), "{run:?}");
    assert_eq!((run.duplicated, run.damaged), (0, 0), "{run:?}");
    assert_eq!(run.latency.count, run.delivered);
    assert_eq!(run.subscribers, run.wanted);
    run
}

#[test]
fn live_video_arrives_whole_and_the_report_is_complete() {
    for runtime in RUNTIMES {
        let port = relay::start(*runtime);
        let name = format!("live-{runtime:?}");
        let pid = std::process::id();
        let flags = flags(
            port,
            &format!(
                "{SHORT} --subscribers 3 --publishers 2 --rate 60 --group 20 --relay_pid {pid} --label here"
            ),
        );
        let report = Bench::run(&name, &flags).report();
        let run = perfect(&report);
        assert_eq!(run.subscribers, 3);
        assert!((130..=160).contains(&run.expected), "{}", run.expected);
        assert_eq!(report.target.draft, Some(18));
        assert_eq!(report.name(), "here");
        assert!(report.joins.first_object.count >= 3 && report.joins.connect.count >= 3);
        assert!(run.relay.as_ref().unwrap().threads > 0);
        assert!(report.memory.unwrap().start > 0);
        assert_eq!(run.generator.threads, 2, "itself and its metronome");
        let counted: u64 = run.latency_histogram.iter().map(|(_, count)| count).sum();
        assert_eq!(counted, run.delivered);
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_publisher_that_is_killed_is_seen_as_loss() {
    let port = relay::start(Runtime::Tokio);
    let mut publisher = Bench::start(
        "killed-publisher",
        &flags(
            port,
            "--role publish --profile small --duration 0 --logging INFO",
        ),
    );
    publisher.says("measuring");
    let line = "--role subscribe --profile small --subscribers 2 --duration 4 --drain 0.2 --logging oxymoq_bench=DBG";
    let mut subscribers = Bench::start("killed-subscribers", &flags(port, line));
    subscribers.says("objects so far");
    publisher.signal("KILL");
    drop(publisher);
    let report = subscribers.end().report();
    let run = &report.runs[0];
    assert!(run.lost > 0, "{run:?}");
    assert_eq!(run.expected, run.delivered + run.lost);
}

#[cfg(feature = "tokio")]
#[test]
fn an_interrupted_run_still_reports() {
    let port = relay::start(Runtime::Tokio);
    let line = "--subscribers 1 --profile small --duration 0 --drain 20 --logging oxymoq_bench=DBG";
    let mut bench = Bench::start("interrupted", &flags(port, line));
    bench.says("objects so far");
    bench.signal("INT");
    let report = bench.end().report();
    perfect(&report);
}

#[test]
fn a_relay_that_is_not_there_is_named_and_the_run_fails() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let line = flags(port, "--connect_timeout 300");
    let ended = Bench::run("nobody", &line);
    assert!(!ended.status.success());
    let address = format!("moqt://127.0.0.1:{port}");
    assert!(ended.err.contains(&address), "{}", ended.err);
    let failure = ended.report.unwrap().failure.unwrap();
    assert!(failure.contains(&address), "{failure}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_measured() {
    for (line, part) in [
        ("", "--url"),
        ("--url moqt://h --size 3", "--size 3"),
        ("--url moqt://h --draft 12", "'12'"),
        (
            "--url moqt://h --insecure --relay_pid 4294967295",
            "--relay_pid",
        ),
        ("no/such.json", "no/such.json"),
    ] {
        let ended = Bench::run("refused", line);
        assert!(!ended.status.success(), "{line}");
        assert!(ended.err.contains(part), "{line}: {}", ended.err);
        assert!(ended.report.is_none(), "{line}");
    }
}

/// The runtimes that the program was built with.
const RUNTIMES: &[Runtime] = &[
    #[cfg(feature = "tokio")]
    Runtime::Tokio,
    #[cfg(feature = "smol")]
    Runtime::Smol,
];
