//! Hostile peers against the relay as its users run it: processes on loopback, bounded in number and time.
//!
//! Beside each attack a publisher and two subscribers go about their business, and must not notice it. The figures are told
//! with `--nocapture`; ten times the counts, in a release build:
//! `cargo test --release -p oxymoq --test hostile -- --include-ignored --nocapture --test-threads 1`
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bystander;
mod case;
mod connections;
mod deaf;
mod dialect;
mod http;
#[path = "../programs/process.rs"]
#[expect(dead_code, reason = "the programs' tests use more of it")]
mod process;
#[path = "../runtimes/proxy.rs"]
mod proxy;
mod relay;
mod requests;
mod streams;
mod tokens;
mod wire;

/// One test for each runtime, and one for each with ten times the counts.
macro_rules! cases {
    ($($name:ident)*) => {
        $(
            mod $name {
                use super::*;

                #[cfg(feature = "tokio")]
                #[test]
                fn on_tokio() {
                    $name("tokio", Over::Quic, 1);
                }

                #[cfg(feature = "smol")]
                #[test]
                fn on_smol() {
                    $name("smol", Over::Quic, 1);
                }

                #[cfg(feature = "tokio")]
                #[test]
                #[ignore = "for the figures of a release build"]
                fn many_on_tokio() {
                    $name("tokio", Over::Quic, 10);
                }

                #[cfg(feature = "smol")]
                #[test]
                #[ignore = "for the figures of a release build"]
                fn many_on_smol() {
                    $name("smol", Over::Quic, 10);
                }
            }
        )*
    };
}
pub(crate) use cases;

/// The same attacks from inside WebTransport sessions. Few of each are tried with one runtime only: what a session is made of
/// is the same in both.
macro_rules! cases_in_webtransport {
    ($($name:ident)*) => {
        mod in_webtransport {
            $(
                mod $name {
                    use super::super::*;

                    #[cfg(feature = "tokio")]
                    #[test]
                    fn on_tokio() {
                        $name("tokio", Over::WebTransport, 1);
                    }

                    #[cfg(all(feature = "smol", not(feature = "tokio")))]
                    #[test]
                    fn on_smol() {
                        $name("smol", Over::WebTransport, 1);
                    }

                    #[cfg(feature = "tokio")]
                    #[test]
                    #[ignore = "for the figures of a release build"]
                    fn many_on_tokio() {
                        $name("tokio", Over::WebTransport, 10);
                    }

                    #[cfg(feature = "smol")]
                    #[test]
                    #[ignore = "for the figures of a release build"]
                    fn many_on_smol() {
                        $name("smol", Over::WebTransport, 10);
                    }
                }
            )*
        }
    };
}
pub(crate) use cases_in_webtransport;
