//! What was found, for people and for programs.

use serde_json::{Value, json};

use crate::cause::Cause;
use crate::checks::{Check, Verdict};

/// Every check with what was seen, then every cause.
#[must_use]
pub fn text(checks: &[Check], causes: &[Cause]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.verdict {
            Verdict::Fine => "ok",
            Verdict::Problem => "PROBLEM",
            Verdict::Skipped => "-",
        };
        text += &format!("{mark:<8} {:<10} {}\n", check.area.name(), check.text);
    }
    text.push('\n');
    if causes.is_empty() {
        text += "no cause of trouble was found\n";
    }
    for (number, cause) in causes.iter().enumerate() {
        text += &format!("{}. {cause} ({})\n", number + 1, cause.code());
        for seen in cause.evidence() {
            text += &format!("   seen: {seen}\n");
        }
        text += &format!("   do:   {}\n", cause.advice());
    }
    text
}

/// What both ends of a test have seen, or why that is not known.
#[must_use]
pub fn together(known: Result<Vec<String>, String>) -> String {
    match known {
        Ok(lines) => {
            let lines: Vec<String> = lines.iter().map(|line| format!("   {line}")).collect();
            format!("both ends together:\n{}", lines.join("\n"))
        }
        Err(why) => format!("what the other end has seen is not known: {why}"),
    }
}

/// Checks and causes as one JSON object: `ok`, `findings` and `checks`.
#[must_use]
pub fn json(checks: &[Check], causes: &[Cause]) -> Value {
    let findings = causes.iter().map(|cause| {
        json!({
            "code": cause.code(),
            "text": cause.to_string(),
            "evidence": cause.evidence(),
            "advice": cause.advice(),
        })
    });
    let checks = checks.iter().map(|check| {
        let result = match check.verdict {
            Verdict::Fine => "fine",
            Verdict::Problem => "problem",
            Verdict::Skipped => "skipped",
        };
        json!({ "check": check.area.name(), "result": result, "text": check.text })
    });
    json!({
        "ok": causes.is_empty(),
        "findings": findings.collect::<Vec<Value>>(),
        "checks": checks.collect::<Vec<Value>>(),
    })
}

/// The first cause that can keep a machine waiting, in a line, for a screen on which something is waited for.
#[must_use]
pub fn line(causes: &[Cause]) -> Option<String> {
    let cause = causes.iter().find(|cause| cause.can_block())?;
    let seen = cause.evidence().into_iter().next().unwrap_or_default();
    Some(format!("{cause} ({seen}): {}", cause.advice()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::checks;
    use crate::evidence::Evidence;

    #[test]
    fn causes_come_with_what_was_seen_and_what_to_do() {
        let causes = [
            Cause::NoLink {
                card: "eth0".into(),
                mac: "02:00:00:00:00:01".into(),
            },
            Cause::NoDisk,
        ];
        let evidence = Evidence::default();
        let checks = checks(&evidence, &causes);
        let text = text(&checks, &causes);
        for line in [
            "PROBLEM  link       not asked for",
            "-        memory     not asked for",
            "1. eth0 has no link (no-link)",
            "   seen: eth0 (02:00:00:00:00:01) has no carrier",
            "2. this machine has no disk that works (no-disk)",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
        }
        let json = json(&checks, &causes);
        assert_eq!(json["ok"], false);
        assert_eq!(json["findings"][0]["code"], "no-link");
        assert_eq!(
            json["findings"][1]["evidence"][0],
            "the kernel shows no disk"
        );
        assert_eq!(json["checks"][0]["result"], "problem");
        let mut causes = causes.to_vec();
        causes.insert(0, Cause::ClockOff { ahead: 1 << 20 });
        let line = line(&causes).unwrap();
        assert!(line.starts_with("eth0 has no link (eth0 ("), "{line}");
        assert_eq!(super::line(&causes[..1]), None);
        assert!(super::text(&checks, &[]).ends_with("\nno cause of trouble was found\n"));
    }
}
