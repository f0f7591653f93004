//! `serve`.

use std::collections::HashMap;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cast_net::Interface;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;
use tower::util::MapRequestLayer;

use super::Places;
use super::client::{self, LOCK_RETRY, LOCK_WAIT, Lock};
use super::rival;
use crate::clock;
use crate::config::{
    Bitrate, Config, DebugPassword, Origin, Registration, Slow, StreamRecords, Timing,
};
use crate::domain::multicast::{BASE_EXPECTED, Duplex, MOST_SESSIONS, is_base};
use crate::domain::node::NodeName;
use crate::domain::ports::{PortList, PortPool};
use crate::http;
use crate::http::listener::{self, Connections, Limits, LocalSocket};
use crate::https::{self, Https, Identity, Source};
use crate::keys;
use crate::logs::{self, MulticastLog, Subject};
use crate::machine;
use crate::notify::{self, Notifier};
use crate::ops::Ops;
use crate::proxy_dhcp::ProxyDhcp;
use crate::runfile::RunFile;
use crate::sender::udpcast::Udpcast;
use crate::served::Served;
use crate::session::{Sessions, Surroundings};

/// Runs until SIGTERM or SIGINT; a second one ends it at once.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Address and port of the HTTP server
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:80")]
    listen: SocketAddr,
    /// Address and port of HTTPS, usually 0.0.0.0:443; HTTP stays, as boot loaders and FOG's clients need it
    /// [default: no HTTPS]
    #[arg(long, value_name = "IP:PORT")]
    https_listen: Option<SocketAddr>,
    /// Certificate for HTTPS in PEM, with those between it and its authority; taken again when it was renewed
    /// [default: one that the server makes for itself, in DATA/https]
    #[arg(long, value_name = "FILE")]
    https_certificate: Option<PathBuf>,
    /// Its key in PEM, without a password; the server's user has to be able to read it
    #[arg(long, value_name = "FILE")]
    https_key: Option<PathBuf>,
    /// Names and addresses by which people open the page, separated by commas: in the server's own certificate, and
    /// looked for in one that is given
    #[arg(long, value_name = "NAMES")]
    https_names: Option<Names>,
    /// Lead clients to HTTPS: boot scripts name it, with the hash of the server's key, which fos-agent compares. FOG's
    /// clients speak HTTPS, too, and check nothing
    #[arg(long)]
    https_clients: bool,
    /// Lead people and programs that open the page or the API by HTTP to HTTPS, and take nothing from them by HTTP
    #[arg(long)]
    https_only: bool,
    /// Own address as clients know it [default: that of --listen, else the one from which packets
    /// reach each client]
    #[arg(long, value_name = "IP")]
    address: Option<Ipv4Addr>,
    /// Network interface for multicast [default: the one of --address, or the route to the client]
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Directory with the kernel (bzImage) and the initramfs (init.xz) [default: DATA/boot]
    #[arg(long, value_name = "DIR")]
    boot: Option<PathBuf>,
    /// Directory of the logs [default: DATA/log]. FOG's Log Viewer shows them if it is /opt/fog/log
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// Answer the boot questions of PCs beside the DHCP server of the network, by a dnsmasq that is a child of this
    /// server; needs --interface, and the packages dnsmasq-base and ipxe
    #[arg(long)]
    proxy_dhcp: bool,
    /// Begin each stream with a record that names it: auto does so if all clients are fos-agents
    #[arg(long, value_enum, default_value_t)]
    stream_records: StreamRecords,
    /// Limit of each session in bits per second, for example 900m
    #[arg(long, value_name = "RATE")]
    max_bitrate: Option<Bitrate>,
    /// What becomes of a host whose path is much slower than that of the others, as behind a port of
    /// 100 Mbit/s: wait: all receive at its pace; leave: it fails after the others have waited a second
    /// for it, and is deployed again by itself
    #[arg(long, value_enum, default_value_t, value_name = "POLICY")]
    slow: Slow,
    /// Further kernel arguments for every client, for example console=ttyS0
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        allow_hyphen_values = true
    )]
    kernel_args: String,
    /// A file with a password: machines without a task, also unregistered ones, then offer a root shell for it while
    /// they boot (the key d). It does not travel: iPXE proves that it was typed
    #[arg(long, value_name = "FILE")]
    debug_menu: Option<PathBuf>,
    /// What becomes of an unregistered machine at which somebody presses r while it boots: pending: it waits until it is
    /// accepted (host accept, or the page); accept: it is registered at once, whoever stands there; off: there is no
    /// such key
    #[arg(long, value_enum, default_value_t, value_name = "POLICY")]
    registration: Registration,
    /// Seconds that a client may take after its last sign to report its end
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
        value_parser = super::number::<u64>)]
    grace: u64,
    /// Seconds of silence after which a receiver is dropped from a running stream, while others
    /// answer [default: 15 if all clients are fos-agents, else 60]
    #[arg(long, value_name = "SECONDS", value_parser = super::number::<u64>)]
    drop_after: Option<u64>,
    /// Seconds that a stream may stand still until the receivers that hold it up are dropped, even
    /// if they answer, or the session fails; at least 120
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
        value_parser = stall_limit)]
    stall_limit: u64,
    /// Seconds that the disk of one receiver may stand still while all others wait for it, though it
    /// answers; then it is dropped. A disk that writes its cache takes nothing meanwhile, and fails with
    /// too few. The end of a stream is not counted. 0: as long as --stall-limit
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
        value_parser = super::number::<u64>)]
    disk_limit: u64,
    /// UDP ports of the sessions, a pair each, for example 63100-63227 [default: FOG's settings, 64
    /// pairs from 63100 on]
    #[arg(long, value_name = "FIRST-LAST")]
    ports: Option<PortPool>,
    /// Base ports of the sessions in their place, even ones with commas between them, for example 50000,50010
    /// [default: FOG's setting FOG_MULTICAST_PORT_OVERRIDE]
    #[arg(long, value_name = "PORTS", conflicts_with = "ports")]
    port_override: Option<PortList>,
    /// Sessions that may be active at a time, 0 for any number [default: FOG's setting FOG_MULTICAST_MAX_SESSIONS, 64]
    #[arg(long, value_name = "N", value_parser = max_sessions)]
    max_sessions: Option<u32>,
    /// Seconds, or minutes with an m, that a session waits for missing hosts after the first has connected, unless
    /// deploy --max-wait says otherwise [default: FOG's setting FOG_UDPCAST_MAXWAIT, 10 minutes]
    #[arg(long, value_name = "SECONDS", value_parser = super::wait_seconds)]
    max_wait: Option<u64>,
    /// The multicast groups of the sessions are behind this one, for example 239.1.1.0: that of a session is as many
    /// further as its port is in their pool [default: FOG's setting FOG_MULTICAST_ADDRESS, else one that follows from
    /// the address of the card]
    #[arg(long, value_name = "IP", value_parser = group)]
    multicast_address: Option<Ipv4Addr>,
    /// full: a part of the stream is sent while the one before is acknowledged; half: one after the other, for hubs and
    /// cards that cannot send while they receive [default: FOG's setting FOG_MULTICAST_DUPLEX, full]
    #[arg(long, value_enum)]
    duplex: Option<Duplex>,
    /// A terminal of this machine that shows the sessions, for example /dev/tty10
    #[arg(long, value_name = "DEVICE")]
    tty: Option<PathBuf>,
    /// What this server is called among several with one MariaDB [default: name of the machine]
    #[arg(long, value_name = "NAME")]
    node: Option<NodeName>,
    /// Hosts that a storage node serves at a time which are deployed alone (deploy --unicast); more wait in line
    /// [default: the node's setting "max clients" in the database, else 10]
    #[arg(long, value_name = "N", value_parser = slots)]
    slots: Option<u32>,
    /// Former versions of each image that are kept when a capture takes its place; each is as large as the image was. The
    /// oldest go first (image versions, image revert)
    #[arg(long, value_name = "N", default_value_t = Config::IMAGE_VERSIONS, value_parser = super::number::<usize>)]
    image_versions: usize,
    /// Most that former versions of one image may have together, in GB [default: any size]. The oldest go first, also the
    /// last one if it is larger
    #[arg(long, value_name = "GB", value_parser = super::number::<u64>)]
    image_versions_size: Option<u64>,
    /// Hours that what has arrived of a captured image is kept after its client was heard last
    #[arg(long, value_name = "HOURS", default_value_t = Config::CAPTURE_KEEP.as_secs() / 3600,
        value_parser = keep_hours)]
    capture_keep: u64,
    /// Hosts that come late to a multicast session, are left behind or dropped, are deployed once more when it has
    /// ended, all of them together: at most so many times for one deploy (deploy --follow-ups says otherwise). 0: a
    /// person deploys them again
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::follow_ups)]
    follow_ups: u32,
    /// Where other servers with the same MariaDB reach this one, to copy images [default: that of --listen, if it names
    /// an address]. Not an address that moves from one server to another
    #[arg(long, value_name = "IP:PORT")]
    peer_address: Option<SocketAddr>,
    /// Copy images that are missing here from other servers with the same MariaDB, by itself
    #[arg(long)]
    replicate: bool,
    /// Limit of such a copy in bits per second, for example 200m
    #[arg(long, value_name = "RATE")]
    replicate_rate: Option<Bitrate>,
    #[command(flatten)]
    limits: Limits,
}

