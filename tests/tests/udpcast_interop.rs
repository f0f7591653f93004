//! Our sender and receiver against the original programs, in network namespaces.
//!
//! Every test compares the bytes that arrived. The originals are Debian's `udp-sender` and
//! `udp-receiver`; ours is the program `cast` of this crate.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use fos_tests::netns::{Host, Lab, Running};
use fos_tests::stream::{assert_same, payload};

const BLOCK: usize = 1456;
/// First slices have 112 blocks in full and 130 in half duplex.
const SLICE: usize = 130 * BLOCK;
const TOOLS: [&str; 3] = ["nft", "udp-sender", "udp-receiver"];

/// A network, a payload and a place for outputs. The sender is host 1.
struct Scene {
    lab: Lab,
    directory: tempfile::TempDir,
    payload: Vec<u8>,
    count: usize,
    /// Number of the last host.
    receivers: usize,
    is_lossy: bool,
}

/// Which program plays a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Original,
    Ours,
}
use Kind::{Original, Ours};

impl Scene {
    /// `None`: skipped, and told so.
    fn new(receivers: u8, payload_len: usize) -> Option<Self> {
        let lab = Lab::new(receivers + 1, &TOOLS)?;
        let directory = tempfile::tempdir().unwrap();
        let mut scene = Self {
            lab,
            directory,
            payload: Vec::new(),
            count: 0,
            receivers: usize::from(receivers) + 1,
            is_lossy: false,
        };
        scene.set_payload(payload_len);
        Some(scene)
    }

