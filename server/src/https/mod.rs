//! HTTPS: the certificate and key that the server shows, of files that may be renewed while it runs, or made by itself.
//!
//! Everything here that reads or writes files blocks.

mod own;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cast_net::Interface;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::domain::certificate::{Certificate, Worry};
use crate::logs::{MulticastLog, Subject};
use crate::machine;
use crate::text;

/// How HTTPS is served.
#[derive(Debug, Clone)]
pub struct Https {
    /// Where.
    pub listen: SocketAddr,
    /// Whether boot scripts lead clients here.
    pub is_for_clients: bool,
    /// Whether people and programs that come by HTTP are led here.
    pub is_for_people: bool,
    /// Who the server is.
    pub identity: Arc<Identity>,
}

impl Https {
    /// Base URL for clients at an address of this server, ending with `/`.
    #[must_use]
    pub fn web_url(&self, address: impl fmt::Display) -> String {
        match self.listen.port() {
            443 => format!("https://{address}/fog/"),
            port => format!("https://{address}:{port}/fog/"),
        }
    }
}

/// Where certificate and key come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Files in PEM, which somebody renews.
    Given {
        /// The certificate, and those between it and its authority.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// The server makes them: the key once, the certificate whenever its end is near, or it lacks a name.
    Own {
        /// The directory of the two files, private.
        directory: PathBuf,
    },
}

impl Source {
    /// The two files.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 2] {
        match self {
            Self::Given { certificate, key } => [certificate.clone(), key.clone()],
            Self::Own { directory } => [directory.join(CERTIFICATE), directory.join(KEY)],
        }
    }
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("the {what} of HTTPS, {}, cannot be read: {cause}", .path.display())]
    Unreadable {
        /// Which of them.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// No file of this kind is so large.
    #[error("the {what} of HTTPS, {}, has more than {LARGEST} bytes: it is another file", .path.display())]
    Large {
        /// Which of them.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It is no PEM, or has no such thing in it.
    #[error("there is no {what} in {}: a text with \"-----BEGIN ...-----\" (PEM) is expected ({cause})", .path.display())]
    NotThere {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// It cannot be understood.
    #[error("the certificate in {} is not usable: {cause}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// It cannot be understood.
    #[error("the key in {} is not usable: {cause}; keys of RSA, ECDSA and Ed25519 are, without a password", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// They are of two.
    #[error(
        "the key in {} is not the one of the certificate in {}: name the two files that belong together",
        .key.display(), .certificate.display()
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// That of the key.
        key: PathBuf,
    },
    /// Files of our own cannot be written.
    #[error("writing {}: {cause}", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A certificate cannot be made.
    #[error("making a certificate: {0}")]
    Make(String),
}

/// Some kilobytes are usual.
const LARGEST: u64 = 1 << 20;

/// SHA-256 of a public key with its algorithm (`SubjectPublicKeyInfo`, RFC 5280 section 4.1): what agents are told to
/// believe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A text that is no such hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct BadKeyHash;

impl FromStr for KeyHash {
    type Err = BadKeyHash;

    fn from_str(text: &str) -> Result<Self, BadKeyHash> {
        // Other parsers take a sign before digits.
        if !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err(BadKeyHash);
        }
        let hash = blake3::Hash::from_hex(text).map_err(|_| BadKeyHash)?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who the server is: what it shows to those who come by HTTPS. Nothing before it was loaded.
pub struct Identity {
    source: Source,
    /// Names and addresses that people or clients use, besides those of this machine.
    names: Vec<String>,
    held: RwLock<Option<Held>>,
}

/// Certificate and key, checked to belong together.
#[derive(Debug, Clone)]
struct Held {
    key: Arc<CertifiedKey>,
    hash: KeyHash,
    /// The files that they are of.
    stamps: [Option<Stamp>; 2],
}

/// What changes when a file is written or replaced: device, inode, length, seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("source", &self.source)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Of this source. `names` are those that it has to have besides those of this machine.
    #[must_use]
    pub fn new(source: Source, names: Vec<String>) -> Self {
        Self {
            source,
            names,
            held: RwLock::new(None),
        }
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Names that were given.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What agents are told to believe; `None` before it was loaded.
    #[must_use]
    pub fn hash(&self) -> Option<KeyHash> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|held| held.hash)
    }

    /// Reads certificate and key, makes them where they are the server's own, and shows them from now on. After an
    /// error those before are shown.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn load(&self) -> Result<(), IdentityError> {
        if let Source::Own { directory } = &self.source {
            own::ensure(directory, &self.wanted_names(), clock::now())?;
        }
        // Before they are read: what is written meanwhile is read again.
        let stamps = self.stamps();
        let pair = Pair::read(&self.source)?;
        let held = Held {
            hash: pair.hash,
            key: Arc::new(pair.key),
            stamps,
        };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(())
    }

    /// What the files say now. Nothing is made or shown.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn look(&self) -> Result<Certificate, IdentityError> {
        let pair = Pair::read(&self.source)?;
        let [path, _] = self.source.files();
        parse::certificate(&path, &pair.leaf()?, &self.wanted_names())
    }

    /// Whether the files are not those that are shown, or have to be made anew.
    fn is_changed(&self) -> bool {
        let shown = {
            let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
            held.as_ref().map(|held| held.stamps)
        };
        if shown != Some(self.stamps()) {
            return true;
        }
        match &self.source {
            Source::Given { .. } => false,
            Source::Own { directory } => {
                !own::is_good(directory, &self.wanted_names(), clock::now())
            }
        }
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        self.source.files().map(|path| {
            let meta = fs::metadata(path).ok()?;
            Some((
                meta.dev(),
                meta.ino(),
                meta.len(),
                meta.mtime(),
                meta.mtime_nsec(),
            ))
        })
    }

    /// The names and addresses that the certificate is wanted to have. Those of this machine matter to one that the server
    /// makes; whoever gives one knows by which of them people come.
    fn wanted_names(&self) -> Vec<String> {
        let mut names = self.names.clone();
        if matches!(self.source, Source::Own { .. }) {
            names.push("localhost".to_owned());
            names.push(machine::host_name());
            let cards = Interface::list().unwrap_or_default();
            let addresses = cards.iter().map(|card| IpAddr::V4(card.addr));
            let mut addresses: Vec<IpAddr> = addresses.take(ADDRESSES_MAX).collect();
            addresses.sort_unstable();
            names.extend(addresses.iter().map(ToString::to_string));
        }
        names.retain(|name| ServerName::try_from(name.as_str()).is_ok());
        let mut seen = Vec::new();
        names.retain(|name| {
            let is_new = !seen.contains(name);
            seen.push(name.clone());
            is_new
        });
        names
    }
}

