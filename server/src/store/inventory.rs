//! Fields of `inventory`: what a client says of its machine.

/// Names of the posted fields and their columns.
pub const FIELDS: [(&str, &str); 28] = [
    ("primaryUser", "iPrimaryUser"),
    ("other1", "iOtherTag"),
    ("other2", "iOtherTag1"),
    ("sysman", "iSysman"),
    ("sysproduct", "iSysproduct"),
    ("sysversion", "iSysversion"),
    ("sysserial", "iSysserial"),
    ("sysuuid", "iSystemUUID"),
    ("systype", "iSystype"),
    ("biosversion", "iBiosversion"),
    ("biosvendor", "iBiosvendor"),
    ("biosdate", "iBiosdate"),
    ("mbman", "iMbman"),
    ("mbproductname", "iMbproductname"),
    ("mbversion", "iMbversion"),
    ("mbserial", "iMbserial"),
    ("mbasset", "iMbasset"),
    ("cpuman", "iCpuman"),
    ("cpuversion", "iCpuversion"),
    ("cpucurrent", "iCpucurrent"),
    ("cpumax", "iCpumax"),
    ("mem", "iMem"),
    ("caseman", "iCaseman"),
    ("casever", "iCasever"),
    ("caseserial", "iCaseserial"),
    ("caseasset", "iCaseasset"),
    ("gpuvendors", "iGpuvendors"),
    ("gpuproducts", "iGpuproducts"),
];

/// The columns that [`split_disk`] fills.
pub const DISK_COLUMNS: [&str; 3] = ["iHdmodel", "iHdfirmware", "iHdserial"];

/// Splits `Model=<m>, FwRev=<f>, SerialNo=<s>` into its three columns: each part ends at a comma,
/// the serial number runs to the end.
#[must_use]
pub fn split_disk(text: &str) -> super::InventoryFields {
    let lower = text.to_ascii_lowercase();
    let part = |key: &str, to_end: bool| {
        let start = lower.find(key)? + key.len();
        let rest = text.get(start..)?;
        let value = if to_end {
            rest
        } else {
            rest.split(',').next()?
        };
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let parts = [
        part("model=", false),
        part("fwrev=", false),
        part("serialno=", true),
    ];
    let fields = DISK_COLUMNS.into_iter().zip(parts);
    fields
        .filter_map(|(column, value)| Some((column, value?)))
        .collect()
}

/// Whether a column may be stored.
pub(super) fn is_column(name: &str) -> bool {
    DISK_COLUMNS.contains(&name) || FIELDS.iter().any(|(_, column)| *column == name)
}

/// Characters that the narrower columns hold; the others hold 250.
pub(super) fn width(column: &str) -> usize {
    match column {
        "iPrimaryUser" | "iOtherTag" | "iOtherTag1" => 50,
        _ => 250,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_line_is_split() {
        let parts = split_disk("model=QEMU DISK, FwRev=2.5+, SerialNo=QM 0001, x");
        let values: Vec<&str> = parts.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["QEMU DISK", "2.5+", "QM 0001, x"]);
        assert!(split_disk("").is_empty());
    }
}
