//! Kernel arguments: the whole job description of a client.
//!
//! FOG's rules: tokens are separated by blanks; the name ends at the first `=`, the value at
//! the second; `+_+` stands for a blank; later tokens win; an empty value means "not set".

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use crate::mac::{self, Mac};

/// The named arguments and bare words of a kernel command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelArgs {
    values: BTreeMap<String, String>,
    words: Vec<String>,
}

/// Why an argument cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A needed argument is missing.
    #[error("kernel argument {name}= is missing: {why}")]
    Missing {
        /// Name of the argument.
        name: &'static str,
        /// What it is needed for.
        why: &'static str,
    },
    /// An argument has a value that makes no sense.
    #[error("kernel argument {name}={value:?} is not usable: expected {expected}")]
    Invalid {
        /// Name of the argument.
        name: &'static str,
        /// The value, cut to a printable length.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl KernelArgs {
    /// Reads a command line. Never fails: what is no argument of FOG's is kept or ignored.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let mut args = Self::default();
        for token in line.split_ascii_whitespace() {
            let mut parts = token.splitn(3, '=');
            let name = parts.next().unwrap_or_default();
            match parts.next() {
                Some(_) if name == "nvme_core.default_ps_max_latency_us" => {}
                Some(value) => {
                    let value = value.replace("+_+", " ");
                    args.values.insert(name.to_owned(), value);
                }
                None => args.words.push(name.to_owned()),
            }
        }
        args
    }

    /// The value of an argument; `None` if absent or empty.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// All arguments that have a value, with their names.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.values.iter();
        all.map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(_, value)| !value.is_empty())
    }

    /// Gives an argument a value unless it has one.
    pub fn fill(&mut self, name: &str, value: &str) {
        if self.value(name).is_none() && !value.is_empty() {
            self.values.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Gives every argument that has no value the one it has in `other`.
    pub fn fill_from(&mut self, other: &Self) {
        for (name, value) in &other.values {
            self.fill(name, value);
        }
    }

    /// Whether a bare word such as `debug` or `nombr` was given.
    #[must_use]
    pub fn has_word(&self, word: &str) -> bool {
        self.words.iter().any(|have| have == word)
    }

    /// Base URL of the FOG server, ending with `/`.
    ///
    /// # Errors
    /// If `web` is missing or no HTTP URL.
    pub fn web(&self) -> Result<String, ArgsError> {
        let value = self.value("web").ok_or(ArgsError::Missing {
            name: "web",
            why: "it says where the server is (for example web=http://10.0.0.5/fog/)",
        })?;
        if !(value.starts_with("http://") || value.starts_with("https://")) {
            return Err(invalid(
                "web",
                value,
                "http://SERVER/fog/ or https://SERVER/fog/",
            ));
        }
        let slash = if value.ends_with('/') { "" } else { "/" };
        Ok(format!("{value}{slash}"))
    }

    /// The addresses in `mac`, which is empty for hosts that are not registered.
    #[must_use]
    pub fn macs(&self) -> Vec<Mac> {
        self.value("mac").map(mac::parse_list).unwrap_or_default()
    }

    /// Whether this is a deploy by multicast (`type=down mc=yes`).
    #[must_use]
    pub fn is_multicast_deploy(&self) -> bool {
        self.value("type") == Some("down") && self.value("mc") == Some("yes")
    }

    /// Whether this is a deploy of any kind (`type=down`).
    #[must_use]
    pub fn is_deploy(&self) -> bool {
        self.value("type") == Some("down")
    }

    /// Whether this machine's disk is to be captured (`type=up`).
    #[must_use]
    pub fn is_capture(&self) -> bool {
        self.value("type") == Some("up")
    }

    /// Whether the arguments are of a machine that has to ask the server for its job: it booted from USB.
    #[must_use]
    pub fn must_ask_for_job(&self) -> bool {
        self.value("boottype") == Some("usb")
            || (self.value("type").is_none() && self.value("mode").is_none())
    }

    /// The NFS export with the images: `storage=HOST:/PATH/`.
    ///
    /// # Errors
    /// If `storage` is missing, or is not of this form.
    pub fn storage(&self) -> Result<Export, ArgsError> {
        let value = self.value("storage").ok_or(ArgsError::Missing {
            name: "storage",
            why: "it says where the server's images are (for example storage=10.0.0.5:/images/)",
        })?;
        let bad = || invalid("storage", value, "HOST:/PATH/");
        let (host, path) = value.split_once(':').ok_or_else(bad)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_host = !host.is_empty() && host.len() <= 253 && host.chars().all(is_plain);
        let is_path = path.starts_with('/') && path.len() <= 1024;
        if !is_host || !is_path || path.chars().any(char::is_control) {
            return Err(bad());
        }
        let path = path.trim_end_matches('/');
        Ok(Export {
            host: host.to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        })
    }

    /// The directory of the image in the export (`img`): one name.
    ///
    /// # Errors
    /// If `img` is missing, or would lead elsewhere.
    pub fn image_directory(&self) -> Result<&str, ArgsError> {
        let value = self.value("img").ok_or(ArgsError::Missing {
            name: "img",
            why: "it is the directory of the image",
        })?;
        let is_name = !matches!(value, "." | "..")
            && value.len() <= 255
            && !value.contains(['/', '\\'])
            && !value.chars().any(char::is_control);
        is_name
            .then_some(value)
            .ok_or_else(|| invalid("img", value, "the name of a directory"))
    }

    /// Base port of the multicast session: even, both ports usable without wrapping.
    ///
    /// # Errors
    /// If `port` is missing, no number, zero or above 65534.
    pub fn port(&self) -> Result<u16, ArgsError> {
        let value = self.value("port").ok_or(ArgsError::Missing {
            name: "port",
            why: "it is the base port of the multicast session",
        })?;
        match value.parse::<u16>() {
            Ok(port) if (1..=65534).contains(&port) => Ok(port),
            _ => Err(invalid("port", value, "a port number from 1 to 65534")),
        }
    }

    /// Where the sender is asked: `mcastrdv`, else `storageip`.
    ///
    /// # Errors
    /// If neither is there, or the one that counts is no IPv4 address.
    pub fn rendezvous(&self) -> Result<Ipv4Addr, ArgsError> {
        for name in ["mcastrdv", "storageip"] {
            if let Some(value) = self.value(name) {
                return value
                    .parse()
                    .map_err(|_| invalid(name, value, "an IPv4 address"));
            }
        }
        Err(ArgsError::Missing {
            name: "storageip",
            why: "it is the address of the multicast sender",
        })
    }

    /// What this boot shows to the server, to be told from other machines: 32 hexadecimal digits that
    /// its boot script appended. `None` for anything else, and for servers without it.
    #[must_use]
    pub fn ticket(&self) -> Option<&str> {
        self.value("fosticket")
            .filter(|ticket| ticket.len() == 32 && ticket.bytes().all(|b| b.is_ascii_hexdigit()))
    }

    /// Whether the machine shall be switched off instead of rebooted at the end.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        self.value("shutdown") == Some("1")
    }

    /// Whether a technician asked for a shell.
    #[must_use]
    pub fn is_debug(&self) -> bool {
        self.value("isdebug") == Some("yes")
            || self
                .value("mode")
                .is_some_and(|mode| mode.ends_with("debug"))
    }

    /// Whether the server knows nothing of this host: no check-in and no report.
    #[must_use]
    pub fn is_unregistered(&self) -> bool {
        self.value("capone") == Some("1")
    }
}

