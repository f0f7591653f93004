//! The machine's inventory for `inventory.php`: SMBIOS strings from sysfs, CPU, memory, disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use fog::checkin::INVENTORY_DONE;
use fog::encoding::{printable, unescape_html};

use super::Server;
use super::http::CALL_TIMEOUT;
use crate::screen::Board;

/// Sends the inventory. Nothing that goes wrong matters to the deploy; it is only shown.
///
/// `disk` is the target in FOG's form `Model=..., FwRev=..., SerialNo=...`.
pub(crate) async fn send(server: &Server, board: &Board, disk: &str, pause: Duration) {
    let inventory = collect(&Roots::default(), disk);
    // Not those of all cards: a USB card may be known as another host's. Without a newline, which the other
    // fields have.
    let mac = base64::engine::general_purpose::STANDARD.encode(&server.identity().mac);
    let mut fields = vec![("mac", mac)];
    for (name, value) in inventory {
        fields.push((name, fog::encoding::encode_base64_line(&value)));
    }
    let form: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let mut said = String::new();
    for _ in 0..TRIES {
        said = match server.post("inventory.php", &form, CALL_TIMEOUT).await {
            Ok(answer) if answer.trim_end() == INVENTORY_DONE => return,
            Ok(answer) if answer.trim().is_empty() => "it answers with an empty body".to_owned(),
            Ok(answer) => {
                let text = printable(&unescape_html(&answer), 200);
                if !text.starts_with('<') {
                    // Done in another language, or a refusal: neither becomes another one.
                    board.say(format!("the server answered to the inventory: {text}"));
                    return;
                }
                format!("it says: {text}")
            }
            Err(error) => error.to_string(),
        };
        tokio::time::sleep(pause).await;
    }
    board.say(format!(
        "the server has not stored this machine's inventory; {said}"
    ));
}

struct Roots {
    dmi: PathBuf,
    cpuinfo: PathBuf,
    cpufreq_max: PathBuf,
    meminfo: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            dmi: "/sys/class/dmi/id".into(),
            cpuinfo: "/proc/cpuinfo".into(),
            cpufreq_max: "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq".into(),
            meminfo: "/proc/meminfo".into(),
        }
    }
}

/// Names of FOG's fields and of sysfs' SMBIOS attributes.
const DMI_FIELDS: [(&str, &str); 18] = [
    ("sysman", "sys_vendor"),
    ("sysproduct", "product_name"),
    ("sysversion", "product_version"),
    ("sysserial", "product_serial"),
    ("sysuuid", "product_uuid"),
    ("biosversion", "bios_version"),
    ("biosvendor", "bios_vendor"),
    ("biosdate", "bios_date"),
    ("mbman", "board_vendor"),
    ("mbproductname", "board_name"),
    ("mbversion", "board_version"),
    ("mbserial", "board_serial"),
    ("mbasset", "board_asset_tag"),
    ("caseman", "chassis_vendor"),
    ("casever", "chassis_version"),
    ("caseserial", "chassis_serial"),
    ("caseasset", "chassis_asset_tag"),
    ("systype", "chassis_type"),
];

fn collect(roots: &Roots, disk: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (field, attribute) in DMI_FIELDS {
        let value = read(&roots.dmi.join(attribute));
        let value = match field {
            "systype" => format!("Type: {}", chassis(&value)),
            "sysuuid" => value.to_ascii_lowercase(),
            _ => value,
        };
        found.push((field, value));
    }
    let cpu = read(&roots.cpuinfo);
    let of_cpu = |name| field_of(&cpu, name).to_owned();
    found.push(("cpuman", of_cpu("vendor_id")));
    found.push(("cpuversion", of_cpu("model name")));
    let mhz = of_cpu("cpu MHz");
    let current = mhz.split('.').next().unwrap_or_default();
    found.push(("cpucurrent", format!("Current Speed: {current} MHz")));
    let max_khz: u64 = read(&roots.cpufreq_max).parse().unwrap_or_default();
    let max = if max_khz > 0 {
        (max_khz / 1000).to_string()
    } else {
        current.to_owned()
    };
    found.push(("cpumax", format!("Max Speed: {max} MHz")));
    let memory = read(&roots.meminfo);
    let line = memory.lines().find(|line| line.starts_with("MemTotal"));
    found.push(("mem", line.unwrap_or_default().to_owned()));
    found.push(("hdinfo", disk.to_owned()));
    found
}

