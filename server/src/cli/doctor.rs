//! `doctor`: what keeps this server from deploying. Evidence by [`crate::doctor`], causes by
//! [`crate::domain::doctor`], words by [`crate::text::doctor`].

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Cli, Command, Outcome, Places, client, rival};
use crate::api::ServerLook;
use crate::config::Config;
use crate::doctor;
use crate::domain::doctor::{Cause, DatabaseLook, Evidence, Look, NameLook, card, diagnose};
use crate::domain::ports::PortPool;
use crate::output;
use crate::served::Served;
use crate::text::doctor::{advice, seen, sentence};

/// Find out what keeps this server from deploying, and say what to do
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It takes some seconds and changes nothing. It looks at what the running server was told, else at the \
    last start, else at the configuration. It needs root.\n\
    Exit status: 0 no cause was found, 1 it could not look, 2 wrong usage, 3 causes were found.\n\
    --json prints one object: \"ok\" (whether no cause was found), \"findings\" (code, warning, text, evidence, advice; the \
    one that explains the others first) and \"unseen\" (what could not be looked at, and why)."
)]
pub(super) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Ask no DHCP servers
    #[arg(long)]
    no_dhcp: bool,
}

/// Offers come at once, or after some seconds of looking whether the address is free.
const OFFERS: Duration = Duration::from_secs(4);
/// Name servers have a time limit of their own.
const NAMES: Duration = Duration::from_secs(6);

impl Doctor {
    pub(super) async fn run(&self, places: &Places) -> anyhow::Result<Outcome> {
        let evidence = self.gather(places).await?;
        let causes = diagnose(&evidence);
        match self.json {
            true => output::result(&serde_json::to_string_pretty(&report(&evidence, &causes))?),
            false => output::result(&text(&evidence, &causes)),
        }
        Ok(match causes.iter().all(Cause::is_warning) {
            true => Outcome::Done,
            false => Outcome::Found,
        })
    }

    async fn gather(&self, places: &Places) -> anyhow::Result<Evidence> {
        let asked = client::look(places).await;
        let (server, database) = match asked {
            Ok(Some((pid, look))) => (Ok(Some(pid)), Ok(look)),
            Ok(None) => (Ok(None), stopped(places).await),
            Err(error) => {
                let why = readable::chain(error.as_ref());
                (Err(why.clone()), Err(why))
            }
        };
        let mut config = told(places)?;
        if let Ok(look) = &database {
            config.images.clone_from(&look.images);
        }
        let database = database.map(|look| look.database);
        let owner = doctor::Owner::of(&config.data);
        let name = tokio::task::spawn_blocking(doctor::name);
        let name = match tokio::time::timeout(NAMES, name).await {
            Ok(name) => name?,
            Err(_) => NameLook {
                name: "(not known)".to_owned(),
                addresses: Err(format!("no answer within {} s", NAMES.as_secs())),
            },
        };
        let ask_dhcp = !self.no_dhcp;
        Ok(tokio::task::spawn_blocking(move || {
            let is_taken = rival::find(Path::new("/proc"));
            let mut evidence = Evidence {
                cards: doctor::cards(),
                wanted: doctor::wanted(&config),
                // A server that was asked has its port; whoever else has it is in the way.
                http: doctor::http(config.listen.port()),
                server,
                sessions: doctor::session_ports(config.ports.unwrap_or(PortPool::DEFAULT)),
                senders: doctor::senders(),
                fog_manager: is_taken,
                images: doctor::images(&doctor::absolute(&config.images), owner),
                boot: doctor::boot(&doctor::absolute(&config.boot), owner),
                data: doctor::data(&doctor::absolute(&config.data), owner),
                // FOG's programs are no rivals of a database of our own.
                database,
                clock: doctor::clock(),
                name,
                offers: Err("not asked for".to_owned()),
                multicast: Err("no card".to_owned()),
            };
            if let Some(card) = card(&evidence).cloned() {
                if card.is_up && !card.is_loopback {
                    evidence.multicast = doctor::multicast(card.address);
                }
                if ask_dhcp && card.is_up && !card.is_loopback {
                    evidence.offers = doctor::offers(&card.name, OFFERS);
                }
            }
            let is_fogs = evidence.database.as_ref().is_ok_and(|look| look.is_fogs);
            if !is_fogs {
                evidence.fog_manager = None;
            }
            evidence
        })
        .await?)
    }
}

