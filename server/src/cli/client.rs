//! The way to the server: over its socket if one runs, else its operations in this process.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, header};
use fog::Mac;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Places;
use crate::api::{
    AccountRow, Added, Api, ApiError, ApiErrorKind, ApiResult, Deploy, DeployAlone, Deployed, Done,
    EventLine, EventsQuery, GroupHosts, GroupRow, HostAccept, HostAdd, HostRow, ImageAdd,
    ImageRoot, ImageShown, ImageUpdate, Named, PendingHost, Problem, ReplicaStatus, Replicate,
    RootQuery, ScheduleAdd, ScheduleRow, ServerLook, ServerStatus, SetupLink, TaskList,
    TasksCreated, Token, TokenAdd, UserAdd, UserChange,
};
use crate::config::Config;
use crate::logs::MulticastLog;
use crate::ops::Ops;
use crate::output;
use crate::private;
use crate::sender::udpcast::Udpcast;
use crate::served::Served;
use crate::session::{Sessions, Surroundings};
use crate::store::SharedStore;
use crate::store::sqlite::{DATABASE, make_directory};

/// Something that can be asked.
pub(super) enum Client {
    /// A running server.
    Remote(Remote),
    /// No server runs: the database is ours for a moment.
    Local(Box<Local>),
}

/// The operations in this process.
pub(super) struct Local {
    ops: Arc<Ops>,
    store: SharedStore,
    log: MulticastLog,
    // Dropped after the store.
    _lock: Lock,
}

/// What becomes of a data directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// It is made.
    Create,
    /// Its name is a mistake.
    Refuse,
}

impl Client {
    /// The server of this data directory, or its database.
    ///
    /// # Errors
    /// If there is neither, or they do not answer.
    pub(super) async fn connect(places: &Places) -> anyhow::Result<Self> {
        Self::connect_with(places, Absent::Refuse).await
    }

    /// The same for what is added: it may be the first.
    pub(super) async fn connect_or_create(places: &Places) -> anyhow::Result<Self> {
        Self::connect_with(places, Absent::Create).await
    }

    async fn connect_with(places: &Places, absent: Absent) -> anyhow::Result<Self> {
        let waiting = || {
            output::explain(&format!(
                "another fos-server uses {} and does not answer yet; waiting for it, at most {} s",
                places.data.display(),
                LOCK_WAIT.as_secs()
            ));
        };
        with_notice(Self::find(places, absent), waiting).await
    }

    async fn find(places: &Places, absent: Absent) -> anyhow::Result<Self> {
        let socket = places.socket();
        let end = tokio::time::Instant::now() + LOCK_WAIT;
        loop {
            match tokio::time::timeout(CONNECT_LIMIT, UnixStream::connect(&socket)).await {
                Ok(Ok(stream)) => {
                    let peer = stream.peer_cred().ok();
                    let process = peer.and_then(|peer| peer.pid());
                    return Ok(Self::Remote(Remote { socket, process }));
                }
                Err(_) => bail!(
                    "the server at {} does not answer within {} s; look at its log, or stop it",
                    socket.display(),
                    CONNECT_LIMIT.as_secs()
                ),
                Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(error).with_context(|| {
                        format!(
                            "connecting to {}; only root and the server's own user may",
                            socket.display()
                        )
                    });
                }
                // None runs.
                Ok(Err(_)) => {}
            }
            // Whoever names a database elsewhere needs nothing here.
            if absent == Absent::Refuse && places.stored_in()?.is_none() {
                check_present(&places.data)?;
            }
            match lock(&places.data)? {
                Some(lock) => return Ok(Self::Local(Box::new(Local::open(places, lock).await?))),
                // Another command, or a server that starts or ends.
                None if tokio::time::Instant::now() >= end => bail!(
                    "another fos-server uses {} and does not answer at {}; look what it does",
                    places.data.display(),
                    socket.display()
                ),
                None => tokio::time::sleep(LOCK_RETRY).await,
            }
        }
    }

    /// Whether a server runs.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// Says where the answer comes from, if no server runs.
    pub(super) fn explain_if_idle(&self) {
        if !self.is_remote() {
            output::explain("No server is running; this is the state of the database.");
        }
    }

    /// What can be asked.
    pub(super) fn api(&self) -> &dyn Api {
        match self {
            Self::Remote(remote) => remote,
            Self::Local(local) => &*local.ops,
        }
    }

    /// Ends, so that a server can start.
    pub(super) async fn close(self) {
        if let Self::Local(local) = self {
            local.store.close().await;
            local.log.close(Duration::from_secs(1));
        }
    }
}

