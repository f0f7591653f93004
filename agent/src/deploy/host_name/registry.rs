//! Where Windows keeps the computer's name, and how the program `reged` is asked for it: texts only.
//!
//! `reged` takes names as they are written in the hive, Windows in any case: so the values are looked for first.

/// A value of a hive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// Its key, below the root of the hive, as it is written there: `\ControlSet001\...`.
    pub(super) key: String,
    /// Its name.
    pub(super) name: String,
    /// Its text.
    pub(super) text: String,
}

/// What stands for the root of the hive in what is exported.
pub(super) const ROOT: &str = r"HKEY_LOCAL_MACHINE\SYSTEM";

/// Keys to export, each with all below it: those of the control sets that Windows may start with.
pub(super) fn keys() -> impl Iterator<Item = String> {
    let branches = [
        r"Control\ComputerName",
        r"Services\Tcpip\Parameters",
        r"services\Tcpip\Parameters",
    ];
    (1..=CONTROL_SETS)
        .flat_map(move |set| branches.map(|branch| format!(r"\ControlSet{set:03}\{branch}")))
}

/// The computer's names within what was exported. What is not understood is passed over.
pub(super) fn computer_names(export: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut key: Option<&str> = None;
    for line in export.lines().map(str::trim_end) {
        if let Some(path) = line.strip_prefix('[') {
            let path = path
                .strip_suffix(']')
                .and_then(|path| path.strip_prefix(ROOT));
            key = path.filter(|path| !wanted(path).is_empty());
            continue;
        }
        let Some(key) = key else { continue };
        let Some((name, text)) = line
            .strip_prefix('"')
            .and_then(|line| line.split_once("\"=\""))
        else {
            continue;
        };
        let is_wanted = wanted(key)
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name));
        if let (true, Some(text)) = (is_wanted, text.strip_suffix('"')) {
            found.push(Value {
                key: key.into(),
                name: name.into(),
                text: text.into(),
            });
        }
    }
    found
}

/// What to type into `reged -e`, so that the values get this text. It reads lines of at most 90 characters: `None` if a
/// value cannot be named in one.
pub(super) fn script(values: &[Value], text: &str) -> Option<String> {
    let mut script = String::new();
    for value in values {
        let is_plain = |part: &str| part.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        let line = format!("ed {}\\{}\n", value.key, value.name);
        // What is typed into a value is asked for again for each line that it has.
        if line.len() > LINE || value.text.len() > LINE || !is_plain(line.trim_end()) {
            return None;
        }
        script.push_str(&line);
        script.push_str(text);
        script.push('\n');
    }
    // Without a change nothing is asked at the end, and the answer is not read.
    script.push_str("q\ny\n");
    Some(script)
}

/// The values of a key that are the computer's name.
fn wanted(key: &str) -> &'static [&'static str] {
    let mut parts = key.splitn(3, '\\').skip(1);
    let is_set = parts.next().is_some_and(|set| {
        set.get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
    });
    let below = parts.next().unwrap_or_default();
    let known = PLACES
        .iter()
        .find(|(place, _)| is_set && place.eq_ignore_ascii_case(below));
    known.map_or(&[], |(_, names)| names)
}

/// Longest line that is typed.
const LINE: usize = 88;
const PREFIX: &str = "ControlSet";
/// Windows keeps two, and three after it was started with the last known good one.
const CONTROL_SETS: u32 = 3;
const PLACES: [(&str, &[&str]); 3] = [
    (r"Control\ComputerName\ComputerName", &["ComputerName"]),
    (
        r"Control\ComputerName\ActiveComputerName",
        &["ComputerName"],
    ),
    (r"Services\Tcpip\Parameters", &["Hostname", "NV Hostname"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: &str = concat!(
        "Windows Registry Editor Version 5.00\r\n\r\n",
        "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\ComputerName]\r\n",
        "\"ComputerName\"=\"elsewhere\"\r\n\r\n",
        "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\ComputerName\\ComputerName]\r\n",
        "@=\"mnmsrvc\"\r\n",
        "\"ComputerName\"=\"MASTER\"\r\n",
        "\"ComputerName2\"=\"MASTER\"\r\n\r\n",
        "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\services\\Tcpip\\Parameters]\r\n",
        "\"DataBasePath\"=hex(2):25,00,53,00,79,00,73,\\\r\n  74,00,65,00\r\n",
        "\"NV HostName\"=\"master\"\r\n",
        "\"Hostname\"=dword:00000001\r\n",
        "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\services\\Tcpip\\Parameters\\Interfaces]\r\n",
        "\"Hostname\"=\"elsewhere\"\r\n",
    );

    #[test]
    fn names_are_found_however_they_are_written() {
        let found = computer_names(EXPORT);
        let value = |key: &str, name: &str, text: &str| Value {
            key: key.into(),
            name: name.into(),
            text: text.into(),
        };
        let expected = [
            value(
                r"\ControlSet001\Control\ComputerName\ComputerName",
                "ComputerName",
                "MASTER",
            ),
            value(
                r"\ControlSet001\services\Tcpip\Parameters",
                "NV HostName",
                "master",
            ),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            script(&found, "LAB-01").unwrap(),
            "ed \\ControlSet001\\Control\\ComputerName\\ComputerName\\ComputerName\nLAB-01\n\
             ed \\ControlSet001\\services\\Tcpip\\Parameters\\NV HostName\nLAB-01\nq\ny\n"
        );
    }

    #[test]
    fn what_cannot_be_typed_is_not_typed() {
        let [mut long, mut odd] = [(); 2].map(|()| computer_names(EXPORT).remove(0));
        long.text = "x".repeat(200);
        odd.name = "Computer\u{1}Name".into();
        assert_eq!(script(&[long], "LAB-01"), None);
        assert_eq!(script(&[odd], "LAB-01"), None);
    }

    #[test]
    fn nothing_is_made_of_other_texts() {
        for text in [
            "",
            "[",
            "[]\n\"ComputerName\"=\"x\"",
            "\"ComputerName\"=\"x\"",
            "[\\\n\"=\"\n\"\"=\"\"",
        ] {
            assert_eq!(computer_names(text), [], "{text}");
        }
        let cut = EXPORT.char_indices().map(|(at, _)| &EXPORT[..at]);
        assert!(cut.into_iter().all(|text| computer_names(text).len() <= 2));
    }

    #[test]
    fn all_control_sets_are_looked_at() {
        let keys: Vec<String> = keys().collect();
        assert_eq!(keys.len(), 9);
        assert_eq!(keys[0], r"\ControlSet001\Control\ComputerName");
        assert_eq!(keys[8], r"\ControlSet003\services\Tcpip\Parameters");
    }
}
