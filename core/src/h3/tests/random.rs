//! Bytes and events at random: nothing panics, and nothing grows without bound.

use proptest::prelude::*;

use super::*;

/// Something that a peer does, or the transport.
#[derive(Clone, Debug)]
enum Act {
    Open(Dir, Vec<u8>),
    Send(u64, Vec<u8>),
    End(u64, Option<u64>),
    Datagram(Vec<u8>),
    Stopped(u64, u64),
    Acked(u64),
    Writable(u64),
    Time(u64),
    Inner(Output),
}

/// Bytes that have a chance to mean something.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(chromium_control()),
        Just(chromium_request(&[])),
        Just(headers(&[
            (":status", "200"),
            ("wt-protocol", "\"moqt-18\"")
        ])),
        Just(capsule::close_frame(1, b"x")),
        Just(capsule::drain_frame()),
        Just(b"\x40\x54\x00payload".to_vec()),
        Just(b"\x40\x41\x00payload".to_vec()),
        Just(b"\x02\x20".to_vec()),
        Just(b"\x03\x44".to_vec()),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(kind, payload)| frame::encode(u64::from(kind & 0x3f), &payload)),
    ]
}

fn inner() -> impl Strategy<Value = Output> {
    let stream = (0_u64..4, any::<bool>()).prop_map(|(n, local)| {
        if local {
            StreamId::local(n)
        } else {
            StreamId::peer(n)
        }
    });
    let dir = prop_oneof![Just(Dir::Uni), Just(Dir::Bi)];
    let code = 0_u64..10;
    prop_oneof![
        (0_u64..4, dir).prop_map(|(n, dir)| Output::Open {
            stream: StreamId::local(n),
            dir
        }),
        stream
            .clone()
            .prop_map(|stream| Output::Read { stream, max: 10 }),
        (stream.clone(), code.clone()).prop_map(|(stream, code)| Output::Stop { stream, code }),
        (stream, code).prop_map(|(stream, code)| Output::Reset { stream, code }),
        Just(Output::Datagram(Bytes::from_static(b"x"))),
        Just(Output::Close {
            code: 1,
            reason: Bytes::new()
        }),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let dir = prop_oneof![Just(Dir::Uni), Just(Dir::Bi)];
    let code = || {
        prop_oneof![
            Just(0_u64),
            Just(0x100),
            Just(0x52e4_a40f_a8db),
            any::<u64>()
        ]
    };
    prop_oneof![
        8 => (dir, bytes()).prop_map(|(dir, bytes)| Act::Open(dir, bytes)),
        8 => (0_u64..6, bytes()).prop_map(|(n, bytes)| Act::Send(n, bytes)),
        1 => (0_u64..6, prop::option::of(code())).prop_map(|(n, reset)| Act::End(n, reset)),
        1 => bytes().prop_map(Act::Datagram),
        1 => (0_u64..6, code()).prop_map(|(n, code)| Act::Stopped(n, code)),
        1 => (0_u64..6).prop_map(Act::Acked),
        1 => (0_u64..6).prop_map(Act::Writable),
        1 => (0_u64..5_000_000).prop_map(Act::Time),
        2 => inner().prop_map(Act::Inner),
    ]
}

fn perform(wire: &mut Wire, act: Act) {
    match act {
        Act::Open(dir, bytes) => {
            wire.open(dir, &bytes);
        }
        Act::Send(n, bytes) => {
            let stream = StreamId::peer(n);
            if wire.incoming.contains_key(&stream) {
                wire.send(stream, &bytes);
            }
        }
        Act::End(n, reset) => {
            let stream = StreamId::peer(n);
            if wire.incoming.contains_key(&stream) {
                wire.send_end(stream, reset.map_or(Answer::Fin, Answer::Reset));
            }
        }
        Act::Datagram(bytes) => wire.input(Input::Datagram(bytes.into())),
        Act::Stopped(n, code) => {
            let stream = StreamId::peer(n);
            // A transport tells of streams that there are, and once.
            if n < wire.peer_streams && wire.stopped.insert(stream) {
                wire.input(Input::Stopped { stream, code });
            }
        }
        Act::Acked(n) => wire.input(Input::Acked(StreamId::peer(n))),
        Act::Writable(n) => wire.input(Input::Writable(StreamId::peer(n))),
        Act::Time(micros) => wire.after(Duration::from_micros(micros)),
        Act::Inner(output) => {
            if may_want(wire, &output) {
                wire.wants.push_back(output);
                wire.pump();
            }
        }
    }
}

/// An inner machine resets only streams that it has, and each once.
fn may_want(wire: &mut Wire, output: &Output) -> bool {
    let Output::Reset { stream, .. } = output else {
        return true;
    };
    let is_theirs =
        |input: &Input| matches!(input, Input::Opened { stream: it, .. } if it == stream);
    let is_ours = wire.opened.iter().any(|(it, _)| it == stream);
    (is_ours || wire.inputs.iter().any(is_theirs)) && wire.reset_by_inner.insert(*stream)
}

fn check(wire: &Wire) {
    let layer = &wire.layer;
    assert!(layer.inputs.is_empty() && layer.commands.is_empty());
    assert!(layer.waiting.len() <= layer.limits.max_waiting_streams);
    assert!(layer.datagrams.len() <= layer.limits.max_waiting_datagrams);
    assert!(layer.beginning.len() <= layer.limits.max_beginning_streams);
    // Control, two of QPACK, the session, refused requests and open ones.
    assert!(layer.own.len() <= 4 + layer.limits.max_requests);
    let closed = wire
        .inputs
        .iter()
        .filter(|input| matches!(input, Input::Closed(_)));
    assert!(closed.count() <= 1);
    // Connected comes first, Closed last.
    let position = |wanted: fn(&Input) -> bool| wire.inputs.iter().position(wanted);
    if let Some(at) = position(|input| matches!(input, Input::Connected { .. })) {
        assert_eq!(at, 0);
    }
    if let Some(at) = position(|input| matches!(input, Input::Closed(_))) {
        assert_eq!(at, wire.inputs.len() - 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_server_survives_anything(acts in prop::collection::vec(act(), 0..40), established: bool, chunk in 1_usize..50) {
        let mut wire = if established { established_server().0 } else { new_server() };
        if established {
            wire.inputs.push(Input::Connected { alpn: MOQT_18, max_datagram: 0 });
        }
        (wire.read_chunk, wire.write_room) = (chunk, chunk * 5);
        for act in acts {
            perform(&mut wire, act);
            check(&wire);
        }
    }

    #[test]
    fn a_client_survives_anything(acts in prop::collection::vec(act(), 0..40), chunk in 1_usize..50) {
        let mut wire = new_client();
        (wire.read_chunk, wire.write_room) = (chunk, chunk * 5);
        wire.open(Dir::Uni, b"\x00\x04\x09\x08\x01\x33\x01\xab\x60\x37\x42\x01");
        for act in acts {
            perform(&mut wire, act);
            check(&wire);
        }
    }
}