impl Local {
    async fn open(places: &Places, lock: Lock) -> anyhow::Result<Self> {
        let served = Served::read(&places.data)?;
        let store = places.store(served.as_ref()).await?;
        let config = Config::idle(&places.data, places.root_of(&*store).await?);
        let config = match served {
            Some(served) => served.applied(config),
            None => config,
        };
        let log = MulticastLog::of(&config).context("opening the logs")?;
        let sessions = Sessions::new(Surroundings {
            store: Arc::clone(&store),
            config: Arc::new(config),
            sender: Arc::new(Udpcast::default()),
            log: log.clone(),
        });
        let ops = Ops::new(sessions).await?;
        Ok(Self {
            ops,
            store,
            log,
            _lock: lock,
        })
    }
}

/// A code for the link at which the first account is made, of the running server; `None` if there are accounts. It is
/// waited for, as the server may just be starting.
///
/// # Errors
/// If no server runs, or it does not answer.
pub(super) async fn setup_code(places: &Places) -> anyhow::Result<Option<String>> {
    let socket = places.socket();
    let end = tokio::time::Instant::now() + LOCK_WAIT;
    while let Err(error) = UnixStream::connect(&socket).await {
        if tokio::time::Instant::now() >= end {
            return Err(error).with_context(|| format!("connecting to {}", socket.display()));
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
    let remote = Remote {
        socket,
        process: None,
    };
    let link: SetupLink = remote.post("/setup-link".to_owned()).await?;
    Ok(link.code)
}

/// The running server's process and its database; `None` if none runs.
///
/// # Errors
/// If one runs and does not answer.
pub(super) async fn look(places: &Places) -> anyhow::Result<Option<(u32, ServerLook)>> {
    let socket = places.socket();
    let stream = match UnixStream::connect(&socket).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(error).with_context(|| format!("connecting to {}", socket.display()));
        }
        Err(_) => return Ok(None),
    };
    let process = stream.peer_cred()?.pid();
    drop(stream);
    let remote = Remote { socket, process };
    let asked = remote.get("/look".to_owned());
    let look = tokio::time::timeout(CONNECT_LIMIT, asked)
        .await
        .with_context(|| format!("no answer within {} s", CONNECT_LIMIT.as_secs()))??;
    let process = process.and_then(|process| u32::try_from(process).ok());
    Ok(Some((process.unwrap_or_default(), look)))
}

/// Two processes on one database would send every session twice: whoever has this has the database.
///
/// Keep it for longer than the store: closing any file of the database in a process takes SQLite's own
/// locks from it.
#[derive(Debug)]
pub(super) struct Lock {
    _database: File,
    /// Given back last: whoever has this one expects the other to be free.
    _directory: File,
}

/// A mistyped name must not become a data directory of its own.
fn check_present(data: &Path) -> anyhow::Result<()> {
    let is_absent = |path: &Path| {
        path.metadata()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if is_absent(data) {
        bail!(
            "there is no data directory at {}; name the server's with --data or FOS_SERVER_DATA, or \
             make one with fos-server serve, host add or image add",
            data.display()
        );
    }
    if is_absent(&data.join(DATABASE)) {
        bail!(
            "{} holds no database of fos-server; name the server's data directory with --data or \
             FOS_SERVER_DATA, or begin a new one here with fos-server serve, host add or image add",
            data.display()
        );
    }
    Ok(())
}

/// Does the work; says `notice` if it takes longer than people wait without a sign.
async fn with_notice<T>(work: impl Future<Output = T>, notice: impl FnOnce()) -> T {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(readable::NAMED_AFTER) => notice(),
    }
    work.await
}

