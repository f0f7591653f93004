//! What a machine is to do, in the language of its boot loader: iPXE, or GRUB, which distributions sign for Secure
//! Boot.

use std::time::Duration;

use fog::Mac;

use super::super::debug_menu;
use super::{BootFiles, menu, registration};
use crate::domain::image::is_safe_in_boot_script;

/// Who reads the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Loader {
    Ipxe,
    /// With paths as this server has them; below what GRUB's variable `root` says, which may be a TFTP server with the
    /// same paths: the GRUB that Debian signs knows no HTTP.
    Grub,
}

/// What a machine is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Script {
    /// Boot the client.
    Task {
        files: BootFiles,
        /// Of the kernel.
        arguments: String,
    },
    /// Boot the local disk.
    NoTask {
        host: String,
        /// What became of the last task.
        last: Option<String>,
    },
    /// The same, after there was time to read why.
    Message { lines: Vec<String> },
    /// A question that a key stroke leads to (see `debug_menu`), and this. GRUB has none: it cannot ask for a
    /// password.
    Offered {
        script: Box<Self>,
        mac: Mac,
        arch: String,
        /// How the machine reaches this server.
        host: String,
    },
    /// Ask another server, else do this.
    Elsewhere {
        script: Box<Self>,
        /// Where clients reach that server, ending with `/`.
        url: String,
        mac: Mac,
        arch: String,
    },
    /// A key stroke that asks to be registered (see `registration`), and this. GRUB has none: it waits for no key in the
    /// middle of a script.
    Registrable {
        script: Box<Self>,
        mac: Mac,
        arch: String,
    },
    /// A key stroke that opens the boot menu (see `menu`), and this. GRUB has none.
    Menu {
        script: Box<Self>,
        mac: Mac,
        arch: String,
        title: String,
        entries: Vec<menu::Entry>,
    },
    /// Lines, and the question for the name of a session. GRUB cannot ask.
    AskName {
        lines: Vec<String>,
        mac: Mac,
        arch: String,
    },
    /// Ask again every few seconds: the local disk is only booted if that does not help, as nobody starts a whole
    /// room again after a restart of the server.
    Later {
        why: String,
        mac: Mac,
        arch: String,
        /// How often it has asked already.
        asked: u32,
    },
}

impl Script {
    pub(super) fn write(&self, loader: Loader) -> String {
        let first = match loader {
            Loader::Ipxe => "#!ipxe\n",
            Loader::Grub => "",
        };
        format!("{first}{}", self.commands(loader))
    }

    fn commands(&self, loader: Loader) -> String {
        let mut text = String::new();
        match self {
            Self::Task { files, arguments } => text.push_str(&loader.task(*files, arguments)),
            Self::NoTask { host, last } => {
                let line = format!("{}: no task, booting from the local disk", safe(host));
                text.push_str(&loader.echo(&line));
                if let Some(last) = last {
                    text.push_str(&loader.echo(last));
                    text.push_str("sleep 3\n");
                }
                text.push_str("exit\n");
            }
            Self::Message { lines } => {
                text.push_str("echo\n");
                for line in lines {
                    text.push_str(&loader.echo(line));
                }
                text.push_str(&loader.local_disk());
            }
            Self::Offered {
                script,
                mac,
                arch,
                host,
            } => {
                if loader == Loader::Ipxe {
                    text.push_str(&debug_menu::entry(*mac, &word(arch), host));
                }
                text.push_str(&script.commands(loader));
            }
            Self::Elsewhere {
                script,
                url,
                mac,
                arch,
            } => {
                // GRUB may have no network of its own.
                if loader == Loader::Ipxe && is_url(url) {
                    let query = format!("mac0={mac}&arch={}", word(arch));
                    text.push_str("sleep 2\n");
                    text.push_str(&format!(
                        "chain --replace {url}service/ipxe/boot.php?{query} ||\n"
                    ));
                }
                text.push_str(&script.commands(loader));
            }
            Self::Registrable { script, mac, arch } => {
                if loader == Loader::Ipxe {
                    text.push_str(&registration::entry(*mac, &word(arch)));
                }
                text.push_str(&script.commands(loader));
            }
            Self::Menu {
                script,
                mac,
                arch,
                title,
                entries,
            } => {
                if loader == Loader::Ipxe {
                    text.push_str(&menu::commands(*mac, &word(arch), title, entries));
                }
                text.push_str(&script.commands(loader));
            }
            Self::AskName { lines, mac, arch } => {
                text.push_str("echo\n");
                for line in lines {
                    text.push_str(&loader.echo(line));
                }
                if loader == Loader::Ipxe {
                    text.push_str(&menu::ask_name(*mac, &word(arch)));
                }
                text.push_str(&loader.local_disk());
            }
            // A server that ends refuses the next question: so the script has all that are left, and each answer
            // takes the place of it. The number in the question keeps the sum bounded.
            Self::Later {
                why,
                mac,
                arch,
                asked,
            } => {
                text.push_str("echo\n");
                text.push_str(&loader.echo(why));
                if *asked < MAX_TRIES {
                    text.push_str(&loader.echo("Asking the server again."));
                }
                for number in asked.saturating_add(1)..=MAX_TRIES {
                    let query = format!("mac0={mac}&arch={}&{FIELD_TRIES}={number}", word(arch));
                    text.push_str(&format!("sleep {}\n", TRY_PERIOD.as_secs()));
                    text.push_str(&loader.ask(&query));
                }
                let line = "The server could not say what to boot. Start this machine again later.";
                text.push_str(&loader.echo(line));
                text.push_str(&loader.local_disk());
            }
        }
        text
    }
}

