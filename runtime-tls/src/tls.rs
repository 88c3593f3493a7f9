//! TLS 1.3 by rustls: the server's certificate, and which servers a client believes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use log::warn;
use oxymoq_core::runtime::{Certificate, Pem, ServerSettings, Trust};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::Error;
use crate::refusal::{Refusals, Remembering};

/// Browsers accept a certificate by its fingerprint only if it is valid for at most 14 days in all.
const SELF_SIGNED_VALIDITY: Duration = Duration::from_secs(13 * 24 * 3600);
/// A client's clock may be behind ours.
const SELF_SIGNED_BACKDATED: Duration = Duration::from_secs(24 * 3600);

/// What a server presents, and the SHA-256 fingerprint of its own certificate.
///
/// # Errors
/// If the certificate or its key cannot be used.
pub fn server(settings: &ServerSettings) -> Result<(Arc<rustls::ServerConfig>, [u8; 32]), Error> {
    let (chain, key) = match &settings.certificate {
        Certificate::Pem { chain, key } => read(chain, key)?,
        Certificate::SelfSigned => self_signed()?,
    };
    let fingerprint = chain.first().map(fingerprint).unwrap_or_default();
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|cause| Error::Certificate(format!("TLS cannot be set up: {cause}")))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|cause| Error::Certificate(unusable(&settings.certificate, &cause)))?;
    config.alpn_protocols = list(&settings.alpns);
    // Our order decides, so that the cheapest cipher is used even if the client would rather have another.
    config.ignore_client_order = true;
    // Resuming would save a signature per returning client, but cost two tickets for every one.
    config.send_tls13_tickets = 0;
    Ok((Arc::new(config), fingerprint))
}

/// Whether a server can be known by this name at all: nothing else need be looked up.
pub fn is_host_name(host: &str) -> bool {
    ServerName::try_from(host).is_ok()
}

/// How outgoing connections check the server; the system's authorities are loaded when the first one is made.
#[derive(Debug)]
pub struct Client {
    trust: ClientTrust,
    config: Option<rustls::ClientConfig>,
    refusals: Refusals,
}

#[derive(Debug)]
enum ClientTrust {
    Certificates {
        system: bool,
        extra: Vec<CertificateDer<'static>>,
    },
    Anyone,
}

impl Client {
    /// Reads the certificates to be trusted.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub fn new(trust: &Trust) -> Result<Self, Error> {
        let trust = match trust {
            Trust::Certificates { system, extra } => {
                let mut certificates = Vec::new();
                for pem in extra {
                    let read = certificates_in(pem).map_err(|why| {
                        Error::Trust(format!("cannot trust {}: {why}", pem.origin))
                    })?;
                    certificates.extend(read);
                }
                ClientTrust::Certificates {
                    system: *system,
                    extra: certificates,
                }
            }
            Trust::Anyone => ClientTrust::Anyone,
        };
        Ok(Self {
            trust,
            config: None,
            refusals: Refusals::default(),
        })
    }

    /// The configuration for a connection that offers these protocols.
    ///
    /// # Errors
    /// A sentence, if there is nobody to trust.
    pub fn offering(&mut self, alpns: &[Bytes]) -> Result<Arc<rustls::ClientConfig>, String> {
        let mut config = match &self.config {
            Some(config) => config.clone(),
            None => {
                let made = self.trust.config(&self.refusals)?;
                self.config.insert(made).clone()
            }
        };
        config.alpn_protocols = list(alpns);
        Ok(Arc::new(config))
    }

    /// Why the certificate of the server of this name was not believed, for
    /// [`untrusted`](crate::words::untrusted); `None`: something else went wrong. Told once.
    pub fn refusal(&self, host: &str) -> Option<String> {
        self.refusals.take(host)
    }
}