/// Locks a data directory; `None` if another process has it.
///
/// # Errors
/// If another process has the database under another name (a link to it), or had the lock file removed.
pub(super) fn lock(data: &Path) -> anyhow::Result<Option<Lock>> {
    make_directory(data)?;
    private::create_dir(data)
        .with_context(|| format!("creating the data directory {}", data.display()))?;
    let Some(directory) = try_lock(&data.join("server.lock"))? else {
        return Ok(None);
    };
    let path = data.join(DATABASE);
    let Some(database) = try_lock(&path)? else {
        bail!(
            "{} is in use by another fos-server, which has it under another name, or whose \
             server.lock was removed; stop that one first",
            path.display()
        );
    };
    Ok(Some(Lock {
        _database: database,
        _directory: directory,
    }))
}

/// A file that is locked, created where it is missing; `None` if another process has it.
fn try_lock(path: &Path) -> anyhow::Result<Option<File>> {
    let file =
        private::create_file(path).with_context(|| format!("creating {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

/// How long a command waits for another one to leave the database.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(15);

/// Between two tries to get it.
pub(super) const LOCK_RETRY: Duration = Duration::from_millis(50);

/// How long a server may take to take a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long a server may take for an answer, to its last byte.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;

/// A running server.
pub(super) struct Remote {
    socket: PathBuf,
    /// Its number, if the system knows it.
    process: Option<i32>,
}

impl Remote {
    async fn get<A: DeserializeOwned>(&self, path: String) -> ApiResult<A> {
        self.call(Method::GET, path, None::<()>).await
    }

    async fn post<A: DeserializeOwned>(&self, path: String) -> ApiResult<A> {
        self.call(Method::POST, path, None::<()>).await
    }

    async fn delete<A: DeserializeOwned>(&self, path: String) -> ApiResult<A> {
        self.call(Method::DELETE, path, None::<()>).await
    }

    async fn call<Q: Serialize + Send, A: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        request: Option<Q>,
    ) -> ApiResult<A> {
        let is_change = method != Method::GET;
        let told = |error: &anyhow::Error| unanswered(&self.socket, is_change, &path, error);
        let exchange = self.exchange(method, &path, request);
        let called = tokio::time::timeout(ANSWER_LIMIT, exchange);
        let waiting = || {
            let process = self.process.map(|process| format!(" (process {process})"));
            output::explain(&format!(
                "the server{} does not answer yet; waiting for it, at most {} s",
                process.unwrap_or_default(),
                ANSWER_LIMIT.as_secs()
            ));
        };
        let answer = with_notice(called, waiting).await.unwrap_or_else(|_| {
            Err(anyhow::anyhow!(
                "no answer within {} s",
                ANSWER_LIMIT.as_secs()
            ))
        });
        let (is_good, body) = answer.map_err(|error| told(&error))?;
        if is_good {
            return serde_json::from_slice(&body).map_err(|error| told(&error.into()));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(problem.into()),
            Err(_) => {
                let text = fog::encoding::printable(&String::from_utf8_lossy(&body), 300);
                Err(unavailable(&self.socket, &anyhow::anyhow!("{text}")))
            }
        }
    }

    async fn exchange<Q: Serialize>(
        &self,
        method: Method,
        path: &str,
        request: Option<Q>,
    ) -> anyhow::Result<(bool, Bytes)> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let head = Request::builder()
            .method(method)
            .uri(format!("{API}{path}"))
            .header(header::HOST, "fos-server");
        let request = match request {
            Some(request) => head
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(serde_json::to_vec(&request)?))?,
            None => head.body(Body::empty())?,
        };
        let exchange = async {
            let response = sender.send_request(request).await?;
            let is_good = response.status().is_success();
            let body = Body::new(response.into_body());
            anyhow::Ok((is_good, axum::body::to_bytes(body, MAX_ANSWER).await?))
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            ended = connection => {
                ended?;
                exchange.await
            }
        }
    }
}

