//! `setup`: from an installed package to a running server.

mod takeover;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use cast_net::Interface;
use clap::ValueEnum as _;
use initramfs::Manifest;

use self::takeover::Units;
use super::boot_files::BootFiles;
use super::{Places, configuration};
use crate::output;
use crate::runfile::write_whole;
use crate::text::dhcp::{self, BootPlace};

/// Write the configuration, make the boot files, start the service, and say what is left to do
#[derive(Debug, clap::Args)]
pub(super) struct Setup {
    /// Network card of the PCs [default: the only one, else it is asked for]
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Address and port of the HTTP server [default: 0.0.0.0:80]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// What goes by HTTPS, with a certificate that the server makes for itself [default: it is asked for; with --yes no]
    #[arg(long, value_enum, value_name = "WHAT")]
    https: Option<HttpsFor>,
    /// Ask nothing: take what is found and the defaults, and replace a configuration that is there (it is kept as .old)
    #[arg(long)]
    yes: bool,
    /// Version of the kernel that clients boot [default: the newest one for PCs in /boot]
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Make no boot files
    #[arg(long)]
    no_boot_files: bool,
    /// Answer the boot questions of PCs beside the DHCP server of the network (packages dnsmasq-base and ipxe)
    #[arg(long)]
    proxy_dhcp: bool,
    /// Take the place of FOG's multicast manager on this machine: `systemctl restart FOGMulticastManager` acts on this
    /// server, and the logs are where FOG's Log Viewer reads them. Removing the package gives it back
    #[arg(long, conflicts_with = "give_back_fog")]
    take_over_fog: bool,
    /// Give the place of FOG's multicast manager back, and do nothing else
    #[arg(long)]
    give_back_fog: bool,
    /// Do not start the service
    #[arg(long)]
    no_start: bool,
}

/// What goes by HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum HttpsFor {
    /// There is no HTTPS
    No,
    /// The page and the API
    Page,
    /// Clients, too: fos-agent knows the server by its key
    All,
}

impl HttpsFor {
    /// What differs from the defaults of a server that listens there for HTTP.
    fn settings(self, listen: SocketAddr) -> Vec<(&'static str, String)> {
        let Some(https) = self.listen(listen) else {
            return Vec::new();
        };
        let mut settings = vec![
            ("https-listen", https.to_string()),
            ("https-only", "true".to_owned()),
        ];
        if self == Self::All {
            settings.push(("https-clients", "true".to_owned()));
        }
        settings
    }

    /// Where it listens. Another program that has port 80 has the usual one of HTTPS, too.
    fn listen(self, listen: SocketAddr) -> Option<SocketAddr> {
        let port = match listen.port() {
            80 => 443,
            _ => 8443,
        };
        (self != Self::No).then(|| SocketAddr::new(listen.ip(), port))
    }
}

/// Where FOG's Log Viewer reads.
const FOG_LOGS: &str = "/opt/fog/log";
/// Where the images of a FOG are.
const FOG_IMAGES: &str = "/images";
/// The package makes this user.
const USER: &str = "fos";

