//! What every WebTransport library offers: the scripts of both sides are written against this, ours included.

/// An established session.
pub(crate) trait Session {
    type Sender: Sender;
    type Receiver: Receiver;

    /// The protocol that was agreed on; `None` where the library does not tell.
    fn protocol(&self) -> Option<String>;
    async fn open_bi(&self) -> (Self::Sender, Self::Receiver);
    async fn open_uni(&self) -> Self::Sender;
    /// The next bidirectional stream that the other side opened.
    async fn accept_bi(&self) -> (Self::Sender, Self::Receiver);
    async fn accept_uni(&self) -> Self::Receiver;
    fn send_datagram(&self, bytes: &[u8]);
    async fn receive_datagram(&self) -> Vec<u8>;
    fn close(&self, code: u32, reason: &str);
    /// Waits for the end.
    async fn ended(&self) -> Ended;
}

/// The sending direction of a stream.
pub(crate) trait Sender {
    async fn write_all(&mut self, bytes: &[u8]);
    async fn finish(&mut self);
    fn reset(&mut self, code: u32);
    /// Waits for the code of the other side's STOP_SENDING.
    async fn stopped(&mut self) -> u32;
}

/// The receiving direction of a stream.
pub(crate) trait Receiver {
    async fn read(&mut self) -> Part;
    fn stop(self, code: u32);

    /// All bytes up to the end of the stream.
    async fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.read().await {
                Part::Bytes(bytes) => all.extend(bytes),
                Part::End => return all,
                Part::Reset(code) => panic!("reset with {code} instead of an end"),
            }
        }
    }
}

/// What a read gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Bytes(Vec<u8>),
    End,
    Reset(u32),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By this side.
    ByUs,
    /// By the other side, with its code and words.
    ByPeer(u32, String),
}

/// Why there is no session, as the client's library tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The server answered with this status.
    Status(u16),
    /// The server answered with a status that the library keeps to itself.
    SomeStatus,
    /// In words.
    Words(String),
}

/// What a server does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// Accept it, naming this protocol.
    Accept(&'static str),
    /// Accept it without a word about protocols.
    AcceptSilently,
    NotFound,
}

/// Somebody else's library.
pub(crate) trait Library {
    type Session: Session;
    type Server: Server<Session = Self::Session>;

    /// Whether its client learns the status of a refusal.
    const TELLS_STATUS: bool;

    /// Asks a server on this machine, known by its certificate's SHA-256, for a session, offering these protocols.
    async fn connect(
        port: u16,
        certificate: [u8; 32],
        path: &str,
        protocols: &[&str],
    ) -> Result<Self::Session, Refused>;

    /// Opens a server on a free port of the loopback interface.
    fn listen() -> Self::Server;
}

/// A server of somebody else's library.
pub(crate) trait Server {
    type Session: Session;

    fn port(&self) -> u16;
    /// Answers the next request. With it comes what was asked for: the path and the protocols offered. `None`: there is no
    /// session, and the client is gone.
    async fn answer(&mut self, verdict: Verdict) -> (Asked, Option<Self::Session>);
}

/// What a server was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) protocols: Vec<String>,
}
