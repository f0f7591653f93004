use std::time::Duration;

use super::super::double::Double;
use super::*;
use crate::control::test_server::{Reply, Request, TestServer};

const QUICK: Patience = Patience {
    pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(1),
    refusals: 3,
    silence: Duration::ZERO,
    limit: Duration::from_secs(3600),
};

const LINE: &str = "web=http://10.0.0.5/fog/ mac=00:1b:21:aa:bb:cc osid=50 img=lab imgType=mps \
    imgPartitionType=all imgid=7 imgFormat=5 PIGZ_COMP=-6 pct=7 ignorepg=1 type=up";

#[test]
fn a_boot_script_of_fog_is_understood() {
    let wish = Wish::of(&KernelArgs::parse(LINE)).unwrap();
    assert_eq!(
        wish,
        Wish {
            image: "lab".into(),
            image_type: ImageType::SingleDisk,
            os_id: Some(50),
            percent: 7,
            manner: Manner::Strict,
        }
    );
    for (more, expected) in [
        ("imgType=x", "imgType=x"),
        ("imgPartitionType=2", "single partitions"),
        ("img=../x", "img="),
        ("osid=ten", "osid="),
    ] {
        let args = KernelArgs::parse(&format!("{LINE} {more}"));
        let error = format!("{:#}", Wish::of(&args).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
    let rescue = KernelArgs::parse(&format!("{LINE} fosrescue=yes"));
    assert_eq!(Wish::of(&rescue).unwrap().manner, Manner::Rescue);
}

#[tokio::test]
async fn one_of_fogs_own_servers_is_refused_before_anything_is_read() {
    let server = TestServer::start(|_| Reply::text("1.5.10"));
    let args = KernelArgs::parse(LINE);
    let failure = run(&args, &server.client(), &Board::default(), QUICK)
        .await
        .unwrap_err();
    assert!(
        failure.text.contains("FOG's own servers"),
        "{}",
        failure.text
    );
    assert!(failure.text.contains("was not changed"), "{}", failure.text);
    assert_eq!(server.requests().len(), 1);
}

/// A disk of 3 MiB, as it is.
fn raw_job() -> (tempfile::NamedTempFile, Job) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..3_u32 << 20)
        .map(|at| u8::try_from(at % 249).unwrap())
        .collect();
    std::fs::write(file.path(), bytes).unwrap();
    let job = Job {
        disks: vec![file.path().to_owned()],
        image_type: ImageType::Raw,
        image: "lab".into(),
        os_id: None,
        manner: Manner::Strict,
        percent: 5,
        shrink_memory: 1 << 20,
    };
    (file, job)
}

#[tokio::test]
async fn the_disk_arrives_at_the_server_and_the_screen_says_how_far_it_is() {
    let double = Double::new(100_000);
    let served = double.clone();
    let server = TestServer::start(move |request: &Request| {
        served.answer(request).unwrap_or_else(|| Reply::text("##"))
    });
    let (file, job) = raw_job();
    let board = Board::default();
    let client = server.client_with_ticket(Some("0123456789abcdef0123456789abcdef"));
    capture(job, &client, &board).await.unwrap();
    let arrived = double.arrived.lock().unwrap();
    let offer = arrived.offer.clone().unwrap();
    assert_eq!(offer.disks[0].size, 3 << 20);
    assert_eq!(offer.files[0].name, "lab");
    let bytes = &arrived.files["lab"];
    assert!(bytes.len() as u64 <= offer.files[0].at_most);
    let plain = zstd::decode_all(bytes.as_slice()).unwrap();
    let disk = std::fs::read(file.path()).unwrap();
    assert!(plain.ends_with(&disk));
    let transfer = board.read(|state| state.transfer.clone()).unwrap();
    assert!(transfer.is_done);
    for request in server.requests() {
        assert_eq!(request.field("mac").as_deref(), Some("00:1b:21:aa:bb:cc"));
        assert!(request.field("ticket").is_some());
    }
}

#[tokio::test]
async fn a_disk_that_cannot_be_captured_is_not_offered() {
    let double = Double::new(100_000);
    let served = double.clone();
    let server = TestServer::start(move |request: &Request| {
        served.answer(request).unwrap_or_else(|| Reply::text("##"))
    });
    let (_file, job) = raw_job();
    let job = Job {
        image_type: ImageType::SingleDisk,
        ..job
    };
    let failure = capture(job, &server.client(), &Board::default())
        .await
        .unwrap_err();
    assert!(
        failure.text.contains("no partition table"),
        "{}",
        failure.text
    );
    assert!(server.requests().is_empty());
}

#[test]
fn an_image_of_which_nobody_knows_is_not_called_unpublished() {
    let sure = failed(anyhow!("the disk broke"));
    assert!(!sure.tells_of_disk, "the text is completed later");
    let unsure = failed(anyhow!("no answer").context(Unsure));
    assert!(unsure.tells_of_disk);
    assert!(
        unsure.text.contains("not known") && unsure.text.ends_with("the disk was not changed"),
        "{}",
        unsure.text
    );
}
