//! How a server that is asked over HTTPS proves who it is: by its key (`fospin=` among the kernel arguments), or by a
//! certificate of an authority that the boot image has. Else it is believed unseen, as FOG's own client does.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fog::KernelArgs;
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, KeyProvider, WebPkiSupportedAlgorithms, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SigningKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};

/// What a server's certificate has to be.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Anything.
    Unverified,
    /// Issued by one of these, for the name in `web=`, and valid now.
    Authorities(Arc<RootCertStore>),
    /// Of one of these keys; who issued it, for which name and time, does not matter.
    Keys(Vec<KeyHash>),
}

/// SHA-256 of a public key with its algorithm (`SubjectPublicKeyInfo`, RFC 5280 section 4.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash([u8; 32]);

/// What was given cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error(
        "kernel argument fospin={value:?} is not usable: expected the SHA-256 of the server's public key as 64 \
         hexadecimal digits or as sha256//BASE64, several separated by commas"
    )]
    Pin { value: String },
    #[error("the certificates of authorities in {} cannot be read: {cause}", file.display())]
    Authorities { file: PathBuf, cause: String },
}

/// Why a server is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Distrust {
    #[error(
        "its certificate is not issued by an authority in {AUTHORITIES_FILE} of this boot image; make the boot image \
         with the certificate of the authority that issued it"
    )]
    Issuer,
    #[error(
        "its certificate is for other names; web= has to have a name or an address that is in the certificate"
    )]
    Name,
    #[error(
        "its certificate is not valid at {now}, the time of this machine's clock; set the clock in the firmware setup, \
         or renew the certificate"
    )]
    Time { now: String },
    #[error("its key is not the one of fospin=, but has the SHA-256 {found}")]
    Key { found: KeyHash },
    #[error("its certificate cannot be used: {0}")]
    Certificate(String),
}

impl Trust {
    /// What the kernel arguments say, else what the boot image has.
    ///
    /// # Errors
    /// Something is given that cannot be used. To go on without it would be to believe anybody.
    pub(crate) fn of_boot(args: &KernelArgs) -> Result<Self, TrustError> {
        Self::of(args, Path::new(AUTHORITIES_FILE))
    }

    fn of(args: &KernelArgs, file: &Path) -> Result<Self, TrustError> {
        if let Some(value) = args.value("fospin") {
            let keys = value.split(',').map(KeyHash::parse).collect();
            let keys: Option<Vec<KeyHash>> = keys;
            return keys.map(Self::Keys).ok_or_else(|| TrustError::Pin {
                value: fog::encoding::printable(value, 200),
            });
        }
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Unverified),
            Err(error) => return Err(unusable(file, error)),
        };
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.map_err(|error| unusable(file, error))?;
            store
                .add(certificate)
                .map_err(|error| unusable(file, error))?;
        }
        if store.is_empty() {
            return Err(unusable(file, "there is no certificate in it"));
        }
        Ok(Self::Authorities(Arc::new(store)))
    }

    /// Whether anybody could pose as the server.
    pub(crate) fn is_blind(&self) -> bool {
        matches!(self, Self::Unverified)
    }

    /// The settings of TLS; `None` where nothing is checked.
    ///
    /// # Errors
    /// The TLS library refuses them.
    pub(super) fn tls(&self) -> Result<Option<ClientConfig>, rustls::Error> {
        let provider = Arc::new(provider());
        let builder = || {
            let provider = Arc::clone(&provider);
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
        };
        Ok(match self {
            Self::Unverified => None,
            Self::Authorities(store) => {
                let store = Arc::clone(store);
                let builder = builder()?.with_root_certificates(store);
                Some(builder.with_no_client_auth())
            }
            Self::Keys(keys) => {
                let verifier = PinnedKeys::new(keys.clone(), &provider);
                let builder = builder()?.dangerous();
                let builder = builder.with_custom_certificate_verifier(Arc::new(verifier));
                Some(builder.with_no_client_auth())
            }
        })
    }
}

/// The cryptography of TLS. What signs with a key of its own is left out, and is in no shipped program: no server asks
/// for a certificate of ours.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        key_provider: &NoKeys,
        ..rustls::crypto::ring::default_provider()
    }
}

#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("there are no own keys here".into()))
    }
}

fn unusable(file: &Path, cause: impl fmt::Display) -> TrustError {
    TrustError::Authorities {
        file: file.to_owned(),
        cause: cause.to_string(),
    }
}

