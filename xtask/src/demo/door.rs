//! The way from a browser on this machine to the page of the server, which is in a network of its own.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

use super::{lab::SERVER, services::Server};
use crate::signals::wait_for;

/// Open until it is dropped.
#[derive(Debug)]
pub(crate) struct Door {
    address: SocketAddr,
    is_closed: Arc<AtomicBool>,
}

impl Door {
    /// Opens a port of this machine's loopback that leads to port 80 of the server.
    pub(crate) fn open(namespace: &str) -> Result<Self> {
        let context = "opening a port for the page";
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(context)?;
        let address = listener.local_addr().context(context)?;
        let is_closed = Arc::new(AtomicBool::new(false));
        let namespace = Path::new("/run/netns").join(namespace);
        let seen = Arc::clone(&is_closed);
        thread::Builder::new()
            .name("page".to_owned())
            .spawn(move || {
                for stream in listener.incoming() {
                    if seen.load(Ordering::Relaxed) {
                        break;
                    }
                    let (Ok(stream), namespace) = (stream, namespace.clone()) else {
                        continue;
                    };
                    // A browser asks again for what it does not get.
                    thread::spawn(move || pass(&stream, &namespace).unwrap_or_default());
                }
            })
            .context(context)?;
        Ok(Self { address, is_closed })
    }

    /// Where somebody makes an account, and sees everything.
    pub(crate) fn link(&self, server: &Server) -> Result<String> {
        let file = server.setup_link();
        // It is written when the server listens already.
        let link = wait_for("the address of the page", Duration::from_secs(30), || {
            let read = fs::read_to_string(&file);
            Ok(read.ok().filter(|link| link.ends_with('\n')))
        })?;
        let (_, rest) = link
            .trim()
            .split_once("/setup?")
            .with_context(|| format!("{} holds no link: {link}", file.display()))?;
        Ok(format!("http://{}/setup?{rest}", self.address))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // So that the thread sees it.
        drop(TcpStream::connect_timeout(
            &self.address,
            Duration::from_secs(1),
        ));
    }
}

/// Carries bytes both ways until one end has closed.
fn pass(outside: &TcpStream, namespace: &PathBuf) -> io::Result<()> {
    // A namespace is a thread's own matter, and this thread ends with the connection.
    setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
    let inside = TcpStream::connect_timeout(&(SERVER, 80).into(), Duration::from_secs(10))?;
    let (mut from, mut to) = (outside.try_clone()?, inside.try_clone()?);
    let back = thread::spawn(move || {
        io::copy(&mut from, &mut to)?;
        // What is behind it may have more to say.
        to.shutdown(Shutdown::Write)
    });
    let (mut from, mut to) = (&inside, outside);
    io::copy(&mut from, &mut to)?;
    outside.shutdown(Shutdown::Both)?;
    back.join().unwrap_or(Ok(()))
}
