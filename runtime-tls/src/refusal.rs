//! Why a server is not believed: remembered, since QUIC stacks pass on less than rustls knows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// What was said last against each server, by its name; one entry for each that is being connected to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<BTreeMap<String, Error>>>);

impl Refusals {
    /// Why the server of this name was not believed, in words; forgotten once it is told.
    pub(crate) fn take(&self, host: &str) -> Option<String> {
        let host = host.to_ascii_lowercase();
        self.lock().remove(&host).map(|error| words(&error))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Error>> {
        // A map is whole whatever happened to who held it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with a server's certificate.
fn words(error: &Error) -> String {
    let Error::InvalidCertificate(certificate) = error else {
        return error.to_string();
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the list is open, and everything else is told as rustls does"
    )]
    let words = match certificate {
        // The others: an authority has the name of who issued it, but another key, or one of another kind.
        CertificateError::UnknownIssuer
        | CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "nobody who is trusted here issued its certificate"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet"
        }
        CertificateError::Revoked => "its certificate was revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is meant for something else than servers"
        }
        CertificateError::BadEncoding => "its certificate cannot be read",
        _ => return error.to_string(),
    };
    words.to_owned()
}

/// Verifies as another does, and remembers what that one refused.
#[derive(Debug)]
pub(crate) struct Remembering {
    pub(crate) verifier: Arc<dyn ServerCertVerifier>,
    pub(crate) refusals: Refusals,
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if let Err(error) = &verdict {
            let host = server_name.to_str().to_ascii_lowercase();
            self.refusals.lock().insert(host, error.clone());
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
