//! The disks of a plan while they are overwritten: the old tables go first, the new ones come last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use deploy_plan::{DeployPlan, Destination, DiskPlan, Step, Warning};
use disk::{BootReport, Target, WriteError};
use image::{Geometry, Sink, SinkError};
use imaging::HeldHead;
use imaging::tap::meter::{DiskStep, Flow};
use imaging::target::{Gate, Region};

use super::ending::Ending;
use super::failure::Failure;
use super::grow::{self, Programs, Running, Tools};
use super::volumes::{self, Head};
use super::{host_name, ntfs, swap};

/// The disks of a plan.
pub(crate) struct Disks<'a> {
    plan: &'a DeployPlan,
    /// In the order of the plan's.
    targets: &'a [Target],
    flow: Arc<Flow>,
    /// Whether the old partition tables are gone. Destroying them twice could hit data.
    is_table_gone: Mutex<bool>,
    /// What makes a disk bootable that a stream brings as a whole: it is written last.
    head: Mutex<Option<HeldHead>>,
}

impl<'a> Disks<'a> {
    /// `targets` are those that the plan is for, in its order.
    pub(crate) fn new(plan: &'a DeployPlan, targets: &'a [Target], flow: Arc<Flow>) -> Self {
        Self {
            plan,
            targets,
            flow,
            is_table_gone: Mutex::new(false),
            head: Mutex::default(),
        }
    }

    /// Destroys the old partition tables of all disks unless that has happened.
    ///
    /// # Errors
    /// If a disk refuses.
    pub(crate) fn remove_old_tables(&self) -> Result<(), WriteError> {
        let mut is_gone = lock(&self.is_table_gone);
        if *is_gone {
            return Ok(());
        }
        self.flow.on_disk(DiskStep::Write, || {
            let disks = self.plan.disks.iter().zip(self.targets);
            for (disk, target) in disks {
                match &disk.table {
                    Some(table) => {
                        target.make_unbootable(table, &self.plan.unwritten(disk.which))?;
                        let volumes = self.plan.volumes();
                        let volumes = volumes.filter(|place| place.disk == disk.which);
                        let places = volumes.map(|place| place.offset()..place.end());
                        let places: Vec<_> = places.collect();
                        if !places.is_empty() {
                            target.clear_labels_in(places)?;
                        }
                    }
                    None => target.make_all_unbootable()?,
                }
            }
            Ok(())
        })?;
        *is_gone = true;
        Ok(())
    }

    /// The place of a stream; `None` if it is written nowhere. `gate` may refuse the image.
    pub(crate) fn part(&self, destination: Destination, gate: Gate<'a>) -> Option<Part<'a, '_>> {
        let (disk, offset, len, head) = match destination {
            Destination::Partition { which, offset, len }
            | Destination::Volume {
                which, offset, len, ..
            } => (which.disk, offset, len, None),
            Destination::Disk { which, len } => (which, 0, len, Some(HeldHead::default())),
            Destination::Nowhere => return None,
        };
        Some(Part {
            region: Region::new(&self.targets[disk.index], offset, len, gate),
            head,
            disks: self,
        })
    }

    /// Writes what makes a disk bootable: its partition table, or the front of the image of all of it.
    ///
    /// # Errors
    /// Of [`Target::make_bootable`]. The disk does not boot then.
    pub(crate) fn make_bootable(&self, disk: &DiskPlan) -> Result<BootReport, WriteError> {
        let target = &self.targets[disk.which.index];
        if let Some(table) = &disk.table {
            return target.make_bootable(table);
        }
        let head = lock(&self.head);
        let head = head.as_ref().ok_or_else(|| WriteError::Incomplete {
            device: target.path().to_owned(),
            reason: "its image has not come to its end".to_owned(),
        })?;
        target.write_head(&head.groups())
    }

    /// Takes back the tables of these disks, because that of another one could not be written.
    fn withdraw(&self, bootable: &[&DiskPlan], warn: &dyn Fn(String)) {
        for disk in bootable {
            if disk.table.is_none() {
                continue;
            }
            if let Err(error) = self.targets[disk.which.index].withdraw_table() {
                warn(format!(
                    "{} has its new partition table although the deploy has failed, and it could not be \
                     removed: {error}",
                    disk.which
                ));
            }
        }
    }
}

/// One place on a disk. What makes the disk bootable is held back, where the place is all of the disk.
pub(crate) struct Part<'a, 'd> {
    region: Region<'a>,
    head: Option<HeldHead>,
    disks: &'d Disks<'a>,
}

impl Part<'_, '_> {
    /// The image is complete and good: puts it on the medium.
    ///
    /// # Errors
    /// A write or the sync failed.
    pub(crate) fn commit(self) -> Result<(), WriteError> {
        self.region.commit()?;
        if self.head.is_some() {
            *lock(&self.disks.head) = self.head;
        }
        Ok(())
    }

    /// Lets go of the place, which may be written again from its start.
    ///
    /// # Errors
    /// A write failed: then there is no second chance.
    pub(crate) fn abandon(self) -> Result<(), WriteError> {
        self.region.abandon()
    }
}

