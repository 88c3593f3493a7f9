//! One connection: a session, and WebTransport around it where the peer asks for that.

use bytes::Bytes;

use crate::draft::Draft;
use crate::h3::{self, Translated, WebTransport};
use crate::session::{Session, Settings, Source, Underlay};
use crate::time::Time;
use crate::transport::{Answer, Input, Output};

/// The name in ALPN of HTTP/3, which carries WebTransport.
const HTTP3: &[u8] = b"h3";

/// One connection of an application: told [`Input`]s and polled for [`Output`]s like the connection of an
/// [`Application`](crate::transport::Application), with a [`Session`] inside.
///
/// Whether WebTransport lies in between follows from the protocol that TLS agreed on; the session does not notice.
#[derive(Debug)]
pub struct Peer {
    session: Session,
    layer: Layer,
}

#[derive(Debug)]
enum Layer {
    /// A server does not know before the handshake is over.
    Undecided {
        settings: Box<Settings>,
        drafts: Vec<Draft>,
        limits: h3::Limits,
    },
    None,
    WebTransport(Box<WebTransport>),
}

impl Peer {
    /// The server's side of a connection, for either kind: clients find it at the settings' accepted paths.
    ///
    /// `drafts` are spoken with WebTransport clients, most wanted first; with others TLS has chosen.
    pub fn server(settings: Settings, drafts: &[Draft]) -> Self {
        Self {
            session: Session::new(settings.clone()),
            layer: Layer::Undecided {
                settings: Box::new(settings),
                drafts: drafts.to_vec(),
                limits: h3::Limits::default(),
            },
        }
    }

    /// The client's side of a connection of the kind that the settings name, offering `drafts`, most wanted first.
    pub fn client(settings: Settings, drafts: &[Draft]) -> Self {
        let layer = match settings.underlay {
            Underlay::RawQuic => Layer::None,
            Underlay::WebTransport => {
                let protocols = protocols(drafts);
                Layer::WebTransport(Box::new(WebTransport::client(h3::Client {
                    authority: String::from_utf8_lossy(&settings.authority).into_owned(),
                    path: String::from_utf8_lossy(&settings.path).into_owned(),
                    // A server that accepts a single offer without repeating it can mean nothing else.
                    default_protocol: match protocols.as_slice() {
                        [only] => Some(only.clone()),
                        _ => None,
                    },
                    protocols,
                    origin: None,
                })))
            }
        };
        Self {
            session: Session::new(settings),
            layer,
        }
    }

    /// The same with other bounds for WebTransport, if that lies in between.
    #[must_use]
    pub fn with_web_transport_limits(mut self, bounds: h3::Limits) -> Self {
        self.layer = match self.layer {
            Layer::Undecided {
                settings, drafts, ..
            } => Layer::Undecided {
                settings,
                drafts,
                limits: bounds,
            },
            Layer::WebTransport(layer) => Layer::WebTransport(Box::new(layer.with_limits(bounds))),
            Layer::None => Layer::None,
        };
        self
    }

    /// The session with the peer.
    pub const fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The session with the peer, to look at.
    pub const fn session_ref(&self) -> &Session {
        &self.session
    }

    /// What the peer asked for when it opened a WebTransport session; `None` on QUIC itself and before it did.
    pub fn web_transport(&self) -> Option<&h3::Request> {
        match &self.layer {
            Layer::WebTransport(layer) => layer.established(),
            Layer::Undecided { .. } | Layer::None => None,
        }
    }

    /// Something happened on the connection.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        if let Layer::Undecided {
            settings,
            drafts,
            limits,
        } = &self.layer
            && let Input::Connected { alpn, .. } = &input
        {
            self.layer = if alpn.as_ref() == HTTP3 {
                let settings = Settings {
                    underlay: Underlay::WebTransport,
                    ..Settings::clone(settings)
                };
                let layer = WebTransport::server(accepting(&settings, drafts)).with_limits(*limits);
                let is_tracing = self.session.is_tracing();
                self.session = Session::new(settings);
                if is_tracing {
                    self.session.trace_messages();
                }
                Layer::WebTransport(Box::new(layer))
            } else {
                Layer::None
            };
        }
        match &mut self.layer {
            Layer::WebTransport(layer) => layer.handle_input(now, input),
            Layer::Undecided { .. } | Layer::None => self.session.handle_input(now, input),
        }
        self.feed(now);
    }

    /// What to do next on the connection.
    #[must_use = "an output that is not carried out is lost"]
    pub fn poll_output(&mut self, now: Time, source: &mut dyn Source) -> Option<Output> {
        loop {
            let Layer::WebTransport(layer) = &mut self.layer else {
                return self.session.poll_output(now, source);
            };
            if let Some(output) = layer.poll_output() {
                return Some(output);
            }
            let output = self.session.poll_output(now, source)?;
            match layer.translate(now, output) {
                Translated::Ask(output) => return Some(output),
                Translated::Answered(answer) => self.session.handle_answer(now, answer, source),
                Translated::Done => {}
            }
            self.feed(now);
        }
    }

    /// The answer to the last output.
    pub fn handle_answer(&mut self, now: Time, answer: Answer, source: &mut dyn Source) {
        let inner = match &mut self.layer {
            Layer::WebTransport(layer) => layer.handle_answer(now, answer),
            Layer::Undecided { .. } | Layer::None => Some(answer),
        };
        if let Some(answer) = inner {
            self.session.handle_answer(now, answer, source);
        }
        self.feed(now);
    }

    /// When to call [`Peer::handle_timeout`], and what for.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let layer = match &self.layer {
            Layer::WebTransport(layer) => layer.poll_timeout(),
            Layer::Undecided { .. } | Layer::None => None,
        };
        self.session.poll_timeout().into_iter().chain(layer).min()
    }

    /// The deadline of [`Peer::poll_timeout`] passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Layer::WebTransport(layer) = &mut self.layer {
            layer.handle_timeout(now);
        }
        self.feed(now);
        self.session.handle_timeout(now);
    }

    /// Hands on what the WebTransport layer has for the session.
    fn feed(&mut self, now: Time) {
        if let Layer::WebTransport(layer) = &mut self.layer {
            while let Some(input) = layer.poll_input() {
                self.session.handle_input(now, input);
            }
        }
    }
}

/// What a server accepts from WebTransport clients.
fn accepting(settings: &Settings, drafts: &[Draft]) -> h3::Server {
    let protocols = protocols(drafts);
    h3::Server {
        paths: settings
            .accepted_paths
            .iter()
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect(),
        // Browsers that cannot name protocols yet run clients that speak the newest one.
        default_protocol: protocols.first().cloned(),
        protocols,
    }
}

fn protocols(drafts: &[Draft]) -> Vec<Bytes> {
    drafts
        .iter()
        .map(|draft| Bytes::from_static(draft.profile().alpn.as_bytes()))
        .collect()
}