/// What the server was told at its last start, else what the configuration says.
fn told(places: &Places) -> anyhow::Result<Config> {
    let images = places.images.clone();
    let images = images.unwrap_or_else(|| places.data.join("images"));
    if let Ok(Some(served)) = Served::read(&places.data) {
        return Ok(served.applied(Config::idle(&places.data, images)));
    }
    let mut line = vec!["fos-server".into(), "serve".into()];
    if let Some(config) = &places.config {
        line.extend(["--config".into(), config.clone().into_os_string()]);
    }
    match Cli::read(&line)?.command {
        Command::Serve(serve) => Ok(serve.config(places, images)),
        _ => Ok(Config::idle(&places.data, images)),
    }
}

/// The same of a server that does not run. No database is made.
async fn stopped(places: &Places) -> Look<ServerLook> {
    let told = |error: anyhow::Error| readable::chain(error.as_ref());
    let served = Served::read(&places.data).map_err(told)?;
    let is_elsewhere = served
        .as_ref()
        .is_some_and(|served| served.stored_in().is_some())
        || places.stored_in().map_err(told)?.is_some();
    let file = places.data.join(crate::store::sqlite::DATABASE);
    let given = places.images.clone();
    if !is_elsewhere && !file.exists() {
        // The first start makes it.
        return Ok(ServerLook {
            database: DatabaseLook {
                is_fogs: false,
                undoes: true,
                cluster: None,
            },
            images: given.unwrap_or_else(|| places.data.join("images")),
        });
    }
    let lock = client::lock(&places.data).map_err(told)?;
    if lock.is_none() {
        return Err("another process has it, and does not answer".to_owned());
    }
    let store = places.store(served.as_ref()).await.map_err(told)?;
    let default = places.default_root().map_err(told)?;
    let images = match given {
        Some(given) => Ok(given),
        None => crate::ops::image_root(&*store, None, default)
            .await
            .map(Into::into),
    };
    let look = DatabaseLook {
        is_fogs: store.is_shared_with_fog(),
        undoes: store.undoes_everything(),
        cluster: store.cluster(),
    };
    store.close().await;
    Ok(ServerLook {
        database: look,
        images: images.map_err(|error| readable::chain(&error))?,
    })
}

/// What could not be looked at.
fn unseen(evidence: &Evidence) -> Vec<(&'static str, &str)> {
    let offers = evidence.offers.as_ref().err();
    let multicast = evidence.multicast.as_ref().err();
    let looks = [("DHCP servers", offers), ("multicast", multicast)];
    looks
        .into_iter()
        .filter_map(|(name, why)| Some((name, why?.as_str())))
        .collect()
}

fn text(evidence: &Evidence, causes: &[Cause]) -> String {
    let mut text = String::new();
    for (name, why) in unseen(evidence) {
        text += &format!("not looked at: {name} ({why})\n");
    }
    if causes.is_empty() {
        text += "no cause of trouble was found";
    }
    for (number, cause) in causes.iter().enumerate() {
        let kind = if cause.is_warning() { "warning: " } else { "" };
        text += &format!(
            "{}. {kind}{} ({})\n",
            number + 1,
            sentence(cause),
            cause.code()
        );
        for seen in seen(cause) {
            text += &format!("   seen: {seen}\n");
        }
        text += &format!("   do:   {}\n", advice(cause));
    }
    text.trim_end().to_owned()
}

fn report(evidence: &Evidence, causes: &[Cause]) -> Value {
    let findings = causes.iter().map(|cause| {
        json!({
            "code": cause.code(),
            "warning": cause.is_warning(),
            "text": sentence(cause),
            "evidence": seen(cause),
            "advice": advice(cause),
        })
    });
    let unseen = unseen(evidence).into_iter();
    json!({
        "ok": causes.iter().all(Cause::is_warning),
        "findings": findings.collect::<Vec<Value>>(),
        "unseen": unseen.map(|(name, why)| json!({ "look": name, "why": why })).collect::<Vec<Value>>(),
    })
}
