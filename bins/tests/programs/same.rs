//! The same uses and mistakes with every runtime, and the same words: what a user reads does not depend on it.
//!
//! Whoever is looked at runs on each runtime; so does, in turn, the server that it talks to. What each says is spelled out
//! here, so that both say it.

use std::net::UdpSocket;

use super::process::{Folder, Process, RUNTIMES};

/// A program that runs, and what is expected of it.
struct Try {
    program: &'static str,
    line: String,
    process: Process,
    success: bool,
    /// The last lines on stdout.
    prints: &'static [&'static str],
    /// Warnings, and the sentence at the end; `{port}` stands for every port.
    says: Vec<String>,
}

impl Try {
    fn start(
        folder: &Folder,
        program: &'static str,
        line: &str,
        says: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            program,
            line: line.to_owned(),
            process: Process::start_in(folder.path(), program, line),
            success: false,
            prints: &[],
            says: says.into_iter().collect(),
        }
    }

    /// Waits for the end, and compares.
    fn end(self) {
        let (status, lines, log) = self.process.end();
        let (program, line) = (self.program, self.line);
        assert_eq!(status.success(), self.success, "{program} {line}: {log}");
        let printed = &lines[lines.len().saturating_sub(self.prints.len())..];
        assert_eq!(printed, self.prints, "{program} {line}");
        assert_eq!(warnings(program, &log), self.says, "{program} {line}");
    }
}

/// Warnings without their time and the program's sentences, with `{port}` for the numbers of ports.
fn warnings(program: &str, log: &str) -> Vec<String> {
    let sentence = format!("{program}: ");
    let mut lines = Vec::new();
    for line in log.lines() {
        let warning = line
            .split_once(" WARN  ")
            .or_else(|| line.split_once(" ERROR "));
        if let Some((_time, rest)) = warning {
            lines.push(without_ports(rest));
        } else if line.starts_with(&sentence) {
            lines.push(without_ports(line));
        }
    }
    lines
}

/// Replaces each number of four or five digits behind a colon or the word port.
fn without_ports(line: &str) -> String {
    let mut words = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        let len = number.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, after) = number.split_at(len);
        words.push_str(before);
        let is_port = (before.ends_with(':') || before.ends_with("port ")) && len >= 4;
        words.push_str(if is_port { "{port}" } else { digits });
        rest = after;
    }
    words.push_str(rest);
    words
}

/// Every server that clients can go wrong with, on one runtime.
struct Servers {
    folder: Folder,
    /// Serves `/moq` alone, with a certificate that nobody knows.
    relay: (Process, u16),
    /// The same with a certificate for this machine that is trusted in the folder.
    trusted: (Process, u16),
    /// Speaks draft 16 alone.
    old: (Process, u16),
}

impl Servers {
    fn new(runtime: &'static str) -> Self {
        let folder = Folder::new(&format!("same-{runtime}"));
        folder.add_certificate();
        let relay = |flags: &str| {
            let line = format!("--runtime {runtime} --port 0 --endpoint /moq {flags}");
            let mut relay = Process::start_in(folder.path(), "moqrelayserver", &line);
            let port = relay.port();
            (relay, port)
        };
        let relays = (
            relay(""),
            relay("--cert certs/certificate.pem --key certs/certificate.key"),
            relay("--versions 16"),
        );
        let (relay, trusted, old) = relays;
        Self {
            folder,
            relay,
            trusted,
            old,
        }
    }

    /// A text client on `runtime` that goes wrong with this sentence, after `moqtextclient: URL`.
    fn client(&self, runtime: &str, url: &str, flags: &str, says: &str) -> Try {
        let line = format!(
            "--runtime {runtime} --connect_url {url} --track_namespace a --track_name b --connect_timeout 20000 {flags}"
        );
        let url = without_ports(url);
        let says = [format!("moqtextclient: {url}{says}")];
        Try::start(&self.folder, "moqtextclient", &line, says)
    }

    /// A date server on `runtime` that goes wrong with this sentence.
    fn publisher(&self, runtime: &str, url: &str, flags: &str, says: &str) -> Try {
        let line =
            format!("--runtime {runtime} --relay_url {url} --relay_connect_timeout 20000 {flags}");
        let url = without_ports(url);
        let says = [format!("moqdateserver: {url}{says}")];
        Try::start(&self.folder, "moqdateserver", &line, says)
    }

    /// A URL of one of the relays.
    fn url(scheme: &str, port: u16, path: &str) -> String {
        format!("{scheme}://localhost:{port}/{path}")
    }

    /// Servers that are not believed.
    fn untrusted(&self, runtime: &str) -> Vec<Try> {
        let unknown = ": could not connect: the server at localhost, port {port} is not trusted: nobody who is trusted \
                       here issued its certificate; trust its certificate or the authority that issued it";
        let mut attempts = Vec::new();
        for scheme in ["moqt", "https"] {
            let url = Self::url(scheme, self.relay.1, "moq");
            attempts.push(self.client(runtime, &url, "", unknown));
            attempts.push(self.publisher(runtime, &url, "", unknown));
        }
        let url = format!("moqt://127.0.0.2:{}/moq", self.trusted.1);
        let flags = "--ca certs/certificate.pem";
        let other_name = ": could not connect: the server at 127.0.0.2, port {port} is not trusted: its certificate is \
                          for another name; trust its certificate or the authority that issued it";
        attempts.push(self.client(runtime, &url, flags, other_name));
        attempts
    }

