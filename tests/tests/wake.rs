//! Wake-on-LAN as a machine that sleeps would get it.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc;
use std::thread;

use fos_tests::netns::{Lab, PATIENCE};
use fos_tests::site::program;
use nix::sched::{CloneFlags, setns};

/// Three packets reach each network of the server's cards, and no other port.
#[test]
fn a_machine_is_called_three_times_by_a_broadcast_to_its_network() {
    let Some(mut lab) = Lab::new(3, &[]) else {
        return;
    };
    lab.move_to_second_network(3);
    let dir = tempfile::tempdir().unwrap();
    let mac = [0x02, 0, 0, 0, 0, 0x17];
    let server = |arguments: &[&str]| {
        let mut command = lab.host(1).command(program("fos-server"));
        let command = command.arg("--data").arg(dir.path()).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    server(&["host", "add", "LAB-01", "02:00:00:00:00:17"]);
    server(&["group", "add", "room101", "LAB-01"]);
    let (ready, is_ready) = mpsc::channel();
    let sleepers = [2, 3].map(|number| {
        let ready = ready.clone();
        let path = format!("/run/netns/{}", lab.host(number).namespace());
        thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            ready.send(()).unwrap();
            let mut packets = Vec::new();
            while packets.len() < 3 {
                let mut packet = [0; 2000];
                let (len, from) = socket.recv_from(&mut packet).unwrap();
                packets.push((packet[..len].to_vec(), from.ip()));
            }
            packets
        })
    });
    for _ in 0..sleepers.len() {
        is_ready.recv_timeout(PATIENCE).unwrap();
    }
    let told = server(&["wake", "@room101"]);
    assert!(
        told.contains("1 host") && told.contains("eth0, eth1"),
        "{told}"
    );
    let expected = [[0xff; 6].to_vec(), mac.repeat(16)].concat();
    for (sleeper, from) in sleepers.into_iter().zip([[10, 99, 0, 1], [10, 98, 0, 1]]) {
        for (packet, sender) in sleeper.join().unwrap() {
            assert_eq!(packet, expected);
            assert_eq!(sender, Ipv4Addr::from(from));
        }
    }
}
