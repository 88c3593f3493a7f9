//! A relay in a thread of the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use oxymoq::flags;
use oxymoq::runtime::{self, Runtime};
use oxymoq_core::draft::Draft;
use oxymoq_core::fanout;
use oxymoq_core::relay::{self, Relay};
use oxymoq_core::runtime::{Certificate, ServerSettings, Settings};

/// Far longer than anything here takes, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a relay, which goes on until the test's process ends; its port.
pub(crate) fn start(runtime: Runtime) -> u16 {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let settings = Settings {
            server: Some(ServerSettings {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                certificate: Certificate::SelfSigned,
                alpns: flags::server_alpns(&Draft::ALL),
            }),
            ..Settings::default()
        };
        let relay = Relay::new(relay::Settings {
            drafts: Draft::ALL.to_vec(),
            paths: vec![Bytes::from_static(b"/moq-relay")],
            // Little may be under way at the end of a run flat out, and who does not read is soon noticed.
            fanout: fanout::Limits {
                max_backlog: 256 << 10,
                max_subscriber_lag: 1 << 20,
                ..fanout::Limits::default()
            },
            ..relay::Settings::default()
        });
        runtime::serve(runtime, settings, relay, |bound| {
            sender.send(bound.address.port()).unwrap();
            Ok(())
        })
    });
    receiver.recv_timeout(PATIENCE).unwrap()
}