    fn set_payload(&mut self, len: usize) {
        self.payload = payload(len);
        fs::write(self.path("payload"), &self.payload).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn sender(&mut self, kind: Kind, options: &str) -> Running {
        self.count += 1;
        let name = format!("sender{}-{kind:?}", self.count);
        let payload = self.path("payload");
        let mut command = program(self.lab.host(1), kind, "udp-sender", "send");
        command
            .arg("--file")
            .arg(payload)
            .args(options.split_whitespace());
        Running::start(&name, &mut command, &self.path(&name))
    }

    /// A receiver on host `host` (2 and up).
    fn receiver(&mut self, kind: Kind, host: usize, options: &str) -> Running {
        self.count += 1;
        let name = format!("receiver{}-{kind:?}-{host}", self.count);
        let mut command = program(self.lab.host(host), kind, "udp-receiver", "receive");
        command.args(options.split_whitespace());
        Running::start(&name, &mut command, &self.path(&name))
    }

    fn sender_addr(&self) -> Ipv4Addr {
        self.lab.host(1).addr()
    }

    #[track_caller]
    fn check(&self, receiver: &mut Running) {
        assert_same(&receiver.succeed(), &self.payload, receiver);
    }

    /// One transfer from start to end; receivers of these kinds on hosts 2 and up.
    #[track_caller]
    fn transfer(&mut self, sender: Kind, receivers: &[Kind], send: &str, receive: &str) {
        let mut running: Vec<Running> = receivers
            .iter()
            .zip(2..)
            .map(|(kind, host)| self.receiver(*kind, host, &with_nokbd(*kind, receive)))
            .collect();
        for host in 2..2 + receivers.len() {
            self.lab.host(host).wait_for_port(9000);
        }
        let mut options = format!("{send} --min-receivers {}", receivers.len());
        if sender == Original {
            options += " --nokbd --rexmit-hello-interval 200";
        }
        let mut sender = self.sender(sender, &options);
        for receiver in &mut running {
            self.check(receiver);
        }
        if self.is_lossy && receivers.contains(&Original) && sender.wait().code() == Some(2) {
            // When the OK of an original receiver for the end is lost, it says goodbye instead of
            // repeating it; then only the receiver knows that it has everything.
            let said = sender.messages();
            assert!(
                !said.contains("Dropped") && said.contains("Left { last_slice: Some"),
                "{said}"
            );
        } else {
            sender.succeed();
        }
    }

    /// Loses so many of a thousand datagrams that match, on their way in: to all receivers, and to
    /// the sender.
    fn lose(&mut self, to_receivers: &str, to_sender: &str, per_mille: u16) {
        self.is_lossy = true;
        self.lab.host(1).lose(to_sender, per_mille);
        for host in 2..=self.receivers {
            self.lab.host(host).lose(to_receivers, per_mille);
        }
    }
}

fn with_nokbd(kind: Kind, options: &str) -> String {
    match kind {
        Original => format!("{options} --nokbd"),
        Ours => options.to_owned(),
    }
}

fn program(host: &Host, kind: Kind, original: &str, ours: &str) -> Command {
    match kind {
        Original => host.command(original),
        Ours => {
            let mut command = host.command(Path::new(env!("CARGO_BIN_EXE_cast")));
            command.arg(ours);
            command
        }
    }
}

/// Nothing, one byte, one block and around it, one slice and around it, several slices.
const SIZES: [usize; 8] = [
    0,
    1,
    BLOCK,
    BLOCK + 1,
    112 * BLOCK,
    SLICE,
    SLICE + 1,
    3 * SLICE + 5 * BLOCK + 7,
];

#[test]
fn original_sender_to_our_receiver_in_all_sizes() {
    let Some(mut scene) = Scene::new(1, 0) else {
        return;
    };
    for size in SIZES {
        scene.set_payload(size);
        for duplex in ["--full-duplex", "--half-duplex"] {
            scene.transfer(Original, &[Ours], duplex, "");
        }
    }
}

#[test]
fn our_sender_to_original_receiver_in_all_sizes() {
    let Some(mut scene) = Scene::new(1, 0) else {
        return;
    };
    for size in SIZES {
        scene.set_payload(size);
        for duplex in ["", "--half-duplex"] {
            scene.transfer(Ours, &[Original], duplex, "");
        }
    }
}

#[test]
fn our_sender_to_our_receivers_in_all_sizes() {
    let Some(mut scene) = Scene::new(2, 0) else {
        return;
    };
    for size in SIZES {
        scene.set_payload(size);
        for duplex in ["", "--half-duplex"] {
            scene.transfer(Ours, &[Ours, Ours], duplex, "");
        }
    }
}

#[test]
fn mixed_receivers_of_the_original_sender_get_20_mb() {
    let Some(mut scene) = Scene::new(3, 20_000_003) else {
        return;
    };
    for duplex in ["--full-duplex", "--half-duplex"] {
        scene.transfer(Original, &[Original, Ours, Ours], duplex, "");
    }
}

#[test]
fn mixed_receivers_of_our_sender_get_20_mb() {
    let Some(mut scene) = Scene::new(3, 20_000_003) else {
        return;
    };
    for duplex in ["", "--half-duplex"] {
        scene.transfer(Ours, &[Original, Ours, Ours], duplex, "");
    }
}

#[test]
fn mixed_receivers_of_the_original_sender_survive_loss() {
    let Some(mut scene) = Scene::new(3, 6_000_000 + 13) else {
        return;
    };
    // The handshake is spared: the original sender starts without looking whether its replies arrived,
    // and then hears no further request. Opcodes: HELLO, CONNECT_REPLY; CONNECT_REQ.
    let data = "udp dport 9000 @th,64,16 != { 0x0500, 0x0007 }";
    scene.lose(data, "udp dport 9001 @th,64,16 != 0x0003", 30);
    // In full duplex the original receiver gives up when it misses all of a short slice.
    let mixed = [Original, Ours, Ours];
    scene.transfer(Original, &mixed, "--half-duplex", "");
    scene.transfer(Original, &[Ours, Ours, Ours], "--full-duplex", "");
    assert!(scene.lab.host(3).lost() > 50, "the loss was real");
}

#[test]
fn mixed_receivers_of_our_sender_survive_loss() {
    let Some(mut scene) = Scene::new(3, 6_000_000 + 13) else {
        return;
    };
    scene.lose("udp dport 9000", "udp dport 9001", 30);
    scene.transfer(Ours, &[Original, Ours, Ours], "--half-duplex", "");
    scene.transfer(Ours, &[Ours, Ours, Ours], "", "");
    assert!(scene.lab.host(3).lost() > 50, "the loss was real");
}

#[test]
fn data_goes_where_it_is_told() {
    let Some(mut scene) = Scene::new(1, 700_000) else {
        return;
    };
    for routing in ["multicast", "auto", "pointopoint", "broadcast"] {
        for receiver in [Original, Ours] {
            scene.transfer(Ours, &[receiver], &format!("--routing {routing}"), "");
        }
    }
    for routing in ["--nopointopoint", "--pointopoint", "--broadcast"] {
        scene.transfer(Original, &[Ours], routing, "");
    }
    scene.transfer(
        Original,
        &[Ours],
        "--nopointopoint --mcast-data-address 239.77.1.2",
        "",
    );
}

#[test]
fn every_kind_of_rendezvous_address_works() {
    let Some(mut scene) = Scene::new(2, 400_000) else {
        return;
    };
    let both = [Original, Ours];
    scene.transfer(Original, &both, "--ttl 32", "--ttl 32");
    let group = "--mcast-rdv-address 239.77.9.9";
    scene.transfer(Original, &[Original], group, group);
    for receivers in [[Original], [Ours]] {
        let option = match receivers[0] {
            Original => group.to_owned(),
            Ours => group.replace("mcast-rdv-address", "rendezvous"),
        };
        scene.transfer(Original, &receivers, group, &option);
        scene.transfer(
            Ours,
            &receivers,
            &group.replace("mcast-rdv-address", "rendezvous"),
            &option,
        );
    }
    scene.transfer(Ours, &both, "--ttl 32", "--ttl 32");
    // The sides disagree; ours is heard by both all the same.
    scene.transfer(Ours, &both, "--ttl 32", "");
}

/// The options of FOG's server and of its client system.
#[test]
fn options_of_fog_work_with_each_program_exchanged() {
    let Some(mut scene) = Scene::new(2, 2_500_000) else {
        return;
    };
    let server = scene.sender_addr();
    let ours = format!("--portbase 9002 --ttl 32 --rendezvous {server}");
    let original = format!("--nokbd --portbase 9002 --ttl 32 --mcast-rdv-address {server}");
    for (sender, duplex) in [
        (Original, "--full-duplex"),
        (Original, "--half-duplex"),
        (Ours, ""),
        (Ours, "--half-duplex"),
    ] {
        let mut options =
            format!("--interface eth0 --min-receivers 2 --portbase 9002 {duplex} --ttl 32");
        options += match sender {
            Original => " --max-wait 60 --nokbd --nopointopoint",
            Ours => " --routing multicast",
        };
        let mut sender = scene.sender(sender, &options);
        scene.lab.host(1).wait_for_port(9003);
        let mut first = scene.receiver(Original, 2, &original);
        let mut second = scene.receiver(Ours, 3, &ours);
        scene.check(&mut first);
        scene.check(&mut second);
        sender.succeed();
    }
}

/// An original receiver asks once and hears nothing but broadcasts when its rendezvous address is
/// unicast: it is our sender that has to be found there.
#[test]
fn receivers_that_start_before_the_sender_get_in() {
    let Some(mut scene) = Scene::new(2, 300_000) else {
        return;
    };
    let server = scene.sender_addr();
    let mut first = scene.receiver(
        Original,
        2,
        &format!("--nokbd --ttl 32 --mcast-rdv-address {server}"),
    );
    let mut second = scene.receiver(Ours, 3, &format!("--ttl 32 --rendezvous {server}"));
    scene.lab.host(2).wait_for_port(9000);
    scene.lab.host(3).wait_for_port(9000);
    let options = "--ttl 32 --routing multicast --min-receivers 2";
    let mut sender = scene.sender(Ours, options);
    scene.check(&mut first);
    scene.check(&mut second);
    sender.succeed();

    // Ours repeats its request, so it needs no announcement that reaches it.
    let mut receiver = scene.receiver(Ours, 3, &format!("--ttl 32 --rendezvous {server}"));
    scene.lab.host(3).wait_for_port(9000);
    let mut sender = scene.sender(
        Original,
        "--nokbd --ttl 32 --nopointopoint --min-receivers 1",
    );
    scene.check(&mut receiver);
    sender.succeed();
}

#[test]
fn several_streams_follow_each_other_on_one_port() {
    const TIMES: usize = 4;
    let Some(mut scene) = Scene::new(2, 1_000_001) else {
        return;
    };
    let expected = scene.payload.repeat(TIMES);
    let server = scene.sender_addr();

    let ours = format!("--ttl 32 --rendezvous {server} --times {TIMES}");
    let mut first = scene.receiver(Ours, 2, &ours);
    let mut second = scene.receiver(Ours, 3, &ours);
    let mut sender = scene.sender(
        Ours,
        &format!(
            "--ttl 32 --routing multicast --expect 10.99.0.2 --expect 10.99.0.3 --times {TIMES}"
        ),
    );
    assert_same(&first.succeed(), &expected, &first);
    assert_same(&second.succeed(), &expected, &second);
    sender.succeed();

    // Originals at the other end, one process for each stream as FOG runs them.
    let mut receiver = scene.receiver(Ours, 3, &ours);
    for _ in 0..TIMES {
        let mut original = scene.receiver(Original, 2, "--nokbd --ttl 32");
        let options =
            "--nokbd --ttl 32 --nopointopoint --rexmit-hello-interval 200 --min-receivers 2";
        let mut sender = scene.sender(Original, options);
        scene.check(&mut original);
        sender.succeed();
    }
    assert_same(&receiver.succeed(), &expected, &receiver);
}

#[test]
fn a_killed_receiver_does_not_keep_the_others() {
    let Some(mut scene) = Scene::new(3, 8_000_000) else {
        return;
    };
    for victim in [Ours, Original] {
        let mut receivers: Vec<Running> = [(Ours, 2), (Original, 3)]
            .iter()
            .map(|(kind, host)| scene.receiver(*kind, *host, &with_nokbd(*kind, "")))
            .collect();
        let mut victim = scene.receiver(victim, 4, &with_nokbd(victim, ""));
        // Slow enough to be in the middle of the data when the victim dies.
        let options = "--min-receivers 3 --max-bitrate 20000000 --silence 1000 --routing multicast";
        let mut sender = scene.sender(Ours, options);
        fos_tests::netns::wait_for("the first bytes", || victim.output_len() > 0);
        victim.kill();
        for receiver in &mut receivers {
            scene.check(receiver);
        }
        let status = sender.wait();
        let said = sender.messages();
        assert_eq!(status.code(), Some(2), "one participant failed: {said}");
        assert!(said.contains("Dropped"), "{said}");
    }
}

#[test]
fn an_original_receiver_that_is_killed_is_found_to_be_gone() {
    let Some(mut scene) = Scene::new(2, 8_000_000) else {
        return;
    };
    let mut survivor = scene.receiver(Original, 2, &with_nokbd(Original, ""));
    let mut victim = scene.receiver(Original, 3, &with_nokbd(Original, ""));
    let options = "--min-receivers 2 --max-bitrate 20000000 --routing multicast";
    let mut sender = scene.sender(Ours, options);
    fos_tests::netns::wait_for("the first bytes", || victim.output_len() > 0);
    victim.kill();
    scene.check(&mut survivor);
    sender.wait();
    let said = sender.messages();
    assert!(said.contains("cause: Unreachable"), "{said}");
}

/// As behind a switch, VPN or port with a smaller MTU.
#[test]
fn a_receiver_that_no_block_reaches_does_not_keep_the_others() {
    let Some(mut scene) = Scene::new(3, 4_000_000) else {
        return;
    };
    scene.lab.host(4).nft(
        "add table inet hole
         add chain inet hole in { type filter hook input priority 0; }
         add rule inet hole in udp dport 9000 ip length > 1400 drop",
    );
    for victim in [Ours, Original] {
        let mut receivers: Vec<Running> = [(Ours, 2), (Original, 3)]
            .iter()
            .map(|(kind, host)| scene.receiver(*kind, *host, &with_nokbd(*kind, "")))
            .collect();
        let _victim = scene.receiver(victim, 4, &with_nokbd(victim, ""));
        let mut sender = scene.sender(Ours, "--min-receivers 3 --routing multicast");
        for receiver in &mut receivers {
            scene.check(receiver);
        }
        let status = sender.wait();
        let said = sender.messages();
        assert_eq!(status.code(), Some(2), "one participant failed: {said}");
        assert!(said.contains("cause: NoProgress"), "{said}");
    }
}

#[test]
fn a_slow_reader_keeps_its_place_with_either_sender() {
    let Some(mut scene) = Scene::new(2, 12_000_000) else {
        return;
    };
    for sender in [Original, Ours] {
        let mut slow = scene.receiver(Ours, 2, "--read-rate 4000000");
        let mut fast = scene.receiver(Ours, 3, "");
        scene.lab.host(2).wait_for_port(9000);
        scene.lab.host(3).wait_for_port(9000);
        let mut options = "--min-receivers 2".to_owned();
        if sender == Original {
            options += " --nokbd --rexmit-hello-interval 200 --full-duplex";
        }
        let mut sender = scene.sender(sender, &options);
        scene.check(&mut slow);
        scene.check(&mut fast);
        sender.succeed();
    }
}

/// Routers between sender and receivers drop what has TTL 1.
#[test]
fn data_has_the_ttl_also_with_a_unicast_rendezvous_address() {
    let Some(mut scene) = Scene::new(1, 200_000) else {
        return;
    };
    let server = scene.sender_addr();
    scene.lab.host(2).nft(
        "add table inet ttl
         add chain inet ttl in { type filter hook input priority 0; }
         add rule inet ttl in ip daddr 224.0.0.0/4 ip ttl < 32 udp dport 9000 drop",
    );
    let rendezvous = format!("--ttl 32 --rendezvous {server}");
    scene.transfer(
        Ours,
        &[Ours],
        &format!("{rendezvous} --routing multicast"),
        &rendezvous,
    );
}

#[test]
fn a_taken_port_is_told_with_what_to_do() {
    let Some(mut scene) = Scene::new(1, 10) else {
        return;
    };
    let _holds_the_port = scene.receiver(Original, 2, "--nokbd");
    scene.lab.host(2).wait_for_port(9000);
    let mut receiver = scene.receiver(Ours, 2, "");
    assert_eq!(receiver.wait().code(), Some(1));
    let said = receiver.messages();
    assert!(
        said.contains("9000") && said.contains("10.99.0.2") && said.contains("port base"),
        "{said}"
    );
}

#[test]
fn a_receiver_without_sender_says_so() {
    let Some(mut scene) = Scene::new(1, 10) else {
        return;
    };
    let mut receiver = scene.receiver(Ours, 2, "--start-timeout 2");
    assert_eq!(receiver.wait().code(), Some(1));
    let said = receiver.messages();
    assert!(said.contains("no sender"), "{said}");
}

#[test]
fn a_sender_that_dies_is_noticed() {
    let Some(mut scene) = Scene::new(1, 4_000_000) else {
        return;
    };
    let mut receiver = scene.receiver(Ours, 2, "--receive-timeout 2");
    let mut sender = scene.sender(Ours, "--min-receivers 1 --max-bitrate 10000000");
    fos_tests::netns::wait_for("the first bytes", || receiver.output_len() > 0);
    sender.kill();
    assert_eq!(receiver.wait().code(), Some(1), "a part is not the whole");
    let said = receiver.messages();
    assert!(said.contains("fell silent"), "{said}");
}

#[test]
fn an_unexpected_receiver_is_refused() {
    let Some(mut scene) = Scene::new(2, 50_000) else {
        return;
    };
    let mut sender = scene.sender(Ours, "--expect 10.99.0.2");
    let mut stranger = scene.receiver(Original, 3, "--nokbd");
    sender.wait_for_message("Refused");
    assert_eq!(stranger.wait().code(), Some(1));
    let mut receiver = scene.receiver(Ours, 2, "");
    scene.check(&mut receiver);
    sender.succeed();
}