    /// Servers that have not what is wanted.
    fn refused(&self, runtime: &str) -> Vec<Try> {
        let [quic, h3] = ["moqt", "https"].map(|scheme| Self::url(scheme, self.relay.1, "moq"));
        let no_track =
            " refused the subscription to a--b: DOES_NOT_EXIST (no such namespace or track)";
        let no_past = " refused the FETCH of a--b: DOES_NOT_EXIST (no such namespace or track)";
        let trusted = Self::url("https", self.trusted.1, "moq");
        vec![
            self.client(runtime, &trusted, "", no_track),
            self.client(runtime, &quic, "--insecure", no_track),
            self.client(runtime, &h3, "--insecure --versions 16", no_track),
            self.client(runtime, &h3, "--insecure --fetch --sg 1", no_past),
        ]
    }

    /// Wrong paths, and drafts that are not spoken.
    fn misled(&self, runtime: &str) -> Vec<Try> {
        let no_path = ": closed by the peer: INVALID_PATH (V8: a path that is not served)";
        let no_path_over_h3 = ": could not connect: the server answered 404 to the WebTransport request for \
                               https://localhost:{port}/wrong (offered moqt-18, moqt-16)";
        let no_draft =
            ": could not connect: the server at localhost, port {port} speaks none of moqt-18";
        let no_draft_over_h3 = ": could not connect: the server answered 400 to the WebTransport request for \
                                https://localhost:{port}/moq (offered moqt-18)";
        let [quic, h3] = ["moqt", "https"].map(|scheme| Self::url(scheme, self.relay.1, "wrong"));
        let [old, old_h3] = ["moqt", "https"].map(|scheme| Self::url(scheme, self.old.1, "moq"));
        let new = "--insecure --versions 18";
        vec![
            self.client(runtime, &quic, "--insecure", no_path),
            self.client(runtime, &quic, "--insecure --versions 16", no_path),
            self.client(runtime, &h3, "--insecure", no_path_over_h3),
            self.publisher(runtime, &quic, "--insecure", no_path),
            self.publisher(runtime, &h3, "--insecure", no_path_over_h3),
            self.client(runtime, &old, new, no_draft),
            self.client(runtime, &old_h3, new, no_draft_over_h3),
            self.publisher(runtime, &old, new, no_draft),
        ]
    }
}

/// A date server at a relay of its own, and clients of all four kinds.
struct Broadcast {
    relay: Process,
    server: Try,
    clients: Vec<Try>,
}

impl Broadcast {
    /// `said` is what clients say of the end, after the program's name and the URL; `by_server` the date server.
    fn new(
        folder: &Folder,
        runtime: &str,
        relay: &str,
        said: Option<&str>,
        by_server: Option<&str>,
    ) -> Self {
        let flags = format!("--runtime {relay} --port 0 --idle_timeout 3s --keep_alive 1s");
        let mut relay = Process::start("moqrelayserver", &flags);
        let port = relay.port();
        let url = format!("https://localhost:{port}/moq");
        let line = format!(
            "--runtime {runtime} --insecure --relay_url {url} --relay_connect_timeout 20000"
        );
        let says = by_server.map(|said| format!("moqdateserver: {}{said}", without_ports(&url)));
        let mut server = Try::start(folder, "moqdateserver", &line, says);
        server.success = by_server.is_none();
        server.process.error_with("announces");
        let mut clients = Vec::new();
        for (scheme, draft) in super::dates::WAYS {
            let url = format!("{scheme}://localhost:{port}/moq");
            let line = format!(
                "--runtime {runtime} --insecure --connect_url {url} --versions {draft} --track_namespace moq-date \
                 --track_name date --connect_timeout 20000"
            );
            let url = without_ports(&url);
            let says = said.map(|said| format!("moqtextclient: {url}{said}"));
            let mut client = Try::start(folder, "moqtextclient", &line, says);
            client.success = said.is_none();
            clients.push(client);
        }
        for client in &mut clients {
            client.process.line();
        }
        Self {
            relay,
            server,
            clients,
        }
    }

    /// Waits for the end of all but the relay.
    fn end(self) -> Process {
        self.server.end();
        self.clients.into_iter().for_each(Try::end);
        self.relay
    }
}

/// Who is looked at, and who it talks to.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let both = |runtime| RUNTIMES.iter().map(move |other| (runtime, *other));
    RUNTIMES.iter().copied().flat_map(both)
}

#[test]
fn mistakes_of_clients_have_the_same_words() {
    let servers: Vec<Servers> = RUNTIMES.iter().copied().map(Servers::new).collect();
    for servers in &servers {
        for runtime in RUNTIMES {
            let mut attempts = servers.untrusted(runtime);
            attempts.extend(servers.refused(runtime));
            attempts.extend(servers.misled(runtime));
            attempts.into_iter().for_each(Try::end);
        }
    }
}

