//! What the names in a directory say. The command as a whole is tested from outside.

use fog::task::ImageType;

use super::type_by_names;

#[test]
fn the_type_is_read_from_the_names() {
    let of = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        type_by_names(&names)
    };
    assert_eq!(of(&["d1.mbr", "d1p1.img"]), ImageType::SingleDisk);
    assert_eq!(
        of(&["d1.mbr", "d1.minimum.partitions"]),
        ImageType::Resizable
    );
    assert_eq!(of(&["d1.fixed_size_partitions"]), ImageType::Resizable);
    assert_eq!(of(&["sys.img.000", "rec.img.000"]), ImageType::Resizable);
    assert_eq!(of(&["d1.mbr", "d2.mbr"]), ImageType::AllDisks);
    assert_eq!(of(&["d1p1.img", "d2p1.img.000"]), ImageType::AllDisks);
    assert_eq!(of(&["win7.000", "win7.001"]), ImageType::Raw);
    assert_eq!(of(&["win7.000", "other"]), ImageType::SingleDisk);
    assert_eq!(of(&["d1.mbr", "x"]), ImageType::SingleDisk);
    assert_eq!(of(&[]), ImageType::SingleDisk);
}
