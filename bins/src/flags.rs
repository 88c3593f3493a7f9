//! Flags that several programs have, with moxygen's names, and what they turn into.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgAction, Args};
use oxymoq_core::draft::Draft;
use oxymoq_core::runtime::{Certificate, ClientSettings, Pem, Trust};

use crate::url::ServerUrl;

/// The certificate that `certs/create-server-certs.sh` makes, believed for servers on this machine.
const LOCAL_CERTIFICATE: &str = "./certs/certificate.pem";

/// What every program has.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// What to log: ERR, WARN, INFO, DBG (DBG0 to DBG9), or pairs like oxymoq_core=DBG, separated by commas
    #[arg(
        long,
        value_name = "SPEC",
        default_value = "",
        hide_default_value = true
    )]
    pub logging: String,
    /// Log more: 0 to 4
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub v: u8,
    /// Which QUIC stack and executor to run on
    #[arg(long, value_enum, default_value_t)]
    pub runtime: crate::runtime::Runtime,
    /// Drafts of MoQT to speak, most wanted first, separated by commas; empty: all (18,16)
    #[arg(
        long,
        value_name = "LIST",
        default_value = "",
        hide_default_value = true
    )]
    pub versions: String,
}

impl Common {
    /// The drafts to speak, most wanted first.
    ///
    /// # Errors
    ///
    /// A sentence that names the entry that is no draft of ours.
    pub fn drafts(&self) -> Result<Vec<Draft>, String> {
        let mut drafts = Vec::new();
        for entry in self.versions.split(',').map(str::trim) {
            if entry.is_empty() {
                continue;
            }
            let draft = entry.parse().ok().and_then(Draft::from_number);
            let Some(draft) = draft else {
                let known = Draft::ALL
                    .map(|draft| draft.number().to_string())
                    .join(", ");
                return Err(format!(
                    "--versions: '{entry}' is no draft that this program speaks; choose from {known}"
                ));
            };
            if !drafts.contains(&draft) {
                drafts.push(draft);
            }
        }
        if drafts.is_empty() {
            drafts.extend(Draft::ALL);
        }
        Ok(drafts)
    }
}

/// Names of drafts for ALPN.
pub fn alpns(drafts: &[Draft]) -> Vec<Bytes> {
    drafts
        .iter()
        .map(|draft| Bytes::from_static(draft.profile().alpn.as_bytes()))
        .collect()
}

/// Names for ALPN that a server accepts: the drafts over QUIC itself, then WebTransport.
pub fn server_alpns(drafts: &[Draft]) -> Vec<Bytes> {
    let mut names = alpns(drafts);
    names.push(Bytes::from_static(b"h3"));
    names
}

/// How a client connects to its server, and what it writes down.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// How long connecting may take, in milliseconds
    #[arg(long = "connect_timeout", value_name = "MS", default_value_t = 1000)]
    pub connect_timeout: u64,
    /// How long the server may take to answer, in seconds
    #[arg(
        long = "transaction_timeout",
        value_name = "SECONDS",
        default_value_t = 120
    )]
    pub transaction_timeout: u64,
    /// Use QUIC itself even if the URL says https
    #[arg(long = "quic_transport", default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub quic_transport: bool,
    /// Write events to this file: JSON, one object a line
    #[arg(long = "mlog_path", default_value = "", hide_default_value = true)]
    pub mlog_path: String,
}

impl Connection {
    /// The settings for connecting to servers that are believed so far.
    pub const fn client(&self, trust: Trust) -> ClientSettings {
        ClientSettings {
            trust,
            connect_timeout: Duration::from_millis(self.connect_timeout),
        }
    }

    /// How long a server may take to answer.
    pub const fn patience(&self) -> Duration {
        Duration::from_secs(self.transaction_timeout)
    }
}

/// What a server proves its identity with.
#[derive(Args, Clone, Debug)]
pub struct ServerIdentity {
    /// Certificate chain, a PEM file; without it one is made in memory
    #[arg(
        long,
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    pub cert: String,
    /// Private key of the certificate, a PEM file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    pub key: String,
}