impl Serve {
    pub(super) async fn run(mut self, places: &Places) -> anyhow::Result<bool> {
        let _stderr = logs::init_stderr().context("starting the log")?;
        let _lock = lock(places).await?;
        let node = self.node.clone().unwrap_or_else(machine::node_name);
        let store = places.store_of(None, &node).await?;
        let files =
            listener::raise_file_limit(&mut self.limits).context("raising the file limit")?;
        let mut config = self.config(places, places.root_of(&*store).await?);
        let rivals = match store.is_shared_with_fog() {
            true => {
                let log = store.manager_log().await?;
                let rivals = rival::Places::new(log, &config.log_dir());
                rival::check(&rivals).await?;
                Some(rivals)
            }
            false => None,
        };
        let password = self.debug_menu.as_deref().map(DebugPassword::read);
        config.debug_password = password.transpose()?;
        config.https = self.https(&places.data)?;
        // Here at first start, so that boot images can have its public half.
        if let Err(error) = keys::server_key(&places.data) {
            tracing::warn!(
                "server: packs cannot be signed: {}",
                readable::chain(error.as_ref())
            );
        }
        let log = MulticastLog::of(&config).with_context(|| {
            format!("creating the log directory {}", config.log_dir().display())
        })?;
        let listener = bind(config.listen, "--listen").await?;
        let door = match &mut config.https {
            Some(https) => Some(Door::open(https).await?),
            None => None,
        };
        // Where there are several servers the address may be another one's now.
        let network = match (check_network(&config), places.stored_in()?) {
            (Err(error), Some(_)) => Some(readable::chain(error.as_ref())),
            (found, _) => found?,
        };
        // Port 0 asks for any free one.
        config.listen = listener.local_addr()?;
        let proxy = match self.proxy_dhcp {
            true => Some(proxy_dhcp(&config)?),
            false => None,
        };
        // From here on there is something to remove at the end.
        let mut signals = Signals::new()?;
        let socket = LocalSocket::bind(&places.socket())
            .with_context(|| format!("making the socket {}", places.socket().display()))?;
        let config = Arc::new(config);
        let sessions = Sessions::new(Surroundings {
            store: Arc::clone(&store),
            config: Arc::clone(&config),
            sender: Arc::new(Udpcast::default()),
            log: log.clone(),
        });
        let ops = tokio::select! {
            ops = Ops::new(Arc::clone(&sessions)) => ops?,
            // The database may hang.
            () = signals.next() => return Ok(true),
        };
        Served::write(&config, places.stored_in()?)?;
        let run_file = RunFile::write(&config.data, &local_url(&config))?;
        let now = clock::now();
        log.service(
            now,
            &format!(
                "fos-server {} serves {} on {}",
                env!("CARGO_PKG_VERSION"),
                config.images.display(),
                config.listen
            ),
        );
        log.service(
            now,
            &format!("at most {} connections", self.limits.connections),
        );
        if let Some(https) = &config.https {
            let key = https.identity.hash();
            let key = key.map_or_else(String::new, |hash| hash.to_string());
            let text = format!("HTTPS on {}; the SHA-256 of its key is {key}", https.listen);
            log.service(now, &text);
        }
        if files.connections_less > 0 {
            let text = format!(
                "{} connections less than wanted, as only {} files may be open (ulimit -n)",
                files.connections_less, files.files
            );
            log.warn(now, &Subject::Server, &text);
        }
        if let Some(text) = network {
            log.warn(now, &Subject::Server, &text);
        }
        let rival = rivals.map(|rivals| {
            let (sessions, log) = (Arc::clone(&sessions), log.clone());
            let tell = move |found: Option<String>| {
                let line = found.clone().unwrap_or_else(|| {
                    "FOG's own multicast manager is gone; sessions are begun again".to_owned()
                });
                log.warn(clock::now(), &Subject::Server, &line);
                sessions.hold(found);
            };
            let watch = rival::watch(rivals, rival::PERIOD, tell);
            tokio::spawn(watch).abort_handle()
        });
        offer_setup(&ops).await;
        // A disk that hangs keeps nobody from being served.
        let look = look_for_places(Arc::clone(&config), log.clone());
        let look = tokio::spawn(look).abort_handle();
        let tty = self.tty.take();
        let tty = tty.map(|device| tokio::spawn(crate::tty::show(Arc::clone(&ops), device)));
        let limits = self.limits.ending_within(GRACE);
        if limits != self.limits {
            let text = format!(
                "--http-shutdown-grace is more than the server's end may take; it is {} s",
                limits.shutdown_grace.as_secs()
            );
            log.warn(now, &Subject::Server, &text);
        }
        let notifier = Arc::new(Notifier::from_environment());
        let watch = notify::watchdog_period().map(|period| {
            let (notifier, socket) = (Arc::clone(&notifier), places.socket());
            tokio::spawn(async move { notify::watch(&notifier, socket, period).await })
        });
        let proxy = proxy.map(|proxy| tokio::spawn(async move { proxy.run().await }));
        notifier.ready(&format!("the page is at {}", page_url(&config)));
        let doors = (listener, door, socket);
        let served = serve(doors, &ops, limits, signals, &notifier).await;
        for beside in [watch, proxy].into_iter().flatten() {
            beside.abort();
            drop(beside.await);
        }
        look.abort();
        if let Some(tty) = tty {
            tty.abort();
        }
        if let Some(rival) = rival {
            rival.abort();
        }
        drop(run_file);
        log.service(clock::now(), "fos-server ends");
        if tokio::time::timeout(STORE_GRACE, store.close())
            .await
            .is_err()
        {
            tracing::error!("server: the database does not end; leaving it");
        }
        log.close(LOG_GRACE);
        served?;
        Ok(true)
    }