impl Sink for Part<'_, '_> {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        self.region.begin(geometry)
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let held = self.head.as_mut().map(|head| head.keep(offset, data));
        let (held, rest) = data.split_at(held.unwrap_or(0));
        if !held.is_empty() {
            self.region.extent(offset, &vec![0; held.len()])?;
        }
        if !rest.is_empty() {
            // What is held back was on the disk, so its end can be expressed.
            self.region.extent(offset + held.len() as u64, rest)?;
        }
        Ok(())
    }
}

impl imaging::Target for Part<'_, '_> {
    fn commit(self, _geometry: &Geometry) -> anyhow::Result<Vec<String>> {
        Part::commit(self)?;
        Ok(Vec::new())
    }
}

/// What is done when all streams are on the disks, and who hears of it.
pub(crate) struct Finish<'a> {
    pub(crate) disks: &'a Disks<'a>,
    pub(crate) tools: &'a Tools,
    /// Of all volume groups.
    pub(crate) heads: &'a [Head],
    pub(crate) ending: &'a Ending,
    /// What is being done, in a phrase.
    pub(crate) activity: &'a dyn Fn(String),
    /// A program at work, again and again, and what it is for.
    pub(crate) running: &'a (dyn Fn(&str, Running<'_>) + Sync),
    /// What people should know although it is done.
    pub(crate) warn: &'a dyn Fn(String),
    /// What turned out to be left undone only when it was due.
    pub(crate) late: &'a dyn Fn(Warning),
}

impl Finish<'_> {
    /// Goes through the rest of the plan's steps.
    ///
    /// # Errors
    /// The first thing that went wrong, or that the deploy was given up. No disk boots then.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (disks, ending) = (self.disks, self.ending);
        (self.activity)(WRITING_TABLE.into());
        let mut bootable: Vec<&DiskPlan> = Vec::new();
        let programs = Programs::new(self.tools, ending, &|_| {});
        for step in disks.plan.steps() {
            let goes_on = match step {
                // From the first one on the others are written, too.
                Step::Table(_) => ending.begin_table(),
                _ => !ending.is_given_up(),
            };
            if !goes_on {
                // The failure may have been reported: the disk stays as it is, without a table.
                let stopped = anyhow::anyhow!("the deploy was given up before the partition table");
                return Err(Failure::new("table", stopped));
            }
            match step {
                // The streams did both, unless none goes to a partition: then the old table is there.
                Step::Clear(_) | Step::Stream(_) => disks
                    .remove_old_tables()
                    .context("removing the old partition table")
                    .map_err(|error| Failure::new("table", error))?,
                Step::Grow(place, kind) => {
                    let what = format!("growing the {kind} of {}", place.which());
                    let programs = Programs {
                        running: &|running| (self.running)(&what, running),
                        ..programs
                    };
                    let target = &disks.targets[place.disk.index];
                    let work = || grow::grow(place, kind, target, &programs);
                    let left = (disks.flow.on_disk(DiskStep::Grow, work))
                        .map_err(|error| Failure::new("grow", error))?;
                    left.into_iter().for_each(self.late);
                    (self.activity)(WRITING_TABLE.into());
                }
                Step::NtfsCopies(place) => {
                    let target = &disks.targets[place.disk.index];
                    let is_ntfs = ntfs::complete(place, target)
                        .map_err(|error| Failure::new("streams", error))?;
                    let what = format!("clearing the dirty flag of {}", place.which());
                    let programs = Programs {
                        running: &|running| (self.running)(&what, running),
                        ..programs
                    };
                    let work = || grow::clear_ntfs_flags(place, target, &programs);
                    let left = is_ntfs.then(|| disks.flow.on_disk(DiskStep::Grow, work));
                    left.flatten().into_iter().for_each(self.warn);
                    (self.activity)(WRITING_TABLE.into());
                }
                Step::Name(name) => {
                    let what = format!("writing the computer name {name} into Windows");
                    let programs = Programs {
                        running: &|running| (self.running)(&what, running),
                        ..programs
                    };
                    let work = || host_name::write(disks.plan, name, disks.targets, &programs);
                    let left = (disks.flow.on_disk(DiskStep::Grow, work))
                        .map_err(|error| Failure::new("computer name", error))?;
                    left.into_iter().for_each(self.late);
                    (self.activity)(WRITING_TABLE.into());
                }
                Step::Swap(place) => swap::create(place, &disks.targets[place.disk.index])
                    .map_err(|error| Failure::new("swap", error))?,
                Step::Volumes(group) => {
                    let target = &disks.targets[group.which.disk.index];
                    volumes::write(group, self.heads, target)
                        .map_err(|error| Failure::new("volumes", error))?;
                }
                Step::Table(disk) => {
                    let written = disks.flow.on_disk(DiskStep::Table, || {
                        // All disks are complete before the first one can be started from.
                        disks.targets.iter().try_for_each(Target::check_complete)?;
                        disks.make_bootable(disk)
                    });
                    let report = written.map_err(|error| {
                        disks.withdraw(&bootable, self.warn);
                        let error =
                            anyhow::Error::new(error).context("writing the partition table");
                        Failure::new("table", error)
                    })?;
                    bootable.push(disk);
                    report.warnings.into_iter().for_each(self.warn);
                }
            }
        }
        Ok(())
    }
}