/// Of this machine, in a certificate of its own.
const ADDRESSES_MAX: usize = 64;

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|held| Arc::clone(&held.key))
    }
}

/// The settings of TLS with this identity.
///
/// # Errors
/// The TLS library refuses them.
pub fn server_config(identity: &Arc<Identity>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions()?;
    let resolver = Arc::clone(identity);
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Certificate and key as they are read.
struct Pair {
    key: CertifiedKey,
    hash: KeyHash,
    files: [PathBuf; 2],
}

impl Pair {
    fn read(source: &Source) -> Result<Self, IdentityError> {
        let files = source.files();
        let [certificate, key] = &files;
        let chain = read(CERTIFICATE_WORD, certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.map_err(|cause| not_there(CERTIFICATE_WORD, certificate, cause))?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(not_there(
                CERTIFICATE_WORD,
                certificate,
                "nothing was found",
            ));
        };
        let secret = read(KEY_WORD, key)?;
        let secret = PrivateKeyDer::from_pem_slice(&secret);
        let secret = secret.map_err(|cause| not_there(KEY_WORD, key, cause))?;
        let unusable = |path: &Path, cause: rustls::Error| IdentityError::Certificate {
            path: path.to_owned(),
            cause: cause.to_string(),
        };
        let provider = provider();
        let signer = provider.key_provider.load_private_key(secret);
        let signer = signer.map_err(|cause| IdentityError::Key {
            path: key.clone(),
            cause: cause.to_string(),
        })?;
        let pair = CertifiedKey::new(chain, signer);
        match pair.keys_match() {
            // Of some keys it cannot be known.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(IdentityError::Mismatch {
                    certificate: certificate.clone(),
                    key: key.clone(),
                });
            }
            Err(cause) => return Err(unusable(certificate, cause)),
        }
        Ok(Self {
            hash: parse::key_hash(certificate, &leaf)?,
            key: pair,
            files,
        })
    }

    fn leaf(&self) -> Result<CertificateDer<'static>, IdentityError> {
        let leaf = self.key.cert.first().cloned();
        leaf.ok_or_else(|| {
            let [certificate, _] = &self.files;
            not_there(CERTIFICATE_WORD, certificate, "nothing was found")
        })
    }
}

const CERTIFICATE_WORD: &str = "certificate";
const KEY_WORD: &str = "key";

fn not_there(what: &'static str, path: &Path, cause: impl ToString) -> IdentityError {
    IdentityError::NotThere {
        what,
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, IdentityError> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    let path = path.to_owned();
    match read {
        Err(cause) => Err(IdentityError::Unreadable { what, path, cause }),
        Ok(_) if bytes.len() as u64 > LARGEST => Err(IdentityError::Large { what, path }),
        Ok(_) => Ok(bytes),
    }
}

/// Takes a certificate that was renewed, and says what is wrong with it, until the server ends.
pub async fn follow(identity: Arc<Identity>, log: MulticastLog) {
    let mut told = None;
    let mut worried = None;
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let look = {
            let identity = Arc::clone(&identity);
            // A directory that hangs holds this thread, and nobody else.
            tokio::task::spawn_blocking(move || look_again(&identity))
        };
        let Ok(look) = look.await else { continue };
        let now = clock::now();
        match look.taken {
            Some(Err(error)) => {
                let error = readable::chain(&error);
                if told.as_ref() != Some(&error) {
                    let line = format!("{error}; the certificate before it is shown");
                    log.warn(now, &Subject::Server, &line);
                    told = Some(error);
                }
            }
            Some(Ok(())) => {
                told = None;
                log.service(now, "the renewed certificate of HTTPS is shown from now on");
            }
            None => told = None,
        }
        if look.worry != worried {
            if let Some(worry) = &look.worry {
                let line = text::certificate_worry(worry);
                log.warn(now, &Subject::Server, &line);
            }
            worried = look.worry;
        }
    }
}

/// Between two looks at the files.
const PERIOD: Duration = Duration::from_secs(10);

/// What a look has found.
struct Look {
    /// Of files that had changed.
    taken: Option<Result<(), IdentityError>>,
    worry: Option<Worry>,
}

fn look_again(identity: &Identity) -> Look {
    let taken = identity.is_changed().then(|| identity.load());
    let now = clock::now();
    let worry = identity.look().ok().and_then(|found| found.worry(now));
    Look { taken, worry }
}
