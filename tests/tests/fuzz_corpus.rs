//! The committed inputs of the fuzz targets, which found something once or reach far into the code, as
//! an ordinary test.

use std::fs;
use std::path::Path;

use fos_tests::fuzz::TARGETS;

#[test]
fn every_target_stands_its_corpus() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus"));
    for (name, target) in TARGETS {
        let directory = root.join(name);
        let mut count = 0;
        for entry in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{name}: {error}")) {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no corpus");
        // And what everybody tries first.
        for input in [&[][..], &[0], &[0xFF; 300]] {
            target(input);
        }
    }
}

#[test]
fn every_target_has_a_program() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let mut programs: Vec<String> = fs::read_dir(root.join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    programs.sort_unstable();
    let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(programs, targets);
    for name in programs {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
