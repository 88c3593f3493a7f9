//! Hands the pages for browsers out, over plain HTTP and to this machine alone.
//!
//! The pages watch and publish through the relay with WebTransport. Browsers allow that, and camera and microphone, to
//! pages of this machine without HTTPS.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::debug;
use serde_json::json;

use crate::runtime::Bound;

/// A file: its path, its type and its content.
type File = (&'static str, &'static str, &'static str);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Connections that are open at once, each with a thread; further ones are closed unanswered.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of a request up to its empty line.
const MAX_HEAD: usize = 16 << 10;
/// Header fields of a request.
const MAX_HEADERS: usize = 64;
/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

const FILES: [File; 12] = [
    ("/", HTML, include_str!("../web/index.html")),
    ("/play.html", HTML, include_str!("../web/play.html")),
    ("/publish.html", HTML, include_str!("../web/publish.html")),
    ("/style.css", "text/css", include_str!("../web/style.css")),
    ("/loc.js", SCRIPT, include_str!("../web/loc.js")),
    ("/order.js", SCRIPT, include_str!("../web/order.js")),
    ("/page.js", SCRIPT, include_str!("../web/page.js")),
    ("/play.js", SCRIPT, include_str!("../web/play.js")),
    ("/present.js", SCRIPT, include_str!("../web/present.js")),
    ("/publish.js", SCRIPT, include_str!("../web/publish.js")),
    ("/session.js", SCRIPT, include_str!("../web/session.js")),
    ("/wire.js", SCRIPT, include_str!("../web/wire.js")),
];

/// Hands the pages out on this port of 127.0.0.1 (0: any) for as long as the process runs; the relay at `relay`, `path` is
/// what they connect to. Returns where they are.
///
/// # Errors
///
/// A sentence that says why the port cannot be had.
pub fn serve(port: u16, relay: &Bound, path: &str) -> Result<SocketAddr, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let failed = |why: &dyn std::fmt::Display| {
        format!("--web_port: no pages at http://{address}: {why}; choose another port")
    };
    let listener = TcpListener::bind(address).map_err(|error| failed(&error))?;
    let local = listener.local_addr().map_err(|error| failed(&error))?;
    let settings: Arc<str> = settings(relay, path).into();
    thread::Builder::new()
        .name("web".to_owned())
        .spawn(move || {
            for stream in listener.incoming() {
                if let Err(error) = stream.and_then(|stream| admit(stream, &settings)) {
                    debug!("a browser was not answered: {error}");
                }
            }
        })
        .map_err(|error| failed(&error))?;
    Ok(local)
}

/// Answers on a thread of the connection's own: browsers open connections in advance and leave them silent, so none may wait
/// for another.
fn admit(stream: TcpStream, settings: &Arc<str>) -> io::Result<()> {
    // Every thread that answers holds a copy, and the one that accepts holds the first.
    if Arc::strong_count(settings) > MAX_CONNECTIONS {
        return Err(io::Error::other("too many connections"));
    }
    let settings = Arc::clone(settings);
    thread::Builder::new()
        .name("web page".to_owned())
        .spawn(move || {
            if let Err(error) = converse(stream, &settings) {
                debug!("a browser went away before it had its page: {error}");
            }
        })
        .map(drop)
}

/// Reads one request, answers it and closes.
fn converse(mut stream: TcpStream, settings: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while head.len() < MAX_HEAD {
        let length = stream.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        head.extend_from_slice(piece.get(..length).unwrap_or_default());
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(_)) => {
                return stream.write_all(answer(&request, settings).as_bytes());
            }
            Err(error) => {
                debug!("a browser asked in a way that is not HTTP: {error}");
                break;
            }
        }
    }
    stream.write_all(response("400 Bad Request", HTML, "").as_bytes())
}

/// What the pages' form is filled with.
fn settings(relay: &Bound, path: &str) -> String {
    let ip = match relay.address.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    let authority = SocketAddr::new(ip, relay.address.port());
    let url = format!("https://{authority}{path}");
    json!({ "url": url, "fingerprint": relay.certificate }).to_string()
}