/// Where the server has what is asked here.
const API: &str = "/api/v1";

/// A text as a part of a path or a field.
fn part(text: &str) -> impl std::fmt::Display {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

/// No answer, or half of one: what changes something may have happened all the same.
fn unanswered(socket: &Path, is_change: bool, path: &str, error: &anyhow::Error) -> ApiError {
    let mut told = unavailable(socket, error);
    let is_connected = error
        .downcast_ref::<io::Error>()
        .is_none_or(|error| !is_refused(error));
    let of = |name: &str| path.starts_with(name);
    let look = match () {
        () if of("/sessions") => "fos-server status shows whether",
        () if of("/hosts") => "fos-server host list shows whether",
        () if of("/pending-hosts") => "fos-server host pending shows whether",
        () if of("/groups") => "fos-server group list shows whether",
        () if of("/schedules") => "fos-server schedule list shows whether",
        () if of("/images") => "fos-server image list shows whether",
        () if of("/users") => "fos-server user list shows whether",
        () if of("/tokens") => "fos-server token list shows whether",
        () => return told,
    };
    if is_connected && is_change {
        told.text
            .push_str(&format!("; it may have been done all the same: {look}"));
    }
    told
}

/// Whether nobody took the connection, so that nothing was asked.
fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
    )
}

fn unavailable(socket: &Path, error: &anyhow::Error) -> ApiError {
    let text = format!(
        "the server at {} cannot be asked: {}",
        socket.display(),
        readable::chain(error.as_ref())
    );
    ApiError::new(ApiErrorKind::Unavailable, text)
}

#[async_trait]
impl Api for Remote {
    async fn host_add(&self, request: HostAdd) -> ApiResult<Added> {
        self.call(Method::POST, "/hosts".into(), Some(request))
            .await
    }

    async fn host_edit(&self, host: &str, request: HostAdd) -> ApiResult<Named> {
        let path = format!("/hosts/{}", part(host));
        self.call(Method::PUT, path, Some(request)).await
    }

    async fn host_list(&self) -> ApiResult<Vec<HostRow>> {
        self.get("/hosts".into()).await
    }

    async fn host_remove(&self, host: &str) -> ApiResult<Named> {
        self.delete(format!("/hosts/{}", part(host))).await
    }

    async fn host_forget(&self, host: &str) -> ApiResult<Named> {
        self.post(format!("/hosts/{}/forget", part(host))).await
    }

    async fn host_pending(&self) -> ApiResult<Vec<PendingHost>> {
        self.get("/pending-hosts".into()).await
    }

    async fn host_accept(&self, mac: Mac, request: HostAccept) -> ApiResult<Named> {
        let path = format!("/pending-hosts/{mac}/accept");
        self.call(Method::POST, path, Some(request)).await
    }

    async fn pending_forget(&self, mac: Option<Mac>) -> ApiResult<Done> {
        self.delete(match mac {
            Some(mac) => format!("/pending-hosts/{mac}"),
            None => "/pending-hosts".to_owned(),
        })
        .await
    }

    async fn group_list(&self) -> ApiResult<Vec<GroupRow>> {
        self.get("/groups".into()).await
    }

    async fn group_add(&self, group: &str, request: GroupHosts) -> ApiResult<Named> {
        let path = format!("/groups/{}/add", part(group));
        self.call(Method::POST, path, Some(request)).await
    }

    async fn group_take(&self, group: &str, request: GroupHosts) -> ApiResult<Named> {
        let path = format!("/groups/{}/take", part(group));
        self.call(Method::POST, path, Some(request)).await
    }

