//! A server without network for tests: a database file, images in a directory, a sender that is
//! played by the test. Everything else is what runs in production, the supervisor included.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::MockConnectInfo;
use axum::http::{Request, Response, StatusCode};
use cast_net::Interface;
use fog::task::ImageType;
use fos_api::SessionView;
use sqlx::Connection as _;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::api::{Api as _, ServerStatus};
use crate::clock;
use crate::config::{Config, Origin};
use crate::domain::SessionId;
use crate::domain::host::{NewHost, StationMac};
use crate::domain::image::{Facts, ImageSettings, NewImage};
use crate::domain::multicast::Duplex;
use crate::domain::session::core::{StopKind, StreamOutcome};
use crate::domain::session::{Event, Member, Session};
use crate::logs::MulticastLog;
use crate::ops::{DeployRequest, Deployed, Ops};
use crate::sender::{
    Counters, Events, Received, Sender, SenderEvent, SharedCounters, StreamJob, Transmission,
};
use crate::session::{Live, Sessions, Surroundings};
use crate::store::sqlite::Sqlite;
use crate::store::testing::Faulty;
use crate::store::{Location, SharedStore, mariadb_of_tests};
use crate::{http, imagestore};

/// A server and everything around it.
pub(crate) struct Bench {
    pub(crate) ops: Arc<Ops>,
    /// The store of the server, to be told to fail.
    pub(crate) faults: Arc<Faulty>,
    /// The same database; it never fails.
    pub(crate) store: SharedStore,
    pub(crate) sender: FakeSender,
    pub(crate) config: Config,
    supervisor: JoinHandle<()>,
    dir: Arc<tempfile::TempDir>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// What the session did to its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Open(usize),
    Start,
    Remove(Ipv4Addr),
    Stop(StopKind),
}

/// A sender that does nothing but remember.
#[derive(Clone, Default)]
pub(crate) struct FakeSender(Arc<Mutex<Inner>>, Arc<AtomicBool>);

#[derive(Default)]
struct Inner {
    orders: Vec<Order>,
    admitted: Vec<Ipv4Addr>,
    open: Option<(StreamJob, Events)>,
    counters: SharedCounters,
    routes: BTreeMap<IpAddr, Interface>,
    is_unplugged: bool,
    held: BTreeMap<u16, String>,
    rejecting: Vec<u16>,
    woken: Vec<fog::Mac>,
}

impl Sender for FakeSender {
    fn route_to(&self, client: IpAddr) -> anyhow::Result<Interface> {
        let inner = self.0.lock().unwrap();
        anyhow::ensure!(!inner.is_unplugged, "no route leads to {client}");
        let interface = inner.routes.get(&client).cloned();
        Ok(interface.unwrap_or_else(loopback))
    }

    fn reject(&self, _interface: Interface, base: u16, _limit: Duration) {
        self.0.lock().unwrap().rejecting.push(base);
    }

    fn wake(&self, macs: &[fog::Mac], _card: Option<&Interface>) -> anyhow::Result<Vec<String>> {
        let mut inner = self.0.lock().unwrap();
        anyhow::ensure!(!inner.is_unplugged, "no cable");
        inner.woken.extend(macs);
        Ok(vec!["eth0".to_owned()])
    }

    fn probe_ports(&self, _address: Ipv4Addr, base: u16) -> Result<(), String> {
        match self.0.lock().unwrap().held.get(&base) {
            Some(holder) => Err(holder.clone()),
            None => Ok(()),
        }
    }

    fn open(
        &self,
        job: StreamJob,
        events: Events,
        counters: SharedCounters,
    ) -> anyhow::Result<Box<dyn Transmission>> {
        assert!(!self.1.load(Ordering::SeqCst), "of purpose");
        let mut inner = self.0.lock().unwrap();
        inner.orders.push(Order::Open(job.index));
        inner.admitted.clone_from(&job.admitted);
        inner.open = Some((job, events));
        inner.counters = counters;
        Ok(Box::new(self.clone()))
    }
}

impl Transmission for FakeSender {
    fn admit(&self, addresses: Vec<Ipv4Addr>) {
        self.0.lock().unwrap().admitted = addresses;
    }