impl ServerIdentity {
    /// [`ServerIdentity::certificate`], or one made in memory if `in_memory` is set.
    ///
    /// # Errors
    ///
    /// As [`ServerIdentity::certificate`].
    pub fn certificate_unless(&self, in_memory: bool) -> Result<Certificate, String> {
        if in_memory {
            return Ok(Certificate::SelfSigned);
        }
        self.certificate()
    }

    /// Reads the files, or asks for a certificate made in memory if no file is named.
    ///
    /// # Errors
    ///
    /// A sentence that names the file or flag that is missing.
    pub fn certificate(&self) -> Result<Certificate, String> {
        match (self.cert.as_str(), self.key.as_str()) {
            ("", "") => Ok(Certificate::SelfSigned),
            ("", key) => Err(format!(
                "--key {key} needs --cert, the certificate it belongs to"
            )),
            (cert, "") => Err(format!(
                "--cert {cert} needs --key, the private key it belongs to"
            )),
            (cert, key) => Ok(Certificate::Pem {
                chain: read_pem("--cert", cert)?,
                key: read_pem("--key", key)?,
            }),
        }
    }
}

fn read_pem(flag: &str, path: &str) -> Result<Pem, String> {
    match fs::read(path) {
        Ok(content) => Ok(Pem {
            origin: path.to_owned(),
            content,
        }),
        Err(error) => Err(format!(
            "{flag}: cannot read '{path}': {error}; certs/create-server-certs.sh makes a certificate for tests"
        )),
    }
}

/// Which servers a client believes.
#[derive(Args, Clone, Debug)]
pub struct ServerTrust {
    /// Believe whoever answers: for tests only
    #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub insecure: bool,
    /// Believe servers with a certificate in this PEM file or issued by one, besides the system's authorities
    #[arg(
        long,
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    pub ca: String,
}

impl ServerTrust {
    /// Whom to believe when connecting to `server`.
    ///
    /// For servers on this machine the project's own test certificate counts too, if it is there.
    ///
    /// # Errors
    ///
    /// A sentence that names the file that cannot be read.
    pub fn trust(&self, server: &ServerUrl) -> Result<Trust, String> {
        if self.insecure {
            return Ok(Trust::Anyone);
        }
        let mut extra = Vec::new();
        if !self.ca.is_empty() {
            extra.push(read_pem("--ca", &self.ca)?);
        }
        if server.is_loopback()
            && let Ok(content) = fs::read(LOCAL_CERTIFICATE)
        {
            log::info!(
                "{} is this machine: believing {LOCAL_CERTIFICATE} too",
                server.host
            );
            extra.push(Pem {
                origin: LOCAL_CERTIFICATE.to_owned(),
                content,
            });
        }
        Ok(Trust::Certificates {
            system: true,
            extra,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(versions: &str) -> Common {
        Common {
            logging: String::new(),
            v: 0,
            runtime: crate::runtime::Runtime::default(),
            versions: versions.to_owned(),
        }
    }

    #[test]
    fn versions_keep_their_order_without_duplicates() {
        assert_eq!(
            common("16,18,16").drafts(),
            Ok(vec![Draft::D16, Draft::D18])
        );
        assert_eq!(common("").drafts(), Ok(vec![Draft::D18, Draft::D16]));
        assert_eq!(common(" 16 ").drafts(), Ok(vec![Draft::D16]));
    }

    #[test]
    fn an_unknown_version_is_named() {
        let error = common("18,12").drafts().unwrap_err();
        assert!(
            error.contains("'12'") && error.contains("18, 16"),
            "{error}"
        );
        assert!(common("x").drafts().is_err());
    }

    #[test]
    fn half_an_identity_is_refused() {
        let half = ServerIdentity {
            cert: "c.pem".to_owned(),
            key: String::new(),
        };
        assert!(half.certificate().unwrap_err().contains("--key"));
        let missing = ServerIdentity {
            cert: "no/such/file.pem".to_owned(),
            key: "no/such/file.key".to_owned(),
        };
        let error = missing.certificate().unwrap_err();
        assert!(error.contains("no/such/file.pem"), "{error}");
    }
}