impl Loader {
    /// The kernel argument `initrd`: UEFI kernels fetch the file of this name by themselves, from where iPXE offers it.
    /// GRUB hands it over.
    pub(in super::super) fn initrd(self, files: BootFiles) -> &'static str {
        match self {
            Self::Ipxe => files.init,
            Self::Grub => "",
        }
    }

    fn task(self, files: BootFiles, arguments: &str) -> String {
        let BootFiles { kernel, init } = files;
        match self {
            // Images that are still registered (a script of an older stage) would be put in front of the
            // initrd: freed first.
            Self::Ipxe => {
                format!("imgfree\nkernel {kernel} {arguments}\nimgfetch {init}\nboot\n")
            }
            Self::Grub => {
                let words: Vec<String> = arguments.split(' ').map(quoted).collect();
                let words = words.join(" ");
                // It goes on after an error, and has said which. A script that ended would lead back to the one that
                // asked.
                format!(
                    "linux {GRUB_DIR}/ipxe/{kernel} {words}\ninitrd {GRUB_DIR}/ipxe/{init}\nboot\n{}{}",
                    self.echo("The client could not be booted: GRUB says above why."),
                    self.local_disk()
                )
            }
        }
    }

    fn echo(self, line: &str) -> String {
        let line = safe(line);
        match self {
            Self::Ipxe => format!("echo {line}\n"),
            Self::Grub => format!("echo '{line}'\n"),
        }
    }

    /// Puts the answer to this question in the place of the script, if there is one.
    fn ask(self, query: &str) -> String {
        match self {
            Self::Ipxe => format!("chain --replace boot.php?{query} ||\n"),
            Self::Grub => format!("source '{GRUB_DIR}/grub/boot.php?{query}'\n"),
        }
    }

    fn local_disk(self) -> String {
        let line = self.echo("Booting from the local disk in 15 seconds.");
        format!("{line}sleep 15\nexit\n")
    }
}

/// How often a machine asked already.
pub(super) const FIELD_TRIES: &str = "tries";

/// Between two questions.
const TRY_PERIOD: Duration = Duration::from_secs(5);

/// Questions until the local disk: five minutes, and the time that they take.
const MAX_TRIES: u32 = 60;

/// Where GRUB asks: it knows no relative paths.
const GRUB_DIR: &str = "/fog/service";

/// A text that means nothing to a boot loader: no variables, no operators, no line ends.
pub(in super::super) fn safe(text: &str) -> String {
    text.chars()
        .map(|c| if is_safe_in_boot_script(c) { c } else { ' ' })
        .take(500)
        .collect()
}

