//! `serve`.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::ServiceExt;
use axum::extract::Request;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower::Layer as _;
use tower::util::MapRequestLayer;

use super::Places;
use crate::clock::Timestamp;
use crate::config::{Bitrate, Config, StreamRecords, Timing};
use crate::http::{self, App};
use crate::logs::{self, MulticastLog};
use crate::runfile::RunFile;
use crate::session::transmit::Network;
use crate::session::{Sessions, Surroundings};

/// Runs until SIGTERM or SIGINT; a second one ends it at once.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Address and port of the HTTP server
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:80")]
    listen: SocketAddr,
    /// Own address as clients know it [default: the one from which packets reach each client]
    #[arg(long, value_name = "IP")]
    address: Option<Ipv4Addr>,
    /// Network interface for multicast [default: the one of --address, or the route to the client]
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Directory with the kernel (bzImage) and the initramfs (init.xz) [default: DATA/boot]
    #[arg(long, value_name = "DIR")]
    boot: Option<PathBuf>,
    /// Begin each stream with a record that names it: auto does so if all clients are fos-agents
    #[arg(long, value_enum, default_value_t)]
    stream_records: StreamRecords,
    /// Limit of each session in bits per second, for example 900m
    #[arg(long, value_name = "RATE")]
    max_bitrate: Option<Bitrate>,
    /// Further kernel arguments for every client, for example console=ttyS0
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        allow_hyphen_values = true
    )]
    kernel_args: String,
    /// Seconds that a client may take after its last sign to report its end
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    grace: u64,
    /// Seconds of silence after which a receiver is dropped from a running stream, while others
    /// answer [default: 15 if all clients are fos-agents, else 60]
    #[arg(long, value_name = "SECONDS")]
    drop_after: Option<u64>,
    /// Seconds that a stream may stand still until the receivers that hold it up are dropped, even
    /// if they answer, or the session fails; at least 120
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(120..))]
    stall_limit: u64,
}

impl Serve {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        logs::init_stderr();
        let store = places.store().await?;
        let _lock = lock(places)?;
        let config = Arc::new(self.config(places, places.image_root(&store).await?));
        let log = MulticastLog::new(&config.log_dir()).with_context(|| {
            format!("creating the log directory {}", config.log_dir().display())
        })?;
        check_interface(&config)?;
        let listener = TcpListener::bind(config.listen).await.with_context(|| {
            format!(
                "cannot listen on {}; is another server running, or is the port below 1024 \
                 without the rights for it? Choose another one with --listen",
                config.listen
            )
        })?;
        // Port 0 asks for any free one.
        let config = Arc::new(Config {
            listen: listener.local_addr()?,
            ..(*config).clone()
        });
        let around = Surroundings {
            store: store.clone(),
            config: Arc::clone(&config),
            transmitter: Arc::new(Network),
            log: log.clone(),
        };
        let sessions = Sessions::new(around);
        let app = App {
            store: store.clone(),
            config: Arc::clone(&config),
            sessions: Arc::clone(&sessions),
            log: log.clone(),
        };
        let run_file = RunFile::write(&config.data, &local_url(&config))?;
        log.service(
            Timestamp::now(),
            &format!(
                "fos-server {} serves {} on {}",
                env!("CARGO_PKG_VERSION"),
                config.images.display(),
                config.listen
            ),
        );
        for missing in missing_places(&config) {
            log.service(Timestamp::now(), &format!("WARNING: {missing}"));
        }
        let supervisor = tokio::spawn({
            let sessions = Arc::clone(&sessions);
            async move { sessions.supervise().await }
        });
        let served = serve_until_signal(listener, app, &sessions).await;
        supervisor.await.context("the supervisor of the sessions")?;
        drop(run_file);
        log.service(Timestamp::now(), "fos-server ends");
        store.close().await;
        served?;
        Ok(true)
    }

    fn config(&self, places: &Places, images: PathBuf) -> Config {
        let mut timing = Timing {
            grace: Duration::from_secs(self.grace),
            stall_limit: Duration::from_secs(self.stall_limit),
            ..Timing::default()
        };
        if let Some(seconds) = self.drop_after {
            timing.drop_agents = Duration::from_secs(seconds);
            timing.drop_others = Duration::from_secs(seconds);
        }
        Config {
            data: places.data.clone(),
            images,
            boot: self
                .boot
                .clone()
                .unwrap_or_else(|| places.data.join("boot")),
            listen: self.listen,
            address: self.address,
            interface: self.interface.clone(),
            stream_records: self.stream_records,
            max_bitrate: self.max_bitrate.map(|rate| rate.0),
            kernel_args: self.kernel_args.clone(),
            timing,
        }
    }
}

/// Two servers on one database would send every session twice.
fn lock(places: &Places) -> anyhow::Result<File> {
    let path = places.data.join("server.lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => bail!(
            "another fos-server already serves {}; stop it first",
            places.data.display()
        ),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

/// What clients will need and is not there yet. No error: it may come while the server runs.
fn missing_places(config: &Config) -> Vec<String> {
    let mut missing = Vec::new();
    if !config.images.is_dir() {
        missing.push(format!(
            "the image directory {} does not exist; name another with --images",
            config.images.display()
        ));
    }
    for file in ["bzImage", "init.xz"].map(|name| config.boot.join(name)) {
        if !file.is_file() {
            missing.push(format!(
                "{} does not exist, so no machine can boot from here; put kernel and initramfs \
                 into the directory of --boot",
                file.display()
            ));
        }
    }
    missing
}

/// A wrong interface is told at the start, not when the first session fails.
fn check_interface(config: &Config) -> anyhow::Result<()> {
    if config.interface.is_some() || config.address.is_some() {
        config
            .interface_for(IpAddr::V4(Ipv4Addr::LOCALHOST))
            .context("choosing the interface for multicast")?;
    }
    Ok(())
}

/// Where this machine reaches its own server.
fn local_url(config: &Config) -> String {
    let ip = match config.listen.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}/fog/", SocketAddr::new(ip, config.listen.port()))
}

async fn serve_until_signal(
    listener: TcpListener,
    app: App,
    sessions: &Sessions,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = MapRequestLayer::new(http::normalise).layer(http::router(app));
    let make = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(service);
    let server = axum::serve(listener, make).with_graceful_shutdown(async move {
        // Also when the sender is dropped.
        drop(stopped.await);
    });
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut server => {
            sessions.shut_down().await;
            return ended?.context("serving HTTP");
        }
    }
    tracing::info!("shutting down; a second signal ends at once");
    if stop.send(()).is_err() {
        tracing::debug!("the HTTP server has already ended");
    }
    let orderly = async {
        sessions.shut_down().await;
        tokio::time::timeout(HTTP_GRACE, &mut server).await
    };
    tokio::select! {
        _ = orderly => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.abort();
    Ok(())
}

/// How long running requests may take after the signal.
const HTTP_GRACE: Duration = Duration::from_secs(3);
