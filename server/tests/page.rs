//! The page in a real browser: by the keyboard, in a wide and a narrow window, looked at by axe.

#![allow(
    clippy::disallowed_methods,
    reason = "a test waits for a process, by the clock"
)]
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod browser;
mod harness;

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use browser::Browser;
use harness::{Server, mac, name, skip, wait_until};
use serde_json::{Value, json};

/// What looks for obstacles; `cargo xtask setup` fetches it.
fn axe() -> Option<String> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    };
    std::fs::read_to_string(target.join("axe-core/axe.min.js")).ok()
}

struct Looker {
    browser: Browser,
    axe: String,
    pictures: PathBuf,
    base: String,
}

impl Looker {
    /// Opens a page and looks at it: wide and narrow, dark and light.
    #[track_caller]
    fn look_at(&mut self, path: &str, name: &str) {
        let url = format!("{}{path}", self.base);
        self.browser.resize(1280, 900);
        self.browser.open(&url);
        self.look(name);
    }

    #[track_caller]
    fn look(&mut self, name: &str) {
        let browser = &mut self.browser;
        for (kind, width, height, dark) in [
            ("wide", 1280, 900, false),
            ("narrow", 360, 740, false),
            ("dark", 1280, 900, true),
        ] {
            browser.resize(width, height);
            browser.dark(dark);
            browser.picture(&self.pictures.join(format!("{name}-{kind}.png")));
            // Only tables are wider than a narrow window, and they have a place of their own.
            let overflow = "document.documentElement.scrollWidth - window.innerWidth";
            let overflow = browser.value(overflow).as_i64().unwrap();
            assert!(
                overflow <= 0,
                "{name} is {overflow} pixels too wide ({kind})"
            );
            browser.value(&self.axe);
            let found = browser.value(
                "axe.run(document, { resultTypes: ['violations'] }).then(found => \
                 found.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html + ' ' + n.failureSummary)]))",
            );
            assert_eq!(found, json!([]), "{name} ({kind}): {found:#}");
        }
        browser.dark(false);
        browser.resize(1280, 900);
    }
}

#[test]
fn a_person_deploys_by_the_keyboard_and_sees_what_happens() {
    let Some(browser) = Browser::start() else {
        return skip("chromium-headless-shell is not installed (cargo xtask setup)");
    };
    let Some(axe) = axe() else {
        return skip("axe-core was not fetched (cargo xtask setup)");
    };
    let server = Server::with_hosts(12);
    let said = server.dir.path().join("said");
    let mut command = server.command();
    // Other tests on this machine have the usual ports.
    command.args(["serve", "--listen", "127.0.0.1:0", "--ports", "16100-16163"]);
    let stderr = Stdio::from(File::create(&said).unwrap());
    let running = server.start_saying(command, stderr);
    let mut link = String::new();
    wait_until(
        "the place of the link for the first account is printed",
        || {
            let said = std::fs::read_to_string(&said).unwrap();
            let mut words = said.split_whitespace();
            let Some(file) = words.find(|word| word.ends_with("/setup-link")) else {
                return false;
            };
            // A log may be read by others; the link is in none.
            assert!(!said.contains("setup?code="), "{said}");
            let mode = std::fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            link = std::fs::read_to_string(file).unwrap().trim().to_owned();
            !link.is_empty()
        },
    );
    let base = link.split("/setup").next().unwrap().to_owned();
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&pictures).unwrap();
    let mut looker = Looker {
        browser,
        axe,
        pictures,
        base,
    };

    looker.browser.open(&link);
    looker.look("setup");
    looker.browser.tab_to("e.id === 'name'");
    looker.browser.type_text("ann");
    looker.browser.tab_to("e.id === 'password'");
    looker.browser.type_text("correct horse");
    looker.browser.tab_to("e.id === 'again'");
    looker.browser.type_text("correct horse");
    looker.browser.press("Enter");
    looker
        .browser
        .wait_for("location.pathname === '/' && document.title.startsWith('Sessions')");
    looker.look("empty");

    deploy_by_keyboard(&mut looker.browser, 4);
    looker.look("waiting");
    // What happens is seen without a request of the person.
    server.check_in(1);
    let browser = &mut looker.browser;
    browser.wait_for("document.getElementById('log').innerText.includes('LAB-01: checked in')");
    browser.wait_for("document.querySelector('.numbers').innerText.includes('1 checked in')");
    // One is dropped, by the keyboard: the other buttons stay.
    browser.tab_to("e.innerText.startsWith('Drop') && e.innerText.includes('LAB-04')");
    browser.press("Enter");
    browser.wait_for("document.querySelectorAll('form[action$=\"/drop\"]').length === 3");
    browser.tab_to("e.tagName === 'SUMMARY' && e.innerText.startsWith('Cancel')");
    browser.press("Enter");
    browser.tab_to("e.innerText.startsWith('Cancel session')");
    browser.press("Enter");
    browser.wait_for("!document.querySelector('form[action$=\"/cancel\"]')");
    looker.look("ended");

    // A machine that is not registered.
    server.post_from(77, "ipxe/boot.php", &format!("mac0={}", mac(77)));
    for (path, name) in [
        ("/", "sessions"),
        ("/hosts", "hosts"),
        ("/hosts/LAB-01", "host"),
        ("/images", "images"),
        ("/images/lab", "image"),
        ("/nodes", "nodes"),
        ("/log", "log"),
        ("/accounts", "accounts"),
        ("/sessions/99", "problem"),
    ] {
        looker.look_at(path, name);
    }
    assert_eq!(browser_hosts(&mut looker.browser, &looker.base), 12);

    looker.browser.open(&format!("{}/", looker.base));
    looker.browser.tab_to("e.innerText === 'Log out'");
    looker.browser.press("Enter");
    looker.browser.wait_for("location.pathname === '/login'");
    looker.look("login");
    // A page that is not there is said so by the server; nothing else is complained of.
    let complaints = &mut looker.browser.complaints;
    complaints.retain(|complaint| !complaint.contains("404") && !complaint.contains("favicon"));
    assert_eq!(*complaints, [""; 0]);
    running.end();
}

