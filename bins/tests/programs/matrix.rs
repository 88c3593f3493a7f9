//! Every runtime as server, every runtime as client, in every way to speak: what is printed is the same.

use std::time::{SystemTime, UNIX_EPOCH};

use oxymoq::date;
use oxymoq_core::wire::id::Location;

use super::dates::WAYS;
use super::process::{Process, RUNTIMES};

/// A minute of the year 1971.
const LONG_AGO: u64 = 1_000_000;
/// How many lines of objects a client prints live before it is told to stop.
const LIVE_LINES: usize = 3;

/// A way in which a client gets the date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// What is published from now on.
    Live,
    /// From the start of the minute.
    Join,
    /// A minute of the past.
    Fetch,
    /// Whatever the publisher offers.
    Publish,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Live, Self::Join, Self::Fetch, Self::Publish];

    fn flags(self) -> String {
        match self {
            Self::Live => "--track_name date".to_owned(),
            Self::Join => "--track_name date --jrfetch".to_owned(),
            Self::Fetch => {
                let end = LONG_AGO + 1;
                format!("--track_name date --fetch --sg {LONG_AGO} --so 59 --eg {end}")
            }
            Self::Publish => "--publish".to_owned(),
        }
    }
}

/// A client that runs, and what it has printed.
struct Client {
    /// What it is, for messages.
    what: String,
    mode: Mode,
    process: Process,
    lines: Vec<String>,
}

/// A relay, and what publishes into it, which is of either runtime in turns.
struct Stage {
    runtime: &'static str,
    /// Of the relay, without a scheme.
    url: String,
    /// Relay and publishers; killed when dropped.
    programs: Vec<Process>,
}

impl Stage {
    fn new(runtime: &'static str) -> Self {
        let mut relay = Process::start("moqrelayserver", &format!("--runtime {runtime} --port 0"));
        let url = format!("localhost:{}/moq-relay", relay.port());
        let mut programs = vec![relay];
        for (scheme, draft) in WAYS {
            for publish in [false, true] {
                let turn = programs.len() % RUNTIMES.len();
                let publisher = RUNTIMES[turn];
                let ns = namespace((scheme, draft), publish);
                let line = format!(
                    "--runtime {publisher} --insecure --relay_url {scheme}://{url} --versions {draft} --ns {ns} \
                     --relay_connect_timeout 20000 --publish={publish}"
                );
                programs.push(Process::start("moqdateserver", &line));
            }
        }
        for publisher in &mut programs[1..] {
            publisher.error_with("announces");
        }
        Self {
            runtime,
            url,
            programs,
        }
    }

    /// Ends the publishers, then the relay.
    fn end(mut self) {
        let publishers = self.programs.split_off(1);
        for program in &publishers {
            program.signal("TERM");
        }
        publishers.into_iter().for_each(succeeds);
        for relay in self.programs {
            relay.signal("TERM");
            succeeds(relay);
        }
    }

    fn client(&self, runtime: &str, way: (&str, &str), mode: Mode) -> Client {
        let (scheme, draft) = way;
        let (url, ns, flags) = (
            &self.url,
            namespace(way, mode == Mode::Publish),
            mode.flags(),
        );
        let line = format!(
            "--runtime {runtime} --insecure --connect_url {scheme}://{url} --versions {draft} --track_namespace {ns} \
             --connect_timeout 20000 {flags}"
        );
        Client {
            what: format!("{mode:?} on {runtime} from {}, {way:?}", self.runtime),
            mode,
            process: Process::start("moqtextclient", &line),
            lines: Vec::new(),
        }
    }
}

fn succeeds(program: Process) {
    let (status, lines, log) = program.end();
    assert!(status.success() && lines.is_empty(), "{lines:?}: {log}");
}

fn namespace((scheme, draft): (&str, &str), publish: bool) -> String {
    let kind = if publish { "offered" } else { "announced" };
    format!("{kind}-{scheme}-{draft}")
}

/// What a client of the date prints from this minute to that one, but for the ends of minutes.
fn printed(minutes: impl Iterator<Item = u64>) -> Vec<String> {
    let line = |minute, object| {
        let payload = date::payload(Location::new(minute, object)).unwrap();
        String::from_utf8(payload.to_vec()).unwrap()
    };
    let mut lines = Vec::new();
    for minute in minutes {
        lines.push("data extension=AQIDBAU=".to_owned());
        lines.push("int extension=1977".to_owned());
        lines.extend((0..=60).map(|object| line(minute, object)));
    }
    lines
}

/// The minute that it is now.
fn this_minute() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs() / 60
}

impl Client {
    /// Tells it to stop once it has printed enough, unless it stops by itself.
    fn hear(&mut self) {
        if self.mode == Mode::Fetch {
            return;
        }
        let mut live = self.mode != Mode::Join;
        let mut wanted = LIVE_LINES;
        while wanted > 0 {
            let line = self.process.line();
            wanted -= usize::from(live);
            live |= line == "onEndOfStream";
            self.lines.push(line);
        }
        self.process.signal("INT");
    }

    /// All that it printed.
    fn end(self) -> Vec<String> {
        let (status, rest, log) = self.process.end();
        let mut lines = self.lines;
        assert!(status.success(), "{}: {log}", self.what);
        lines.extend(rest);
        // The end of a minute is on a stream of its own minute: the next one may overtake it.
        lines.retain(|line| line != "ObjectStatus=3");
        lines
    }
}

#[test]
fn nobody_can_tell_the_runtimes_apart_by_what_is_printed() {
    let before = this_minute();
    let stages: Vec<Stage> = RUNTIMES.iter().copied().map(Stage::new).collect();
    let mut clients = Vec::new();
    for stage in &stages {
        for runtime in RUNTIMES {
            for way in WAYS {
                let all = Mode::ALL.map(|mode| stage.client(runtime, way, mode));
                clients.extend(all);
            }
        }
    }
    let past = {
        let mut lines = printed(LONG_AGO..LONG_AGO + 2);
        // From object 59 of the first minute on: the 58th second.
        lines.drain(..61);
        lines
    };
    clients.iter_mut().for_each(Client::hear);
    for client in clients {
        let (what, mode) = (client.what.clone(), client.mode);
        let mut lines = client.end();
        if matches!(mode, Mode::Join | Mode::Fetch) {
            let end = lines.iter().position(|line| line == "onEndOfStream");
            lines.remove(end.unwrap_or_else(|| panic!("{what}: no end of the past: {lines:?}")));
        }
        if mode == Mode::Fetch {
            assert_eq!(lines, past, "{what}");
            continue;
        }
        let now = printed(before..=this_minute());
        let mut parts = now.windows(lines.len());
        assert!(
            lines.len() >= LIVE_LINES && parts.any(|part| part == lines),
            "{what} printed {lines:?}"
        );
        assert!(
            mode != Mode::Join || lines[0] == now[0],
            "{what} does not begin with a minute: {lines:?}"
        );
    }
    for stage in stages {
        stage.end();
    }
}