    pub(super) fn config(&self, places: &Places, images: PathBuf) -> Config {
        let mut timing = Timing {
            grace: Duration::from_secs(self.grace),
            stall_limit: Duration::from_secs(self.stall_limit),
            disk_limit: Duration::from_secs(self.disk_limit),
            ..Timing::default()
        };
        if let Some(seconds) = self.drop_after {
            timing.drop_agents = Duration::from_secs(seconds);
            timing.drop_others = Duration::from_secs(seconds);
        }
        let boot = self.boot.clone();
        Config {
            boot: boot.unwrap_or_else(|| places.data.join("boot")),
            log: self.log.clone(),
            listen: self.listen,
            // What does not go together is refused when the server starts.
            https: self.https(&places.data).unwrap_or_default(),
            address: self.address,
            interface: self.interface.clone(),
            stream_records: self.stream_records,
            max_bitrate: self.max_bitrate.map(|rate| rate.0),
            slow: self.slow,
            kernel_args: self.kernel_args.clone(),
            ports: self.ports,
            port_override: self
                .port_override
                .clone()
                .map_or_else(Vec::new, |list| list.0),
            max_sessions: self.max_sessions,
            max_wait: self.max_wait.map(Duration::from_secs),
            multicast_address: self.multicast_address,
            duplex: self.duplex,
            slots: self.slots,
            image_versions: self.image_versions,
            image_versions_size: self
                .image_versions_size
                .map(|size| size.saturating_mul(1_000_000_000)),
            capture_keep: Duration::from_secs(self.capture_keep * 3600),
            follow_ups: self.follow_ups,
            peer_address: self.peer_address,
            replicate: self.replicate,
            replicate_rate: self.replicate_rate.map(|rate| rate.0),
            registration: self.registration,
            timing,
            origin: Origin::Running,
            ..Config::idle(&places.data, images)
        }
    }
}

