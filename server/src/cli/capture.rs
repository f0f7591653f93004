//! `capture`.

use fog::task::ImageType;

use super::Places;
use super::client::Client;
use crate::api;
use crate::output;

/// The capture of a machine's disk.
#[derive(Debug, clap::Args)]
pub(super) struct Capture {
    /// Host, by name
    host: String,
    /// Image, by name; one that is not there is made
    #[arg(value_parser = super::image)]
    image: String,
    /// What it holds: mps one disk as it is, n one disk that is fitted to the target, mpa several disks as they are, dd
    /// a whole disk as one stream [default: that of the image; mps for a new one]
    #[arg(long = "type", value_name = "TYPE")]
    image_type: Option<ImageType>,
    /// Operating system, FOG's number: 9 Windows 10, 10 Windows 11, 50 Linux, 99 other; type n needs one that is not
    /// 99 [default: that of the image; 99 for a new one]
    #[arg(long, value_name = "N", value_parser = super::number::<i64>)]
    os: Option<i64>,
    /// Level of zstd, 1 to 19, kept for later captures of the image [default: that of the image, else 3]
    #[arg(long, value_name = "LEVEL", value_parser = super::number::<u8>)]
    zstd: Option<u8>,
    /// Switch the machine off at the end instead of restarting it
    #[arg(long)]
    shutdown: bool,
    /// Boot the machine to a shell with the network up; fos-agent run starts the task there
    #[arg(long)]
    debug: bool,
}

impl Capture {
    /// Creates the task.
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let request = api::Capture {
            host: self.host.clone(),
            image: self.image.clone(),
            image_type: self.image_type,
            os_id: self.os,
            zstd_level: self.zstd,
            is_shutdown: self.shutdown,
            is_debug: self.debug,
        };
        let client = Client::connect(places).await?;
        let created = client.api().capture(request).await;
        let is_running = client.is_remote();
        client.close().await;
        let created = created?;
        for task in &created.tasks {
            output::result(&task.to_string());
        }
        for warning in &created.warnings {
            output::explain(&format!("warning: {warning}"));
        }
        output::explain(&format!(
            "Boot {} from the network: its disk is captured into image {}, whose present files stay until the new ones \
             are verified, and are kept as a version.",
            self.host, self.image
        ));
        output::explain(match is_running {
            true => "fos-server status shows how it goes.",
            false => "No server is running; start it with fos-server serve.",
        });
        Ok(true)
    }
}
