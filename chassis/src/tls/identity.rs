//! A certificate and its key: read, checked, ready for use.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, ServerConfig};
use sha2::{Digest, Sha256};

use crate::clock::Clock;

use super::validity;

/// What tells one pair of files from another.
pub(super) type Stamp = [u8; 32];

/// What is known about the certificate in use.
pub(super) struct Identity {
    pub(super) stamp: Stamp,
    pub(super) valid_until_s: i64,
    /// What a person should know and what does not stand in the way.
    pub(super) warnings: Vec<String>,
}

/// Why files cannot be used; continues a sentence about one of them.
#[derive(Debug)]
pub(super) struct Unusable {
    pub(super) is_key: bool,
    pub(super) message: String,
}

impl Identity {
    pub(super) fn load(certificate: &Path, key: &Path) -> Result<(Self, CertifiedKey), Unusable> {
        let of_certificate = |message| Unusable { is_key: false, message };
        let of_key = |message| Unusable { is_key: true, message };
        let certificate_pem = read(certificate).map_err(of_certificate)?;
        let key_pem = read(key).map_err(of_key)?;

        let chain =
            chain(&certificate_pem).map_err(|why| of_certificate(format!("{why}: {}", certificate.display())))?;
        let private_key = private_key(&key_pem).map_err(|why| of_key(format!("{why}: {}", key.display())))?;
        let (valid_from_s, valid_until_s) = validity::of(&chain[0]).ok_or_else(|| {
            of_certificate(format!("holds something else than a certificate: {}", certificate.display()))
        })?;
        let certified = CertifiedKey::from_der(chain, private_key, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                of_key(format!("does not belong to the certificate in {}: {}", certificate.display(), key.display()))
            }
            Error::InvalidCertificate(error) => {
                of_certificate(format!("cannot be used ({error}): {}", certificate.display()))
            }
            error => of_key(format!("cannot be used ({error}): {}", key.display())),
        })?;

        let mut warnings = Vec::new();
        let now_s = Clock::system().now_ms() / 1000;
        if now_s >= valid_until_s {
            warnings.push(format!(
                "the certificate has expired on {}: clients will refuse it",
                validity::show(valid_until_s)
            ));
        } else if now_s < valid_from_s {
            warnings.push(format!(
                "the certificate is valid from {} on: clients will refuse it",
                validity::show(valid_from_s)
            ));
        }
        if is_open_to_others(key) {
            warnings.push(format!("other users of this machine may read or replace the private key {}", key.display()));
        }
        let stamp = digest(&certificate_pem, &key_pem);
        Ok((Self { stamp, valid_until_s, warnings }, certified))
    }
}

/// Nothing when a file cannot be read.
pub(super) fn stamp(certificate: &Path, key: &Path) -> Option<Stamp> {
    Some(digest(&std::fs::read(certificate).ok()?, &std::fs::read(key).ok()?))
}

pub(super) fn server_config(certified: CertifiedKey, alpn: Vec<Vec<u8>>) -> Result<ServerConfig, Unusable> {
    let unusable = |error: Error| Unusable { is_key: false, message: format!("cannot be used ({error})") };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = alpn;
    // Clients that come back skip the signature; the state travels with them instead of staying here.
    config.ticketer = ring::Ticketer::new().map_err(unusable)?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot be read ({error}): {}", path.display()))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes: {}", path.display()));
    }
    Ok(bytes)
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| "is broken PEM")?;
    if chain.is_empty() { Err("holds no certificate in PEM form") } else { Ok(chain) }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if String::from_utf8_lossy(pem).contains("ENCRYPTED PRIVATE KEY") => {
            "holds an encrypted key, which cannot be used"
        }
        pem::Error::NoItemsFound => "holds no private key in PEM form",
        _ => "is broken PEM",
    })
}

fn digest(certificate: &[u8], key: &[u8]) -> Stamp {
    let length = (certificate.len() as u64).to_le_bytes();
    Sha256::new().chain_update(length).chain_update(certificate).chain_update(key).finalize().into()
}

/// Readable or writable for everybody, or writable for the group. Readable for the group is how secrets are mounted.
#[cfg(unix)]
fn is_open_to_others(key: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(key).is_ok_and(|metadata| metadata.permissions().mode() & 0o026 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> bool {
    false
}

/// A hundred times what a chain needs.
const FILE_BYTES_MAX: usize = 1 << 20;