#[test]
fn servers_that_are_not_there_are_given_up_with_the_same_words() {
    let folder = Folder::new("same-nowhere");
    folder.add_certificate();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut attempts = Vec::new();
    for runtime in RUNTIMES {
        // The second address has nobody at all, as nobody else gets the port while it is taken on another.
        for host in ["127.0.0.1", "127.0.0.2"] {
            for scheme in ["moqt", "https"] {
                let line = format!(
                    "--runtime {runtime} --connect_url {scheme}://{host}:{port} --track_name t --connect_timeout 300"
                );
                let says = format!(
                    "moqtextclient: {scheme}://{host}:{{port}}/: could not connect: no answer from {host}, port {{port}} \
                     ({host}:{{port}}) within 300ms; check that a server listens there and that UDP gets through"
                );
                attempts.push(Try::start(&folder, "moqtextclient", &line, [says]));
            }
        }
        let line = format!("--runtime {runtime} --connect_url moqt://no..name:9668 --track_name t");
        let says = "moqtextclient: moqt://no..name:{port}/: could not connect: the name no..name cannot be resolved (it is \
                    not a host name); check its spelling and the network";
        attempts.push(Try::start(
            &folder,
            "moqtextclient",
            &line,
            [says.to_owned()],
        ));
    }
    attempts.into_iter().for_each(Try::end);
}

#[test]
fn servers_that_cannot_start_say_why_in_the_same_words() {
    let folder = Folder::new("same-servers");
    folder.add_certificate();
    let other = Folder::new("same-other");
    other.add_certificate();
    let stranger = other.path().join("certs/certificate.key");
    let stranger = stranger.display();
    std::fs::write(folder.path().join("none.pem"), "nothing of the kind").unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut attempts = Vec::new();
    for runtime in RUNTIMES {
        for program in ["moqrelayserver", "moqdateserver"] {
            let mut fails = |flags: &str, says: &str| {
                let line = format!("--runtime {runtime} {flags}");
                let says = format!("{program}: {says}");
                attempts.push(Try::start(&folder, program, &line, [says]));
            };
            fails(
                &format!("--port {port}"),
                "cannot listen on UDP [::]:{port}: port {port} is in use; stop the program that has it or choose another \
                 port",
            );
            fails(
                "--port 0 --cert none.pem --key certs/certificate.key",
                "cannot use the certificate none.pem: it holds no certificate in PEM form (\"-----BEGIN \
                 CERTIFICATE-----\")",
            );
            fails(
                &format!("--port 0 --cert certs/certificate.pem --key {stranger}"),
                &format!(
                    "the private key {stranger} does not belong to the certificate certs/certificate.pem; make both anew \
                     or name the right pair"
                ),
            );
        }
    }
    attempts.into_iter().for_each(Try::end);
}

#[test]
fn a_publisher_that_leaves_is_told_in_the_same_way() {
    let folder = Folder::new("same-leaves");
    let all: Vec<Broadcast> = pairs()
        .map(|(runtime, relay)| Broadcast::new(&folder, runtime, relay, None, None))
        .collect();
    for mut broadcast in all {
        broadcast.server.process.signal("TERM");
        for client in &mut broadcast.clients {
            client.prints = &["onPublishDone"];
        }
        let relay = broadcast.end();
        relay.signal("TERM");
        let (status, lines, log) = relay.end();
        assert!(status.success() && lines.is_empty(), "{log}");
    }
}

#[test]
fn a_relay_that_shuts_down_is_told_in_the_same_words() {
    let folder = Folder::new("same-shutdown");
    let said = " ended the subscription: GOING_AWAY (this relay is shutting down); subscribe again";
    let by_server = " is going away; start again when it is back";
    let all: Vec<Broadcast> = pairs()
        .map(|(runtime, relay)| {
            Broadcast::new(&folder, runtime, relay, Some(said), Some(by_server))
        })
        .collect();
    for mut broadcast in all {
        for client in &mut broadcast.clients {
            client.prints = &["onPublishDone"];
            let sentence = client.says[0].clone();
            let url = sentence.split(' ').nth(1).unwrap();
            let warning = format!(
                "oxymoq::text_client] {url} is going away; what was asked for goes on while it can (it names '' instead)"
            );
            client.says.insert(0, warning);
        }
        broadcast.relay.signal("TERM");
        let (status, lines, log) = broadcast.end().end();
        assert!(status.success() && lines.is_empty(), "{log}");
    }
}

#[test]
fn a_relay_that_vanishes_is_noticed_in_the_same_words() {
    let folder = Folder::new("same-vanishes");
    let said = ": timed out";
    let all: Vec<Broadcast> = pairs()
        .map(|(runtime, relay)| Broadcast::new(&folder, runtime, relay, Some(said), Some(said)))
        .collect();
    for broadcast in &all {
        broadcast.relay.signal("KILL");
    }
    for broadcast in all {
        drop(broadcast.end());
    }
}