    fn start(&self) {
        self.0.lock().unwrap().orders.push(Order::Start);
    }

    fn remove(&self, address: Ipv4Addr) {
        self.0.lock().unwrap().orders.push(Order::Remove(address));
    }

    fn stop(&self, kind: StopKind) {
        self.0.lock().unwrap().orders.push(Order::Stop(kind));
    }
}

impl FakeSender {
    /// The addresses of machines that were switched on.
    pub(crate) fn woken(&self) -> Vec<fog::Mac> {
        self.0.lock().unwrap().woken.clone()
    }

    /// From now on the driver of a session that opens a stream panics.
    pub(crate) fn panic_at_open(&self) {
        self.1.store(true, Ordering::SeqCst);
    }

    /// From now on this client is behind that card.
    pub(crate) fn route(&self, client: Ipv4Addr, interface: Interface) {
        let mut inner = self.0.lock().unwrap();
        inner.routes.insert(client.into(), interface);
    }

    /// From now on no route leads anywhere, or all are there again.
    pub(crate) fn unplug(&self, is_unplugged: bool) {
        self.0.lock().unwrap().is_unplugged = is_unplugged;
    }

    /// From now on another program holds a port pair.
    pub(crate) fn hold(&self, base: u16, holder: &str) {
        self.0.lock().unwrap().held.insert(base, holder.to_owned());
    }

    /// Where receivers that come too late are rejected.
    pub(crate) fn rejecting(&self) -> Vec<u16> {
        self.0.lock().unwrap().rejecting.clone()
    }

    pub(crate) fn admitted(&self) -> Vec<Ipv4Addr> {
        self.0.lock().unwrap().admitted.clone()
    }

    pub(crate) fn orders(&self) -> Vec<Order> {
        self.0.lock().unwrap().orders.clone()
    }

    /// The card that the present stream is sent on.
    pub(crate) fn interface(&self) -> Option<Interface> {
        let inner = self.0.lock().unwrap();
        let (job, _) = inner.open.as_ref()?;
        Some(job.interface.clone())
    }

    /// The group of the present stream, and how it is sent.
    pub(crate) fn network(&self) -> Option<(Option<Ipv4Addr>, Duplex)> {
        let inner = self.0.lock().unwrap();
        let (job, _) = inner.open.as_ref()?;
        Some((job.group, job.duplex))
    }

    /// Tells the session something as the sender of its present stream.
    pub(crate) fn tell(&self, event: SenderEvent) {
        let inner = self.0.lock().unwrap();
        let (job, events) = inner.open.as_ref().expect("a stream is open");
        events.try_tell(job.index, event);
    }

    /// Counts as the sender of the present stream; of the receivers, what each asked for again.
    pub(crate) fn count(&self, counters: Counters, again: &[(Ipv4Addr, u64)]) {
        let received = again.iter().map(|(address, blocks)| {
            let received = Received {
                bytes_acked: counters.bytes_acked,
                blocks_again: *blocks,
            };
            (*address, received)
        });
        let inner = self.0.lock().unwrap();
        inner.counters.set(counters, received.collect());
    }

    /// The bytes that would be sent; call it after the start.
    pub(crate) async fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let mut inner = inner.lock().unwrap();
            let (job, _) = inner.open.as_mut().expect("a stream is open");
            let mut bytes = Vec::new();
            job.source.read_to_end(&mut bytes)?;
            Ok(bytes)
        })
        .await
        .unwrap()
    }
}

/// Everything that takes long waits this long at most before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Two hosts LAB-01 and LAB-02, an image of two partitions, nothing special in the settings.
pub(crate) async fn bench() -> Bench {
    bench_with(|_| {}).await
}

