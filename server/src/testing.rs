//! A server without network for tests: database in memory, images in a directory, a sender that
//! is played by the test.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::MockConnectInfo;
use axum::http::{Request, Response, StatusCode};
use fog::task::ImageType;
use tower::ServiceExt as _;

use crate::clock::Timestamp;
use crate::config::{Config, StreamRecords, Timing};
use crate::http::{self, App};
use crate::imagestore;
use crate::logs::MulticastLog;
use crate::session::core::StreamOutcome;
use crate::session::transmit::{
    Events, Job, SharedCounters, Transmission, TransmitEvent, Transmitter,
};
use crate::session::{Sessions, Surroundings};
use crate::store::hosts::NewHost;
use crate::store::images::{Facts, NewImage};
use crate::store::sessions::NewSession;
use crate::store::{
    HostId, ImageId, SessionId, Store, hosts, images, session_hosts, sessions, tasks,
};

/// A server and everything around it.
pub(crate) struct Bench {
    pub(crate) app: App,
    pub(crate) sender: FakeSender,
    _dir: tempfile::TempDir,
}

/// What the session did to its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Open(usize),
    Start,
    Remove(Ipv4Addr),
    Stop,
}

/// A sender that does nothing but remember.
#[derive(Clone, Default)]
pub(crate) struct FakeSender(Arc<Mutex<Inner>>, Arc<AtomicBool>);

#[derive(Default)]
struct Inner {
    orders: Vec<Order>,
    admitted: Vec<Ipv4Addr>,
    open: Option<(Job, Events)>,
}

impl Transmitter for FakeSender {
    fn open(
        &self,
        job: Job,
        events: Events,
        _counters: SharedCounters,
    ) -> anyhow::Result<Box<dyn Transmission>> {
        assert!(!self.1.load(Ordering::SeqCst), "of purpose");
        let mut inner = self.0.lock().unwrap();
        inner.orders.push(Order::Open(job.index));
        inner.admitted.clone_from(&job.admitted);
        inner.open = Some((job, events));
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

    fn stop(&self) {
        self.0.lock().unwrap().orders.push(Order::Stop);
    }
}

impl FakeSender {
    /// From now on the driver of a session that opens a stream panics.
    pub(crate) fn panic_at_open(&self) {
        self.1.store(true, Ordering::SeqCst);
    }

    pub(crate) fn admitted(&self) -> Vec<Ipv4Addr> {
        self.0.lock().unwrap().admitted.clone()
    }

    pub(crate) fn orders(&self) -> Vec<Order> {
        self.0.lock().unwrap().orders.clone()
    }

    /// Tells the session something as the sender of its present stream.
    pub(crate) fn tell(&self, event: TransmitEvent) {
        let inner = self.0.lock().unwrap();
        let (job, events) = inner.open.as_ref().expect("a stream is open");
        events.try_tell(job.index, event);
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

/// Two hosts LAB-01 and LAB-02, an image of two partitions.
pub(crate) async fn bench() -> Bench {
    bench_with(StreamRecords::Auto).await
}

pub(crate) async fn bench_with(stream_records: StreamRecords) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::in_memory().await.unwrap();
    let config = Arc::new(Config {
        data: dir.path().join("data"),
        images: dir.path().join("images"),
        boot: dir.path().join("boot"),
        listen: SocketAddr::from(([0, 0, 0, 0], 80)),
        address: Some(Ipv4Addr::LOCALHOST),
        interface: None,
        stream_records,
        max_bitrate: None,
        kernel_args: "console=ttyS0".into(),
        timing: Timing::default(),
    });
    std::fs::create_dir(&config.boot).unwrap();
    std::fs::write(config.boot.join("bzImage"), b"kernel").unwrap();
    std::fs::write(config.boot.join("init.xz"), b"initramfs").unwrap();
    write_image(&config.images.join("img"));
    let log = MulticastLog::new(&config.log_dir()).unwrap();
    let sender = FakeSender::default();
    let sessions = Sessions::new(Surroundings {
        store: store.clone(),
        config: Arc::clone(&config),
        transmitter: Arc::new(sender.clone()),
        log: log.clone(),
    });
    let bench = Bench {
        app: App {
            store,
            config,
            sessions,
            log,
        },
        sender,
        _dir: dir,
    };
    bench.fill().await;
    bench
}

/// An image directory with two small but real partition images.
pub(crate) fn write_image(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    for (name, seed) in [("d1p1.img", 1), ("d1p2.img", 2)] {
        let used = (0..64).map(|block| block % 3 != 0).collect();
        let image = image::writer::Recipe::v2(512, used).write(|block| {
            let byte = u8::try_from((block * 7 + seed) % 251).unwrap();
            vec![byte; 512]
        });
        std::fs::write(dir.join(name), zstd::encode_all(&image[..], 3).unwrap()).unwrap();
    }
    std::fs::write(dir.join("d1.mbr"), vec![0x55; 1024]).unwrap();
    std::fs::write(dir.join("d1.partitions"), imagedir_dump()).unwrap();
}

fn imagedir_dump() -> &'static str {
    "label: gpt\n/dev/sda1 : start= 2048, size= 64\n/dev/sda2 : start= 4096, size= 64\n"
}

pub(crate) fn ip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host)
}