impl Setup {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let units = Units::below("/".as_ref());
        if self.give_back_fog {
            units.give_back()?;
            Systemd::find().reload();
            return Ok(true);
        }
        let file = places.config.clone();
        let file = file.unwrap_or_else(|| configuration::USUAL.into());
        let interface = self.card()?;
        let images = self.images(places)?;
        let https = self.https()?;
        let mut chosen = self.chosen(places, &interface, &images);
        chosen.extend(https.settings(self.listen_or_default()));
        if !self.may_write(&file)? {
            output::explain("nothing was changed");
            return Ok(false);
        }
        write_configuration(&file, &configuration::commented(&chosen))?;
        output::result(&format!("wrote {}", file.display()));
        fs::create_dir_all(&images).with_context(|| format!("making {}", images.display()))?;
        let boot = places.data.join("boot");
        fs::create_dir_all(&boot).with_context(|| format!("making {}", boot.display()))?;
        let has_boot_files = self.make_boot_files(&boot).await;
        give_to_user(&places.data)?;
        let systemd = Systemd::find();
        if self.take_over_fog {
            fs::create_dir_all(FOG_LOGS).context("making the directory of FOG's logs")?;
            systemd.run(&["stop", "FOGMulticastManager"]);
            units.take()?;
            give_logs()?;
            systemd.reload();
            output::result("FOGMulticastManager is now another name of fos-server");
        }
        if self.proxy_dhcp {
            allow_proxy_dhcp(Path::new("/"))?;
            systemd.reload();
        }
        let listen = self.listen_or_default();
        self.say_dhcp(&interface, listen);
        let is_running = !self.no_start && systemd.start();
        let page = match https.listen(listen) {
            Some(https) => page("https", 443, interface.addr, https),
            None => page("http", 80, interface.addr, listen),
        };
        output::result(&format!("\nThe page is at {page}"));
        match is_running {
            true => output::result(&first_account(places, &page).await),
            false => output::result(
                "The server does not run yet: systemctl enable --now fos-server, then as root: \
                 fos-server user add NAME --role admin",
            ),
        }
        Ok(has_boot_files)
    }

    fn listen_or_default(&self) -> SocketAddr {
        let usual = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        self.listen.unwrap_or(usual)
    }

    /// The card of the PCs: as named, the only one, or as a person says.
    fn card(&self) -> anyhow::Result<Interface> {
        let list = Interface::list()?;
        let usable: Vec<Interface> = list.into_iter().filter(|card| !card.is_loopback).collect();
        let named = |name: &str| Interface::choose(&usable, Some(name)).cloned();
        if let Some(name) = &self.interface {
            return Ok(named(name)?);
        }
        let shown: Vec<String> = usable.iter().map(ToString::to_string).collect();
        match &usable[..] {
            [] => bail!("no network card has an IPv4 address; configure one first"),
            [only] => Ok(only.clone()),
            _ => {
                let wanted = self.ask(
                    "--interface",
                    &format!("On which card are the PCs? {}: ", shown.join(", ")),
                )?;
                Ok(named(&wanted)?)
            }
        }
    }

    fn images(&self, places: &Places) -> anyhow::Result<PathBuf> {
        if let Some(images) = &places.images {
            return Ok(std::path::absolute(images)?);
        }
        let usual = match Path::new(FOG_IMAGES).is_dir() {
            true => FOG_IMAGES.into(),
            false => places.data.join("images"),
        };
        if self.yes || !io::stdin().is_terminal() {
            return Ok(usual);
        }
        let prompt = format!("Where are the images? [{}] ", usual.display());
        let given = self.ask("--images", &prompt)?;
        match given.is_empty() {
            true => Ok(usual),
            false => Ok(std::path::absolute(given)?),
        }
    }

    /// What goes by HTTPS: as given, or as a person says.
    fn https(&self) -> anyhow::Result<HttpsFor> {
        if let Some(given) = self.https {
            return Ok(given);
        }
        if self.yes || !io::stdin().is_terminal() {
            return Ok(HttpsFor::No);
        }
        let answer = self.ask(
            "--https",
            "Is there HTTPS: no, for the page (page), or for clients, too (all)? [no] ",
        )?;
        if answer.is_empty() {
            return Ok(HttpsFor::No);
        }
        let known = HttpsFor::from_str(&answer, true);
        known.map_err(|_| anyhow::anyhow!("expected no, page or all, not {answer:?}"))
    }

    /// What differs from the defaults.
    fn chosen(
        &self,
        places: &Places,
        interface: &Interface,
        images: &Path,
    ) -> BTreeMap<&'static str, String> {
        let mut chosen = BTreeMap::from([
            ("interface", interface.name.clone()),
            ("images", images.display().to_string()),
        ]);
        if let Some(listen) = self.listen {
            chosen.insert("listen", listen.to_string());
        }
        if places.data != Path::new(USUAL_DATA) {
            chosen.insert("data", places.data.display().to_string());
        }
        if let Some(database) = places.database.named() {
            chosen.insert("database", database.to_owned());
        }
        if let Some(file) = places.database.password_file() {
            chosen.insert("database-password-file", file.display().to_string());
        }
        if self.proxy_dhcp {
            chosen.insert("proxy-dhcp", "true".to_owned());
        }
        if self.take_over_fog {
            chosen.insert("log", FOG_LOGS.to_owned());
        }
        chosen
    }

    /// Whether the configuration may be written: it is not there, or a person says so.
    fn may_write(&self, file: &Path) -> anyhow::Result<bool> {
        if self.yes || !file.exists() {
            return Ok(true);
        }
        let prompt = format!("{} is there; replace it? [y/N] ", file.display());
        let answer = self.ask("--yes", &prompt)?;
        Ok(matches!(answer.as_str(), "y" | "Y" | "yes"))
    }

    /// A line from the terminal.
    fn ask(&self, option: &str, prompt: &str) -> anyhow::Result<String> {
        if self.yes || !io::stdin().is_terminal() {
            bail!("there is nobody to ask: {prompt}(give {option})");
        }
        output::ask(prompt);
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// A server without boot files is of use, too: they may be made later.
    async fn make_boot_files(&self, boot: &Path) -> bool {
        if self.no_boot_files {
            return true;
        }
        let missing = Manifest::read().map(|manifest| {
            let names = manifest.missing_resize_programs().into_iter();
            names.map(str::to_owned).collect::<Vec<String>>()
        });
        let missing = missing.unwrap_or_default();
        if !missing.is_empty() {
            output::explain(&format!(
                "programs that grow file systems on clients are missing here ({}), so images of type n are not grown; \
                 when their packages are installed, fos-server boot-files packs them",
                missing.join(", ")
            ));
        }
        let files = BootFiles::with(self.kernel.clone(), missing.is_empty());
        let boot = boot.to_owned();
        let made = tokio::task::spawn_blocking(move || files.make(&boot)).await;
        let made = made.map_err(anyhow::Error::from).and_then(|made| made);
        if let Err(error) = &made {
            let text = readable::chain(error.as_ref());
            output::explain(&format!(
                "no boot files were made: {text}\nfos-server boot-files makes them when that is done"
            ));
        }
        made.is_ok()
    }

    fn say_dhcp(&self, interface: &Interface, listen: SocketAddr) {
        if self.proxy_dhcp {
            output::result(
                "\nPCs are answered by this server's own dnsmasq; your DHCP server stays as it is.",
            );
            return;
        }
        let web_url = web_url(interface.addr, listen);
        let place = BootPlace {
            address: interface.addr,
            prefix_len: interface.prefix_len,
            web_url: &web_url,
        };
        output::result(&format!(
            "\nPCs have to be led here by your DHCP server, or by this one: fos-server setup --proxy-dhcp\n\
             For dnsmasq:\n{}\nFor ISC's dhcpd:\n{}\n\
             undionly.kpxe and snponly.efi are in Debian's package ipxe; default.ipxe beside them:\n{}",
            dhcp::dnsmasq(place),
            dhcp::isc(place),
            indented(&dhcp::ipxe_script(&web_url)),
        ));
    }
}