/// Whether a text is the address of a server and nothing else.
fn is_url(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || ".-_:/[]".contains(c);
    text.starts_with("http://") && text.ends_with('/') && text.chars().all(is_good)
}

/// What may be part of a question.
fn word(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        .take(16)
        .collect()
}

/// One word of a GRUB script, whatever is in it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.,:/=+@%".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOADERS: [Loader; 2] = [Loader::Ipxe, Loader::Grub];

    #[test]
    fn a_machine_of_another_server_is_sent_there_and_nowhere_else() {
        let script = |url: &str| {
            let later = Script::Message { lines: Vec::new() };
            let script = Script::Elsewhere {
                script: Box::new(later),
                url: url.into(),
                mac: "00:1b:21:00:00:01".parse().unwrap(),
                arch: "x86_64; shell".into(),
            };
            script.write(Loader::Ipxe)
        };
        let line = "chain --replace http://10.0.0.2/fog/service/ipxe/boot.php?mac0=00:1b:21:00:00:01&arch=x86_64shell ||\n";
        let text = script("http://10.0.0.2/fog/");
        assert!(text.contains(line), "{text}");
        for url in ["", "http://x ||shell/", "http://x/\nshell/", "tftp://x/"] {
            let text = script(url);
            assert!(!text.contains("chain"), "{text}");
        }
    }

    #[test]
    fn texts_cannot_become_commands() {
        let script = Script::NoTask {
            host: "${net0/mac}".into(),
            last: Some("a || shell\nshell ; shell ;; 'reboot".into()),
        };
        for loader in LOADERS {
            let text = script.write(loader);
            let is_operator = |c| ";|&${}`\\".contains(c);
            assert!(!text.contains(is_operator), "{text}");
            let commands = text.lines().map(|line| line.split(' ').next().unwrap());
            let commands: Vec<&str> = commands.filter(|word| *word != "#!ipxe").collect();
            assert_eq!(commands, ["echo", "echo", "sleep", "exit"], "{text}");
            if loader == Loader::Grub {
                // Quoted from end to end.
                let echoes = text.lines().filter(|line| line.starts_with("echo"));
                for line in echoes {
                    assert!(
                        line.ends_with('\'') && line.matches('\'').count() == 2,
                        "{line}"
                    );
                }
            }
        }
    }

    #[test]
    fn words_of_grub_keep_their_characters() {
        assert_eq!(quoted("mac=00:1b:21:aa:bb:cc"), "mac=00:1b:21:aa:bb:cc");
        assert_eq!(
            quoted("storage=10.0.0.5:/images/"),
            "storage=10.0.0.5:/images/"
        );
        assert_eq!(quoted("a;reboot"), "'a;reboot'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn no_script_of_grub_ends_without_leaving_it() {
        let files = super::super::BOOT_FILES[0];
        let arguments = "web=http://10.0.0.5/fog/ a;b".to_owned();
        let scripts = [
            Script::Task { files, arguments },
            Script::NoTask {
                host: "LAB-01".into(),
                last: None,
            },
            Script::Message {
                lines: vec!["x".into()],
            },
            Script::Later {
                why: "x".into(),
                mac: "00:1b:21:aa:bb:cc".parse().unwrap(),
                arch: "x86_64 ; reboot".into(),
                asked: 58,
            },
        ];
        let texts = scripts.map(|script| script.write(Loader::Grub));
        for text in &texts {
            assert!(text.ends_with("\nexit\n"), "{text}");
        }
        assert!(
            texts[0].starts_with(
                "linux /fog/service/ipxe/bzImage web=http://10.0.0.5/fog/ 'a;b'\n\
                 initrd /fog/service/ipxe/init.xz\nboot\n"
            ),
            "{}",
            texts[0]
        );
        let asked: Vec<&str> = texts[3]
            .lines()
            .filter(|l| l.starts_with("source"))
            .collect();
        let ask = |number| {
            format!(
                "source '/fog/service/grub/boot.php?mac0=00:1b:21:aa:bb:cc&arch=x86_64reboot&tries={number}'"
            )
        };
        assert_eq!(asked, [ask(59), ask(60)]);
    }
}
