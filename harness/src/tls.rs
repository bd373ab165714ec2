//! A certificate authority and TLS servers for the tests.

use std::{fs, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

/// A certificate authority. A function trusts it if `AWS_CA_BUNDLE` is [`Authority::file`].
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Authority {
    /// Creates an authority. Its file is deleted when this value is dropped.
    ///
    /// # Panics
    /// Panics if the file can't be written.
    #[must_use]
    pub fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // By default, the authority's certificate and the certificates that it signs name the same
        // subject, and OpenSSL would treat all of them as self-signed. So the authority gets its
        // own name.
        let name = &mut parameters.distinguished_name;
        name.push(DnType::CommonName, "The tests' authority");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("a certificate");
        let file = NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), issuer.pem()).expect("the temporary file can be written");
        Self { issuer, file }
    }

    /// The path of the PEM file with the authority's certificate.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.file.path()
    }

    /// A TLS server with this certificate, signed by the authority.
    ///
    /// # Panics
    /// Panics if the parameters do not make a valid certificate.
    #[must_use]
    pub fn acceptor(&self, certificate: &CertificateParams) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let signed = certificate.signed_by(&key, &self.issuer);
        acceptor(signed.expect("a certificate").into(), &key)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// An unsigned certificate for a host.
///
/// # Panics
/// Panics if the host name is invalid.
#[must_use]
pub fn certificate(host: &str) -> CertificateParams {
    CertificateParams::new([host.to_owned()]).expect("a host")
}

/// A TLS server with this certificate and private key.
///
/// # Panics
/// Panics if the key does not belong to the certificate.
#[must_use]
pub fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .expect("the key is the certificate's");
    TlsAcceptor::from(Arc::new(config))
}