/// The same with other settings.
pub(crate) async fn bench_with(change: impl FnOnce(&mut Config)) -> Bench {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut config = Config::idle(&dir.path().join("data"), dir.path().join("images"));
    config.boot = dir.path().join("boot");
    config.address = Some(Ipv4Addr::LOCALHOST);
    config.kernel_args = "console=ttyS0".into();
    config.origin = Origin::Running;
    // Requests of a test follow at once.
    config.timing.restart_takes = Duration::ZERO;
    config.timing.capture_again = Duration::from_millis(20);
    change(&mut config);
    std::fs::create_dir(&config.boot).unwrap();
    std::fs::write(config.boot.join("bzImage"), b"kernel").unwrap();
    std::fs::write(config.boot.join("init.xz"), b"initramfs").unwrap();
    write_image(&config.images.join("img"));
    write_image_of(&config.images.join("other"), 101);
    let bench = Bench::start(dir, config).await;
    bench.fill().await;
    bench
}

/// Servers with one database and the same images, each as [`bench`] has it.
pub(crate) struct Several {
    dir: Arc<tempfile::TempDir>,
    location: Location,
}

impl Several {
    pub(crate) fn new(location: Location) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let boot = dir.path().join("boot");
        std::fs::create_dir(&boot).unwrap();
        std::fs::write(boot.join("bzImage"), b"kernel").unwrap();
        std::fs::write(boot.join("init.xz"), b"initramfs").unwrap();
        write_image(&dir.path().join("images/img"));
        write_image_of(&dir.path().join("images/other"), 101);
        Self { dir, location }
    }

    /// A server of this name; the first one has to be [filled](Bench::fill).
    pub(crate) async fn server(&self, name: &str) -> Bench {
        let data = self.dir.path().join(name);
        let mut config = Config::idle(&data, self.dir.path().join("images"));
        config.boot = self.dir.path().join("boot");
        config.address = Some(Ipv4Addr::LOCALHOST);
        config.origin = Origin::Running;
        config.timing.restart_takes = Duration::ZERO;
        let store = mariadb_of_tests::store_of(&self.location, name).await;
        let faults = Faulty::of_several(Arc::clone(&store));
        let dir = Arc::clone(&self.dir);
        Bench::start_on((store, faults), dir, config, FakeSender::default()).await
    }
}

/// An image directory with two small but real partition images.
pub(crate) fn write_image(dir: &Path) {
    write_image_of(dir, 1);
}

/// The same; another seed, other bytes.
pub(crate) fn write_image_of(dir: &Path, seed: u64) {
    std::fs::create_dir_all(dir).unwrap();
    for (name, seed) in [("d1p1.img", seed), ("d1p2.img", seed + 1)] {
        let used = (0..64).map(|block| block % 3 != 0).collect();
        let image = image_writer::Recipe::v2(512, used).write(|block| {
            let byte = u8::try_from((block * 7 + seed) % 251).unwrap();
            vec![byte; 512]
        });
        std::fs::write(dir.join(name), zstd::encode_all(&image[..], 3).unwrap()).unwrap();
    }
    std::fs::write(dir.join("d1.mbr"), vec![0x55; 1024]).unwrap();
    let dump = "label: gpt\n/dev/sda1 : start= 2048, size= 64\n/dev/sda2 : start= 4096, size= 64\n";
    std::fs::write(dir.join("d1.partitions"), dump).unwrap();
}

pub(crate) fn ip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host)
}

pub(crate) fn mac(host: u8) -> String {
    format!("00:1b:21:00:00:{host:02x}")
}

pub(crate) fn name(host: u8) -> String {
    format!("LAB-{host:02}")
}

/// The card of this machine that has [`Config::address`] here.
pub(crate) fn loopback() -> Interface {
    let mut list = Interface::list().unwrap().into_iter();
    list.find(|entry| entry.addr == Ipv4Addr::LOCALHOST)
        .expect("a loopback interface")
}

/// A card that no machine has.
pub(crate) fn card(number: u8) -> Interface {
    Interface {
        name: format!("test{number}"),
        index: 1000 + u32::from(number),
        addr: Ipv4Addr::new(10, number, 0, 1),
        prefix_len: 16,
        broadcast: None,
        is_up: true,
        is_loopback: false,
    }
}

/// Polls until something is there.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    waited.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

impl Bench {
    async fn start(dir: Arc<tempfile::TempDir>, config: Config) -> Self {
        Self::start_with(dir, config, FakeSender::default()).await
    }

