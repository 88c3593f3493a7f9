//! Hands the pages for browsers out, over plain HTTP and to this machine alone.
//!
//! The pages watch and publish through the relay with WebTransport. Browsers allow that, and camera and microphone, to
//! pages of this machine without HTTPS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;

use log::debug;
use serde_json::json;
use tiny_http::{Header, Method, Request, Response, Server};

use crate::runtime::Bound;

/// A file: its path, its type and its content.
type File = (&'static str, &'static str, &'static str);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

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
    let server = Server::http(address).map_err(|error| failed(&error))?;
    let local = server.server_addr().to_ip();
    let local = local.ok_or_else(|| failed(&"it has no IP address"))?;
    let settings = settings(relay, path);
    thread::Builder::new()
        .name("web".to_owned())
        .spawn(move || {
            for request in server.incoming_requests() {
                answer(request, &settings);
            }
        })
        .map_err(|error| failed(&error))?;
    Ok(local)
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

fn answer(request: Request, settings: &str) {
    let path = request.url().split('?').next().unwrap_or_default();
    let file = FILES.iter().find(|(known, ..)| *known == path);
    let response = match file {
        _ if *request.method() != Method::Get => Response::from_string("").with_status_code(405),
        Some((_, kind, content)) => typed(content, kind),
        None if path == "/relay.json" => typed(settings, "application/json"),
        None => Response::from_string("no such page\n").with_status_code(404),
    };
    if let Err(error) = request.respond(response) {
        debug!("a browser went away before it had its page: {error}");
    }
}

fn typed(content: &str, kind: &str) -> Response<std::io::Cursor<Vec<u8>>> {
    let mut response = Response::from_string(content);
    // The pages change with the program; a browser must not keep old ones.
    for (name, value) in [("Content-Type", kind), ("Cache-Control", "no-store")] {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

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
            assert!(answer.starts_with("HTTP/1.0 200"), "{path}: {answer}");
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
        assert!(ask(address, "GET /../Cargo.toml").starts_with("HTTP/1.0 404"));
        assert!(ask(address, "POST /play.html").starts_with("HTTP/1.0 405"));
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
}
