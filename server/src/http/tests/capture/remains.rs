//! What an earlier life of the server, or of a command, has left on the disk.

use fos_api::capture::CaptureOffer;

use super::*;
use crate::clock;
use crate::imagestore::arrivals::{
    self, Prepared, Record, Stage, VersionAbout, Way, arriving, interrupted, note, prepare,
};

impl Bench {
    /// A capture by hand, of which everything is sent but its end.
    async fn almost_by_hand(
        &self,
        token: &str,
        image: &'static str,
        files: &Files,
    ) -> (Who, String) {
        let who = Who::Token(token.to_owned(), image);
        let offer: CaptureOffer = offer(files);
        let terms: CaptureTerms = self.begin(&who, &offer).await.ok();
        self.put_all(&who, &terms.upload, files).await;
        (who, terms.upload)
    }

    async fn admin(&self) -> String {
        let token = self.ops.add_token("desk".parse().unwrap(), Role::Admin);
        token.await.unwrap()
    }

    fn record(&self, upload: &str) -> Record {
        let mut listed = arrivals::list(&self.config.images).unwrap().into_iter();
        listed.find(|(id, _)| id == upload).unwrap().1
    }

    /// An image with two versions, and a third one present; answers what each was.
    async fn versioned(&self) -> [Files; 3] {
        for seed in [301, 302] {
            let (task, who) = self.machine(1, "lab image").await;
            let upload = self.send_image(&who, &image(seed)).await;
            self.outcome(&who, &upload).await;
            self.task_ended(task).await;
        }
        [image(1), image(301), image(302)]
    }

    fn present(&self) -> Files {
        files_in(&self.config.images.join("img"))
    }
}

#[tokio::test]
async fn an_upload_that_cannot_be_read_does_not_hold_up_the_others() {
    let bench = bench().await;
    let token = bench.admin().await;
    let files = image(211);
    let (torn, torn_id) = bench.almost_by_hand(&token, "torn", &files).await;
    let (gone, gone_id) = bench.almost_by_hand(&token, "gone", &files).await;
    let (well, well_id) = bench.almost_by_hand(&token, "well", &files).await;
    let bench = bench.crash().await;
    let dir = bench.hidden(&format!("arriving/{torn_id}/files"));
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::write(&dir, b"no directory").unwrap();
    // The server ended between the files and the note.
    let gone_dir = bench.hidden(&format!("arriving/{gone_id}/files"));
    std::fs::remove_dir_all(gone_dir).unwrap();
    bench.ops.begin_captures().await.unwrap();
    let answer = bench.look(&torn, &torn_id).await;
    assert_eq!(
        answer.refused(StatusCode::CONFLICT),
        CaptureRefusalCode::Gone
    );
    assert_eq!(std::fs::read(&dir).unwrap(), b"no directory", "it stays");
    let view: CaptureView = bench.look(&gone, &gone_id).await.ok();
    assert_eq!(view.stage, CaptureStage::Failed);
    assert!(bench.record(&gone_id).stage.is_over());
    let _: CaptureView = bench.end(&well, &well_id, &end(&files)).await.ok();
    let view = bench.outcome(&well, &well_id).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
}

