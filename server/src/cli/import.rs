//! `host import`: machines of a file, a line each.

use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use csv::{ReaderBuilder, StringRecord, Trim};
use fog::Mac;

use crate::api::HostAdd;
use crate::domain::host::StationMac;

/// The machines of a file. All of it is read before anything is done with it.
///
/// # Errors
/// With every line that is not good.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<HostAdd>> {
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

fn parse(from: impl io::Read) -> anyhow::Result<Vec<HostAdd>> {
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
    let columns = Columns::of(reader.headers()?)?;
    let (mut hosts, mut wrong) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record?;
        if record.iter().all(str::is_empty) {
            continue;
        }
        let line = record.position().map_or(0, csv::Position::line);
        match columns.host(&record) {
            Ok(host) => hosts.push(host),
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
    Ok(hosts)
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
        let needed =
            "its first line has to name the columns: name, mac, and if wanted image and device";
        Ok(Self {
            name: place(&["name", "host", "hostname"]).context(needed)?,
            macs: place(&["mac", "macs"]).context(needed)?,
            image: place(&["image"]),
            device: place(&["device"]),
        })
    }

    fn host(&self, record: &StringRecord) -> anyhow::Result<HostAdd> {
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
        Ok(HostAdd {
            name: cell(self.name).parse()?,
            macs,
            image: Some(optional(self.image).to_owned()).filter(|image| !image.is_empty()),
            device: optional(self.device).parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<HostAdd>, String> {
        parse(text.as_bytes()).map_err(|error| readable::chain(error.as_ref()))
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
