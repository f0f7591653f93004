//! What comes at the same moment, and what never comes to its end.

use std::time::Duration;

use super::*;

/// Everybody else goes on as far as they can.
async fn others() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Nobody writes what arrives, until this is dropped.
async fn hold_writers(bench: &Bench) -> tokio::sync::OwnedSemaphorePermit {
    let all = crate::ops::Ops::CAPTURE_WRITERS;
    let writers = bench.ops.capture_writers();
    writers.acquire_many_owned(all).await.unwrap()
}

/// It is the same place of the file, and the file would be shorter after it.
#[tokio::test]
async fn a_piece_that_is_written_while_the_end_comes_is_before_it_or_changes_nothing() {
    let bench = bench().await;
    let (_, who) = bench.machine(1, "lab image").await;
    let files = image(201);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    let held = hold_writers(&bench).await;
    let piece = async {
        bench
            .put(&who, &terms.upload, "d1p1.img", 0, &[7; 500])
            .await
    };
    let ended = async {
        others().await;
        // The piece is hashed, and waits again, behind this.
        let again = tokio::spawn({
            let writers = bench.ops.capture_writers();
            writers.acquire_many_owned(crate::ops::Ops::CAPTURE_WRITERS)
        });
        others().await;
        drop(held);
        let again = again.await.unwrap().unwrap();
        others().await;
        let release = async {
            others().await;
            drop(again);
        };
        let ends = end(&files);
        let (answer, ()) = tokio::join!(bench.end(&who, &terms.upload, &ends), release);
        answer
    };
    let (piece, ended) = tokio::join!(piece, ended);
    let stored: PieceStored = piece.ok();
    match ended.0 {
        StatusCode::OK => {
            assert_eq!(stored.stored, files["d1p1.img"].len() as u64);
            let view = bench.outcome(&who, &terms.upload).await;
            assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
        }
        StatusCode::BAD_REQUEST => {
            assert_eq!(stored.stored, 500);
            let view: CaptureView = bench.look(&who, &terms.upload).await.ok();
            assert_eq!(view.stage, CaptureStage::Receiving);
        }
        other => panic!("{other}: {}", ended.1),
    }
}

#[tokio::test]
async fn a_piece_after_the_end_is_answered_with_what_is_stored_and_changes_nothing() {
    let bench = bench().await;
    let (_, who) = bench.machine(1, "lab image").await;
    let files = image(202);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    bench.faults.hang_at("replace_image");
    let _: CaptureView = bench.end(&who, &terms.upload, &end(&files)).await.ok();
    let len = files["d1.mbr"].len();
    for (at, bytes) in [(0, [1; 10]), (len - 5, [2; 10]), (len, [3; 10])] {
        let answer = bench.put(&who, &terms.upload, "d1.mbr", at, &bytes).await;
        assert_eq!(answer.ok::<PieceStored>().stored, len as u64, "{at}");
    }
    bench.faults.release();
    let view = bench.outcome(&who, &terms.upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    assert_eq!(files_in(&bench.config.images.join("img")), files);
}

/// What is on the disk is what was answered, whoever was first.
#[tokio::test]
async fn an_end_and_a_retreat_at_the_same_moment_are_one_after_the_other() {
    let bench = bench().await;
    let (_, who) = bench.machine(1, "lab image").await;
    let files = image(203);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    let held = hold_writers(&bench).await;
    let retreat = async {
        others().await;
        let query = format!("upload={}", terms.upload);
        let request = who.request("POST", "capture/abandon", &query, Vec::new());
        bench.asked(&who, request).await
    };
    let release = async {
        // The retreat needs none of the places of those who write.
        for _ in 0..20 {
            others().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(held);
    };
    let ends = end(&files);
    let (_, retreat, ()) = tokio::join!(bench.end(&who, &terms.upload, &ends), retreat, release);
    assert_eq!(retreat.ok::<CaptureView>().stage, CaptureStage::Failed);
    let listed = crate::imagestore::arrivals::list(&bench.config.images).unwrap();
    let [(id, record)] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    assert_eq!(*id, terms.upload);
    assert!(record.stage.is_over(), "{:?}", record.stage);
    bench.assert_former().await;
}

/// Places in memory are for who may send something: whoever else sends slowly would have all of them.
#[tokio::test]
async fn a_stranger_is_refused_before_there_is_a_place_for_what_it_sends() {
    let bench = bench().await;
    let (_, who) = bench.machine(1, "lab image").await;
    let terms: CaptureTerms = bench.begin(&who, &offer(&image(204))).await.ok();
    // It never sends anything.
    let (_silent, silent) = tokio::sync::oneshot::channel::<()>();
    let stranger = Who::Machine(1, Ticket([9; 16]));
    let (parts, _) = stranger
        .request("POST", "capture", "", Vec::new())
        .into_parts();
    let begins = Request::from_parts(parts, async_body(silent, Vec::new()));
    let (_silent, silent) = tokio::sync::oneshot::channel::<()>();
    let query = format!("upload={}", terms.upload);
    let (parts, _) = stranger
        .request("POST", "capture/end", &query, Vec::new())
        .into_parts();
    let ends = Request::from_parts(parts, async_body(silent, Vec::new()));
    for (request, status) in [
        (begins, StatusCode::FORBIDDEN),
        (ends, StatusCode::CONFLICT),
    ] {
        let answer = bench.asked(&stranger, request);
        let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
        let answer = answer.expect("the server waits for what a stranger would send");
        assert_eq!(answer.0, status, "{}", answer.1);
    }
}

/// A command ends in the middle of it, as does a request of the console.
#[tokio::test]
async fn a_revert_that_is_dropped_in_its_middle_is_finished_or_given_up() {
    let bench = bench().await;
    let (task, who) = bench.machine(1, "lab image").await;
    let files = image(205);
    let upload = bench.send_image(&who, &files).await;
    bench.outcome(&who, &upload).await;
    bench.task_ended(task).await;
    let found = bench.store.find_image("lab image").await.unwrap().unwrap();
    bench.faults.hang_at("replace_image");
    let calls = bench.faults.calls("replace_image");
    {
        let revert = bench.ops.revert_image(&found, 1);
        let hangs = wait_for("the operation", async || {
            (bench.faults.calls("replace_image") > calls).then_some(())
        });
        tokio::select! {
            done = revert => panic!("{done:?}"),
            () = hangs => {}
        }
    }
    let noted = || crate::imagestore::arrivals::interrupted(&bench.config.images).unwrap();
    assert_eq!(noted().len(), 1);
    bench.faults.release();
    bench.ops.sweep_captures().await.unwrap();
    assert!(noted().is_empty());
    assert_eq!(files_in(&bench.config.images.join("img")), files);
    bench.ops.revert_image(&found, 1).await.unwrap();
    bench.assert_former().await;
}
