//! Images as servers store them, by the original compressors.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use super::{Wrapped, tool};

/// A skippable frame, as programs for random access put them between others.
const SKIPPABLE: &[u8] = b"\x50\x2a\x4d\x18\x05\x00\x00\x00skip!";

/// `image` in every wrapping.
pub(super) fn of(image: &[u8]) -> Vec<Wrapped> {
    let (first, second) = image.split_at(image.len() / 3);
    let zstd =
        |input: &[u8], options: &[&str]| through("zstd", &[&["-q"], options].concat(), input);
    let pigz = |input: &[u8], level: &str| through("pigz", &[level], input);
    let wrapped = [
        ("plain", image.to_vec()),
        ("pigz -6", pigz(image, "-6")),
        (
            "pigz, two members",
            [pigz(first, "-1"), pigz(second, "-9")].concat(),
        ),
        ("zstd -1", zstd(image, &["-1"])),
        (
            "zstd -3, threads",
            zstd(image, &["-3", "-T0", "--rsyncable"]),
        ),
        ("zstd -11", zstd(image, &["-11"])),
        // A window of 128 MiB.
        ("zstd -22", zstd(image, &["--ultra", "-22"])),
        ("zstd without checksum", zstd(image, &["-3", "--no-check"])),
        (
            "zstd, frames",
            [
                zstd(first, &["-3"]),
                SKIPPABLE.to_vec(),
                zstd(second, &["-5", "--no-check"]),
                SKIPPABLE.to_vec(),
            ]
            .concat(),
        ),
        ("xz -6", through("xz", &["-6"], image)),
        (
            "xz -9e, SHA-256",
            through("xz", &["-9e", "-C", "sha256"], image),
        ),
        (
            "xz, blocks and streams",
            [
                through("xz", &["-1", "--block-size=100000"], first),
                through("xz", &["-0", "-C", "none"], second),
            ]
            .concat(),
        ),
        ("bzip2 -9", through("bzip2", &["-9"], image)),
        (
            "bzip2, streams",
            [
                through("bzip2", &["-1"], first),
                through("bzip2", &["-5"], second),
            ]
            .concat(),
        ),
        ("lz4 -1", through("lz4", &["-q", "-1"], image)),
        (
            "lz4 -9, linked blocks with sums",
            through("lz4", &["-q", "-9", "-BD", "-BX", "-B4"], image),
        ),
        (
            "lz4, frames",
            [
                through("lz4", &["-q", "-12", "-B5", "--no-frame-crc"], first),
                SKIPPABLE.to_vec(),
                through("lz4", &["-q", "-3", "-BD"], second),
            ]
            .concat(),
        ),
    ];
    wrapped
        .into_iter()
        .map(|(name, bytes)| Wrapped {
            name: name.to_owned(),
            bytes,
        })
        .collect()
}

/// What `program` makes of `input` on its standard input.
fn through(program: &str, options: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    tool(command.args(options));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(
        output.status.success(),
        "{program} {options:?}: {}",
        output.status
    );
    output.stdout
}
