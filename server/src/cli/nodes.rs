//! `nodes`.

use super::Places;
use super::client::Client;
use crate::api::{NodeList, NodeRow, ServerRow, SlotRow};
use crate::output;
use crate::text;

/// Servers and storage nodes.
#[derive(Debug, clap::Args)]
pub(super) struct Nodes {
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

impl Nodes {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let found = client.api().node_list().await;
        if !self.json {
            client.explain_if_idle();
        }
        client.close().await;
        let found = found?;
        match self.json {
            true => output::result(&serde_json::to_string_pretty(&found)?),
            false => output::result(&describe(&found)),
        }
        Ok(true)
    }
}

fn describe(list: &NodeList) -> String {
    let mut parts = Vec::new();
    if !list.servers.is_empty() {
        let rows: Vec<_> = list.servers.iter().map(server).collect();
        parts.push(output::table(
            &["SERVER", "ADDRESS", "ALIVE", "SESSIONS"],
            &rows,
        ));
    }
    let rows: Vec<_> = list.nodes.iter().map(node).collect();
    let head = [
        "NODE", "NAME", "GROUP", "ADDRESS", "SLOTS", "WAITING", "KIND",
    ];
    parts.push(output::table(&head, &rows));
    let slots = list.nodes.iter().flat_map(|node| {
        let served = node
            .served
            .iter()
            .map(move |row| slot(node, row, "has a slot"));
        served.chain(node.waiting.iter().map(move |row| slot(node, row, "waits")))
    });
    let slots: Vec<_> = slots.collect();
    if !slots.is_empty() {
        let head = [
            "NODE",
            "HOST",
            "TASK",
            "IMAGE",
            "STATE",
            "SINCE (UTC)",
            "DONE",
        ];
        parts.push(output::table(&head, &slots));
    }
    if !list.failures.is_empty() {
        let rows: Vec<_> = list
            .failures
            .iter()
            .map(|failure| {
                vec![
                    failure.node.to_string(),
                    or_dash(&failure.host),
                    failure.task.to_string(),
                    failure.at.clone(),
                ]
            })
            .collect();
        let head = ["FAILED NODE", "HOST", "TASK", "AT (UTC)"];
        parts.push(output::table(&head, &rows));
    }
    parts.join("\n\n")
}

fn server(row: &ServerRow) -> Vec<String> {
    let name = match row.is_this {
        true => format!("{} (this one)", row.name),
        false => row.name.clone(),
    };
    let sessions: Vec<String> = row.sessions.iter().map(i64::to_string).collect();
    vec![
        name,
        or_dash(&row.url),
        text::server_alive(row.alive_since.as_deref(), row.is_alive, row.silent_seconds),
        or_dash(&sessions.join(" ")),
    ]
}

fn node(row: &NodeRow) -> Vec<String> {
    vec![
        row.node.to_string(),
        or_dash(&row.name),
        or_dash(&row.group_name),
        or_dash(&row.address),
        format!("{} of {}", row.served.len(), row.slots),
        row.waiting.len().to_string(),
        text::node_kind(row.name.is_empty(), row.is_enabled, row.is_master).to_owned(),
    ]
}

fn slot(node: &NodeRow, row: &SlotRow, state: &str) -> Vec<String> {
    vec![
        node.node.to_string(),
        row.host.clone(),
        row.task.to_string(),
        or_dash(&row.image),
        state.to_owned(),
        row.since.clone().unwrap_or_else(|| "-".to_owned()),
        format!("{} %", row.percent),
    ]
}

fn or_dash(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_slot_and_who_waits_is_listed_with_its_node() {
        let slot = |host: &str, since: Option<&str>| SlotRow {
            task: 7,
            host: host.to_owned(),
            image: "win11".to_owned(),
            since: since.map(str::to_owned),
            percent: 40,
        };
        let list = NodeList {
            servers: vec![ServerRow {
                name: "server1".to_owned(),
                url: String::new(),
                is_this: false,
                is_alive: false,
                alive_since: None,
                silent_seconds: 70,
                sessions: vec![3, 4],
            }],
            nodes: vec![NodeRow {
                node: 1,
                name: "DefaultMember".to_owned(),
                group: 1,
                group_name: "default".to_owned(),
                address: String::new(),
                is_master: true,
                is_enabled: true,
                slots: 1,
                served: vec![slot("LAB-01", Some("2026-12-01 10:00:00"))],
                waiting: vec![slot("LAB-02", None)],
            }],
            failures: Vec::new(),
        };
        let text = describe(&list);
        let words = |start: &str| {
            let line = text.lines().find(|line| line.contains(start));
            let line = line.unwrap_or_else(|| panic!("{start} in {text}"));
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words("server1"), "server1 - not seen for 1 min 10 s 3 4");
        assert_eq!(
            words("DefaultMember"),
            "1 DefaultMember default - 1 of 1 1 master"
        );
        assert_eq!(
            words("LAB-01"),
            "1 LAB-01 7 win11 has a slot 2026-12-01 10:00:00 40 %"
        );
        assert_eq!(words("LAB-02"), "1 LAB-02 7 win11 waits - 40 %");
        assert!(!text.contains("FAILED"), "{text}");
    }
}