/// The service may do what dnsmasq has to.
fn allow_proxy_dhcp(root: &Path) -> anyhow::Result<()> {
    let directory = root.join("etc/systemd/system/fos-server.service.d");
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let file = directory.join("proxy-dhcp.conf");
    write_whole(&file, PROXY_DHCP.as_bytes())?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))
        .with_context(|| format!("opening {} for all", file.display()))
}

const PROXY_DHCP: &str = include_str!("../../../debian/proxy-dhcp.conf");

/// Where the package has everything.
const USUAL_DATA: &str = "/var/lib/fos-server";

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn web_url(address: Ipv4Addr, listen: SocketAddr) -> String {
    format!("{}fog/", page("http", 80, address, listen))
}

fn page(scheme: &str, usual: u16, address: Ipv4Addr, listen: SocketAddr) -> String {
    let address = match listen.ip() {
        std::net::IpAddr::V4(ip) if !ip.is_unspecified() => ip,
        _ => address,
    };
    match listen.port() {
        port if port == usual => format!("{scheme}://{address}/"),
        port => format!("{scheme}://{address}:{port}/"),
    }
}

/// How the first person gets in: by a link that is good once, as long as there is no account.
async fn first_account(places: &Places, page: &str) -> String {
    match super::client::setup_code(places).await {
        Ok(Some(code)) => format!(
            "Make the first account at {page}setup?code={code} (good once, until the server ends)"
        ),
        Ok(None) => "There are accounts: log in there.".to_owned(),
        Err(error) => format!(
            "The server does not answer yet ({}); journalctl -u fos-server says why, and has the link for the first \
             account",
            readable::chain(error.as_ref())
        ),
    }
}

/// Replaces a configuration; the earlier one is kept beside it.
fn write_configuration(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    if file.exists() {
        let old = file.with_extension("toml.old");
        fs::copy(file, &old).with_context(|| format!("keeping {}", file.display()))?;
    }
    write_whole(file, text.as_bytes())?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))
        .with_context(|| format!("opening {} for all", file.display()))
}

