//! What the two sides of a session do, step by step: the client asks for everything, the server answers in kind.

use crate::session::{Ended, Part, Receiver as _, Sender as _, Session};

/// Codes and words of the ends, all different. Above 0x1d there are gaps in the range that they are mapped into.
const RESET_BY_CLIENT: u32 = 42;
const RESET_BY_SERVER: u32 = 43;
const STOP_BY_CLIENT: u32 = 0x1234_5678;
const STOP_BY_SERVER: u32 = 5;
const CLOSE_BY_CLIENT: (u32, &str) = (7, "the client is done");
const CLOSE_BY_SERVER: (u32, &str) = (8, "the server has enough");

/// Who ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closer {
    Client,
    Server,
}

impl Closer {
    const fn close(self) -> (u32, &'static str) {
        match self {
            Self::Client => CLOSE_BY_CLIENT,
            Self::Server => CLOSE_BY_SERVER,
        }
    }

    /// What the other side sees.
    pub(crate) fn ended(self) -> Ended {
        let (code, words) = self.close();
        Ended::ByPeer(code, words.to_owned())
    }
}

/// The client's side, to the end of the session.
pub(crate) async fn ask(session: &impl Session, closer: Closer) -> Ended {
    // More than fits into the windows of either side, and not the same byte twice in a row.
    let sent: Vec<u8> = (0..300_000_u32)
        .flat_map(|n| n.to_be_bytes())
        .skip(3)
        .step_by(4)
        .collect();
    let (mut sender, mut receiver) = session.open_bi().await;
    let ((), echoed) = tokio::join!(
        async {
            sender.write_all(&sent).await;
            sender.finish().await;
        },
        receiver.read_to_end()
    );
    assert!(echoed == sent, "{} bytes came back changed", echoed.len());

    let mut sender = session.open_uni().await;
    sender.write_all(b"one way").await;
    let ((), echoed) = tokio::join!(sender.finish(), async {
        session.accept_uni().await.read_to_end().await
    });
    assert_eq!(echoed, b"one way");

    session.send_datagram(b"unreliable");
    assert_eq!(session.receive_datagram().await, b"unreliable");

    let (mut sender, mut receiver) = session.open_bi().await;
    sender.write_all(b"r").await;
    assert_eq!(receiver.read().await, Part::Bytes(b"r".to_vec()));
    sender.reset(RESET_BY_CLIENT);
    assert_eq!(receiver.read().await, Part::Reset(RESET_BY_SERVER));

    let (mut sender, mut receiver) = session.open_bi().await;
    sender.write_all(b"s").await;
    assert_eq!(receiver.read().await, Part::Bytes(b"s".to_vec()));
    receiver.stop(STOP_BY_CLIENT);
    assert_eq!(sender.stopped().await, STOP_BY_SERVER);

    if closer == Closer::Server {
        // Its close may overtake everything else, so it waits until nothing is on its way any more.
        let mut sender = session.open_uni().await;
        sender.write_all(b"that was all").await;
        sender.finish().await;
    }
    end(session, closer == Closer::Client, closer).await
}

/// The server's side, to the end of the session.
pub(crate) async fn answer(session: &impl Session, closer: Closer) -> Ended {
    let (mut sender, mut receiver) = session.accept_bi().await;
    loop {
        match receiver.read().await {
            Part::Bytes(bytes) => sender.write_all(&bytes).await,
            Part::End => break,
            Part::Reset(code) => panic!("reset with {code} instead of an end"),
        }
    }
    sender.finish().await;

    let received = session.accept_uni().await.read_to_end().await;
    let mut sender = session.open_uni().await;
    sender.write_all(&received).await;
    sender.finish().await;

    let datagram = session.receive_datagram().await;
    session.send_datagram(&datagram);

    let (mut sender, mut receiver) = session.accept_bi().await;
    assert_eq!(receiver.read().await, Part::Bytes(b"r".to_vec()));
    sender.write_all(b"r").await;
    assert_eq!(receiver.read().await, Part::Reset(RESET_BY_CLIENT));
    sender.reset(RESET_BY_SERVER);

    let (mut sender, mut receiver) = session.accept_bi().await;
    assert_eq!(receiver.read().await, Part::Bytes(b"s".to_vec()));
    sender.write_all(b"s").await;
    assert_eq!(sender.stopped().await, STOP_BY_CLIENT);
    receiver.stop(STOP_BY_SERVER);

    if closer == Closer::Server {
        let received = session.accept_uni().await.read_to_end().await;
        assert_eq!(received, b"that was all");
    }
    end(session, closer == Closer::Server, closer).await
}

async fn end(session: &impl Session, mine: bool, closer: Closer) -> Ended {
    if mine {
        let (code, words) = closer.close();
        session.close(code, words);
    }
    session.ended().await
}
