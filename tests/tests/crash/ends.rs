//! SIGTERM ends the server within 10 s, whatever hangs.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use fos_tests::need;
use fos_tests::netns::{Running, wait_for};
use fos_tests::site::mac;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

use crate::world::World;

#[test]
fn a_locked_database_keeps_nobody() {
    let Some(mut world) = World::new(1, &[]) else {
        return;
    };
    world.start();
    world.site.cli(&["image", "add", "small"]).succeed();
    world.site.deploy(&["pc1"], &[]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = SqliteConnectOptions::new().filename(world.shared.data.join("fos.sqlite"));
    let mut other = runtime.block_on(options.connect()).unwrap();
    runtime.block_on(other.execute("BEGIN EXCLUSIVE")).unwrap();
    // One that waits for it.
    let form = format!("mac={}&type=down", mac(1));
    let asking = std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.site.post(1, "service/mc_checkin.php", &form));
        asking.join().unwrap()
    });
    assert!(!asking.contains("##"), "{asking}");
    world.terminate();
}

#[test]
fn a_hanging_image_store_keeps_nobody() {
    let Some(mut world) = World::new(1, &[]) else {
        return;
    };
    world.start();
    world.site.cli(&["image", "add", "small"]).succeed();
    let session = world.site.deploy(&["pc1"], &[]);
    let Some(_hanging) = Hanging::over(world.server().id(), &world.site.path("images/small"))
    else {
        return;
    };
    let form = format!("mac={}&type=down", mac(1));
    let answer = world.site.post(1, "service/mc_checkin.php", &form);
    assert!(!answer.contains("##"), "{answer}");
    // People still see what goes on, and a file of the image is asked for that hangs.
    assert_eq!(world.site.status(&session)["state"], "new");
    world.terminate();
}

#[test]
fn a_hanging_data_directory_keeps_nobody() {
    let Some(mut world) = World::new(1, &[]) else {
        return;
    };
    world.start();
    // Files that are open stay usable; socket and server.json cannot be removed.
    let Some(_hanging) = Hanging::over(world.server().id(), &world.shared.data) else {
        return;
    };
    world.terminate();
}

#[test]
fn a_server_starts_beside_a_hanging_image_store_and_boot_directory() {
    let Some(mut world) = World::new(1, &[]) else {
        return;
    };
    let places = ["images", "boot"].map(|place| world.site.path(place));
    let mut hanging = Vec::new();
    for place in &places {
        let Some(found) = Hanging::over(std::process::id(), place) else {
            return;
        };
        hanging.push(found);
    }
    world.start();
    let answer = world.site.get(1, "service/getversion.php");
    assert!(answer.is_some_and(|answer| !answer.is_empty()));
    for place in ["images", "boot/bzImage"] {
        let warning = format!("{place} does not answer");
        wait_for(&warning, || world.site.logs().contains(&warning));
    }
    world.terminate();
}

/// They have places of their own: the image's files are looked at all the same, and who asks hears what
/// hangs.
#[test]
fn downloads_from_a_hanging_boot_directory_keep_no_session_from_its_image() {
    let Some(mut world) = World::new(4, &[]) else {
        return;
    };
    world.start();
    world.site.cli(&["image", "add", "small"]).succeed();
    let session = world.site.deploy(&["pc1"], &[]);
    let Some(_hanging) = Hanging::over(world.server().id(), &world.site.path("boot")) else {
        return;
    };
    // More than the runtime has threads, from as many machines as the limit of connections asks for.
    let script = "for n in $(seq 200); do
            exec {fd}<>/dev/tcp/10.99.0.1/80
            printf 'GET /fog/service/ipxe/bzImage HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n' >&$fd
        done
        echo asked; exec sleep 600";
    let mut clients = Vec::new();
    for number in 3..=5 {
        let host = world.site.lab().host(number);
        let mut client = host.command("bash");
        client.args(["-c", script]);
        let output = world.site.path(&format!("client{number}.out"));
        clients.push(Running::start("bash", &mut client, &output));
    }
    for client in &clients {
        wait_for("all requests to be sent", || {
            client.output().contains("asked")
        });
    }
    let form = format!("mac={}&type=down", mac(1));
    wait_for("a check-in", || {
        world.site.post(1, "service/mc_checkin.php", &form) == "##@GO"
    });
    assert_eq!(world.site.status(&session)["checked_in"], 1);
    let threads = std::fs::read_dir(format!("/proc/{}/task", world.server().id())).unwrap();
    assert!(threads.count() < 100);
    drop(clients);
    world.terminate();
}

#[test]
fn a_hanging_log_keeps_nobody() {
    let Some(mut world) = World::new(1, &[]) else {
        return;
    };
    world.start();
    world.site.cli(&["image", "add", "small"]).succeed();
    let Some(_hanging) = Hanging::over(world.server().id(), &world.shared.data.join("log")) else {
        return;
    };
    // The session's own log is a new file.
    let session = world.site.deploy(&["pc1"], &[]);
    let form = format!("mac={}&type=down", mac(1));
    wait_for("a check-in", || {
        let answer = world.site.post(1, "service/mc_checkin.php", &form);
        answer == "##@GO"
    });
    world.site.cli(&["cancel", &session]).succeed();
    world.terminate();
}

#[test]
fn clients_that_do_not_read_keep_nobody() {
    let Some(mut world) = World::new(1, &[]) else {
        return;
    };
    let large = File::create(world.site.path("boot/init.xz")).unwrap();
    large.set_len(1 << 30).unwrap();
    world.start();
    // It connects, asks, and reads no answer: `sleep` has the connection.
    let script = "for n in 1 2 3 4 5 6 7 8; do
            exec {fd}<>/dev/tcp/10.99.0.1/80
            printf 'GET /fog/service/ipxe/init.xz HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n' >&$fd
        done
        exec {fd}<>/dev/tcp/10.99.0.1/80
        printf 'POST /fog/service/progress.php HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 50\\r\\n\\r\\n' >&$fd
        echo asked; exec sleep 600";
    let mut silent = world
        .site
        .lab()
        .host(2)
        .command("bash")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(silent.stdout.as_mut().unwrap(), &mut line).unwrap();
    world.terminate();
    silent.kill().unwrap();
    silent.wait().unwrap();
}

/// A directory in which every access hangs until a signal ends the process, as on a server of NFS that
/// is gone: a FUSE file system of which nobody answers.
struct Hanging {
    /// Closing it ends the file system, and all who hang.
    _device: File,
}

impl Hanging {
    /// Above what is there, as the server sees it: `ip netns exec` gives it mounts of its own, which
    /// go with it. `None` if this machine has no FUSE, which has been told.
    fn over(server: u32, path: &Path) -> Option<Self> {
        let opened = File::options().read(true).write(true).open("/dev/fuse");
        let device = match opened {
            Ok(device) => device,
            Err(error) => {
                let told = need::skip(&format!("/dev/fuse: {error}"));
                assert!(!told);
                return None;
            }
        };
        let input = Stdio::from(device.try_clone().unwrap());
        // Standard input is the device.
        let mounted = Command::new("nsenter")
            .args([
                "-t",
                &server.to_string(),
                "-m",
                "mount",
                "-i",
                "-t",
                "fuse",
                "-o",
            ])
            .arg("fd=0,rootmode=40000,user_id=0,group_id=0")
            .arg("hanging")
            .arg(path)
            .stdin(input)
            .output()
            .unwrap();
        if !mounted.status.success() {
            let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
            let told = need::skip(&format!("FUSE cannot be mounted: {}", said.trim()));
            assert!(!told);
            return None;
        }
        Some(Self { _device: device })
    }
}