/// A directory that a server exports by NFS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Address or name of the server.
    pub host: String,
    /// Absolute path, without a slash at its end unless it is the root.
    pub path: String,
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.path)
    }
}

fn invalid(name: &'static str, value: &str, expected: &'static str) -> ArgsError {
    ArgsError::Invalid {
        name,
        value: value.chars().take(80).collect(),
        expected,
    }
}

/// Writes a command line: `name=value` in the order of the calls, empty values left out.
#[derive(Debug, Clone, Default)]
pub struct ArgsWriter(String);

impl ArgsWriter {
    /// Adds `name=value`; blanks in the value become `+_+`. Nothing if the value is empty.
    #[must_use]
    pub fn set(self, name: &str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        if value.is_empty() {
            return self;
        }
        let value: String = value
            .chars()
            .filter(|c| !c.is_control())
            .collect::<String>()
            .replace(' ', "+_+");
        self.raw(&format!("{name}={value}"))
    }

    /// Adds a bare word or free text as it is, line breaks removed.
    #[must_use]
    pub fn raw(mut self, text: &str) -> Self {
        for token in text.split_ascii_whitespace() {
            if !self.0.is_empty() {
                self.0.push(' ');
            }
            self.0.push_str(token);
        }
        self
    }

    /// The line.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "bzImage loglevel=4 initrd=init.xz root=/dev/ram0 rw ramdisk_size=275000 \
        web=http://10.0.0.5/fog/ consoleblank=0 rootfstype=ext4 \
        nvme_core.default_ps_max_latency_us=0 setmacto=00:1b:21:aa:bb:cc mac=00:1b:21:aa:bb:cc \
        ftp=10.0.0.5 storage=10.0.0.5:/images/ storageip=10.0.0.5 osid=9 irqpoll hostname=LAB-01 \
        chkdsk=0 img=win11lab imgType=n imgPartitionType=all imgid=7 imgFormat=5 PIGZ_COMP=-6 \
        port=63100 type=down mc=yes";

