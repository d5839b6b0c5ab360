//! Data of 3.5, in whose file there is more, and which does not do to v2's directories what 3.4 does.

use std::process::Command;

use e2e::run::run;

use super::{
    ask, fill,
    place::{self, Place},
};

#[test]
fn v3_data_of_3_5_answers_as_it_did() {
    let Some((place, _)) = Place::of_3_5() else { return };
    place::v3_answers_as_it_did(&place);
}

#[test]
fn v2_data_of_3_5_keeps_its_indexes() {
    let Some((place, _)) = Place::of_3_5() else { return };
    place::v2_keeps_its_indexes(&place);
}

/// It takes nothing out of the log, as 3.4's does: what is left out is an empty entry.
#[test]
fn a_backup_of_3_5_is_imported_with_v3() {
    let Some((place, etcd)) = Place::of_3_5() else { return };
    let mut original = place.original(&["--snapshot-count=50"]);
    fill::v3(&original);
    let expected = ask::v3(&original);
    original.kill();
    let backup = place.path("backup");
    let mut command = Command::new(&etcd.etcdutl);
    command.arg("backup").arg("--data-dir").arg(place.path("original"));
    let made = run(command.arg("--backup-dir").arg(&backup), "");
    assert_eq!(made.exit, Some(0), "{made:?}");
    let (ours, _) = place.imported(&backup, "ours", &[]);
    place::same(&ours, &expected, "backup");
}

/// What `etcdctl snapshot restore` has made, and nobody has started.
#[test]
fn what_was_restored_by_3_5_is_imported_before_it_was_started() {
    let Some((place, etcd)) = Place::of_3_5() else { return };
    let original = place.original(&[]);
    fill::v3(&original);
    let expected = ask::v3(&original);
    let save = place.save(&original, "saved.db");
    let mut command = Command::new(&etcd.etcdutl);
    command.args(["snapshot", "restore"]).arg(save).arg("--data-dir").arg(place.path("restored"));
    let restored = run(&mut command, "");
    assert_eq!(restored.exit, Some(0), "{restored:?}");
    let (ours, _) = place.imported(&place.path("restored"), "ours", &[]);
    place::same(&ours, &expected, "restored");
}