impl ClientTrust {
    fn config(&self, refusals: &Refusals) -> Result<rustls::ClientConfig, String> {
        let provider = provider();
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Self::Anyone => Arc::new(BelieveAnyone(Arc::clone(&provider))),
            Self::Certificates { system, extra } => {
                let mut roots = RootCertStore::empty();
                if *system {
                    let loaded = rustls_native_certs::load_native_certs();
                    for cause in &loaded.errors {
                        warn!(
                            "some of the system's certificate authorities are unreadable: {cause}"
                        );
                    }
                    roots.add_parsable_certificates(loaded.certs);
                }
                roots.add_parsable_certificates(extra.iter().cloned());
                if roots.is_empty() {
                    return Err("no certificate authority is known: install the system's (package ca-certificates) \
                                or name a certificate to trust"
                        .to_owned());
                }
                let authorities = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                )
                .build()
                .map_err(|cause| format!("the certificate authorities cannot be used: {cause}"))?;
                Arc::new(AuthorityOrExact {
                    authorities,
                    exact: extra.clone(),
                })
            }
        };
        let verifier = Arc::new(Remembering {
            verifier,
            refusals: refusals.clone(),
        });
        Ok(rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|cause| format!("TLS cannot be set up: {cause}"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth())
    }
}

/// The provider with AES-128-GCM first: the cheapest on every machine with AES instructions, and QUIC needs it anyway.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    })
}

fn list(alpns: &[Bytes]) -> Vec<Vec<u8>> {
    alpns.iter().map(|alpn| alpn.to_vec()).collect()
}

fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, certificate);
    let mut fingerprint = [0; 32];
    for (to, from) in fingerprint.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    fingerprint
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read(chain: &Pem, key: &Pem) -> Result<Identity, Error> {
    let certificates = certificates_in(chain).map_err(|why| {
        Error::Certificate(format!(
            "cannot use the certificate {}: {why}",
            chain.origin
        ))
    })?;
    let private = PrivateKeyDer::from_pem_slice(&key.content).map_err(|cause| {
        Error::Certificate(format!(
            "cannot use the private key {}: it holds no unencrypted private key in PEM form ({cause})",
            key.origin
        ))
    })?;
    Ok((certificates, private))
}

fn certificates_in(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem.content)
        .collect::<Result<_, _>>()
        .map_err(|cause| format!("it is not a PEM file ({cause})"))?;
    if certificates.is_empty() {
        return Err(
            "it holds no certificate in PEM form (\"-----BEGIN CERTIFICATE-----\")".to_owned(),
        );
    }
    for certificate in &certificates {
        ParsedCertificate::try_from(certificate)
            .map_err(|cause| format!("it holds a certificate that cannot be read ({cause})"))?;
    }
    Ok(certificates)
}

fn unusable(certificate: &Certificate, cause: &rustls::Error) -> String {
    let Certificate::Pem { chain, key } = certificate else {
        return format!("the certificate made in memory cannot be used: {cause}");
    };
    if let rustls::Error::InconsistentKeys(_) = cause {
        return format!(
            "the private key {} does not belong to the certificate {}; make both anew or name the right pair",
            key.origin, chain.origin
        );
    }
    format!(
        "cannot use the certificate {} with the private key {}: {cause}",
        chain.origin, key.origin
    )
}

/// A certificate made in memory: ECDSA P-256, not an authority, for this machine's own names.
fn self_signed() -> Result<Identity, Error> {
    let make = || -> Result<Identity, rcgen::Error> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = rcgen::CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "localhost");
        let start = SystemTime::now() - SELF_SIGNED_BACKDATED;
        params.not_before = start.into();
        params.not_after = (start + SELF_SIGNED_VALIDITY).into();
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key)?;
        let private = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
        Ok((vec![certificate.into()], private))
    };
    make().map_err(|cause| {
        Error::Certificate(format!("cannot make a certificate in memory: {cause}"))
    })
}