fn read(path: &Path) -> String {
    // Not every attribute exists, and serial numbers are for root only.
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

fn field_of<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim())
        .unwrap_or_default()
}

/// Chassis types of the SMBIOS specification (DSP0134, table "System Enclosure or Chassis Types").
fn chassis(number: &str) -> &str {
    match number {
        "1" => "Other",
        "3" => "Desktop",
        "4" => "Low Profile Desktop",
        "5" => "Pizza Box",
        "6" => "Mini Tower",
        "7" => "Tower",
        "8" => "Portable",
        "9" => "Laptop",
        "10" => "Notebook",
        "11" => "Hand Held",
        "12" => "Docking Station",
        "13" => "All In One",
        "14" => "Sub Notebook",
        "15" => "Space-saving",
        "16" => "Lunch Box",
        "17" => "Main Server Chassis",
        "23" => "Rack Mount Chassis",
        "30" => "Tablet",
        "31" => "Convertible",
        "32" => "Detachable",
        "35" => "Mini PC",
        "36" => "Stick PC",
        _ => "Unknown",
    }
}

const TRIES: u32 = 10;
pub(crate) const PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    const QUICK: Duration = Duration::from_millis(1);

    #[test]
    fn fields_come_from_sysfs_and_proc() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, text) in [
            ("sys_vendor", "QEMU\n"),
            ("product_uuid", "0A1B2C\n"),
            ("chassis_type", "3\n"),
            (
                "cpuinfo",
                "vendor_id\t: GenuineIntel\nmodel name\t: Some CPU\ncpu MHz\t\t: 2394.3\n",
            ),
            ("meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\n"),
        ] {
            fs::write(at(name), text).unwrap();
        }
        let roots = Roots {
            dmi: dir.path().to_owned(),
            cpuinfo: at("cpuinfo"),
            cpufreq_max: at("none"),
            meminfo: at("meminfo"),
        };
        let found = collect(&roots, "Model=X, FwRev=1, SerialNo=2");
        let value = |name: &str| {
            let (_, value) = found.iter().find(|(field, _)| *field == name).unwrap();
            value.as_str()
        };
        assert_eq!(value("sysman"), "QEMU");
        assert_eq!(value("sysuuid"), "0a1b2c");
        assert_eq!(value("systype"), "Type: Desktop");
        assert_eq!(value("cpuversion"), "Some CPU");
        assert_eq!(value("cpumax"), "Max Speed: 2394 MHz");
        assert_eq!(value("mem"), "MemTotal:  1000 kB");
        assert_eq!(value("hdinfo"), "Model=X, FwRev=1, SerialNo=2");
        assert_eq!(value("biosdate"), "");
    }

    #[tokio::test]
    async fn only_a_stored_inventory_counts_and_the_rest_is_shown() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::status(403, ""),
            1 => Reply::redirect("/fog/management/index.php"),
            2 => Reply::text(""),
            3 => Reply::text("<html>Done</html>"),
            _ => Reply::text("Done"),
        });
        let board = Board::default();
        send(&server.client(), &board, "", QUICK).await;
        let requests = server.requests();
        assert_eq!(requests.len(), 5);
        assert!(board.said().is_empty());
        assert_eq!(requests[0].path, "/fog/service/inventory.php");
        assert_eq!(
            requests[0].field("mac").as_deref(),
            Some("MDA6MWI6MjE6YWE6YmI6Y2M=")
        );

        for text in ["Invalid host", "Erledigt"] {
            let server = TestServer::start(move |_| Reply::text(text));
            let board = Board::default();
            send(&server.client(), &board, "", QUICK).await;
            assert_eq!(server.requests().len(), 1);
            assert!(board.said()[0].ends_with(text), "{:?}", board.said());
        }

        let server = TestServer::start(|_| Reply::text("<html>"));
        send(&server.client(), &board, "", QUICK).await;
        assert_eq!(server.requests().len(), 10);
        let said = board.said();
        assert!(said[0].ends_with("it says: <html>"), "{said:?}");
    }
}