/// What was made as root has to be the service's.
fn give_to_user(directory: &Path) -> anyhow::Result<()> {
    let mut above = vec![directory.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = above.pop() {
        // Images are large and may be another system's: only the directory itself.
        let is_images = path.file_name() == Some("images".as_ref());
        if path.is_dir() && !path.is_symlink() && !is_images {
            let entries =
                fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))?;
            above.extend(entries.flatten().map(|entry| entry.path()));
        }
        all.push(path);
    }
    give(all.into_iter())
}

/// Nothing changes where there is no such user, or we are not root.
fn give(paths: impl Iterator<Item = PathBuf>) -> anyhow::Result<()> {
    let is_root = nix::unistd::geteuid().is_root();
    let Some(user) = nix::unistd::User::from_name(USER)?.filter(|_| is_root) else {
        return Ok(());
    };
    for path in paths {
        std::os::unix::fs::lchown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .with_context(|| format!("giving {} to user {USER}", path.display()))?;
    }
    Ok(())
}

/// The directory of FOG's logs, and those that this server writes; FOG's other logs stay as they are.
fn give_logs() -> anyhow::Result<()> {
    let is_ours = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("multicast.log")
    };
    let entries = fs::read_dir(FOG_LOGS).with_context(|| format!("reading {FOG_LOGS}"))?;
    let logs = entries.flatten().map(|entry| entry.path());
    give(
        [PathBuf::from(FOG_LOGS)]
            .into_iter()
            .chain(logs.filter(|path| is_ours(path))),
    )
}

/// The service manager, where it runs.
struct Systemd(bool);

impl Systemd {
    fn find() -> Self {
        Self(Path::new("/run/systemd/system").is_dir())
    }

    fn reload(&self) {
        self.run(&["daemon-reload"]);
    }

    /// Whether the service runs now; it says why not.
    fn start(&self) -> bool {
        self.run(&["enable", "fos-server"]) && self.run(&["restart", "fos-server"])
    }

    fn run(&self, arguments: &[&str]) -> bool {
        if !self.0 {
            return false;
        }
        match Command::new("systemctl").args(arguments).status() {
            Ok(status) => status.success(),
            Err(error) => {
                output::explain(&format!("systemctl: {error}"));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_configuration_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("etc/config.toml");
        write_configuration(&file, "grace = 1\n").unwrap();
        write_configuration(&file, "grace = 2\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "grace = 2\n");
        let old = fs::read_to_string(dir.path().join("etc/config.toml.old"));
        assert_eq!(old.unwrap(), "grace = 1\n");
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn the_page_is_where_people_reach_it() {
        let own = Ipv4Addr::new(10, 0, 0, 5);
        for (listen, expected) in [
            ("0.0.0.0:80", "http://10.0.0.5/"),
            ("0.0.0.0:8080", "http://10.0.0.5:8080/"),
            ("10.0.0.6:80", "http://10.0.0.6/"),
        ] {
            assert_eq!(page("http", 80, own, listen.parse().unwrap()), expected);
        }
        let listen = "0.0.0.0:443".parse().unwrap();
        assert_eq!(page("https", 443, own, listen), "https://10.0.0.5/");
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        setup: Setup,
    }

    #[test]
    fn https_is_for_what_it_was_wanted_for() {
        use clap::Parser as _;

        let settings = |options: &[&str]| {
            let line = Line::parse_from([&["setup", "--yes"][..], options].concat());
            let chosen = line.setup.https().unwrap();
            let chosen = chosen.settings(line.setup.listen_or_default());
            let text = configuration::commented(&chosen.into_iter().collect());
            let set = text.lines().filter(|line| line.starts_with("https"));
            set.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(settings(&[]), [""; 0]);
        assert_eq!(settings(&["--https", "no"]), [""; 0]);
        let page = ["https-listen = \"0.0.0.0:443\"", "https-only = true"];
        let mut found = settings(&["--https", "page"]);
        found.sort_unstable();
        assert_eq!(found, page);
        let beside = settings(&["--https", "all", "--listen", "10.0.0.5:8080"]);
        for line in [
            "https-listen = \"10.0.0.5:8443\"",
            "https-only = true",
            "https-clients = true",
        ] {
            assert!(beside.iter().any(|found| found == line), "{beside:?}");
        }
    }
}