    async fn start_with(dir: Arc<tempfile::TempDir>, config: Config, sender: FakeSender) -> Self {
        let store: SharedStore = Arc::new(Sqlite::open(&config.data).await.unwrap());
        let faults = Faulty::new(Arc::clone(&store));
        Self::start_on((store, faults), dir, config, sender).await
    }

    async fn start_on(
        (store, faults): (SharedStore, Arc<Faulty>),
        dir: Arc<tempfile::TempDir>,
        config: Config,
        sender: FakeSender,
    ) -> Self {
        let sessions = Sessions::new(Surroundings {
            store: Arc::clone(&faults) as SharedStore,
            config: Arc::new(config.clone()),
            sender: Arc::new(sender.clone()),
            log: MulticastLog::new(&config.log_dir()).unwrap(),
        });
        let ops = Ops::new(Arc::clone(&sessions)).await.unwrap();
        Self {
            ops,
            faults,
            store,
            sender,
            config,
            supervisor: tokio::spawn(async move { sessions.supervise().await }),
            dir,
        }
    }

    /// The server ends in order and is started again on the same database.
    pub(crate) async fn restart(self) -> Self {
        self.ops.sessions().shut_down().await;
        self.ops.end_captures();
        self.store.close().await;
        Self::start(Arc::clone(&self.dir), self.config.clone()).await
    }

    /// The server is started again, and nobody looks for sessions to run yet.
    pub(crate) async fn restart_without_supervisor(self) -> Self {
        self.ops.sessions().shut_down().await;
        self.store.close().await;
        let bench = Self::start(Arc::clone(&self.dir), self.config.clone()).await;
        // It has not been polled yet.
        bench.supervisor.abort();
        bench
    }

    /// The server is killed and started again: what is not stored at this moment never will be.
    pub(crate) async fn crash(self) -> Self {
        self.crash_and_start(FakeSender::default()).await
    }

    /// The same, with this network.
    pub(crate) async fn crash_and_start(self, sender: FakeSender) -> Self {
        self.faults.fail();
        self.ops.end_captures();
        self.supervisor.abort();
        let again = Self::start_with(Arc::clone(&self.dir), self.config.clone(), sender).await;
        // The old one may do what it likes: it stores nothing.
        std::mem::forget(self);
        again
    }

    /// The server is killed: what is not stored at this moment never will be.
    pub(crate) fn die(self) {
        self.faults.fail();
        self.ops.end_captures();
        self.supervisor.abort();
        // It may do what it likes: it stores nothing, and renews nothing.
        std::mem::forget(self);
    }

    pub(crate) async fn fill(&self) {
        for host in 1..=2 {
            self.add_host(host).await;
        }
        self.add_image("lab image", "img").await;
        self.add_image("other image", "other").await;
    }

    pub(crate) async fn add_host(&self, host: u8) {
        let mac: fog::Mac = mac(host).parse().unwrap();
        let new = NewHost {
            name: name(host).parse().unwrap(),
            macs: vec![StationMac::try_from(mac).unwrap()],
            image: None,
            device: String::new(),
        };
        self.ops.add_host(new).await.unwrap();
    }

    async fn add_image(&self, name: &str, path: &str) {
        let root = self.config.images.clone();
        let dir = path.to_owned();
        let (inspection, files) = tokio::task::spawn_blocking(move || inspect(&root, &dir))
            .await
            .unwrap();
        let (format, streams) = inspection;
        let image = NewImage {
            name: name.parse().unwrap(),
            path: path.to_owned(),
            image_type: ImageType::SingleDisk,
            os_id: 50,
            format,
        };
        let facts = Facts {
            checked_at: clock::now(),
            is_verified: true,
            settings: Some(ImageSettings {
                path: image.path.clone(),
                image_type: image.image_type,
                os_id: image.os_id,
                format,
            }),
            files,
            streams,
        };
        self.ops.add_image(image, facts).await.unwrap();
    }

    /// A session for the hosts with these numbers.
    pub(crate) async fn deploy(&self, hosts: &[u8]) -> SessionId {
        self.deploy_image("lab image", hosts, None).await.session
    }

