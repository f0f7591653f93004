use std::os::unix::fs::PermissionsExt as _;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;
use crate::domain::Timestamp;

/// A certificate for this name in files of a directory; answers where.
fn given(dir: &TempDir, prefix: &str, name: &str, key: &KeyPair) -> Source {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    let certificate = dir.path().join(format!("{prefix}.crt"));
    let path = dir.path().join(format!("{prefix}.key"));
    fs::write(&certificate, params.self_signed(key).unwrap().pem()).unwrap();
    fs::write(&path, key.serialize_pem()).unwrap();
    Source::Given {
        certificate,
        key: path,
    }
}

fn own(dir: &TempDir, names: &[&str]) -> Identity {
    let source = Source::Own {
        directory: dir.path().join("https"),
    };
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Identity::new(source, names)
}

#[test]
fn its_own_certificate_is_made_once_for_all_names_and_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let identity = own(&dir, &["deploy.school.example", "192.0.2.7", "not a name"]);
    assert_eq!(identity.hash(), None);
    identity.load().unwrap();
    let hash = identity.hash().unwrap();
    let found = identity.look().unwrap();
    for name in [
        "deploy.school.example",
        "192.0.2.7",
        "localhost",
        "127.0.0.1",
    ] {
        assert!(found.names.iter().any(|found| found == name), "{found:?}");
    }
    assert_eq!(found.missing, [""; 0]);
    let now = clock::now();
    assert_eq!(found.worry(now), None);
    // Browsers take none that is valid for longer.
    let days = found.not_after.seconds_since(found.not_before) / 86_400;
    assert!((390..=398).contains(&days), "{days}");
    let [certificate, key] = identity.source().files();
    for file in [&certificate, &key] {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    // Another start takes what is there.
    let (before, secret) = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    let again = own(&dir, &["192.0.2.7"]);
    again.load().unwrap();
    assert_eq!(fs::read(&certificate).unwrap(), before);
    // A name that it lacks needs another certificate, and no other key.
    let other = own(&dir, &["other.example"]);
    assert!(other.is_changed());
    other.load().unwrap();
    assert!(!other.is_changed());
    assert_ne!(fs::read(&certificate).unwrap(), before);
    assert_eq!(fs::read(&key).unwrap(), secret);
    assert_eq!(other.hash(), Some(hash));
}

#[test]
fn its_own_certificate_is_made_anew_before_its_end_and_with_a_clock_that_was_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("https");
    let names = ["a.example".to_owned()];
    let day = |day: i64| Timestamp(1_800_000_000 + day * 86_400);
    own::ensure(&directory, &names, day(0)).unwrap();
    assert!(own::is_good(&directory, &names, day(0)));
    assert!(own::is_good(&directory, &names, day(360)));
    assert!(!own::is_good(&directory, &names, day(370)));
    assert!(!own::is_good(&directory, &names, day(-2)));
    own::ensure(&directory, &names, day(370)).unwrap();
    assert!(own::is_good(&directory, &names, day(370)));
    // A half file of a power failure does not stay.
    fs::write(directory.join(CERTIFICATE), "-----BEGIN CERT").unwrap();
    own::ensure(&directory, &names, day(370)).unwrap();
    assert!(own::is_good(&directory, &names, day(370)));
    // A key is not replaced: agents were told of it.
    fs::write(directory.join(KEY), "nonsense").unwrap();
    let error = own::ensure(&directory, &names, day(370)).unwrap_err();
    assert!(matches!(error, IdentityError::Key { .. }), "{error}");
}

#[test]
fn a_renewed_certificate_is_taken_and_a_broken_one_leaves_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let source = given(&dir, "x", "a.example", &one);
    let identity = Identity::new(source.clone(), vec!["a.example".to_owned()]);
    identity.load().unwrap();
    let first = identity.hash().unwrap();
    assert!(!identity.is_changed());
    assert_eq!(look_again(&identity).worry, None);
    // The certificate of another key comes first, as programs write one file after the other.
    let [certificate, key] = source.files();
    let Source::Given {
        certificate: new,
        key: new_key,
    } = given(&dir, "y", "b.example", &two)
    else {
        unreachable!()
    };
    fs::rename(&new, &certificate).unwrap();
    let look = look_again(&identity);
    let Some(Err(error @ IdentityError::Mismatch { .. })) = look.taken else {
        panic!("{:?}", look.taken)
    };
    assert!(error.to_string().contains("x.key"), "{error}");
    assert_eq!(identity.hash(), Some(first));
    fs::rename(&new_key, &key).unwrap();
    let look = look_again(&identity);
    assert!(matches!(look.taken, Some(Ok(()))), "{:?}", look.taken);
    assert_ne!(identity.hash(), Some(first));
    // It is for another name now.
    let Some(Worry::Names { names, missing }) = look.worry else {
        panic!("{:?}", look.worry)
    };
    assert_eq!((&*names[0], &*missing[0]), ("b.example", "a.example"));
    // It is gone, and what is shown stays.
    fs::remove_file(&key).unwrap();
    let look = look_again(&identity);
    let unreadable = matches!(look.taken, Some(Err(IdentityError::Unreadable { .. })));
    assert!(unreadable, "{:?}", look.taken);
    assert!(identity.hash().is_some());
}

#[test]
fn what_cannot_be_used_is_said_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let pair = KeyPair::generate().unwrap();
    let source = given(&dir, "x", "a.example", &pair);
    let [certificate, key] = source.files();
    let good = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    let load = || Identity::new(source.clone(), Vec::new()).load();
    for (file, content, told) in [
        (&certificate, &b"no PEM"[..], "there is no certificate in"),
        (&certificate, b"", "there is no certificate in"),
        (&certificate, &good.1, "there is no certificate in"),
        (
            &certificate,
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "is not usable",
        ),
        (&key, b"no PEM", "there is no key in"),
        (&key, &good.0, "there is no key in"),
        (
            &key,
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "is not usable",
        ),
        (&key, &vec![b'a'; 1 << 21], "has more than"),
    ] {
        fs::write(&certificate, &good.0).unwrap();
        fs::write(&key, &good.1).unwrap();
        load().unwrap();
        fs::write(file, content).unwrap();
        let error = load().unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        assert!(error.contains(&*file.to_string_lossy()), "{error}");
    }
}