/// Believes a server that an authority vouches for, or that shows exactly one of the given certificates.
#[derive(Debug)]
struct AuthorityOrExact {
    authorities: Arc<WebPkiServerVerifier>,
    exact: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for AuthorityOrExact {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let Err(refusal) = verdict else {
            return verdict;
        };
        // Dates are checked before anything else, so any other refusal means that they are right.
        let expired = matches!(
            refusal,
            rustls::Error::InvalidCertificate(
                CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. }
            )
        );
        if expired || !self.exact.iter().any(|known| known == end_entity) {
            return Err(refusal);
        }
        // A certificate that may sign others is refused as a server's own; named exactly, it is good enough.
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Believes whoever answers, as long as it holds the key of the certificate that it shows.
#[derive(Debug)]
struct BelieveAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for BelieveAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(origin: &str, content: &str) -> Pem {
        Pem {
            origin: origin.to_owned(),
            content: content.as_bytes().to_vec(),
        }
    }

    /// A self-signed certificate and its key for this name.
    fn certificate(name: &str, adjust: impl FnOnce(&mut rcgen::CertificateParams)) -> (Pem, Pem) {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        adjust(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = params.self_signed(&key).unwrap();
        (
            pem("test.pem", &chain.pem()),
            pem("test.key", &key.serialize_pem()),
        )
    }

    fn may_sign(params: &mut rcgen::CertificateParams) {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }

    fn settings(certificate: Certificate) -> ServerSettings {
        ServerSettings {
            certificate,
            ..ServerSettings::new(0, vec!["moqt-18".into()])
        }
    }

    fn with(chain: &Pem, key: &Pem) -> ServerSettings {
        settings(Certificate::Pem {
            chain: chain.clone(),
            key: key.clone(),
        })
    }

    fn trusting(extra: &[&Pem]) -> Trust {
        Trust::Certificates {
            system: false,
            extra: extra.iter().map(|&pem| pem.clone()).collect(),
        }
    }

    /// What a client with this trust thinks of the server under this name; `None`: it believes it.
    fn verdict(server: &ServerSettings, trust: &Trust, host: &str) -> Option<rustls::Error> {
        handshake(&mut Client::new(trust).unwrap(), server, host)
    }

    fn handshake(
        client: &mut Client,
        server: &ServerSettings,
        host: &str,
    ) -> Option<rustls::Error> {
        let (server, _) = super::server(server).unwrap();
        let offer = client.offering(&["moqt-18".into()]).unwrap();
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(offer, host).unwrap();
        let mut server = rustls::ServerConnection::new(server).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            if let Err(refusal) = client.process_new_packets() {
                return Some(refusal);
            }
        }
        assert_eq!(client.alpn_protocol(), Some(&b"moqt-18"[..]));
        None
    }

