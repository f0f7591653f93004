//! `zstd`, `unzstd`, `zstdcat`: decompression for pipes that are typed in the shell. The original program
//! is not in the boot image; the library is in this one anyway.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use clap::error::ErrorKind;

use super::messages::say;

/// Decompresses files, or standard input if there is none. It does not compress.
#[derive(Debug, Parser)]
#[command(
    name = "zstd",
    no_binary_name = true,
    args_override_self = true,
    disable_version_flag = true,
    after_help = "unzstd is zstd -d, zstdcat is zstd -dc. Accepted and of no effect: -k -q -v -T --long -M \
    --no-progress. Exit status: 0 everything was decompressed and its checksums were right, 1 failed."
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the switches of a command line"
)]
struct Arguments {
    /// Files; - is standard input
    files: Vec<PathBuf>,
    /// Decompress
    #[arg(short, long, visible_alias = "uncompress")]
    decompress: bool,
    /// Write to standard output
    #[arg(short = 'c', long)]
    stdout: bool,
    /// Verify only
    #[arg(short, long)]
    test: bool,
    /// Write to this file
    #[arg(short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite files that are there
    #[arg(short, long)]
    force: bool,
    #[arg(short, long, hide = true)]
    keep: bool,
    #[arg(short, long, hide = true, action = clap::ArgAction::Count)]
    quiet: u8,
    #[arg(short, long, hide = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[arg(short = 'T', long, hide = true)]
    threads: Option<String>,
    #[arg(short = 'M', long, hide = true)]
    memory: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    long: Option<Option<String>>,
    #[arg(long, hide = true)]
    no_progress: bool,
}

/// Runs `zstd` with `args` (without the program's name).
pub(crate) fn zstd(args: &[OsString]) -> ExitCode {
    run(&[], args)
}

/// Runs `unzstd`.
pub(crate) fn unzstd(args: &[OsString]) -> ExitCode {
    run(&["-d"], args)
}

/// Runs `zstdcat`.
pub(crate) fn zstdcat(args: &[OsString]) -> ExitCode {
    run(&["-dc"], args)
}

fn run(implied: &[&str], args: &[OsString]) -> ExitCode {
    let all = implied
        .iter()
        .map(OsString::from)
        .chain(args.iter().cloned());
    let arguments = match Arguments::try_parse_from(all) {
        Ok(arguments) => arguments,
        Err(error) => {
            say(error.render().to_string().trim_end());
            return match error.kind() {
                ErrorKind::DisplayHelp => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            };
        }
    };
    match decompress(&arguments, &mut io::stdin(), &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("zstd: {}", readable::chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

fn decompress(
    arguments: &Arguments,
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
) -> anyhow::Result<()> {
    ensure!(
        arguments.decompress || arguments.test,
        "this program only decompresses: give -d; compress on another machine"
    );
    let standard = [PathBuf::from("-")];
    let files = match arguments.files.as_slice() {
        [] => &standard,
        files => files,
    };
    ensure!(
        arguments.output.is_none() || files.len() == 1,
        "-o takes one file"
    );
    for file in files {
        let is_stdin = file == Path::new("-");
        let shown = match is_stdin {
            true => "standard input".to_owned(),
            false => file.display().to_string(),
        };
        let mut opened;
        let source: &mut dyn Read = if is_stdin {
            &mut *stdin
        } else {
            opened = File::open(file).with_context(|| format!("opening {shown}"))?;
            &mut opened
        };
        if arguments.test {
            copy(source, &mut io::sink()).context(shown)?;
        } else if let Some(path) = target(arguments, file)? {
            let mut made = create(&path, arguments.force)?;
            copy(source, &mut made)
                .with_context(|| format!("{shown}: {} is not complete", path.display()))?;
        } else {
            copy(source, stdout).context(shown)?;
        }
    }
    Ok(())
}

/// The file that is made; `None` is standard output.
fn target(arguments: &Arguments, file: &Path) -> anyhow::Result<Option<PathBuf>> {
    if arguments.stdout {
        return Ok(None);
    }
    if let Some(output) = &arguments.output {
        return Ok((output != Path::new("-")).then(|| output.clone()));
    }
    if file == Path::new("-") {
        return Ok(None);
    }
    if file.extension().is_none_or(|extension| extension != "zst") {
        bail!(
            "{}: the name does not end in .zst; -o names the file to write, -c writes to standard output",
            file.display()
        );
    }
    Ok(Some(file.with_extension("")))
}

fn create(path: &Path, is_forced: bool) -> anyhow::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(is_forced)
        .create_new(!is_forced)
        .truncate(is_forced)
        .open(path)
        .map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AlreadyExists => "; -f overwrites it",
                _ => "",
            };
            anyhow::Error::new(error).context(format!("making {}{hint}", path.display()))
        })
}

fn copy(source: &mut dyn Read, target: &mut dyn Write) -> io::Result<()> {
    let mut decoder = ::zstd::stream::read::Decoder::new(source)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    io::copy(&mut decoder, target)?;
    target.flush()
}

/// As `--long=31` of the original, and 2 GiB of memory at most, if the file asks for it.
const WINDOW_LOG_MAX: u32 = 31;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn text() -> Vec<u8> {
        b"a line of an image\n".repeat(40_000)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn piped(line: &[&str], mut input: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut output = Vec::new();
        decompress(&Arguments::try_parse_from(line)?, &mut input, &mut output)?;
        Ok(output)
    }

    #[test]
    fn pipes_of_fogs_wiki_are_understood() {
        let (text, packed) = (text(), packed(&text()));
        let two = [packed.as_slice(), &packed].concat();
        for line in [
            &["-dc"][..],
            &["-d", "-c", "-"],
            &["-dcq", "-T0", "--long=31"],
            &["-d"],
        ] {
            assert!(piped(line, &packed).unwrap() == text, "{line:?}");
            assert!(piped(line, &two).unwrap().len() == 2 * text.len());
        }
        assert_eq!(piped(&["-t"], &packed).unwrap(), b"");
    }

    #[test]
    fn damage_and_compression_are_refused() {
        let packed = packed(&text());
        let mut flipped = packed.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        for bad in [&packed[..packed.len() - 5], &flipped, b"no such thing"] {
            piped(&["-dc"], bad).unwrap_err();
            piped(&["-t"], bad).unwrap_err();
        }
        let error = piped(&["-c"], b"x").unwrap_err().to_string();
        assert!(error.contains("only decompresses"), "{error}");
    }

    #[test]
    fn files_get_the_name_without_the_suffix_and_overwrite_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::write(path("a.img.zst"), packed(b"content")).unwrap();
        let source = path("a.img.zst");
        piped(&["-d", &source], b"").unwrap();
        assert_eq!(fs::read(path("a.img")).unwrap(), b"content");
        let error = piped(&["-d", &source], b"").unwrap_err().to_string();
        assert!(error.contains("-f overwrites"), "{error}");
        fs::write(path("a.img"), "something longer").unwrap();
        piped(&["-df", &source], b"").unwrap();
        assert_eq!(fs::read(path("a.img")).unwrap(), b"content");
        piped(&["-d", &source, "-o", &path("b")], b"").unwrap();
        assert_eq!(fs::read(path("b")).unwrap(), b"content");
        piped(&["-d", &path("a.img")], b"").unwrap_err();
        assert_eq!(piped(&["-dc", &source], b"").unwrap(), b"content");
    }
}
