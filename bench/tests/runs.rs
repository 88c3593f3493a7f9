//! Short runs: everything arrives, and what does not is told.

use oxymoq::runtime::Runtime;
use oxymoq_bench::report::{Report, Run};
use std::fs;

use super::bench::{Bench, file};
use super::relay;

/// Of a window that is over soon, and in which nothing is lost because the machine is busy.
const SHORT: &str = "--duration 0.8 --drain 60";

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
                "{SHORT} --subscribers 3 --publishers 2 --rate 60 --group 20 --key_size 900 --size 300 --relay_pid {pid} --label here"
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

/// Each kind of load, in a namespace of its own; what its report must show besides that nothing was lost.
type Kind = (&'static str, &'static str, fn(&Report, &Run));

const KINDS: [Kind; 6] = [
    (
        "small",
        "--subscribers 2 --publish --rate 20 --size 200",
        |_, _| {},
    ),
    ("audio", "--subscribers 2 --rate 20", |report, _| {
        assert_eq!(report.joins.first_group.count, 2, "each object is a group");
    }),
    ("datagrams", "--subscribers 2 --rate 20", |report, _| {
        assert!(report.load.datagrams);
    }),
    (
        "tracks",
        "--subscribers 3 --publishers 2 --tracks 6 --tracks_each 2 --rate 10",
        |_, run| {
            assert!(run.published >= 12 * 7, "all 12 tracks");
            assert!(run.expected >= 6 * 7, "6 subscriptions");
        },
    ),
    (
        "churn",
        "--subscribers 2 --churn 5 --stay 0.2 --rate 20 --size 200",
        |report, _| {
            let churn = report.churn.unwrap();
            assert!(churn.came >= churn.let_in && churn.let_in >= churn.went);
            assert!(churn.came > 0 && churn.lost == 0, "{churn:?}");
        },
    ),
    (
        "stalled",
        "--subscribers 2 --rate 20 --size 500",
        |report, run| {
            assert_eq!(report.stalled.as_ref().unwrap().ended, None);
            assert_eq!(run.subscribers, 2, "it is one more");
        },
    ),
];

#[test]
fn every_kind_of_load_is_carried_without_loss() {
    let port = relay::start(Runtime::default());
    let bench = |(kind, more, _): Kind| {
        let line = format!("{SHORT} --profile {kind} --namespace kinds/{kind} {more}");
        Bench::start(kind, &flags(port, &line))
    };
    for (bench, (kind, _, check)) in KINDS.map(bench).into_iter().zip(KINDS) {
        let report = bench.end().report();
        assert_eq!(report.load.profile, kind);
        check(&report, perfect(&report));
    }
}

#[test]
fn flat_out_everything_that_was_published_arrives() {
    let port = relay::start(Runtime::default());
    // A long group, since a relay can hold back a stream, but has to give up some of many.
    let line = "--profile bulk --subscribers 1 --size 9000 --group 9999 --duration 60 --drain 60 \
                --logging oxymoq_bench=DBG";
    let mut bench = Bench::start("bulk", &flags(port, line));
    bench.says("objects so far");
    bench.signal("INT");
    let report = bench.end().report();
    let run = perfect(&report);
    assert!(run.published > 0);
    assert_eq!(run.expected, run.published);
}

#[test]
fn one_that_stops_reading_is_ended_by_the_relay_and_others_lose_nothing() {
    let port = relay::start(Runtime::default());
    let line = "--profile stalled --subscribers 1 --size 30000 --rate 20 --duration 60 --drain 60 \
                --logging oxymoq_bench=DBG";
    let mut bench = Bench::start("deaf", &flags(port, line));
    bench.says("who stopped reading");
    bench.signal("INT");
    let report = bench.end().report();
    perfect(&report);
    let ended = report.stalled.unwrap().ended.unwrap();
    assert!(ended.contains("TOO_FAR_BEHIND"), "{ended}");
}

#[test]
fn every_way_to_the_relay_is_measured() {
    let port = relay::start(Runtime::default());
    let ways = [("moqt", 18), ("moqt", 16), ("https", 18), ("https", 16)];
    let bench = |(scheme, draft): (&str, u64)| {
        let line = format!(
            "--url {scheme}://127.0.0.1:{port}/moq-relay --insecure {SHORT} --warm_up 0.2 --draft {draft} \
             --subscribers 2 --profile small --rate 20 --size 200 --namespace {scheme}{draft}"
        );
        Bench::start(&format!("way-{scheme}-{draft}"), &line)
    };
    for (bench, (scheme, draft)) in ways.map(bench).into_iter().zip(ways) {
        let report = bench.end().report();
        perfect(&report);
        assert_eq!(report.target.draft, Some(draft));
        let quic = report.target.transport == "quic";
        assert_eq!(quic, scheme == "moqt");
    }
}

#[test]
fn a_ramp_goes_on_to_its_last_step_and_is_compared_and_drawn() {
    let port = relay::start(Runtime::default());
    let line = "--profile ramp --rate 20 --key_size 300 --size 200 --subscribers 2 --ramp_step 2 --ramp_most 5 --max_latency 60000 --duration 0.4 --drain 60";
    let svg = file("ramp", "svg");
    let line = format!("{line} --plot {}", svg.display());
    let ramp = Bench::start("ramp", &flags(port, &line));
    let json = ramp.json().to_owned();
    let report = ramp.wait().report();
    let steps: Vec<u64> = report.runs.iter().map(|run| run.subscribers).collect();
    assert_eq!(steps, [2, 4, 5]);
    assert_eq!(report.held, Some(5));
    assert!(fs::read_to_string(&svg).unwrap().contains("ramp moqt://"));
    fs::remove_file(&svg).unwrap();

    let json = json.display();
    let compared = Bench::run("compare", &format!("--compare {json} {json}"));
    assert!(compared.status.success(), "{}", compared.err);
    assert!(compared.out.contains("1.000"), "{}", compared.out);
    let drawn = Bench::run("draw", &format!("--plot {} {json} {json}", svg.display()));
    assert!(drawn.status.success(), "{}", drawn.err);
    assert!(fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    fs::remove_file(&svg).unwrap();
    fs::remove_file(json.to_string()).unwrap();
}

#[test]
fn two_processes_measure_together() {
    let port = relay::start(Runtime::default());
    let line = "--role publish --profile small --rate 20 --size 200 --publishers 2 --duration 120 --logging INFO";
    let mut publisher = Bench::start("pair-publisher", &flags(port, line));
    publisher.says("measuring");
    let line = format!(
        "{SHORT} --role subscribe --profile small --rate 20 --size 200 --publishers 2 --subscribers 4"
    );
    let report = Bench::run("pair-subscribers", &flags(port, &line)).report();
    let run = perfect(&report);
    assert_eq!((run.published, report.load.role.as_str()), (0, "subscribe"));
    assert!(
        run.bottleneck.iter().all(|why| !why.contains("clock")),
        "{run:?}"
    );
    publisher.signal("INT");
    let report = publisher.end().report();
    assert!(report.runs[0].published > 0);
}

#[cfg(feature = "tokio")]
#[test]
fn a_publisher_that_is_killed_is_seen_as_loss() {
    let port = relay::start(Runtime::Tokio);
    let mut publisher = Bench::start(
        "killed-publisher",
        &flags(
            port,
            "--role publish --profile small --duration 120 --logging INFO",
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
    let line = "--subscribers 1 --profile small --rate 20 --size 200 --duration 60 --drain 60 --logging oxymoq_bench=DBG";
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