    pub(crate) async fn deploy_image(
        &self,
        image: &str,
        hosts: &[u8],
        max_wait: Option<Duration>,
    ) -> Deployed {
        let wanted = DeployRequest {
            image: image.to_owned(),
            hosts: hosts.iter().map(|host| name(*host)).collect(),
            name: None,
            max_wait,
            is_shutdown: false,
            is_debug: false,
            is_woken: false,
            expected: 0,
            follow_ups: None,
        };
        self.ops.deploy(&wanted).await.unwrap()
    }

    fn router(&self, from: Ipv4Addr) -> Router {
        let client = SocketAddr::from((IpAddr::V4(from), 40_000));
        http::router(Arc::clone(&self.ops)).layer(MockConnectInfo(client))
    }

    pub(crate) async fn request(&self, from: Ipv4Addr, request: Request<Body>) -> Response<Body> {
        let request = http::normalise(request);
        self.router(from).oneshot(request).await.unwrap()
    }

    /// Posts a form body as it is.
    pub(crate) async fn send(
        &self,
        from: Ipv4Addr,
        path: &str,
        body: impl Into<String>,
    ) -> (StatusCode, String) {
        let request = Request::post(format!("/fog/service/{path}"))
            .body(Body::from(body.into()))
            .unwrap();
        let response = self.request(from, request).await;
        (response.status(), text(response).await)
    }