fn answer(request: &httparse::Request<'_, '_>, settings: &str) -> String {
    if request.method != Some("GET") {
        return response("405 Method Not Allowed", HTML, "");
    }
    let path = request.path.and_then(|path| path.split('?').next());
    let path = path.unwrap_or_default();
    match FILES.iter().find(|(known, ..)| *known == path) {
        Some((_, kind, content)) => response("200 OK", kind, content),
        None if path == "/relay.json" => response("200 OK", "application/json", settings),
        None => response("404 Not Found", HTML, "no such page\n"),
    }
}

/// The pages change with the program: a browser must not keep old ones.
fn response(status: &str, kind: &str, content: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{content}",
        content.len()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn bound() -> Bound {
        Bound {
            address: "[::]:4433".parse().unwrap(),
            fingerprint: None,
            certificate: Some("ab".repeat(32)),
        }
    }

    fn ask(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{line} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn every_file_that_a_page_names_is_there() {
        let address = serve(0, &bound(), "/moq").unwrap();
        let paths: BTreeSet<&str> = FILES.iter().map(|file| file.0).collect();
        let mut named = BTreeSet::new();
        for (_, _, content) in FILES.iter() {
            for word in content.split(['"', '\'']) {
                let is_file = [".js", ".css", ".html"]
                    .iter()
                    .any(|end| word.ends_with(end));
                if is_file && !word.contains(' ') {
                    named.insert(format!("/{}", word.trim_start_matches("./")));
                }
            }
        }
        assert!(named.len() > 8, "{named:?}");
        for path in named {
            assert!(paths.contains(path.as_str()), "{path}");
            let answer = ask(address, &format!("GET {path}"));
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    }

    #[test]
    fn pages_are_told_where_the_relay_is() {
        let address = serve(0, &bound(), "/moq").unwrap();
        assert!(address.ip().is_loopback());
        let answer = ask(address, "GET /relay.json?now");
        assert!(answer.contains("https://127.0.0.1:4433/moq"), "{answer}");
        assert!(answer.contains(&"ab".repeat(32)), "{answer}");
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let address = serve(0, &bound(), "/moq").unwrap();
        assert!(ask(address, "GET /../Cargo.toml").starts_with("HTTP/1.1 404"));
        assert!(ask(address, "POST /play.html").starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn taken_port_is_a_sentence() {
        let taken = serve(0, &bound(), "/moq").unwrap();
        let error = serve(taken.port(), &bound(), "/moq").unwrap_err();
        assert!(
            error.contains("--web_port") && error.contains("another port"),
            "{error}"
        );
    }

    #[test]
    fn silent_connections_keep_nobody_waiting() {
        let address = serve(0, &bound(), "/moq").unwrap();
        let silent = [(); MAX_CONNECTIONS / 2].map(|()| TcpStream::connect(address).unwrap());
        assert!(ask(address, "GET /play.html").starts_with("HTTP/1.1 200"));
        for mut stream in silent.into_iter().rev() {
            write!(stream, "GET /play.html HTTP/1.1\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }

    #[test]
    fn connections_beyond_the_limit_are_closed() {
        let address = serve(0, &bound(), "/moq").unwrap();
        let silent = [(); MAX_CONNECTIONS + 1].map(|()| TcpStream::connect(address).unwrap());
        let mut last = silent.last().unwrap();
        assert!(matches!(last.read(&mut [0]), Ok(0) | Err(_)));
    }

    #[test]
    fn what_is_too_long_or_no_request_is_refused() {
        let address = serve(0, &bound(), "/moq").unwrap();
        assert!(ask(address, "\u{1}").starts_with("HTTP/1.1 400"));
        let mut stream = TcpStream::connect(address).unwrap();
        let field = format!("A: {}\r\n", "b".repeat(1000));
        write!(stream, "GET / HTTP/1.1\r\n").unwrap();
        for _ in 0..=MAX_HEAD / field.len() {
            // The refusal may come, and the connection be gone, before all is written.
            if stream.write_all(field.as_bytes()).is_err() {
                break;
            }
        }
        let mut answer = [0; 12];
        if stream.read_exact(&mut answer).is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 400");
        }
    }
}