#[tokio::test]
async fn what_a_client_gave_up_does_not_end_its_task_after_a_restart() {
    let bench = bench().await;
    let (task, who) = bench.machine(1, "lab image").await;
    let files = image(221);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    let query = format!("upload={}&detail=restarted", terms.upload);
    let request = who.request("POST", "capture/abandon", &query, Vec::new());
    let _: CaptureView = bench.asked(&who, request).await.ok();
    let bench = bench.crash().await;
    // What is left shows that the step of the old one was made.
    let left = bench.hidden(&format!("arriving/{}/files", terms.upload));
    std::fs::create_dir(&left).unwrap();
    let mut record = bench.record(&terms.upload);
    record.inode = None;
    note(&arriving(&bench.config.images, &terms.upload), &record).unwrap();
    bench.ops.begin_captures().await.unwrap();
    wait_for("the step", async || (!left.exists()).then_some(())).await;
    let who = bench.go(1).await;
    let upload = bench.send_image(&who, &files).await;
    let view = bench.outcome(&who, &upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    assert_eq!(bench.task_ended(task).await.state, State::Complete);
}

#[tokio::test]
async fn an_upload_that_failed_does_not_end_the_task_of_a_newer_one() {
    let bench = bench().await;
    let (task, who) = bench.machine(1, "lab image").await;
    let files = image(222);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    let bench = bench.crash().await;
    // The machine was told to begin again before the server had ended the task.
    let old = bench.hidden("arriving/0ld");
    let mut record = bench.record(&terms.upload);
    std::fs::create_dir_all(old.join("files")).unwrap();
    record.inode = None;
    record.stage = Stage::Failed {
        at: clock::now(),
        text: "it was not good".into(),
        fails_task: true,
    };
    note(&old, &record).unwrap();
    bench.ops.begin_captures().await.unwrap();
    let left = old.join("files");
    wait_for("the step", async || (!left.exists()).then_some(())).await;
    let _: CaptureView = bench.end(&who, &terms.upload, &end(&files)).await.ok();
    let view = bench.outcome(&who, &terms.upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    assert_eq!(bench.task_ended(task).await.state, State::Complete);
}

/// The directories had changed places when the server was killed; then somebody verified what was at the place, and the
/// task was cancelled.
#[tokio::test]
async fn what_is_at_its_place_stays_there_and_what_was_there_is_kept() {
    let bench = bench().await;
    let (task, who) = bench.machine(1, "lab image").await;
    let files = image(231);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    bench.faults.hang_at("replace_image");
    let calls = bench.faults.calls("replace_image");
    let _: CaptureView = bench.end(&who, &terms.upload, &end(&files)).await.ok();
    wait_for("the operation", async || {
        (bench.faults.calls("replace_image") > calls).then_some(())
    })
    .await;
    let bench = bench.crash().await;
    let root = bench.config.images.clone();
    let found = interrupted(&root).unwrap();
    let [(dir, swap)] = found.as_slice() else {
        panic!("{found:?}");
    };
    arrivals::exchange(&root, dir, swap, Way::AtOnce).unwrap();
    bench.ops.cancel_task(task).await.unwrap();
    let mut facts = swap.facts.clone();
    facts.checked_at.0 += 100;
    let image_row = bench.store.find_image("lab image").await.unwrap().unwrap();
    bench
        .store
        .update_image(image_row.id, image_row.format, facts)
        .await
        .unwrap();
    bench.ops.begin_captures().await.unwrap();
    // Its machine is not answered any more.
    wait_for("the end of the upload", async || {
        let record = bench.record(&terms.upload);
        record.stage.is_over().then_some(())
    })
    .await;
    assert!(matches!(
        bench.record(&terms.upload).stage,
        Stage::Published { .. }
    ));
    assert_eq!(bench.present(), files);
    bench.ops.check_image("lab image").await.unwrap();
    bench.ops.revert_image(&image_row, 1).await.unwrap();
    bench.assert_former().await;
}

/// A command was killed in the middle of a revert, while the server was off.
#[tokio::test]
async fn a_revert_that_was_cut_off_is_finished_before_the_next_change() {
    let bench = bench().await;
    let [first, second, third] = bench.versioned().await;
    assert_eq!(bench.present(), third);
    let found = bench.store.find_image("lab image").await.unwrap().unwrap();
    let root = bench.config.images.clone();
    let versions = arrivals::versions(&root, "img").unwrap();
    let facts = versions[0].about.facts.clone().unwrap();
    let prepared = Prepared {
        image: found.id,
        path: "img".into(),
        facts: facts.clone(),
        origin: None,
        former: Some(VersionAbout {
            facts: bench.store.facts(found.id).await.unwrap(),
            origin: None,
            replaced_at: clock::now(),
        }),
        task: None,
    };
    prepare(&versions[0].dir, prepared).unwrap();
    bench
        .store
        .replace_image(found.id, facts, None)
        .await
        .unwrap();
    let bench = bench.crash().await;
    // The server is still off.
    bench.ops.revert_image(&found, 2).await.unwrap();
    assert_eq!(bench.present(), second);
    bench.ops.check_image("lab image").await.unwrap();
    assert!(interrupted(&root).unwrap().is_empty());
    // Every version is what it says.
    for expected in [third, first] {
        let versions = arrivals::versions(&root, "img").unwrap();
        let number = versions.iter().find_map(|version| {
            let is_it = files_in(&version.dir.join("files")) == expected;
            is_it.then_some(version.number)
        });
        bench
            .ops
            .revert_image(&found, number.unwrap())
            .await
            .unwrap();
        assert_eq!(bench.present(), expected);
        bench.ops.check_image("lab image").await.unwrap();
    }
}

/// What a server that is off has begun is on the disk alone.
#[tokio::test]
async fn an_image_into_which_something_arrives_is_not_changed_by_a_command_beside_a_server_that_is_off()
 {
    let bench = bench().await;
    bench.versioned().await;
    let (_, who) = bench.machine(1, "lab image").await;
    let files = image(241);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    let found = bench.store.find_image("lab image").await.unwrap().unwrap();
    let present = bench.present();
    let bench = bench.crash().await;
    let refused = bench.ops.revert_image(&found, 1).await;
    assert!(
        matches!(refused, Err(RevertError::Captured(_))),
        "{refused:?}"
    );
    let refused = bench.ops.delete_image(&found).await;
    assert!(
        matches!(refused, Err(RevertError::Captured(_))),
        "{refused:?}"
    );
    assert_eq!(bench.present(), present);
}