const WRITING_TABLE: &str = "writing the partition table";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use disk::Shape;
    use fog::store::StreamName;
    use fog::task::ImageType;

    use super::super::samples::{self, DISK_LEN};
    use super::*;

    const SHAPE: Shape = Shape {
        size: DISK_LEN,
        logical_sector: 512,
    };

    /// The sample image on two disks, without data.
    fn two_disks() -> DeployPlan {
        let (mut manifest, mut files) = (samples::manifest(), samples::small_files());
        manifest.image_type = ImageType::AllDisks;
        for (name, bytes) in samples::small_files() {
            let name = name.replacen("d1", "d2", 1);
            manifest.files.push(fos_api::SmallFile {
                name: name.clone(),
                len: bytes.len() as u64,
                blake3: None,
            });
            files.insert(name, bytes);
        }
        manifest.streams.clear();
        deploy_plan::plan(&manifest, &files, &[SHAPE; 2]).unwrap()
    }

    fn file() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0xee; usize::try_from(DISK_LEN).unwrap()]).unwrap();
        file
    }

    fn finish(disks: &Disks<'_>) -> Result<(), Failure> {
        Finish {
            disks,
            tools: &Tools::none(),
            heads: &[],
            ending: &Ending::default(),
            activity: &|_| {},
            running: &|_, _| {},
            warn: &|text| panic!("{text}"),
            late: &|warning| panic!("{warning}"),
        }
        .run()
    }

    fn boots(path: &Path) -> bool {
        std::fs::read(path).unwrap()[510..512] == [0x55, 0xaa]
    }

    #[test]
    fn all_disks_get_their_tables_or_none_does() {
        let plan = two_disks();
        let files = [file(), file()];
        let targets = [0, 1].map(|at| Target::open(files[at].path(), &SHAPE).unwrap());
        let disks = Disks::new(&plan, &targets, Arc::default());
        // A stream of the first disk is still being written.
        disks.remove_old_tables().unwrap();
        let writer = targets[0].writer(1 << 20, 1 << 20).unwrap();
        assert_eq!(finish(&disks).unwrap_err().part, "table");
        assert_eq!([0, 1].map(|at| boots(files[at].path())), [false; 2]);
        writer.finish().unwrap();
        finish(&disks).unwrap();
        assert_eq!([0, 1].map(|at| boots(files[at].path())), [true; 2]);
        // As if the first one's table, which is the last to be written, had failed.
        disks.withdraw(&[&plan.disks[1]], &|text| panic!("{text}"));
        assert_eq!([0, 1].map(|at| boots(files[at].path())), [true, false]);
        assert!(finish(&disks).is_err(), "it is over");
    }

    #[test]
    fn a_whole_disk_without_its_image_does_not_boot() {
        let mut manifest = samples::manifest();
        manifest.image_type = ImageType::Raw;
        manifest.streams.truncate(1);
        manifest.streams[0].name = StreamName::of_file("whole.000");
        let plan = deploy_plan::plan(&manifest, &samples::small_files(), &[SHAPE]).unwrap();
        let file = file();
        let targets = [Target::open(file.path(), &SHAPE).unwrap()];
        let disks = Disks::new(&plan, &targets, Arc::default());
        assert_eq!(finish(&disks).unwrap_err().part, "table");
        drop(targets);
        let content = std::fs::read(file.path()).unwrap();
        assert!(content[..1 << 20].iter().all(|octet| *octet == 0));
    }

    #[test]
    fn the_front_of_a_whole_disk_is_written_last() {
        let mut manifest = samples::manifest();
        manifest.image_type = ImageType::Raw;
        manifest.streams.truncate(1);
        manifest.streams[0].name = StreamName::of_file("whole.000");
        let plan = deploy_plan::plan(&manifest, &samples::small_files(), &[SHAPE]).unwrap();
        let file = file();
        let targets = [Target::open(file.path(), &SHAPE).unwrap()];
        let disks = Disks::new(&plan, &targets, Arc::default());
        let stream = samples::stored(1);
        let gate = |_: &Geometry| Ok(disks.remove_old_tables()?);
        let place = plan.streams[0].destination;
        let mut part = disks.part(place, Box::new(gate)).unwrap();
        let mut decoder = image::Decoder::new(image::Options::default());
        decoder.push(&stream, &mut part).unwrap();
        drop(decoder.finish(&mut part).unwrap());
        part.commit().unwrap();
        let content = std::fs::read(file.path()).unwrap();
        assert!(content[..1 << 20].iter().all(|octet| *octet == 0));
        finish(&disks).unwrap();
        let content = std::fs::read(file.path()).unwrap();
        let restored = samples::restored(1);
        assert!(content[..restored.len()] == restored);
    }
}