    async fn group_remove(&self, group: &str) -> ApiResult<Named> {
        self.delete(format!("/groups/{}", part(group))).await
    }

    async fn image_root(&self, request: RootQuery) -> ApiResult<ImageRoot> {
        self.get(match request.given {
            Some(given) => format!("/image-root?given={}", part(&given)),
            None => "/image-root".to_owned(),
        })
        .await
    }

    async fn image_add(&self, request: ImageAdd) -> ApiResult<Added> {
        self.call(Method::POST, "/images".into(), Some(request))
            .await
    }

    async fn image_update(&self, image: &str, request: ImageUpdate) -> ApiResult<Named> {
        let path = format!("/images/{}", part(image));
        self.call(Method::PUT, path, Some(request)).await
    }

    async fn image_show(&self, image: &str) -> ApiResult<ImageShown> {
        self.get(format!("/images/{}", part(image))).await
    }

    async fn image_list(&self) -> ApiResult<Vec<ImageShown>> {
        self.get("/images".into()).await
    }

    async fn image_check(&self, image: &str) -> ApiResult<Done> {
        self.post(format!("/images/{}/check", part(image))).await
    }

    async fn image_replicate(&self, image: &str, request: Replicate) -> ApiResult<Named> {
        let path = format!("/images/{}/replication", part(image));
        self.call(Method::POST, path, Some(request)).await
    }

    async fn image_replicas(&self, image: &str) -> ApiResult<Vec<ReplicaStatus>> {
        self.get(format!("/images/{}/replication", part(image)))
            .await
    }

    async fn image_remove(&self, image: &str) -> ApiResult<Named> {
        self.delete(format!("/images/{}", part(image))).await
    }

    async fn deploy(&self, request: Deploy) -> ApiResult<Deployed> {
        self.call(Method::POST, "/sessions".into(), Some(request))
            .await
    }

    async fn deploy_alone(&self, request: DeployAlone) -> ApiResult<TasksCreated> {
        self.call(Method::POST, "/tasks".into(), Some(request))
            .await
    }

    async fn cancel_task(&self, task: i64) -> ApiResult<Done> {
        self.post(format!("/tasks/{task}/cancel")).await
    }

    async fn tasks(&self) -> ApiResult<TaskList> {
        self.get("/tasks".into()).await
    }

    async fn schedule_add(&self, request: ScheduleAdd) -> ApiResult<ScheduleRow> {
        self.call(Method::POST, "/schedules".into(), Some(request))
            .await
    }

    async fn schedule_list(&self) -> ApiResult<Vec<ScheduleRow>> {
        self.get("/schedules".into()).await
    }

    async fn schedule_remove(&self, schedule: i64) -> ApiResult<Done> {
        self.delete(format!("/schedules/{schedule}")).await
    }

    async fn wake(&self, request: GroupHosts) -> ApiResult<Done> {
        self.call(Method::POST, "/wake".into(), Some(request)).await
    }

    async fn start(&self, session: i64) -> ApiResult<Done> {
        self.post(format!("/sessions/{session}/start")).await
    }

    async fn cancel(&self, session: i64, host: Option<&str>) -> ApiResult<Done> {
        self.post(match host {
            Some(host) => format!("/sessions/{session}/hosts/{}/drop", part(host)),
            None => format!("/sessions/{session}/cancel"),
        })
        .await
    }

    async fn cancel_all(&self) -> ApiResult<Done> {
        self.post("/sessions/cancel-all".to_owned()).await
    }

    async fn status(&self, session: Option<i64>) -> ApiResult<ServerStatus> {
        self.get(match session {
            Some(session) => format!("/sessions/{session}"),
            None => "/sessions".to_owned(),
        })
        .await
    }

