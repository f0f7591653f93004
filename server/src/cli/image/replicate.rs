//! `image replicate`.

use std::time::Duration;

use anyhow::bail;

use super::super::Places;
use super::super::client::Client;
use crate::api::{ReplicaState, ReplicaStatus};
use crate::output;

/// An image at several servers.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Replicate {
    /// Name or number
    #[arg(value_parser = super::super::image)]
    image: String,
    /// Only to this server, by its name (serve --node) [default: to all that lack it]
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// Replace files that are there and are not what was verified
    #[arg(long)]
    replace: bool,
    /// Only show where the image is
    #[arg(long, conflicts_with_all = ["to", "replace"])]
    show: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Replicate {
    pub(in crate::cli) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let done = self.ask(&client).await;
        client.close().await;
        done
    }

    async fn ask(&self, client: &Client) -> anyhow::Result<bool> {
        if !client.is_remote() {
            bail!("no server is running; it is the servers that copy images: start this one");
        }
        let api = client.api();
        if self.show {
            self.print(&api.image_replicas(&self.image).await?)?;
            return Ok(true);
        }
        let request = crate::api::Replicate {
            to: self.to.clone(),
            replace: self.replace,
        };
        api.image_replicate(&self.image, request).await?;
        let mut told = Vec::new();
        loop {
            let found = api.image_replicas(&self.image).await?;
            let meant =
                |status: &&ReplicaStatus| self.to.as_ref().is_none_or(|to| status.node == *to);
            if !found
                .iter()
                .filter(meant)
                .any(|status| status.state.is_at_work())
            {
                self.print(&found)?;
                let is_good = |status: &ReplicaStatus| status.state == ReplicaState::Held;
                return Ok(found.iter().filter(meant).all(is_good));
            }
            for status in found.iter().filter(|status| status.state.is_at_work()) {
                let line = format!("{}: {} %, {}", status.node, status.percent, status.text);
                if !told.contains(&line) {
                    output::explain(&line);
                    told.retain(|known: &String| !known.starts_with(&format!("{}:", status.node)));
                    told.push(line);
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn print(&self, found: &[ReplicaStatus]) -> anyhow::Result<()> {
        if self.json {
            output::result(&serde_json::to_string_pretty(found)?);
            return Ok(());
        }
        let row = |status: &ReplicaStatus| {
            let state = serde_json::to_value(status.state).unwrap_or_default();
            vec![
                status.node.clone(),
                state.as_str().unwrap_or_default().to_owned(),
                match &status.copy {
                    Some(copy) if status.state.is_at_work() => copy.line(),
                    _ => status.text.clone(),
                },
            ]
        };
        let rows: Vec<_> = found.iter().map(row).collect();
        output::result(&output::table(&["SERVER", "IMAGE", "TEXT"], &rows));
        Ok(())
    }
}

/// Between two looks at how it goes.
const PERIOD: Duration = Duration::from_secs(1);
