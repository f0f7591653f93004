//! The job of a machine that booted from USB, as `hostinfo.php` answers it: lines for a shell.
//!
//! The text is read as data. Nothing is executed or expanded, and names that a deploy does not need are
//! dropped here: the text has the password of the domain, too.

use crate::KernelArgs;
use crate::encoding::printable;

/// What a job can consist of: the names that mean something to a deploy.
const NAMES: [&str; 21] = [
    "mac",
    "osid",
    "storage",
    "storageip",
    "mcastrdv",
    "img",
    "imgFormat",
    "imgLegacy",
    "imgType",
    "imgPartitionType",
    "imgid",
    "port",
    "type",
    "mc",
    "mode",
    "isdebug",
    "shutdown",
    "hostname",
    "hostearly",
    "fdrive",
    "chkdsk",
];

/// Why a text is no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostInfoError {
    /// There is no `export` in it: a message, in any language.
    #[error("{}", shown(.0))]
    NoJob(String),
    /// A line is not what FOG writes.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Reads the answer of `hostinfo.php`. Values that are empty are left out. Of two with the same name the first
/// one counts: the lines set only what is not set.
///
/// # Errors
/// If it is a message, or has something that only a shell could interpret.
pub fn parse(body: &str) -> Result<KernelArgs, HostInfoError> {
    let mut job = KernelArgs::default();
    let mut is_job = false;
    let mut rest = body;
    while !rest.is_empty() {
        let line = 1 + body[..body.len() - rest.len()].matches('\n').count();
        let bad = |what| HostInfoError::Line { line, what };
        let end = rest.find('\n').unwrap_or(rest.len());
        let is_comment = rest.trim_start_matches([' ', '\t']).starts_with('#');
        let found = rest[..end].find(EXPORT).filter(|_| !is_comment);
        let Some(at) = found else {
            rest = rest.get(end + 1..).unwrap_or_default();
            continue;
        };
        is_job = true;
        let assignment = &rest[at + EXPORT.len()..];
        let (name, value) = assignment
            .split_once('=')
            .filter(|(name, _)| is_name(name))
            .ok_or_else(|| bad("no name after export"))?;
        let (value, after) = word(value).map_err(bad)?;
        let end = after.find('\n').unwrap_or(after.len());
        if !after[..end].trim().is_empty() {
            return Err(bad("there is more than a value"));
        }
        if NAMES.contains(&name) {
            job.fill(name, &value);
        }
        rest = after.get(end + 1..).unwrap_or_default();
    }
    if is_job {
        Ok(job)
    } else {
        Err(HostInfoError::NoJob(printable(body.trim(), 300)))
    }
}

fn shown(text: &str) -> &str {
    if text.is_empty() {
        "an empty text"
    } else {
        text
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_part)
}

/// Takes a word in the quoting of a shell off the front; answers what it means, and the rest.
fn word(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let Some(first) = rest.chars().next() else {
            return Ok((value, rest));
        };
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '\'' => {
                let (inside, after) = after.split_once('\'').ok_or(UNCLOSED)?;
                value.push_str(inside);
                after
            }
            '"' => double_quoted(after, &mut value)?,
            '\\' => {
                let escaped = escaped(after)?;
                value.push(escaped);
                &after[escaped.len_utf8()..]
            }
            ' ' | '\t' | '\r' | '\n' => return Ok((value, rest)),
            '$' | '`' | ';' | '&' | '|' | '<' | '>' | '(' | ')' | '*' | '?' | '[' | '~' | '#' => {
                return Err(COMMAND);
            }
            plain => {
                value.push(plain);
                after
            }
        };
    }
}

/// The character after a backslash.
fn escaped(rest: &str) -> Result<char, &'static str> {
    match rest.chars().next() {
        None => Err(UNCLOSED),
        Some('\n') => Err("a line that goes on in the next one"),
        Some(escaped) => Ok(escaped),
    }
}

/// Adds what is inside to `value`; answers what comes after the closing quote.
fn double_quoted<'a>(mut rest: &'a str, value: &mut String) -> Result<&'a str, &'static str> {
    loop {
        let first = rest.chars().next().ok_or(UNCLOSED)?;
        rest = &rest[first.len_utf8()..];
        match first {
            '"' => return Ok(rest),
            '$' | '`' => return Err(COMMAND),
            '\\' => {
                let escaped = escaped(rest)?;
                if !matches!(escaped, '"' | '$' | '`' | '\\') {
                    value.push('\\');
                }
                value.push(escaped);
                rest = &rest[escaped.len_utf8()..];
            }
            plain => value.push(plain),
        }
    }
}

