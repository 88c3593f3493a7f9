//! Why an endpoint could not be set up or had to stop.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why an endpoint could not be set up or had to stop.
///
/// Its `Display` form is one sentence for the operator: what failed, with which value, and what to do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The UDP address cannot be had: in use, not of this machine, or not allowed.
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The server's certificate or private key cannot be used; the sentence names the file.
    Certificate(String),
    /// A certificate to be trusted cannot be used; the sentence names the file.
    Trust(String),
    /// The runtime or the socket failed while it worked.
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        cause: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, cause } => {
                write!(f, "cannot listen on UDP {address}: ")?;
                #[expect(
                    clippy::wildcard_enum_match_arm,
                    reason = "the standard library's list is open"
                )]
                match cause.kind() {
                    io::ErrorKind::AddrInUse => write!(
                        f,
                        "port {} is in use; stop the program that has it or choose another port",
                        address.port()
                    ),
                    io::ErrorKind::AddrNotAvailable => {
                        write!(
                            f,
                            "{} is not an address of this machine; use [::] for all",
                            address.ip()
                        )
                    }
                    io::ErrorKind::PermissionDenied => write!(
                        f,
                        "port {} needs privileges; choose one above 1023",
                        address.port()
                    ),
                    _ => write!(f, "{cause}"),
                }
            }
            Self::Certificate(why) | Self::Trust(why) => f.write_str(why),
            Self::System { what, cause } => write!(f, "{what} failed: {cause}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { cause, .. } | Self::System { cause, .. } => Some(cause),
            Self::Certificate(_) | Self::Trust(_) => None,
        }
    }
}