    /// Posts a form body as it is; the answer must have status 200.
    #[track_caller]
    pub(crate) fn post<'a>(
        &'a self,
        from: Ipv4Addr,
        path: &'a str,
        body: impl Into<String>,
    ) -> impl Future<Output = String> + 'a {
        let body = body.into();
        async move {
            let (status, text) = self.send(from, path, body).await;
            assert_eq!(status, StatusCode::OK, "{text}");
            text
        }
    }

    pub(crate) async fn get(&self, from: Ipv4Addr, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.request(from, request).await;
        (response.status(), text(response).await)
    }

    /// One of our agents checks in from the address of its host.
    pub(crate) async fn check_in(&self, host: u8) -> String {
        self.check_in_from(ip(host), host).await
    }

    /// One of our agents checks in.
    pub(crate) async fn check_in_from(&self, from: Ipv4Addr, host: u8) -> String {
        let body = format!(
            "sysuuid=x&mac={}&type=down&agent=fos-agent/0.1.0",
            mac(host)
        );
        self.post(from, "mc_checkin.php", body).await
    }

    /// A stock client checks in.
    pub(crate) async fn check_in_stock(&self, host: u8) -> String {
        let body = format!("sysuuid=&mac={}&type=down", mac(host));
        self.post(ip(host), "mc_checkin.php", body).await
    }

    /// A host reports its end.
    pub(crate) async fn complete(&self, host: u8) -> String {
        self.complete_from(ip(host), host).await
    }

    /// Somebody reports the end of a host.
    pub(crate) async fn complete_from(&self, from: Ipv4Addr, host: u8) -> String {
        let body = format!("sysuuid=x&mac={}&type=down", mac(host));
        self.post(from, "Post_Stage3.php", body).await
    }

    /// A host reports a failure.
    pub(crate) async fn fail(&self, host: u8, text: &str) -> String {
        self.fail_from(ip(host), host, text).await
    }

    /// Somebody reports a failure of a host.
    pub(crate) async fn fail_from(&self, from: Ipv4Addr, host: u8, text: &str) -> String {
        let body = format!("mac={}&type=error&text={text}", mac(host));
        self.post(from, "taskerror.php", body).await
    }

    /// Boots a machine from the network; answers the script.
    pub(crate) async fn boot(&self, host: u8) -> String {
        let body = format!("mac0={}&arch=x86_64", mac(host));
        self.post(ip(host), "ipxe/boot.php", body).await
    }

    /// What a host sees of its session.
    pub(crate) async fn view(&self, host: u8) -> SessionView {
        let path = format!("/fog/service/fos/session?mac={}", mac(host));
        let (status, text) = self.get(ip(host), &path).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// What people see.
    pub(crate) async fn status(&self, session: Option<SessionId>) -> ServerStatus {
        let session = session.map(|id| id.0);
        self.ops.status(session).await.unwrap()
    }

    /// Waits until the sender was given an order.
    pub(crate) async fn ordered(&self, order: &Order) {
        wait_for(&format!("{order:?}"), async || {
            self.sender.orders().contains(order).then_some(())
        })
        .await;
    }

    fn starts(&self) -> usize {
        let orders = self.sender.orders().into_iter();
        orders.filter(|order| *order == Order::Start).count()
    }

    /// Joins all and waits until the present stream is told to start.
    pub(crate) async fn start_stream(&self, index: usize, to: &[u8]) {
        self.ordered(&Order::Open(index)).await;
        let before = self.starts();
        for host in to {
            self.sender.tell(SenderEvent::Joined(ip(*host)));
        }
        wait_for("the start of the stream", async || {
            (self.starts() > before).then_some(())
        })
        .await;
        self.sender.tell(SenderEvent::Started);
    }

    /// Ends the present stream: these have everything.
    pub(crate) fn end_stream(&self, to: &[u8]) {
        let done = to.iter().map(|host| (ip(*host), StreamOutcome::Completed));
        self.sender.tell(SenderEvent::Ended(done.collect()));
    }

    /// Sends the present stream to the hosts: joins, start, bytes, end.
    pub(crate) async fn send_stream(&self, index: usize, to: &[u8]) -> Vec<u8> {
        self.start_stream(index, to).await;
        let bytes = self.sender.bytes().await.unwrap();
        self.end_stream(to);
        bytes
    }

    /// Waits until a session that runs is as wanted.
    pub(crate) async fn until(&self, id: SessionId, is_so: impl Fn(&Live) -> bool) {
        wait_for("a state of the session", async || {
            let handle = self.ops.sessions().running(id)?;
            is_so(&handle.live()).then_some(())
        })
        .await;
    }

    /// What is stored of a session.
    pub(crate) async fn session(&self, id: SessionId) -> Session {
        self.store.session(id).await.unwrap().unwrap()
    }

    /// What is stored of a host's part in a session.
    pub(crate) async fn member(&self, id: SessionId, host: u8) -> Member {
        let mut members = self.session(id).await.members.into_iter();
        members.find(|member| member.name == name(host)).unwrap()
    }

    /// What is stored of the events of a session.
    pub(crate) async fn events(&self, id: SessionId) -> Vec<Event> {
        self.store.events(id, 0, 100_000).await.unwrap()
    }

    /// Waits until the session is over, and answers what is stored.
    pub(crate) async fn ended(&self, id: SessionId) -> Session {
        wait_for("the end of the session", async || {
            let session = self.session(id).await;
            let is_over = !session.state.is_active() && self.ops.sessions().running(id).is_none();
            is_over.then_some(session)
        })
        .await
    }

    /// Where the logs are, as text; the log's thread may be behind.
    pub(crate) fn log_of(&self, id: SessionId) -> PathBuf {
        let name = format!("multicast.log.udpcast.{id}");
        self.config.log_dir().join(name)
    }

    async fn connection(&self) -> sqlx::SqliteConnection {
        let file = self.config.data.join("fos.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
        sqlx::SqliteConnection::connect_with(&options)
            .await
            .unwrap()
    }

    /// Another program changes the database.
    pub(crate) async fn sql(&self, statement: &str) {
        let mut connection = self.connection().await;
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    /// What another program reads.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let mut connection = self.connection().await;

        let found = sqlx::query_scalar(query)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        found
    }

    /// What another program reads.
    pub(crate) async fn words(&self, query: &str) -> Vec<String> {
        let mut connection = self.connection().await;

        let found = sqlx::query_scalar(query)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        found
    }
}

type Inspected = (
    (u8, Vec<fos_api::StreamFacts>),
    Vec<crate::domain::image::StoredFile>,
);

fn inspect(root: &Path, path: &str) -> Inspected {
    let listing = imagestore::scan(root, path, ImageType::SingleDisk, 50).unwrap();
    let inspection = imagestore::inspect(&listing, true, &mut |_, _, _| {}).unwrap();
    ((inspection.format, inspection.streams), inspection.files)
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24)
        .await
        .unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}