impl Serve {
    fn https(&self, data: &Path) -> anyhow::Result<Option<Https>> {
        let given = (&self.https_certificate, &self.https_key);
        let Some(listen) = self.https_listen else {
            let is_told = given != (&None, &None) || self.https_clients || self.https_only;
            if is_told || self.https_names.is_some() {
                bail!("HTTPS is served with --https-listen alone, for example 0.0.0.0:443");
            }
            return Ok(None);
        };
        let source = match given {
            (Some(certificate), Some(key)) => Source::Given {
                certificate: std::path::absolute(certificate)?,
                key: std::path::absolute(key)?,
            },
            (None, None) => Source::Own {
                directory: std::path::absolute(data)?.join("https"),
            },
            (Some(_), None) => {
                bail!("--https-certificate needs --https-key, the key of that certificate")
            }
            (None, Some(_)) => {
                bail!("--https-key needs --https-certificate, the certificate of that key")
            }
        };
        let mut names = self.https_names.clone().unwrap_or_default().0;
        if let Source::Own { .. } = source {
            names.extend(self.address.map(|address| address.to_string()));
            let heard = [listen.ip(), self.listen.ip()];
            let heard = heard.iter().filter(|ip| !ip.is_unspecified());
            names.extend(heard.map(ToString::to_string));
        }
        Ok(Some(Https {
            listen,
            is_for_clients: self.https_clients,
            is_for_people: self.https_only,
            identity: Arc::new(Identity::new(source, names)),
        }))
    }
}