    #[test]
    fn a_complete_multicast_line_is_understood() {
        let args = KernelArgs::parse(LINE);
        assert!(args.is_multicast_deploy());
        assert_eq!(args.web().unwrap(), "http://10.0.0.5/fog/");
        assert_eq!(args.port().unwrap(), 63100);
        assert_eq!(args.rendezvous().unwrap(), Ipv4Addr::new(10, 0, 0, 5));
        assert_eq!(args.macs().len(), 1);
        assert_eq!(args.value("nvme_core.default_ps_max_latency_us"), None);
        assert!(args.has_word("irqpoll"));
        assert!(!args.is_shutdown() && !args.is_debug() && !args.is_unregistered());
    }

    #[test]
    fn odd_tokens_follow_the_rules() {
        let args =
            KernelArgs::parse("a=1 a=2 b=x=y c= d=one+_+two nombr mcastrdv=1.2.3.4 storageip=x");
        assert_eq!(args.value("a"), Some("2"));
        assert_eq!(args.value("b"), Some("x"));
        assert_eq!(args.value("c"), None);
        assert_eq!(args.value("d"), Some("one two"));
        assert!(args.has_word("nombr"));
        assert_eq!(args.rendezvous().unwrap(), Ipv4Addr::new(1, 2, 3, 4));
        assert!(KernelArgs::parse("").macs().is_empty());
    }

    #[test]
    fn a_ticket_is_32_digits_and_the_last_one_counts() {
        let ticket = |line: &str| KernelArgs::parse(line).ticket().map(str::to_owned);
        let digits = "0123456789abcdef0123456789abcdef";
        assert_eq!(ticket(&format!("fosticket={digits}")).unwrap(), digits);
        assert_eq!(
            ticket(&format!("fosticket=x type=down fosticket={digits}")).unwrap(),
            digits
        );
        assert_eq!(ticket(""), None);
        assert_eq!(ticket("fosticket="), None);
        assert_eq!(ticket(&format!("fosticket={digits}0")), None);
        assert_eq!(
            ticket(&format!("fosticket={}", digits.replace('0', "g"))),
            None
        );
        // 32 bytes, but not of digits.
        assert_eq!(ticket(&format!("fosticket={}", "\u{e4}".repeat(16))), None);
    }

    #[test]
    fn the_image_share_is_a_host_and_a_path() {
        let of = |value: &str| KernelArgs::parse(&format!("storage={value}")).storage();
        let export = of("10.0.0.5:/images/").unwrap();
        assert_eq!(
            (export.host.as_str(), export.path.as_str()),
            ("10.0.0.5", "/images")
        );
        assert_eq!(export.to_string(), "10.0.0.5:/images");
        assert_eq!(of("nas-1.lab:/").unwrap().path, "/");
        for bad in [
            "",
            "10.0.0.5",
            "10.0.0.5:images",
            ":/images",
            "a,b:/x",
            "::1:/x",
        ] {
            of(bad).unwrap_err();
        }
        let image = |value: &str| {
            let args = KernelArgs::parse(&format!("img={value}"));
            args.image_directory().map(str::to_owned)
        };
        assert_eq!(image("win+_+11").unwrap(), "win 11");
        for bad in ["", ".", "..", "a/b", "../x", "/x"] {
            image(bad).unwrap_err();
        }
    }

    #[test]
    fn a_line_without_a_job_is_of_a_usb_stick() {
        let asks = |line: &str| KernelArgs::parse(line).must_ask_for_job();
        assert!(asks("web=http://x/ mac=00:1b:21:aa:bb:cc"));
        assert!(asks("web=http://x/ boottype=usb type=down"));
        assert!(!asks("type=down") && !asks("mode=onlydebug"));
    }

    #[test]
    fn unusable_values_are_named() {
        let args = KernelArgs::parse("web=ftp://x port=65535 storageip=::1");
        for text in [
            args.web().unwrap_err().to_string(),
            args.port().unwrap_err().to_string(),
            args.rendezvous().unwrap_err().to_string(),
        ] {
            assert!(text.contains("is not usable"), "{text}");
        }
        assert!(matches!(
            KernelArgs::parse("").web(),
            Err(ArgsError::Missing { name: "web", .. })
        ));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let line = ArgsWriter::default()
            .set("hostname", "LAB 01\n")
            .set("img", "")
            .raw("irqpoll  type=down\nmc=yes")
            .finish();
        assert_eq!(line, "hostname=LAB+_+01 irqpoll type=down mc=yes");
        assert_eq!(KernelArgs::parse(&line).value("hostname"), Some("LAB 01"));
    }
}