    async fn events(&self, session: i64, request: EventsQuery) -> ApiResult<Vec<EventLine>> {
        let EventsQuery {
            after,
            limit,
            wait_seconds,
        } = request;
        self.get(format!(
            "/sessions/{session}/events?after={after}&limit={limit}&wait_seconds={wait_seconds}"
        ))
        .await
    }

    async fn user_list(&self) -> ApiResult<Vec<AccountRow>> {
        self.get("/users".into()).await
    }

    async fn user_add(&self, request: UserAdd) -> ApiResult<Named> {
        self.call(Method::POST, "/users".into(), Some(request))
            .await
    }

    async fn user_change(&self, user: &str, request: UserChange) -> ApiResult<Named> {
        let path = format!("/users/{}", part(user));
        self.call(Method::PUT, path, Some(request)).await
    }

    async fn user_remove(&self, user: &str) -> ApiResult<Named> {
        self.delete(format!("/users/{}", part(user))).await
    }

    async fn token_list(&self) -> ApiResult<Vec<AccountRow>> {
        self.get("/tokens".into()).await
    }

    async fn token_add(&self, request: TokenAdd) -> ApiResult<Token> {
        self.call(Method::POST, "/tokens".into(), Some(request))
            .await
    }

    async fn token_remove(&self, token: &str) -> ApiResult<Named> {
        self.delete(format!("/tokens/{}", part(token))).await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n";

    /// Asks a program that answers with `head`, and then with `piece` again and again.
    async fn asked(head: &'static [u8], piece: Vec<u8>, pause: Duration) -> ApiError {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("server.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let program = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(stream.read(&mut [0; 4096]).await);
            let mut sent = stream.write_all(head).await;
            while sent.is_ok() {
                tokio::time::sleep(pause).await;
                sent = stream.write_all(&piece).await;
            }
        });
        let remote = Remote {
            socket,
            process: None,
        };
        let error = remote.status(None).await.unwrap_err();
        program.abort();
        error
    }

    /// The clock jumps whenever nothing else is to be done.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_drips_is_not_waited_for_without_end() {
        let second = Duration::from_secs(1);
        for head in [HEAD, b"HTTP/1.1 200 OK\r\nx: ", b""] {
            let error = asked(head, b"a".to_vec(), second).await;
            assert_eq!(error.kind, ApiErrorKind::Unavailable, "{error}");
            assert!(error.text.contains("server.sock"), "{error}");
        }
        let error = asked(HEAD, Vec::new(), second).await;
        assert!(error.text.contains("no answer within"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_answered_may_have_happened() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("server.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let remote = Remote {
            socket: socket.clone(),
            process: None,
        };
        // Taken by the kernel, answered by nobody.
        let error = remote.cancel(1, None).await.unwrap_err();
        assert!(error.text.contains("no answer within 40 s"), "{error}");
        assert!(error.text.contains("may have been done"), "{error}");
        assert!(error.text.contains("fos-server status"), "{error}");
        let error = remote.status(None).await.unwrap_err();
        assert!(!error.text.contains("may have been done"), "{error}");
        drop(listener);
        let error = remote.cancel(1, None).await.unwrap_err();
        assert!(!error.text.contains("may have been done"), "{error}");
    }

    /// A lock needs no right to write: whoever can open the file can hold it for ever.
    #[test]
    fn nobody_else_can_hold_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let data = dir.path().join("new/data");
        let file = data.join("server.lock");
        drop(lock(&data).unwrap().unwrap());
        assert_eq!((mode(&data), mode(&file)), (0o700, 0o600));
        // Those of an earlier version.
        set(&data, 0o755);
        set(&file, 0o644);
        let held = lock(&data).unwrap();
        assert_eq!((mode(&data), mode(&file)), (0o700, 0o600));
        assert!(lock(&data).unwrap().is_none());
        drop(held);
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_kept() {
        let error = asked(HEAD, vec![b' '; 1 << 20], Duration::ZERO).await;
        assert_eq!(error.kind, ApiErrorKind::Unavailable, "{error}");
    }
}