const EXPORT: &str = "export ";
const UNCLOSED: &str = "a quote is not closed";
const COMMAND: &str = "something that only a shell could interpret";

#[cfg(test)]
mod tests {
    use super::*;

    /// As FOG 1.5.8 answers for a multicast task.
    const ANSWER: &str = "[[ -z $mac ]] && export mac='00:1b:21:aa:bb:01'\n\
        [[ -z $ftp ]] && export ftp='198.51.100.5'\n\
        [[ -z $osid ]] && export osid='9'\n\
        [[ -z $storage ]] && export storage='198.51.100.5:/images/'\n\
        [[ -z $storageip ]] && export storageip='198.51.100.5'\n\
        [[ -z $img ]] && export img='lab'\n\
        [[ -z $imgFormat ]] && export imgFormat='5'\n\
        [[ -z $imgType ]] && export imgType='n'\n\
        [[ -z $winuser ]] && export winuser=''\n\
        [[ -z $port ]] && export port='63100'\n\
        [[ -z $fdrive ]] && export fdrive=''\n\
        [[ -z $hostname ]] && export hostname='LAB-01'\n\
        [[ -z $hostadpass ]] && export hostadpass='secret'\n\
        [[ -z $type ]] && export type='down'\n\
        [[ -z $mc ]] && export mc='yes'\n";

    #[test]
    fn the_answer_of_a_server_is_a_job() {
        let job = parse(ANSWER).unwrap();
        assert!(job.is_multicast_deploy());
        assert_eq!(job.port().unwrap(), 63100);
        assert_eq!(job.value("img"), Some("lab"));
        assert_eq!(job.value("storage"), Some("198.51.100.5:/images/"));
        // Empty, and not needed.
        for name in ["fdrive", "hostadpass", "ftp"] {
            assert_eq!(job.value(name), None, "{name}");
        }
        assert!(!format!("{job:?}").contains("secret"));
    }

    #[test]
    fn what_was_set_before_is_not_changed() {
        let mut args = KernelArgs::parse("web=http://x/ img= port=9000");
        args.fill_from(&parse(ANSWER).unwrap());
        assert_eq!(args.value("port"), Some("9000"));
        assert_eq!(args.value("img"), Some("lab"));
        let twice = parse("export img=a\nexport img=b\n").unwrap();
        assert_eq!(twice.value("img"), Some("a"));
    }

    #[test]
    fn quotes_are_read_as_a_shell_reads_them() {
        for (written, expected) in [
            ("'it'\\''s'", "it's"),
            ("plain", "plain"),
            ("\"two words\"", "two words"),
            ("\"a \\\"b\\\" \\x\"", "a \"b\" \\x"),
            ("'a'b\"c\"", "abc"),
            ("'$(reboot) `x` $HOME'", "$(reboot) `x` $HOME"),
            ("'line\nexport type=up'", "line\nexport type=up"),
        ] {
            let job = parse(&format!("export hostname={written}\nexport img=x\n")).unwrap();
            assert_eq!(job.value("hostname"), Some(expected), "{written}");
            assert_eq!((job.value("img"), job.value("type")), (Some("x"), None));
        }
    }

    #[test]
    fn what_is_no_job_is_refused_with_its_line_or_shown() {
        for (text, shown) in [
            ("Cannot view from browser", "Cannot view from browser"),
            ("#!no\n# export\x07type=down", "#!no # export type=down"),
            ("", ""),
        ] {
            let Err(HostInfoError::NoJob(found)) = parse(text) else {
                panic!("{text}");
            };
            assert_eq!(found, shown);
        }
        for bad in [
            "export img=$(reboot)",
            "export img=`reboot`",
            "export img=x; reboot",
            "export img=\"$HOME\"",
            "export img='x",
            "export img=\"x",
            "export img=x\\",
            "export img='x' && reboot",
            "export =x",
            "export img",
            "export a b=c",
        ] {
            let text = format!("export osid=9\n{bad}\n");
            let error = parse(&text).unwrap_err();
            assert!(
                matches!(error, HostInfoError::Line { line: 2, .. }),
                "{bad}: {error}"
            );
        }
    }
}