    #[test]
    fn unusable_certificates_and_keys_are_named() {
        let (chain, key) = certificate("localhost", |_| {});
        let (_, other_key) = certificate("localhost", |_| {});
        let nonsense = pem("nonsense.pem", "hello");
        let broken = pem(
            "broken.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        for (chain, key, words) in [
            (
                &nonsense,
                &key,
                "cannot use the certificate nonsense.pem: it holds no certificate in PEM form",
            ),
            (
                &broken,
                &key,
                "cannot use the certificate broken.pem: it holds a certificate that cannot be read",
            ),
            (
                &chain,
                &nonsense,
                "cannot use the private key nonsense.pem: it holds no unencrypted private key",
            ),
            (
                &chain,
                &other_key,
                "the private key test.key does not belong to the certificate test.pem",
            ),
        ] {
            let error = server(&with(chain, key)).unwrap_err();
            assert!(error.to_string().starts_with(words), "{error}");
        }
        let error = Client::new(&trusting(&[&nonsense])).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot trust nonsense.pem: it holds no certificate"),
            "{error}"
        );
    }

    #[test]
    fn fingerprint_is_that_of_the_certificate() {
        let (chain, key) = certificate("localhost", |_| {});
        let [first, again] = [(); 2].map(|()| server(&with(&chain, &key)).unwrap().1);
        assert_eq!(first, again);
        let own = server(&settings(Certificate::SelfSigned)).unwrap().1;
        assert_ne!(first, own);
        // SHA-256 of "abc" (FIPS 180-4).
        let known = fingerprint(&CertificateDer::from(b"abc".to_vec()));
        assert_eq!(known[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn certificate_made_in_memory_is_for_this_machine() {
        let server = settings(Certificate::SelfSigned);
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert_eq!(verdict(&server, &Trust::Anyone, host), None);
        }
        let (other, _) = certificate("localhost", |_| {});
        let refusal = verdict(&server, &trusting(&[&other]), "localhost");
        assert_eq!(
            refusal,
            Some(CertificateError::UnknownIssuer.into()),
            "nobody vouches for it"
        );
    }

    #[test]
    fn exact_certificate_is_believed_for_its_own_names_whether_or_not_it_may_sign() {
        for (chain, key) in [
            certificate("localhost", |_| {}),
            certificate("localhost", may_sign),
        ] {
            let (server, trust) = (with(&chain, &key), trusting(&[&chain]));
            assert_eq!(verdict(&server, &trust, "localhost"), None);
            let refusal = verdict(&server, &trust, "example.org");
            assert!(
                matches!(
                    refusal,
                    Some(rustls::Error::InvalidCertificate(
                        CertificateError::NotValidForNameContext { .. }
                    ))
                ),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn exact_certificate_is_not_believed_once_it_has_expired() {
        let (chain, key) = certificate("localhost", |params| {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        });
        let refusal = verdict(&with(&chain, &key), &trusting(&[&chain]), "localhost");
        assert!(
            matches!(
                refusal,
                Some(rustls::Error::InvalidCertificate(
                    CertificateError::ExpiredContext { .. }
                ))
            ),
            "{refusal:?}"
        );
    }

    #[test]
    fn what_was_refused_is_told_once_in_words() {
        let (known, known_key) = certificate("localhost", |_| {});
        let (old, old_key) = certificate("localhost", |params| {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        });
        let (early, early_key) = certificate("localhost", |params| {
            params.not_before = rcgen::date_time_ymd(3000, 1, 1);
        });
        let (namesake, namesake_key) = certificate("localhost", |_| {});
        let mut client = Client::new(&trusting(&[&known, &old, &early])).unwrap();
        for (server, host, words) in [
            (
                settings(Certificate::SelfSigned),
                "localhost",
                "nobody who is trusted here issued its certificate",
            ),
            (
                with(&namesake, &namesake_key),
                "localhost",
                "nobody who is trusted here issued its certificate",
            ),
            (
                with(&known, &known_key),
                "Example.org",
                "its certificate is for another name",
            ),
            (
                with(&old, &old_key),
                "localhost",
                "its certificate has expired",
            ),
            (
                with(&early, &early_key),
                "localhost",
                "its certificate is not valid yet",
            ),
        ] {
            assert!(handshake(&mut client, &server, host).is_some(), "{words}");
            assert_eq!(client.refusal("127.0.0.1"), None);
            assert_eq!(client.refusal(host).as_deref(), Some(words));
            assert_eq!(client.refusal(host), None);
        }
        assert_eq!(
            handshake(&mut client, &with(&known, &known_key), "localhost"),
            None
        );
        assert_eq!(client.refusal("localhost"), None);
    }

    #[test]
    fn names_that_no_host_can_have_need_no_look_up() {
        for host in ["localhost", "example.org", "127.0.0.1", "::1"] {
            assert!(is_host_name(host), "{host}");
        }
        for host in ["", "no..name", "a name", &"x".repeat(64)] {
            assert!(!is_host_name(host), "{host}");
        }
    }

    #[test]
    fn nobody_to_trust_is_said_when_connecting() {
        let mut client = Client::new(&trusting(&[])).unwrap();
        let said = client.offering(&[]).unwrap_err();
        assert!(
            said.starts_with("no certificate authority is known"),
            "{said}"
        );
    }
}
