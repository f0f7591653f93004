//! Calls to the server, with errors that tell "did not get through" from "said no".

use std::error::Error as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use cast_net::Interface;
use fog::KernelArgs;
use fog::encoding::printable;
use fos_api::{DATA_PATH, FIELD_PART, FIELD_STREAM, FIELD_TICKET};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, Url};
use rustls::ClientConfig;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::places::Places;
use super::trust::{self, Distrust, Trust};

/// The server, and who we are to it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    client: Client,
    /// Sends no User-Agent.
    nameless: Client,
    /// Ends with `/`.
    web: String,
    identity: Identity,
    /// Nothing is known of its certificate.
    is_blind: bool,
    /// At the other end of the last connection; clones share it.
    peer: Arc<Mutex<Option<IpAddr>>>,
    /// Once it has said so; clones share it.
    kind: Arc<OnceLock<Kind>>,
    /// Of our own server's API, in place of the identity.
    token: Option<String>,
    /// Where it is now; clones share it.
    places: Arc<Places>,
}

/// Which program the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `fos-server`: it describes images and sessions over HTTP.
    Own,
    /// FOG's own: it has nothing but the contract's endpoints, and the image's files on NFS.
    Stock,
}

/// The fields that name this machine in every call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// One address, or several separated by `|`.
    pub(crate) mac: String,
    /// SMBIOS system UUID in lower case, where there is one.
    pub(crate) sysuuid: Option<String>,
    /// Of this boot, where the server gave one.
    pub(crate) ticket: Option<String>,
}

/// Why a call brought nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// No answer: the network, or no server there.
    #[error("{url} cannot be reached: {cause}")]
    Unreachable { url: String, cause: String },
    /// Somebody answered, whom this boot image has no reason to believe.
    #[error("{url} is answered by a server that is not trusted: {why}")]
    Untrusted { url: String, why: Distrust },
    /// The web server answered, but not with what was asked for.
    #[error("{url} answered HTTP status {status}{}", text_after_colon(.text))]
    Status {
        url: String,
        status: u16,
        text: String,
    },
    /// An empty body where FOG always sends text: a crashed PHP script.
    #[error("{url} answered with an empty body; look into the server's error log")]
    Empty { url: String },
    /// More than there can be.
    #[error("{url} answered with more than {limit} bytes")]
    TooLong { url: String, limit: u64 },
    /// This machine cannot hold it.
    #[error("this machine has not enough memory for {len} bytes from {url}")]
    Memory { url: String, len: usize },
    /// Not what was agreed on.
    #[error("{url} answered something unexpected: {detail}")]
    Unexpected { url: String, detail: String },
}

impl CallError {
    /// Whether the server is there and says no.
    pub(crate) fn denies(&self) -> bool {
        matches!(self, Self::Status { .. }) && !self.is_temporary()
    }

    /// Whether asking again later can help without anybody doing anything.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Empty { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Untrusted { .. }
            | Self::TooLong { .. }
            | Self::Memory { .. }
            | Self::Unexpected { .. } => false,
        }
    }
}

