//! What is tested with every library on every runtime.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use oxymoq_core::h3::{Client, Request, Server};
use oxymoq_core::transport::{Closed, Exit};
use tokio::sync::oneshot;

use crate::ours::{App, Ours};
use crate::runtime::Runtime;
use crate::script::{self, Closer};
use crate::session::{Asked, Ended, Library, Refused, Server as _, Session as _, Verdict};

/// Longer than any test takes: only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// What our side's script returned, and what the session was asked for with, once it is over.
type Told<T> = oneshot::Receiver<(T, Option<Request>)>;

/// A certificate for `localhost` and its key, both in DER form.
pub(crate) struct Identity {
    pub(crate) certificate: Vec<u8>,
    /// PKCS#8.
    pub(crate) key: Vec<u8>,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self {
            certificate: signed.cert.der().to_vec(),
            key: signed.signing_key.serialize_der(),
        }
    }
}

/// Starts our server in a thread of its own; returns its port and its certificate's SHA-256 as well.
fn serve<T, F>(
    runtime: Runtime,
    script: impl FnOnce(Ours) -> F + Send + 'static,
) -> ((u16, [u8; 32]), Told<T>)
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (bound, address) = mpsc::channel();
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        let endpoint = runtime.server();
        bound.send(endpoint.server()).unwrap();
        let server = Server {
            paths: vec!["/moq".to_owned()],
            protocols: vec!["moqt-18".into(), "moqt-16".into()],
            default_protocol: Some("moqt-18".into()),
        };
        let mut app = App::server(server, script);
        assert_eq!(endpoint.run(&mut app), Exit::Success);
        assert!(tell.send(app.told()).is_ok(), "the test waits");
    });
    (address.recv().unwrap(), told)
}

/// Starts our client in a thread of its own, offering `moqt-18` and `moqt-16`.
fn connect<T, F>(
    runtime: Runtime,
    port: u16,
    script: impl FnOnce(Ours) -> F + Send + 'static,
) -> Told<T>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        let client = Client {
            authority: format!("127.0.0.1:{port}"),
            path: "/moq".to_owned(),
            protocols: vec!["moqt-18".into(), "moqt-16".into()],
            default_protocol: None,
            origin: None,
        };
        let mut app = App::client(client, port, script);
        assert_eq!(runtime.client().run(&mut app), Exit::Success);
        assert!(tell.send(app.told()).is_ok(), "the test waits");
    });
    told
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(HANG, future).await.expect("hung") })
}

pub(crate) fn session_with_our_server<L: Library>(runtime: Runtime, closer: Closer) {
    let ((port, certificate), ours) = serve(runtime, async move |session: Ours| {
        session.established().await.unwrap();
        let ended = script::answer(&session, closer).await;
        (session.protocol(), ended)
    });
    let theirs = async {
        let offered = ["moqt-16", "moqt-18"];
        let session = connected::<L>(port, certificate, "/moq?room=1", &offered).await;
        let protocol = session.protocol();
        assert!(
            matches!(protocol.as_deref(), None | Some("moqt-18")),
            "{protocol:?}"
        );
        let ended = script::ask(&session, closer).await;
        (session, ended)
    };
    // Their session is kept until ours is over: dropping it may close the connection.
    let ((_session, client), ours) = block_on(async { tokio::join!(theirs, ours) });
    let ((protocol, server), request) = ours.expect("our side did not fail");
    let request = request.unwrap();
    assert_eq!(request.authority, format!("127.0.0.1:{port}"));
    assert_eq!(request.path, "/moq?room=1");
    assert_eq!(
        protocol.as_deref(),
        Some("moqt-18"),
        "the server prefers it"
    );
    match closer {
        Closer::Client => assert_eq!((client, server), (Ended::ByUs, closer.ended())),
        Closer::Server => assert_eq!((client, server), (closer.ended(), Ended::ByUs)),
    }
}

pub(crate) fn session_with_our_client<L: Library>(runtime: Runtime, closer: Closer) {
    let ((asked, _session, server), ours) = block_on(async {
        let mut listener = L::listen();
        let ours = connect(runtime, listener.port(), async move |session: Ours| {
            session.established().await.unwrap();
            let ended = script::ask(&session, closer).await;
            (session.protocol(), ended)
        });
        let theirs = async {
            let (asked, session) = listener.answer(Verdict::Accept("moqt-16")).await;
            let session = session.unwrap();
            let ended = script::answer(&session, closer).await;
            (asked, session, ended)
        };
        tokio::join!(theirs, ours)
    });
    let ((protocol, client), _) = ours.expect("our side did not fail");
    assert_eq!(asked, our_request());
    assert_eq!(protocol.as_deref(), Some("moqt-16"), "the server chose it");
    match closer {
        Closer::Client => assert_eq!((client, server), (Ended::ByUs, closer.ended())),
        Closer::Server => assert_eq!((client, server), (closer.ended(), Ended::ByUs)),
    }
}