/// Names and addresses of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names(Vec<String>);

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim);
        let names = names.map(|name| match ServerName::try_from(name) {
            Ok(_) => Ok(name.to_owned()),
            Err(_) => Err(format!(
                "expected names and addresses separated by commas; {:?} is none of them",
                fog::encoding::printable(name, 100)
            )),
        });
        names.collect::<Result<_, _>>().map(Self)
    }
}

/// Where HTTPS comes in.
struct Door {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    identity: Arc<Identity>,
}

impl Door {
    async fn open(https: &mut Https) -> anyhow::Result<Self> {
        let identity = Arc::clone(&https.identity);
        let loaded = tokio::task::spawn_blocking(move || identity.load());
        loaded.await??;
        let listener = bind(https.listen, "--https-listen").await?;
        // Port 0 asks for any free one.
        https.listen = listener.local_addr()?;
        let identity = Arc::clone(&https.identity);
        Ok(Self {
            listener,
            tls: https::server_config(&identity)?,
            identity,
        })
    }
}

async fn bind(listen: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(listen).await;
    listener.map_err(|error| not_bound(listen, option, error))
}

fn keep_hours(text: &str) -> Result<u64, String> {
    let hours = super::number::<u64>(text).ok();
    let hours = hours.filter(|hours| (1..=8760).contains(hours));
    hours.ok_or_else(|| "expected a number of hours, 1 to 8760".to_owned())
}

fn slots(text: &str) -> Result<u32, String> {
    let slots = super::number::<u32>(text).ok();
    let slots = slots.filter(|slots| *slots > 0);
    slots.ok_or_else(|| "expected a number of hosts, at least 1".to_owned())
}

fn max_sessions(text: &str) -> Result<u32, String> {
    let sessions = super::number::<u32>(text).ok();
    let sessions = sessions.filter(|sessions| *sessions <= MOST_SESSIONS);
    sessions.ok_or_else(|| format!("expected a number of sessions, 0 to {MOST_SESSIONS}"))
}

fn group(text: &str) -> Result<Ipv4Addr, String> {
    let address = text.parse().ok().filter(|address| is_base(*address));
    address.ok_or_else(|| format!("expected {BASE_EXPECTED}"))
}

fn stall_limit(text: &str) -> Result<u64, String> {
    let seconds = super::number::<u64>(text).ok();
    let seconds = seconds.filter(|seconds| *seconds >= 120);
    seconds.ok_or_else(|| "expected seconds, at least 120".to_owned())
}

