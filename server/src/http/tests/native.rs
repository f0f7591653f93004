//! Our own endpoints.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use fos_api::{Manifest, Stage};

use crate::domain::Reason;
use crate::testing::{bench, ip, mac, wait_for};

#[tokio::test]
async fn the_manifest_and_small_files_belong_to_the_task() {
    let bench = bench().await;
    let manifest_path = format!("/fog/service/fos/manifest?mac={}", mac(1));
    let (status, text) = bench.get(ip(1), &manifest_path).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.starts_with("No active task"), "{text}");
    bench.deploy(&[1]).await;
    let (status, text) = bench.get(ip(1), &manifest_path).await;
    assert_eq!(status, StatusCode::OK);
    let manifest: Manifest = serde_json::from_str(&text).unwrap();
    let names: Vec<&str> = manifest.streams.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["d1p1.img", "d1p2.img"]);
    let stored = std::fs::read(bench.config.images.join("img/d1p1.img")).unwrap();
    assert_eq!(manifest.streams[0].blake3, blake3::hash(&stored).into());
    assert_eq!(manifest.streams[0].stored_len, stored.len() as u64);
    assert_eq!(manifest.streams[0].image.compression.as_str(), "zstd");
    let files: Vec<&str> = manifest.files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(files, ["d1.mbr", "d1.partitions"]);
    let hash = blake3::hash(&[0x55; 1024]).into();
    assert_eq!(manifest.files[0].blake3, Some(hash));

    let file = |name: &str| format!("/fog/service/fos/file?mac={}&name={name}", mac(1));
    let request = Request::get(file("d1.mbr")).body(Body::empty()).unwrap();
    let response = bench.request(ip(1), request).await;
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "1024");
    for name in ["d1p1.img", "../img/d1.mbr", "%2e%2e%2fx", "", "d2.mbr"] {
        let (status, _) = bench.get(ip(1), &file(name)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{name}");
    }
    let path = bench.config.images.join("img/d1.mbr");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, [0x56; 1024]).unwrap();
    let rotten = std::fs::File::options().write(true).open(&path).unwrap();
    rotten.set_modified(modified).unwrap();
    let (status, _) = bench.get(ip(1), &file("d1.mbr")).await;
    assert_eq!(status, StatusCode::CONFLICT, "same size and date");
    std::fs::write(&path, b"changed").unwrap();
    let (status, text) = bench.get(ip(1), &file("d1.mbr")).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(text.contains("changed"), "{text}");
}

#[tokio::test]
async fn trouble_inside_is_a_status_where_clients_know_it() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    bench
        .sql("ALTER TABLE images RENAME TO images_elsewhere")
        .await;
    for path in ["fos/manifest", "fos/file"] {
        let path = format!("/fog/service/{path}?mac={}", mac(1));
        let (status, text) = bench.get(ip(1), &path).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert!(!text.contains("images"), "{text}");
    }
}

#[tokio::test]
async fn a_host_without_a_session_is_told_so() {
    let bench = bench().await;
    let path = format!("/fog/service/fos/session?mac={}", mac(1));
    let (status, _) = bench.get(ip(1), &path).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let path = format!("/fog/service/fos/session?mac={}", mac(9));
    let (status, text) = bench.get(ip(9), &path).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("fos-server host add NAME"), "{text}");
    let (status, _) = bench.get(ip(9), "/fog/service/fos/session").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

/// Whoever waits for anything else while it holds a connection of the database is never answered.
#[tokio::test]
async fn no_request_holds_the_database_while_it_waits_for_a_session() {
    for path in [
        "mc_checkin.php",
        "Post_Stage3.php",
        "progress.php",
        "blame.php",
        "taskerror.php",
        "inventory.php",
        "fos/session",
        "fos/manifest",
        "ipxe/boot.php",
    ] {
        let bench = bench().await;
        bench.deploy(&[1]).await;
        bench.boot(1).await;
        let path = format!("/fog/service/{path}?mac={}&text=x&type=down", mac(1));
        let answered = wait_for("an answer", async || Some(bench.get(ip(1), &path).await));
        let (status, text) = answered.await;
        assert!(status.is_success(), "{path}: {text}");
    }
}

#[tokio::test]
async fn status_shows_running_and_ended_sessions() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    bench.ops.cancel(first, None).await.unwrap();
    bench.ended(first).await;
    let second = bench.deploy(&[1, 2]).await;
    bench.check_in(1).await;
    let status = bench.status(None).await;
    assert_eq!(status.sessions.len(), 2);
    let live = &status.sessions[0];
    assert_eq!(
        (live.session, live.expected, live.checked_in),
        (second.0, 2, 1)
    );
    assert_eq!(live.missing, ["LAB-01", "LAB-02"]);
    assert_eq!(live.stage, Stage::Gathering);
    assert_eq!(live.hosts[0].ip, Some(ip(1).into()));
    assert_eq!(live.hosts[1].ip, None);
    let over = &status.sessions[1];
    let code = Reason::SessionCancelled.to_parts().0;
    assert_eq!(
        (over.session, over.reason.as_str()),
        (first.0, code.as_str())
    );
    assert_eq!((over.stage, over.ended_at.is_some()), (Stage::Ended, true));
    let status = bench.status(Some(first)).await;
    assert_eq!(status.sessions.len(), 1);
}

#[tokio::test]
async fn a_session_that_runs_is_shown_whatever_came_after_it() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    for _ in 0..crate::api::MAX_SESSIONS {
        let id = bench.deploy(&[2]).await;
        bench.ops.cancel(id, None).await.unwrap();
    }
    let status = bench.status(None).await;
    let last = status.sessions.last().unwrap();
    assert_eq!((last.session, last.checked_in), (first.0, 1));
    let mut numbers: Vec<_> = status.sessions.iter().map(|s| s.session).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), status.sessions.len());
    assert!(numbers.is_sorted_by(|a, b| a > b));
}
