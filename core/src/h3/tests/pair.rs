//! A client's layer and a server's, back to back.

use super::*;

/// Two wires; what one sends the other receives. Streams keep their order, as QUIC's ids do.
struct Pair {
    client: Wire,
    server: Wire,
    /// What was delivered of each stream: sender's number, receiver's number, bytes, ends.
    to_server: Vec<Delivery>,
    to_client: Vec<Delivery>,
}

struct Delivery {
    from: StreamId,
    to: StreamId,
    bytes: usize,
    over: bool,
}

impl Pair {
    fn new() -> Self {
        Self::with(new_client(), new_server())
    }

    fn with(client: Wire, server: Wire) -> Self {
        let mut pair = Self {
            client,
            server,
            to_server: Vec::new(),
            to_client: Vec::new(),
        };
        pair.run();
        pair
    }

    /// Carries until nothing moves.
    fn run(&mut self) {
        loop {
            let moved = carry(
                &mut self.client,
                &mut self.server,
                &mut self.to_server,
                &self.to_client,
            );
            let back = carry(
                &mut self.server,
                &mut self.client,
                &mut self.to_client,
                &self.to_server,
            );
            if !moved && !back {
                return;
            }
        }
    }

    /// The receiver's number of a stream that this side of the pair opened.
    fn peer_of(deliveries: &[Delivery], stream: StreamId) -> StreamId {
        deliveries
            .iter()
            .find(|delivery| delivery.from == stream)
            .unwrap()
            .to
    }
}

/// Carries what `from` sent since the last time to `to`; whether there was anything.
fn carry(from: &mut Wire, to: &mut Wire, done: &mut Vec<Delivery>, other: &[Delivery]) -> bool {
    let mut moved = false;
    for (stream, dir) in from.opened.clone() {
        if !done.iter().any(|delivery| delivery.from == stream) {
            let received = to.open(dir, &[]);
            to.outgoing.entry(received).or_default();
            done.push(Delivery {
                from: stream,
                to: received,
                bytes: 0,
                over: false,
            });
            moved = true;
        }
    }
    // Answers on streams that the other side opened.
    for delivery in other {
        if !delivery.from.is_local() {
            continue;
        }
        if !done.iter().any(|known| known.from == delivery.to) {
            done.push(Delivery {
                from: delivery.to,
                to: delivery.from,
                bytes: 0,
                over: false,
            });
        }
    }
    for delivery in done {
        let Some(sent) = from.outgoing.get(&delivery.from).cloned() else {
            continue;
        };
        if delivery.over || !to.incoming.contains_key(&delivery.to) {
            continue;
        }
        let fresh = &sent.bytes[delivery.bytes..];
        if !fresh.is_empty() {
            delivery.bytes = sent.bytes.len();
            moved = true;
            to.send(delivery.to, fresh);
        }
        if let Some(end) = sent
            .reset
            .map(Answer::Reset)
            .or(sent.fin.then_some(Answer::Fin))
        {
            delivery.over = true;
            moved = true;
            if to.incoming.contains_key(&delivery.to) {
                to.send_end(delivery.to, end);
            }
            from.input(Input::Acked(delivery.from));
        }
    }
    for datagram in mem::take(&mut from.datagrams) {
        moved = true;
        to.input(Input::Datagram(datagram));
    }
    if let (Some((code, reason)), false) = (from.closed.clone(), from.layer.is_over()) {
        from.input(Input::Closed(Closed::ByUs));
        to.input(Input::Closed(Closed::ByPeer { code, reason }));
        moved = true;
    }
    moved
}

fn write(stream: StreamId, bytes: &'static [u8], fin: bool) -> Output {
    let bytes = Bytes::from_static(bytes);
    Output::Write {
        stream,
        bytes,
        fin,
        urgent: false,
    }
}

#[test]
fn a_session_comes_about_with_any_cutting_of_bytes() {
    for read_chunk in [1, 2, 3, 10, 1000] {
        let (mut client, mut server) = (new_client(), new_server());
        (client.read_chunk, server.read_chunk) = (read_chunk, read_chunk);
        let pair = Pair::with(client, server);
        assert_eq!(pair.client.established(), Some((&b"moqt-18"[..], 1199)));
        assert_eq!(pair.server.established(), Some((&b"moqt-18"[..], 1199)));
        let (asked, got) = (
            pair.client.layer.established(),
            pair.server.layer.established(),
        );
        assert_eq!(asked, got);
        assert_eq!(got.unwrap().path, "/moq?x=1");
    }
}

