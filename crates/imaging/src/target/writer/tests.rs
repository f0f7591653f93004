use std::fs;

use super::*;

fn ignore(_: &str) {}

fn started(path: &std::path::Path, is_skipping_errors: bool) -> Writer {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let skip = is_skipping_errors.then_some(ignore as fn(&str));
    let medium = Medium::File(file);
    Writer::start(medium, path.display().to_string(), skip, &Trace::default()).unwrap()
}

#[test]
fn data_lands_where_it_belongs_however_it_comes() {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let mut writer = started(&path, false);
    let mut expected = vec![0; 12 << 20];
    // Neighbours, gaps, pieces longer than a block, and more than all blocks hold.
    let mut at = 0;
    for (number, len) in [1, 512, 700_000, 3 << 20, 5, 0, 4 << 20, 1 << 20, 77]
        .into_iter()
        .enumerate()
    {
        let data = vec![u8::try_from(number).unwrap() + 1; len];
        expected[at..at + len].copy_from_slice(&data);
        writer.write(at as u64, &data).unwrap();
        at += len + number % 3 * 1000;
    }
    let written = writer.finish().unwrap();
    assert_eq!(written.skipped, 0);
    drop(written.medium);
    expected.truncate(fs::metadata(&path).unwrap().len().try_into().unwrap());
    assert!(expected.len() > 8 << 20);
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn the_first_failure_is_told_and_nothing_waits_for_ever() {
    let full = std::path::Path::new("/dev/full");
    let mut writer = started(full, false);
    let data = vec![1; BLOCK_LEN];
    let failed = (0..1000).find_map(|n| writer.write(n << 21, &data).err());
    let text = failed.unwrap().to_string();
    assert!(
        text.starts_with("/dev/full: write error at byte 0"),
        "{text}"
    );
    // Once told, it is told again.
    assert_eq!(writer.write(0, &data).unwrap_err().to_string(), text);
    assert_eq!(writer.write(9, &[]).unwrap_err().to_string(), text);
    assert_eq!(writer.finish().err().unwrap().to_string(), text);

    let mut writer = started(full, true);
    for n in 0..20 {
        writer.write(n << 21, &data).unwrap();
    }
    assert_eq!(writer.finish().unwrap().skipped, 20);
}

#[test]
fn standard_output_cannot_go_back() {
    let mut medium = Medium::StandardOutput(100);
    assert!(medium.write(99, b"x").is_err());
}