pub(crate) fn mac(host: u8) -> String {
    format!("00:1b:21:00:00:{host:02x}")
}

impl Bench {
    async fn fill(&self) {
        let mut conn = self.app.store.begin().await.unwrap();
        for host in 1..=2 {
            let new = NewHost {
                name: &format!("LAB-{host:02}"),
                macs: &[mac(host).parse().unwrap()],
                image: None,
                device: "",
            };
            hosts::add(&mut conn, Timestamp::now(), &new).await.unwrap();
        }
        let root = &self.app.config.images;
        let listing = imagestore::scan(root, "img", ImageType::SingleDisk, 50).unwrap();
        let inspection = imagestore::inspect(&listing, true, &mut |_, _, _| {}).unwrap();
        let facts = Facts {
            checked_at: Timestamp::now(),
            is_verified: true,
            files: inspection.files,
            streams: inspection.streams,
        };
        let image = NewImage {
            name: "lab image",
            path: "img",
            image_type: ImageType::SingleDisk,
            os_id: 50,
            format: inspection.format,
        };
        images::add(&mut conn, &image, &facts).await.unwrap();
        conn.commit().await.unwrap();
    }

    /// A session for the hosts with these numbers.
    pub(crate) async fn deploy(&self, members: &[i64]) -> SessionId {
        let now = Timestamp::now();
        let mut conn = self.app.store.begin().await.unwrap();
        let mut task_ids = Vec::new();
        for host in members {
            let (host, image) = (HostId(*host), ImageId(1));
            let task = tasks::add_multicast(&mut conn, now, "t", host, image, false).await;
            task_ids.push(task.unwrap());
        }
        let session = NewSession {
            name: "lab",
            port: sessions::free_port(&mut conn).await.unwrap(),
            image: ImageId(1),
            path: "img",
            image_type: ImageType::SingleDisk,
            max_wait_seconds: 600,
            is_shutdown: false,
        };
        let id = sessions::add(&mut conn, now, &session, &task_ids)
            .await
            .unwrap();
        for (host, task) in members.iter().zip(task_ids) {
            let name = format!("LAB-{host:02}");
            session_hosts::add(&mut conn, id, HostId(*host), task, &name)
                .await
                .unwrap();
        }
        conn.commit().await.unwrap();
        id
    }

    fn router(&self, from: Ipv4Addr) -> Router {
        let client = SocketAddr::from((IpAddr::V4(from), 40_000));
        http::router(self.app.clone()).layer(MockConnectInfo(client))
    }

    pub(crate) async fn request(&self, from: Ipv4Addr, request: Request<Body>) -> Response<Body> {
        let request = http::normalise(request);
        self.router(from).oneshot(request).await.unwrap()
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
            let request = Request::post(format!("/fog/service/{path}"))
                .body(Body::from(body))
                .unwrap();
            let response = self.request(from, request).await;
            assert_eq!(response.status(), StatusCode::OK);
            text(response).await
        }
    }

    pub(crate) async fn get(&self, from: Ipv4Addr, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.request(from, request).await;
        (response.status(), text(response).await)
    }

    /// A host checks in from its address.
    pub(crate) async fn check_in(&self, host: u8) -> String {
        let body = format!(
            "sysuuid=x&mac={}&type=down&agent=fos-agent/0.1.0",
            mac(host)
        );
        self.post(ip(host), "mc_checkin.php", body).await
    }

    /// A host reports its end.
    pub(crate) async fn complete(&self, host: u8) -> String {
        let body = format!("sysuuid=x&mac={}&type=down", mac(host));
        self.post(ip(host), "Post_Stage3.php", body).await
    }

    /// Waits until the sender was given an order.
    pub(crate) async fn ordered(&self, order: &Order) {
        let wait = async {
            while !self.sender.orders().contains(order) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, wait).await;
        assert!(
            waited.is_ok(),
            "{order:?} was not ordered: {:?}",
            self.sender.orders()
        );
    }

    /// Sends the present stream to the hosts: joins, start, bytes, end.
    pub(crate) async fn send_stream(&self, index: usize, to: &[u8]) -> Vec<u8> {
        self.ordered(&Order::Open(index)).await;
        let starts = || {
            self.sender
                .orders()
                .iter()
                .filter(|o| **o == Order::Start)
                .count()
        };
        let before = starts();
        for host in to {
            self.sender.tell(TransmitEvent::Joined(ip(*host)));
        }
        let wait = async {
            while starts() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait)
            .await
            .expect("the stream starts");
        self.sender.tell(TransmitEvent::Started);
        let bytes = self.sender.bytes().await.unwrap();
        let done = to.iter().map(|host| (ip(*host), StreamOutcome::Completed));
        self.sender.tell(TransmitEvent::Ended(done.collect()));
        bytes
    }

    /// Waits until the session is over and answers its state and result.
    pub(crate) async fn ended(&self, id: SessionId) -> sessions::Session {
        let wait = async {
            loop {
                let mut conn = self.app.store.conn().await.unwrap();
                let session = sessions::by_id(&mut conn, id).await.unwrap().unwrap();
                drop(conn);
                if !session.state.is_active() {
                    return session;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait)
            .await
            .expect("the session ends")
    }
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24)
        .await
        .unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}
