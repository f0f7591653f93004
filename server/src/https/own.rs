//! A certificate of the server's own: signed by itself, with the names and addresses of this machine. The key is made once,
//! so that what agents and people were told of it stays true.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};

use super::{CERTIFICATE, IdentityError, KEY, Pair, Source, parse};
use crate::domain::Timestamp;
use crate::private;

/// Makes what is missing or will not do any more.
pub(super) fn ensure(
    directory: &Path,
    names: &[String],
    now: Timestamp,
) -> Result<(), IdentityError> {
    let made = private::create_dir(directory);
    made.map_err(|cause| unwritten(directory, cause))?;
    let path = directory.join(KEY);
    let key = match fs::read_to_string(&path) {
        Ok(text) => KeyPair::from_pem(&text).map_err(|cause| IdentityError::Key {
            path: path.clone(),
            cause: cause.to_string(),
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(not_made)?;
            write(&path, &key.serialize_pem())?;
            key
        }
        Err(cause) => {
            return Err(IdentityError::Unreadable {
                what: "key",
                path,
                cause,
            });
        }
    };
    if is_good(directory, names, now) {
        return Ok(());
    }
    write(
        &directory.join(CERTIFICATE),
        &certificate(&key, names, now)?,
    )
}

/// Whether there is a certificate of the key for these names, which is valid for some time.
pub(super) fn is_good(directory: &Path, names: &[String], now: Timestamp) -> bool {
    let source = Source::Own {
        directory: directory.to_owned(),
    };
    let path = directory.join(CERTIFICATE);
    let found = Pair::read(&source).and_then(|pair| {
        let leaf = pair.leaf()?;
        parse::certificate(&path, &leaf, names)
    });
    found.is_ok_and(|found| {
        let left = found.not_after.seconds_since(now);
        now >= found.not_before && left > RENEWED_BEFORE && found.missing.is_empty()
    })
}

fn certificate(key: &KeyPair, names: &[String], now: Timestamp) -> Result<String, IdentityError> {
    let mut wanted = CertificateParams::new(names).map_err(not_made)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "fos-server");
    wanted.distinguished_name = subject;
    wanted.is_ca = IsCa::ExplicitNoCa;
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let day = |seconds: i64| {
        let out = || IdentityError::Make("the clock of this machine is not possible".to_owned());
        let time = jiff::Timestamp::from_second(seconds).map_err(|_| out())?;
        let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
        let part = |part: i8| u8::try_from(part).map_err(|_| out());
        Ok::<_, IdentityError>(date_time_ymd(
            i32::from(date.year()),
            part(date.month())?,
            part(date.day())?,
        ))
    };
    // Clocks of clients may be behind.
    wanted.not_before = day(now.0.saturating_sub(DAY))?;
    wanted.not_after = day(now.0.saturating_add(VALID))?;
    let made = wanted.self_signed(key).map_err(not_made)?;
    Ok(made.pem())
}

fn not_made(cause: rcgen::Error) -> IdentityError {
    IdentityError::Make(cause.to_string())
}

fn unwritten(path: &Path, cause: io::Error) -> IdentityError {
    IdentityError::Write {
        path: path.to_owned(),
        cause,
    }
}

/// Whole or not at all, for nobody else.
fn write(path: &Path, text: &str) -> Result<(), IdentityError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = private::create_file(&new).and_then(|mut file| {
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    written.map_err(|cause| unwritten(path, cause))
}

const DAY: i64 = 86_400;

/// In seconds; browsers take none that is valid for longer than 398 days.
const VALID: i64 = 397 * DAY;

/// It is made anew so many seconds before its end.
const RENEWED_BEFORE: u64 = 30 * 86_400;