#[test]
fn streams_flow_both_ways_and_keep_their_bytes() {
    let mut pair = Pair::new();
    let (uni, bidi) = (StreamId::local(0), StreamId::local(1));
    for (stream, dir) in [(uni, Dir::Uni), (bidi, Dir::Bi)] {
        pair.client.want(Output::Open { stream, dir });
        pair.client.want(write(stream, b"from the client", true));
        pair.server.want(Output::Open { stream, dir });
        pair.server.want(write(stream, b"from the server", true));
    }
    pair.run();
    for stream in [uni, bidi] {
        let received = Pair::peer_of(&pair.to_server, stream);
        assert_eq!(pair.server.read_all(received), b"from the client");
        let received = Pair::peer_of(&pair.to_client, stream);
        assert_eq!(pair.client.read_all(received), b"from the server");
    }
    // The other direction of a bidirectional stream.
    let received = Pair::peer_of(&pair.to_server, bidi);
    pair.server.want(write(received, b"answer", true));
    pair.run();
    assert_eq!(pair.client.read_all(bidi), b"answer");
    pair.server
        .want(Output::Datagram(Bytes::from_static(b"datagram")));
    pair.run();
    let datagram = Input::Datagram(Bytes::from_static(b"datagram"));
    assert_eq!(pair.client.inputs.last(), Some(&datagram));
}

#[test]
fn codes_arrive_as_they_were_sent() {
    let mut pair = Pair::new();
    let stream = StreamId::local(0);
    pair.client.want(Output::Open {
        stream,
        dir: Dir::Uni,
    });
    pair.client.want(write(stream, b"x", false));
    pair.run();
    let received = Pair::peer_of(&pair.to_server, stream);
    assert_eq!(pair.server.read_all(received), b"x");
    pair.client.want(Output::Reset { stream, code: 42 });
    pair.run();
    let read = Output::Read {
        stream: received,
        max: 10,
    };
    assert_eq!(pair.server.want(read), Some(Answer::Reset(42)));
}

#[test]
fn either_side_ends_the_session_with_code_and_reason() {
    for by_client in [true, false] {
        let mut pair = Pair::new();
        let (ending, other) = if by_client {
            (&mut pair.client, &mut pair.server)
        } else {
            (&mut pair.server, &mut pair.client)
        };
        ending.inputs.clear();
        other.inputs.clear();
        let reason = Bytes::from_static(b"enough");
        let code = 3;
        ending.want(Output::Close { code, reason });
        pair.run();
        let (ending, other) = if by_client {
            (&pair.client, &pair.server)
        } else {
            (&pair.server, &pair.client)
        };
        let reason = Bytes::from_static(b"enough");
        assert_eq!(ending.inputs, [Input::Closed(Closed::ByUs)]);
        assert_eq!(
            other.inputs,
            [Input::Closed(Closed::ByPeer { code, reason })]
        );
        assert!(ending.layer.is_over() && other.layer.is_over());
    }
}

#[test]
fn a_client_with_the_wrong_path_or_protocol_learns_why() {
    let client = |path: &str, protocol: &'static [u8]| {
        Wire::new(WebTransport::client(Client {
            authority: "localhost".to_owned(),
            path: path.to_owned(),
            protocols: vec![Bytes::from_static(protocol)],
            default_protocol: None,
            origin: None,
        }))
    };
    for (path, protocol, status) in [
        ("/wrong", &b"moqt-18"[..], "404"),
        ("/moq", b"moqt-99", "400"),
    ] {
        let pair = Pair::with(client(path, protocol), new_server());
        match pair.client.closed_input() {
            Some(Closed::Failed(why)) => assert!(why.contains(status), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(pair.server.established(), None);
    }
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let pair = Pair::new();
        format!("{:?} {:?}", pair.client, pair.server)
    };
    assert_eq!(run(), run());
}
