//! FOG's texts: kernel arguments, status lines, stream records, names of files, requests and answers.

use fog::args::ArgsWriter;
use fog::checkin::{CheckinAnswer, is_done};
use fog::form::Fields;
use fog::record::{self, Found, RECORD_LEN};
use fog::store::{Sidecars, StreamName, natural_cmp, streams};
use fog::task::ImageType;
use fog::{KernelArgs, encoding, mac, status};
use fos_api::capture::{
    CaptureEnd, CaptureOffer, CaptureRefusal, CaptureTerms, CaptureView, PieceStored,
};
use fos_api::{Manifest, SessionView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::feed::Feed;

/// Any bytes as each of them.
pub fn contract(data: &[u8]) {
    let mut feed = Feed(data);
    let what = feed.byte() % 6;
    let bytes = feed.rest();
    let text = String::from_utf8_lossy(bytes);
    match what {
        0 => {
            let args = KernelArgs::parse(&text);
            drop((args.web(), args.port(), args.rendezvous(), args.macs()));
            let said = [
                args.is_multicast_deploy(),
                args.is_shutdown(),
                args.is_debug(),
                args.is_unregistered(),
            ];
            assert!(!text.is_empty() || said == [false; 4]);
            assert!(args.value("").is_none_or(|value| value.len() <= text.len()));
        }
        1 => status_line(&text),
        2 => {
            let name = StreamName::of_file(&text);
            // Names with quotes are shown escaped.
            let is_plain = !text.contains(['"', '\'', '\\']);
            if let Ok(record) = record::emit(&name)
                && is_plain
            {
                assert_eq!(record::check(&record, &name, true), Ok(RECORD_LEN));
            }
            if let Found::Record(_) = record::look(bytes) {
                assert!(bytes.len() >= RECORD_LEN);
            }
        }
        3 => {
            let names: Vec<&str> = text.split('\n').take(50).collect();
            for pair in names.windows(2) {
                let order = natural_cmp(pair[0], pair[1]);
                assert_eq!(order, natural_cmp(pair[1], pair[0]).reverse());
            }
            for image_type in [ImageType::Resizable, ImageType::SingleDisk, ImageType::Raw] {
                let Ok(streams) = streams(&names, &Sidecars::new(), image_type, 5) else {
                    continue;
                };
                assert!(streams.iter().all(|stream| !stream.files.is_empty()));
                // Files are sent from the image's directory and from nowhere else.
                let mut files = streams.iter().flat_map(|stream| &stream.files);
                assert!(files.all(|file| names.contains(&file.as_str()) && !file.contains('/')));
            }
        }
        4 => {
            // What the server puts into a boot script is what the client reads out of it.
            let (name, value) = text.split_once('\n').unwrap_or(("hostname", &text));
            let line = ArgsWriter::default()
                .set("first", 1)
                .set("value", value)
                .raw(name)
                .set("last", 2)
                .finish();
            assert!(!line.contains(['\n', '\r']), "{line:?}");
            let args = KernelArgs::parse(&line);
            let is_mine = |word: &str| ["first", "value", "last"].contains(&word);
            if !name
                .split_ascii_whitespace()
                .any(|word| is_mine(word.split('=').next().unwrap_or_default()))
            {
                assert_eq!(args.value("first"), Some("1"), "{line:?}");
                assert_eq!(args.value("last"), Some("2"), "{line:?}");
                // FOG's clients end a value at a second equals sign, and take blanks for what they are.
                let is_plain = value
                    .chars()
                    .all(|c| c != '=' && (c.is_ascii_graphic() || c == ' '));
                if is_plain && !value.is_empty() && !value.contains("+_") && !value.contains("_+") {
                    assert_eq!(args.value("value"), Some(value), "{line:?}");
                }
            }
        }
        _ => {
            let answer = CheckinAnswer::parse(&text);
            assert!(answer != CheckinAnswer::Go || text.starts_with("##@GO"));
            assert!(!is_done(&text) || text.starts_with("##"));
            assert!(encoding::printable(&text, 7).chars().count() <= 7);
            assert!(encoding::unescape_html(&text).len() <= text.len());
            assert!(mac::parse_list(&text).len() <= mac::MAX_LIST);
        }
    }
}

/// The job of a machine that booted from USB. What is written as FOG writes it is read again.
pub fn hostinfo(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(job) = fog::hostinfo::parse(&text) {
        // Passwords of the domain are among the names that are not kept.
        assert_eq!(job.value("hostadpass"), None);
    }
    let quoted = text.replace('\'', "'\\''");
    let written = format!(
        "[[ -z $hostname ]] && export hostname='{quoted}'\n[[ -z $img ]] && export img='lab'\n"
    );
    let job = fog::hostinfo::parse(&written).expect("what FOG writes is read");
    let expected = Some(text.as_ref()).filter(|text| !text.is_empty());
    assert_eq!(job.value("hostname"), expected);
    assert_eq!(job.value("img"), Some("lab"));
}

/// Any bytes as query and body of a request to the server.
pub fn http_form(data: &[u8]) {
    let mut feed = Feed(data);
    let query = String::from_utf8_lossy(feed.bytes(200)).into_owned();
    let body = feed.rest();
    let fields = Fields::parse(&query, body);
    assert!(fields.count() <= 100);
    assert!(fields.macs().len() <= mac::MAX_LIST);
    for name in ["mac", "mac0", "status", "taskid", "", "%"] {
        // Each octet that is no UTF-8 becomes three.
        let value = fields.get(name);
        assert!(value.len() <= 3 * (body.len() + query.len()));
        if let Some(text) = fields.base64(name) {
            assert!(text.len() <= 3 * value.len());
            status_line(&text);
        }
    }
    // What is written as a form is read as it was.
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let again = Fields::parse("x=0", format!("x={escaped}").as_bytes());
    assert_eq!(again.get("x"), query);
}

/// Any bytes as what either end says in JSON.
pub fn native_json(data: &[u8]) {
    fn read<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        let Ok(value) = serde_json::from_slice::<T>(bytes) else {
            return;
        };
        let text = serde_json::to_string(&value).expect("what was read is written");
        assert_eq!(serde_json::from_str::<T>(&text).expect("and read"), value);
    }
    read::<Manifest>(data);
    read::<SessionView>(data);
    read::<CaptureOffer>(data);
    read::<CaptureTerms>(data);
    read::<CaptureRefusal>(data);
    read::<PieceStored>(data);
    read::<CaptureEnd>(data);
    read::<CaptureView>(data);
}

fn status_line(text: &str) {
    let Some(read) = status::parse(text) else {
        return;
    };
    assert!(read.percent <= 100);
    for field in [
        &read.rate,
        &read.elapsed,
        &read.remaining,
        &read.copied,
        &read.total,
    ] {
        assert!(field.chars().count() <= 64 && !field.chars().any(char::is_control));
    }
}