fn text_after_colon(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

impl Server {
    /// A client for the server at `web`. No connection is made.
    ///
    /// # Errors
    /// If the TLS library cannot be set up.
    pub(crate) fn new(web: String, identity: Identity, trust: &Trust) -> anyhow::Result<Self> {
        // Fails only if a provider is installed already, which is as good.
        drop(trust::provider().install_default());
        let tls = trust.tls().context("setting up TLS")?;
        let named = Self::builder(tls.clone()).user_agent(AGENT).build();
        let client =
            named.map_err(|error| anyhow::anyhow!("setting up HTTP: {}", causes(&error)))?;
        let nameless = Self::builder(tls).build();
        let nameless =
            nameless.map_err(|error| anyhow::anyhow!("setting up HTTP: {}", causes(&error)))?;
        let places = Arc::new(Places::new(&web));
        Ok(Self {
            client,
            nameless,
            web,
            places,
            identity,
            is_blind: trust.is_blind(),
            peer: Arc::default(),
            kind: Arc::default(),
            token: None,
        })
    }

    /// The same for somebody who has a token of our own server's API, and for no machine.
    pub(crate) fn with_token(self, token: String) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }

    fn builder(tls: Option<ClientConfig>) -> ClientBuilder {
        let builder = Client::builder()
            // FOG answers a path that it does not have with a redirection to its login page, which is
            // there: to follow it would make an answer of what is none.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT);
        match tls {
            Some(tls) => builder.tls_backend_preconfigured(tls),
            // As FOG's own client, take any. The caller warns.
            None => builder.tls_danger_accept_invalid_certs(true),
        }
    }

    /// Which program the server is, as far as it has said so.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.kind.get().copied()
    }

    /// It has said which program it is. The first time counts.
    pub(crate) fn learn(&self, kind: Kind) -> Kind {
        *self.kind.get_or_init(|| kind)
    }

    /// Whether it is FOG's own.
    pub(crate) fn is_stock(&self) -> bool {
        self.kind() == Some(Kind::Stock)
    }

    /// Where it is now.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Base URL, ending with `/`.
    pub(crate) fn web(&self) -> &str {
        &self.web
    }

    /// Who we are to the server.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Our IPv4 address on the way to the server that answered last; `None` before the first answer,
    /// and where it was reached by IPv6.
    pub(crate) fn own_address(&self) -> Option<Ipv4Addr> {
        Interface::towards(self.address()?)
            .ok()
            .map(|interface| interface.addr)
    }

    /// IPv4 address of the server that answered last; `None` before the first answer, and where it was reached by
    /// IPv6.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        let peer = *self.peer.lock().unwrap_or_else(PoisonError::into_inner);
        match peer?.to_canonical() {
            IpAddr::V4(peer) => Some(peer),
            IpAddr::V6(_) => None,
        }
    }

    /// Whether it is asked over HTTPS, and its certificate is believed unseen.
    pub(crate) fn is_believed_unseen(&self) -> bool {
        self.is_blind && self.web.starts_with("https:")
    }

    /// `HEAD {web}/index.php`, FOG's test whether the server is there. The doubled slash is FOG's.
    pub(crate) async fn probe(&self) -> Result<(), CallError> {
        let url = format!("{}/index.php", self.web);
        let request = self.client.head(&url).timeout(PROBE_TIMEOUT);
        // FOG's own page sends browsers on to the next one.
        self.call(&url, request, Expect::AnyPage).await.map(drop)
    }

    /// `GET service/getversion.php?caps=1`: the features of the server, blank-separated.
    pub(crate) async fn capabilities(&self) -> Result<String, CallError> {
        self.text("service/getversion.php", &[("caps", "1")]).await
    }

    /// What is answered where the capabilities are, whatever it is: to find out what is wrong.
    ///
    /// # Errors
    /// There is no answer, or one without end.
    pub(crate) async fn look_at_version(&self) -> Result<Looked, CallError> {
        let url = format!("{}service/getversion.php", self.web);
        let request = self.client.get(&url).query(&[("caps", "1")]);
        let answer = request.timeout(PROBE_TIMEOUT).send().await;
        let answer = answer.map_err(|error| unreachable(&url, &error))?;
        let header = |name| {
            let value = answer.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let status = answer.status().as_u16();
        let location = header(reqwest::header::LOCATION);
        let date = header(reqwest::header::DATE);
        let bytes = body(&url, answer, TEXT_LIMIT).await?;
        Ok(Looked {
            status,
            location,
            date,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    /// POSTs a form with our identity and `fields` to a FOG service; answers the body.
    pub(crate) async fn post(
        &self,
        name: &str,
        fields: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<String, CallError> {
        self.post_at(&format!("service/{name}"), fields, timeout)
            .await
    }

    /// The same to any path below the root.
    pub(crate) async fn post_at(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<String, CallError> {
        self.post_by(&self.client, path, fields, timeout).await
    }

    /// The same without saying which program asks: FOG answers some questions only then.
    pub(crate) async fn post_nameless(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<String, CallError> {
        self.post_by(&self.nameless, path, fields, CALL_TIMEOUT)
            .await
    }

    async fn post_by(
        &self,
        client: &Client,
        path: &str,
        fields: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<String, CallError> {
        let url = format!("{}{path}", self.web);
        let mut form = self.identity.fields();
        // A field given by the caller replaces ours.
        form.retain(|(name, _)| fields.iter().all(|(given, _)| given != name));
        form.extend_from_slice(fields);
        let request = client.post(&url).form(&form).timeout(timeout);
        let answer = self.call(&url, request, Expect::Answer).await?;
        let bytes = body(&url, answer, TEXT_LIMIT).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// GETs a text; an empty one is an error.
    pub(crate) async fn text(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<String, CallError> {
        let bytes = self.bytes(path, query, TEXT_LIMIT).await?;
        if bytes.is_empty() {
            return Err(CallError::Empty {
                url: format!("{}{path}", self.web),
            });
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// GETs at most `limit` bytes of JSON from one of our server's own endpoints, as the machine that
    /// we are.
    pub(crate) async fn json<T>(&self, path: &str, limit: u64) -> Result<T, CallError>
    where
        T: DeserializeOwned,
    {
        let bytes = self.own_bytes(path, &[], limit).await?;
        serde_json::from_slice(&bytes).map_err(|error| CallError::Unexpected {
            url: format!("{}{path}", self.web),
            detail: error.to_string(),
        })
    }

    /// GETs at most `limit` bytes from one of our server's own endpoints, as the machine that we are.
    pub(crate) async fn own_bytes(
        &self,
        path: &str,
        query: &[(&str, &str)],
        limit: u64,
    ) -> Result<Vec<u8>, CallError> {
        let mut whole = self.identity.fields();
        // FOG's own field of forms; these endpoints have no use for it.
        whole.retain(|(name, _)| *name != SYSUUID);
        whole.extend_from_slice(query);
        self.bytes(path, &whole, limit).await
    }

    /// Asks one of our own server's endpoints, and answers whatever it says: a refusal is for the caller to read, up to
    /// `limit` bytes.
    pub(crate) async fn ask_own(
        &self,
        path: &str,
        query: &[(&str, &str)],
        content: Content,
        timeout: Duration,
        limit: u64,
    ) -> Result<Asked, CallError> {
        let url = format!("{}{path}", self.web);
        let mut whole = match self.token {
            Some(_) => Vec::new(),
            None => self.identity.fields(),
        };
        whole.retain(|(name, _)| *name != SYSUUID);
        whole.extend_from_slice(query);
        let request = match content {
            Content::Nothing => self.client.get(&url),
            Content::Json(json) => self
                .client
                .post(&url)
                .header(CONTENT_TYPE, "application/json")
                .body(json),
            Content::Order => self.client.post(&url),
            Content::Bytes(bytes) => self
                .client
                .put(&url)
                .header(CONTENT_TYPE, "application/octet-stream")
                .body(bytes),
        };
        let request = request.query(&whole).timeout(timeout);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request
            .send()
            .await
            .map_err(|error| unreachable(&url, &error))?;
        let status = answer.status().as_u16();
        let body = body(&url, answer, limit).await?;
        Ok(Asked { url, status, body })
    }

    /// Asks our own server for a part of a stream of the image, from a byte on; `None` if there are none from there
    /// on. The answer is read with [`Self::next_bytes`].
    pub(crate) async fn data(
        &self,
        stream: &str,
        part: u32,
        from: u64,
    ) -> Result<Option<Response>, CallError> {
        let url = format!("{}{DATA_PATH}", self.web);
        let part = part.to_string();
        let mut query = self.identity.fields();
        query.retain(|(name, _)| *name != SYSUUID);
        query.extend([(FIELD_STREAM, stream), (FIELD_PART, part.as_str())]);
        let request = self
            .client
            .get(&url)
            .query(&query)
            .header(reqwest::header::RANGE, format!("bytes={from}-"))
            // As long as it takes; a silence is an error of its own.
            .timeout(LONGEST_ANSWER);
        let asked = tokio::time::timeout(CALL_TIMEOUT, self.call(&url, request, Expect::Answer));
        match asked.await.unwrap_or_else(|_| Err(silent(&url))) {
            Ok(answer) if answer.status().as_u16() == 206 || from == 0 => Ok(Some(answer)),
            Ok(answer) => Err(CallError::Unexpected {
                url,
                detail: format!(
                    "status {} and all bytes, where those from {from} on were asked for",
                    answer.status().as_u16()
                ),
            }),
            // It has no byte there.
            Err(CallError::Status { status: 416, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next bytes of an answer, as they come; `None` at its end.
    pub(crate) async fn next_bytes(
        &self,
        answer: &mut Response,
    ) -> Result<Option<Vec<u8>>, CallError> {
        let url = format!("{}{DATA_PATH}", self.web);
        let chunk = tokio::time::timeout(CALL_TIMEOUT, answer.chunk()).await;
        let chunk = chunk.map_err(|_| silent(&url))?;
        let chunk = chunk.map_err(|error| unreachable(&url, &error))?;
        Ok(chunk.map(Vec::from))
    }

    async fn bytes(
        &self,
        path: &str,
        query: &[(&str, &str)],
        limit: u64,
    ) -> Result<Vec<u8>, CallError> {
        let url = format!("{}{path}", self.web);
        let request = self.client.get(&url).query(query);
        let answer = self.call(&url, request, Expect::Answer).await?;
        body(&url, answer, limit).await
    }

    /// Why nobody answered who is believed. Where the site has other servers, one of those is asked next, so that somebody
    /// else at an address of the site ends nothing.
    fn failed(&self, url: &str, error: &reqwest::Error) -> CallError {
        match unreachable(url, error) {
            CallError::Untrusted { url, why } if self.places.has_others() => {
                let cause = format!("a server answers there that is not trusted: {why}");
                CallError::Unreachable { url, cause }
            }
            error => error,
        }
    }

    /// Sends a request to another server of the site; answers what it is called there.
    fn moved(&self, url: &str, base: &Url, request: &mut reqwest::Request) -> String {
        let path = url.strip_prefix(&self.web).unwrap_or_default();
        let path = path.trim_start_matches('/');
        let Ok(mut to) = base.join(path) else {
            return url.to_owned();
        };
        let shown = to.to_string();
        to.set_query(request.url().query());
        *request.url_mut() = to;
        shown
    }

    /// Every request goes through here.
    async fn call(
        &self,
        url: &str,
        request: RequestBuilder,
        expect: Expect,
    ) -> Result<Response, CallError> {
        let (client, request) = request.build_split();
        let mut request = request.map_err(|error| unreachable(url, &error))?;
        let elsewhere = self.places.elsewhere();
        let moved = elsewhere.map(|base| self.moved(url, &base, &mut request));
        let url = moved.as_deref().unwrap_or(url);
        let answer = client.execute(request).await;
        let answer = answer.map_err(|error| self.failed(url, &error))?;
        if let Some(peer) = answer.remote_addr() {
            *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer.ip());
        }
        refuse_bad_status(url, answer, expect).await
    }
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) status: u16,
    /// Where it sends on to.
    pub(crate) location: Option<String>,
    /// The time at the server.
    pub(crate) date: Option<String>,
    pub(crate) text: String,
}

/// What is sent to one of our own server's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// A question.
    Nothing,
    Json(Vec<u8>),
    /// Something to keep.
    Bytes(Vec<u8>),
    /// An order without more than its fields.
    Order,
}

/// What one of them answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) url: String,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// As an error, if that is all that it can be.
    pub(crate) fn into_error(self) -> CallError {
        let text = String::from_utf8_lossy(&self.body);
        CallError::Status {
            url: self.url,
            status: self.status,
            text: printable(&error_text(&text), 300),
        }
    }
}

/// What counts as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// What was asked for.
    Answer,
    /// Whatever a web server says that does not mean an error: that it is there is enough.
    AnyPage,
}

impl Identity {
    /// From the kernel arguments; machines that the server does not know have an empty `mac`, and
    /// then those of the network cards count.
    pub(crate) fn new(args: &KernelArgs, cards: &[fog::Mac]) -> Self {
        let mut macs = args.macs();
        if macs.is_empty() {
            macs = cards.to_vec();
        }
        let list: Vec<String> = macs.iter().map(ToString::to_string).collect();
        Self {
            mac: list.join("|"),
            sysuuid: sysuuid("/sys/class/dmi/id/product_uuid"),
            ticket: args.ticket().map(str::to_owned),
        }
    }

    /// As names and values of a form.
    fn fields(&self) -> Vec<(&str, &str)> {
        let sysuuid = self.sysuuid.as_deref().map(|value| (SYSUUID, value));
        let ticket = self.ticket.as_deref().map(|value| (FIELD_TICKET, value));
        let mac = ("mac", self.mac.as_str());
        [Some(mac), sysuuid, ticket].into_iter().flatten().collect()
    }
}

fn sysuuid(file: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let text = text.trim().to_ascii_lowercase();
    (!text.is_empty()).then_some(text)
}

async fn refuse_bad_status(
    url: &str,
    answer: Response,
    expect: Expect,
) -> Result<Response, CallError> {
    let status = answer.status();
    if status.is_success() || status.is_redirection() && expect == Expect::AnyPage {
        return Ok(answer);
    }
    let target = answer.headers().get(reqwest::header::LOCATION);
    let text = if let Some(target) = target {
        let target = String::from_utf8_lossy(target.as_bytes());
        format!("the server sends on to {target}, so it does not have this page")
    } else {
        let text = body(url, answer, TEXT_LIMIT).await.unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    };
    Err(CallError::Status {
        url: url.to_owned(),
        status: status.as_u16(),
        text: printable(&error_text(&text), 300),
    })
}

/// The message of an error body: our server's JSON, or plain text. HTML is for browsers.
fn error_text(body: &str) -> String {
    if let Ok(Value::Object(object)) = serde_json::from_str(body)
        && let Some(Value::String(text)) = object.get("error").or_else(|| object.get("message"))
    {
        return text.clone();
    }
    if body.trim_start().starts_with('<') {
        return String::new();
    }
    body.to_owned()
}

async fn body(url: &str, mut answer: Response, limit: u64) -> Result<Vec<u8>, CallError> {
    let too_long = || CallError::TooLong {
        url: url.to_owned(),
        limit,
    };
    // What is announced is not fetched first.
    if answer.content_length().is_some_and(|len| len > limit) {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|error| unreachable(url, &error))?
    {
        let len = bytes.len().saturating_add(chunk.len());
        if u64::try_from(len).unwrap_or(u64::MAX) > limit {
            return Err(too_long());
        }
        bytes
            .try_reserve(chunk.len())
            .map_err(|_| CallError::Memory {
                url: url.to_owned(),
                len,
            })?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn unreachable(url: &str, error: &reqwest::Error) -> CallError {
    if let Some(why) = trust::distrust(error) {
        return CallError::Untrusted {
            url: url.to_owned(),
            why,
        };
    }
    let cause = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        causes(error)
    };
    CallError::Unreachable {
        url: url.to_owned(),
        cause,
    }
}

/// The innermost cause: what the outer ones say is known from the context.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

fn silent(url: &str) -> CallError {
    CallError::Unreachable {
        url: url.to_owned(),
        cause: "no answer in time".to_owned(),
    }
}

/// How this program calls itself.
pub(crate) const AGENT: &str = concat!("fos-agent/", env!("CARGO_PKG_VERSION"));

const SYSUUID: &str = "sysuuid";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);
/// For calls whose answer is waited for. The server may take 2 s on purpose at completion.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// For one part of a stream, whatever its size.
const LONGEST_ANSWER: Duration = Duration::from_secs(7 * 24 * 3600);
const TEXT_LIMIT: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::super::test_server::{Reply, TestServer};
    use super::*;

    #[tokio::test]
    async fn identity_goes_with_every_form() {
        let server = TestServer::start(|_| Reply::text("##@GO"));
        let answer = server
            .client()
            .post("mc_checkin.php", &[("type", "down")], CALL_TIMEOUT)
            .await
            .unwrap();
        assert_eq!(answer, "##@GO");
        let request = server.requests().remove(0);
        assert_eq!(request.method, "POST");
        assert_eq!(request.path, "/fog/service/mc_checkin.php");
        assert_eq!(request.field("mac").as_deref(), Some("00:1b:21:aa:bb:cc"));
        assert_eq!(request.field("type").as_deref(), Some("down"));
    }

    #[tokio::test]
    async fn probe_asks_as_fog_does() {
        let server = TestServer::start(|_| Reply::text(""));
        server.client().probe().await.unwrap();
        let request = server.requests().remove(0);
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("HEAD", "/fog//index.php")
        );
    }

    #[tokio::test]
    async fn a_refusal_is_not_taken_for_a_dead_network() {
        let server = TestServer::start(|_| Reply::status(404, "{\"error\":\"no such host\"}"));
        let error = server.client().capabilities().await.unwrap_err();
        assert!(!error.is_temporary());
        let text = error.to_string();
        assert!(
            text.contains("404") && text.ends_with(": no such host"),
            "{text}"
        );

        let dead = TestServer::dead_client();
        let error = dead.capabilities().await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
        assert!(error.is_temporary());
    }

    #[tokio::test]
    async fn a_redirection_is_not_followed_and_no_answer() {
        let server = TestServer::start(|request| {
            if request.path.contains("management") {
                Reply::text("##")
            } else {
                Reply::redirect("/fog/management/index.php")
            }
        });
        let client = server.client();
        let error = client
            .post("taskerror.php", &[], CALL_TIMEOUT)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, CallError::Status { status: 302, text, .. } if text.contains("management")),
            "{error}"
        );
        assert!(!error.is_temporary());
        client.capabilities().await.unwrap_err();
        // FOG's first page is one, and the server is there all the same.
        client.probe().await.unwrap();
        assert_eq!(server.requests().len(), 3);
    }

    #[tokio::test]
    async fn endless_answers_are_cut() {
        let server = TestServer::start(|_| Reply::text(&"x".repeat(100_000)));
        let error = server.client().capabilities().await.unwrap_err();
        assert!(matches!(error, CallError::TooLong { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_no_answer() {
        let server = TestServer::start(|_| Reply::endless("##"));
        let brief = Duration::from_millis(50);
        let error = server.client().post("x", &[], brief).await.unwrap_err();
        assert!(error.to_string().contains("no answer in time"), "{error}");
        assert!(error.is_temporary());
    }

    #[tokio::test]
    async fn json_of_another_shape_is_named() {
        let server = TestServer::start(|_| Reply::text("[1]"));
        let error = server
            .client()
            .json::<fos_api::SessionView>(fos_api::SESSION_PATH, 1000)
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Unexpected { .. }), "{error}");
    }

    #[test]
    fn unregistered_machines_use_their_own_addresses() {
        let cards = [
            "00:1b:21:00:00:01".parse().unwrap(),
            "00:1b:21:00:00:02".parse().unwrap(),
        ];
        let identity = Identity::new(&KernelArgs::parse("mac= type=down"), &cards);
        assert_eq!(identity.mac, "00:1b:21:00:00:01|00:1b:21:00:00:02");
        let identity = Identity::new(&KernelArgs::parse("mac=00:1B:21:AA:BB:CC"), &cards);
        assert_eq!(identity.mac, "00:1b:21:aa:bb:cc");
        assert_eq!(identity.ticket, None);
    }

    #[tokio::test]
    async fn the_ticket_goes_with_every_request_of_this_machine() {
        let server = TestServer::start(|_| Reply::text("null"));
        let client = server.client_with_ticket(Some("0123456789abcdef0123456789abcdef"));
        for name in ["mc_checkin.php", "progress.php", "taskerror.php"] {
            client.post(name, &[], CALL_TIMEOUT).await.unwrap();
        }
        // The inventory replaces the field mac.
        let list = [("mac", "MDA6MWI=")];
        client
            .post("inventory.php", &list, CALL_TIMEOUT)
            .await
            .unwrap();
        client
            .json::<Option<u8>>("service/fos/session", 1000)
            .await
            .unwrap();
        let name = [("name", "d1.mbr")];
        client
            .own_bytes("service/fos/file", &name, 100)
            .await
            .unwrap();
        let requests = server.requests();
        assert_eq!(requests.len(), 6);
        for request in requests {
            assert_eq!(
                request.field("ticket").as_deref(),
                Some("0123456789abcdef0123456789abcdef"),
                "{request:?}"
            );
            assert!(request.field("mac").is_some(), "{request:?}");
        }

        let server = TestServer::start(|_| Reply::text("null"));
        let client = server.client();
        client
            .post("progress.php", &[], CALL_TIMEOUT)
            .await
            .unwrap();
        client
            .json::<Option<u8>>("service/fos/session", 1000)
            .await
            .unwrap();
        for request in server.requests() {
            assert_eq!(request.field("ticket"), None);
        }
    }

    #[tokio::test]
    async fn the_own_address_is_the_one_that_the_server_sees() {
        let server = TestServer::start(|_| Reply::text("x"));
        let client = server.client();
        assert_eq!(client.own_address(), None);
        client.capabilities().await.unwrap();
        assert_eq!(client.own_address(), Some(Ipv4Addr::LOCALHOST));
    }
}