/// Why nothing can be served there, and what to do.
fn not_bound(listen: SocketAddr, option: &str, error: std::io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => {
            let holder = match cast_net::ports::tcp_listener(listen.port()) {
                Some(holder) => format!("{} (pid {})", holder.program, holder.pid),
                None => "another program (`ss -ltnp` names it)".to_owned(),
            };
            format!("the port is in use by {holder}; stop that one, or choose another port")
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 are for root alone; run it as root, or choose another port".to_owned()
        }
        ErrorKind::AddrNotAvailable => {
            let cards = Interface::list().unwrap_or_default();
            let cards: Vec<String> = cards.iter().map(|card| card.addr.to_string()).collect();
            format!(
                "this machine does not have that address; it has {}",
                cards.join(", ")
            )
        }
        _ => "choose another address or port".to_owned(),
    };
    let text = format!("cannot listen on {listen} ({option}): {hint}");
    anyhow::Error::new(error).context(text)
}

/// Two servers on one database would send every session twice.
async fn lock(places: &Places) -> anyhow::Result<Lock> {
    let end = tokio::time::Instant::now() + LOCK_WAIT;
    loop {
        if let Some(lock) = client::lock(&places.data)? {
            return Ok(lock);
        }
        // A command has it for a moment; a server has it for good, and answers.
        let is_served = tokio::net::UnixStream::connect(places.socket())
            .await
            .is_ok();
        if is_served || tokio::time::Instant::now() >= end {
            bail!(
                "another fos-server already serves {}; stop it first",
                places.data.display()
            );
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
}

/// Warns of what clients will need and is not there yet. No error: it may come while the server runs.
async fn look_for_places(config: Arc<Config>, log: MulticastLog) {
    let images = config.images.clone();
    let no_images = format!(
        "the image directory {} does not exist; name another with --images",
        images.display()
    );
    let boot = ["bzImage", "init.xz"].map(|name| config.boot.join(name));
    let looks = [(images, true, no_images)].into_iter().chain(boot.map(|file| {
        let text = format!(
            "{} does not exist, so no machine can boot from here; put kernel and initramfs into the \
             directory of --boot",
            file.display()
        );
        (file, false, text)
    }));
    let looks = looks.map(|(path, is_directory, missing)| async move {
        let shown = path.display().to_string();
        let look = tokio::task::spawn_blocking(move || match is_directory {
            true => path.is_dir(),
            false => path.is_file(),
        });
        match tokio::time::timeout(PLACE_LIMIT, look).await {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => Some(missing),
            Ok(Err(_)) | Err(_) => Some(format!(
                "{shown} does not answer for {} s: look at its disk or network file system. What needs \
                 it waits",
                PLACE_LIMIT.as_secs()
            )),
        }
    });
    for look in looks {
        if let Some(text) = look.await {
            log.warn(clock::now(), &Subject::Server, &text);
        }
    }
}

/// How long a directory may take to show what is in it.
const PLACE_LIMIT: Duration = Duration::from_secs(10);

/// A wrong interface is told at the start, not when the first session fails. Answers what may become
/// right while the server runs.
fn check_network(config: &Config) -> anyhow::Result<Option<String>> {
    let known = config
        .known_interface()
        .context("choosing the interface for multicast")?;
    let interface = match known {
        Some(interface) => interface,
        None => {
            let list = Interface::list()?;
            let is_usable = |found: &&Interface| found.is_up && !found.is_loopback;
            let Some(usable) = list.iter().find(is_usable) else {
                let text =
                    "no network card is up and has an IPv4 address: no client can be reached";
                return Ok(Some(text.to_owned()));
            };
            usable.clone()
        }
    };
    Ok(match (interface.is_loopback, interface.is_up) {
        (true, _) => Some(format!(
            "sessions are sent on {interface}, which reaches no other machine; choose a network card \
             with --interface"
        )),
        (_, false) => Some(format!(
            "sessions are sent on {interface}, which is down: look at its cable, or choose another \
             one with --interface"
        )),
        (false, true) => None,
    })
}

/// The dnsmasq for PCs, with everything that it reads.
fn proxy_dhcp(config: &Config) -> anyhow::Result<ProxyDhcp> {
    let interface = config
        .known_interface()
        .context("choosing the interface for --proxy-dhcp")?
        .context("--proxy-dhcp needs --interface (or --address): on which card are the PCs?")?;
    let web_url = config.web_url(interface.addr);
    let proxy = ProxyDhcp::new(&std::path::absolute(&config.data)?, interface, web_url);
    proxy.prepare().context("preparing --proxy-dhcp")?;
    Ok(proxy)
}

/// Where this machine reaches its own server.
fn local_url(config: &Config) -> String {
    let ip = match config.listen.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}/fog/", SocketAddr::new(ip, config.listen.port()))
}

/// Where people open the page: from their own machines, if it can be reached from there.
fn page_url(config: &Config) -> String {
    let ip = match (config.listen.ip(), config.address) {
        (ip, _) if !ip.is_unspecified() => ip,
        (_, Some(address)) => address.into(),
        (_, None) => {
            let cards = Interface::list().unwrap_or_default();
            let card = cards.iter().find(|card| card.is_up && !card.is_loopback);
            card.map_or(Ipv4Addr::LOCALHOST, |card| card.addr).into()
        }
    };
    let https = config.https.as_ref().filter(|https| https.is_for_people);
    match (https.map(|https| https.listen.port()), config.listen.port()) {
        (Some(443), _) => format!("https://{}/", host_of(ip)),
        (Some(port), _) => format!("https://{}/", SocketAddr::new(ip, port)),
        (None, 80) => format!("http://{}/", host_of(ip)),
        (None, port) => format!("http://{}/", SocketAddr::new(ip, port)),
    }
}

/// An address as a URL has it.
fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// As long as nobody has an account, whoever started the server may make the first one. The link is shown at a
/// terminal; what else standard error leads to may be read by others, so there it is in a file of the server's own.
async fn offer_setup(ops: &Ops) {
    let page = page_url(ops.config());
    let file = ops.config().data.join(SETUP_LINK);
    match ops.begin_setup().await {
        Ok(Some(code)) => {
            let link = format!("{page}setup?code={code}");
            let place = match std::io::stderr().is_terminal() {
                true => link,
                false => match note_setup(&file, &link) {
                    Ok(()) => format!("the address in {}", file.display()),
                    Err(error) => format!(
                        "the page, of which the address could not be written to {}: {error}",
                        file.display()
                    ),
                },
            };
            tracing::info!(
                "server: the page is at {page} and nobody has an account yet; make the first one at {place} \
                 (good once, until the server ends), or with fos-server user add NAME --role admin"
            );
        }
        Ok(None) => tracing::info!("server: the page is at {page}"),
        Err(error) => tracing::warn!("server: looking for accounts: {error}"),
    }
}

/// In the data directory; one of an earlier start is good for nothing.
const SETUP_LINK: &str = "setup-link";

fn note_setup(file: &Path, link: &str) -> std::io::Result<()> {
    let mut file = crate::private::create_file(file)?;
    file.set_len(0)?;
    writeln!(file, "{link}")
}

/// What ends the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Serves until a signal. Then clients are answered and sessions stored for a moment; whatever hangs
/// is left behind, at once with a second signal.
async fn serve(
    (listener, door, socket): (TcpListener, Option<Door>, LocalSocket),
    ops: &Arc<Ops>,
    limits: Limits,
    mut signals: Signals,
    notifier: &Notifier,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let sessions = Arc::clone(ops.sessions());
    let mut followers = Vec::new();
    ops.expect_captures();
    let service = MapRequestLayer::new(http::normalise).layer(http::router(Arc::clone(ops)));
    let connections = Connections::new(limits);
    let mut parts = Parts::default();
    if let Some(door) = door {
        let service = MapRequestLayer::new(http::encrypted).layer(service.clone());
        let (connections, stop) = (connections.clone(), stop.clone());
        parts.spawn("the HTTPS server", async move {
            listener::serve_tls(door.listener, door.tls, service, &connections, stop).await
        });
        let log = ops.log().clone();
        let follower = https::follow(door.identity, log);
        followers.push(parts.spawn("the follower of the certificate", follower));
    }
    parts.spawn("the HTTP server", {
        let stop = stop.clone();
        async move { listener::serve_among(listener, service, &connections, stop).await }
    });
    let people = http::local_router(Arc::clone(ops));
    parts.spawn(
        "the server for commands",
        listener::serve_local(socket, people, limits, stop.clone()),
    );
    parts.spawn("the supervisor of the sessions", {
        let sessions = Arc::clone(&sessions);
        async move { sessions.supervise().await }
    });
    followers.push(parts.spawn("the follower of the hosts", {
        let ops = Arc::clone(ops);
        async move { ops.follow_changes().await }
    }));
    followers.push(parts.spawn("the follower of the queue", {
        let ops = Arc::clone(ops);
        async move { ops.follow_unicasts().await }
    }));
    followers.push(parts.spawn("the scheduler", {
        let ops = Arc::clone(ops);
        async move { ops.follow_schedules().await }
    }));
    followers.push(parts.spawn("the follower of the captures", {
        let ops = Arc::clone(ops);
        async move { ops.follow_captures().await }
    }));
    followers.push(parts.spawn("the maker of follow-up sessions", {
        let ops = Arc::clone(ops);
        async move { ops.follow_up().await }
    }));
    followers.push(parts.spawn("the copier of images", {
        let ops = Arc::clone(ops);
        async move { ops.follow_replications().await }
    }));
    let served = tokio::select! {
        () = signals.next() => {
            tracing::info!("server: shutting down; a second signal ends at once");
            Ok(())
        }
        // Half a server looks alive and serves nobody: whoever started it starts it again.
        ended = parts.next() => {
            let ended = ended.unwrap_or_else(|| "everything has ended".to_owned());
            ops.log().error(clock::now(), &Subject::Server, &format!("{ended}: the server ends"));
            Err(anyhow::anyhow!("{ended}"))
        }
    };
    notifier.stopping();
    stop.cancel();
    for follower in &followers {
        follower.abort();
    }
    let orderly = async {
        sessions.shut_down().await;
        while parts.next().await.is_some() {}
    };
    tokio::select! {
        () = orderly => {}
        () = tokio::time::sleep(GRACE) => {
            tracing::error!("server: something hangs and is left behind: {}", hints());
        }
        () = signals.next() => {}
    }
    served
}

/// What a server consists of, each part with its name. None ends before the server does.
#[derive(Default)]
struct Parts {
    tasks: JoinSet<()>,
    names: HashMap<tokio::task::Id, &'static str>,
}

impl Parts {
    fn spawn<T>(
        &mut self,
        name: &'static str,
        part: impl Future<Output = T> + Send + 'static,
    ) -> AbortHandle {
        let task = self.tasks.spawn(async move {
            part.await;
        });
        self.names.insert(task.id(), name);
        task
    }

    /// Waits for the end of a part and tells it; `None` if none is left.
    async fn next(&mut self) -> Option<String> {
        let (id, how) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, "has ended".to_owned()),
            Err(error) if error.is_panic() => (error.id(), format!("has failed ({error})")),
            Err(error) => (error.id(), "was ended".to_owned()),
        };
        let name = self.names.remove(&id).unwrap_or("a part of the server");
        Some(format!("{name} {how}"))
    }
}

