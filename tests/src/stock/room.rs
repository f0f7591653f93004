//! A room with one of FOG's own servers: its double on host 1, the image share in a directory, the original sender.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{StockServer, Version};
use crate::netns::{Lab, Running};
use crate::site::{DISK_LEN, mac, source};

/// A server on host 1, and as many machines as the network has other hosts or taps.
#[derive(Debug)]
pub struct Room {
    // Dropped first.
    lab: Lab,
    dir: TempDir,
    server: StockServer,
}

impl Room {
    /// Of the sample image; `None` if this machine cannot have it, which has been told.
    ///
    /// # Panics
    /// Something is missing and nothing may be skipped.
    #[must_use]
    pub fn new(hosts: u8, tools: &[&str], version: Version, job: &str) -> Option<Self> {
        let needed = ["udp-sender", "udp-receiver", "partclone.extfs", "zstd"];
        let lab = Lab::new(hosts, &[&needed, tools].concat())?;
        let dir = tempfile::Builder::new()
            .prefix("fos-stock-")
            .tempdir()
            .unwrap();
        let image = dir.path().join("images/lab");
        fs::create_dir_all(&image).unwrap();
        fs::write(dir.path().join("images/.mntcheck"), "").unwrap();
        for file in fs::read_dir(source().join("store")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), image.join(file.file_name())).unwrap();
        }
        let server = StockServer::start(lab.host(1), version, job);
        Some(Self { lab, dir, server })
    }

    /// The network.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// FOG's web server.
    #[must_use]
    pub fn server(&self) -> &StockServer {
        &self.server
    }

    /// A file of this room.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A disk full of zeroes.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn empty_disk(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::File::create(&path).unwrap().set_len(DISK_LEN).unwrap();
        path
    }

    /// A disk with content, of which nobody may touch a byte.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn patterned_disk(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, vec![0xa5; usize::try_from(DISK_LEN).unwrap()]).unwrap();
        path
    }

    /// Starts the chain of senders that FOG's multicast manager starts, for these files.
    #[must_use]
    #[track_caller]
    pub fn start_chain(&self, streams: &[&str], has_records: bool) -> Running {
        let record = if has_records {
            r#"printf 'FOGMC1 %-120s\n' "$name"; "#
        } else {
            ""
        };
        let script = format!(
            "for name in {}; do ({record}cat {}/$name) | udp-sender --interface eth0 --min-receivers 1 \
             --max-wait 600 --mcast-rdv-address 10.99.0.1 --portbase {PORT} --full-duplex --ttl 32 --nokbd \
             --nopointopoint; done",
            streams.join(" "),
            self.image().display(),
        );
        let mut command = self.lab.host(1).command("bash");
        command.args(["-c", &script]);
        Running::start("chain of senders", &mut command, &self.path("chain.out"))
    }

    /// The directory of the image in the share.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.share().join("lab")
    }

    /// The image share.
    #[must_use]
    pub fn share(&self) -> PathBuf {
        self.path("images")
    }
}

/// The kernel arguments of a task for machine 1; `more` says of which.
#[must_use]
pub fn job(more: &str) -> String {
    let port = if more.contains("mc=yes") {
        format!("port={PORT} ")
    } else {
        String::new()
    };
    format!(
        "web=http://10.99.0.1/fog/ mac={} ftp=10.99.0.1 storage=10.99.0.1:/images/ storageip=10.99.0.1 osid=50 irqpoll \
         hostname=LAB-01 chkdsk=0 img=lab imgType=n imgPartitionType=all imgid=1 imgFormat=5 PIGZ_COMP=-6 {port}type=down \
         {more}",
        mac(1)
    )
}

/// The streams of the sample image.
pub const STREAMS: [&str; 2] = ["d1p1.img", "d1p2.img"];
const PORT: u16 = 63100;