/// Whoever types the address as before comes to HTTPS, and everything works there, what is followed, too.
#[test]
fn a_browser_that_comes_by_http_is_led_to_https_and_logs_in_there() {
    let Some(mut browser) = Browser::start() else {
        return skip("chromium-headless-shell is not installed (cargo xtask setup)");
    };
    let server = Server::with_hosts(1);
    let password = server.dir.path().join("password");
    std::fs::write(&password, "correct horse\n").unwrap();
    let password = password.to_str().unwrap();
    server.good(&[
        "user",
        "add",
        "ann",
        "--role",
        "operator",
        "--password-file",
        password,
    ]);
    let running = server.serve_with(&["--https-listen", "127.0.0.1:0", "--https-only"]);
    // Its certificate is its own.
    let ignore = json!({ "ignore": true });
    browser.call("Security.setIgnoreCertificateErrors", ignore);
    let url = format!("http://{}/", server.address());
    browser.call("Page.navigate", json!({ "url": url }));
    browser.wait_for("location.protocol === 'https:' && location.pathname === '/login'");
    browser.tab_to("e.id === 'name'");
    browser.type_text("ann");
    browser.tab_to("e.id === 'password'");
    browser.type_text("correct horse");
    browser.press("Enter");
    browser.wait_for("location.pathname === '/' && document.title.startsWith('Sessions')");
    assert_eq!(browser.value("location.protocol"), "https:");
    let cookies = browser.call("Network.getCookies", json!({}));
    let cookie = &cookies["cookies"][0];
    assert_eq!(cookie["name"], "__Host-fos_login", "{cookies}");
    let is_kept = (&cookie["secure"], &cookie["httpOnly"], &cookie["sameSite"]);
    assert_eq!(is_kept, (&json!(true), &json!(true), &json!("Strict")));
    // While a form is on its way the page is not loaded again, which would take the form back.
    browser.value(
        "document.addEventListener('submit', e => e.preventDefault()); window.mark = 1; \
         document.querySelector('.logout button').click()",
    );
    server.good(&["deploy", "lab", &name(1)]);
    browser.wait_for("document.getElementById('session-1') !== null");
    assert_eq!(browser.value("window.mark"), 1);
    running.end();
}

/// Chooses the first hosts and deploys to them.
#[track_caller]
fn deploy_by_keyboard(browser: &mut Browser, hosts: u8) {
    browser.tab_to("e.id === 'image'");
    for host in 1..=hosts {
        let host = name(host);
        browser.tab_to(&format!("e.type === 'checkbox' && e.value === '{host}'"));
        browser.press(" ");
    }
    browser.tab_to("e.type === 'submit' && e.innerText === 'Deploy'");
    browser.press("Enter");
    browser.wait_for("location.pathname === '/sessions/1'");
    let tiles = browser.value("document.querySelectorAll('.room .tile').length");
    assert_eq!(tiles, Value::from(hosts));
}

/// Rows of the list of hosts.
#[track_caller]
fn browser_hosts(browser: &mut Browser, base: &str) -> u64 {
    browser.open(&format!("{base}/hosts"));
    let rows = browser.value("document.querySelector('table tbody').children.length");
    rows.as_u64().unwrap()
}