fn hints() -> &'static str {
    "look at the disks of the database and of the image store"
}

/// How long sessions and requests may take after the signal. With the others below, and
/// [`logs::init_stderr`]'s second, the server has ended 8 s after it: service managers and containers
/// kill after 10 s.
const GRACE: Duration = Duration::from_secs(4);

/// How long the database may take after that.
const STORE_GRACE: Duration = Duration::from_secs(2);

/// How long the log may take after that.
const LOG_GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_is_told_by_its_name() {
        let mut parts = Parts::default();
        let endless = parts.spawn("the endless one", std::future::pending::<()>());
        parts.spawn("the broken one", async { panic!("of purpose") });
        let told = parts.next().await.unwrap();
        assert!(told.starts_with("the broken one has failed"), "{told}");
        parts.spawn("the short one", async {});
        assert_eq!(parts.next().await.unwrap(), "the short one has ended");
        endless.abort();
        assert_eq!(parts.next().await.unwrap(), "the endless one was ended");
        assert_eq!(parts.next().await, None);
    }

    /// Requests may use up the time that a shutdown has, but not more.
    #[test]
    fn requests_have_the_time_of_the_shutdown_at_most() {
        for asked in [1, 5, 600] {
            let limits = Limits {
                shutdown_grace: Duration::from_secs(asked),
                ..Limits::default()
            };
            let most = limits.ending_within(GRACE).shutdown_grace + listener::LAST_GRACE;
            assert!(most <= GRACE, "{most:?}");
        }
    }
}
