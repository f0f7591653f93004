//! `host import`: machines of a file, a line each. FOG writes such files, too (Export Hosts).

use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use csv::{ReaderBuilder, StringRecord, Trim};
use fog::Mac;

use crate::api::HostAdd;
use crate::domain::groups::GroupName;
use crate::domain::host::StationMac;

/// What a file says.
#[derive(Debug)]
pub(super) struct Imported {
    /// The machines.
    pub(super) hosts: Vec<HostAdd>,
    /// Groups with the names of their machines, in the order of the file.
    pub(super) groups: Vec<(GroupName, Vec<String>)>,
    /// Names of columns that say something, which is not taken.
    pub(super) left_out: Vec<String>,
}

/// The machines of a file. All of it is read before anything is done with it.
///
/// # Errors
/// With every line that is not good.
pub(super) fn read(path: &Path) -> anyhow::Result<Imported> {
    let shown = path.display();
    let hosts = match path == Path::new("-") {
        true => parse(io::stdin().lock()),
        false => {
            let file = std::fs::File::open(path).with_context(|| format!("reading {shown}"))?;
            parse(file)
        }
    };
    hosts.with_context(|| format!("{shown}: no host was registered"))
}

fn parse(from: impl io::Read) -> anyhow::Result<Imported> {
    let mut text = Vec::new();
    from.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|len| len > MAX_FILE) {
        bail!(
            "it has more than {}; cut it in parts",
            readable::Size(MAX_FILE)
        );
    }
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        .flexible(true)
        .from_reader(text.as_slice());
    let head = reader.headers()?.clone();
    let columns = Columns::of(&head)?;
    let (mut hosts, mut wrong) = (Vec::new(), Vec::new());
    let mut groups: Vec<(GroupName, Vec<String>)> = Vec::new();
    let mut said = vec![false; head.len()];
    for record in reader.records() {
        let record = record?;
        if record.iter().all(str::is_empty) {
            continue;
        }
        let line = record.position().map_or(0, csv::Position::line);
        for (said, cell) in said.iter_mut().zip(&record) {
            *said |= !cell.is_empty();
        }
        match columns.host(&record) {
            Ok((host, of_host)) => {
                for name in of_host {
                    let name_of_host = host.name.to_string();
                    let is_same = |(known, _): &&mut (GroupName, Vec<String>)| {
                        known.as_str().eq_ignore_ascii_case(name.as_str())
                    };
                    match groups.iter_mut().find(is_same) {
                        Some((_, hosts)) => hosts.push(name_of_host),
                        None => groups.push((name, vec![name_of_host])),
                    }
                }
                hosts.push(host);
            }
            Err(error) => wrong.push(format!("line {line}: {}", readable::chain(error.as_ref()))),
        }
        if wrong.len() >= MAX_WRONG {
            wrong.push("and perhaps others".to_owned());
            break;
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    if hosts.is_empty() {
        bail!("there is no host in it");
    }
    let left_out = said.iter().zip(&head).enumerate();
    let left_out = left_out.filter(|(place, (said, _))| **said && !columns.has(*place));
    let left_out = left_out.map(|(_, (_, name))| fog::encoding::printable(name, 40));
    Ok(Imported {
        hosts,
        groups,
        left_out: left_out.take(MAX_WRONG).collect(),
    })
}

/// Bytes that are read, and wrong lines that are named.
const MAX_FILE: u64 = 16 << 20;
const MAX_WRONG: usize = 20;

/// Where the columns are.
struct Columns {
    name: usize,
    macs: usize,
    image: Option<usize>,
    device: Option<usize>,
    /// Names of groups.
    groups: Option<usize>,
    /// FOG's: `groups:Lab A|Lab B;snapins:...`.
    associations: Option<usize>,
}

impl Columns {
    fn of(head: &StringRecord) -> anyhow::Result<Self> {
        let place = |names: &[&str]| {
            let mut columns = head.iter();
            columns.position(|column| {
                // A spreadsheet may put this mark in front of everything.
                let column = column.trim_start_matches('\u{feff}');
                names.iter().any(|name| column.eq_ignore_ascii_case(name))
            })
        };
        let needed = "its first line has to name the columns: name, mac, and if wanted image, device and groups";
        Ok(Self {
            name: place(&["name", "host", "hostname"]).context(needed)?,
            macs: place(&["mac", "macs", "primac"]).context(needed)?,
            image: place(&["image"]),
            device: place(&["device"]),
            groups: place(&["group", "groups"]),
            associations: place(&["associations"]),
        })
    }

    fn has(&self, place: usize) -> bool {
        let optional = [self.image, self.device, self.groups, self.associations];
        [self.name, self.macs].contains(&place) || optional.contains(&Some(place))
    }

    fn host(&self, record: &StringRecord) -> anyhow::Result<(HostAdd, Vec<GroupName>)> {
        let cell = |column: usize| record.get(column).unwrap_or_default();
        let macs = cell(self.macs).split([' ', '|', ';', ',']);
        let macs = macs.filter(|mac| !mac.is_empty());
        let macs: Vec<Mac> = macs.map(str::parse).collect::<Result<_, _>>()?;
        if macs.is_empty() {
            bail!("it has no MAC address");
        }
        for mac in &macs {
            StationMac::try_from(*mac)?;
        }
        let optional = |column: Option<usize>| column.map(cell).unwrap_or_default();
        let parts = optional(self.associations).split(';');
        let associated = parts.filter_map(|part| part.trim().strip_prefix("groups:"));
        let groups = associated.chain([optional(self.groups)]);
        let groups = groups.flat_map(|names| names.split('|')).map(str::trim);
        let groups = groups.filter(|name| !name.is_empty()).map(str::parse);
        let groups: Vec<GroupName> = groups.collect::<Result<_, _>>()?;
        let host = HostAdd {
            name: cell(self.name).parse()?,
            macs,
            image: Some(optional(self.image).to_owned()).filter(|image| !image.is_empty()),
            device: optional(self.device).parse()?,
        };
        Ok((host, groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(text: &str) -> Result<Imported, String> {
        parse(text.as_bytes()).map_err(|error| readable::chain(error.as_ref()))
    }

    fn read(text: &str) -> Result<Vec<HostAdd>, String> {
        imported(text).map(|imported| imported.hosts)
    }

    /// With the names of columns that FOG's documentation has.
    #[test]
    fn what_fog_exports_is_taken_with_its_groups() {
        let text = "name,primac,productKey,kernelArgs,associations\n\
            PC-1,00:11:22:33:44:55,,largesize=1,groups:Lab A|Lab B;snapins:7zip\n\
            PC-2,00:11:22:33:44:56,,,snapins:7zip; groups:lab b\n\
            PC-3,00:11:22:33:44:57,,,\n";
        let imported = imported(text).unwrap();
        assert_eq!(imported.hosts.len(), 3);
        assert_eq!(imported.hosts[0].name.as_str(), "PC-1");
        let groups: Vec<(&str, String)> = imported
            .groups
            .iter()
            .map(|(name, hosts)| (name.as_str(), hosts.join(" ")))
            .collect();
        let expected = [
            ("Lab A", "PC-1".to_owned()),
            ("Lab B", "PC-1 PC-2".to_owned()),
        ];
        assert_eq!(groups, expected);
        // An empty column is not missed.
        assert_eq!(imported.left_out, ["kernelArgs"]);
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let text = "\u{feff}MAC,Image,Hostname,room\n\
            00:1b:21:00:00:01|00-1B-21-00-00-02,win 11,LAB-01,101\n\
            \n\
            00:1b:21:00:00:03,,LAB-02\n";
        let hosts = read(text).unwrap();
        assert_eq!(hosts.len(), 2);
        assert_eq!(hosts[0].name.as_str(), "LAB-01");
        assert_eq!(hosts[0].macs.len(), 2);
        assert_eq!(hosts[0].image.as_deref(), Some("win 11"));
        assert_eq!((hosts[1].image.as_ref(), hosts[1].macs.len()), (None, 1));
    }

    #[test]
    fn every_wrong_line_is_named_and_nothing_is_taken() {
        let error = read("name,mac\nLAB 1,00:1b:21:00:00:01\nLAB-2,x\nLAB-3,00:1b:21:00:00:03\nLAB-4,\nLAB-5,ff:ff:ff:ff:ff:ff\n").unwrap_err();
        for part in ["line 2", "line 3", "line 5: it has no MAC", "line 6"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("line 4"), "{error}");
        for text in ["", "a,b\nc,d\n", "name,mac\n", "\u{0}\u{1b}[2J"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        let many = "x,x\n".repeat(1000);
        let error = read(&format!("name,mac\n{many}")).unwrap_err();
        assert!(error.len() < 5000, "{}", error.len());
    }
}