/// A session with a server that this client may have.
async fn connected<L: Library>(
    port: u16,
    certificate: [u8; 32],
    path: &str,
    protocols: &[&str],
) -> L::Session {
    match L::connect(port, certificate, path, protocols).await {
        Ok(session) => session,
        Err(refused) => panic!("{refused:?}"),
    }
}

/// What our client asks for.
fn our_request() -> Asked {
    Asked {
        path: "/moq".to_owned(),
        protocols: vec!["moqt-18".to_owned(), "moqt-16".to_owned()],
    }
}

pub(crate) fn our_server_speaks_its_default_with_a_client_that_offers_nothing<L: Library>(
    runtime: Runtime,
) {
    let ((port, certificate), ours) = serve(runtime, async |session: Ours| {
        session.established().await.unwrap();
        (session.protocol(), session.ended().await)
    });
    let theirs = async {
        let session = connected::<L>(port, certificate, "/moq", &[]).await;
        session.close(0, "");
        assert_eq!(session.ended().await, Ended::ByUs);
        session
    };
    let (session, ours) = block_on(async { tokio::join!(theirs, ours) });
    let ((protocol, ended), request) = ours.expect("our side did not fail");
    assert_eq!(protocol.as_deref(), Some("moqt-18"));
    assert_eq!(request.unwrap().protocol, None, "nothing was negotiated");
    assert_eq!(session.protocol(), None);
    assert_eq!(ended, Ended::ByPeer(0, String::new()));
}

pub(crate) fn our_server_does_not_have_other_paths<L: Library>(runtime: Runtime) {
    refused_by_our_server::<L>(runtime, "/mop", &["moqt-18"], 404);
}

pub(crate) fn our_server_refuses_a_client_without_a_common_protocol<L: Library>(runtime: Runtime) {
    refused_by_our_server::<L>(runtime, "/moq", &["moqt-99", "chat"], 400);
}

fn refused_by_our_server<L: Library>(runtime: Runtime, path: &str, offer: &[&str], status: u16) {
    let ((port, certificate), ours) =
        serve(runtime, async |session: Ours| session.established().await);
    let theirs = L::connect(port, certificate, path, offer);
    let (theirs, ours) = block_on(async { tokio::join!(theirs, ours) });
    let expected = if L::TELLS_STATUS {
        Refused::Status(status)
    } else {
        Refused::SomeStatus
    };
    assert_eq!(theirs.err(), Some(expected));
    let (established, _) = ours.expect("our side did not fail");
    assert!(
        matches!(established, Err(Closed::Failed(_))),
        "{established:?}"
    );
}

pub(crate) fn our_client_tells_that_a_path_is_not_there<L: Library>(runtime: Runtime) {
    let why = no_session_with_our_client::<L>(runtime, Verdict::NotFound);
    assert!(why.contains("answered 404"), "{why}");
    assert!(why.contains("/moq"), "{why}");
}

pub(crate) fn our_client_refuses_a_server_that_chooses_nothing<L: Library>(runtime: Runtime) {
    let why = no_session_with_our_client::<L>(runtime, Verdict::AcceptSilently);
    assert!(why.contains("not offered: none"), "{why}");
}

/// Not every library lets a server do this.
pub(crate) fn our_client_refuses_a_protocol_that_it_did_not_offer<L: Library>(runtime: Runtime) {
    let why = no_session_with_our_client::<L>(runtime, Verdict::Accept("moqt-99"));
    assert!(why.contains("not offered: moqt-99"), "{why}");
}

/// What our client says.
fn no_session_with_our_client<L: Library>(runtime: Runtime, verdict: Verdict) -> String {
    let ((asked, _session), ours) = block_on(async {
        let mut listener = L::listen();
        let script = async |session: Ours| session.established().await;
        let ours = connect(runtime, listener.port(), script);
        tokio::join!(listener.answer(verdict), ours)
    });
    assert_eq!(asked, our_request());
    match ours.expect("our side did not fail").0 {
        Err(Closed::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}
