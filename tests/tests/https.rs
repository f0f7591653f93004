//! HTTPS of the server: agents that are led there by their boot script, curl, certificates that are renewed or wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use fos_tests::netns::wait_for;
use fos_tests::site::{DISK_LEN, Site, assert_deployed, assert_untouched, failed, program};
use serde_json::Value;

const URL: &str = "https://10.99.0.1";

/// curl on the first client.
fn curl(site: &Site, options: &[&str]) -> Output {
    let mut command = site.lab().host(2).command("curl");
    command.args(["-s", "--max-time", "10"]).args(options);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Codes of what the doctor names.
fn causes(site: &Site) -> Vec<String> {
    let mut command = site.lab().host(1).command(program("fos-server"));
    command.arg("--data").arg(site.path("data"));
    let output = command.args(["doctor", "--json", "--no-dhcp"]).output();
    let output = output.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    let findings = report["findings"].as_array().unwrap();
    let codes = findings.iter().map(|found| found["code"].as_str().unwrap());
    codes.map(str::to_owned).collect()
}

/// A certificate that openssl makes, for 10.99.0.1 or another address; `days` may be over.
#[track_caller]
fn make(certificate: &Path, key: &Path, address: &str, days: &str) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-nodes", "-subj", "/CN=x"]);
    command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-addext", &format!("subjectAltName=IP:{address}")]);
    command.args(["-days", days]);
    command.arg("-out").arg(certificate).arg("-keyout").arg(key);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn agents_and_people_are_led_to_https_and_the_agent_believes_this_server_alone() {
    let Some(mut site) = Site::without_image(2) else {
        return;
    };
    let options = [
        "--https-listen",
        "10.99.0.1:443",
        "--https-clients",
        "--https-only",
    ];
    site.start_server_with(&options);
    site.cli(&["image", "add", "small"]).succeed();
    let pin = |arguments: &str| {
        let mut words = arguments.split_whitespace();
        let pin = words.find_map(|word| word.strip_prefix("fospin="));
        pin.unwrap_or_else(|| panic!("a pinned key in {arguments}"))
            .to_owned()
    };
    site.deploy(&["pc1", "pc2"], &[]);
    let arguments = site.kernel_arguments(1);
    assert!(
        arguments.contains(" web=https://10.99.0.1/fog/ "),
        "{arguments}"
    );

    // Somebody else's key: the agent says nothing of its task to it, and writes nothing.
    let foreign = arguments.replace(&pin(&arguments), &"ab".repeat(32));
    let disk = site.patterned_disk("x.raw", DISK_LEN);
    let said = failed(site.start_agent_with(1, &disk, &foreign));
    assert!(said.contains("its key is not the one of fospin="), "{said}");
    assert_untouched(&disk);

    // All goes over HTTPS: the agents do not get past a filter before port 80.
    let kernel = [site.kernel_arguments(1), site.kernel_arguments(2)];
    for host in [2, 3] {
        let mut filter = site.lab().host(host).command("nft");
        filter.arg(
            "add table inet web; add chain inet web out { type filter hook output priority 0; }; \
             add rule inet web out tcp dport 80 drop",
        );
        assert!(filter.status().unwrap().success());
    }
    let disks = [
        site.empty_disk("a.raw", DISK_LEN),
        site.empty_disk("b.raw", DISK_LEN),
    ];
    let mut agents = [
        site.start_agent_with(1, &disks[0], &kernel[0]),
        site.start_agent_with(2, &disks[1], &kernel[1]),
    ];
    for (agent, disk) in agents.iter_mut().zip(&disks) {
        agent.succeed();
        assert_deployed(disk);
    }

    // A host alone, by HTTPS as well.
    let mut filter = site.lab().host(2).command("nft");
    assert!(filter.arg("flush ruleset").status().unwrap().success());
    site.cli(&["deploy", "small", "pc1", "--unicast"]).succeed();
    let disk = site.empty_disk("c.raw", DISK_LEN);
    let mut agent = site.start_agent(1, &disk);
    agent.succeed();
    assert_deployed(&disk);
}

#[test]
fn people_come_by_https_and_boot_loaders_by_http() {
    let Some(mut site) = Site::without_image(1) else {
        return;
    };
    site.start_server_with(&["--https-listen", "10.99.0.1:443", "--https-only"]);
    let own = site.path("data/https/certificate.pem");
    let own = own.to_str().unwrap();
    let page = format!("{URL}/login");
    // Its own certificate is for its address.
    let output = curl(&site, &["--cacert", own, "-f", &page]);
    assert!(output.status.success(), "{:?}", output.status);
    assert!(text(&output.stdout).contains("Log in"));
    // 60: not believed.
    assert_eq!(curl(&site, &[&page]).status.code(), Some(60));

    // By HTTP people are sent there, and a password is not taken.
    let headers = ["-o", "-", "-D", "-"];
    let plain = "http://10.99.0.1/login?x=1";
    let said = text(&curl(&site, &[&headers[..], &[plain]].concat()).stdout);
    assert!(said.starts_with("HTTP/1.1 307"), "{said}");
    let place = format!("location: {URL}/login?x=1\r\n");
    assert!(said.contains(&place), "{said}");
    let form = ["--data", "name=ann&password=correct+horse"];
    let said = text(&curl(&site, &[&headers[..], &form, &[plain]].concat()).stdout);
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    assert!(!said.to_lowercase().contains("set-cookie"), "{said}");
    let api = "http://10.99.0.1/api/v1/sessions";
    let said = text(&curl(&site, &[&headers[..], &[api]].concat()).stdout);
    assert!(said.starts_with("HTTP/1.1 307"), "{said}");
    // Clients are as before.
    site.cli(&["image", "add", "small"]).succeed();
    site.deploy(&["pc1"], &[]);
    let arguments = site.kernel_arguments(1);
    assert!(
        arguments.contains(" web=http://10.99.0.1/fog/ "),
        "{arguments}"
    );
    assert!(!arguments.contains("fospin="), "{arguments}");

    // A login by HTTPS is for HTTPS alone.
    fs::write(site.path("password"), "correct horse\n").unwrap();
    let file = site.path("password");
    let file = file.to_str().unwrap();
    let add = [
        "user",
        "add",
        "ann",
        "--role",
        "admin",
        "--password-file",
        file,
    ];
    site.cli(&add).succeed();
    let options = [&headers[..], &form, &["--cacert", own, &page]].concat();
    let said = text(&curl(&site, &options).stdout);
    assert!(said.starts_with("HTTP/1.1 303"), "{said}");
    assert!(said.contains("set-cookie: __Host-fos_login="), "{said}");
    assert!(said.contains("; Secure"), "{said}");

    // Another start shows the same key.
    let key = fs::read(site.path("data/https/key.pem")).unwrap();
    site.server().signal("TERM");
    site.server().wait();
    site.start_server_with(&["--https-listen", "10.99.0.1:443"]);
    assert_eq!(fs::read(site.path("data/https/key.pem")).unwrap(), key);
    let output = curl(&site, &["--cacert", own, "-f", &page]);
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(causes(&site), [""; 0]);
}

#[test]
fn a_certificate_that_is_given_is_renewed_while_the_server_runs_and_a_wrong_one_is_named() {
    let Some(mut site) = Site::without_image(1) else {
        return;
    };
    let (certificate, key) = (site.path("x.crt"), site.path("x.key"));
    make(&certificate, &key, "10.99.0.1", "90");
    let [crt, secret] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let options = [
        "--https-listen",
        "10.99.0.1:443",
        "--https-certificate",
        crt,
        "--https-key",
        secret,
        "--https-names",
        "10.99.0.1",
    ];
    site.start_server_with(&options);
    let page = format!("{URL}/login");
    let is_shown = |file: &Path| {
        let file = file.to_str().unwrap();
        curl(&site, &["--cacert", file, "-f", &page])
            .status
            .success()
    };
    assert!(is_shown(&certificate));
    assert_eq!(causes(&site), [""; 0]);

    // Renewed, with another key.
    let (new, new_key) = (site.path("new.crt"), site.path("new.key"));
    make(&new, &new_key, "10.99.0.1", "90");
    assert!(!is_shown(&new));
    let first = site.path("first.crt");
    fs::copy(&certificate, &first).unwrap();
    fs::copy(&new, &certificate).unwrap();
    // The two do not belong together: the one before is shown.
    assert_eq!(causes(&site), ["https-unusable"]);
    assert!(is_shown(&first));
    fs::copy(&new_key, &key).unwrap();
    wait_for("the renewed certificate", || is_shown(&new));
    assert_eq!(causes(&site), [""; 0]);

    // For another address, and soon over.
    make(&certificate, &key, "10.99.0.77", "90");
    assert_eq!(causes(&site), ["certificate-names"]);
    make(&certificate, &key, "10.99.0.1", "3");
    assert_eq!(causes(&site), ["certificate-ends-soon"]);

    // What cannot be used is refused at the start.
    site.server().signal("TERM");
    site.server().wait();
    fs::write(&key, "no key").unwrap();
    let mut command = site.lab().host(1).command(program("fos-server"));
    command.arg("--data").arg(site.path("data"));
    command
        .args(["serve", "--listen", "10.99.0.1:80"])
        .args(options);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("there is no key in"), "{said}");
    assert!(said.contains(secret), "{said}");
}
