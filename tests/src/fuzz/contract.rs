//! FOG's texts: kernel arguments, status lines, stream records, names of files.

use fog::record::{self, Found, RECORD_LEN};
use fog::store::{StreamName, natural_cmp, streams};
use fog::task::ImageType;
use fog::{KernelArgs, status};

use super::feed::Feed;

/// Any bytes as each of them.
pub fn contract(data: &[u8]) {
    let mut feed = Feed(data);
    let what = feed.byte() % 4;
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
            ];
            assert!(!text.is_empty() || said == [false; 3]);
            assert!(args.value("").is_none_or(|value| value.len() <= text.len()));
        }
        1 => {
            if let Some(read) = status::parse(&text) {
                assert!(read.percent <= 100);
            }
        }
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
        _ => {
            let names: Vec<&str> = text.split('\n').take(50).collect();
            for pair in names.windows(2) {
                let order = natural_cmp(pair[0], pair[1]);
                assert_eq!(order, natural_cmp(pair[1], pair[0]).reverse());
            }
            for image_type in [ImageType::Resizable, ImageType::SingleDisk, ImageType::Raw] {
                if let Ok(streams) = streams(&names, image_type, 5) {
                    assert!(streams.iter().all(|stream| !stream.files.is_empty()));
                }
            }
        }
    }
}