impl KeyHash {
    /// From 64 hexadecimal digits, or as curl has it (`--pinnedpubkey`), without the `=` at its end, which kernel
    /// arguments cannot have.
    fn parse(text: &str) -> Option<Self> {
        let bytes = match text.strip_prefix("sha256//") {
            Some(text) => STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?,
            None if text.len() == 64 && text.bytes().all(|octet| octet.is_ascii_hexdigit()) => {
                let digits = text.as_bytes().chunks(2);
                let octets =
                    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
                octets.collect::<Option<Vec<u8>>>()?
            }
            None => return None,
        };
        bytes.try_into().ok().map(Self)
    }

    fn of(public_key_info: &[u8]) -> Option<Self> {
        digest(&SHA256, public_key_info)
            .as_ref()
            .try_into()
            .ok()
            .map(Self)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Believes whoever has one of the keys.
#[derive(Debug)]
struct PinnedKeys {
    keys: Vec<KeyHash>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// A key that is not pinned.
#[derive(Debug, thiserror::Error)]
#[error("the key with SHA-256 {0} is not pinned")]
struct OtherKey(KeyHash);

impl PinnedKeys {
    fn new(keys: Vec<KeyHash>, provider: &CryptoProvider) -> Self {
        Self {
            keys,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for PinnedKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let found = KeyHash::of(&certificate.subject_public_key_info());
        let found = found.ok_or(CertificateError::BadEncoding)?;
        if self.keys.contains(&found) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::Other(OtherError(Arc::new(OtherKey(found)))).into())
    }

    // A certificate is public: that the server has the key, only its signature shows.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The reason, if a connection was given up because of the server's certificate.
pub(super) fn distrust(error: &(dyn std::error::Error + 'static)) -> Option<Distrust> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
            return Some(explain(why));
        }
        // What an `io::Error` was made of is not among its sources.
        let within = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match within {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn explain(why: &CertificateError) -> Distrust {
    match why {
        CertificateError::UnknownIssuer => Distrust::Issuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Distrust::Name
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Distrust::Time {
            now: httpdate::fmt_http_date(SystemTime::now()),
        },
        CertificateError::Other(OtherError(inner)) => match inner.downcast_ref::<OtherKey>() {
            Some(OtherKey(found)) => Distrust::Key { found: *found },
            None => Distrust::Certificate(inner.to_string()),
        },
        other => Distrust::Certificate(other.to_string()),
    }
}

/// In the boot image: `cargo xtask initramfs --ca FILE` puts it there, or a second initrd.
const AUTHORITIES_FILE: &str = "/etc/fos-agent/ca.pem";

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{ServerConfig, SupportedProtocolVersion};

    use super::super::test_server::{Reply, TestServer};
    use super::super::{CallError, Identity, Server};
    use super::*;

    const CA: &str = include_str!("testdata/ca.pem");
    const KEY: &str = include_str!("testdata/server.key");
    const OTHER_KEY: &str = include_str!("testdata/other.key");
    const SERVER: &str = include_str!("testdata/server.pem");
    /// For another name.
    const ELSEWHERE: &str = include_str!("testdata/elsewhere.pem");
    const EXPIRED: &str = include_str!("testdata/expired.pem");
    /// Of `openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum`.
    const HASH: &str = "b06d397e01c8a29cb6a673598eaee353dc733668f5d1a4fecefc619b33d6c5cf";

    /// A server that shows this certificate and signs with this key, which need not be that of the certificate.
    fn tls_with(
        certificate: &str,
        key: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
        let chain = chain.collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap();
        Arc::new(
            config
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(shown)),
        )
    }

    fn trust_of(arguments: &str, file: Option<&str>) -> Result<Trust, TrustError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        Trust::of(&KernelArgs::parse(arguments), &path)
    }

    /// What a client with this trust hears of a server with this certificate.
    async fn ask(certificate: &str, trust: &Trust) -> Result<String, CallError> {
        ask_at(tls_with(certificate, KEY, rustls::ALL_VERSIONS), trust).await
    }

    async fn ask_at(tls: Arc<ServerConfig>, trust: &Trust) -> Result<String, CallError> {
        let server = TestServer::start_tls(tls, |_| Reply::text("1.6.0"));
        let identity = Identity {
            mac: String::new(),
            sysuuid: None,
            ticket: None,
        };
        let client = Server::new(server.web().to_owned(), identity, trust).unwrap();
        client.capabilities().await
    }

    #[track_caller]
    fn why(answer: Result<String, CallError>) -> Distrust {
        match answer {
            Err(CallError::Untrusted { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_authority_of_the_boot_image_decides() {
        let trust = trust_of("", Some(CA)).unwrap();
        assert!(!trust.is_blind());
        assert_eq!(ask(SERVER, &trust).await.unwrap(), "1.6.0");
        assert_eq!(why(ask(ELSEWHERE, &trust).await), Distrust::Name);
        let late = why(ask(EXPIRED, &trust).await);
        assert!(matches!(late, Distrust::Time { .. }), "{late:?}");
        // Another authority: here the server itself, which issued nothing.
        let other = trust_of("", Some(SERVER)).unwrap();
        assert_eq!(why(ask(ELSEWHERE, &other).await), Distrust::Issuer);
    }

    #[tokio::test]
    async fn a_pinned_key_decides_whatever_the_certificate_says() {
        for pin in [HASH, "sha256//sG05fgHIopy2pnNZjq7jU9xzNmj10aT+zvxhmzPWxc8="] {
            // The kernel argument counts, not the file.
            let trust = trust_of(&format!("fospin={pin}"), Some(SERVER)).unwrap();
            for certificate in [SERVER, ELSEWHERE, EXPIRED] {
                assert_eq!(ask(certificate, &trust).await.unwrap(), "1.6.0", "{pin}");
            }
        }
        let other = HASH.replace('b', "c");
        let trust = trust_of(&format!("fospin={other},{other}"), None).unwrap();
        let found = KeyHash::parse(HASH).unwrap();
        let refused = ask(SERVER, &trust).await;
        let text = refused.as_ref().unwrap_err().to_string();
        assert!(text.contains(HASH), "{text}");
        assert_eq!(why(refused), Distrust::Key { found });
    }

    /// Whoever has copied the certificate, and not the key.
    #[tokio::test]
    async fn a_pinned_certificate_without_its_key_is_worth_nothing() {
        let trust = trust_of(&format!("fospin={HASH}"), None).unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let thief = tls_with(SERVER, OTHER_KEY, &[version]);
            let refused = why(ask_at(thief, &trust).await);
            assert!(matches!(refused, Distrust::Certificate(_)), "{refused}");
            let owner = tls_with(SERVER, KEY, &[version]);
            assert_eq!(ask_at(owner, &trust).await.unwrap(), "1.6.0");
        }
    }

    /// Somebody else has the address of a server of the site: the next server is asked, as if it were silent.
    #[tokio::test]
    async fn where_the_site_has_other_servers_one_that_is_not_believed_is_passed_over() {
        let trust = trust_of(&format!("fospin={HASH}"), None).unwrap();
        let start = |key| {
            let tls = tls_with(SERVER, key, rustls::ALL_VERSIONS);
            TestServer::start_tls(tls, |_| Reply::text("1.6.0"))
        };
        let (own, stranger) = (start(KEY), start(OTHER_KEY));
        let identity = Identity {
            mac: String::new(),
            sysuuid: None,
            ticket: None,
        };
        let client = Server::new(own.web().to_owned(), identity, &trust).unwrap();
        let view = fos_api::SessionView {
            site: Some(fos_api::Site {
                servers: vec![stranger.web().to_owned()],
                run_by: Some(stranger.web().to_owned()),
            }),
            ..crate::deploy::tests_view()
        };
        assert!(client.places().note(&Ok(view)).is_some());
        while client.places().elsewhere().is_some() {
            let error = client.capabilities().await.unwrap_err();
            assert!(error.is_temporary(), "{error}");
            assert!(error.to_string().contains("is not trusted"), "{error}");
            client.places().note(&Err(error));
        }
        assert_eq!(client.capabilities().await.unwrap(), "1.6.0");
    }

    #[tokio::test]
    async fn without_both_anybody_is_believed() {
        let trust = trust_of("quiet fospin=", None).unwrap();
        assert!(trust.is_blind());
        assert_eq!(ask(EXPIRED, &trust).await.unwrap(), "1.6.0");
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let short = HASH.split_at(63).0;
        for pin in [short, "sha256//abc", "md5//x", &format!("{HASH},"), "é"] {
            let refused = trust_of(&format!("fospin={pin}"), None).unwrap_err();
            assert!(matches!(refused, TrustError::Pin { .. }), "{refused}");
        }
        for text in ["", "nothing", KEY, &CA.replace("MII", "MIJ")] {
            let refused = trust_of("", Some(text)).unwrap_err();
            assert!(matches!(refused, TrustError::Authorities { .. }), "{text}");
        }
    }
}
