//! Whether the machines that boot from here can capture: an initramfs without partclone's programs cannot.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use image::{Content, Decoder, Geometry, Options, Sink, SinkError};
use initramfs::{Manifest, Seeker};

use crate::config::Origin;
use crate::ops::boot::{BOOT_LIMIT, BootFiles};
use crate::ops::{Ops, blocking};

/// What people should know when they begin a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureWarning {
    /// No machine can boot: this file is missing.
    NoBootFile(PathBuf),
    /// The initramfs has not these programs.
    NoPrograms {
        /// The initramfs.
        path: PathBuf,
        /// Names.
        lacking: Vec<String>,
    },
}

impl Ops {
    /// What is wrong with the boot files for a capture, as far as they say it in time.
    pub async fn capture_warnings(&self) -> Vec<CaptureWarning> {
        // No guess: where a server that was never started will have them is not known.
        if self.config.origin == Origin::Defaults {
            return Vec::new();
        }
        match self.missing_file(["bzImage", INITRAMFS]).await {
            BootFiles::Complete => {}
            BootFiles::Missing(path) => return vec![CaptureWarning::NoBootFile(path)],
            BootFiles::Hang(_) => return Vec::new(),
        }
        let path = self.config.boot.join(INITRAMFS);
        let look = {
            let path = path.clone();
            blocking(&self.boot_readers, move || lacking(&path))
        };
        let looked = tokio::time::timeout(BOOT_LIMIT, look).await;
        match looked {
            Ok(Ok(Some(lacking))) if !lacking.is_empty() => {
                vec![CaptureWarning::NoPrograms { path, lacking }]
            }
            _ => Vec::new(),
        }
    }
}

/// The programs that an initramfs lacks; `None` if it is none that can be looked into.
fn lacking(path: &Path) -> Option<Vec<String>> {
    let manifest = Manifest::read().ok()?;
    let names = manifest.partclone_programs().map(String::from);
    let mut look = Look(Seeker::new(names));
    let mut decoder = Decoder::new(Options {
        content: Content::Raw { len: None },
        ..Options::default()
    });
    let mut file = File::open(path).ok()?.take(LEN_MAX);
    let mut buffer = vec![0; PIECE];
    loop {
        let len = file.read(&mut buffer).ok()?;
        if len == 0 {
            break;
        }
        decoder.push(buffer.get(..len)?, &mut look).ok()?;
    }
    let _summary = decoder.finish(&mut look).ok()?;
    let lacking = look.0.lacking()?;
    Some(lacking.into_iter().map(String::from).collect())
}

/// Takes an archive as it is unpacked.
struct Look(Seeker);

impl Sink for Look {
    fn begin(&mut self, _: &Geometry) -> Result<(), SinkError> {
        Ok(())
    }

    fn extent(&mut self, _: u64, data: &[u8]) -> Result<(), SinkError> {
        Ok(self.0.push(data)?)
    }
}

const INITRAMFS: &str = "init.xz";
/// No larger file is looked into.
const LEN_MAX: u64 = 1 << 30;
const PIECE: usize = 64 << 10;
